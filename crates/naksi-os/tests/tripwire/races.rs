//! Ten thousand races between operations, cancellations and closes on a live kernel.
//!
//! Every operation ends exactly once, everything returns, and no completion reports EFAULT. A seed decides what
//! happens in a round; the kernel decides who wins a race.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use naksi_core::batch::{Segment, SendBatch};
use naksi_core::completion::{Completion, Done};
use naksi_core::ended::Ended;
use naksi_core::id::{Handle, Token};
use naksi_core::op::{Op, ShutdownHow};
use naksi_core::prng::Prng;
use naksi_os::port::{FileAccess, Ledger, ListenOptions, Port, PortOptions};

/// Bytes of every buffer: some pages.
const BUFFER_BYTES: usize = 8192;
/// How long a round may take to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// One port and what is in flight on it.
struct Race<P: Port> {
    port: P,
    prng: Prng,
    in_flight: HashMap<Token, bool>,
    open: Vec<Handle>,
    completions: Vec<Completion>,
    next: u32,
    ended: u64,
}

pub(crate) fn options() -> PortOptions {
    PortOptions {
        submission_entries: 32,
        completion_entries: 64,
        lease_count: 16,
        lease_bytes: BUFFER_BYTES,
        catch_max: 16,
        ..PortOptions::default()
    }
}

/// Runs this many rounds on fresh ports of fifty rounds each; every second port is dropped in the middle.
pub(crate) fn run<P: Port>(rounds: u32, open: impl Fn() -> P, end: impl Fn(P) -> Ledger) {
    let mut ended = 0;
    for number in 0..rounds / 50 {
        let mut race = Race {
            port: open(),
            prng: Prng::new(u64::from(number)),
            in_flight: HashMap::new(),
            open: Vec::new(),
            completions: Vec::new(),
            next: 0,
            ended: 0,
        };
        let (listener, address) = race.listen();
        let datagram = race.datagram();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("file");
        let file = race.port.open_file(&path, FileAccess::Create).expect("a temporary file can be made");
        std::fs::remove_file(&path).expect("it was just made");
        let accept = race.submit(Op::Accept { listener });
        for _ in 0..50 {
            race.round(address, datagram, file);
        }
        if number % 2 == 0 {
            race.port.cancel(accept);
            race.drain();
            let ledger = race.port.ledger();
            assert_eq!((ledger.in_flight, ledger.leases_out, ledger.starved), (0, 0, 0), "{ledger:?}");
        }
        ended += race.ended;
        let last = end(race.port);
        assert_eq!((last.in_flight, last.leases_out, last.leaked_total), (0, 0, 0), "{last:?}");
    }
    assert!(ended > u64::from(rounds) * 5, "only {ended} operations ended: nothing was tested");
}

impl<P: Port> Race<P> {
    fn listen(&mut self) -> (Handle, SocketAddr) {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        self.port.listen(any, &ListenOptions::default()).expect("loopback can be listened on")
    }

    fn datagram(&mut self) -> (Handle, SocketAddr) {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        self.port.bind_datagram(any).expect("a datagram socket")
    }

    fn submit(&mut self, op: Op) -> Token {
        self.next += 1;
        let token = Token::new(1, self.next & 0xff_ffff, self.next);
        match self.port.submit(token, op) {
            Ok(()) => drop(self.in_flight.insert(token, false)),
            Err(refused) => drop(refused.op), // a direction is taken or a handle is closed: part of the race
        }
        token
    }

    /// Everything at once, cancelled at once or a little later, and closed as soon as a close is accepted.
    fn round(&mut self, address: SocketAddr, datagram: (Handle, SocketAddr), file: Handle) {
        let mut ops = vec![self.submit(Op::Connect { remote: address })];
        for socket in self.open.clone() {
            ops.push(self.submit(Op::Recv { socket }));
            let mut batch = SendBatch::new();
            batch.push(Segment::Owned(vec![7; BUFFER_BYTES]));
            batch.push(Segment::Shared(Bytes::from(vec![8; BUFFER_BYTES])));
            ops.push(self.submit(Op::Send { socket, batch }));
        }
        ops.push(self.submit(Op::RecvFrom { socket: datagram.0, buffer: vec![0; BUFFER_BYTES] }));
        let bytes = Bytes::from(vec![9; BUFFER_BYTES]);
        ops.push(self.submit(Op::SendTo { socket: datagram.0, remote: datagram.1, bytes }));
        let offset = self.prng.below(16) * BUFFER_BYTES as u64;
        ops.push(self.submit(Op::WriteAt { file, offset, bytes: vec![1; BUFFER_BYTES] }));
        ops.push(self.submit(Op::ReadAt { file, offset, buffer: vec![0; BUFFER_BYTES] }));
        let at = self.port.now() + Duration::from_micros(self.prng.below(100));
        ops.push(self.submit(Op::Timeout { at }));
        for _ in 0..self.prng.below(3) {
            let span = Duration::from_micros(self.prng.below(50));
            self.turn(span);
        }
        for token in ops {
            if self.prng.chance(32_768) {
                self.port.cancel(token);
            }
        }
        for socket in self.open.clone() {
            if self.prng.chance(16_384) {
                self.submit(Op::Shutdown { socket, how: ShutdownHow::Both });
            }
            if self.prng.chance(32_768) {
                self.submit(Op::Close { handle: socket });
            }
        }
        self.turn(Duration::ZERO);
        // At most a few sockets stay, so that a round is short: the oldest are shut down, and closed once they are
        // idle.
        let spare = self.open.len().saturating_sub(6);
        let oldest: Vec<Handle> = self.open.iter().take(spare).copied().collect();
        for socket in oldest {
            self.submit(Op::Shutdown { socket, how: ShutdownHow::Both });
            self.submit(Op::Close { handle: socket });
        }
    }

    fn turn(&mut self, span: Duration) {
        let until = self.port.now() + span;
        let mut completions = std::mem::take(&mut self.completions);
        self.port.wait(&mut completions, Some(until)).expect("the port works");
        completions.drain(..).for_each(|completion| self.judge(&completion));
        self.completions = completions;
        let port = &mut self.port;
        let mut kept = Vec::new();
        for socket in self.open.drain(..) {
            // A released socket is idle and open; whatever is busy stays.
            match port.release(socket) {
                Ok(moved) => kept.push(port.adopt(moved)),
                Err(naksi_os::port::SubmitErrorKind::Busy) => kept.push(socket),
                Err(_) => {}
            }
        }
        self.open = kept;
    }

    fn judge(&mut self, completion: &Completion) {
        let token = completion.token;
        if completion.more {
            assert_eq!(
                self.in_flight.get(&token),
                Some(&false),
                "law 1: {completion:?} of nothing in flight"
            );
        } else {
            assert_eq!(self.in_flight.remove(&token), Some(false), "law 1: a second last {completion:?}");
            self.ended += 1;
        }
        if let Some(Ended::Failed(error)) = ended(&completion.done) {
            assert_ne!(error.code, libc::EFAULT, "the kernel met released memory: {completion:?}");
        }
        match &completion.done {
            Done::Accept(Ok(accepted)) => self.open.push(accepted.socket),
            Done::Connect(Ok(connected)) => self.open.push(connected.socket),
            _ => {}
        }
    }

    /// Ends everything and waits until all of it is over.
    fn drain(&mut self) {
        let deadline = self.port.now() + PATIENCE;
        while !self.in_flight.is_empty() {
            assert!(
                self.port.now() < deadline,
                "{} never ended: {:?}",
                self.in_flight.len(),
                self.port.ledger()
            );
            let tokens: Vec<Token> = self.in_flight.keys().copied().collect();
            tokens.into_iter().for_each(|token| self.port.cancel(token));
            self.turn(Duration::from_millis(1));
        }
    }
}

/// How an operation ended, unless it succeeded.
fn ended(done: &Done) -> Option<Ended> {
    match done {
        Done::Accept(result) => result.err(),
        Done::Connect(result) => result.err(),
        Done::Recv(result) => result.as_ref().err().copied(),
        Done::Send(_, result) | Done::ReadAt(_, result) | Done::WriteAt(_, result) => result.err(),
        Done::SendTo(_, result) => result.err(),
        Done::Shutdown(result) | Done::Sync(result) | Done::Timeout(result) => result.err(),
        Done::RecvFrom(_, result) => result.err(),
        Done::Close | Done::Posted(_) => None,
    }
}
