//! Scenarios about sending on a stream. Nothing here knows a backend.

use bytes::Bytes;
use naksi_core::batch::{Segment, SendBatch};
use naksi_core::completion::Done;
use naksi_core::op::{Op, ShutdownHow};
use naksi_os::port::{ListenOptions, PortOptions};

use crate::conform::Scenario;
use crate::conform::script::{OpRef, Script, small};
use crate::conform::verbs::{batch, pattern};

pub(super) const ALL: &[Scenario] = &[
    Scenario::new(
        "send",
        "normal",
        |s| {
            let (near, far) = s.pair();
            let send = s.send(near, b"hello");
            s.last(send);
            let recv = s.recv(far);
            s.bytes(recv, b"hello");
            s.cancelled(recv);
        },
        &["send 5 bytes", "recv 5 bytes more", "recv ended aborted"],
    ),
    Scenario::new(
        "send",
        "a megabyte to a slow reader",
        a_megabyte,
        &["1048576 bytes whole", "recv ended aborted"],
    ),
    Scenario::new(
        "send",
        "two hundred pieces in order",
        |s| {
            let (near, far) = s.pair();
            let whole = pattern(2000);
            let mut pieces = SendBatch::new();
            for (number, piece) in whole.chunks(10).enumerate() {
                pieces.push(match number % 2 {
                    0 => Segment::Owned(piece.to_vec()),
                    _ => Segment::Shared(Bytes::copy_from_slice(piece)),
                });
            }
            s.sent_batch(near, pieces);
            let recv = s.recv(far);
            s.bytes(recv, &whole);
            s.cancelled(recv);
        },
        &["recv 2000 bytes more", "recv ended aborted"],
    ),
    Scenario::new(
        "send",
        "cancel before start",
        |s| {
            let (near, far) = s.pair();
            let recv = s.recv_as("", far);
            let send = s.send(near, b"hello");
            s.cancel(send);
            let won = s.won(send);
            s.settle();
            let mut arrived = 0;
            while s.answered(recv) {
                if let Done::Recv(Ok(lease)) = s.next_completion(recv).done {
                    arrived += lease.len();
                }
            }
            let exact = arrived == if won { 5 } else { 0 };
            s.note(if exact { "the peer has what it says" } else { "the peer has something else" });
            s.collected(recv);
        },
        &["send over once", "the peer has what it says"],
    ),
    Scenario::new(
        "send",
        "cancel in flight",
        |s| {
            let (_, far) = s.narrow_pair();
            let send = s.stuff(far);
            s.waits(send);
            s.cancelled(send);
        },
        &["send waits", "send ended aborted"],
    ),
    Scenario::new(
        "send",
        "cancel after done",
        |s| {
            let (near, far) = s.pair();
            let send = s.send(near, b"first");
            s.last(send);
            s.cancel(send);
            let again = s.send(near, b"second");
            s.cancel(send);
            s.last(again);
            let recv = s.recv(far);
            s.bytes(recv, b"firstsecond");
            s.cancelled(recv);
        },
        &["send 5 bytes", "send 6 bytes", "recv 11 bytes more", "recv ended aborted"],
    ),
    Scenario::new(
        "send",
        "close while pending",
        |s| {
            let (_, far) = s.narrow_pair();
            let send = s.stuff(far);
            s.refused(0, Op::Close { handle: far.handle });
            s.cancelled(send);
            s.close(far);
        },
        &["close refused busy", "send ended aborted", "close ok"],
    ),
    Scenario::new(
        "send",
        "peer reset",
        |s| {
            let (near, far) = s.pair();
            s.sent(near, b"never read");
            s.settle();
            s.close(far);
            s.settle();
            let send = s.send(near, b"late");
            s.last(send);
            let recv = s.recv(near);
            s.last(recv);
        },
        &["close ok", "send ended reset", "recv ended reset"],
    ),
    Scenario::new(
        "send",
        "peer reset in flight",
        |s| {
            let (near, far) = s.narrow_pair();
            let send = s.stuff(far);
            s.close(near);
            s.last(send);
            s.close(far);
        },
        &["close ok", "send ended reset", "close ok"],
    ),
    Scenario::new(
        "send",
        "peer FIN and gone",
        |s| {
            let (near, far) = s.pair();
            s.close(far);
            s.settle();
            let send = s.send(near, b"into the void");
            s.last(send);
            s.settle();
            let send = s.send(near, b"and again");
            s.last(send);
        },
        &["close ok", "send 13 bytes", "send ended reset"],
    ),
    Scenario::new(
        "send",
        "to a peer that has half closed",
        |s| {
            let (near, far) = s.pair();
            s.shutdown(far, ShutdownHow::Write);
            s.settle();
            let send = s.send(near, b"hello");
            s.last(send);
            let recv = s.recv(far);
            s.bytes(recv, b"hello");
            s.cancelled(recv);
        },
        &["shutdown ok", "send 5 bytes", "recv 5 bytes more", "recv ended aborted"],
    ),
    Scenario::new(
        "send",
        "deadline",
        |s| {
            let (_, far) = s.narrow_pair();
            let send = s.stuff(far);
            s.deadline(send);
        },
        &["timeout ok", "send ended aborted"],
    ),
    Scenario::new(
        "send",
        "queue full",
        |s| {
            let tight =
                PortOptions { submission_entries: 8, completion_entries: 16, catch_max: 5, ..small() };
            s.open(&PortOptions { lease_count: 128, ..tight });
            let pairs: Vec<_> = (0..100).map(|_| s.pair()).collect();
            let sends: Vec<OpRef> = pairs.iter().map(|(near, _)| s.send(*near, b"ten bytes.")).collect();
            s.count("sends", &sends);
            let recvs: Vec<OpRef> = pairs.iter().map(|(_, far)| s.recv_as("", *far)).collect();
            let whole = recvs.iter().filter(|recv| is_ten_bytes(&s.next_completion(**recv).done)).count();
            s.note(format!("{whole} arrived"));
            recvs.into_iter().for_each(|recv| s.collected(recv));
        },
        &["sends: 100 times 10 bytes", "100 arrived"],
    ),
    Scenario::new(
        "send",
        "pool empty",
        |s| {
            s.open(&PortOptions { lease_count: 1, ..small() });
            let (near, far) = s.pair();
            let recv = s.recv_as("", far);
            s.sent(near, b"bait");
            let kept = s.next_completion(recv);
            let send = s.send(far, b"no buffer needed");
            s.last(send);
            drop(kept);
            s.collected(recv);
        },
        &["send 16 bytes"],
    ),
    Scenario::new(
        "send",
        "port closed",
        |s| {
            let other = s.another();
            let bytes = Some(8192);
            let options = ListenOptions { kernel_send_bytes: bytes, ..ListenOptions::default() };
            let (near, far) = s.pair_between(0, other, &options);
            s.stuff(far);
            s.drop_port(other);
            // What the kernel had taken still arrives, and then the end.
            let recv = s.recv_as("", near);
            let mut arrived = 0_u64;
            let last = loop {
                match s.next_completion(recv).done {
                    Done::Recv(Ok(lease)) => arrived += lease.len() as u64,
                    other => break other,
                }
            };
            let some = if arrived > 0 { "bytes arrived" } else { "no bytes" };
            s.note(format!("{some}, then {}", crate::conform::trace::said(&last)));
        },
        &["port dropped", "bytes arrived, then ended closed"],
    ),
    Scenario::new(
        "send",
        "stale handle",
        |s| {
            let (near, _) = s.pair();
            s.close(near);
            s.refused(0, Op::Send { socket: near.handle, batch: batch(b"lost?") });
        },
        &["close ok", "send refused stale handle"],
    ),
    Scenario::new(
        "send",
        "token in use",
        |s| {
            let (near, far) = s.pair();
            let recv = s.recv(far);
            s.refused_under(recv.token, 0, Op::Send { socket: near.handle, batch: batch(b"mine") });
            // The token is free again after its last completion.
            s.cancelled(recv);
            let send = s.send(near, b"yours");
            s.last(send);
        },
        &["send refused token in use", "recv ended aborted", "send 5 bytes"],
    ),
    Scenario::new(
        "send",
        "nothing to send",
        |s| {
            let (near, _) = s.pair();
            s.refused(0, Op::Send { socket: near.handle, batch: SendBatch::new() });
        },
        &["send refused empty"],
    ),
    Scenario::new(
        "send",
        "twice on one socket",
        |s| {
            let (_, far) = s.narrow_pair();
            let send = s.stuff(far);
            s.refused(0, Op::Send { socket: far.handle, batch: batch(b"second") });
            s.cancelled(send);
        },
        &["send refused busy", "send ended aborted"],
    ),
    Scenario::new(
        "send",
        "wrong kind",
        |s| {
            let (listener, _) = s.listen();
            let (datagram, _) = s.datagram();
            for thing in [listener, datagram] {
                s.refused(0, Op::Send { socket: thing.handle, batch: batch(b"no") });
            }
        },
        &["send refused wrong kind", "send refused wrong kind"],
    ),
    Scenario::new(
        "send",
        "an idle reader wakes a send that hangs",
        |s| {
            let (near, far) = s.narrow_pair();
            let send = s.stuff(far);
            let recv = s.recv_as("", near);
            s.last(send);
            s.settle();
            s.collected(recv);
        },
        &["send 1 bytes"],
    ),
];

fn is_ten_bytes(done: &Done) -> bool {
    matches!(done, Done::Recv(Ok(lease)) if **lease == b"ten bytes."[..])
}

/// A thousand pieces, in as many sends as the kernel likes, to a peer that reads only after a while.
fn a_megabyte(s: &mut Script) {
    let (near, far) = s.pair();
    let whole = pattern(1 << 20);
    let mut pieces = SendBatch::new();
    whole.chunks(1049).for_each(|piece| pieces.push(Segment::Owned(piece.to_vec())));
    let mut send = Some(s.submit("", 0, Op::Send { socket: near.handle, batch: pieces }));
    s.settle();
    let recv = s.submit("", 0, Op::Recv { socket: far.handle });
    let mut arrived = Vec::new();
    while send.is_some() || arrived.len() < whole.len() {
        if let Some(op_ref) = send.filter(|op_ref| s.answered(*op_ref) || arrived.len() == whole.len()) {
            let Done::Send(mut rest, Ok(count)) = s.next_completion(op_ref).done else {
                s.stop("a send ended")
            };
            rest.advance(count as usize, drop);
            send = (!rest.is_empty()).then(|| s.submit("", 0, Op::Send { socket: near.handle, batch: rest }));
        } else if let Done::Recv(Ok(lease)) = s.next_completion(recv).done {
            arrived.extend_from_slice(&lease);
        } else {
            s.stop("the stream ended early");
        }
    }
    s.note(if arrived == whole { "1048576 bytes whole" } else { "the bytes changed" });
    s.cancel(recv);
    let last = s.next_completion(recv);
    s.note(format!("recv {}", crate::conform::trace::said(&last.done)));
}
