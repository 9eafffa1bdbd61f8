//! echo and relay on a hand-written io_uring loop: multishot accept and receive, large provided buffers, one
//! coalesced send in flight per connection, one ring and one thread per worker.
//!
//! A lower bound: it has no limits and no features beyond the protocol. Rooms belong to one worker.

// UNSAFETY: entries hold addresses of buffers that live as long as the worker, or as the send in flight.
#![allow(unsafe_code, reason = "a ring takes addresses and numbers; it is a floor, not the product")]

use std::alloc::{Layout, alloc_zeroed};
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd as _, FromRawFd as _};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;

use bench_shared::{App, Hall, OUTBOX_BYTES_MAX, Options, announce};
use io_uring::types::{BufRingEntry, Fd};
use io_uring::{IoUring, cqueue, opcode, squeue};

const BUFFERS: u16 = 512;
const BUFFER_BYTES: usize = 32 * 1024;
/// Replies are sent after this many completions, while their sockets are still in the cache.
const SLICE: usize = 256;
/// What rooms gathered leaves after so many at the latest.
const SLICES: usize = 16;

const ACCEPT: u64 = 0;
const RECV: u64 = 1;
const SEND: u64 = 2;

fn main() -> io::Result<()> {
    let options = Options::from_args();
    let first = bench_shared::listen(options.address)?;
    let address: SocketAddr = first.local_addr()?;
    let mut listeners = vec![first];
    for _ in 1..options.workers {
        listeners.push(bench_shared::listen(address)?);
    }
    let workers: Vec<_> = listeners
        .into_iter()
        .map(|listener| thread::spawn(move || Worker::new(listener, options.app)?.run()))
        .collect();
    announce(address);
    for worker in workers {
        worker.join().map_err(|_| io::Error::other("a worker panicked"))??;
    }
    Ok(())
}

/// Receive buffers, and the ring in which the kernel finds them.
struct Buffers {
    entries: *mut BufRingEntry,
    bytes: Vec<u8>,
    tail: u16,
}

impl Buffers {
    fn open(ring: &IoUring) -> io::Result<Self> {
        let layout = Layout::from_size_align(usize::from(BUFFERS) * size_of::<BufRingEntry>(), 4096);
        // SAFETY: the layout is not empty; zeroed entries are what the kernel expects of a new ring.
        let entries = unsafe { alloc_zeroed(layout.map_err(io::Error::other)?) }.cast::<BufRingEntry>();
        // SAFETY: the entries live as long as the process.
        unsafe { ring.submitter().register_buf_ring_with_flags(entries as u64, BUFFERS, 0, 0)? };
        let mut buffers = Self { entries, bytes: vec![0; usize::from(BUFFERS) * BUFFER_BYTES], tail: 0 };
        (0..BUFFERS).for_each(|number| buffers.give(number));
        buffers.commit();
        Ok(buffers)
    }

    fn give(&mut self, number: u16) {
        let start = self.bytes[usize::from(number) * BUFFER_BYTES..].as_ptr() as u64;
        // SAFETY: the place is one of the ring's, and the kernel does not look at it before the commit.
        let entry = unsafe { &mut *self.entries.add(usize::from(self.tail % BUFFERS)) };
        entry.set_addr(start);
        entry.set_len(BUFFER_BYTES as u32);
        entry.set_bid(number);
        self.tail = self.tail.wrapping_add(1);
    }

    fn commit(&self) {
        // SAFETY: the tail is in the first entry, aligned, and only this thread writes it.
        let tail = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(self.entries).cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }
}

struct Connection {
    stream: TcpStream,
    receiving: bool,
    /// What the kernel sends now; empty if nothing.
    flying: Vec<u8>,
    over: bool,
}

struct Worker {
    app: App,
    ring: IoUring,
    listener: TcpListener,
    buffers: Buffers,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    hall: Hall,
    /// Who has something to send back.
    dirty: Vec<usize>,
}

impl Worker {
    fn new(listener: TcpListener, app: App) -> io::Result<Self> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_cqsize(65_536)
            .build(4096)?;
        let buffers = Buffers::open(&ring)?;
        let (connections, free, dirty) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Self { app, ring, listener, buffers, connections, free, hall: Hall::default(), dirty })
    }

    fn run(&mut self) -> io::Result<()> {
        let accept = opcode::AcceptMulti::new(Fd(self.listener.as_raw_fd())).build().user_data(ACCEPT);
        self.push(&accept)?;
        let mut caught = Vec::with_capacity(SLICE);
        loop {
            self.enter(1)?;
            for _ in 0..SLICES {
                caught.extend(
                    self.ring
                        .completion()
                        .take(SLICE)
                        .map(|entry| (entry.user_data(), entry.result(), entry.flags())),
                );
                for (data, result, flags) in caught.drain(..) {
                    self.complete(data, result, flags)?;
                }
                self.buffers.commit();
                for number in std::mem::take(&mut self.dirty) {
                    self.send(number)?;
                }
                if self.ring.completion().is_empty() {
                    if !self.ring.submission().taskrun() {
                        break;
                    }
                    self.enter(0)?;
                }
            }
            for number in self.hall.take_dirty() {
                self.send(number)?;
            }
        }
    }

    fn enter(&self, want: usize) -> io::Result<()> {
        match self.ring.submit_and_wait(want) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            outcome => outcome.map(drop),
        }
    }

    fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        // SAFETY: what the entry points to lives until its completion: see `Buffers` and `Connection::flying`.
        while unsafe { self.ring.submission().push(entry) }.is_err() {
            self.enter(0)?;
        }
        Ok(())
    }

    fn complete(&mut self, data: u64, result: i32, flags: u32) -> io::Result<()> {
        let number = (data >> 2) as usize;
        match data & 3 {
            ACCEPT if result >= 0 => self.accepted(result),
            ACCEPT => Ok(()),
            RECV => self.received(number, result, flags),
            _ => self.sent(number, result),
        }
    }

    fn accepted(&mut self, descriptor: i32) -> io::Result<()> {
        // SAFETY: a new descriptor, owned here only.
        let stream = unsafe { TcpStream::from_raw_fd(descriptor) };
        stream.set_nodelay(true).ok(); // An option, not a need.
        let number = self.free.pop().unwrap_or_else(|| {
            self.connections.push(None);
            self.connections.len() - 1
        });
        self.connections[number] =
            Some(Connection { stream, receiving: false, flying: Vec::new(), over: false });
        self.hall.enter(number);
        self.receive(number)
    }

    fn receive(&mut self, number: usize) -> io::Result<()> {
        let Some(connection) = &mut self.connections[number] else { return Ok(()) };
        connection.receiving = true;
        let entry = opcode::RecvMulti::new(Fd(connection.stream.as_raw_fd()), 0).build();
        self.push(&entry.user_data((number as u64) << 2 | RECV))
    }

    fn received(&mut self, number: usize, result: i32, flags: u32) -> io::Result<()> {
        let Some(connection) = &mut self.connections[number] else { return Ok(()) };
        connection.receiving = cqueue::more(flags);
        let mut over = result == 0 || result < 0 && result != -libc::ENOBUFS;
        if let Some(buffer) = cqueue::buffer_select(flags) {
            let start = usize::from(buffer) * BUFFER_BYTES;
            let bytes = &self.buffers.bytes[start..start + result.max(0) as usize];
            match self.app {
                App::Relay => over |= self.hall.receive(number, bytes).is_err(),
                App::Echo => {
                    let outbox = self.hall.outbox(number);
                    if outbox.is_empty() {
                        self.dirty.push(number);
                    }
                    outbox.extend_from_slice(bytes);
                }
            }
            self.buffers.give(buffer);
        }
        if over {
            return self.end(number);
        }
        if cqueue::more(flags) {
            return Ok(());
        }
        // All buffers were in use: they are provided again before this entry is processed.
        self.buffers.commit();
        self.receive(number)
    }

    /// Sends everything that waits, if nothing is on its way.
    fn send(&mut self, number: usize) -> io::Result<()> {
        let Some(connection) = &mut self.connections[number] else { return Ok(()) };
        let outbox = self.hall.outbox(number);
        if self.app == App::Relay && outbox.len() > OUTBOX_BYTES_MAX {
            return self.end(number);
        }
        if connection.over || outbox.is_empty() || !connection.flying.is_empty() {
            return Ok(());
        }
        std::mem::swap(&mut connection.flying, outbox);
        let (start, length) = (connection.flying.as_ptr(), connection.flying.len() as u32);
        let entry = opcode::Send::new(Fd(connection.stream.as_raw_fd()), start, length)
            .flags(libc::MSG_WAITALL | libc::MSG_NOSIGNAL)
            .build();
        self.push(&entry.user_data((number as u64) << 2 | SEND))
    }

    fn sent(&mut self, number: usize, result: i32) -> io::Result<()> {
        let Some(connection) = &mut self.connections[number] else { return Ok(()) };
        let whole = result >= 0 && result as usize == connection.flying.len();
        connection.flying.clear();
        if !whole || connection.over {
            return self.end(number);
        }
        self.send(number)
    }

    /// Ends a connection, and frees its slot when the kernel has finished with it.
    fn end(&mut self, number: usize) -> io::Result<()> {
        let Some(connection) = &mut self.connections[number] else { return Ok(()) };
        if !std::mem::replace(&mut connection.over, true) {
            self.hall.leave(number);
            // A receive or a send that is out returns through this.
            connection.stream.shutdown(Shutdown::Both).ok(); // It may be over already.
        }
        if !connection.receiving && connection.flying.is_empty() {
            self.connections[number] = None;
            self.free.push(number);
        }
        Ok(())
    }
}
