//! Scenarios about datagrams. Nothing here knows a backend.

use bytes::Bytes;
use naksi_core::op::Op;
use naksi_os::port::PortOptions;

use crate::conform::Scenario;
use crate::conform::script::{OpRef, small};

pub(super) const ALL: &[Scenario] = &[
    Scenario::new(
        "udp",
        "normal",
        |s| {
            let (left, left_address) = s.datagram();
            let (right, right_address) = s.datagram();
            for (from, sender, to, remote) in
                [(left, left_address, right, right_address), (right, right_address, left, left_address)]
            {
                let recv = s.recv_from(to, 8);
                let send = s.send_to(from, remote, b"ping");
                s.last(send);
                s.letter(recv, sender);
            }
        },
        &[
            "send_to 4 bytes",
            "recv_from 4 bytes",
            "it says \"ping\" and comes from its sender",
            "send_to 4 bytes",
            "recv_from 4 bytes",
            "it says \"ping\" and comes from its sender",
        ],
    ),
    Scenario::new(
        "udp",
        "an empty one is one",
        |s| {
            let (left, address) = s.datagram();
            let recv = s.recv_from(left, 8);
            let send = s.send_to(left, address, b"");
            s.last(send);
            s.letter(recv, address);
        },
        &["send_to 0 bytes", "recv_from 0 bytes", "it says \"\" and comes from its sender"],
    ),
    Scenario::new(
        "udp",
        "a long one is cut and said to be",
        |s| {
            let (left, address) = s.datagram();
            let send = s.send_to(left, address, b"longer than eight");
            s.last(send);
            s.settle(); // datagrams may overtake each other
            let send = s.send_to(left, address, b"next");
            s.last(send);
            for _ in 0..2 {
                let recv = s.recv_from(left, 8);
                s.letter(recv, address);
            }
        },
        &[
            "send_to 17 bytes",
            "send_to 4 bytes",
            "recv_from 8 bytes cut",
            "it says \"longer t\" and comes from its sender",
            "recv_from 4 bytes",
            "it says \"next\" and comes from its sender",
        ],
    ),
    Scenario::new(
        "udp",
        "cancel before start",
        |s| {
            let (left, _) = s.datagram();
            let recv = s.recv_from(left, 8);
            s.cancelled(recv);
        },
        &["recv_from ended aborted"],
    ),
    Scenario::new(
        "udp",
        "cancel in flight",
        |s| {
            let (left, _) = s.datagram();
            let recv = s.recv_from(left, 8);
            s.waits(recv);
            s.cancelled(recv);
        },
        &["recv_from waits", "recv_from ended aborted"],
    ),
    Scenario::new(
        "udp",
        "cancel after done",
        |s| {
            let (left, address) = s.datagram();
            let send = s.send_to(left, address, b"one");
            s.last(send);
            let recv = s.recv_from(left, 8);
            s.letter(recv, address);
            s.cancel(recv);
            s.cancel(send);
            let again = s.recv_from(left, 8);
            s.cancel(recv);
            s.waits(again);
            s.cancelled(again);
        },
        &[
            "send_to 3 bytes",
            "recv_from 3 bytes",
            "it says \"one\" and comes from its sender",
            "recv_from waits",
            "recv_from ended aborted",
        ],
    ),
    Scenario::new(
        "udp",
        "close while pending",
        |s| {
            let (left, _) = s.datagram();
            let recv = s.recv_from(left, 8);
            s.refused(0, Op::Close { handle: left.handle });
            s.cancelled(recv);
            s.close(left);
        },
        &["close refused busy", "recv_from ended aborted", "close ok"],
    ),
    Scenario::new(
        "udp",
        "deadline",
        |s| {
            let (left, _) = s.datagram();
            let recv = s.recv_from(left, 8);
            s.deadline(recv);
        },
        &["timeout ok", "recv_from ended aborted"],
    ),
    Scenario::new(
        "udp",
        "queue full",
        |s| {
            s.open(&PortOptions { submission_entries: 8, completion_entries: 16, catch_max: 5, ..small() });
            let (left, address) = s.datagram();
            let senders: Vec<_> = (0..50).map(|_| s.datagram().0).collect();
            let sends: Vec<OpRef> = senders.iter().map(|from| s.send_to(*from, address, b"x")).collect();
            s.count("sends", &sends);
            for _ in 0..50 {
                let recv = s.recv_from(left, 8);
                s.next_completion(recv);
            }
            s.note("50 arrived");
        },
        &["sends: 50 times 1 bytes", "50 arrived"],
    ),
    Scenario::new(
        "udp",
        "pool empty",
        |s| {
            s.open(&PortOptions { lease_count: 1, ..small() });
            let (near, far) = s.pair();
            let held = s.recv_as("", far);
            s.sent(near, b"bait");
            let kept = s.next_completion(held);
            let (left, address) = s.datagram();
            let send = s.send_to(left, address, b"own buffer");
            s.last(send);
            let recv = s.recv_from(left, 16);
            s.letter(recv, address);
            drop(kept);
            s.collected(held);
        },
        &["send_to 10 bytes", "recv_from 10 bytes", "it says \"own buffer\" and comes from its sender"],
    ),
    Scenario::new(
        "udp",
        "port closed",
        |s| {
            let other = s.another();
            let (left, address) = s.datagram();
            let at = crate::conform::script::loopback();
            let result = s.port(other).bind_datagram(at);
            let (far, _) = s.opened("a datagram socket", result);
            s.submit("recv_from", other, Op::RecvFrom { socket: far, buffer: vec![0; 8] });
            s.settle();
            s.drop_port(other);
            let send = s.send_to(left, address, b"alone");
            s.last(send);
        },
        &["port dropped", "send_to 5 bytes"],
    ),
    Scenario::new(
        "udp",
        "to an unused address",
        |s| {
            let (left, _) = s.datagram();
            let (gone, address) = s.datagram();
            s.close(gone);
            let send = s.send_to(left, address, b"lost");
            s.last(send);
            s.settle();
            let recv = s.recv_from(left, 8);
            s.waits(recv);
            s.cancelled(recv);
        },
        &["close ok", "send_to 4 bytes", "recv_from waits", "recv_from ended aborted"],
    ),
    Scenario::new(
        "udp",
        "larger than a datagram can be",
        |s| {
            let (left, address) = s.datagram();
            let send = s.send_to(left, address, &[7; 70_000]);
            s.last(send);
        },
        &["send_to failed: invalid request"],
    ),
    Scenario::new(
        "udp",
        "stale handle",
        |s| {
            let (left, address) = s.datagram();
            s.close(left);
            s.refused(0, Op::RecvFrom { socket: left.handle, buffer: vec![0; 8] });
            let bytes = Bytes::from_static(b"late");
            s.refused(0, Op::SendTo { socket: left.handle, remote: address, bytes });
        },
        &["close ok", "recv_from refused stale handle", "send_to refused stale handle"],
    ),
    Scenario::new(
        "udp",
        "token in use",
        |s| {
            let (left, address) = s.datagram();
            let recv = s.recv_from(left, 8);
            let bytes = Bytes::from_static(b"mine");
            s.refused_under(recv.token, 0, Op::SendTo { socket: left.handle, remote: address, bytes });
            s.cancelled(recv);
        },
        &["send_to refused token in use", "recv_from ended aborted"],
    ),
    Scenario::new(
        "udp",
        "twice on one socket, and no room",
        |s| {
            let (left, _) = s.datagram();
            let recv = s.recv_from(left, 8);
            s.refused(0, Op::RecvFrom { socket: left.handle, buffer: vec![0; 8] });
            s.cancelled(recv);
            s.refused(0, Op::RecvFrom { socket: left.handle, buffer: Vec::new() });
        },
        &["recv_from refused busy", "recv_from ended aborted", "recv_from refused empty"],
    ),
    Scenario::new(
        "udp",
        "address in use",
        |s| {
            let (_, address) = s.datagram();
            match s.port(0).bind_datagram(address) {
                Ok(_) => s.note("bound twice"),
                Err(error) => s.note(error.kind.text()),
            }
        },
        &["address already in use"],
    ),
];
