//! Scenarios about numbers posted to a port. Nothing here knows a backend.

use std::thread;
use std::time::Duration;

use naksi_core::completion::Done;
use naksi_core::op::Op;
use naksi_os::port::{PollStatus, PortOptions};

use crate::conform::Scenario;
use crate::conform::script::{OpRef, Script, small};

pub(super) const ALL: &[Scenario] = &[
    Scenario::new(
        "post",
        "normal",
        |s| {
            s.first();
            let (op_ref, post) = s.mailbox("post", 0);
            for value in 1..=3 {
                post(op_ref.token, value);
                s.answer(op_ref);
            }
        },
        &["post posted 1", "post posted 2", "post posted 3"],
    ),
    Scenario::new(
        "post",
        "from another thread",
        |s| {
            s.first();
            let (op_ref, post) = s.mailbox("post", 0);
            let posting = thread::spawn(move || (0..1000).all(|value| post(op_ref.token, value)));
            let taken = posting.join().unwrap_or(false);
            s.note(if taken { "all taken" } else { "not all taken" });
            in_order(s, op_ref, 1000);
        },
        &["all taken", "1000 in order"],
    ),
    Scenario::new(
        "post",
        "from four threads at once",
        |s| {
            s.first();
            let boxes: Vec<_> = (0..4).map(|_| s.mailbox("post", 0)).collect();
            let (ops, posts): (Vec<OpRef>, Vec<_>) = boxes.into_iter().unzip();
            let posting: Vec<_> = ops
                .iter()
                .zip(posts)
                .map(|(op_ref, post)| {
                    let token = op_ref.token;
                    thread::spawn(move || (0..1000).all(|value| post(token, value)))
                })
                .collect();
            let whole = posting.into_iter().filter_map(|one| one.join().ok()).filter(|all| *all).count();
            ops.into_iter().for_each(|op_ref| in_order(s, op_ref, 1000));
            s.note(format!("{whole} threads were heard"));
        },
        &["1000 in order", "1000 in order", "1000 in order", "1000 in order", "4 threads were heard"],
    ),
    Scenario::new("post", "wakes a wait that sleeps", wakes_a_sleeper, &["100 posts woke it"])
        .real_ports_only("a wait of a simulated port never sleeps: its world moves time instead"),
    Scenario::new(
        "post",
        "queue full",
        |s| {
            s.open(&PortOptions { submission_entries: 8, completion_entries: 16, catch_max: 5, ..small() });
            let (op_ref, post) = s.mailbox("post", 0);
            let taken = (0..10_000).all(|value| post(op_ref.token, value));
            s.note(if taken { "all taken" } else { "not all taken" });
            in_order(s, op_ref, 10_000);
        },
        &["all taken", "10000 in order"],
    ),
    Scenario::new(
        "post",
        "a wait brings at most what was asked for",
        |s| {
            s.open(&PortOptions { catch_max: 7, ..small() });
            let (op_ref, post) = s.mailbox("post", 0);
            for value in 0..100 {
                post(op_ref.token, value);
            }
            let (mut caught, mut total, mut wrong) = (Vec::new(), 0, 0);
            while total < 100 {
                let now = s.now();
                let Ok(status) = s.port(0).wait(&mut caught, Some(now)) else { s.stop("the port is broken") };
                wrong += usize::from(caught.len() > 7);
                total += caught.drain(..).count();
                wrong +=
                    usize::from(status != if total < 100 { PollStatus::More } else { PollStatus::Drained });
            }
            s.note(format!("{total} posts, {wrong} waits that brought or said too much"));
        },
        &["100 posts, 0 waits that brought or said too much"],
    ),
    Scenario::new(
        "post",
        "pool empty",
        |s| {
            s.open(&PortOptions { lease_count: 1, ..small() });
            let (near, far) = s.pair();
            let recv = s.recv_as("", far);
            s.sent(near, b"bait");
            let kept = s.next_completion(recv);
            let post = s.post(0, 7);
            s.last(post);
            drop(kept);
            s.collected(recv);
        },
        &["post posted 7"],
    ),
    Scenario::new(
        "post",
        "port closed",
        |s| {
            let other = s.another();
            let (op_ref, post) = s.mailbox("post", other);
            let before = post(op_ref.token, 1);
            s.drop_port(other);
            let after = post(op_ref.token, 2);
            s.note(format!("taken before: {before}, after: {after}"));
        },
        &["port dropped", "taken before: true, after: false"],
    ),
    Scenario::new(
        "post",
        "under the token of an operation in flight",
        |s| {
            let (near, far) = s.pair();
            let recv = s.recv(far);
            let (op_ref, post) = s.mailbox_under("post", 0, recv.token);
            post(op_ref.token, 5);
            s.last(op_ref);
            s.sent(near, b"still");
            s.bytes(recv, b"still");
            s.cancelled(recv);
        },
        &["post posted 5", "recv 5 bytes more", "recv ended aborted"],
    ),
    Scenario::new(
        "post",
        "cancel changes nothing",
        |s| {
            s.first();
            let post = s.post(0, 9);
            s.cancel(post);
            s.last(post);
            s.cancel(post);
        },
        &["post posted 9"],
    ),
    Scenario::new(
        "post",
        "a flood of posts keeps no receive from being heard",
        |s| {
            let (near, far) = s.pair();
            let recv = s.submit("", 0, Op::Recv { socket: far.handle });
            let (op_ref, post) = s.mailbox("", 0);
            s.sent(near, b"hear me");
            let mut turns = 0;
            // Every turn brings more posts than one wait takes.
            while !s.answered(recv) && turns < 1000 {
                for value in 0..200 {
                    post(op_ref.token, value);
                }
                s.pass(Duration::from_micros(100));
                turns += 1;
            }
            s.note(if turns < 1000 { "the receive was heard" } else { "the receive was drowned out" });
            s.forget(op_ref);
            s.next_completion(recv);
            s.collected(recv);
            s.settle();
            s.forget(op_ref);
        },
        &["the receive was heard"],
    ),
];

/// So many posts in the order in which they were made.
fn in_order(s: &mut Script, op_ref: OpRef, count: u64) {
    for value in 0..count {
        match s.next_completion(op_ref).done {
            Done::Posted(number) if number == value => {}
            other => s.stop(&format!("{other:?} instead of {value}")),
        }
    }
    s.note(format!("{count} in order"));
}

/// A thread posts while the port sleeps with a deadline a long way off.
fn wakes_a_sleeper(s: &mut Script) {
    s.first();
    let (op_ref, post) = s.mailbox("post", 0);
    let (allow, allowed) = std::sync::mpsc::channel::<()>();
    let posting = thread::spawn(move || {
        let mut value = 0;
        while allowed.recv().is_ok() {
            post(op_ref.token, value);
            value += 1;
        }
    });
    let (mut caught, mut woken) = (Vec::new(), 0);
    for _ in 0..100 {
        let deadline = s.now() + Duration::from_secs(20);
        allow.send(()).ok(); // a thread that is gone wakes no port, which shows it
        while caught.is_empty() && s.now() < deadline {
            if s.port(0).wait(&mut caught, Some(deadline)).is_err() {
                s.stop("the port is broken");
            }
        }
        woken += usize::from(s.now() < deadline && caught.len() == 1);
        caught.clear();
    }
    drop(allow);
    let whole = posting.join().is_ok();
    s.note(if whole { format!("{woken} posts woke it") } else { "the thread panicked".to_owned() });
}
