//! What every peer shares: its command line, the relay's frames, and rooms for single-threaded servers. Reading and
//! writing sockets is what the peers differ in.

#![forbid(unsafe_code)]

mod lobby;

use std::collections::HashMap;
use std::fmt::Display;
use std::io;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::process::exit;

pub use lobby::{Lobby, Seat};
use socket2::{Domain, Socket, Type};

/// Enter a room; the body is its number.
pub const JOIN: u16 = 1;
/// The answer to [`JOIN`], with the same body.
pub const JOINED: u16 = 2;
/// Something for everybody in the room.
pub const MSG: u16 = 10;

/// Bytes of a frame's header: its size, header included, and its id.
pub const HEADER_BYTES: usize = 4;
/// The largest frame, header included, as Naksi's default.
pub const FRAME_BYTES_MAX: usize = 16 * 1024;
/// Most bytes that wait for a member that does not read, as in Naksi's defaults.
pub const OUTBOX_BYTES_MAX: usize = 256 * 1024;

/// What a peer serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum App {
    /// Bytes back.
    Echo,
    /// Frames to everybody in the sender's room.
    Relay,
}

/// A peer's command line.
#[derive(Clone, Debug)]
pub struct Options {
    /// What to serve.
    pub app: App,
    /// Where to listen.
    pub address: SocketAddr,
    /// Threads that serve, at least 1.
    pub workers: usize,
    /// Which of a peer's own variants, if it has some.
    pub runtime: Option<String>,
}

impl Options {
    /// Parses `--app echo|relay --addr ADDR --workers N [--runtime NAME]`, or prints the error and exits.
    pub fn from_args() -> Self {
        let mut options =
            Self { app: App::Echo, address: ([127, 0, 0, 1], 0).into(), workers: 1, runtime: None };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let value = words.next().unwrap_or_else(|| usage(&format!("{word} wants a value")));
            match word.as_str() {
                "--app" if value == "echo" => options.app = App::Echo,
                "--app" if value == "relay" => options.app = App::Relay,
                "--addr" => options.address = value.parse().unwrap_or_else(|error| usage(&error)),
                "--workers" => options.workers = value.parse().unwrap_or_else(|error| usage(&error)),
                "--runtime" => options.runtime = Some(value),
                _ => usage(&format!("{word} {value}")),
            }
        }
        options.workers = options.workers.max(1);
        options
    }
}

fn usage(what: &dyn Display) -> ! {
    eprintln!("{what}\nusage: --app echo|relay --addr ADDR --workers N");
    exit(2)
}

/// A listener whose address other threads may share.
///
/// # Errors
/// The system's error.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_port(true)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(4096)?;
    Ok(socket.into())
}

/// Says where the peer listens, as the runner expects it.
pub fn announce(address: SocketAddr) {
    println!("listening on {address}");
    std::io::stdout().flush().ok(); // A closed stdout is no error here.
}

/// One whole frame.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// What it is.
    pub id: u16,
    /// Header and body.
    pub bytes: &'a [u8],
}

/// The first whole frame; `None` if there is none yet.
///
/// # Errors
/// An invalid size: the connection should end.
pub fn first_frame(bytes: &[u8]) -> Result<Option<Frame<'_>>, BadFrame> {
    let Some((header, _)) = bytes.split_first_chunk::<HEADER_BYTES>() else { return Ok(None) };
    let size = usize::from(u16::from_le_bytes([header[0], header[1]]));
    let id = u16::from_le_bytes([header[2], header[3]]);
    match size {
        HEADER_BYTES..=FRAME_BYTES_MAX if size <= bytes.len() => {
            Ok(Some(Frame { id, bytes: &bytes[..size] }))
        }
        HEADER_BYTES..=FRAME_BYTES_MAX => Ok(None),
        _ => Err(BadFrame),
    }
}

/// A frame that ends its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadFrame;

/// The number of a room in the body of a [`JOIN`].
///
/// # Errors
/// A body of another length.
pub fn room_of(frame: Frame<'_>) -> Result<u32, BadFrame> {
    <[u8; 4]>::try_from(&frame.bytes[HEADER_BYTES..]).map(u32::from_le_bytes).map_err(|_| BadFrame)
}

/// The answer to a [`JOIN`].
pub fn joined(room: u32) -> [u8; 8] {
    let ([size, high], [id, rest]) = (8_u16.to_le_bytes(), JOINED.to_le_bytes());
    let [a, b, c, d] = room.to_le_bytes();
    [size, high, id, rest, a, b, c, d]
}

/// What one connection of a [`Hall`] has.
#[derive(Debug, Default)]
struct Member {
    room: Option<u32>,
    /// A frame's beginning.
    cut: Vec<u8>,
    outbox: Vec<u8>,
    /// Whether it is in the list of connections with something to send.
    dirty: bool,
}

/// Rooms and outboxes of one thread, for a hand-written relay on any I/O.
///
/// Connections are numbered by the server. A frame is copied into the outbox of every member, and a member with
/// something to send is listed once in [`Hall::take_dirty`].
#[derive(Debug, Default)]
pub struct Hall {
    members: Vec<Member>,
    rooms: HashMap<u32, Vec<usize>>,
    dirty: Vec<usize>,
}

impl Hall {
    /// A connection has come, or a number is used again.
    pub fn enter(&mut self, number: usize) {
        if self.members.len() <= number {
            self.members.resize_with(number + 1, Member::default);
        }
        self.members[number] = Member { dirty: self.members[number].dirty, ..Member::default() };
    }

    /// A connection is gone.
    pub fn leave(&mut self, number: usize) {
        if let Some(room) = self.members[number].room.take()
            && let Some(members) = self.rooms.get_mut(&room)
        {
            members.retain(|member| *member != number);
        }
        self.members[number].outbox = Vec::new();
    }

    /// Handles bytes received from a connection.
    ///
    /// # Errors
    /// Why the connection must end.
    pub fn receive(&mut self, number: usize, fresh: &[u8]) -> Result<(), BadFrame> {
        let mut cut = std::mem::take(&mut self.members[number].cut);
        if cut.is_empty() {
            let taken = self.take_whole(number, fresh)?;
            cut.extend_from_slice(&fresh[taken..]);
        } else {
            cut.extend_from_slice(fresh);
            let taken = self.take_whole(number, &cut)?;
            cut.drain(..taken);
        }
        self.members[number].cut = cut;
        Ok(())
    }

    /// Takes every whole frame, and says how many bytes they were.
    fn take_whole(&mut self, number: usize, bytes: &[u8]) -> Result<usize, BadFrame> {
        let mut rest = bytes;
        while let Some(frame) = first_frame(rest)? {
            self.take(number, frame)?;
            rest = &rest[frame.bytes.len()..];
        }
        Ok(bytes.len() - rest.len())
    }

    fn take(&mut self, number: usize, frame: Frame<'_>) -> Result<(), BadFrame> {
        match (frame.id, self.members[number].room) {
            (JOIN, old) => {
                let room = room_of(frame)?;
                if let Some(members) = old.and_then(|old| self.rooms.get_mut(&old)) {
                    members.retain(|member| *member != number);
                }
                self.members[number].room = Some(room);
                self.rooms.entry(room).or_default().push(number);
                self.queue(number, &joined(room));
                Ok(())
            }
            (MSG, Some(room)) => {
                let members = self.rooms.get_mut(&room).map(std::mem::take).unwrap_or_default();
                for member in &members {
                    self.queue(*member, frame.bytes);
                }
                self.rooms.insert(room, members);
                Ok(())
            }
            _ => Err(BadFrame),
        }
    }

    fn queue(&mut self, number: usize, bytes: &[u8]) {
        let member = &mut self.members[number];
        member.outbox.extend_from_slice(bytes);
        if !std::mem::replace(&mut member.dirty, true) {
            self.dirty.push(number);
        }
    }

    /// Who has something to send since the last time.
    pub fn take_dirty(&mut self) -> Vec<usize> {
        let dirty = std::mem::take(&mut self.dirty);
        for number in &dirty {
            self.members[*number].dirty = false;
        }
        dirty
    }

    /// The data to send to a connection; the caller removes what was sent. More than [`OUTBOX_BYTES_MAX`] left means
    /// that the reader has stalled.
    pub fn outbox(&mut self, number: usize) -> &mut Vec<u8> {
        &mut self.members[number].outbox
    }
}
