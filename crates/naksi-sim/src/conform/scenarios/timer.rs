//! Scenarios about deadlines. Nothing here knows a backend.

use std::time::Duration;

use naksi_core::op::Op;
use naksi_core::tick::Tick;
use naksi_os::port::PortOptions;

use crate::conform::Scenario;
use crate::conform::script::{OpRef, Script, small};

const SOON: Duration = Duration::from_millis(10);
const FAR: Duration = Duration::from_secs(3600);

pub(super) const ALL: &[Scenario] = &[
    Scenario::new(
        "timer",
        "normal",
        |s| {
            // A port that is early may be late enough once to look punctual; it is not twenty times.
            let mut early = 0;
            for _ in 0..20 {
                let at = s.now() + Duration::from_millis(3);
                let timeout = s.submit("", 0, Op::Timeout { at });
                s.next_completion(timeout);
                early += usize::from(s.now() < at);
            }
            let timeout = s.timeout(SOON);
            s.last(timeout);
            s.note(format!("{early} were early"));
        },
        &["timeout ok", "0 were early"],
    ),
    Scenario::new(
        "timer",
        "a point that has passed",
        |s| {
            let now = s.now();
            for at in [now, Tick::ZERO] {
                let timeout = s.submit("timeout", 0, Op::Timeout { at });
                s.last(timeout);
            }
        },
        &["timeout ok", "timeout ok"],
    ),
    Scenario::new(
        "timer",
        "later ones elapse later",
        |s| {
            let start = s.now();
            let mut ops: Vec<(u64, OpRef)> = [30_u64, 10, 50]
                .map(|millis| {
                    let at = start + Duration::from_millis(millis);
                    (millis, s.submit("", 0, Op::Timeout { at }))
                })
                .to_vec();
            while !ops.is_empty() {
                s.pass(Duration::from_micros(500));
                let come: Vec<u64> =
                    ops.iter().filter(|(_, op_ref)| s.answered(*op_ref)).map(|(millis, _)| *millis).collect();
                let mut come = come;
                come.sort_unstable();
                for millis in come {
                    s.note(format!("the {millis} ms one"));
                    ops.retain(|(other, op_ref)| {
                        let keep = *other != millis;
                        if !keep {
                            s.next_completion(*op_ref);
                        }
                        keep
                    });
                }
            }
        },
        &["the 10 ms one", "the 30 ms one", "the 50 ms one"],
    ),
    Scenario::new(
        "timer",
        "cancel before start",
        |s| {
            let timeout = s.timeout(FAR);
            s.cancelled(timeout);
        },
        &["timeout ended aborted"],
    ),
    Scenario::new(
        "timer",
        "cancel in flight",
        |s| {
            let timeout = s.timeout(FAR);
            s.waits(timeout);
            s.cancelled(timeout);
        },
        &["timeout waits", "timeout ended aborted"],
    ),
    Scenario::new(
        "timer",
        "cancel after done",
        |s| {
            let timeout = s.timeout(SOON);
            s.last(timeout);
            s.cancel(timeout);
            let again = s.timeout(SOON);
            s.cancel(timeout);
            s.last(again);
        },
        &["timeout ok", "timeout ok"],
    ),
    Scenario::new(
        "timer",
        "never, until it is cancelled",
        |s| {
            let timeout = s.submit("timeout", 0, Op::Timeout { at: Tick::MAX });
            s.waits(timeout);
            s.cancelled(timeout);
        },
        &["timeout waits", "timeout ended aborted"],
    ),
    Scenario::new(
        "timer",
        "10,000 simultaneous deadlines",
        |s| {
            let at = s.now() + SOON;
            let timeouts: Vec<OpRef> = (0..10_000).map(|_| s.submit("", 0, Op::Timeout { at })).collect();
            s.count("timeouts", &timeouts);
            let early = s.now() < at;
            s.note(if early { "they were early" } else { "none was early" });
        },
        &["timeouts: 10000 times ok", "none was early"],
    ),
    Scenario::new(
        "timer",
        "10,000 simultaneous deadlines, half of them cancelled",
        |s| {
            let at = s.now() + FAR;
            let timeouts: Vec<OpRef> = (0..10_000).map(|_| s.submit("", 0, Op::Timeout { at })).collect();
            s.settle();
            timeouts.iter().step_by(2).for_each(|timeout| s.cancel(*timeout));
            let (gone, left): (Vec<_>, Vec<_>) =
                timeouts.iter().enumerate().partition(|(number, _)| number % 2 == 0);
            let bare =
                |ops: Vec<(usize, &OpRef)>| ops.into_iter().map(|(_, op_ref)| *op_ref).collect::<Vec<_>>();
            s.count("cancelled", &bare(gone));
            let left = bare(left);
            let in_flight = s.ledger().in_flight;
            s.note(format!("{in_flight} in flight"));
            left.iter().for_each(|timeout| s.cancel(*timeout));
            s.count("the others", &left);
        },
        &["cancelled: 5000 times ended aborted", "5000 in flight", "the others: 5000 times ended aborted"],
    ),
    Scenario::new(
        "timer",
        "10,000 simultaneous deadlines of receives",
        deadlines_of_receives,
        &["10000 deadlines elapsed", "recvs: 200 times ended aborted"],
    ),
    Scenario::new(
        "timer",
        "queue full",
        |s| {
            s.open(&PortOptions { submission_entries: 8, completion_entries: 16, catch_max: 5, ..small() });
            let now = s.now();
            let timeouts: Vec<OpRef> = (0..10_000)
                .map(|span| s.submit("", 0, Op::Timeout { at: now + Duration::from_micros(span) }))
                .collect();
            s.count("timeouts", &timeouts);
        },
        &["timeouts: 10000 times ok"],
    ),
    Scenario::new(
        "timer",
        "queue full, a burst of 10,000 wishes of four kinds",
        a_burst,
        &[
            "timeouts: 3000 times ok",
            "writes: 3000 times 10 bytes",
            "sends: 2000 times 10 bytes",
            "connects: 2000 times failed: connection refused",
        ],
    ),
    Scenario::new(
        "timer",
        "cancelled in the moment it elapses",
        |s| {
            let mut over = 0;
            for round in 0..200_u64 {
                let timeout = s.timeout_as("", Duration::from_micros(50));
                s.pass(Duration::from_micros(round % 100));
                s.cancel(timeout);
                over += usize::from(!s.next_completion(timeout).more);
            }
            s.note(format!("{over} over once"));
        },
        &["200 over once"],
    ),
    Scenario::new(
        "timer",
        "port closed",
        |s| {
            let other = s.another();
            let at = s.now() + FAR;
            for _ in 0..100 {
                s.submit("timeout", other, Op::Timeout { at });
            }
            s.settle();
            s.drop_port(other);
        },
        &["port dropped"],
    ),
    Scenario::new(
        "timer",
        "token in use, and free after its last completion",
        |s| {
            let timeout = s.timeout(FAR);
            s.refused_under(timeout.token, 0, Op::Timeout { at: Tick::ZERO });
            s.cancelled(timeout);
            match s.port(0).submit(timeout.token, Op::Timeout { at: Tick::ZERO }) {
                Ok(()) => {
                    s.again(timeout);
                    s.last(timeout);
                }
                Err(_) => s.note("still in use"),
            }
        },
        &["timeout refused token in use", "timeout ended aborted", "timeout ok"],
    ),
    Scenario::new(
        "timer",
        "pool empty",
        |s| {
            s.open(&PortOptions { lease_count: 1, ..small() });
            let (near, far) = s.pair();
            let recv = s.recv_as("", far);
            s.sent(near, b"bait");
            let kept = s.next_completion(recv);
            let timeout = s.timeout(SOON);
            s.last(timeout);
            drop(kept);
            s.collected(recv);
        },
        &["timeout ok"],
    ),
];

/// Ten thousand wishes over a submission queue of eight and a completion queue of sixteen.
fn a_burst(s: &mut Script) {
    let tight = PortOptions { submission_entries: 8, completion_entries: 16, catch_max: 5, ..small() };
    s.open(&tight);
    let unused = s.unused_address();
    let file = s.file();
    let socks: Vec<_> = (0..200).map(|_| s.datagram()).collect();
    let now = s.now();
    let [mut timeouts, mut writes, mut sends, mut connects] = [const { Vec::<OpRef>::new() }; 4];
    for number in 0..10_000_u64 {
        match number % 10 {
            0..3 => {
                let at = now + Duration::from_micros(number);
                timeouts.push(s.submit("", 0, Op::Timeout { at }));
            }
            3..6 => writes.push(s.write(file, number * 10, b"ten bytes.")),
            6..8 => {
                // One datagram at a time on each socket: the last one has left when its turn comes again.
                let (socket, address) = socks[sends.len() % socks.len()];
                if sends.len() >= socks.len() {
                    let before = sends[sends.len() - socks.len()];
                    s.kept(before);
                }
                sends.push(s.send_to(socket, address, b"ten bytes."));
            }
            _ => connects.push(s.submit("", 0, Op::Connect { remote: unused })),
        }
    }
    s.count("timeouts", &timeouts);
    s.count("writes", &writes);
    s.count("sends", &sends);
    s.count("connects", &connects);
}

/// Ten thousand deadlines elapse at once, and each of two hundred receives is cancelled by fifty of them.
fn deadlines_of_receives(s: &mut Script) {
    let pairs: Vec<_> = (0..100).map(|_| s.pair()).collect();
    let recvs: Vec<OpRef> =
        pairs.iter().flat_map(|(near, far)| [*near, *far]).map(|socket| s.recv_as("", socket)).collect();
    s.settle();
    let at = s.now() + SOON;
    let timeouts: Vec<OpRef> = (0..10_000).map(|_| s.submit("", 0, Op::Timeout { at })).collect();
    let mut elapsed = 0;
    for (number, timeout) in timeouts.iter().enumerate() {
        let completion = s.next_completion(*timeout);
        elapsed += usize::from(matches!(completion.done, naksi_core::completion::Done::Timeout(Ok(()))));
        s.cancel(recvs[number % recvs.len()]);
    }
    s.note(format!("{elapsed} deadlines elapsed"));
    s.count("recvs", &recvs);
}
