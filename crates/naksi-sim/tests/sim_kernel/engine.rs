//! The smallest engine that a port lets live: sessions that echo, and jobs that try everything else.

mod jobs;

use naksi_core::batch::{Segment, SendBatch};
use naksi_core::completion::{Completion, Done};
use naksi_core::ended::Ended;
use naksi_core::id::{Handle, Token};
use naksi_core::op::{Op, ShutdownHow};
use naksi_core::prng::Prng;
use naksi_os::port::{ListenOptions, PollStatus, Port as _, Poster as _, SubmitErrorKind};
use naksi_sim::kernel::port::{SimPort, SimPoster, SimSocket};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

const ACCEPT: u8 = 1;
const RECV: u8 = 2;
const SEND: u8 = 3;
const SHUTDOWN: u8 = 4;
const CLOSE: u8 = 5;
const CONNECT: u8 = 6;
const ACCEPT_AGAIN: u8 = 7;
const FILE: u8 = 8;
const DATAGRAM_RECV: u8 = 9;
const DATAGRAM_SEND: u8 = 10;
const HANDED_OVER: u8 = 11;
const COUNTED: u8 = 12;
const TIMER: u8 = 13;
const DATAGRAM_OVER: u8 = 14;
const END: u8 = 15;

/// What the workers of one run share: sockets on their way between them.
pub(crate) struct Shared {
    seed: u64,
    waiting: RefCell<Vec<VecDeque<SimSocket>>>,
    posters: RefCell<Vec<SimPoster>>,
    /// No socket is dropped on purpose any more.
    pub(crate) calm: Cell<bool>,
    /// Receives whose last completion was a success: the cancel had come too late.
    pub(crate) late_successes: Cell<u32>,
}

impl Shared {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            seed,
            waiting: RefCell::default(),
            posters: RefCell::default(),
            calm: Cell::new(false),
            late_successes: Cell::new(0),
        }
    }

    pub(crate) fn meet(&self, engines: &[Engine]) {
        *self.posters.borrow_mut() = engines.iter().map(|engine| engine.port.poster()).collect();
        self.waiting.borrow_mut().resize_with(engines.len(), VecDeque::new);
    }
}

#[derive(Default)]
struct Session {
    generation: u32,
    socket: Option<Handle>,
    recv: bool,
    send: bool,
    shutdown: bool,
    queue: Vec<u8>,
    /// We made the connection: so many bytes of the echo are still missing.
    missing: Option<usize>,
    over: bool,
    broken: bool,
    said_end: bool,
}

pub(crate) struct Engine {
    pub(crate) port: SimPort,
    index: usize,
    shared: Rc<Shared>,
    prng: Prng,
    listener: Option<Handle>,
    accepting: bool,
    stopping: bool,
    sessions: Vec<Session>,
    free: Vec<u32>,
    caught: Vec<Completion>,
    spare: Vec<Vec<u8>>,
    file: Option<Handle>,
    datagram: Option<Handle>,
    datagrams_left: u32,
    datagram_over: bool,
    /// Datagram operations in flight.
    datagram_busy: u32,
    datagrams_to: Option<SocketAddr>,
    counted: u64,
    jobs: u32,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let alive = self.sessions.iter().filter(|session| session.socket.is_some()).count();
        write!(f, "worker {}: {alive} sessions, {} jobs, {:?}", self.index, self.jobs, self.port.ledger())
    }
}

fn token(kind: u8, slot: u32) -> Token {
    Token::new(kind, slot, 0)
}

impl Engine {
    pub(crate) fn new(port: SimPort, index: usize, shared: &Rc<Shared>) -> Self {
        Self {
            port,
            index,
            shared: Rc::clone(shared),
            prng: Prng::new(shared.seed ^ index as u64),
            listener: None,
            accepting: false,
            stopping: false,
            sessions: Vec::new(),
            free: Vec::new(),
            caught: Vec::new(),
            spare: Vec::new(),
            file: None,
            datagram: None,
            datagrams_left: 0,
            datagram_over: false,
            datagram_busy: 0,
            datagrams_to: None,
            counted: 0,
            jobs: 0,
        }
    }

    pub(crate) fn listen(&mut self) -> SocketAddr {
        let any = "0.0.0.0:0".parse().expect("an address");
        let options = ListenOptions { backlog: 8192, ..ListenOptions::default() };
        let (listener, mut address) = self.port.listen(any, &options).expect("a fresh world has room");
        self.listener = Some(listener);
        self.accept();
        address.set_ip([127, 0, 0, 1].into());
        address
    }

    fn accept(&mut self) {
        let Some(listener) = self.listener else { return };
        self.port.submit(token(ACCEPT, 0), Op::Accept { listener }).expect("one accept at a time");
        self.accepting = true;
    }

    pub(crate) fn step(&mut self) {
        let mut caught = std::mem::take(&mut self.caught);
        let until = self.port.now() + Duration::from_secs(5);
        let status = self.port.wait(&mut caught, Some(until)).expect("a simulated port does not break");
        assert!(status == PollStatus::Drained || !caught.is_empty());
        for completion in caught.drain(..) {
            self.process(completion);
        }
        self.caught = caught;
        if self.stopping
            && !self.accepting
            && let Some(handle) = self.listener.take()
        {
            self.jobs += 1;
            self.port.submit(token(END, 0), Op::Close { handle }).expect("an idle listener closes");
        }
    }

    fn process(&mut self, completion: Completion) {
        let Completion { token: name, done, more } = completion;
        let slot = name.slot();
        match done {
            Done::Accept(result) => self.process_accept(result.map(|accepted| accepted.socket), more),
            Done::Connect(result) => {
                self.jobs -= 1;
                if let Ok(connected) = result {
                    self.open(connected.socket, Some(300));
                }
            }
            Done::Recv(result) => self.process_recv(slot, result, more),
            Done::Send(batch, result) => self.process_send(slot, batch, result),
            Done::Shutdown(result) => {
                assert_eq!(result, Ok(()));
                self.sessions[slot as usize].shutdown = false;
                self.go_on(slot);
            }
            Done::Close if name.kind() == CLOSE => {
                let session = &mut self.sessions[slot as usize];
                assert!(session.socket.take().is_some(), "a session closes once");
                session.generation += 1;
                self.free.push(slot);
            }
            Done::Close => self.jobs -= 1,
            Done::ReadAt(..) | Done::WriteAt(..) | Done::Sync(..) => self.process_file(done),
            Done::RecvFrom(buffer, result) => self.process_datagram(&buffer, result.map(|got| got.bytes)),
            Done::SendTo(_, result) => {
                assert_eq!(result, Ok(4));
                self.jobs -= 1;
                self.datagram_busy -= 1;
                self.send_datagram();
                self.close_datagram();
            }
            Done::Timeout(_) if name.kind() == ACCEPT_AGAIN => {
                if !self.stopping {
                    self.accept();
                }
            }
            Done::Timeout(_) if name.kind() == DATAGRAM_OVER => {
                self.port.cancel(token(DATAGRAM_RECV, 0));
                self.datagram_over = true;
                self.close_datagram();
                self.jobs -= 1;
            }
            Done::Timeout(result) => {
                assert!(slot > 0 || result == Ok(()), "it was not cancelled");
                self.jobs -= 1;
            }
            Done::Posted(value) if name.kind() == COUNTED => {
                assert_eq!(value, self.counted, "posts keep their order");
                self.counted += 1;
                self.jobs -= 1;
            }
            Done::Posted(_) => {
                let socket = self.shared.waiting.borrow_mut()[self.index].pop_front();
                let socket = self.port.adopt(socket.expect("one post for each socket"));
                self.open(socket, None);
            }
        }
    }

    fn process_accept(&mut self, result: Result<Handle, Ended>, more: bool) {
        self.accepting = more;
        match result {
            Ok(socket) => {
                let workers = self.shared.posters.borrow().len();
                let target = self.prng.below(workers as u64) as usize;
                if target != self.index {
                    let socket = self.port.release(socket).expect("a fresh socket is idle");
                    if !self.shared.calm.get() && self.prng.chance(2048) {
                        drop(socket);
                    } else {
                        self.shared.waiting.borrow_mut()[target].push_back(socket);
                        assert!(self.shared.posters.borrow()[target].post(token(HANDED_OVER, 0), 0));
                    }
                } else {
                    self.open(socket, None);
                }
                if workers > 1 && self.prng.chance(8192) {
                    self.port.cancel(token(ACCEPT, 0));
                }
            }
            Err(Ended::Failed(error)) => {
                assert!(!more, "a failed accept is over: {error}");
                let at = self.port.now() + Duration::from_millis(10);
                self.port.submit(token(ACCEPT_AGAIN, 0), Op::Timeout { at }).expect("one pause at a time");
                return;
            }
            Err(ended) => assert_eq!((ended, more), (Ended::Aborted, false)),
        }
        if !more && !self.stopping {
            self.accept();
        }
    }

    fn open(&mut self, socket: Handle, missing: Option<usize>) {
        let slot = self.free.pop().unwrap_or(self.sessions.len() as u32);
        if slot as usize == self.sessions.len() {
            self.sessions.push(Session::default());
        }
        let queue = match missing {
            Some(length) => vec![7; length],
            None => self.spare.pop().unwrap_or_default(),
        };
        let generation = self.sessions[slot as usize].generation;
        let socket = Some(socket);
        self.sessions[slot as usize] = Session { generation, socket, queue, missing, ..Session::default() };
        self.receive(slot);
        self.go_on(slot);
    }

    fn receive(&mut self, slot: u32) {
        let session = &mut self.sessions[slot as usize];
        let socket = session.socket.expect("an open session");
        session.recv = true;
        self.port.submit(token(RECV, slot), Op::Recv { socket }).expect("one receive at a time");
    }

    fn process_recv(&mut self, slot: u32, result: Result<naksi_core::lease::Lease, Ended>, more: bool) {
        let lottery = self.prng.next_u64() % 64;
        let session = &mut self.sessions[slot as usize];
        session.recv = more;
        match result {
            Ok(lease) => {
                let late = &self.shared.late_successes;
                late.set(late.get() + u32::from(!more));
                match &mut session.missing {
                    Some(missing) => {
                        assert!(lease.iter().all(|byte| *byte == 7), "the server echoes what we sent");
                        *missing -= lease.len();
                    }
                    None => session.queue.extend_from_slice(&lease),
                }
                if more && lottery == 0 && self.shared.posters.borrow().len() > 1 {
                    self.port.cancel(token(RECV, slot));
                }
            }
            Err(Ended::Closed) => session.over = true,
            // Our own cancel in the middle: the receive is asked for again.
            Err(Ended::Aborted) => {}
            Err(Ended::Reset) => session.broken = true,
            Err(Ended::Failed(_)) => session.broken = true,
        }
        let session = &self.sessions[slot as usize];
        if !more && !session.over && !session.broken {
            self.receive(slot);
        }
        self.go_on(slot);
    }

    fn process_send(&mut self, slot: u32, mut batch: SendBatch, result: Result<u32, Ended>) {
        let session = &mut self.sessions[slot as usize];
        session.send = false;
        let spare = &mut self.spare;
        let mut recycle = |piece| {
            if let Segment::Owned(mut bytes) = piece {
                bytes.clear();
                spare.push(bytes);
            }
        };
        match result {
            Ok(sent) => batch.advance(sent as usize, &mut recycle),
            Err(_) => {
                session.broken = true;
                batch.abandon(&mut recycle);
            }
        }
        if !batch.is_empty() {
            session.send = true;
            let socket = session.socket.expect("an open session");
            self.port.submit(token(SEND, slot), Op::Send { socket, batch }).expect("one send at a time");
        }
        self.go_on(slot);
    }

    /// Whatever the session wants next.
    fn go_on(&mut self, slot: u32) {
        let session = &mut self.sessions[slot as usize];
        let socket = session.socket.expect("an open session");
        if session.shutdown {
            return;
        }
        if session.broken {
            session.queue.clear();
        }
        if !session.queue.is_empty() && !session.send {
            session.send = true;
            let mut batch = SendBatch::new();
            batch.push(Segment::Owned(std::mem::take(&mut session.queue)));
            if let Some(spare) = self.spare.pop() {
                session.queue = spare;
            }
            self.port.submit(token(SEND, slot), Op::Send { socket, batch }).expect("one send at a time");
            return;
        }
        let how = if session.broken && (session.recv || session.send) {
            Some(ShutdownHow::Both)
        } else if session.missing == Some(0) && !session.send && !session.said_end && !session.over {
            Some(ShutdownHow::Write)
        } else {
            None
        };
        if let Some(how) = how {
            session.said_end = true;
            session.shutdown = true;
            self.port.submit(token(SHUTDOWN, slot), Op::Shutdown { socket, how }).expect("one at a time");
            let close = Op::Close { handle: socket };
            let refused = self.port.submit(token(CLOSE, slot), close).expect_err("busy");
            assert_eq!(refused.why, SubmitErrorKind::Busy);
            return;
        }
        if (session.over || session.broken) && !session.recv && !session.send {
            self.port
                .submit(token(CLOSE, slot), Op::Close { handle: socket })
                .expect("an idle handle closes");
            let again = self.port.submit(token(RECV, slot), Op::Recv { socket }).expect_err("stale");
            assert_eq!(again.why, SubmitErrorKind::StaleHandle);
        }
    }
}
