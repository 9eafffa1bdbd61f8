//! Scenarios about ending and closing. Nothing here knows a backend.

use naksi_core::op::{Op, ShutdownHow};

use crate::conform::Scenario;

pub(super) const ALL: &[Scenario] = &[
    Scenario::new(
        "shutdown",
        "both ways ends receives on both sides",
        |s| {
            let (near, far) = s.pair();
            let ours = s.recv_as("ours", near);
            let theirs = s.recv_as("theirs", far);
            s.settle();
            s.shutdown(near, ShutdownHow::Both);
            s.last(ours);
            s.last(theirs);
            s.close(near);
            s.close(far);
            s.handles();
        },
        &[
            "shutdown ok",
            "ours ended aborted",
            "theirs ended closed",
            "close ok",
            "close ok",
            "0 handles open",
        ],
    ),
    Scenario::new(
        "shutdown",
        "write leaves our receive alone",
        |s| {
            let (near, far) = s.pair();
            let recv = s.recv(near);
            s.shutdown(near, ShutdownHow::Write);
            s.waits(recv);
            s.sent(far, b"reply");
            s.bytes(recv, b"reply");
            s.cancelled(recv);
        },
        &["shutdown ok", "recv waits", "recv 5 bytes more", "recv ended aborted"],
    ),
    Scenario::new(
        "shutdown",
        "a send after our own end",
        |s| {
            let (near, _) = s.pair();
            s.shutdown(near, ShutdownHow::Write);
            let send = s.send(near, b"late");
            s.last(send);
        },
        &["shutdown ok", "send ended aborted"],
    ),
    Scenario::new(
        "shutdown",
        "a receive after our own end",
        |s| {
            let (near, _) = s.pair();
            s.shutdown(near, ShutdownHow::Both);
            let recv = s.recv(near);
            s.last(recv);
        },
        &["shutdown ok", "recv ended aborted"],
    ),
    Scenario::new(
        "shutdown",
        "both ways ends a send in flight",
        |s| {
            let (_, far) = s.narrow_pair();
            let send = s.stuff(far);
            s.shutdown(far, ShutdownHow::Both);
            s.last(send);
            s.close(far);
        },
        &["shutdown ok", "send ended aborted", "close ok"],
    ),
    Scenario::new(
        "shutdown",
        "both ways over bytes that wait",
        |s| {
            let (near, far) = s.pair();
            let recv = s.recv(far);
            s.settle();
            // Whether the bytes still come is the kernel's choice; the end must.
            s.sent(near, b"late");
            s.shutdown(far, ShutdownHow::Both);
            s.once(recv);
            s.close(far);
        },
        &["shutdown ok", "recv over once", "close ok"],
    ),
    Scenario::new(
        "shutdown",
        "twice",
        |s| {
            let (near, far) = s.pair();
            s.shutdown(near, ShutdownHow::Write);
            s.shutdown(near, ShutdownHow::Write);
            s.shutdown(near, ShutdownHow::Both);
            let recv = s.recv(far);
            s.last(recv);
        },
        &["shutdown ok", "shutdown ok", "shutdown ok", "recv ended closed"],
    ),
    Scenario::new(
        "shutdown",
        "after a peer reset",
        |s| {
            let (near, far) = s.pair();
            s.sent(near, b"never read");
            s.settle();
            s.close(far);
            s.settle();
            s.shutdown(near, ShutdownHow::Both);
            s.close(near);
        },
        &["close ok", "shutdown ok", "close ok"],
    ),
    Scenario::new(
        "shutdown",
        "stale handle",
        |s| {
            let (near, _) = s.pair();
            s.close(near);
            s.refused(0, Op::Shutdown { socket: near.handle, how: ShutdownHow::Both });
        },
        &["close ok", "shutdown refused stale handle"],
    ),
    Scenario::new(
        "shutdown",
        "wrong kind",
        |s| {
            let (listener, _) = s.listen();
            let file = s.file();
            for thing in [listener, file] {
                s.refused(0, Op::Shutdown { socket: thing.handle, how: ShutdownHow::Both });
            }
        },
        &["shutdown refused wrong kind", "shutdown refused wrong kind"],
    ),
    Scenario::new(
        "close",
        "over unread bytes resets the peer",
        |s| {
            let (near, far) = s.pair();
            s.sent(near, b"never read");
            s.settle();
            let recv = s.recv(near);
            s.close(far);
            s.last(recv);
        },
        &["close ok", "recv ended reset"],
    ),
    Scenario::new(
        "close",
        "is not called off",
        |s| {
            let (near, far) = s.pair();
            let close = s.submit("close", 0, Op::Close { handle: near.handle });
            s.cancel(close);
            s.last(close);
            let recv = s.recv(far);
            s.last(recv);
            s.handles();
        },
        &["close ok", "recv ended closed", "1 handles open"],
    ),
    Scenario::new(
        "close",
        "twice",
        |s| {
            let (near, _) = s.pair();
            let close = s.submit("close", 0, Op::Close { handle: near.handle });
            s.refused(0, Op::Close { handle: near.handle });
            s.last(close);
            s.refused(0, Op::Close { handle: near.handle });
        },
        &["close refused stale handle", "close ok", "close refused stale handle"],
    ),
];
