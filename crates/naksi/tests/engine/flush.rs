//! Tests of flushing at ticks and of busy-polling workers. A session's own policy is tested with the session; here
//! the worker must ask it again in time, and not before.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use naksi::engine::ServiceCore;
use naksi::engine::Worker;
use naksi_os::port::{ListenOptions, Port};

use super::*;

const SPAN: Duration = Duration::from_millis(40);

/// Echoes, and records the times of receives and sends.
struct Witness(Arc<Mutex<Notes>>);

#[derive(Default)]
struct Notes {
    heard: Vec<Tick>,
    sent: Vec<Tick>,
}

impl Session for Witness {
    fn on_recv(&mut self, c: &mut Conn<'_>, data: &[u8]) -> usize {
        self.0.lock().expect("no panic").heard.push(c.now());
        c.send(data);
        data.len()
    }

    fn on_sent(&mut self, c: &mut Conn<'_>, _: usize) {
        self.0.lock().expect("no panic").sent.push(c.now());
    }
}

#[test]
fn between_two_sends_there_is_a_tick_and_nothing_is_lost_or_late_for_ever() {
    let mut port = open_port();
    let any = "127.0.0.1:0".parse().expect("an address");
    let (listener, address) = port.listen(any, &ListenOptions::default()).expect("a listener");
    let service_core = Arc::new(ServiceCore::new(1, Limits::default()).with_flush(Flush::Every(SPAN)));
    let notes = Arc::new(Mutex::new(Notes::default()));
    let witness = Arc::clone(&notes);
    let mut worker = Worker::new(
        0,
        port,
        Arc::clone(&service_core),
        Arc::new(move |_: &ConnectionInfo| Witness(Arc::clone(&witness))),
    );
    worker.add_listener(listener);
    service_core.begin();
    let mut client = connect(address);
    let (rounds, began) = (30_u8, Instant::now());
    for round in 0..rounds {
        write(&mut client, &[round]);
        // Each byte comes in a turn of its own.
        while service_core.stats().recv_bytes <= u64::from(round) {
            worker.turn().expect("the port works");
            assert!(began.elapsed() < PATIENCE, "byte {round} was not heard");
        }
    }
    while service_core.stats().sent_bytes < u64::from(rounds) {
        worker.turn().expect("the port works");
        assert!(began.elapsed() < PATIENCE, "what was held back did not leave");
    }
    assert_eq!(read(&mut client, usize::from(rounds)), (0..rounds).collect::<Vec<_>>());
    let notes = notes.lock().expect("no panic");
    let ticks = |tick: Tick| tick.nanos() / SPAN.as_nanos() as u64;
    let passed = ticks(*notes.sent.last().expect("a send")) - ticks(notes.heard[0]);
    let sends = notes.sent.len() as u64;
    assert!(sends <= passed, "{sends} sends with {passed} ticks between them");
}

/// Answers with the number of answers so far, and sends it at once.
struct Hasty(Arc<AtomicU64>);

impl Session for Hasty {
    fn on_connected(&mut self, c: &mut Conn<'_>) {
        c.set_flush(Flush::AtOnce);
    }

    fn on_recv(&mut self, c: &mut Conn<'_>, data: &[u8]) -> usize {
        c.send(data);
        data.len()
    }

    fn on_sent(&mut self, _: &mut Conn<'_>, _: usize) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_session_that_does_not_want_to_wait_sends_every_answer_by_itself() {
    let sends = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&sends);
    let slow = Flush::Every(Duration::from_millis(100));
    let make = move || Hasty(Arc::clone(&counted));
    let service = server().workers(1).flush(slow).session(make).start().expect("a server");
    let mut client = connect(service.addresses()[0]);
    for round in 0..20_u8 {
        write(&mut client, &[round]);
        assert_eq!(read(&mut client, 1), [round]);
    }
    until("every send is told", || sends.load(Ordering::Relaxed) == 20);
}

#[test]
fn a_drain_does_not_wait_for_a_tick_and_loses_nothing() {
    let slow = Flush::Every(Duration::from_millis(100));
    let service = server().workers(2).flush(slow).session(|| Echo).start().expect("a server");
    let mut clients: Vec<_> = (0..20).map(|_| connect(service.addresses()[0])).collect();
    for client in &mut clients {
        write(client, b"before the end");
    }
    until("all is heard", || service.stats().recv_bytes == 20 * 14);
    let stopping = std::thread::spawn(move || service.stop(Duration::from_secs(5)));
    for client in &mut clients {
        assert_eq!(read_to_end(client), b"before the end");
    }
    drop(clients);
    let stats = stopping.join().expect("no panic");
    assert_eq!((stats.live, stats.connected_total), (0, stats.disconnected_total));
}

#[test]
fn workers_that_spin_hear_clients_and_each_other() {
    let service =
        server().workers(2).spin(Duration::from_micros(200)).session(|| Echo).start().expect("a server");
    let mut clients: Vec<_> = (0..4).map(|_| connect(service.addresses()[0])).collect();
    for round in 0..200_u8 {
        for client in &mut clients {
            write(client, &[round]);
            assert_eq!(read(client, 1), [round]);
        }
    }
    drop(clients);
    let stats = service.stop(Duration::from_secs(5));
    assert_eq!((stats.live, stats.connected_total), (0, 4));
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_starts() {
    let tick = server().flush(Flush::Every(Duration::from_micros(10))).session(|| Echo).start();
    assert!(tick.expect_err("too short").to_string().contains("1 to 100 ms"));
    let spin = server().spin(Duration::from_millis(2)).session(|| Echo).start();
    assert!(spin.expect_err("too long").to_string().contains("at most 1 ms"));
}

#[test]
fn an_answer_leaves_at_its_tick_however_many_were_held_before_it() {
    let service = server().workers(1).flush(Flush::Every(SPAN)).session(|| Echo).start().expect("a server");
    let mut clients: Vec<_> = (0..3).map(|_| connect(service.addresses()[0])).collect();
    for round in 0..5_u8 {
        // Nothing else happens to a session between its answer and its tick.
        for client in &mut clients {
            write(client, &[round]);
        }
        for client in &mut clients {
            assert_eq!(read(client, 1), [round]);
        }
    }
}

/// Nothing else wakes the worker: between two answers the session only waits for its tick.
#[test]
fn every_answer_of_a_session_alone_leaves_with_its_tick_and_not_only_the_first() {
    let service = server().workers(1).flush(Flush::Every(SPAN)).session(|| Echo).start().expect("a server");
    let mut client = connect(service.addresses()[0]);
    for round in 0..5_u8 {
        write(&mut client, &[round]);
        assert_eq!(read(&mut client, 1), [round]);
    }
}
