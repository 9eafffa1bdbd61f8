//! Shorthands of the scripts: one short word for each wish and for what is set up again and again.
//!
//! Nothing here knows a backend, or what a scenario is about.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use naksi_core::batch::{Segment, SendBatch};
use naksi_core::completion::{Completion, Done};
use naksi_core::ended::Ended;
use naksi_core::op::{Op, ShutdownHow};
use naksi_os::port::{FileAccess, ListenOptions};

use super::script::{OpRef, Script, Thing, loopback};

/// Bytes of one send while a socket is stuffed.
const STUFFING_BYTES: usize = 64 * 1024;
/// How long a stuffed socket must stay stuffed: a kernel that asks again whether there is room (`tcp(7)`, the
/// zero window probe) does so for the first time after 200 ms, and may then find some.
const STUFFED: Duration = Duration::from_millis(300);
/// More rounds than any kernel takes before it makes the sender wait.
const STUFFING_ROUNDS_MAX: usize = 1024;

/// One piece as a batch.
pub(super) fn batch(bytes: &[u8]) -> SendBatch {
    let mut batch = SendBatch::new();
    batch.push(Segment::Owned(bytes.to_vec()));
    batch
}

/// Bytes of which every place can be told from its neighbours.
pub(super) fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|place| (place * 31 + place / 251) as u8).collect()
}

/// Listeners and connections.
impl Script {
    pub(super) fn listen(&mut self) -> (Thing, SocketAddr) {
        self.listen_on(0, &ListenOptions::default())
    }

    pub(super) fn listen_on(&mut self, port: usize, options: &ListenOptions) -> (Thing, SocketAddr) {
        let result = self.port(port).listen(loopback(), options);
        let (handle, address) = self.opened("a listener", result);
        (Thing { port, handle }, address)
    }

    /// An address without a listener. A port that was free a moment ago would not do: a system may give it
    /// to another process, or to the connecting socket itself, which is then connected to itself.
    pub(super) fn unused_address(&mut self) -> SocketAddr {
        self.first();
        SocketAddr::from(([127, 0, 0, 1], 1))
    }

    pub(super) fn accept(&mut self, listener: Thing) -> OpRef {
        self.submit("accept", listener.port, Op::Accept { listener: listener.handle })
    }

    pub(super) fn connect(&mut self, remote: SocketAddr) -> OpRef {
        self.submit("connect", 0, Op::Connect { remote })
    }

    /// The socket that an accept brings, with its line if the accept has a label.
    pub(super) fn accepted(&mut self, accept: OpRef) -> Thing {
        match self.answer(accept) {
            Completion { done: Done::Accept(Ok(accepted)), more: true, .. } => {
                Thing { port: accept.port, handle: accepted.socket }
            }
            _ => self.stop("no connection was accepted"),
        }
    }

    /// The socket that a connect brings, with its line if the connect has a label.
    pub(super) fn connected(&mut self, connect: OpRef) -> Thing {
        match self.answer(connect).done {
            Done::Connect(Ok(connected)) => Thing { port: connect.port, handle: connected.socket },
            _ => self.stop("no connection was made"),
        }
    }

    /// Both ends of one connection of the first port: who connected, and who accepted.
    pub(super) fn pair(&mut self) -> (Thing, Thing) {
        self.pair_between(0, 0, &ListenOptions::default())
    }

    /// Both ends of a connection, the accepted one with kernel buffers of eight thousand bytes.
    pub(super) fn narrow_pair(&mut self) -> (Thing, Thing) {
        let bytes = Some(8192);
        let options =
            ListenOptions { kernel_send_bytes: bytes, kernel_recv_bytes: bytes, ..ListenOptions::default() };
        self.pair_between(0, 0, &options)
    }

    /// Both ends of a connection from one port to another.
    pub(super) fn pair_between(&mut self, from: usize, to: usize, options: &ListenOptions) -> (Thing, Thing) {
        let (listener, remote) = self.listen_on(to, options);
        let accept = self.submit("", to, Op::Accept { listener: listener.handle });
        let connect = self.submit("", from, Op::Connect { remote });
        let near = self.connected(connect);
        let far = self.accepted(accept);
        self.cancel(accept);
        while self.next_completion(accept).more {}
        self.closed(listener);
        (near, far)
    }

    /// A connect that no answer comes for: the listener's queue is full, and no accept is pending.
    pub(super) fn hanging_connect(&mut self) -> (Thing, OpRef) {
        let options = ListenOptions { backlog: 1, ..ListenOptions::default() };
        let (listener, remote) = self.listen_on(0, &options);
        for _ in 0..64 {
            let connect = self.connect(remote);
            self.settle();
            if !self.answered(connect) {
                return (listener, connect);
            }
            self.next_completion(connect);
        }
        self.stop("the listener's queue never filled")
    }

    /// Closes a thing without a line.
    pub(super) fn closed(&mut self, thing: Thing) {
        let close = self.submit("", thing.port, Op::Close { handle: thing.handle });
        self.next_completion(close);
    }

    pub(super) fn close(&mut self, thing: Thing) {
        let close = self.submit("close", thing.port, Op::Close { handle: thing.handle });
        self.last(close);
    }

    pub(super) fn shutdown(&mut self, socket: Thing, how: ShutdownHow) {
        let shutdown = self.submit("shutdown", socket.port, Op::Shutdown { socket: socket.handle, how });
        self.last(shutdown);
    }

    /// Says how many handles the first port has open.
    pub(super) fn handles(&mut self) {
        let open = self.ledger().handles;
        self.note(format!("{open} handles open"));
    }
}

/// Streams.
impl Script {
    pub(super) fn recv(&mut self, socket: Thing) -> OpRef {
        self.recv_as("recv", socket)
    }

    pub(super) fn recv_as(&mut self, label: &str, socket: Thing) -> OpRef {
        self.submit(label, socket.port, Op::Recv { socket: socket.handle })
    }

    pub(super) fn send(&mut self, socket: Thing, bytes: &[u8]) -> OpRef {
        self.submit("send", socket.port, Op::Send { socket: socket.handle, batch: batch(bytes) })
    }

    /// Sends a batch to its last byte, however short the kernel makes each send, without a line.
    pub(super) fn sent(&mut self, socket: Thing, bytes: &[u8]) {
        self.sent_batch(socket, batch(bytes));
    }

    /// The same for a batch of many pieces.
    pub(super) fn sent_batch(&mut self, socket: Thing, batch: SendBatch) {
        let mut send = self.submit("", socket.port, Op::Send { socket: socket.handle, batch });
        loop {
            match self.next_completion(send).done {
                Done::Send(mut batch, Ok(count)) => {
                    batch.advance(count as usize, drop);
                    if batch.is_empty() {
                        return;
                    }
                    send = self.submit("", socket.port, Op::Send { socket: socket.handle, batch });
                }
                _ => self.stop("the set-up could not send"),
            }
        }
    }

    /// Sends while the only buffers are emptied by the receives that the bytes go to.
    pub(super) fn sent_while_full(
        &mut self,
        socket: Thing,
        bytes: &[u8],
        recvs: &[OpRef],
        arrived: &mut [Vec<u8>],
    ) {
        let mut send = Some(self.send(socket, bytes));
        while let Some(op_ref) = send {
            self.drain(recvs, arrived);
            if !self.answered(op_ref) {
                self.pass(Duration::from_micros(100));
                continue;
            }
            let Done::Send(mut rest, Ok(count)) = self.next_completion(op_ref).done else {
                self.stop("a send ended")
            };
            rest.advance(count as usize, drop);
            send = (!rest.is_empty())
                .then(|| self.submit("", socket.port, Op::Send { socket: socket.handle, batch: rest }));
        }
    }

    /// Takes what has come for receives, and gives the leases back at once.
    pub(super) fn drain(&mut self, recvs: &[OpRef], arrived: &mut [Vec<u8>]) {
        for (recv, arrived) in recvs.iter().zip(arrived) {
            while self.answered(*recv) {
                match self.next_completion(*recv).done {
                    Done::Recv(Ok(lease)) => arrived.extend_from_slice(&lease),
                    _ => self.stop("a receive ended for want of a buffer"),
                }
            }
        }
    }

    /// Exactly these bytes of a receive, with a line that says so, or what came instead.
    pub(super) fn bytes(&mut self, recv: OpRef, expected: &[u8]) {
        let mut arrived = Vec::new();
        while arrived.len() < expected.len() {
            match self.answer(recv).done {
                Done::Recv(Ok(lease)) => arrived.extend_from_slice(&lease),
                _ => self.stop("the stream ended early"),
            }
        }
        if arrived != expected {
            self.note("the bytes are not those that were sent");
        }
    }

    /// Fills a socket until a send of one byte hangs, and returns that send.
    ///
    /// A large send that hangs may only be slow, and a small one that succeeds may have found the last gap:
    /// the two take turns until the small one hangs.
    pub(super) fn stuff(&mut self, socket: Thing) -> OpRef {
        let whole = pattern(STUFFING_BYTES);
        for _ in 0..STUFFING_ROUNDS_MAX {
            for length in [STUFFING_BYTES, 1] {
                let send = self.send(socket, &whole[..length]);
                self.settle();
                if length == 1 && !self.answered(send) {
                    self.pass(STUFFED);
                }
                match (self.answered(send), length) {
                    (false, 1) => return send,
                    (true, _) => {}
                    (false, _) => self.cancel(send),
                }
                self.next_completion(send);
            }
        }
        self.stop("the socket took everything")
    }

    /// Cancels a wish and says how it ended.
    pub(super) fn cancelled(&mut self, op_ref: OpRef) {
        self.cancel(op_ref);
        self.last(op_ref);
    }

    /// Cancels a wish whose answers are not on trial.
    pub(super) fn collected(&mut self, op_ref: OpRef) {
        self.cancel(op_ref);
        while self.next_completion(op_ref).more {}
    }

    /// Ends a wish with a deadline, as an engine does: the timer elapses first, then it cancels.
    pub(super) fn deadline(&mut self, op_ref: OpRef) {
        let timeout = self.timeout(Duration::from_millis(5));
        self.last(timeout);
        self.cancelled(op_ref);
    }
}

/// Timers, files and datagrams.
impl Script {
    pub(super) fn timeout(&mut self, span: Duration) -> OpRef {
        self.timeout_as("timeout", span)
    }

    pub(super) fn timeout_as(&mut self, label: &str, span: Duration) -> OpRef {
        let at = self.now() + span;
        self.submit(label, 0, Op::Timeout { at })
    }

    /// A fresh file of the first port.
    pub(super) fn file(&mut self) -> Thing {
        let path = self.path();
        self.open_file(&path, FileAccess::Create)
    }

    pub(super) fn open_file(&mut self, path: &Path, access: FileAccess) -> Thing {
        let result = self.port(0).open_file(path, access);
        let handle = self.opened("a file", result);
        Thing { port: 0, handle }
    }

    pub(super) fn write(&mut self, file: Thing, offset: u64, bytes: &[u8]) -> OpRef {
        let bytes = bytes.to_vec();
        self.submit("write", file.port, Op::WriteAt { file: file.handle, offset, bytes })
    }

    pub(super) fn read(&mut self, file: Thing, offset: u64, length: usize) -> OpRef {
        let buffer = vec![0; length];
        self.submit("read", file.port, Op::ReadAt { file: file.handle, offset, buffer })
    }

    /// The answer of a read, with the bytes in its line.
    pub(super) fn content(&mut self, read: OpRef) {
        if let Done::ReadAt(buffer, Ok(count)) = self.last(read) {
            let text = String::from_utf8_lossy(&buffer[..count as usize]).into_owned();
            self.note(format!("it says {text:?}"));
        }
    }

    pub(super) fn datagram(&mut self) -> (Thing, SocketAddr) {
        self.first();
        let result = self.port(0).bind_datagram(loopback());
        let (handle, address) = self.opened("a datagram socket", result);
        (Thing { port: 0, handle }, address)
    }

    pub(super) fn recv_from(&mut self, socket: Thing, length: usize) -> OpRef {
        let buffer = vec![0; length];
        self.submit("recv_from", socket.port, Op::RecvFrom { socket: socket.handle, buffer })
    }

    pub(super) fn send_to(&mut self, socket: Thing, remote: SocketAddr, bytes: &[u8]) -> OpRef {
        let bytes = Bytes::copy_from_slice(bytes);
        self.submit("send_to", socket.port, Op::SendTo { socket: socket.handle, remote, bytes })
    }

    /// The answer of a datagram receive, with its bytes in its line.
    pub(super) fn letter(&mut self, recv: OpRef, from: SocketAddr) {
        if let Done::RecvFrom(buffer, Ok(datagram)) = self.last(recv) {
            let text = String::from_utf8_lossy(&buffer[..datagram.bytes as usize]).into_owned();
            let sender = if datagram.from == from { "its sender" } else { "another socket" };
            self.note(format!("it says {text:?} and comes from {sender}"));
        }
    }

    /// An operation that was cancelled in a race: says that it ended once, and whether it had succeeded.
    pub(super) fn won(&mut self, op_ref: OpRef) -> bool {
        match self.once(op_ref) {
            Done::Send(_, result) | Done::ReadAt(_, result) | Done::WriteAt(_, result) => result.is_ok(),
            Done::SendTo(_, result) => result.is_ok(),
            Done::Connect(result) => result.is_ok(),
            Done::Timeout(result) | Done::Sync(result) | Done::Shutdown(result) => result.is_ok(),
            Done::RecvFrom(_, result) => result.is_ok(),
            Done::Recv(Err(Ended::Aborted)) | Done::Accept(Err(Ended::Aborted)) => false,
            _ => false,
        }
    }
}
