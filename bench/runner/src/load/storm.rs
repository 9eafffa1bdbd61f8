//! A storm: connect, exchange one message, close, and repeat, with a number of connections in flight. Complete lives
//! are counted.

use std::io::{ErrorKind, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::pattern::Pattern;
use super::{Seen, Window};

const MESSAGE_BYTES: usize = 64;

/// A storm of connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Storm {
    pub(crate) at_a_time: usize,
}

struct Life {
    stream: TcpStream,
    began: Instant,
    said: bool,
    back: usize,
}

/// A storm that blows.
pub(crate) struct Running {
    address: SocketAddr,
    epoll: OwnedFd,
    lives: Vec<Life>,
    pattern: Pattern,
}

impl Storm {
    pub(crate) fn begin(self, address: SocketAddr) -> Result<Running> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let lives = Vec::with_capacity(self.at_a_time);
        let mut running = Running { address, epoll, lives, pattern: Pattern::new() };
        for number in 0..self.at_a_time {
            let life = running.born(number)?;
            running.lives.push(life);
        }
        Ok(running)
    }
}

impl Running {
    /// Runs, and calls `begin` when the warm-up is over.
    pub(crate) fn run(&mut self, window: Window, begin: impl FnOnce() -> Result<()>) -> Result<Seen> {
        let mut seen = Seen::new();
        self.drive(Instant::now() + window.warm_up, None)?;
        begin()?;
        self.drive(Instant::now() + window.measured, Some(&mut seen))?;
        Ok(seen)
    }

    fn drive(&mut self, until: Instant, mut seen: Option<&mut Seen>) -> Result<()> {
        let mut events = [const { MaybeUninit::<Event>::uninit() }; 256];
        while Instant::now() < until {
            let span = until.saturating_duration_since(Instant::now());
            let timeout = Timespec { tv_sec: span.as_secs() as i64, tv_nsec: i64::from(span.subsec_nanos()) };
            let (ready, _) = match epoll::wait(&self.epoll, &mut events, Some(&timeout)) {
                Ok(ready) => ready,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            for event in ready.iter() {
                let (data, flags) = (event.data, event.flags);
                let number = data.u64() as usize;
                if flags.contains(EventFlags::OUT) && !self.lives[number].said {
                    self.speak(number)?;
                }
                if flags.intersects(EventFlags::IN | EventFlags::ERR | EventFlags::HUP) {
                    self.hear(number, seen.as_deref_mut())?;
                }
            }
        }
        Ok(())
    }

    fn born(&self, number: usize) -> Result<Life> {
        let family = if self.address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
        match rustix::net::connect(&socket, &self.address) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error).context("a connection of the storm"),
        }
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        epoll::add(&self.epoll, &stream, EventData::new_u64(number as u64), EventFlags::OUT)?;
        Ok(Life { stream, began: Instant::now(), said: false, back: 0 })
    }

    fn speak(&mut self, number: usize) -> Result<()> {
        let life = &mut self.lives[number];
        let sent = life.stream.write(self.pattern.run(number as u64, 0, MESSAGE_BYTES));
        ensure!(sent.context("a connection of the storm")? == MESSAGE_BYTES, "a new socket has no room");
        life.said = true;
        Ok(epoll::modify(&self.epoll, &life.stream, EventData::new_u64(number as u64), EventFlags::IN)?)
    }

    fn hear(&mut self, number: usize, seen: Option<&mut Seen>) -> Result<()> {
        let life = &mut self.lives[number];
        let mut buffer = [0; MESSAGE_BYTES];
        let read = match life.stream.read(&mut buffer) {
            Ok(read) => read,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return Ok(());
            }
            Err(error) => return Err(error).context("a connection of the storm"),
        };
        ensure!(read > 0, "the server closed a connection that it had not answered");
        let wanted = self.pattern.run(number as u64, life.back as u64, read);
        ensure!(buffer[..read] == *wanted, "other bytes came back");
        life.back += read;
        if life.back == MESSAGE_BYTES {
            if let Some(seen) = seen {
                seen.messages += 1;
                seen.record(life.began.elapsed().as_nanos() as u64);
            }
            // The old stream is dropped, and so closed, by us first.
            self.lives[number] = self.born(number)?;
        }
        Ok(())
    }
}
