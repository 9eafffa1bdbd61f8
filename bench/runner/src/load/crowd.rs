//! Connections and the epoll instance that watches them: connect, read, write and wait. The load interprets the
//! bytes.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use socket2::{Domain, Socket, Type};

/// Events taken at a time.
const EVENTS: usize = 1024;
/// What is read at a time.
pub(super) const READ_BYTES: usize = 256 * 1024;
/// The kernel's receive buffer of a connection that will not be read; the kernel doubles this.
const DEAF_RECV_BYTES: usize = 4 * 1024;
/// The segment size of Ethernet. The sender's kernel keeps as many segments as fit its first window, of whatever
/// size: with loopback's that would be 3 MB, more than any server's own limit.
const DEAF_SEGMENT_BYTES: u32 = 1_460;

/// Connections, numbered from 0.
pub(super) struct Crowd {
    epoll: OwnedFd,
    streams: Vec<Stream>,
    events: Vec<Event>,
}

struct Stream {
    stream: TcpStream,
    /// Bytes for which the kernel had no room.
    unsent: Vec<u8>,
}

/// What a crowd is told about one connection.
#[derive(Clone, Copy)]
pub(super) struct Ready {
    pub(super) number: usize,
    pub(super) readable: bool,
}

impl Crowd {
    /// Connects so many, one after the other.
    pub(super) fn connect(address: SocketAddr, count: usize) -> Result<Self> {
        Self::connect_with_deaf(address, count, 0)
    }

    /// As before; for the first ones the kernel buffers are as small as for a remote client that does not read.
    pub(super) fn connect_with_deaf(address: SocketAddr, count: usize, deaf: usize) -> Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let mut streams = Vec::with_capacity(count);
        for number in 0..count {
            let stream = if number < deaf { connect_deaf(address) } else { TcpStream::connect(address) };
            let stream = stream.with_context(|| format!("connection {number}"))?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            epoll::add(&epoll, &stream, EventData::new_u64(number as u64), EventFlags::IN)?;
            streams.push(Stream { stream, unsent: Vec::new() });
        }
        Ok(Self { epoll, streams, events: Vec::with_capacity(EVENTS) })
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.streams.len()
    }

    /// A connection's own address.
    pub(super) fn address(&self, number: usize) -> Result<SocketAddr> {
        Ok(self.streams[number].stream.local_addr()?)
    }

    /// Stops reading from one connection: its data stays with the kernel.
    pub(super) fn stall(&mut self, number: usize) -> Result<()> {
        Ok(epoll::delete(&self.epoll, &self.streams[number].stream)?)
    }

    /// Ends one, after the server has.
    pub(super) fn close(&mut self, number: usize) -> Result<()> {
        self.stall(number)?;
        Ok(rustix::net::shutdown(&self.streams[number].stream, rustix::net::Shutdown::Both).or_else(
            |error| {
                // It may be gone entirely already.
                if error == rustix::io::Errno::NOTCONN { Ok(()) } else { Err(error) }
            },
        )?)
    }

    /// Waits at most until a moment, and says who is ready.
    pub(super) fn wait(&mut self, until: Instant, ready: &mut Vec<Ready>) -> Result<()> {
        let span = until.saturating_duration_since(Instant::now()).min(Duration::from_secs(1));
        let timeout = Timespec { tv_sec: span.as_secs() as i64, tv_nsec: i64::from(span.subsec_nanos()) };
        ready.clear();
        let mut events = std::mem::take(&mut self.events);
        events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            let (data, flags) = (event.data, event.flags);
            let number = data.u64() as usize;
            if flags.contains(EventFlags::OUT) {
                let stream = &mut self.streams[number];
                let unsent = std::mem::take(&mut stream.unsent);
                epoll::modify(
                    &self.epoll,
                    &stream.stream,
                    EventData::new_u64(number as u64),
                    EventFlags::IN,
                )?;
                self.write(number, &unsent)?;
            }
            let readable = flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR);
            ready.push(Ready { number, readable });
        }
        self.events = events;
        Ok(())
    }

    /// Reads what has come from one; nothing is `None`.
    pub(super) fn read(&mut self, number: usize, into: &mut [u8]) -> Result<Option<usize>> {
        match self.streams[number].stream.read(into) {
            Ok(0) => bail!("the server closed connection {number}"),
            Ok(read) => Ok(Some(read)),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(None),
            Err(error) => Err(error).with_context(|| format!("connection {number}")),
        }
    }

    /// Writes to one connection; what does not fit is written when there is room.
    pub(super) fn write(&mut self, number: usize, bytes: &[u8]) -> Result<()> {
        let stream = &mut self.streams[number];
        if !stream.unsent.is_empty() {
            stream.unsent.extend_from_slice(bytes);
            return Ok(());
        }
        let sent = match stream.stream.write(bytes) {
            Ok(sent) => sent,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error).with_context(|| format!("connection {number}")),
        };
        if sent < bytes.len() {
            stream.unsent.extend_from_slice(&bytes[sent..]);
            let flags = EventFlags::IN | EventFlags::OUT;
            epoll::modify(&self.epoll, &stream.stream, EventData::new_u64(number as u64), flags)?;
        }
        Ok(())
    }
}

/// Both sizes must be set before the handshake, which transmits them.
fn connect_deaf(address: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_recv_buffer_size(DEAF_RECV_BYTES)?;
    socket.set_tcp_mss(DEAF_SEGMENT_BYTES)?;
    socket.connect(&address.into())?;
    Ok(socket.into())
}
