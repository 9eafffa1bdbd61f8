//! Scenarios about sockets that move from one port to another. Nothing here knows a backend.

use naksi_core::op::Op;
use naksi_os::port::ListenOptions;

use crate::conform::Scenario;

pub(super) const ALL: &[Scenario] = &[
    Scenario::new(
        "handover",
        "normal",
        |s| {
            let other = s.another();
            let (near, far) = s.pair();
            let socket = s.release(far);
            let moved = s.adopt(other, socket);
            let recv = s.recv(moved);
            let back = s.recv_as("back", near);
            s.sent(near, b"ping");
            s.bytes(recv, b"ping");
            s.sent(moved, b"pong");
            s.bytes(back, b"pong");
            s.cancelled(back);
            s.cancelled(recv);
            s.handles();
        },
        &[
            "recv 4 bytes more",
            "back 4 bytes more",
            "back ended aborted",
            "recv ended aborted",
            "1 handles open",
        ],
    ),
    Scenario::new(
        "handover",
        "bytes that waited go along",
        |s| {
            let other = s.another();
            let (near, far) = s.pair();
            s.sent(near, b"waiting");
            s.settle();
            let socket = s.release(far);
            let moved = s.adopt(other, socket);
            let recv = s.recv(moved);
            s.bytes(recv, b"waiting");
            s.close(near);
            s.last(recv);
        },
        &["recv 7 bytes more", "close ok", "recv ended closed"],
    ),
    Scenario::new(
        "handover",
        "a peer that ends between the ports",
        |s| {
            let other = s.another();
            let (near, far) = s.pair();
            let socket = s.release(far);
            s.close(near);
            s.settle();
            let moved = s.adopt(other, socket);
            let recv = s.recv(moved);
            s.last(recv);
        },
        &["close ok", "recv ended closed"],
    ),
    Scenario::new(
        "handover",
        "refused while an operation is in flight",
        |s| {
            let (near, far) = s.pair();
            let recv = s.recv(far);
            s.release(far);
            s.cancel(recv);
            s.release(far);
            s.last(recv);
            let socket = s.release(far);
            s.note(if socket.is_some() { "released" } else { "kept" });
            drop(socket);
            let peer = s.recv_as("peer", near);
            s.last(peer);
        },
        &[
            "release refused busy",
            "release refused busy",
            "recv ended aborted",
            "released",
            "peer ended closed",
        ],
    ),
    Scenario::new(
        "handover",
        "stale handle",
        |s| {
            let (_, far) = s.pair();
            let socket = s.release(far);
            s.release(far);
            s.refused(0, Op::Recv { socket: far.handle });
            s.refused(0, Op::Close { handle: far.handle });
            let back = s.adopt(0, socket);
            s.release(far);
            s.close(back);
            s.release(back);
        },
        &[
            "release refused stale handle",
            "recv refused stale handle",
            "close refused stale handle",
            "release refused stale handle",
            "close ok",
            "release refused stale handle",
        ],
    ),
    Scenario::new(
        "handover",
        "wrong kind",
        |s| {
            let (listener, _) = s.listen();
            let (datagram, _) = s.datagram();
            let file = s.file();
            for thing in [listener, datagram, file] {
                s.release(thing);
            }
        },
        &["release refused wrong kind", "release refused wrong kind", "release refused wrong kind"],
    ),
    Scenario::new(
        "handover",
        "dropped between the ports",
        |s| {
            let (near, far) = s.pair();
            let recv = s.recv(near);
            let socket = s.release(far);
            s.waits(recv);
            drop(socket);
            s.last(recv);
            s.handles();
        },
        &["recv waits", "recv ended closed", "1 handles open"],
    ),
    Scenario::new(
        "handover",
        "the first port is closed",
        |s| {
            let other = s.another();
            let third = s.another();
            let (near, far) = s.pair_between(0, other, &ListenOptions::default());
            let socket = s.release(far);
            s.drop_port(other);
            let moved = s.adopt(third, socket);
            let recv = s.recv(moved);
            s.sent(near, b"alive");
            s.bytes(recv, b"alive");
            s.cancelled(recv);
        },
        &["port dropped", "recv 5 bytes more", "recv ended aborted"],
    ),
    Scenario::new(
        "handover",
        "from another thread",
        |s| {
            let other = s.another();
            let (near, far) = s.pair();
            let Some(socket) = s.release(far) else { s.stop("not released") };
            // The socket spends its time between the ports in the hands of another thread.
            let Ok(socket) = std::thread::spawn(move || socket).join() else { s.stop("a panic") };
            let moved = s.adopt(other, Some(socket));
            let recv = s.recv(moved);
            s.sent(near, b"travelled");
            s.bytes(recv, b"travelled");
            s.cancelled(recv);
        },
        &["recv 9 bytes more", "recv ended aborted"],
    ),
];
