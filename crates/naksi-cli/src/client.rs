//! `naksi client`: the lectures' interactive TCP client, for an echo server.
//!
//! It sends one line, waits until as many bytes have come back, and prints them with control characters escaped. It
//! uses one connection that blocks, and a thread for standard input, so that a request to stop is noticed.

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::net::Shutdown;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use encoding_rs::Encoding;
use naksi::service::Signals;

use crate::config::plain;
use crate::escape::Escaped;
use crate::line::Line;
use crate::outcome::{Outcome, Problem};
use crate::results::print;
use crate::serve::failed;
use crate::stderr::tell;
use crate::target;

/// How long a server may take to answer a connect.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How often a wait looks for a request to stop.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Longest line, in bytes.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// Options of `naksi client`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The server, like 127.0.0.1:7777 or ws://127.0.0.1:8080; all addresses of a name are tried in turn.
    #[arg(value_name = "ADDR")]
    address: String,
    /// The encoding of the text: 안녕하세요 is 15 bytes in UTF-8 and 10 in CP949. Input may be in UTF-8 or in this
    /// encoding.
    #[arg(long, value_enum, default_value = "utf-8")]
    encoding: Text,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Text {
    #[value(name = "utf-8")]
    Utf8,
    Cp949,
}

impl Text {
    fn encoding(self) -> &'static Encoding {
        match self {
            Text::Utf8 => encoding_rs::UTF_8,
            // The web's EUC-KR is CP949: it has every syllable of Hangul.
            Text::Cp949 => encoding_rs::EUC_KR,
        }
    }

    /// What people call it.
    fn name(self) -> &'static str {
        match self {
            Text::Utf8 => "UTF-8",
            Text::Cp949 => "CP949",
        }
    }

    /// A line of the input: UTF-8, as terminals send it, or else this encoding, as Windows files contain it.
    fn read(self, bytes: Vec<u8>) -> Result<String, Problem> {
        String::from_utf8(bytes).or_else(|refused| {
            let line =
                self.encoding().decode_without_bom_handling_and_without_replacement(refused.as_bytes());
            line.map(|line| line.into_owned()).ok_or_else(|| {
                let or = if let Text::Utf8 = self { "" } else { " or CP949" };
                Problem::usage(format!(
                    "the input is not text in UTF-8{or}: name its encoding with --encoding"
                ))
            })
        })
    }
}

/// Runs until an empty line, the end of the input, a request to stop, or the end of the connection.
pub(crate) fn run(options: Options) -> Result<Outcome, Problem> {
    let (url, servers) = target::server(&options.address)?;
    let (stream, _) = target::connect(&servers, CONNECT_WITHIN)?;
    let looks = stream.set_read_timeout(Some(LOOK_EVERY)).and(stream.set_write_timeout(Some(LOOK_EVERY)));
    looks.map_err(lost)?;
    let mut line_to_server = Line::open(stream, &url, CONNECT_WITHIN)?;
    let signals = Signals::watch().map_err(failed)?;
    let prompt = io::stdin().is_terminal();
    let lines = lines()?;
    loop {
        if prompt {
            print("\n[보낼 데이터] ")?;
        }
        let Some(line) = next(&lines, signals)? else { break };
        let line = options.encoding.read(line)?;
        let line = line.trim_end_matches(['\r', '\n']);
        if line.is_empty() {
            break;
        }
        match exchange(&mut line_to_server, line, options.encoding, signals)? {
            Exchanged::All => {}
            Exchanged::Stopped => break,
            Exchanged::Ended => return Ok(Outcome::Errors),
        }
    }
    // A server that has already closed needs no shutdown.
    match line_to_server.stream().shutdown(Shutdown::Both) {
        Ok(()) | Err(_) => Ok(Outcome::Fine),
    }
}

/// The lines of standard input, read by a thread that lives as long as the process; the last one is empty.
fn lines() -> Result<Receiver<io::Result<Vec<u8>>>, Problem> {
    let (sender, lines) = sync_channel(1);
    let read = move || {
        let mut input = io::stdin().lock();
        loop {
            let mut line = Vec::new();
            let read = (&mut input).take(LINE_BYTES_MAX).read_until(b'\n', &mut line);
            let is_last = line.is_empty();
            let read = match read {
                Ok(count) if count as u64 == LINE_BYTES_MAX && !line.ends_with(b"\n") => {
                    Err(io::Error::other(format!("it is longer than {LINE_BYTES_MAX} bytes")))
                }
                read => read.map(|_| line),
            };
            // Nothing waits for lines any more when the connection has ended.
            if sender.send(read).is_err() || is_last {
                return;
            }
        }
    };
    let spawned = thread::Builder::new().name("naksi-input".to_owned()).spawn(read);
    spawned.map_err(|error| Problem::failed(format!("no thread to read the input: {error}")))?;
    Ok(lines)
}

/// The next line; `None` at the end of the input and on a request to stop.
fn next(lines: &Receiver<io::Result<Vec<u8>>>, signals: &Signals) -> Result<Option<Vec<u8>>, Problem> {
    while !signals.seen() {
        match lines.recv_timeout(LOOK_EVERY) {
            Ok(line) => {
                return line
                    .map(Some)
                    .map_err(|error| Problem::failed(format!("cannot read the line: {}", plain(&error))));
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    Ok(None)
}

fn lost(error: io::Error) -> Problem {
    Problem::failed(format!("the connection failed: {}", plain(&error)))
}

/// How sending a line and waiting for its echo ended.
enum Exchanged {
    All,
    /// The server ended the connection.
    Ended,
    /// The program is to stop.
    Stopped,
}

/// One line there and back.
fn exchange(stream: &mut Line, line: &str, text: Text, signals: &Signals) -> Result<Exchanged, Problem> {
    let encoding = text.encoding();
    let (bytes, _, unmappable) = encoding.encode(line);
    if unmappable {
        let line = Escaped(line);
        return Err(Problem::usage(format!("`{line}` cannot be written in {}", text.name())));
    }
    let mut sent = 0;
    while sent < bytes.len() {
        match patiently(signals, || stream.write(&bytes[sent..]))? {
            None => return Ok(Exchanged::Stopped),
            Some(count) => sent += count,
        }
    }
    print(&format!("[TCP 클라이언트] {sent}바이트를 보냈습니다.\n"))?;
    let mut back = vec![0; bytes.len()];
    let mut filled = 0;
    while filled < back.len() {
        match patiently(signals, || stream.read(&mut back[filled..]))? {
            None => return Ok(Exchanged::Stopped),
            Some(0) => {
                tell!("naksi: the server ended the connection after {filled} of {} bytes", back.len());
                return Ok(Exchanged::Ended);
            }
            Some(count) => filled += count,
        }
    }
    let line = encoding.decode(&back).0;
    print(&format!("[TCP 클라이언트] {filled}바이트를 받았습니다.\n[받은 데이터] {}\n", Escaped(&line)))?;
    Ok(Exchanged::All)
}

/// Retries until it succeeds; `None` if the program is to stop before that.
fn patiently(
    signals: &Signals,
    mut attempt: impl FnMut() -> io::Result<usize>,
) -> Result<Option<usize>, Problem> {
    while !signals.seen() {
        match attempt() {
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done.map(Some).map_err(lost),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_greeting_has_the_lectures_ten_bytes_in_cp949_and_fifteen_in_utf_8() {
        let bytes = |text: Text| text.encoding().encode("안녕하세요").0.len();
        assert_eq!((bytes(Text::Cp949), bytes(Text::Utf8)), (10, 15));
    }

    #[test]
    fn input_is_read_in_utf_8_and_in_the_encoding_that_was_named() {
        let greeting = "안녕하세요";
        let cp949 = encoding_rs::EUC_KR.encode(greeting).0.into_owned();
        for text in [Text::Cp949, Text::Utf8] {
            assert_eq!(text.read(greeting.as_bytes().to_vec()).expect("it is UTF-8"), greeting);
        }
        assert_eq!(Text::Cp949.read(cp949.clone()).expect("it is CP949"), greeting);
        assert!(Text::Utf8.read(cp949).expect_err("it is not UTF-8").to_string().contains("--encoding"));
        let neither = Text::Cp949.read(vec![0xff, 0xff]).expect_err("it is neither");
        assert!(neither.to_string().contains("UTF-8 or CP949"), "{neither}");
    }
}
