//! Scenarios about receiving on a stream. Nothing here knows a backend.

use naksi_core::completion::Done;
use naksi_core::op::{Op, ShutdownHow};
use naksi_os::port::{ListenOptions, PortOptions};

use crate::conform::Scenario;
use crate::conform::script::{OpRef, Script, small};
use crate::conform::verbs::pattern;

pub(super) const ALL: &[Scenario] = &[
    Scenario::new(
        "recv",
        "normal",
        |s| {
            let (near, far) = s.pair();
            let recv = s.recv(far);
            s.sent(near, b"hello");
            s.bytes(recv, b"hello");
            s.cancelled(recv);
        },
        &["recv 5 bytes more", "recv ended aborted"],
    ),
    Scenario::new(
        "recv",
        "many small sends in order",
        |s| {
            let (near, far) = s.pair();
            let recv = s.recv(far);
            let (whole, mut arrived) = (pattern(4000), [Vec::new()]);
            for piece in whole.chunks(7) {
                s.sent_while_full(near, piece, &[recv], &mut arrived);
            }
            while arrived[0].len() < whole.len() {
                if let Done::Recv(Ok(lease)) = s.next_completion(recv).done {
                    arrived[0].extend_from_slice(&lease);
                }
            }
            s.note(if arrived[0] == whole { "4000 bytes in order" } else { "the bytes changed" });
            s.cancelled(recv);
        },
        &["4000 bytes in order", "recv ended aborted"],
    ),
    Scenario::new(
        "recv",
        "cancel before start",
        |s| {
            let (_, far) = s.pair();
            let recv = s.recv(far);
            s.cancelled(recv);
        },
        &["recv ended aborted"],
    ),
    Scenario::new(
        "recv",
        "cancel in flight",
        |s| {
            let (_, far) = s.pair();
            let recv = s.recv(far);
            s.waits(recv);
            s.cancel(recv);
            s.cancel(recv);
            s.last(recv);
        },
        &["recv waits", "recv ended aborted"],
    ),
    Scenario::new(
        "recv",
        "cancel after done",
        |s| {
            let (near, far) = s.pair();
            let recv = s.recv(far);
            s.cancelled(recv);
            s.cancel(recv);
            let again = s.recv(far);
            s.cancel(recv);
            s.sent(near, b"still");
            s.bytes(again, b"still");
            s.cancelled(again);
        },
        &["recv ended aborted", "recv 5 bytes more", "recv ended aborted"],
    ),
    Scenario::new(
        "recv",
        "cancelled with data on its way loses nothing",
        cancelled_with_data,
        &["100 rounds, nothing lost"],
    ),
    Scenario::new(
        "recv",
        "close while pending",
        |s| {
            let (_, far) = s.pair();
            let recv = s.recv(far);
            s.refused(0, Op::Close { handle: far.handle });
            s.cancel(recv);
            s.refused(0, Op::Close { handle: far.handle });
            s.last(recv);
            s.close(far);
        },
        &["close refused busy", "close refused busy", "recv ended aborted", "close ok"],
    ),
    Scenario::new(
        "recv",
        "peer reset",
        |s| {
            let (near, far) = s.pair();
            let recv = s.recv(near);
            // Closing with unread bytes resets the connection.
            s.sent(near, b"never read");
            s.settle();
            s.close(far);
            s.last(recv);
            s.close(near);
        },
        &["close ok", "recv ended reset", "close ok"],
    ),
    Scenario::new(
        "recv",
        "peer reset with bytes unread",
        |s| {
            let (near, far) = s.pair();
            s.sent(far, b"hello");
            s.sent(near, b"never read");
            s.settle();
            s.closed(far);
            s.settle();
            let recv = s.recv(near);
            s.last(recv);
        },
        &["recv 5 bytes more", "recv ended reset"],
    ),
    Scenario::new(
        "recv",
        "peer FIN",
        |s| {
            let (near, far) = s.pair();
            let recv = s.recv(near);
            s.sent(far, b"the end");
            s.close(far);
            s.bytes(recv, b"the end");
            s.last(recv);
            s.close(near);
        },
        &["close ok", "recv 7 bytes more", "recv ended closed", "close ok"],
    ),
    Scenario::new(
        "recv",
        "peer FIN before it is asked",
        |s| {
            let (near, far) = s.pair();
            s.sent(far, b"early");
            s.close(far);
            s.settle();
            let recv = s.recv(near);
            s.last(recv);
            let again = s.recv_as("once more", near);
            s.last(again);
        },
        &["close ok", "recv 5 bytes more", "recv ended closed", "once more ended closed"],
    ),
    Scenario::new(
        "recv",
        "peer half closes",
        |s| {
            let (near, far) = s.pair();
            let recv = s.recv(near);
            let back = s.recv_as("back", far);
            s.shutdown(far, ShutdownHow::Write);
            s.last(recv);
            s.sent(near, b"still here");
            s.bytes(back, b"still here");
            s.close(near);
            s.last(back);
        },
        &["shutdown ok", "recv ended closed", "back 10 bytes more", "close ok", "back ended closed"],
    ),
    Scenario::new(
        "recv",
        "deadline",
        |s| {
            let (_, far) = s.pair();
            let recv = s.recv(far);
            s.deadline(recv);
            s.close(far);
        },
        &["timeout ok", "recv ended aborted", "close ok"],
    ),
    Scenario::new("recv", "queue full", queue_full, &["40 times 600 bytes", "recvs: 40 times ended aborted"]),
    Scenario::new(
        "recv",
        "port closed",
        |s| {
            let other = s.another();
            let (near, far) = s.pair_between(0, other, &ListenOptions::default());
            s.recv(far);
            let recv = s.recv_as("peer", near);
            s.waits(recv);
            s.drop_port(other);
            s.last(recv);
        },
        &["peer waits", "port dropped", "peer ended closed"],
    ),
    Scenario::new(
        "recv",
        "stale handle",
        |s| {
            let (near, far) = s.pair();
            s.close(far);
            s.refused(0, Op::Recv { socket: far.handle });
            // The slot is used again; the old name does not reach what took its place.
            let (_, fresh) = s.pair();
            s.refused(0, Op::Recv { socket: far.handle });
            let recv = s.recv(fresh);
            s.cancelled(recv);
            s.close(near);
        },
        &[
            "close ok",
            "recv refused stale handle",
            "recv refused stale handle",
            "recv ended aborted",
            "close ok",
        ],
    ),
    Scenario::new(
        "recv",
        "token in use",
        |s| {
            let (near, far) = s.pair();
            let recv = s.recv(far);
            s.refused_under(recv.token, 0, Op::Recv { socket: near.handle });
            s.sent(near, b"mine");
            s.bytes(recv, b"mine");
            s.refused_under(recv.token, 0, Op::Recv { socket: near.handle });
            s.cancelled(recv);
        },
        &[
            "recv refused token in use",
            "recv 4 bytes more",
            "recv refused token in use",
            "recv ended aborted",
        ],
    ),
    Scenario::new(
        "recv",
        "twice on one socket",
        |s| {
            let (_, far) = s.pair();
            let recv = s.recv(far);
            s.refused(0, Op::Recv { socket: far.handle });
            s.cancelled(recv);
        },
        &["recv refused busy", "recv ended aborted"],
    ),
    Scenario::new(
        "recv",
        "wrong kind",
        |s| {
            let (listener, _) = s.listen();
            let file = s.file();
            let (datagram, _) = s.datagram();
            for thing in [listener, file, datagram] {
                s.refused(0, Op::Recv { socket: thing.handle });
            }
        },
        &["recv refused wrong kind", "recv refused wrong kind", "recv refused wrong kind"],
    ),
];

/// The data may be anywhere between the peer and us when the receive is cancelled; the next one has the rest.
fn cancelled_with_data(s: &mut Script) {
    let (near, far) = s.pair();
    let mut whole = 0;
    for round in 0..100_u64 {
        let recv = s.recv_as("", far);
        s.pass(std::time::Duration::from_micros(round % 5 * 20));
        s.sent(near, b"fish");
        s.cancel(recv);
        let mut bytes = Vec::new();
        loop {
            let completion = s.next_completion(recv);
            match completion.done {
                Done::Recv(Ok(lease)) => bytes.extend_from_slice(&lease),
                _ => break,
            }
        }
        let rest = s.recv_as("", far);
        while bytes.len() < 4 {
            if let Done::Recv(Ok(lease)) = s.next_completion(rest).done {
                bytes.extend_from_slice(&lease);
            }
        }
        s.collected(rest);
        whole += usize::from(bytes == b"fish");
    }
    s.note(format!("{whole} rounds, nothing lost"));
}

/// Forty receives have data at once over a completion queue of sixteen.
fn queue_full(s: &mut Script) {
    // A script keeps what it has not asked for, so that there are more leases than it can keep.
    let (lease_count, lease_bytes) = (4096, 64);
    let tight = PortOptions { submission_entries: 8, completion_entries: 16, catch_max: 5, ..small() };
    s.open(&PortOptions { lease_count, lease_bytes, ..tight });
    let pairs: Vec<_> = (0..40).map(|_| s.pair()).collect();
    let recvs: Vec<OpRef> = pairs.iter().map(|(_, far)| s.recv_as("", *far)).collect();
    let piece = pattern(10);
    for _ in 0..60 {
        let sends: Vec<OpRef> = pairs.iter().map(|(near, _)| s.send(*near, &piece)).collect();
        sends.into_iter().for_each(|send| drop(s.next_completion(send)));
    }
    let mut whole = 0;
    for recv in &recvs {
        let mut bytes = 0;
        while bytes < 600 {
            match s.next_completion(*recv).done {
                Done::Recv(Ok(lease)) => bytes += lease.len(),
                _ => s.stop("a receive ended early"),
            }
        }
        whole += usize::from(bytes == 600);
    }
    s.note(format!("{whole} times 600 bytes"));
    recvs.iter().for_each(|recv| s.cancel(*recv));
    s.count("recvs", &recvs);
}
