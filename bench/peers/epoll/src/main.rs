//! echo and relay on a hand-written epoll loop: level-triggered, one shared buffer of 64 KiB, one thread per worker.
//!
//! A lower bound: it has no limits and no features beyond the protocol. Rooms belong to one worker.

#![forbid(unsafe_code)]

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::thread;

use bench_shared::{App, Hall, OUTBOX_BYTES_MAX, Options, announce};
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

const READ_BYTES: usize = 64 * 1024;
const EVENTS: usize = 1024;
const LISTENER: u64 = u64::MAX;

fn main() -> io::Result<()> {
    let options = Options::from_args();
    let first = listen(options.address)?;
    let address = first.local_addr()?;
    let mut listeners = vec![first];
    for _ in 1..options.workers {
        listeners.push(listen(address)?);
    }
    let mut workers = Vec::new();
    for listener in listeners {
        let mut worker = Worker::new(listener, options.app)?;
        workers.push(thread::spawn(move || worker.run()));
    }
    announce(address);
    for worker in workers {
        worker.join().map_err(|_| io::Error::other("a worker panicked"))??;
    }
    Ok(())
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = bench_shared::listen(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

struct Connection {
    stream: TcpStream,
    /// Whether the loop is told when it can be written.
    watched: bool,
}

struct Worker {
    app: App,
    epoll: OwnedFd,
    listener: TcpListener,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    hall: Hall,
    buffer: Vec<u8>,
}

impl Worker {
    fn new(listener: TcpListener, app: App) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
        Ok(Self {
            app,
            epoll,
            listener,
            connections: Vec::new(),
            free: Vec::new(),
            hall: Hall::default(),
            buffer: vec![0; READ_BYTES],
        })
    }

    fn run(&mut self) -> io::Result<()> {
        let mut events = [const { MaybeUninit::<Event>::uninit() }; EVENTS];
        loop {
            let (ready, _) = match epoll::wait(&self.epoll, &mut events, None) {
                Ok(ready) => ready,
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            for event in ready.iter() {
                let (data, flags) = (event.data, event.flags);
                if data.u64() == LISTENER {
                    self.accept();
                    continue;
                }
                let number = data.u64() as usize;
                if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
                    self.read(number);
                }
                if flags.contains(EventFlags::OUT) {
                    self.flush(number);
                }
            }
            for number in self.hall.take_dirty() {
                self.flush(number);
            }
        }
    }

    fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            if stream.set_nonblocking(true).is_err() {
                continue;
            }
            stream.set_nodelay(true).ok(); // An option, not a need.
            let number = self.free.pop().unwrap_or_else(|| {
                self.connections.push(None);
                self.connections.len() - 1
            });
            if epoll::add(&self.epoll, &stream, EventData::new_u64(number as u64), EventFlags::IN).is_ok() {
                self.connections[number] = Some(Connection { stream, watched: false });
                self.hall.enter(number);
            } else {
                self.free.push(number);
            }
        }
    }

    fn read(&mut self, number: usize) {
        let Some(connection) = &mut self.connections[number] else { return };
        let read = match connection.stream.read(&mut self.buffer) {
            Ok(read @ 1..) => read,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return,
            Ok(_) | Err(_) => return self.close(number),
        };
        match self.app {
            App::Relay => {
                if self.hall.receive(number, &self.buffer[..read]).is_err() {
                    self.close(number);
                }
            }
            App::Echo if self.hall.outbox(number).is_empty() => {
                let sent = match connection.stream.write(&self.buffer[..read]) {
                    Ok(sent) => sent,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                    Err(_) => return self.close(number),
                };
                if sent < read {
                    self.hall.outbox(number).extend_from_slice(&self.buffer[sent..read]);
                    self.watch(number);
                }
            }
            App::Echo => {
                self.hall.outbox(number).extend_from_slice(&self.buffer[..read]);
                self.flush(number);
            }
        }
    }

    fn flush(&mut self, number: usize) {
        let Some(connection) = &mut self.connections[number] else { return };
        let outbox = self.hall.outbox(number);
        if outbox.is_empty() {
            return self.watch(number);
        }
        match connection.stream.write(outbox) {
            Ok(sent) if sent == outbox.len() => outbox.clear(),
            Ok(sent) => drop(outbox.drain(..sent)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return self.close(number),
        }
        if self.app == App::Relay && self.hall.outbox(number).len() > OUTBOX_BYTES_MAX {
            return self.close(number);
        }
        self.watch(number);
    }

    /// Watches for writability exactly while something waits; an echo does not read meanwhile.
    fn watch(&mut self, number: usize) {
        let waits = !self.hall.outbox(number).is_empty();
        let Some(connection) = &mut self.connections[number] else { return };
        if std::mem::replace(&mut connection.watched, waits) != waits {
            let flags = match (waits, self.app) {
                (false, _) => EventFlags::IN,
                (true, App::Relay) => EventFlags::IN | EventFlags::OUT,
                (true, App::Echo) => EventFlags::OUT,
            };
            let data = EventData::new_u64(number as u64);
            if epoll::modify(&self.epoll, &connection.stream, data, flags).is_err() {
                self.close(number);
            }
        }
    }

    fn close(&mut self, number: usize) {
        if self.connections[number].take().is_some() {
            self.hall.leave(number);
            self.free.push(number);
        }
    }
}
