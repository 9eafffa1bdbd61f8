//! Tests of thread groups: no job lost or run twice, bounded queues, and pipelines with sessions.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use naksi::group::{SubmitError, WhenFull, thread_index};
use naksi::prelude::*;

/// How long anything may take before a test is lost.
const PATIENCE: Duration = Duration::from_secs(20);

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "waited in vain for: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn open(options: GroupOptions) -> Group {
    Group::open(options).expect("a group")
}

/// A group of one thread, blocked by a job until the sender is dropped.
fn held_up(options: GroupOptions) -> (Group, mpsc::Sender<()>) {
    let group = open(options.threads(1));
    let (hold, held) = mpsc::channel::<()>();
    let (begin, begun) = mpsc::channel();
    let job = move || {
        begin.send(()).expect("the test waits");
        held.recv().expect_err("nothing is ever sent");
    };
    group.post(job).expect("there is room");
    begun.recv_timeout(PATIENCE).expect("the first job begins");
    (group, hold)
}

#[test]
fn what_was_posted_before_the_close_is_carried_out_once_and_in_order() {
    let (group, hold) = held_up(GroupOptions::new("logic"));
    let order = Arc::new(Mutex::new(Vec::new()));
    for number in 0..1000 {
        let order = Arc::clone(&order);
        group.post(move || order.lock().expect("not poisoned").push(number)).expect("there is room");
    }
    assert_eq!(group.stats().depth, 1000);
    drop(hold);
    let stats = group.close(PATIENCE);
    assert_eq!(*order.lock().expect("not poisoned"), (0..1000).collect::<Vec<_>>());
    assert_eq!((stats.posted_total, stats.done_total, stats.depth), (1001, 1001, 0));
    assert_eq!((stats.wait.count, stats.service.count), (1001, 1001));
    assert_eq!(group.post(|| ()), Err(SubmitError::Closed));
}

#[test]
fn posts_that_race_with_the_close_are_refused_or_carried_out() {
    for _ in 0..50 {
        let group = open(GroupOptions::new("logic").threads(2));
        let (taken, done) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    loop {
                        let done = Arc::clone(&done);
                        let job = move || {
                            done.fetch_add(1, Ordering::SeqCst);
                        };
                        match group.post(job) {
                            Ok(()) => taken.fetch_add(1, Ordering::SeqCst),
                            // The threads do not keep up.
                            Err(SubmitError::Full) => continue,
                            Err(SubmitError::Closed) => return,
                        };
                    }
                });
            }
            until("some jobs", || taken.load(Ordering::SeqCst) > 20);
            group.close(PATIENCE);
        });
        assert_eq!(taken.into_inner(), done.load(Ordering::SeqCst));
    }
}

#[test]
fn a_full_queue_refuses_and_counts() {
    let (group, hold) = held_up(GroupOptions::new("logic").jobs_max(3));
    let answers: Vec<_> = (0..5).map(|_| group.post(|| ())).collect();
    assert_eq!(answers, [Ok(()), Ok(()), Ok(()), Err(SubmitError::Full), Err(SubmitError::Full)]);
    drop(hold);
    let stats = group.close(PATIENCE);
    assert_eq!((stats.done_total, stats.refused_total, stats.depth_max), (4, 2, 3));
}

#[test]
fn a_full_queue_lets_whoever_posts_do_the_work_if_it_shall() {
    let (group, hold) = held_up(GroupOptions::new("db").jobs_max(1).when_full(WhenFull::RunHere));
    let here = Arc::new(AtomicUsize::new(0));
    for _ in 0..3 {
        let here = Arc::clone(&here);
        let job = move || {
            here.fetch_add(usize::from(thread_index().is_none()), Ordering::SeqCst);
        };
        group.post(job).expect("it is never refused");
    }
    assert_eq!(here.load(Ordering::SeqCst), 2);
    drop(hold);
    assert_eq!(group.close(PATIENCE).run_here_total, 2);
}

/// Posts itself again until it has run this many times, and counts the runs.
fn again(group: Group, ran: Arc<AtomicUsize>, times: usize) {
    if ran.fetch_add(1, Ordering::SeqCst) + 1 < times {
        let next = group.clone();
        group.post(move || again(next, ran, times)).expect("there is room behind the job that runs here");
    }
}

#[test]
fn jobs_that_post_jobs_to_a_full_queue_need_no_deeper_stack_and_are_done_before_the_post_returns() {
    const TIMES: usize = 100_000;
    let (group, hold) = held_up(GroupOptions::new("db").jobs_max(1).when_full(WhenFull::RunHere));
    group.post(|| ()).expect("there is room for one");
    let ran = Arc::new(AtomicUsize::new(0));
    again(group.clone(), Arc::clone(&ran), TIMES);
    assert_eq!(ran.load(Ordering::SeqCst), TIMES);
    drop(hold);
    assert_eq!(group.close(PATIENCE).run_here_total, TIMES as u64 - 1);
}

#[test]
fn a_job_that_runs_where_it_was_posted_may_post_a_bounded_number_behind_itself() {
    let (group, hold) = held_up(GroupOptions::new("db").jobs_max(3).when_full(WhenFull::RunHere));
    (0..3).for_each(|_| group.post(|| ()).expect("there is room for three"));
    let order = Arc::new(Mutex::new(Vec::new()));
    let (posts, notes) = (group.clone(), Arc::clone(&order));
    let job = move || {
        for number in 0..10 {
            let notes = Arc::clone(&notes);
            let posted = posts.post(move || notes.lock().expect("no panic with it").push(number));
            assert_eq!(posted, if number < 3 { Ok(()) } else { Err(SubmitError::Full) });
        }
        notes.lock().expect("no panic with it").push(99);
    };
    group.post(job).expect("it runs here");
    assert_eq!(*order.lock().expect("no panic with it"), [99, 0, 1, 2], "behind it, in order");
    drop(hold);
    let stats = group.close(PATIENCE);
    assert_eq!((stats.run_here_total, stats.refused_total, stats.panics_total), (4, 7, 0));
}

#[test]
fn a_panic_ends_its_job_and_nobody_elses() {
    let group = open(GroupOptions::new("logic").threads(1));
    group.post(|| panic!("on purpose")).expect("there is room");
    let after = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&after);
    group.post(move || seen.store(true, Ordering::SeqCst)).expect("there is room");
    let stats = group.close(PATIENCE);
    assert!(after.load(Ordering::SeqCst));
    assert_eq!((stats.done_total, stats.panics_total), (2, 1));
}

#[test]
fn a_job_that_blocks_lets_another_one_run() {
    let group = open(GroupOptions::new("db").threads(2).concurrency(1));
    let second = Arc::new(AtomicBool::new(false));
    let (seen, sets) = (Arc::clone(&second), Arc::clone(&second));
    let waits = move || blocking(|| until("the second job", || seen.load(Ordering::SeqCst)));
    group.post(waits).expect("there is room");
    group.post(move || sets.store(true, Ordering::SeqCst)).expect("there is room");
    assert_eq!(group.close(PATIENCE).panics_total, 0);
    assert!(second.load(Ordering::SeqCst));
}

#[test]
fn every_thread_has_a_number_of_its_own() {
    let group = open(GroupOptions::new("db").threads(3).concurrency(3));
    let (told, tells) = mpsc::channel();
    let all = Arc::new(std::sync::Barrier::new(3));
    for _ in 0..3 {
        let (told, all) = (told.clone(), Arc::clone(&all));
        let job = move || {
            blocking(|| all.wait());
            told.send(thread_index()).expect("the test waits");
        };
        group.post(job).expect("there is room");
    }
    group.close(PATIENCE);
    let mut numbers: Vec<_> = tells.try_iter().collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [Some(0), Some(1), Some(2)]);
}

#[test]
fn options_that_make_no_sense_are_named() {
    let wrong = [
        (GroupOptions::new(""), "name"),
        (GroupOptions::new("a").threads(0), "threads"),
        (GroupOptions::new("a").threads(257), "threads"),
        (GroupOptions::new("a").jobs_max(0), "jobs_max"),
    ];
    for (options, named) in wrong {
        let error = Group::open(options).expect_err("it makes no sense").to_string();
        assert!(error.contains(named), "{error}");
    }
    let twice =
        Server::new().listen("127.0.0.1:0").group(GroupOptions::new("db")).group(GroupOptions::new("db"));
    let error = twice.session(|| Asker).start().expect_err("one name, two groups").to_string();
    assert!(error.contains("two groups are named `db`"), "{error}");
}

/// Sends each byte through logic and the database, and answers from there.
struct Asker;

impl Session for Asker {
    fn on_recv(&mut self, c: &mut Conn<'_>, data: &[u8]) -> usize {
        let (logic, database) = (c.group("logic").expect("declared"), c.group("db").expect("declared"));
        for byte in data.iter().copied() {
            let (database, remote, id) = (database.clone(), c.handle(), c.id());
            let query = move || {
                let answer =
                    move || remote.send(id, vec![byte + 1]).expect("the session waits for its answer");
                database.post(answer).expect("the database drains behind logic");
            };
            logic.post(query).expect("there is room");
        }
        data.len()
    }
}

#[test]
fn io_and_logic_and_database_are_a_pipeline_that_drains_in_its_order() {
    let server = Server::new().listen("127.0.0.1:0").workers(2);
    let server =
        server.group(GroupOptions::new("logic").threads(1)).group(GroupOptions::new("db").threads(1));
    let service = server.session(|| Asker).start().expect("a server");
    let mut stream = TcpStream::connect(service.addresses()[0]).expect("the server accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a time limit");
    stream.write_all(&[1; 100]).expect("the server reads");
    let mut answers = [0; 100];
    stream.read_exact(&mut answers).expect("the server answers");
    assert_eq!(answers, [2; 100]);
    stream.write_all(&[1; 100]).expect("the server reads");
    until("the second hundred", || service.stats().recv_bytes == 200);
    let stats = service.stop(Duration::from_secs(5));
    let [logic, database] = &stats.groups[..] else { panic!("two groups, not {:?}", stats.groups) };
    assert_eq!((logic.name.as_str(), logic.done_total, logic.depth), ("logic", 200, 0));
    assert_eq!((database.name.as_str(), database.done_total, database.depth), ("db", 200, 0));
    assert!(stats.to_string().contains("group.db.service"), "{stats}");
}

/// Panics when it is dropped, and may be thrown.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("on purpose, in the payload's destructor")
    }
}

#[test]
fn a_payload_that_panics_when_it_is_dropped_ends_no_thread() {
    let group = open(GroupOptions::new("logic").threads(2).concurrency(2));
    for _ in 0..8 {
        group.post(|| std::panic::panic_any(Bomb)).expect("there is room");
    }
    let (told, tells) = mpsc::channel();
    group.post(move || told.send(7).expect("the test listens")).expect("there is room");
    assert_eq!(tells.recv_timeout(PATIENCE), Ok(7));
    let stats = group.close(PATIENCE);
    assert_eq!((stats.posted_total, stats.done_total, stats.panics_total), (9, 9, 8));
}
