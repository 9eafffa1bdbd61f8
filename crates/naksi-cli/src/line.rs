//! A connection of a tool that waits for its answers: plain TCP, or WebSocket in binary messages. Bytes in, bytes out; where
//! the messages of the server end means nothing.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use naksi::config::{Transport, Url};
use tungstenite::handshake::HandshakeError;
use tungstenite::{Message, WebSocket};

use crate::outcome::Problem;

/// One connection. Its reads and writes wait as long as its socket does.
#[derive(Debug)]
pub(crate) enum Line {
    Plain(TcpStream),
    Web(Box<Web>),
}

/// A WebSocket as a stream of bytes.
#[derive(Debug)]
pub(crate) struct Web {
    socket: WebSocket<TcpStream>,
    /// What came and was not read.
    came: Vec<u8>,
    /// Bytes that the socket has taken and not sent.
    queued: usize,
}

impl Line {
    /// A connection over what the address names, on a socket that is connected. A handshake may take so long.
    pub(crate) fn open(stream: TcpStream, url: &Url, within: Duration) -> Result<Self, Problem> {
        if url.transport() == Transport::Tcp {
            return Ok(Line::Plain(stream));
        }
        let no = |why: &dyn std::fmt::Display| Problem::failed(format!("{url} accepts no WebSocket: {why}"));
        let until = Instant::now() + within;
        let mut shaken = tungstenite::client(url.to_string(), stream);
        loop {
            match shaken {
                Ok((socket, _)) => {
                    return Ok(Line::Web(Box::new(Web { socket, came: Vec::new(), queued: 0 })));
                }
                Err(HandshakeError::Failure(error)) => return Err(no(&error)),
                Err(HandshakeError::Interrupted(_)) if Instant::now() > until => {
                    return Err(no(&format_args!("no answer within {} s", within.as_secs())));
                }
                Err(HandshakeError::Interrupted(halfway)) => shaken = halfway.handshake(),
            }
        }
    }

    /// Its socket.
    pub(crate) fn stream(&self) -> &TcpStream {
        match self {
            Line::Plain(stream) => stream,
            Line::Web(web) => web.socket.get_ref(),
        }
    }
}

/// A socket's own error as it is; what else a WebSocket complains of becomes one.
fn as_io(error: tungstenite::Error) -> io::Error {
    match error {
        tungstenite::Error::Io(error) => error,
        other => io::Error::other(other.to_string()),
    }
}

impl Read for Line {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let web = match self {
            Line::Plain(stream) => return stream.read(buffer),
            Line::Web(web) => web,
        };
        while web.came.is_empty() {
            match web.socket.read() {
                Ok(Message::Binary(bytes)) => web.came.extend_from_slice(&bytes),
                Ok(Message::Text(text)) => web.came.extend_from_slice(text.as_bytes()),
                Ok(Message::Close(_)) => return Ok(0),
                Ok(_) => {}
                Err(tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed) => {
                    return Ok(0);
                }
                Err(error) => return Err(as_io(error)),
            }
        }
        let count = web.came.len().min(buffer.len());
        buffer[..count].copy_from_slice(&web.came[..count]);
        web.came.drain(..count);
        Ok(count)
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let web = match self {
            Line::Plain(stream) => return stream.write(bytes),
            Line::Web(web) => web,
        };
        // What was taken before and did not go out is not taken again.
        if web.queued == 0 {
            web.queued = bytes.len();
            match web.socket.write(Message::binary(bytes.to_vec())) {
                Err(tungstenite::Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {}
                written => written.map_err(as_io)?,
            }
        }
        web.socket.flush().map_err(as_io)?;
        Ok(std::mem::take(&mut web.queued))
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Line::Plain(stream) => stream.flush(),
            Line::Web(web) => web.socket.flush().map_err(as_io),
        }
    }
}
