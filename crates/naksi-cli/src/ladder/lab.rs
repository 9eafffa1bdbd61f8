//! The labs of chapter 11, line by line: one server, two clients, and what their three windows show.
//!
//! The text travels as on the slides, in CP949: 안녕하세요 is 10 bytes sent and 10 received. The clients take the port
//! numbers of the slide where they are free, and any others where not. What the server does is the model's affair and not
//! known here.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use encoding_rs::EUC_KR;
use naksi_models::{Site, Watch};
use socket2::{Domain, Protocol, Socket, Type};

use super::practice;
use crate::config::plain;
use crate::outcome::{Outcome, Problem};
use crate::results::print;

/// Long enough for any machine; a lab that hangs teaches nothing.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// A lab of the lectures.
#[derive(Clone, Copy, clap::ValueEnum)]
pub(super) enum Lab {
    /// Practice of lecture 000: five receives, and one alertable wait for all their callbacks.
    #[value(name = "000")]
    AllInOneWait,
    /// Practice of lecture 001: what a call returned, and what came later by callback.
    #[value(name = "001")]
    OneAfterTheOther,
    /// Lab 11-1 of lecture 003: overlapped model (I), events.
    #[value(name = "11-1")]
    Events,
    /// Lab 11-2 of lecture 003: overlapped model (II), completion routines.
    #[value(name = "11-2")]
    Routines,
    /// Lab 11-3 of lecture 003: the completion port model.
    #[value(name = "11-3")]
    Port,
}

/// What a slide of chapter 11 shows. The clients are 0 and 1, in the order in which they connect.
struct Slide {
    model: &'static str,
    ports: [u16; 2],
    /// Which client types what, in order.
    typed: &'static [(usize, &'static str)],
    /// The windows below the server's: whose it is, and whether the next prompt can be seen.
    windows: [(usize, bool); 2],
    client_title: &'static str,
    /// Whether words stand apart from their brackets.
    spaced: bool,
    /// Whether an empty line stands below a title.
    blank_below_title: bool,
}

const SERVER_TITLE: &str = r"C:\Windows\system32\cmd.exe";

//= lecture 003: 실습 11-1
const EVENTS: Slide = Slide {
    model: "overlapped_event",
    ports: [2610, 2612],
    typed: &[(1, "안녕하세요"), (0, "한국산업기술대학교"), (1, "게임공학과")],
    windows: [(1, false), (0, true)],
    client_title: r"C:\wkpu\TCPClient\Debug\TCPClient.exe",
    spaced: true,
    blank_below_title: false,
};

//= lecture 003: 실습 11-2
const ROUTINES: Slide = Slide {
    model: "overlapped_routine",
    ports: [2651, 2652],
    typed: &[(0, "한국산업기술대학교"), (1, "게임공학과")],
    windows: [(0, true), (1, true)],
    client_title: r"C:\wkpu\TCPClient\Debug\TCPClient.exe",
    spaced: false,
    blank_below_title: true,
};

//= lecture 003: 실습 11-3
const PORT: Slide = Slide {
    model: "completion_port",
    ports: [2789, 2807],
    typed: &[(0, "안녕하세요"), (1, "게임공학과"), (1, "한국산업기술대학교")],
    windows: [(0, false), (1, true)],
    client_title: r"C:\kpu\TCPClient\Debug\TCPClient.exe",
    spaced: false,
    blank_below_title: false,
};

/// Words in brackets, as the slide has them.
fn bracketed(spaced: bool, words: &str) -> String {
    if spaced { format!("[ {words} ]") } else { format!("[{words}]") }
}

/// The server's window.
#[derive(Clone)]
struct Window {
    lines: Arc<Mutex<Vec<String>>>,
    spaced: bool,
}

impl Window {
    fn print(&self, line: String) {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Watch for Window {
    fn connected(&self, peer: SocketAddr) {
        let server = bracketed(self.spaced, "TCP 서버");
        self.print(format!("{server} 클라이언트 접속: IP 주소={}, 포트 번호={}", peer.ip(), peer.port()));
    }

    fn received(&self, peer: SocketAddr, bytes: &[u8]) {
        let client = bracketed(self.spaced, &format!("TCP/{peer}"));
        self.print(format!("{client} {}", EUC_KR.decode(bytes).0));
    }
}

/// Plays a lab and prints its windows.
pub(super) fn play(lab: Lab) -> Result<Outcome, Problem> {
    let shown = match lab {
        Lab::AllInOneWait => practice::all_in_one_wait(),
        Lab::OneAfterTheOther => practice::one_after_the_other(),
        Lab::Events => windows(&EVENTS),
        Lab::Routines => windows(&ROUTINES),
        Lab::Port => windows(&PORT),
    };
    let shown = shown.map_err(|error| Problem::failed(format!("the lab failed: {}", plain(&error))))?;
    print(&shown).map(|()| Outcome::Fine)
}

/// The three windows of a slide, one below the other.
fn windows(slide: &Slide) -> io::Result<String> {
    let model = naksi_models::model(slide.model).expect("the ladder has this model");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let window = Window { lines: Arc::default(), spaced: slide.spaced };
    let site = Arc::new(Site::watched(Box::new(window.clone())));
    let inner = Arc::clone(&site);
    let server = thread::spawn(move || (model.serve)(listener, &inner));
    let mut clients = Vec::new();
    for (number, port) in (1..).zip(slide.ports) {
        clients.push(connect(address, port)?);
        // On the slide the first client is there before the second one starts.
        while site.accepted() < number {
            thread::sleep(Duration::from_millis(1));
        }
    }
    let mut exchanges = [Vec::new(), Vec::new()];
    for (client, text) in slide.typed {
        exchanges[*client].push(exchange(&mut clients[*client], slide.spaced, text)?);
    }
    let title = |title: &str| format!("{title}\n{}", if slide.blank_below_title { "\n" } else { "" });
    // What the server prints ends here: that it is told to stop is not on the slide.
    let mut shown = vec![format!("{}{}", title(SERVER_TITLE), window.lines().join("\n"))];
    for (client, prompts) in slide.windows {
        let mut parts = exchanges[client].clone();
        parts.extend(prompts.then(|| bracketed(slide.spaced, "보낼 데이터")));
        shown.push(format!("{}{}", title(slide.client_title), parts.join("\n\n")));
    }
    site.stop(address);
    server.join().expect("a server does not panic")?;
    Ok(shown.join("\n\n") + "\n")
}

/// Connects from this port, or from any if another program has it.
fn connect(server: SocketAddr, port: u16) -> io::Result<TcpStream> {
    let from = |port: u16| -> io::Result<TcpStream> {
        let socket = Socket::new(Domain::for_address(server), Type::STREAM, Some(Protocol::TCP))?;
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
        socket.connect_timeout(&server.into(), PATIENCE)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(socket.into())
    };
    from(port).or_else(|_| from(0))
}

/// One line there and back, and what the client's window shows of it.
fn exchange(client: &mut TcpStream, spaced: bool, text: &str) -> io::Result<String> {
    let (bytes, _, unmappable) = EUC_KR.encode(text);
    assert!(!unmappable, "the slides are written in CP949");
    client.write_all(&bytes)?;
    let mut back = vec![0; bytes.len()];
    client.read_exact(&mut back)?;
    let words = |words: &str| bracketed(spaced, words);
    let lines = [
        format!("{} {text}", words("보낼 데이터")),
        format!("{} {}바이트를 보냈습니다.", words("TCP 클라이언트"), bytes.len()),
        format!("{} {}바이트를 받았습니다.", words("TCP 클라이언트"), back.len()),
        format!("{} {}", words("받은 데이터"), EUC_KR.decode(&back).0),
    ];
    Ok(lines.join("\n"))
}
