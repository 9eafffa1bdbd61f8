//! Scenarios about receives and the pool that they share. Nothing here knows a backend.

use naksi_core::op::{Op, ShutdownHow};
use naksi_os::port::PortOptions;

use crate::conform::Scenario;
use crate::conform::script::{OpRef, Script, Thing, small};
use crate::conform::verbs::pattern;

pub(super) const ALL: &[Scenario] = &[
    Scenario::new(
        "recv",
        "pool empty",
        |s| {
            let (kept, holder, recv, _) = starved(s);
            s.waits(recv);
            tell_starved(s);
            drop(kept);
            s.bytes(recv, b"late");
            s.cancelled(recv);
            s.collected(holder);
        },
        &["recv waits", "1 starved", "recv 4 bytes more", "recv ended aborted"],
    ),
    Scenario::new(
        "recv",
        "pool empty, cancel in flight",
        |s| {
            let (kept, holder, recv, _) = starved(s);
            s.waits(recv);
            s.cancelled(recv);
            tell_starved(s);
            drop(kept);
            s.collected(holder);
        },
        &["recv waits", "recv ended aborted", "0 starved"],
    ),
    Scenario::new(
        "recv",
        "pool empty, shut down",
        |s| {
            let (kept, holder, recv, (_, far)) = starved(s);
            s.waits(recv);
            s.shutdown(far, ShutdownHow::Both);
            s.last(recv);
            drop(kept);
            s.collected(holder);
        },
        &["recv waits", "shutdown ok", "recv ended aborted"],
    ),
    Scenario::new(
        "recv",
        "pool empty, peer FIN",
        |s| {
            let (kept, holder, recv, (near, _)) = starved(s);
            s.close(near);
            s.waits(recv);
            drop(kept);
            s.last(recv);
            s.collected(holder);
        },
        &["close ok", "recv waits", "recv 4 bytes more", "recv ended closed"],
    ),
    Scenario::new(
        "recv",
        "pool empty, close while pending",
        |s| {
            let (kept, holder, recv, (_, far)) = starved(s);
            s.waits(recv);
            s.refused(0, Op::Close { handle: far.handle });
            s.cancelled(recv);
            s.close(far);
            drop(kept);
            s.collected(holder);
        },
        &["recv waits", "close refused busy", "recv ended aborted", "close ok"],
    ),
    Scenario::new(
        "recv",
        "pool empty, idle receives need no buffer",
        |s| {
            s.open(&PortOptions { lease_count: 1, ..small() });
            let (near, far) = s.pair();
            let recv = s.recv_as("", far);
            s.sent(near, b"bait");
            let kept = s.next_completion(recv);
            let pairs: Vec<_> = (0..8).map(|_| s.pair()).collect();
            let idle: Vec<OpRef> = pairs.iter().map(|(near, _)| s.recv_as("", *near)).collect();
            s.settle();
            tell_starved(s);
            idle.iter().for_each(|recv| s.cancel(*recv));
            s.count("idle", &idle);
            drop(kept);
            s.collected(recv);
        },
        &["0 starved", "idle: 8 times ended aborted"],
    ),
    Scenario::new(
        "recv",
        "a pool of one serves eight sockets",
        a_pool_of_one,
        &["8 streams of 20000 bytes whole", "recvs: 8 times ended aborted"],
    ),
    Scenario::new(
        "recv",
        "leases balance",
        |s| {
            s.open(&PortOptions { lease_count: 8, lease_bytes: 64, ..small() });
            let (near, far) = s.pair();
            let recv = s.recv_as("", far);
            s.sent(near, &pattern(64 * 5));
            let kept: Vec<_> = (0..5).map(|_| s.next_completion(recv)).collect();
            let ledger = s.ledger();
            s.note(format!("{} of {} leases out", ledger.leases_out, ledger.lease_size));
            drop(kept);
            let ledger = s.ledger();
            s.note(format!("{} of {} leases out", ledger.leases_out, ledger.lease_size));
            s.collected(recv);
        },
        &["5 of 8 leases out", "0 of 8 leases out"],
    ),
];

fn tell_starved(s: &mut Script) {
    let starved = s.ledger().starved;
    s.note(format!("{starved} starved"));
}

/// A port whose only lease is kept, the receive that brought it, and another receive with data and no buffer.
fn starved(s: &mut Script) -> (naksi_core::completion::Completion, OpRef, OpRef, (Thing, Thing)) {
    s.open(&PortOptions { lease_count: 1, ..small() });
    let (near, far) = s.pair();
    let pair = s.pair();
    let holder = s.recv_as("", far);
    s.sent(near, b"bait");
    let kept = s.next_completion(holder);
    let recv = s.recv(pair.1);
    s.sent(pair.0, b"late");
    (kept, holder, recv, pair)
}

fn a_pool_of_one(s: &mut Script) {
    s.open(&PortOptions { lease_count: 1, lease_bytes: 512, ..small() });
    let pairs: Vec<_> = (0..8).map(|_| s.pair()).collect();
    let recvs: Vec<OpRef> = pairs.iter().map(|(_, far)| s.recv_as("", *far)).collect();
    let whole = pattern(20_000);
    let mut arrived = vec![Vec::new(); pairs.len()];
    // Every stream is drained as it is filled: a kernel may hold less than all of it.
    for piece in whole.chunks(2000) {
        for (near, _) in &pairs {
            s.sent_while_full(*near, piece, &recvs, &mut arrived);
        }
    }
    let patience = s.now() + std::time::Duration::from_secs(10);
    while arrived.iter().any(|bytes| bytes.len() < whole.len()) {
        if s.now() >= patience {
            s.stop("a stream starved");
        }
        s.pass(std::time::Duration::from_micros(100));
        s.drain(&recvs, &mut arrived);
    }
    let count = arrived.iter().filter(|bytes| **bytes == whole).count();
    s.note(format!("{count} streams of 20000 bytes whole"));
    recvs.iter().for_each(|recv| s.cancel(*recv));
    s.count("recvs", &recvs);
}
