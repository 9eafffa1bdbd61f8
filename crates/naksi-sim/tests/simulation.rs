//! A user's server on simulated kernels: right servers pass, and each planted bug is found with its seed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use naksi::prelude::*;
use naksi::service::BoundServer;
use naksi::session::Factory;
use naksi_sim::{ClientScript, FailedSeed, Simulation};

/// Returns whole lines; the number says how many bytes of an unfinished line it takes and forgets.
struct EchoLines(usize);

impl Session for EchoLines {
    fn on_recv(&mut self, c: &mut Conn<'_>, data: &[u8]) -> usize {
        let Some(end) = data.iter().position(|byte| *byte == b'\n') else { return self.0.min(data.len()) };
        c.send(&data[..=end]);
        end + 1
    }
}

fn echo_of_lines(forgotten: usize) -> Simulation<impl Factory> {
    Simulation::new(move || Server::new().session(move || EchoLines(forgotten))).clients(8, |random| {
        let line = format!("line {}\n", random.below(1_000_000_000));
        ClientScript::new().send(&line).expect(&line).wait(Duration::from_millis(5)).send(&line).expect(&line)
    })
}

fn first_failure<F: Factory>(simulation: &Simulation<F>) -> FailedSeed {
    simulation.run(0..200).expect_err("the planted bug is found")
}

#[test]
fn a_right_server_passes_and_its_seeds_repeat() {
    let simulation = echo_of_lines(0);
    let report = simulation.run(0..200).unwrap();
    assert_eq!((report.seeds, report.completed + report.cut), (200, 1600));
    assert!(report.completed > 1300 && report.cut > 0 && report.faults > 1000, "{report}");
    assert_eq!(simulation.run(0..200), Ok(report), "the same seeds, the same runs");
    assert_ne!(simulation.run(200..400).unwrap().trace_hash, report.trace_hash);
}

#[test]
fn a_byte_lost_from_a_line_in_two_pieces_is_found_and_its_seed_finds_it_again() {
    let simulation = echo_of_lines(1);
    let failed = first_failure(&simulation);
    assert!(failed.seed > 0, "seed 0 has no faults and sends every line in one piece");
    assert!(failed.text.contains("expected \"line "), "{failed}");
    let again = simulation.trace(failed.seed, |_| {}).unwrap_err();
    assert_eq!(again, failed);
    assert!(failed.to_string().starts_with(&format!("seed {}: client ", failed.seed)));
}

/// Sends everything back twice.
struct EchoTwice;

impl Session for EchoTwice {
    fn on_recv(&mut self, c: &mut Conn<'_>, data: &[u8]) -> usize {
        c.send(data);
        c.send(data);
        data.len()
    }
}

#[test]
fn bytes_after_the_last_step_are_a_bug_unless_they_are_allowed() {
    let simulation = |script: fn() -> ClientScript| {
        Simulation::new(|| Server::new().session(|| EchoTwice)).clients(2, move |_| script())
    };
    let strict = simulation(|| ClientScript::new().send("p").expect("p"));
    assert!(first_failure(&strict).text.contains("after the last step"));
    let lenient = simulation(|| ClientScript::new().send("p").expect("p").ignore_rest());
    lenient.run(0..20).unwrap();
}

/// A session whose own assertion breaks when it gets only a part of what was sent.
struct Impatient;

impl Session for Impatient {
    fn on_recv(&mut self, c: &mut Conn<'_>, data: &[u8]) -> usize {
        assert!(data.len() >= 4, "a message of {} bytes", data.len());
        c.send(data);
        data.len()
    }
}

#[test]
fn an_assertion_in_a_callback_is_found_with_its_words() {
    let simulation = Simulation::new(|| Server::new().session(|| Impatient))
        .clients(4, |_| ClientScript::new().send("ping").expect("ping"));
    let failed = first_failure(&simulation);
    assert!(failed.text.contains("a message of ") && failed.text.contains("simulation.rs"), "{failed}");
}

/// A session that never answers.
struct Silent;

impl Session for Silent {
    fn on_recv(&mut self, _: &mut Conn<'_>, data: &[u8]) -> usize {
        data.len()
    }
}

#[test]
fn a_client_that_waits_for_ever_is_found() {
    let limits = Limits { idle_within: Duration::MAX, ..Limits::default() };
    let simulation = Simulation::new(move || Server::new().limits(limits.clone()).session(|| Silent))
        .clients(3, |_| ClientScript::new().send("ping").expect("pong"))
        .clients_within(Duration::from_secs(30));
    let failed = simulation.run(0..1).unwrap_err();
    assert!(failed.text.contains("3 of 3 clients wait after 30s"), "{failed}");
}

#[test]
fn a_check_of_the_counters_is_a_part_of_the_run() {
    let simulation = echo_of_lines(0).check(|stats| assert_eq!(stats.connected_total, 8, "sessions"));
    simulation.run(0..1).unwrap();
    let simulation = echo_of_lines(0).check(|stats| assert_eq!(stats.connected_total, 9, "sessions"));
    assert!(simulation.run(0..1).unwrap_err().text.contains("sessions"));
}

packets! {
    COUNTER {
        1 => Add { amount: u32 }
        2 => Total { total: u32 }
    }
}

/// A room that adds up what its members bring and tells all of them; `forgets` loses what comes within a moment of the last.
struct Counter {
    total: u32,
    forgets: bool,
    last: Option<Tick>,
}

impl Room for Counter {
    type Member = ();

    fn routes(routes: &mut Routes<Self>) {
        routes.on(Self::add);
    }
}

impl Counter {
    fn add(&mut self, cx: &mut Cx<'_, Self>, _: SessionId, add: Add) {
        let last = self.last.replace(cx.now());
        if self.forgets && last.is_some_and(|last| cx.now() < last + Duration::from_millis(1)) {
            return;
        }
        self.total += add.amount;
        cx.broadcast(&Total { total: self.total });
    }
}

/// Waits until the total is this much.
fn until_total(wanted: u8) -> impl FnMut(&[u8]) -> Option<usize> {
    move |received| {
        let (frames, _) = received.as_chunks::<5>();
        let met = frames.iter().position(|frame| frame[4] == wanted);
        met.map(|place| 5 * (place + 1))
    }
}

fn counter(forgets: bool) -> Simulation<impl Factory> {
    let server = move || -> BoundServer<_> {
        Server::new().room(RoomOptions::new(), move || Counter { total: 0, forgets, last: None })
    };
    Simulation::new(server).clients(6, |_| {
        let add = [5, 0, 1, 0, 1]; // size and id, then the amount: small numbers take one byte
        let script = ClientScript::new().wait(Duration::from_secs(2)).send(add);
        script.expect_with(until_total(6)).ignore_rest()
    })
}

#[test]
fn a_room_is_simulated_and_what_it_forgets_is_found() {
    let quiet = |seed: &u64| seed % 4 != 3; // the others end members, whose share is missing then
    for seed in (0..60).filter(quiet) {
        assert_eq!(counter(false).run([seed]).unwrap().completed, 6);
    }
    let found = (0..60).filter(quiet).find_map(|seed| counter(true).run([seed]).err());
    let failed = found.expect("the planted bug is found");
    assert!(failed.text.contains("next: expect_with"), "{failed}");
}

/// A session that asks its group, and sends the answer from there; `forgets` skips a question while one is under way.
struct Asker {
    is_asking: Arc<AtomicBool>,
    forgets: bool,
}

impl Session for Asker {
    fn on_recv(&mut self, c: &mut Conn<'_>, data: &[u8]) -> usize {
        for question in data {
            let was_asking = self.is_asking.swap(true, Ordering::Relaxed);
            if self.forgets && was_asking {
                continue;
            }
            let (id, service, answer) = (c.id(), c.handle(), question.to_ascii_uppercase());
            let is_asking = Arc::clone(&self.is_asking);
            let job = move || {
                is_asking.store(false, Ordering::Relaxed);
                service.send(id, vec![answer]).ok(); // a session that has ended needs no answer
            };
            c.group("slow").expect("the server has it").post(job).expect("there is room for a job");
        }
        data.len()
    }
}

#[test]
fn jobs_of_groups_take_time_and_what_is_forgotten_meanwhile_is_found() {
    let asker = |forgets| {
        let make = move || Asker { is_asking: Arc::default(), forgets };
        Simulation::new(move || Server::new().group(GroupOptions::new("slow")).session(make))
            .clients(5, |_| ClientScript::new().send("abc").expect("ABC"))
    };
    asker(false).run(0..60).unwrap();
    let failed = first_failure(&asker(true));
    assert!(failed.text.contains("next: expect \"ABC\""), "{failed}");
}

#[test]
fn a_server_that_does_not_start_says_why() {
    let simulation = Simulation::new(|| Server::new().listen("nowhere").session(|| EchoTwice));
    let failed = simulation.run(0..1).unwrap_err();
    assert!(failed.text.contains("the server does not start") && failed.text.contains("nowhere"), "{failed}");
}
