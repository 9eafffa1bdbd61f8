//! `naksi client`: the lectures' interactive TCP client, for an echo server.
//!
//! It sends one line, waits until as many bytes have come back, and shows them. A plain blocking socket
//! is all it needs; it knows nothing of the engine.

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use encoding_rs::Encoding;

use crate::config::plain;
use crate::outcome::{Outcome, Problem};
use crate::target;

/// How long a server may take to answer a connect.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// Options of `naksi client`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The server, like 127.0.0.1:7777; of a name every address is tried in turn.
    #[arg(value_name = "ADDR")]
    address: String,
    /// How the text travels: 안녕하세요 is 15 bytes in UTF-8 and 10 in CP949.
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
}

/// Talks until an empty line, the end of the input, or the end of the connection.
pub(crate) fn run(options: Options) -> Result<Outcome, Problem> {
    let (stream, _) = target::connect(&target::servers(&options.address)?, CONNECT_WITHIN)?;
    let prompt = io::stdin().is_terminal();
    let mut lines = io::stdin().lock();
    loop {
        if prompt {
            say(format_args!("\n[보낼 데이터] "))?;
        }
        let mut line = String::new();
        let read = lines
            .read_line(&mut line)
            .map_err(|error| Problem::failed(format!("cannot read the line: {}", plain(&error))))?;
        let line = line.trim_end_matches(['\r', '\n']);
        if read == 0 || line.is_empty() {
            break;
        }
        if !exchange(&stream, line, options.encoding)? {
            return Ok(Outcome::Errors);
        }
    }
    // A server that is already gone has nothing to be told.
    match stream.shutdown(Shutdown::Both) {
        Ok(()) | Err(_) => Ok(Outcome::Fine),
    }
}

fn say(text: std::fmt::Arguments<'_>) -> Result<(), Problem> {
    let mut out = io::stdout().lock();
    out.write_fmt(text).and_then(|()| out.flush()).map_err(Problem::output)
}

/// One line there and back; `false` if the server ended the connection instead.
fn exchange(mut stream: &TcpStream, line: &str, text: Text) -> Result<bool, Problem> {
    let encoding = text.encoding();
    let (bytes, _, unmappable) = encoding.encode(line);
    if unmappable {
        return Err(Problem::usage(format!("`{line}` cannot be written in {}", text.name())));
    }
    let lost = |error: io::Error| Problem::failed(format!("the connection failed: {}", plain(&error)));
    stream.write_all(&bytes).map_err(lost)?;
    say(format_args!("[TCP 클라이언트] {}바이트를 보냈습니다.\n", bytes.len()))?;
    let mut back = vec![0; bytes.len()];
    let mut filled = 0;
    while filled < back.len() {
        match stream.read(&mut back[filled..]).map_err(lost)? {
            0 => {
                eprintln!("naksi: the server ended the connection after {filled} of {} bytes", back.len());
                return Ok(false);
            }
            count => filled += count,
        }
    }
    say(format_args!(
        "[TCP 클라이언트] {filled}바이트를 받았습니다.\n[받은 데이터] {}\n",
        encoding.decode(&back).0
    ))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_greeting_has_the_lectures_ten_bytes_in_cp949_and_fifteen_in_utf_8() {
        let bytes = |text: Text| text.encoding().encode("안녕하세요").0.len();
        assert_eq!((bytes(Text::Cp949), bytes(Text::Utf8)), (10, 15));
    }
}
