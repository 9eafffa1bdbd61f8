//! The engine on the simulated kernel: a million sessions in both dialects, every law asserted.
//!
//! One seed decides everything: the faults, the sizes (down to pools of one buffer), the workers and the
//! peers. A run that fails names its seed; the same seed fails again in the same place.

#[path = "../../naksi-os/tests/support/scale.rs"]
mod scale;

use std::ops::ControlFlow;
use std::path::Path;

use naksi_sim::kernel::fault::{Dialect, FaultKind};
use naksi_sim::worlds::hazard::Hazard;
use naksi_sim::worlds::outcome::Outcome;
use naksi_sim::worlds::setting::{Setting, Stop, Weather};
use naksi_sim::worlds::sweep::{SweepOptions, attempt, sweep};
use scale::scaled;

/// Sessions of every test run.
const SESSIONS_WANTED: u64 = 1_000_000;

#[test]
fn every_seed_that_once_failed_keeps_the_laws() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../seeds");
    for entry in std::fs::read_dir(folder).expect("the folder of seeds") {
        let path = entry.expect("an entry").path();
        let text = std::fs::read_to_string(&path).expect("a text");
        let setting = Setting::parse(&text).expect("a setting");
        attempt(&setting).unwrap_or_else(|broken| panic!("{}: {broken}", path.display()));
    }
}

#[test]
fn a_million_sessions_keep_the_laws_and_meet_every_fault() {
    let options =
        SweepOptions { seed: 0, sessions: scaled(SESSIONS_WANTED), dialect: None, talk: 1, threads: 2 };
    let sum = match sweep(&options, |_| ControlFlow::Continue(())) {
        Ok(swept) => swept.sum,
        Err(failure) => panic!("{}\n{}", failure.text, failure.setting),
    };
    println!("{} sessions, {} worlds, {} completions", sum.sessions, sum.worlds, sum.completions);
    println!("{}", sum.table());
    println!("{:?}", sum.reasons);
    for kind in FaultKind::ALL {
        let fired = sum.fired.get(kind).copied().unwrap_or(0);
        println!("{kind:?} fired {fired} times");
        assert!(fired > 0, "{kind:?} was enabled and never happened: the run proves nothing");
    }
    for row in Hazard::ALL {
        assert!(sum.met(*row) > 0, "{row:?} was never met: {}", row.text());
    }
    for (what, count) in [
        ("served", sum.served),
        ("reset", sum.reset),
        ("starved", sum.starved),
        ("accept pauses", sum.accept_pauses),
        ("panics", sum.panics),
        ("stale", sum.stale),
        ("nonces", sum.nonces),
        ("a datagram without faults", sum.datagrams),
    ] {
        println!("{what}: {count}");
        assert!(count > 0, "nothing was ever {what}");
    }
    assert!(sum.reasons.contains_key("rate_exceeded"), "no session ended because of its rate");
    assert!(sum.reasons.contains_key("memory_pressure"), "no session ended under memory pressure");
    assert!(sum.reasons.len() >= 15, "only these endings were reached: {:?}", sum.reasons);
}

#[test]
fn a_sweep_in_parts_comes_to_what_a_sweep_in_one_does() {
    let options = SweepOptions { seed: 77, sessions: 3_000, dialect: None, talk: 1, threads: 1 };
    let never = |_: &Outcome| ControlFlow::Continue(());
    let whole = sweep(&options, never).expect("the laws hold");
    let first = sweep(&options, |sum| match sum.worlds {
        ..3 => ControlFlow::Continue(()),
        _ => ControlFlow::Break(()),
    });
    let first = first.expect("the laws hold");
    assert_eq!(
        (first.sum.worlds, first.next_seed),
        (3, 80),
        "what had begun is played to its end, and no more"
    );
    let rest =
        SweepOptions { seed: first.next_seed, sessions: options.sessions - first.sum.sessions, ..options };
    let second = sweep(&rest, never).expect("the laws hold");
    let mut sum = first.sum;
    sum.add(&second.sum);
    assert_eq!(second.next_seed, whole.next_seed);
    assert_eq!((sum.sessions, sum.completions), (whole.sum.sessions, whole.sum.completions));
    assert_eq!((sum.fired, sum.reasons), (whole.sum.fired, whole.sum.reasons));
}

/// What leaves at ticks leaves all the same, whatever fails, however small the queues, and before a drain ends.
#[test]
fn services_whose_sends_leave_at_ticks_keep_the_laws() {
    let (mut sessions, mut calm) = (0, 0);
    for seed in 0..scaled(120) {
        for dialect in Dialect::ALL {
            let setting =
                Setting { tick_ms: [1, 5, 20, 100][seed as usize % 4], ..Setting::random(seed, dialect) };
            let outcome = attempt(&setting).unwrap_or_else(|broken| panic!("{broken}\n{setting}"));
            sessions += outcome.sessions;
            if setting.weather == Weather::Calm {
                // Without faults, a session that is served at once is served at ticks. How many more are that come while
                // the listener closes is a matter of moments.
                let at_once = attempt(&Setting { tick_ms: 0, ..setting.clone() }).expect("the laws hold");
                let both_served = (outcome.served, at_once.served);
                if setting.stop == Stop::DrainInStorm {
                    assert!(both_served.0.min(both_served.1) >= setting.peers, "{both_served:?}: {setting}");
                } else {
                    assert_eq!(both_served.0, both_served.1, "{setting}");
                }
                calm += 1;
            }
        }
    }
    assert!(calm > 0, "no world was calm");
    assert!(sessions > scaled(10_000), "only {sessions} sessions were there");
}

/// A worker that is busy all the time, with turns that are long and leave nothing in the port, judges deadlines in time:
/// squatters end (asserted by each of them as it ends), and no honest peer does.
#[test]
fn deadlines_are_judged_in_time_by_workers_whose_turns_are_long() {
    let (mut worlds, mut late) = (0, 0);
    for seed in 0..scaled(120) {
        for dialect in Dialect::ALL {
            let random = Setting::random(seed, dialect);
            // So few that a worker keeps up with what they say: else no peer is late before a second has passed.
            let setting = Setting {
                turn_ms: [10, 12, 40][seed as usize % 3],
                peers: random.peers.min(60),
                own_clients: random.own_clients.min(20),
                ..random
            };
            // Who takes a completion a turn, or drains in the midst of it all, needs more time than the laws grant.
            let can_keep_up = setting.catch_max >= 32 && setting.lease_count >= 8;
            if !can_keep_up || setting.stop == Stop::DrainInStorm {
                continue;
            }
            let outcome = attempt(&setting).unwrap_or_else(|broken| panic!("{broken}\n{setting}"));
            late += ["first_frame_late", "frame_late", "idle"]
                .iter()
                .filter_map(|reason| outcome.reasons.get(reason))
                .sum::<u64>();
            worlds += 1;
        }
    }
    assert!(worlds > scaled(50), "only {worlds} worlds were played");
    assert!(late > 0, "no peer was ever late");
}

#[test]
fn the_same_seed_gives_the_same_trace_and_another_seed_another() {
    for seed in 0..scaled(20) {
        for dialect in Dialect::ALL {
            let play = |seed| attempt(&Setting::random(seed, dialect)).expect("the laws hold");
            let (once, again, other) = (play(seed), play(seed), play(seed + 1000));
            assert_eq!(once.trace_hash, again.trace_hash, "seed {seed}");
            assert_eq!(once.reasons, again.reasons, "seed {seed}");
            assert_ne!(once.trace_hash, other.trace_hash, "seeds {seed} and {}", seed + 1000);
        }
    }
}
