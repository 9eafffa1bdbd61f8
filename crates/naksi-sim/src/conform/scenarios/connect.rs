//! Scenarios about making connections. Nothing here knows a backend.

use naksi_core::op::Op;
use naksi_os::port::PortOptions;

use crate::conform::Scenario;
use crate::conform::script::{OpRef, small};

pub(super) const ALL: &[Scenario] = &[
    Scenario::new(
        "connect",
        "normal",
        |s| {
            let (listener, address) = s.listen();
            let connect = s.connect(address);
            let near = s.connected(connect);
            let accept = s.accept(listener);
            let far = s.accepted(accept);
            let recv = s.recv(far);
            s.sent(near, b"hello");
            s.bytes(recv, b"hello");
            s.cancelled(recv);
            s.cancelled(accept);
        },
        &[
            "connect ok",
            "accept a connection more",
            "recv 5 bytes more",
            "recv ended aborted",
            "accept ended aborted",
        ],
    ),
    Scenario::new(
        "connect",
        "no listener",
        |s| {
            let address = s.unused_address();
            let connect = s.connect(address);
            s.last(connect);
            s.handles();
        },
        &["connect failed: connection refused", "0 handles open"],
    ),
    Scenario::new(
        "connect",
        "fifty at once without a listener",
        |s| {
            let address = s.unused_address();
            let connects: Vec<OpRef> = (0..50).map(|_| s.connect(address)).collect();
            s.count("connects", &connects);
            s.handles();
        },
        &["connects: 50 times failed: connection refused", "0 handles open"],
    ),
    Scenario::new(
        "connect",
        "cancel before start",
        |s| {
            let (_, address) = s.listen();
            let connect = s.connect(address);
            s.cancel(connect);
            let won = s.won(connect);
            let open = s.ledger().handles;
            let exact = open == 1 + usize::from(won);
            s.note(if exact { "as many handles as it says" } else { "a handle too many or too few" });
        },
        &["connect over once", "as many handles as it says"],
    ),
    Scenario::new(
        "connect",
        "cancel in flight",
        |s| {
            let (_, connect) = s.hanging_connect();
            s.waits(connect);
            s.cancelled(connect);
        },
        &["connect waits", "connect ended aborted"],
    ),
    Scenario::new(
        "connect",
        "cancel after done",
        |s| {
            let (listener, address) = s.listen();
            let connect = s.connect(address);
            let near = s.connected(connect);
            s.cancel(connect);
            let accept = s.accept(listener);
            let far = s.accepted(accept);
            let recv = s.recv(far);
            s.sent(near, b"alive");
            s.bytes(recv, b"alive");
            s.collected(recv);
            s.collected(accept);
        },
        &["connect ok", "accept a connection more", "recv 5 bytes more"],
    ),
    Scenario::new(
        "connect",
        "deadline",
        |s| {
            let (_, connect) = s.hanging_connect();
            s.deadline(connect);
        },
        &["timeout ok", "connect ended aborted"],
    ),
    Scenario::new(
        "connect",
        "listener closed while it hangs",
        |s| {
            let (listener, connect) = s.hanging_connect();
            s.close(listener);
            s.last(connect);
        },
        &["close ok", "connect failed: connection refused"],
    ),
    Scenario::new(
        "connect",
        "queue full",
        |s| {
            s.open(&PortOptions { submission_entries: 8, completion_entries: 16, catch_max: 5, ..small() });
            let (_, address) = s.listen();
            let connects: Vec<OpRef> = (0..200).map(|_| s.connect(address)).collect();
            s.count("connects", &connects);
            s.handles();
        },
        &["connects: 200 times ok", "201 handles open"],
    ),
    Scenario::new(
        "connect",
        "pool empty",
        |s| {
            s.open(&PortOptions { lease_count: 1, ..small() });
            let (near, far) = s.pair();
            let recv = s.recv_as("", far);
            s.sent(near, b"bait");
            let kept = s.next_completion(recv);
            let (_, address) = s.listen();
            let connect = s.connect(address);
            s.last(connect);
            drop(kept);
            s.collected(recv);
        },
        &["connect ok"],
    ),
    Scenario::new(
        "connect",
        "port closed",
        |s| {
            let (listener, address) = s.listen();
            let other = s.another();
            s.submit("connect", other, Op::Connect { remote: address });
            s.drop_port(other);
            // Whether the connection had come about by then is the kernel's choice; nothing hangs on it.
            let accept = s.submit("", 0, Op::Accept { listener: listener.handle });
            s.settle();
            s.collected(accept);
            s.close(listener);
        },
        &["port dropped", "close ok"],
    ),
    Scenario::new(
        "connect",
        "token in use",
        |s| {
            let (_, connect) = s.hanging_connect();
            let (_, address) = s.listen();
            s.refused_under(connect.token, 0, Op::Connect { remote: address });
            s.cancelled(connect);
        },
        &["connect refused token in use", "connect ended aborted"],
    ),
    Scenario::new(
        "connect",
        "cancelled a hundred times as it starts",
        |s| {
            let (listener, address) = s.listen();
            let accept = s.submit("", 0, Op::Accept { listener: listener.handle });
            for _ in 0..100 {
                let connect = s.submit("", 0, Op::Connect { remote: address });
                s.cancel(connect);
                if let naksi_core::completion::Done::Connect(Ok(made)) = s.next_completion(connect).done {
                    s.closed(crate::conform::script::Thing { port: 0, handle: made.socket });
                }
            }
            s.settle();
            s.collected(accept);
            s.close(listener);
            s.note("nothing is in flight");
        },
        &["close ok", "nothing is in flight"],
    ),
];
