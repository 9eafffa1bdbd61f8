//! Other threads: send by id, end, broadcast; stale ids are harmless.

use std::sync::mpsc;

use naksi::SendError;

use super::*;

/// Reports its id to the test.
struct Named(mpsc::Sender<SessionId>);

impl Session for Named {
    fn on_connected(&mut self, c: &mut Conn<'_>) {
        let topic = c.topic(1);
        c.join(&topic);
        self.0.send(c.id()).expect("the test listens");
    }
}

#[test]
fn bytes_from_another_thread_arrive_in_order_and_a_stale_id_is_counted() {
    let (names, named) = mpsc::channel();
    let service = server().workers(2).session_with(move |_| Named(names.clone())).start().expect("a server");
    let mut client = connect(service.addresses()[0]);
    let id = named.recv_timeout(PATIENCE).expect("the session tells its name");
    let remote = service.handle();
    let sender = std::thread::spawn(move || {
        for number in 0..1000_u32 {
            remote.send(id, number.to_le_bytes().to_vec()).expect("the mailbox has room");
        }
    });
    for number in 0..1000_u32 {
        assert_eq!(read(&mut client, 4), number.to_le_bytes());
    }
    sender.join().expect("the sender ends");
    let remote = service.handle();
    remote.broadcast(&remote.topic(1), b"all".to_vec()).expect("the mailbox has room");
    assert_eq!(read(&mut client, 3), b"all");
    remote.kick(id).expect("a known worker");
    assert_eq!(read_to_end(&mut client), b"");
    drop(client);
    until("the session is gone", || service.stats().live == 0);
    remote.send(id, b"late".to_vec()).expect("the mailbox has room");
    until("the stale id is counted", || service.stats().stale_total == 1);
    assert_eq!(service.stats().ended.get("kicked"), Some(&1));
    let unknown = SessionId::new(200, 0, 0);
    assert!(remote.send(unknown, b"x".to_vec()).is_err());
}

/// Uses its timers.
struct Ticks(u32);

impl Session for Ticks {
    fn on_connected(&mut self, c: &mut Conn<'_>) {
        c.after(Duration::from_millis(5), 1);
        let never = c.after(Duration::from_millis(1), 9);
        assert!(c.cancel_timer(never));
        assert!(!c.cancel_timer(never));
    }

    fn on_timer(&mut self, c: &mut Conn<'_>, tag: u32) {
        self.0 += 1;
        c.send(format!("{tag}.").as_bytes());
        if self.0 < 3 {
            c.after(Duration::from_millis(1), tag + 1);
        } else {
            c.close(DisconnectReason::Handler);
        }
    }
}

#[test]
fn timers_fire_in_order_and_a_cancelled_one_never() {
    let service = server().session(|| Ticks(0)).start().expect("a server");
    assert_eq!(read_to_end(&mut connect(service.addresses()[0])), b"1.2.3.");
}

/// Has two timers that are due together; the first one cancels the other.
#[derive(Default)]
struct Duel(Vec<TimerKey>);

impl Session for Duel {
    fn on_connected(&mut self, c: &mut Conn<'_>) {
        self.0 = (0..2).map(|tag| c.after(Duration::from_millis(5), tag)).collect();
        c.after(Duration::from_millis(50), 2);
    }

    fn on_timer(&mut self, c: &mut Conn<'_>, tag: u32) {
        let other = self.0.iter().rev().any(|key| c.cancel_timer(*key));
        c.send(format!("{tag} {other}.").as_bytes());
        if tag == 2 {
            c.close(DisconnectReason::Handler);
        }
    }
}

#[test]
fn of_timers_that_are_due_together_the_first_may_take_the_other_back() {
    let service = server().workers(1).session(Duel::default).start().expect("a server");
    assert_eq!(read_to_end(&mut connect(service.addresses()[0])), b"0 true.2 false.");
}

/// Sets a timer for much later.
struct Patient;

impl Session for Patient {
    fn on_connected(&mut self, c: &mut Conn<'_>) {
        c.after(Duration::from_secs(3600), 1);
    }
}

#[test]
fn the_timers_of_a_session_end_with_it() {
    let service = server().workers(1).session(|| Patient).start().expect("a server");
    let clients: Vec<_> = (0..20).map(|_| connect(service.addresses()[0])).collect();
    until("everybody is in", || service.stats().live == 20);
    drop(clients);
    until("everybody is gone", || service.stats().live == 0);
    assert_eq!(service.stats().timers, 0);
}

#[test]
fn what_no_send_queue_can_hold_is_refused_and_harms_nobody() {
    let (names, named) = mpsc::channel();
    let service = server().workers(2).session_with(move |_| Named(names.clone())).start().expect("a server");
    let mut client = connect(service.addresses()[0]);
    let id = named.recv_timeout(PATIENCE).expect("the session tells its name");
    let remote = service.handle();
    let long = Bytes::from(vec![7; Limits::default().send_queue_bytes_max + 1]);
    assert_eq!(remote.send(id, long.clone()), Err(SendError::TooLong));
    assert_eq!(remote.broadcast(&remote.topic(1), long), Err(SendError::TooLong));
    remote.send(id, &b"still here"[..]).expect("the mailbox has room");
    assert_eq!(read(&mut client, 10), b"still here");
    service.stop(Duration::from_secs(5));
    assert_eq!(remote.send(id, &b"x"[..]), Err(SendError::Closed));
}
