//! What the sessions and the other threads of one run write down: sessions, broken laws, rows of the fault table.
//!
//! A callback that panics only ends its session, so a law that is found broken inside one is written down
//! here and told at the end of the run. Nothing here runs anything.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use naksi::ServiceHandle;
use naksi::prelude::*;

use super::groups::JobCounts;
use super::hazard::{Hazard, Hits};
use super::other_threads;
use super::shared_room::SharedRoom;

/// Names of sessions that are kept to be misused later.
const NAMES_MAX: usize = 64;

/// What the sessions of one run write down.
#[derive(Default)]
pub struct Observations {
    /// Sessions alive.
    pub live: AtomicI64,
    /// Sessions that came into the room.
    pub joined: AtomicU64,
    /// Sessions that left the room.
    pub left: AtomicU64,
    /// Sessions that were told their end.
    pub told: AtomicU64,
    /// The workers are being dropped: sessions die untold.
    pub abrupt: AtomicBool,
    /// The moments at which something was told the topic of the room, counted.
    pub moments: AtomicU64,
    /// Sessions may fail and end on purpose.
    pub stormy: AtomicBool,
    /// What the database's group was asked and did.
    pub jobs: JobCounts,
    shared: Mutex<Shared>,
}

/// What is known of a session, found by its peer's address.
#[derive(Clone, Debug)]
pub struct SessionLife {
    /// Its name.
    pub id: SessionId,
    /// When it was told that it stands.
    pub begun: Tick,
    /// Why it ended, once it was told.
    pub over: Option<DisconnectReason>,
    /// The moment at which it joined the topic of the room for the first time.
    pub joined: Option<u64>,
}

/// What is behind the lock.
#[derive(Default)]
pub struct Shared {
    /// The first law that was found broken inside a callback.
    pub broken: Option<String>,
    /// Rows of the fault table that sessions and other threads met.
    pub hits: Hits,
    /// The room that the server's sessions are in.
    pub shared_room: Option<RoomRef<SharedRoom>>,
    /// The server's door for other threads.
    pub remote: Option<ServiceHandle>,
    /// Sessions that wait for an answer of the database.
    pub asked: VecDeque<SessionId>,
    /// Sessions that connected lately.
    pub came: VecDeque<SessionId>,
    /// Sessions that another thread has kicked.
    pub kicked: HashSet<SessionId>,
    /// Sessions that another thread has ended for a cause of its own.
    pub dismissed: HashSet<SessionId>,
    /// Sessions that ended lately.
    pub gone: VecDeque<SessionId>,
    /// The last session of every address that a scripted peer has.
    pub lives: HashMap<SocketAddr, SessionLife>,
}

impl Observations {
    /// What is behind the lock.
    pub fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A law is broken; the first one is told.
    pub fn break_law(&self, what: impl Into<String>) {
        let what = what.into();
        self.shared().broken.get_or_insert(what);
    }

    /// The session that has, or had, its peer at this address.
    pub fn life(&self, peer: Option<SocketAddr>) -> Option<SessionLife> {
        peer.and_then(|peer| self.shared().lives.get(&peer).cloned())
    }

    /// A row of the fault table was met.
    pub fn hit(&self, hazard: Hazard) {
        self.shared().hits.hit(hazard);
    }
}

/// The lecture's destructor test, on every session of every run: told once, then dropped once.
pub struct ObservedSession {
    /// Where it is written down.
    pub observations: Arc<Observations>,
    id: Option<SessionId>,
    peer: Option<SocketAddr>,
    connected: bool,
    disconnected: bool,
}

impl ObservedSession {
    /// A session is made.
    pub fn new(observations: &Arc<Observations>) -> Self {
        observations.live.fetch_add(1, Ordering::Relaxed);
        Self {
            observations: Arc::clone(observations),
            id: None,
            peer: None,
            connected: false,
            disconnected: false,
        }
    }

    /// It was told that it stands. `named`: others may speak to it.
    pub fn connect(&mut self, c: &Conn<'_>, named: bool) {
        if std::mem::replace(&mut self.connected, true) {
            self.observations.break_law("law 8: on_connected twice");
        }
        if named {
            self.id = Some(c.id());
            let mut shared = self.observations.shared();
            if shared.remote.is_none() {
                shared.remote = Some(c.handle());
            }
            remember(&mut shared.came, c.id());
            // The engine's own clients come from this machine.
            self.peer = Some(c.peer()).filter(|peer| !peer.ip().is_loopback());
            if let Some(peer) = self.peer {
                shared
                    .lives
                    .insert(peer, SessionLife { id: c.id(), begun: c.now(), over: None, joined: None });
            }
        }
    }

    /// It joins the topic of the room, if it has not before.
    pub fn joined_topic(&self) {
        let moment = self.observations.moments.load(Ordering::Relaxed);
        let mut shared = self.observations.shared();
        if let Some(life) = self.peer.and_then(|peer| shared.lives.get_mut(&peer)) {
            life.joined.get_or_insert(moment);
        }
    }

    /// Any callback in between.
    pub fn alive(&self) {
        if !self.connected || self.disconnected {
            self.observations.break_law("law 8: a callback outside of the life");
        }
    }

    /// It was told its end.
    pub fn disconnect(&mut self, reason: DisconnectReason) {
        if std::mem::replace(&mut self.disconnected, true) {
            self.observations.break_law("law 8: on_disconnected twice");
        }
        self.observations.told.fetch_add(1, Ordering::Relaxed);
        let mut shared = self.observations.shared();
        if reason == DisconnectReason::HandlerPanic {
            shared.hits.hit(Hazard::L6);
        }
        if let Some(id) = self.id {
            remember(&mut shared.gone, id);
            let unasked = reason == DisconnectReason::Kicked && !shared.kicked.contains(&id)
                || reason == other_threads::cause() && !shared.dismissed.contains(&id);
            if unasked {
                shared
                    .broken
                    .get_or_insert_with(|| format!("{id} ended with {reason:?}, which no code requested"));
            }
        }
        if let Some(life) = self.peer.and_then(|peer| shared.lives.get_mut(&peer)) {
            life.over = Some(reason);
        }
    }
}

fn remember(names: &mut VecDeque<SessionId>, id: SessionId) {
    names.push_back(id);
    if names.len() > NAMES_MAX {
        names.pop_front();
    }
}

impl Drop for ObservedSession {
    fn drop(&mut self) {
        self.observations.live.fetch_sub(1, Ordering::Relaxed);
        if self.connected != self.disconnected && !self.observations.abrupt.load(Ordering::Relaxed) {
            self.observations.break_law("law 8: dropped untold");
        }
    }
}
