//! loom models of the state that threads share: the mailbox's wake-up flag, the loads, admission, the stop signals.
//!
//! Run with `cargo xtask loom`. The port is used only for its poster and its socket type.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

use naksi_core::completion::Completion;
use naksi_core::ended::OsError;
use naksi_core::id::{Handle, SessionId, Token};
use naksi_core::limits::Limits;
use naksi_core::op::Op;
use naksi_core::tick::Tick;
use naksi_os::port::{
    FileAccess, Ledger, ListenOptions, PollStatus, Port, PortError, Poster, SubmitError, SubmitErrorKind,
};
use naksi_os::stop_signal::StopSignal;

use crate::service::Signals;
use crate::shared::core::ServiceCore;
use crate::shared::mailbox::{Mailbox, Message};

/// Wakes the model's worker: counts posts, with a condition variable to wait on.
#[derive(Clone)]
struct Wake(Arc<(Mutex<u32>, Condvar)>);

impl Wake {
    fn new() -> Self {
        Self(Arc::new((Mutex::new(0), Condvar::new())))
    }

    /// Blocks until at least one post has arrived and takes all of them. loom reports a lost wake-up as a deadlock.
    fn sleep(&self) {
        let (posts, came) = &*self.0;
        let mut posts = posts.lock().expect("no model panics with the lock");
        while *posts == 0 {
            posts = came.wait(posts).expect("no model panics with the lock");
        }
        *posts = 0;
    }
}

impl Poster for Wake {
    fn post(&self, _: Token, _: u64) -> bool {
        let (posts, came) = &*self.0;
        *posts.lock().expect("no model panics with the lock") += 1;
        came.notify_one();
        true
    }
}

/// A port of which only the poster is used.
#[derive(Debug)]
struct Mute(Infallible);

impl Port for Mute {
    type Poster = Wake;
    type Socket = ();

    fn backend(&self) -> &'static str {
        match self.0 {}
    }

    fn listen(&mut self, _: SocketAddr, _: &ListenOptions) -> Result<(Handle, SocketAddr), OsError> {
        match self.0 {}
    }

    fn bind_datagram(&mut self, _: SocketAddr) -> Result<(Handle, SocketAddr), OsError> {
        match self.0 {}
    }

    fn open_file(&mut self, _: &Path, _: FileAccess) -> Result<Handle, OsError> {
        match self.0 {}
    }

    fn file_bytes(&self, _: Handle) -> Result<u64, OsError> {
        match self.0 {}
    }

    fn release(&mut self, _: Handle) -> Result<(), SubmitErrorKind> {
        match self.0 {}
    }

    fn adopt(&mut self, (): ()) -> Handle {
        match self.0 {}
    }

    fn submit(&mut self, _: Token, _: Op) -> Result<(), SubmitError> {
        match self.0 {}
    }

    fn cancel(&mut self, _: Token) {
        match self.0 {}
    }

    fn wait(&mut self, _: &mut Vec<Completion>, _: Option<Tick>) -> Result<PollStatus, PortError> {
        match self.0 {}
    }

    fn now(&self) -> Tick {
        match self.0 {}
    }

    fn poster(&self) -> Wake {
        match self.0 {}
    }

    fn ledger(&self) -> Ledger {
        match self.0 {}
    }
}

/// Explores every interleaving with a bounded number of preemptions. Three find every known kind of lost wake-up;
/// without a bound a model of three threads takes hours.
fn model(run: impl Fn() + Send + Sync + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(run);
}

fn letter() -> Message<()> {
    Message::Send { to: SessionId::new(0, 0, 0), bytes: Bytes::from_static(b"cod") }
}

/// Reads as a worker does: clear the wake-up flag, then read until the mailbox is empty.
fn read_all(mailbox: &Mailbox<Mute>) -> usize {
    mailbox.heard();
    std::iter::from_fn(|| mailbox.pop()).count()
}

#[test]
fn no_letter_is_slept_through_however_the_senders_and_the_worker_meet() {
    model(|| {
        let mailbox = Arc::new(Mailbox::<Mute>::default());
        let bell = Wake::new();
        mailbox.hang(bell.clone());
        let senders: Vec<_> = (0..2)
            .map(|_| {
                let mailbox = Arc::clone(&mailbox);
                thread::spawn(move || mailbox.push(letter()))
            })
            .collect();
        let mut read = 0;
        while read < 2 {
            bell.sleep();
            read += read_all(&mailbox);
        }
        senders.into_iter().for_each(|sender| sender.join().expect("a sender ends"));
        assert!(mailbox.pop().is_none() && mailbox.has_room());
    });
}

#[test]
fn a_letter_that_came_before_the_bell_hung_is_found_by_the_first_look() {
    model(|| {
        let mailbox = Arc::new(Mailbox::<Mute>::default());
        let sender = {
            let mailbox = Arc::clone(&mailbox);
            thread::spawn(move || mailbox.push(letter()))
        };
        let bell = Wake::new();
        mailbox.hang(bell.clone());
        let mut read = read_all(&mailbox);
        while read == 0 {
            bell.sleep();
            read += read_all(&mailbox);
        }
        sender.join().expect("a sender ends");
    });
}

#[test]
fn loads_come_back_to_nothing_and_the_door_lets_exactly_as_many_in_as_it_may() {
    model(|| {
        let limits = Limits { sessions_max: 1, ..Limits::default() };
        let service_core = Arc::new(ServiceCore::<Mute>::new(2, limits));
        let guests: Vec<_> = (0..2)
            .map(|own| {
                let service_core = Arc::clone(&service_core);
                thread::spawn(move || {
                    let worker = service_core.place(own);
                    let admitted = service_core.admit(IpAddr::V4(Ipv4Addr::LOCALHOST), Tick::ZERO).is_ok();
                    service_core.unsettle(worker);
                    admitted
                })
            })
            .collect();
        let admitted = guests.into_iter().map(|guest| guest.join().expect("a guest ends"));
        assert_eq!(admitted.filter(|admitted| *admitted).count(), 1);
        assert_eq!(service_core.loads_now(), [0, 0]);
    });
}

#[test]
fn whoever_waits_for_a_signal_is_woken_by_it_and_whoever_looks_later_sees_it() {
    model(|| {
        let signals = Arc::new(Signals::unseen());
        let waiter = {
            let signals = Arc::clone(&signals);
            thread::spawn(move || signals.wait(Duration::MAX))
        };
        signals.came(StopSignal::Terminate);
        assert!(signals.seen());
        assert!(waiter.join().expect("the waiter ends"));
    });
}
