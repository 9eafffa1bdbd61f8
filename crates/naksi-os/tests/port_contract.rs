//! The laws of a port, as cases that run unchanged on every backend.
//!
//! A case is generic over a [`Waters`]: where ports come from and how they end. Peers are made with the port
//! itself (its own connect and accept), so that a simulated kernel can run the same cases; those that need a
//! foreign peer or a second thread are in `real`. Nothing here measures time, and every loop has an end.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use bytes::Bytes;
use naksi_core::batch::{Piece, SendBatch};
use naksi_core::completion::{Completion, Done};
use naksi_core::ended::{Ended, Failure};
use naksi_core::id::{Handle, Token};
use naksi_core::lease::Lease;
use naksi_core::op::{Op, ShutdownHow};
use naksi_core::tick::Tick;
use naksi_os::port::{FileAccess, Ledger, ListenOptions, Port, PortOptions, Poster, Refusal, Tide};

/// Where the ports of one backend come from.
trait Waters {
    type Port: Port;
    fn open(options: &PortOptions) -> Self::Port;
    /// Drops the port and returns its last ledger.
    fn end(port: Self::Port) -> Ledger;
}

/// Cases that count the descriptors of the process have it for themselves; all others share it.
static PROCESS: RwLock<()> = RwLock::new(());

fn together() -> RwLockReadGuard<'static, ()> {
    PROCESS.read().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn alone() -> RwLockWriteGuard<'static, ()> {
    PROCESS.write().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn small() -> PortOptions {
    PortOptions {
        submission_entries: 64,
        completion_entries: 256,
        lease_count: 32,
        lease_bytes: 4096,
        catch_max: 64,
    }
}

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// A port with a memory for completions that nobody has asked for yet.
struct Angler<W: Waters> {
    port: W::Port,
    seen: VecDeque<Completion>,
    caught: Vec<Completion>,
    next: u32,
}

impl<W: Waters> Angler<W> {
    fn new(options: &PortOptions) -> Self {
        Self { port: W::open(options), seen: VecDeque::new(), caught: Vec::new(), next: 0 }
    }

    fn token(&mut self) -> Token {
        self.next += 1;
        Token::new(1, self.next & 0xff_ffff, self.next)
    }

    fn cast(&mut self, op: Op) -> Token {
        let token = self.token();
        self.port.submit(token, op).unwrap_or_else(|refused| panic!("{refused:?}"));
        token
    }

    fn refusal(&mut self, op: Op) -> Refusal {
        let token = self.token();
        self.port.submit(token, op).expect_err("it should be refused").why
    }

    /// One wait of at most a tenth of a second.
    fn turn(&mut self) -> Tide {
        let until = self.port.now() + Duration::from_millis(100);
        let tide = self.port.wait(&mut self.caught, Some(until)).expect("the port works");
        self.seen.extend(self.caught.drain(..));
        tide
    }

    /// The next completion of an operation; others are kept.
    fn pull(&mut self, token: Token) -> Completion {
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
    fn last(&mut self, token: Token) -> Done {
        let completion = self.pull(token);
        assert!(!completion.more, "{completion:?} should be the last");
        completion.done
    }

    /// Looks for a while without blocking, so that what is on its way arrives.
    fn look(&mut self, turns: usize) {
        for _ in 0..turns {
            let now = self.port.now();
            self.port.wait(&mut self.caught, Some(now)).expect("the port works");
            self.seen.extend(self.caught.drain(..));
        }
    }

    fn listen(&mut self) -> (Handle, SocketAddr) {
        self.port.listen(loopback(), &ListenOptions::default()).expect("loopback can be listened on")
    }

    fn connect(&mut self, remote: SocketAddr) -> Handle {
        let token = self.cast(Op::Connect { remote });
        match self.last(token) {
            Done::Connect(Ok(connected)) => connected.socket,
            other => panic!("{other:?}"),
        }
    }

    fn accepted(&mut self, token: Token) -> Handle {
        match self.pull(token) {
            Completion { done: Done::Accept(Ok(accepted)), more: true, .. } => accepted.socket,
            other => panic!("{other:?}"),
        }
    }

    /// Both ends of one connection, made and taken by this port.
    fn pair(&mut self) -> (Handle, Handle) {
        let (listener, address) = self.listen();
        let accept = self.cast(Op::Accept { listener });
        let ours = self.connect(address);
        let theirs = self.accepted(accept);
        self.port.cancel(accept);
        assert!(matches!(self.last(accept), Done::Accept(Err(Ended::Aborted))));
        self.close(listener);
        (ours, theirs)
    }

    fn close(&mut self, handle: Handle) {
        let token = self.cast(Op::Close { handle });
        assert!(matches!(self.last(token), Done::Close));
    }

    /// Sends everything, however short the kernel makes it.
    fn send(&mut self, socket: Handle, bytes: &[u8]) {
        let mut batch = SendBatch::new();
        batch.push(Piece::Owned(bytes.to_vec()));
        let mut token = self.cast(Op::Send { socket, batch });
        loop {
            match self.last(token) {
                Done::Send(mut batch, Ok(sent)) => {
                    batch.advance(sent as usize, drop);
                    if batch.is_empty() {
                        return;
                    }
                    token = self.cast(Op::Send { socket, batch });
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn lease(&mut self, recv: Token) -> Lease {
        match self.pull(recv) {
            Completion { done: Done::Recv(Ok(lease)), more: true, .. } => lease,
            other => panic!("{other:?}"),
        }
    }

    /// Exactly so many bytes of a receive in flight.
    fn read(&mut self, recv: Token, length: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < length {
            bytes.extend_from_slice(&self.lease(recv));
        }
        assert_eq!(bytes.len(), length, "more arrived than was sent");
        bytes
    }

    fn recv_ended(&mut self, recv: Token) -> Ended {
        match self.last(recv) {
            Done::Recv(Err(ended)) => ended,
            other => panic!("{other:?}"),
        }
    }

    /// Everything is closed: nothing is left, and nothing was leaked.
    fn finish(mut self) -> Ledger {
        self.look(3);
        assert!(self.seen.is_empty(), "left over: {:?}", self.seen);
        let ledger = self.port.ledger();
        assert_eq!((ledger.in_flight, ledger.leases_out, ledger.starved), (0, 0, 0), "{ledger:?}");
        let last = W::end(self.port);
        assert_eq!((last.in_flight, last.leaked_total), (0, 0), "{last:?}");
        ledger
    }
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|place| (place * 31 + place / 251) as u8).collect()
}

fn accepts_connects_and_echoes<W: Waters>() {
    let _turn = together();
    let mut port = Angler::<W>::new(&small());
    let (ours, theirs) = port.pair();
    let (at_ours, at_theirs) = (port.cast(Op::Recv { socket: ours }), port.cast(Op::Recv { socket: theirs }));
    for round in 0..50_usize {
        let ping = pattern(round * 97 + 1);
        port.send(ours, &ping);
        let pong = port.read(at_theirs, ping.len());
        port.send(theirs, &pong);
        assert_eq!(port.read(at_ours, ping.len()), ping);
    }
    for socket in [ours, theirs] {
        let token = port.cast(Op::Shutdown { socket, how: ShutdownHow::Both });
        assert!(matches!(port.last(token), Done::Shutdown(Ok(()))));
    }
    assert!(matches!(port.recv_ended(at_ours), Ended::Aborted));
    // The other side may have read the end of the first shutdown before its own.
    assert!(matches!(port.recv_ended(at_theirs), Ended::Aborted | Ended::Closed));
    port.close(ours);
    port.close(theirs);
    assert_eq!(port.finish().handles, 0);
}

fn many_sends_keep_their_order<W: Waters>() {
    let _turn = together();
    let mut port = Angler::<W>::new(&small());
    let (ours, theirs) = port.pair();
    let recv = port.cast(Op::Recv { socket: theirs });
    let mut expected = Vec::new();
    let mut arrived = Vec::new();
    for number in 0..3000_u32 {
        port.send(ours, &number.to_le_bytes());
        expected.extend_from_slice(&number.to_le_bytes());
    }
    while arrived.len() < expected.len() {
        arrived.extend_from_slice(&port.lease(recv));
    }
    assert_eq!(arrived, expected);
    port.port.cancel(recv);
    assert_eq!(port.recv_ended(recv), Ended::Aborted);
    port.finish();
}

fn a_second_operation_in_a_direction_is_refused<W: Waters>() {
    let _turn = together();
    let mut port = Angler::<W>::new(&small());
    let (ours, _theirs) = port.pair();
    let recv = port.cast(Op::Recv { socket: ours });
    assert_eq!(port.refusal(Op::Recv { socket: ours }), Refusal::Busy);
    assert_eq!(port.refusal(Op::Send { socket: ours, batch: SendBatch::new() }), Refusal::Empty);
    assert_eq!(port.refusal(Op::Accept { listener: ours }), Refusal::WrongKind);
    port.port.cancel(recv);
    assert_eq!(port.recv_ended(recv), Ended::Aborted);
    port.finish();
}

fn a_large_batch_reaches_a_slow_reader_whole<W: Waters>() {
    let _turn = together();
    let mut port = Angler::<W>::new(&small());
    let (ours, theirs) = port.pair();
    let whole = pattern(1 << 20);
    let mut batch = SendBatch::new();
    for (number, piece) in whole.chunks(1049).enumerate() {
        batch.push(if number % 2 == 0 {
            Piece::Owned(piece.to_vec())
        } else {
            Piece::Shared(Bytes::copy_from_slice(piece))
        });
    }
    let mut send = port.cast(Op::Send { socket: ours, batch });
    port.look(50); // nobody reads yet
    let recv = port.cast(Op::Recv { socket: theirs });
    let (mut arrived, mut sends, mut sending) = (Vec::new(), 0, true);
    while sending || arrived.len() < whole.len() {
        port.turn();
        while let Some(completion) = port.seen.pop_front() {
            match completion.done {
                Done::Recv(Ok(lease)) => arrived.extend_from_slice(&lease),
                Done::Send(mut batch, Ok(sent)) => {
                    assert_eq!(completion.token, send);
                    sends += 1;
                    batch.advance(sent as usize, drop);
                    sending = !batch.is_empty();
                    if sending {
                        send = port.cast(Op::Send { socket: ours, batch });
                    }
                }
                other => panic!("{other:?}"),
            }
        }
    }
    assert!(arrived == whole, "the bytes arrived changed");
    assert!(sends > 1, "a thousand pieces do not fit one send");
    port.port.cancel(recv);
    assert_eq!(port.recv_ended(recv), Ended::Aborted);
    port.finish();
}

fn an_orderly_end_is_closed_and_the_other_way_stays_open<W: Waters>() {
    let _turn = together();
    let mut port = Angler::<W>::new(&small());
    let (ours, theirs) = port.pair();
    let (at_ours, at_theirs) = (port.cast(Op::Recv { socket: ours }), port.cast(Op::Recv { socket: theirs }));
    port.send(ours, b"the end");
    let token = port.cast(Op::Shutdown { socket: ours, how: ShutdownHow::Write });
    assert!(matches!(port.last(token), Done::Shutdown(Ok(()))));
    assert_eq!(port.read(at_theirs, 7), b"the end");
    assert_eq!(port.recv_ended(at_theirs), Ended::Closed);
    port.send(theirs, b"still here");
    assert_eq!(port.read(at_ours, 10), b"still here");
    port.close(theirs);
    assert_eq!(port.recv_ended(at_ours), Ended::Closed);
    port.close(ours);
    assert_eq!(port.finish().handles, 0);
}

fn a_send_after_our_own_shutdown_is_aborted<W: Waters>() {
    let _turn = together();
    let mut port = Angler::<W>::new(&small());
    let (ours, _theirs) = port.pair();
    let token = port.cast(Op::Shutdown { socket: ours, how: ShutdownHow::Write });
    assert!(matches!(port.last(token), Done::Shutdown(Ok(()))));
    let mut batch = SendBatch::new();
    batch.push(Piece::Owned(b"late".to_vec()));
    let send = port.cast(Op::Send { socket: ours, batch });
    match port.last(send) {
        Done::Send(batch, Err(Ended::Aborted)) => assert_eq!(batch.bytes(), 4),
        other => panic!("{other:?}"),
    }
    port.finish();
}

fn a_refused_connection_says_so<W: Waters>() {
    let _turn = together();
    let mut port = Angler::<W>::new(&small());
    let (listener, address) = port.listen();
    port.close(listener);
    let token = port.cast(Op::Connect { remote: address });
    match port.last(token) {
        Done::Connect(Err(Ended::Failed(error))) => assert_eq!(error.kind, Failure::Refused),
        other => panic!("{other:?}"),
    }
    assert_eq!(port.finish().handles, 0);
}

fn an_address_in_use_says_so<W: Waters>() {
    let _turn = together();
    let mut port = Angler::<W>::new(&small());
    let (_listener, address) = port.listen();
    let error = port.port.listen(address, &ListenOptions::default()).expect_err("it is taken");
    assert_eq!(error.kind, Failure::AddressInUse);
    port.finish();
}

fn a_cancelled_receive_ends_once_with_or_without_data<W: Waters>() {
    let _turn = together();
    let mut port = Angler::<W>::new(&small());
    let (ours, theirs) = port.pair();
    let recv = port.cast(Op::Recv { socket: theirs });
    port.port.cancel(recv); // before the kernel has seen it
    assert_eq!(port.recv_ended(recv), Ended::Aborted);
    let recv = port.cast(Op::Recv { socket: theirs });
    port.look(2);
    port.port.cancel(recv); // armed, without data
    port.port.cancel(recv);
    assert_eq!(port.recv_ended(recv), Ended::Aborted);
    for round in 0..200_usize {
        let recv = port.cast(Op::Recv { socket: theirs });
        port.look(round % 3);
        port.send(ours, b"fish");
        port.port.cancel(recv); // the data may be anywhere between the peer and us
        let mut bytes = Vec::new();
        loop {
            match port.pull(recv) {
                Completion { done: Done::Recv(Ok(lease)), more: true, .. } => bytes.extend_from_slice(&lease),
                Completion { done: Done::Recv(Err(Ended::Aborted)), more: false, .. } => break,
                other => panic!("{other:?}"),
            }
        }
        let rest = port.cast(Op::Recv { socket: theirs });
        if bytes.len() < 4 {
            bytes.extend(port.read(rest, 4 - bytes.len()));
        }
        assert_eq!(bytes, b"fish", "nothing is lost by a cancellation");
        port.port.cancel(rest);
        assert_eq!(port.recv_ended(rest), Ended::Aborted);
    }
    port.finish();
}

fn a_busy_handle_is_not_closed_and_a_stale_one_not_used<W: Waters>() {
    let _turn = together();
    let mut port = Angler::<W>::new(&small());
    let (ours, _theirs) = port.pair();
    let recv = port.cast(Op::Recv { socket: ours });
    assert_eq!(port.refusal(Op::Close { handle: ours }), Refusal::Busy);
    assert!(matches!(port.port.release(ours), Err(Refusal::Busy)));
    port.port.cancel(recv);
    // The end is on its way, but nobody has seen it: still busy, or over with the next wait.
    assert_eq!(port.refusal(Op::Close { handle: ours }), Refusal::Busy);
    assert_eq!(port.recv_ended(recv), Ended::Aborted);
    port.close(ours);
    assert_eq!(port.refusal(Op::Close { handle: ours }), Refusal::StaleHandle);
    assert_eq!(port.refusal(Op::Recv { socket: ours }), Refusal::StaleHandle);
    assert!(matches!(port.port.release(ours), Err(Refusal::StaleHandle)));
    port.finish();
}

fn a_token_in_flight_is_not_used_twice_and_the_wish_comes_back<W: Waters>() {
    let _turn = together();
    let mut port = Angler::<W>::new(&small());
    let (ours, theirs) = port.pair();
    let recv = port.cast(Op::Recv { socket: ours });
    let mut batch = SendBatch::new();
    batch.push(Piece::Owned(b"mine".to_vec()));
    let refused = port.port.submit(recv, Op::Send { socket: ours, batch }).expect_err("the token is taken");
    assert_eq!(refused.why, Refusal::TokenInUse);
    let Op::Send { batch, .. } = refused.op else { panic!("another wish came back") };
    assert_eq!(batch.bytes(), 4);
    port.port.cancel(recv);
    assert_eq!(port.recv_ended(recv), Ended::Aborted);
    // Free again after its last completion.
    port.port.submit(recv, Op::Recv { socket: theirs }).expect("the token is free");
    port.port.cancel(recv);
    assert_eq!(port.recv_ended(recv), Ended::Aborted);
    port.finish();
}

fn a_pool_of_one_serves_eight_sockets<W: Waters>() {
    let _turn = together();
    let mut port = Angler::<W>::new(&PortOptions { lease_count: 1, lease_bytes: 512, ..small() });
    let pairs: Vec<_> = (0..8).map(|_| port.pair()).collect();
    let recvs: Vec<_> = pairs.iter().map(|(_, theirs)| port.cast(Op::Recv { socket: *theirs })).collect();
    let whole = pattern(20_000);
    for (ours, _) in &pairs {
        port.send(*ours, &whole);
    }
    let mut arrived = vec![Vec::new(); pairs.len()];
    let mut kept = None;
    while arrived.iter().any(|bytes| bytes.len() < whole.len()) {
        port.look(1); // with the only lease in our hands
        drop(kept.take());
        port.turn();
        while let Some(completion) = port.seen.pop_front() {
            let place = recvs.iter().position(|recv| *recv == completion.token).expect("a receive of ours");
            match completion.done {
                Done::Recv(Ok(lease)) => {
                    assert!(completion.more);
                    arrived[place].extend_from_slice(&lease);
                    kept = Some(lease);
                }
                other => panic!("nobody is disconnected for an empty pool: {other:?}"),
            }
        }
        let ledger = port.port.ledger();
        assert!(ledger.leases_out <= ledger.lease_size && ledger.lease_size == 1);
    }
    drop(kept);
    assert!(arrived.iter().all(|bytes| *bytes == whole));
    assert!(port.port.ledger().starved_total > 0, "the pool was never empty: nothing was tested");
    for recv in recvs {
        port.port.cancel(recv);
        assert_eq!(port.recv_ended(recv), Ended::Aborted);
    }
    port.finish();
}

fn a_starved_receive_can_be_cancelled_and_shut_down<W: Waters>() {
    let _turn = together();
    let mut port = Angler::<W>::new(&PortOptions { lease_count: 1, ..small() });
    let pairs: Vec<_> = (0..3).map(|_| port.pair()).collect();
    let recvs: Vec<_> = pairs.iter().map(|(_, theirs)| port.cast(Op::Recv { socket: *theirs })).collect();
    port.send(pairs[0].0, b"a");
    let kept = port.lease(recvs[0]);
    port.send(pairs[1].0, b"b");
    port.send(pairs[2].0, b"c");
    for _ in 0..1000 {
        if port.port.ledger().starved == 2 {
            break;
        }
        port.turn();
    }
    assert_eq!(port.port.ledger().starved, 2);
    port.port.cancel(recvs[1]);
    assert_eq!(port.recv_ended(recvs[1]), Ended::Aborted);
    let token = port.cast(Op::Shutdown { socket: pairs[2].1, how: ShutdownHow::Both });
    assert!(matches!(port.last(token), Done::Shutdown(Ok(()))));
    assert_eq!(port.recv_ended(recvs[2]), Ended::Aborted);
    assert_eq!(port.port.ledger().starved, 0);
    drop(kept);
    port.port.cancel(recvs[0]);
    assert_eq!(port.recv_ended(recvs[0]), Ended::Aborted);
    port.finish();
}

fn leases_balance<W: Waters>() {
    let _turn = together();
    let mut port = Angler::<W>::new(&PortOptions { lease_count: 8, lease_bytes: 64, ..small() });
    let (ours, theirs) = port.pair();
    let recv = port.cast(Op::Recv { socket: theirs });
    port.send(ours, &pattern(64 * 5));
    let leases: Vec<_> = (0..5).map(|_| port.lease(recv)).collect();
    let ledger = port.port.ledger();
    assert_eq!((ledger.leases_out, ledger.lease_size), (5, 8));
    drop(leases);
    assert_eq!(port.port.ledger().leases_out, 0);
    port.send(ours, &pattern(64 * 40));
    port.read(recv, 64 * 40);
    port.port.cancel(recv);
    assert_eq!(port.recv_ended(recv), Ended::Aborted);
    port.finish();
}

fn posts_arrive_in_order_and_a_dropped_port_takes_none<W: Waters>() {
    let _turn = together();
    let mut port = Angler::<W>::new(&small());
    let poster = port.port.poster();
    let token = port.token();
    for value in 0..1000 {
        assert!(poster.post(token, value));
    }
    for value in 0..1000 {
        assert!(matches!(port.last(token), Done::Posted(number) if number == value));
    }
    port.finish();
    assert!(!poster.post(token, 0));
}

fn a_timeout_fires_or_is_cancelled<W: Waters>() {
    let _turn = together();
    let mut port = Angler::<W>::new(&small());
    let at = port.port.now() + Duration::from_millis(20);
    let soon = port.cast(Op::Timeout { at });
    let never = port.cast(Op::Timeout { at: at + Duration::from_secs(3600) });
    let past = port.cast(Op::Timeout { at: port.port.now() });
    assert!(matches!(port.last(past), Done::Timeout(Ok(()))));
    assert!(matches!(port.last(soon), Done::Timeout(Ok(()))));
    assert!(port.port.now() >= at, "a timeout is never early");
    port.port.cancel(never);
    assert!(matches!(port.last(never), Done::Timeout(Err(Ended::Aborted))));
    port.finish();
}

fn a_file_is_written_and_read_at_offsets<W: Waters>() {
    let _turn = together();
    let mut port = Angler::<W>::new(&small());
    let path = std::env::temp_dir().join(format!("naksi-contract-{}", std::process::id()));
    let file = port.port.open_file(&path, FileAccess::Create).expect("a temporary file can be made");
    let tail = port.cast(Op::WriteAt { file, offset: 6, bytes: b"world".to_vec() });
    let head = port.cast(Op::WriteAt { file, offset: 0, bytes: b"hello ".to_vec() });
    assert!(matches!(port.last(head), Done::WriteAt(bytes, Ok(6)) if bytes == b"hello "));
    assert!(matches!(port.last(tail), Done::WriteAt(_, Ok(5))));
    let sync = port.cast(Op::Sync { file });
    assert!(matches!(port.last(sync), Done::Sync(Ok(()))));
    assert_eq!(port.port.file_bytes(file), Ok(11));
    let read = port.cast(Op::ReadAt { file, offset: 4, buffer: vec![0; 32] });
    assert!(matches!(port.last(read), Done::ReadAt(buffer, Ok(7)) if &buffer[..7] == b"o world"));
    let read = port.cast(Op::ReadAt { file, offset: 11, buffer: vec![0; 32] });
    assert!(matches!(port.last(read), Done::ReadAt(buffer, Err(Ended::Closed)) if buffer.len() == 32));
    assert_eq!(port.refusal(Op::Recv { socket: file }), Refusal::WrongKind);
    port.close(file);
    let missing = port.port.open_file(&path.join("missing"), FileAccess::Read).expect_err("it is not there");
    assert_eq!(missing.kind, Failure::NotFound);
    std::fs::remove_file(&path).expect("it was there");
    port.finish();
}

fn datagrams_go_both_ways_and_a_long_one_is_cut<W: Waters>() {
    let _turn = together();
    let mut port = Angler::<W>::new(&small());
    let (left, left_address) = port.port.bind_datagram(loopback()).expect("a datagram socket");
    let (right, right_address) = port.port.bind_datagram(loopback()).expect("a datagram socket");
    for (from, from_address, to, to_address) in
        [(left, left_address, right, right_address), (right, right_address, left, left_address)]
    {
        for (bytes, cut) in [(&b"ping"[..], false), (&b""[..], false), (&b"longer than eight"[..], true)] {
            let recv = port.cast(Op::RecvFrom { socket: to, buffer: vec![0; 8] });
            let bytes = Bytes::copy_from_slice(bytes);
            let send = port.cast(Op::SendTo { socket: from, remote: to_address, bytes: bytes.clone() });
            assert!(matches!(port.last(send), Done::SendTo(_, Ok(sent)) if sent as usize == bytes.len()));
            match port.last(recv) {
                Done::RecvFrom(buffer, Ok(datagram)) => {
                    assert_eq!((datagram.from, datagram.cut), (from_address, cut));
                    assert_eq!(datagram.bytes as usize, bytes.len().min(8));
                    assert_eq!(buffer[..datagram.bytes as usize], bytes[..bytes.len().min(8)]);
                }
                other => panic!("{other:?}"),
            }
        }
    }
    let recv = port.cast(Op::RecvFrom { socket: left, buffer: vec![0; 8] });
    port.port.cancel(recv);
    assert!(matches!(port.last(recv), Done::RecvFrom(buffer, Err(Ended::Aborted)) if buffer.len() == 8));
    port.finish();
}

fn a_port_dropped_with_operations_in_flight_drains<W: Waters>() {
    let _turn = together();
    let mut port = Angler::<W>::new(&small());
    let (listener, address) = port.listen();
    port.cast(Op::Accept { listener });
    let (ours, theirs) = port.pair();
    port.cast(Op::Recv { socket: ours });
    let mut batch = SendBatch::new();
    (0..100).for_each(|_| batch.push(Piece::Owned(vec![7; 1 << 16])));
    port.cast(Op::Send { socket: ours, batch }); // nobody reads it
    port.cast(Op::Timeout { at: port.port.now() + Duration::from_secs(3600) });
    let (datagram, _) = port.port.bind_datagram(loopback()).expect("a datagram socket");
    port.cast(Op::RecvFrom { socket: datagram, buffer: vec![0; 8] });
    port.look(3);
    port.cast(Op::Connect { remote: address });
    port.cast(Op::Close { handle: theirs });
    assert!(port.port.ledger().in_flight >= 6);
    let last = W::end(port.port);
    assert_eq!((last.in_flight, last.leaked_total, last.leases_out, last.starved), (0, 0, 0, 0), "{last:?}");
}

fn a_small_ring_loses_nothing<W: Waters>() {
    let _turn = together();
    let options = PortOptions { submission_entries: 8, completion_entries: 16, catch_max: 5, ..small() };
    let mut port = Angler::<W>::new(&options);
    let (left, left_address) = port.port.bind_datagram(loopback()).expect("a datagram socket");
    let pairs: Vec<_> = (0..40).map(|_| port.pair()).collect();
    let recvs: Vec<_> = pairs.iter().map(|(_, theirs)| port.cast(Op::Recv { socket: *theirs })).collect();
    let mut arrived = vec![0_usize; pairs.len()];
    for round in 1..=60 {
        // Hundreds of wishes between two waits: far more than either queue holds.
        let sends: Vec<_> = pairs
            .iter()
            .map(|(ours, _)| {
                let mut batch = SendBatch::new();
                batch.push(Piece::Owned(vec![round as u8; 10]));
                port.cast(Op::Send { socket: *ours, batch })
            })
            .collect();
        let now = port.port.now();
        let timeouts: Vec<_> =
            (0..60).map(|span| port.cast(Op::Timeout { at: now + Duration::from_micros(span) })).collect();
        let datagram =
            port.cast(Op::SendTo { socket: left, remote: left_address, bytes: Bytes::from_static(b"x") });
        for send in sends {
            assert!(matches!(port.last(send), Done::Send(_, Ok(10))));
        }
        for timeout in timeouts {
            assert!(matches!(port.last(timeout), Done::Timeout(Ok(()))));
        }
        assert!(matches!(port.last(datagram), Done::SendTo(_, Ok(1))));
        for (recv, arrived) in recvs.iter().zip(&mut arrived) {
            while *arrived < round * 10 {
                *arrived += port.lease(*recv).len();
            }
        }
    }
    // Once more, and cancelled while the data completions do not fit the queue: each receive still gives its
    // bytes, then ends, although the kernel may have ended it before the cancellation came.
    let sends: Vec<_> = pairs
        .iter()
        .map(|(ours, _)| {
            let mut batch = SendBatch::new();
            batch.push(Piece::Owned(vec![0; 10]));
            port.cast(Op::Send { socket: *ours, batch })
        })
        .collect();
    for token in sends {
        assert!(matches!(port.last(token), Done::Send(_, Ok(10))));
    }
    for recv in &recvs {
        port.port.cancel(*recv);
    }
    for recv in recvs {
        let mut length = 0;
        loop {
            // Some end although the kernel had ended them early, and must not be asked for again.
            match port.pull(recv) {
                Completion { done: Done::Recv(Ok(lease)), more: true, .. } => length += lease.len(),
                Completion { done: Done::Recv(Err(Ended::Aborted)), more: false, .. } => break,
                other => panic!("{other:?}"),
            }
        }
        assert!(length <= 10, "at most what was sent");
    }
    port.finish();
}

fn a_wait_returns_at_most_what_was_asked_for<W: Waters>() {
    let _turn = together();
    let mut port = Angler::<W>::new(&PortOptions { catch_max: 7, ..small() });
    let poster = port.port.poster();
    let token = port.token();
    (0..100).for_each(|value| assert!(poster.post(token, value)));
    let mut total = 0;
    while total < 100 {
        let now = port.port.now();
        let tide = port.port.wait(&mut port.caught, Some(now)).expect("the port works");
        assert!(port.caught.len() <= 7);
        total += port.caught.drain(..).count();
        assert_eq!(tide, if total < 100 { Tide::More } else { Tide::Dry });
    }
    port.finish();
}

macro_rules! contract {
    ($room:ident, $waters:ty, $($case:ident),* $(,)?) => {
        mod $room {
            $(#[test] fn $case() { super::$case::<$waters>(); })*
        }
    };
    ($room:ident, $waters:ty) => {
        contract!(
            $room, $waters,
            accepts_connects_and_echoes,
            many_sends_keep_their_order,
            a_second_operation_in_a_direction_is_refused,
            a_large_batch_reaches_a_slow_reader_whole,
            an_orderly_end_is_closed_and_the_other_way_stays_open,
            a_send_after_our_own_shutdown_is_aborted,
            a_refused_connection_says_so,
            an_address_in_use_says_so,
            a_cancelled_receive_ends_once_with_or_without_data,
            a_busy_handle_is_not_closed_and_a_stale_one_not_used,
            a_token_in_flight_is_not_used_twice_and_the_wish_comes_back,
            a_pool_of_one_serves_eight_sockets,
            a_starved_receive_can_be_cancelled_and_shut_down,
            leases_balance,
            posts_arrive_in_order_and_a_dropped_port_takes_none,
            a_timeout_fires_or_is_cancelled,
            a_file_is_written_and_read_at_offsets,
            datagrams_go_both_ways_and_a_long_one_is_cut,
            a_port_dropped_with_operations_in_flight_drains,
            a_small_ring_loses_nothing,
            a_wait_returns_at_most_what_was_asked_for,
        );
    };
}

/// Cases with foreign peers, several threads, or a look at the process: for ports of real kernels only.
mod real {
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    pub(super) fn a_reset_by_the_peer_is_told_from_an_end<W: Waters>() {
        let _turn = together();
        let mut port = Angler::<W>::new(&small());
        let (listener, address) = port.listen();
        let accept = port.cast(Op::Accept { listener });
        for send_first in [false, true] {
            let peer = TcpStream::connect(address).expect("the port listens");
            let socket = port.accepted(accept);
            let recv = port.cast(Op::Recv { socket });
            port.look(2);
            socket2::SockRef::from(&peer).set_linger(Some(Duration::ZERO)).expect("a live socket");
            drop(peer);
            if send_first {
                let mut batch = SendBatch::new();
                batch.push(Piece::Owned(vec![1; 100]));
                let send = port.cast(Op::Send { socket, batch });
                assert!(matches!(port.last(send), Done::Send(_, Err(Ended::Reset))));
            }
            assert_eq!(port.recv_ended(recv), Ended::Reset);
            port.close(socket);
        }
        port.port.cancel(accept);
        assert!(matches!(port.last(accept), Done::Accept(Err(Ended::Aborted))));
        port.finish();
    }

    pub(super) fn a_foreign_peer_is_served<W: Waters>() {
        let _turn = together();
        let mut port = Angler::<W>::new(&small());
        let (listener, address) = port.listen();
        let accept = port.cast(Op::Accept { listener });
        let whole = pattern(3 << 20);
        let sent = whole.clone();
        let peer = thread::spawn(move || {
            let mut peer = TcpStream::connect(address).expect("the port listens");
            let mut writer = peer.try_clone().expect("a descriptor is left");
            let writing = thread::spawn(move || writer.write_all(&sent));
            let mut back = vec![0; 3 << 20];
            peer.read_exact(&mut back).expect("everything comes back");
            writing.join().expect("no panic").expect("everything is taken");
            back
        });
        let socket = port.accepted(accept);
        let recv = port.cast(Op::Recv { socket });
        let mut echoed = 0;
        while echoed < whole.len() {
            let lease = port.lease(recv);
            port.send(socket, &lease);
            echoed += lease.len();
        }
        assert!(peer.join().expect("the peer is content") == whole);
        assert_eq!(port.recv_ended(recv), Ended::Closed);
        port.finish_busy(accept);
    }

    pub(super) fn a_post_wakes_a_sleeping_wait<W: Waters>() {
        let _turn = together();
        let mut port = Angler::<W>::new(&small());
        let poster = port.port.poster();
        let token = port.token();
        let (allow, allowed) = mpsc::channel::<()>();
        let posting = thread::spawn(move || {
            for value in 0..2000 {
                allowed.recv().expect("the port goes on");
                if value % 3 == 0 {
                    thread::yield_now(); // sometimes the port is asleep by now, sometimes it is not
                }
                assert!(poster.post(token, value));
            }
        });
        for value in 0..2000 {
            allow.send(()).expect("the poster goes on");
            // A long way off: only the post can wake it in time.
            let deadline = port.port.now() + Duration::from_secs(20);
            let until = if value % 2 == 0 { deadline } else { Tick::MAX };
            while port.caught.is_empty() {
                port.port.wait(&mut port.caught, Some(until)).expect("the port works");
                assert!(port.port.now() < deadline, "a post was slept through");
            }
            assert!(
                matches!(port.caught.pop(), Some(Completion { done: Done::Posted(number), .. }) if number == value)
            );
        }
        posting.join().expect("no panic");
        port.finish();
    }

    pub(super) fn a_socket_moves_to_another_port_in_another_thread<W: Waters>()
    where
        <W::Port as Port>::Socket: Send,
    {
        let _turn = together();
        let (give, given) = mpsc::channel();
        let other = thread::spawn(move || {
            let mut port = Angler::<W>::new(&small());
            let socket = port.port.adopt(given.recv().expect("a socket comes"));
            let recv = port.cast(Op::Recv { socket });
            let bytes = port.read(recv, 5);
            port.send(socket, &bytes);
            assert_eq!(port.recv_ended(recv), Ended::Closed);
            port.close(socket);
            port.finish();
        });
        let mut port = Angler::<W>::new(&small());
        let (ours, theirs) = port.pair();
        port.send(ours, b"moved");
        let socket = port.port.release(theirs).unwrap_or_else(|why| panic!("{why}"));
        assert!(give.send(socket).is_ok());
        let recv = port.cast(Op::Recv { socket: ours });
        assert_eq!(port.read(recv, 5), b"moved");
        port.port.cancel(recv);
        assert_eq!(port.recv_ended(recv), Ended::Aborted);
        port.close(ours);
        other.join().expect("no panic");
        assert_eq!(port.finish().handles, 0);
    }

    #[cfg(target_os = "linux")]
    fn descriptors() -> usize {
        std::fs::read_dir("/proc/self/fd").expect("/proc is mounted").count()
    }

    #[cfg(target_os = "linux")]
    pub(super) fn a_cancelled_accept_leaks_no_connection<W: Waters>() {
        let _turn = alone();
        let before = descriptors();
        for round in 0..300_usize {
            let mut port = Angler::<W>::new(&PortOptions { lease_count: 4, ..small() });
            let (listener, address) = port.listen();
            let accept = port.cast(Op::Accept { listener });
            port.look(round % 3);
            let peers: Vec<_> =
                (0..3).map(|_| TcpStream::connect(address).expect("the port listens")).collect();
            if round % 2 == 0 {
                port.port.cancel(accept);
                let mut taken = Vec::new();
                loop {
                    match port.pull(accept) {
                        Completion { done: Done::Accept(Ok(accepted)), more: true, .. } => {
                            taken.push(accepted.socket)
                        }
                        Completion { done: Done::Accept(Err(Ended::Aborted)), more: false, .. } => break,
                        other => panic!("{other:?}"),
                    }
                }
                taken.into_iter().for_each(|socket| port.close(socket));
                port.close(listener);
                assert_eq!(port.finish().handles, 0);
            } else {
                // The port ends with the accept in flight and connections that nobody has seen.
                assert_eq!(W::end(port.port).leaked_total, 0);
            }
            drop(peers);
        }
        assert_eq!(descriptors(), before);
    }

    #[cfg(target_os = "linux")]
    pub(super) fn ten_thousand_connections_leave_nothing_behind<W: Waters>() {
        let _turn = alone();
        let before = descriptors();
        let mut port = Angler::<W>::new(&small());
        let (listener, address) = port.listen();
        let accept = port.cast(Op::Accept { listener });
        for _ in 0..2500 {
            let connects: Vec<_> = (0..4).map(|_| port.cast(Op::Connect { remote: address })).collect();
            let mut open = Vec::new();
            for connect in connects {
                match port.last(connect) {
                    Done::Connect(Ok(connected)) => open.push(connected.socket),
                    other => panic!("{other:?}"),
                }
                open.push(port.accepted(accept));
            }
            let closes: Vec<_> = open.into_iter().map(|handle| port.cast(Op::Close { handle })).collect();
            for close in closes {
                assert!(matches!(port.last(close), Done::Close));
            }
        }
        port.port.cancel(accept);
        assert!(matches!(port.last(accept), Done::Accept(Err(Ended::Aborted))));
        port.close(listener);
        assert_eq!(port.finish().handles, 0);
        assert_eq!(descriptors(), before);
    }

    #[cfg(target_os = "linux")]
    pub(super) fn no_descriptor_left_is_told_and_accepting_goes_on_after_it<W: Waters>() {
        let _turn = alone();
        let mut port = Angler::<W>::new(&small());
        let (listener, address) = port.listen();
        let accept = port.cast(Op::Accept { listener });
        port.look(2);
        let first = TcpStream::connect(address).expect("the port listens");
        let first_socket = port.accepted(accept);
        // The peer's own descriptor is made before the process has none left.
        let late =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        let mut hoard = Vec::new();
        while let Ok(file) = std::fs::File::open("/dev/null") {
            hoard.push(file);
        }
        late.connect(&address.into()).expect("the backlog takes it");
        match port.last(accept) {
            Done::Accept(Err(Ended::Failed(error))) => assert_eq!(error.kind, Failure::DescriptorsExhausted),
            other => panic!("{other:?}"),
        }
        let connect = port.cast(Op::Connect { remote: address });
        match port.last(connect) {
            Done::Connect(Err(Ended::Failed(error))) => assert_eq!(error.kind, Failure::DescriptorsExhausted),
            other => panic!("{other:?}"),
        }
        drop(hoard);
        let again = port.cast(Op::Accept { listener });
        let second_socket = port.accepted(again);
        port.close(first_socket);
        port.close(second_socket);
        drop(first);
        port.finish_busy(again);
    }
}

impl<W: Waters> Angler<W> {
    /// Ends an accept that is still in flight, and then as `finish` does.
    fn finish_busy(mut self, accept: Token) {
        self.port.cancel(accept);
        assert!(matches!(self.last(accept), Done::Accept(Err(Ended::Aborted))));
        self.finish();
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use super::*;

    pub(super) struct Uring;

    impl Waters for Uring {
        type Port = naksi_os::linux::port::Port;

        fn open(options: &PortOptions) -> Self::Port {
            Self::Port::open(options).expect("io_uring works here")
        }

        fn end(port: Self::Port) -> Ledger {
            port.end()
        }
    }
}

#[cfg(target_os = "linux")]
contract!(uring, crate::linux::Uring);

#[cfg(target_os = "linux")]
mod uring_real {
    use crate::linux::Uring;
    use crate::real;

    macro_rules! cases {
        ($($case:ident),* $(,)?) => { $(#[test] fn $case() { real::$case::<Uring>(); })* };
    }

    cases!(
        a_reset_by_the_peer_is_told_from_an_end,
        a_foreign_peer_is_served,
        a_post_wakes_a_sleeping_wait,
        a_socket_moves_to_another_port_in_another_thread,
        a_cancelled_accept_leaks_no_connection,
        ten_thousand_connections_leave_nothing_behind,
        no_descriptor_left_is_told_and_accepting_goes_on_after_it,
    );
}
