//! echo and relay on mio: an edge-triggered readiness loop, one shared buffer of 64 KiB, one thread per worker. Rooms
//! belong to one worker.

#![forbid(unsafe_code)]

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::thread;

use bench_shared::{App, Hall, OUTBOX_BYTES_MAX, Options, announce};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

const READ_BYTES: usize = 64 * 1024;
const LISTENER: Token = Token(usize::MAX);

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
    Ok(TcpListener::from_std(listener))
}

struct Worker {
    app: App,
    poll: Poll,
    listener: TcpListener,
    connections: Vec<Option<TcpStream>>,
    free: Vec<usize>,
    hall: Hall,
    buffer: Vec<u8>,
}

impl Worker {
    fn new(mut listener: TcpListener, app: App) -> io::Result<Self> {
        let poll = Poll::new()?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let (connections, free) = (Vec::new(), Vec::new());
        Ok(Self {
            app,
            poll,
            listener,
            connections,
            free,
            hall: Hall::default(),
            buffer: vec![0; READ_BYTES],
        })
    }

    fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        loop {
            match self.poll.poll(&mut events, None) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                outcome => outcome?,
            }
            for event in &events {
                let Token(number) = event.token();
                if event.token() == LISTENER {
                    self.accept();
                    continue;
                }
                // Edge-triggered: unwritten data goes first, and reading continues where it stopped.
                if event.is_writable() {
                    self.flush(number);
                }
                if event.is_readable() || event.is_writable() {
                    self.read(number);
                }
            }
            for number in self.hall.take_dirty() {
                self.flush(number);
            }
        }
    }

    fn accept(&mut self) {
        while let Ok((mut stream, _)) = self.listener.accept() {
            stream.set_nodelay(true).ok(); // An option, not a need.
            let number = self.free.pop().unwrap_or_else(|| {
                self.connections.push(None);
                self.connections.len() - 1
            });
            let interest = Interest::READABLE | Interest::WRITABLE;
            if self.poll.registry().register(&mut stream, Token(number), interest).is_ok() {
                self.connections[number] = Some(stream);
                self.hall.enter(number);
            } else {
                self.free.push(number);
            }
        }
    }

    /// Reads until there is nothing more, or until an echo has no room to write.
    fn read(&mut self, number: usize) {
        loop {
            if self.app == App::Echo && !self.hall.outbox(number).is_empty() {
                return;
            }
            let Some(stream) = &mut self.connections[number] else { return };
            let read = match stream.read(&mut self.buffer) {
                Ok(read @ 1..) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Ok(_) | Err(_) => return self.close(number),
            };
            match self.app {
                App::Relay => {
                    if self.hall.receive(number, &self.buffer[..read]).is_err() {
                        return self.close(number);
                    }
                }
                App::Echo => match stream.write(&self.buffer[..read]) {
                    Ok(sent) if sent == read => {}
                    Ok(sent) => self.hall.outbox(number).extend_from_slice(&self.buffer[sent..read]),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        self.hall.outbox(number).extend_from_slice(&self.buffer[..read]);
                    }
                    Err(_) => return self.close(number),
                },
            }
            // A read that did not fill the buffer has emptied the socket; more data is a new edge.
            if read < READ_BYTES {
                return;
            }
        }
    }

    fn flush(&mut self, number: usize) {
        let Some(stream) = &mut self.connections[number] else { return };
        let outbox = self.hall.outbox(number);
        while !outbox.is_empty() {
            match stream.write(outbox) {
                Ok(sent) if sent == outbox.len() => outbox.clear(),
                Ok(sent) => drop(outbox.drain(..sent)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return self.close(number),
            }
        }
        if self.app == App::Relay && self.hall.outbox(number).len() > OUTBOX_BYTES_MAX {
            self.close(number);
        }
    }

    fn close(&mut self, number: usize) {
        if self.connections[number].take().is_some() {
            self.hall.leave(number);
            self.free.push(number);
        }
    }
}
