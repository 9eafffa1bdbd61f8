//! What every case needs: a port with a memory, and shorthands that fail loudly. Knows no backend.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use bytes::Bytes;
use naksi_core::batch::{Segment, SendBatch};
use naksi_core::completion::{Completion, Connected, Done};
use naksi_core::ended::Ended;
use naksi_core::id::{Handle, Token};
use naksi_core::lease::Lease;
use naksi_core::op::Op;
use naksi_os::port::{Ledger, ListenOptions, PollStatus, Port, PortOptions, SubmitErrorKind};

/// Where the ports of one backend come from.
pub(crate) trait Harness {
    type Port: Port;
    fn open(options: &PortOptions) -> Self::Port;
    /// Drops the port and returns its last ledger.
    fn end(port: Self::Port) -> Ledger;
}

/// Cases that count the descriptors of the process have it for themselves; all others share it.
static PROCESS: RwLock<()> = RwLock::new(());

pub(crate) fn together() -> RwLockReadGuard<'static, ()> {
    PROCESS.read().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn alone() -> RwLockWriteGuard<'static, ()> {
    PROCESS.write().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn small() -> PortOptions {
    PortOptions {
        submission_entries: 64,
        completion_entries: 256,
        lease_count: 32,
        lease_bytes: 4096,
        catch_max: 64,
        direct_descriptors: None,
    }
}

pub(crate) fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// A port that keeps completions until the test asks for them.
pub(crate) struct Driver<W: Harness> {
    pub(crate) port: W::Port,
    /// What came before anybody asked for it.
    pub(crate) seen: VecDeque<Completion>,
    pub(crate) caught: Vec<Completion>,
    next: u32,
}

impl<W: Harness> Driver<W> {
    pub(crate) fn new(options: &PortOptions) -> Self {
        Self { port: W::open(options), seen: VecDeque::new(), caught: Vec::new(), next: 0 }
    }

    pub(crate) fn token(&mut self) -> Token {
        self.next += 1;
        Token::new(1, self.next & 0xff_ffff, self.next)
    }

    pub(crate) fn submit(&mut self, op: Op) -> Token {
        let token = self.token();
        self.port.submit(token, op).unwrap_or_else(|refused| panic!("{refused:?}"));
        token
    }

    pub(crate) fn refusal(&mut self, op: Op) -> SubmitErrorKind {
        let token = self.token();
        self.port.submit(token, op).expect_err("it should be refused").why
    }

    /// One wait of at most a tenth of a second.
    pub(crate) fn turn(&mut self) -> PollStatus {
        let until = self.port.now() + Duration::from_millis(100);
        let status = self.port.wait(&mut self.caught, Some(until)).expect("the port works");
        self.seen.extend(self.caught.drain(..));
        status
    }

    /// The next completion of an operation; others are kept.
    pub(crate) fn next_completion(&mut self, token: Token) -> Completion {
        let deadline = self.port.now() + Duration::from_secs(20);
        loop {
            if let Some(place) = self.seen.iter().position(|completion| completion.token == token) {
                return self.seen.remove(place).expect("it was just found");
            }
            assert!(self.port.now() < deadline, "nothing came for {token:?}; {:?}", self.port.ledger());
            self.turn();
        }
    }

    /// The only completion of an operation.
    pub(crate) fn last(&mut self, token: Token) -> Done {
        let completion = self.next_completion(token);
        assert!(!completion.more, "{completion:?} should be the last");
        completion.done
    }

    /// Looks for a while without blocking, so that what is on its way arrives.
    pub(crate) fn look(&mut self, turns: usize) {
        for _ in 0..turns {
            let now = self.port.now();
            self.port.wait(&mut self.caught, Some(now)).expect("the port works");
            self.seen.extend(self.caught.drain(..));
        }
    }

    pub(crate) fn listen(&mut self) -> (Handle, SocketAddr) {
        self.port.listen(loopback(), &ListenOptions::default()).expect("loopback can be listened on")
    }

    pub(crate) fn accepted(&mut self, token: Token) -> Handle {
        match self.next_completion(token) {
            Completion { done: Done::Accept(Ok(accepted)), more: true, .. } => accepted.socket,
            other => panic!("{other:?}"),
        }
    }

    /// Both ends of one connection, made and taken by this port. Any other connection is dropped: another
    /// program may be trying a port number that was its own a moment ago.
    pub(crate) fn pair(&mut self) -> (Handle, Handle) {
        let (listener, address) = self.listen();
        let accept = self.submit(Op::Accept { listener });
        let connect = self.submit(Op::Connect { remote: address });
        let Done::Connect(Ok(Connected { socket: ours, local })) = self.last(connect) else {
            panic!("a listener is there");
        };
        let theirs = loop {
            match self.next_completion(accept).done {
                Done::Accept(Ok(accepted)) if accepted.peer == local => break accepted.socket,
                Done::Accept(Ok(stranger)) => self.close(stranger.socket),
                other => panic!("{other:?}"),
            }
        };
        self.port.cancel(accept);
        assert!(matches!(self.last(accept), Done::Accept(Err(Ended::Aborted))));
        self.close(listener);
        (ours, theirs)
    }

    pub(crate) fn close(&mut self, handle: Handle) {
        let token = self.submit(Op::Close { handle });
        assert!(matches!(self.last(token), Done::Close));
    }

    /// Sends everything, however short the kernel makes it.
    pub(crate) fn send(&mut self, socket: Handle, bytes: &[u8]) {
        let mut batch = SendBatch::new();
        batch.push(Segment::Owned(bytes.to_vec()));
        let mut token = self.submit(Op::Send { socket, batch });
        loop {
            match self.last(token) {
                Done::Send(mut batch, Ok(sent)) => {
                    batch.advance(sent as usize, drop);
                    if batch.is_empty() {
                        return;
                    }
                    token = self.submit(Op::Send { socket, batch });
                }
                other => panic!("{other:?}"),
            }
        }
    }

    /// Sends until the buffers are full. Returns the send that waits for room.
    pub(crate) fn stuff(&mut self, socket: Handle) -> Token {
        let bytes = Bytes::from(vec![7; 1 << 20]);
        for _ in 0..1000 {
            let mut batch = SendBatch::new();
            batch.push(Segment::Shared(bytes.clone()));
            let send = self.submit(Op::Send { socket, batch });
            self.look(3);
            match self.seen.iter().position(|completion| completion.token == send) {
                Some(place) => drop(self.seen.remove(place)),
                None => return send,
            }
        }
        panic!("the socket takes everything");
    }

    pub(crate) fn lease(&mut self, recv: Token) -> Lease {
        match self.next_completion(recv) {
            Completion { done: Done::Recv(Ok(lease)), more: true, .. } => lease,
            other => panic!("{other:?}"),
        }
    }

    /// Exactly so many bytes of a receive in flight.
    pub(crate) fn read(&mut self, recv: Token, length: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < length {
            bytes.extend_from_slice(&self.lease(recv));
        }
        assert_eq!(bytes.len(), length, "more arrived than was sent");
        bytes
    }

    pub(crate) fn recv_ended(&mut self, recv: Token) -> Ended {
        match self.last(recv) {
            Done::Recv(Err(ended)) => ended,
            other => panic!("{other:?}"),
        }
    }

    /// Everything is closed: nothing is left, and nothing was leaked.
    pub(crate) fn finish(mut self) -> Ledger {
        self.look(3);
        assert!(self.seen.is_empty(), "left over: {:?}", self.seen);
        let ledger = self.port.ledger();
        assert_eq!((ledger.in_flight, ledger.leases_out, ledger.starved), (0, 0, 0), "{ledger:?}");
        let last = W::end(self.port);
        assert_eq!((last.in_flight, last.leaked_total), (0, 0), "{last:?}");
        ledger
    }

    /// Ends an accept that is still in flight, and then as `finish` does.
    pub(crate) fn finish_busy(mut self, accept: Token) {
        self.port.cancel(accept);
        assert!(matches!(self.last(accept), Done::Accept(Err(Ended::Aborted))));
        self.finish();
    }
}

pub(crate) fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|place| (place * 31 + place / 251) as u8).collect()
}
