//! The labs of chapter 11, line by line: one server, two clients, and what their three windows show.
//!
//! The text travels as on the slides, in CP949: 안녕하세요 is 10 bytes sent and 10 received. The port numbers are
//! this run's own. What the server does is the model's affair and not known here.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use encoding_rs::EUC_KR;
use naksi_models::{Site, Watch};

use crate::config::plain;
use crate::outcome::{Outcome, Problem};
use crate::results::print;

/// Long enough for any machine; a lab that hangs helps nobody.
const PATIENCE: Duration = Duration::from_secs(20);

/// A lab of chapter 11.
#[derive(Clone, Copy, clap::ValueEnum)]
pub(super) enum Lab {
    /// Overlapped model (I): events.
    #[value(name = "11-1")]
    One,
    /// Overlapped model (II): completion routines.
    #[value(name = "11-2")]
    Two,
    /// The completion port model.
    #[value(name = "11-3")]
    Three,
}

impl Lab {
    fn model(self) -> &'static str {
        match self {
            Lab::One => "overlapped_event",
            Lab::Two => "overlapped_routine",
            Lab::Three => "completion_port",
        }
    }

    /// Who types what, in the order of the slide. The clients are 0 and 1.
    //= lecture 003: 실습 11-1, 11-2, 11-3
    fn typed(self) -> &'static [(usize, &'static str)] {
        match self {
            Lab::One => &[(1, "안녕하세요"), (0, "한국산업기술대학교"), (1, "게임공학과")],
            Lab::Two => &[(0, "한국산업기술대학교"), (1, "게임공학과")],
            Lab::Three => &[(0, "안녕하세요"), (1, "게임공학과"), (1, "한국산업기술대학교")],
        }
    }
}

/// The server's window.
#[derive(Clone, Default)]
struct Window(Arc<Mutex<Vec<String>>>);

impl Window {
    fn print(&self, line: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Watch for Window {
    fn connected(&self, peer: SocketAddr) {
        self.print(format!("[TCP 서버] 클라이언트 접속: IP 주소={}, 포트 번호={}", peer.ip(), peer.port()));
    }

    fn received(&self, peer: SocketAddr, bytes: &[u8]) {
        self.print(format!("[TCP/{peer}] {}", EUC_KR.decode(bytes).0));
    }
}

/// Plays a lab and prints its three windows.
pub(super) fn play(lab: Lab) -> Result<Outcome, Problem> {
    let windows =
        windows(lab).map_err(|error| Problem::failed(format!("the lab failed: {}", plain(&error))))?;
    let shown = ["TCPServer", "TCPClient", "TCPClient"]
        .iter()
        .zip(windows)
        .map(|(title, lines)| format!("── {title} ──\n{}\n\n", lines.join("\n")));
    print(&shown.collect::<String>()).map(|()| Outcome::Fine)
}

/// The lines of the server and of both clients.
fn windows(lab: Lab) -> io::Result<[Vec<String>; 3]> {
    let model = naksi_models::model(lab.model()).expect("the ladder has this model");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let window = Window::default();
    let site = Arc::new(Site::watched(Box::new(window.clone())));
    let inner = Arc::clone(&site);
    let server = thread::spawn(move || (model.serve)(listener, &inner));
    let mut clients = Vec::new();
    for number in 1..=2 {
        let client = TcpStream::connect_timeout(&address, PATIENCE)?;
        client.set_read_timeout(Some(PATIENCE))?;
        clients.push(client);
        // On the slide the first client is there before the second one starts.
        while site.accepted() < number {
            thread::sleep(Duration::from_millis(1));
        }
    }
    let mut typed = [Vec::new(), Vec::new()];
    for (client, text) in lab.typed() {
        typed[*client].extend(exchange(&mut clients[*client], text)?);
    }
    let [first, second] = typed.map(|mut lines: Vec<String>| {
        lines.push("[보낼 데이터]".to_owned());
        lines
    });
    // What the server prints ends here: that it is told to stop is not on the slide.
    let shown = window.lines();
    site.stop(address);
    server.join().expect("a server does not panic")?;
    Ok([shown, first, second])
}

/// One line there and back, and what the client's window shows of it.
fn exchange(client: &mut TcpStream, text: &str) -> io::Result<Vec<String>> {
    let (bytes, _, unmappable) = EUC_KR.encode(text);
    assert!(!unmappable, "the slides are written in CP949");
    client.write_all(&bytes)?;
    let mut back = vec![0; bytes.len()];
    client.read_exact(&mut back)?;
    Ok(vec![
        format!("[보낼 데이터] {text}"),
        format!("[TCP 클라이언트] {}바이트를 보냈습니다.", bytes.len()),
        format!("[TCP 클라이언트] {}바이트를 받았습니다.", back.len()),
        format!("[받은 데이터] {}", EUC_KR.decode(&back).0),
        String::new(),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_lab_shows_the_lines_of_its_slide() {
        for lab in [Lab::One, Lab::Two, Lab::Three] {
            let [server, first, second] = windows(lab).expect("the lab runs");
            assert!(
                server[0].starts_with("[TCP 서버] 클라이언트 접속: IP 주소=127.0.0.1, 포트 번호="),
                "{server:?}"
            );
            assert!(server[1].starts_with("[TCP 서버] 클라이언트 접속: IP 주소=127.0.0.1, 포트 번호="));
            let port = |line: &str| line.rsplit('=').next().expect("a port").to_owned();
            let ports = [port(&server[0]), port(&server[1])];
            let expected: Vec<String> = lab
                .typed()
                .iter()
                .map(|(client, text)| format!("[TCP/127.0.0.1:{}] {text}", ports[*client]))
                .collect();
            assert_eq!(server[2..], expected);
            assert_eq!(first.last().map(String::as_str), Some("[보낼 데이터]"));
            assert_eq!(first.len() + second.len(), lab.typed().len() * 5 + 2);
        }
        let [_, first, _] = windows(Lab::Three).expect("the lab runs");
        assert_eq!(
            first[..4],
            [
                "[보낼 데이터] 안녕하세요",
                "[TCP 클라이언트] 10바이트를 보냈습니다.",
                "[TCP 클라이언트] 10바이트를 받았습니다.",
                "[받은 데이터] 안녕하세요"
            ]
        );
    }
}
