//! How the models that wait for events get past the ceiling of one wait: groups, each with a thread of its own.
//!
//! The thread of the server only accepts. A group is one thread, one wait and as many connections as one wait
//! takes events, less one: the first event of every group is its *door*, by which new connections are handed in
//! and the end is told. How a group serves is the model's affair.

use std::io;
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use naksi_os::connection::Connection;
use naksi_os::event::{Event, WaitSet, enumerate_network_events, event_select};
use naksi_os::network_events::NetworkEvents;

use crate::site::{Guest, Site};

/// The door's name in its group's wait; connections are named from 1.
pub const DOOR: usize = 0;

/// The way into a group.
pub struct Door {
    /// Set when a connection is waiting to be accepted.
    pub event: Event,
    waiting: Mutex<Vec<Connection<Guest>>>,
    members: AtomicUsize,
}

impl Door {
    fn open(site: &Site) -> io::Result<Arc<Self>> {
        let event = Event::create(&site.tally)?;
        Ok(Arc::new(Self { event, waiting: Mutex::default(), members: AtomicUsize::new(0) }))
    }

    fn has_place(&self, site: &Site) -> bool {
        self.members.load(Ordering::Relaxed) < site.events_max - 1
    }

    fn hand_in(&self, connection: Connection<Guest>) -> io::Result<()> {
        self.members.fetch_add(1, Ordering::Relaxed);
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        self.event.set()
    }

    /// Takes who stands at the door.
    pub fn take(&self) -> Vec<Connection<Guest>> {
        std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A member of the group is gone: there is a place again.
    pub fn left(&self) {
        self.members.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Accepts until the site is stopped, and hands every client to a group that has a place for it.
///
/// # Errors
/// The listener is of no use any more, a thread could not be started, or a group failed.
//= lecture 000: 쓰레드를 여러 개를 만들어 가지고 64개끼리 묶어 가지고 처리한다
pub fn serve(
    listener: &TcpListener,
    site: &Arc<Site>,
    run: fn(&Door, &Arc<Site>) -> io::Result<()>,
) -> io::Result<()> {
    assert!(site.events_max > 1, "a group needs an event for its door and one for a connection");
    let address = listener.local_addr()?;
    thread::scope(|scope| {
        let mut doors: Vec<Arc<Door>> = Vec::new();
        let mut threads = Vec::new();
        let accepted = accept(listener, site, |connection| {
            let door = match doors.iter().find(|door| door.has_place(site)) {
                Some(door) => door,
                None => {
                    let door = Door::open(site)?;
                    let inner = Arc::clone(&door);
                    threads.push(thread::Builder::new().spawn_scoped(scope, move || {
                        // A group that fails takes the server along, instead of leaving its clients alone.
                        run(&inner, site).inspect_err(|_| site.stop(address))
                    })?);
                    site.one_more_group();
                    doors.push(door);
                    doors.last().expect("it was just pushed")
                }
            };
            door.hand_in(connection)
        });
        site.end();
        let told: io::Result<()> = doors.iter().try_for_each(|door| door.event.set());
        let groups =
            threads.into_iter().try_for_each(|thread| thread.join().expect("a group does not panic"));
        accepted.and(told).and(groups)
    })
}

fn accept(
    listener: &TcpListener,
    site: &Arc<Site>,
    mut hand_in: impl FnMut(Connection<Guest>) -> io::Result<()>,
) -> io::Result<()> {
    let _clock = site.tally.clock();
    let event = Event::create(&site.tally)?;
    event_select(listener, &event, NetworkEvents::LISTENER)?;
    let mut wait = WaitSet::open(1, &site.tally)?;
    wait.add(&event, DOOR)?;
    let mut set = Vec::new();
    while !site.is_stopping() {
        set.clear();
        wait.wait(None, &mut set)?;
        enumerate_network_events(listener, &event)?;
        // One client for one event: the accept itself asks for the next one.
        if let Some(connection) = site.accept(listener)?
            && !site.is_stopping()
        {
            hand_in(connection)?;
        }
    }
    Ok(())
}
