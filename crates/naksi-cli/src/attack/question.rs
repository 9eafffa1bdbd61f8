//! Detects which application a server runs: each gets a request in its own protocol, and answers differently.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use naksi::config::Url;
use naksi::frame::HEADER_BYTES;
use naksi::packets::{Message, decode, encode};

use super::{Served, script};
use crate::apps::relay::JOINED;
use crate::apps::{chat, world};
use crate::config::plain;
use crate::line::Line;
use crate::outcome::Problem;
use crate::target;

/// How long the server may take for a connect, and for an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// The name under which the questions are asked.
const NAME: &str = "naksi attack";

/// Asks the server what it is.
pub(super) fn ask(url: &Url, servers: &[SocketAddr]) -> Result<(Served, SocketAddr), Problem> {
    let (stream, target) = target::connect(servers, ANSWER_WITHIN)?;
    let join = script::join(u32::MAX);
    let enter = encode(&chat::Enter { room: u32::MAX, name: NAME.to_owned() }).expect("a short message");
    let login = encode(&world::Login { name: NAME.to_owned() }).expect("a short message");
    let mut answer = answer_to(Line::open(stream, url, ANSWER_WITHIN)?, &join);
    for question in [&enter[..], &login[..]] {
        // A chat and a world end a session that begins with something else, and so may an unknown server.
        if !answer.as_ref().is_err_and(has_hung_up) {
            break;
        }
        let (stream, _) = target::connect(&[target], ANSWER_WITHIN)?;
        answer = answer_to(Line::open(stream, url, ANSWER_WITHIN)?, question);
    }
    let said = answer.map_err(|error| no_answer(target, &error))?;
    let served = recognised(&said, &join);
    served.map(|served| (served, target)).ok_or_else(|| none_of_them(target, "it answers something else"))
}

/// The first frame that the server sends after a request.
fn answer_to(mut stream: Line, question: &[u8]) -> io::Result<Vec<u8>> {
    stream.stream().set_read_timeout(Some(ANSWER_WITHIN))?;
    stream.write_all(question)?;
    let mut answer = vec![0; HEADER_BYTES];
    stream.read_exact(&mut answer)?;
    let size = usize::from(u16::from_le_bytes([answer[0], answer[1]]));
    answer.resize(size.max(HEADER_BYTES), 0);
    stream.read_exact(&mut answer[HEADER_BYTES..])?;
    Ok(answer)
}

/// The application that gives this answer. An echo returns the first request; the others are then not sent.
fn recognised(answer: &[u8], join: &[u8]) -> Option<Served> {
    let (header, body) = answer.split_at(HEADER_BYTES);
    let id = u16::from_le_bytes([header[2], header[3]]);
    let is_chat = || decode::<chat::Entered>(body).is_ok_and(|it| it.version == chat::CHAT.version());
    let is_world = || decode::<world::Welcome>(body).is_ok_and(|it| it.version == world::WORLD.version());
    match id {
        _ if answer == join => Some(Served::Echo),
        JOINED if body == &join[HEADER_BYTES..] => Some(Served::Relay),
        chat::Entered::ID if is_chat() => Some(Served::Chat),
        world::Welcome::ID if is_world() => Some(Served::World),
        _ => None,
    }
}

fn has_hung_up(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe)
}

/// The problem of a server that did not answer.
fn no_answer(target: SocketAddr, error: &io::Error) -> Problem {
    let why = match error.kind() {
        _ if has_hung_up(error) => "it ended the connection".to_owned(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            format!("it says nothing for {} s", ANSWER_WITHIN.as_secs())
        }
        _ => plain(error),
    };
    none_of_them(target, &why)
}

fn none_of_them(target: SocketAddr, why: &str) -> Problem {
    Problem::failed(format!("{target} runs none of the echo, relay, chat and world apps: {why}"))
}
