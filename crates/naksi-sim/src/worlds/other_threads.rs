//! What other threads do to a service, between the steps of its workers.
//!
//! A database that answers late, never, or to a session that has ended; words for stale names; words for the
//! room; a kick; a wall of bytes that fills a mailbox. All of it goes through the engine's own door for
//! other threads. Nothing here knows a port.

use std::sync::Arc;

use naksi::SendError;
use naksi::prelude::*;

use super::hazard::Hazard;
use super::observations::Observations;
use super::users::{self, packet};

/// As much as one session may be sent at once.
static BRICK: [u8; users::QUEUE_BYTES_MAX] = [0; users::QUEUE_BYTES_MAX];
/// So many of them are a wall that no mailbox holds.
const BRICKS_MAX: usize = 1 << 17;

/// The threads that are not workers.
pub struct OtherThreads {
    observations: Arc<Observations>,
    stormy: bool,
    framed: bool,
    said: u32,
    walled: bool,
}

fn answer(remote: &ServiceHandle, id: SessionId) {
    // A full mailbox is an answer that never comes.
    remote.send(id, packet(users::ANSWER, &id.to_u64().to_le_bytes())).ok();
}

/// For what another thread ends sessions.
pub fn cause() -> DisconnectReason {
    DisconnectReason::custom(77, "ended from another thread")
}

impl OtherThreads {
    /// Threads that use the service whose sessions write down these observations.
    pub fn new(observations: &Arc<Observations>, stormy: bool, framed: bool) -> Self {
        Self { observations: Arc::clone(observations), stormy, framed, said: 0, walled: false }
    }

    /// No session is kicked any more, and no mailbox is filled: one whose worker is through holds nothing.
    pub fn calm_down(&mut self) {
        self.stormy = false;
        self.walled = true;
    }

    /// Tells the topic of those that stay something, in calm weather.
    ///
    /// # Panics
    /// It was not taken.
    pub fn hail(&self) {
        let Some(remote) = self.observations.shared().remote.clone() else { return };
        let topic = remote.topic(users::STAYERS_NUMBER);
        let bytes = packet(users::HAILED, &users::ELSEWHERE.to_le_bytes());
        remote.broadcast(&topic, bytes).expect("mailboxes have room in calm weather");
    }

    /// One round; `random` decides what is done.
    pub fn run(&mut self, random: u64) {
        let mut shared = self.observations.shared();
        let Some(remote) = shared.remote.clone() else { return };
        if let Some(id) = shared.asked.pop_front() {
            shared.hits.hit(Hazard::L9);
            match random % 4 {
                // It is down: no answer ever comes.
                0 => {}
                // It is slow: the session may be gone by then.
                1 => shared.asked.push_back(id),
                _ => answer(&remote, id),
            }
        }
        if let Some(id) = shared.gone.front().copied().filter(|_| random.is_multiple_of(3)) {
            shared.gone.pop_front();
            shared.hits.hit(Hazard::L4);
            shared.hits.hit(Hazard::L2);
            // No session may receive it, so the result of the call does not matter.
            remote.send(id, packet(users::STALE, b"")).ok();
            // Behind a wall members of a topic or a room miss something and end: no weather in which everybody is served.
            let may_wall = self.stormy && (random >> 8).is_multiple_of(64);
            if may_wall && !std::mem::replace(&mut self.walled, true) {
                let refused = (0..BRICKS_MAX).find_map(|_| remote.send(id, Bytes::from_static(&BRICK)).err());
                match refused {
                    Some(SendError::Full) => shared.hits.hit(Hazard::L8),
                    // Its worker is through, and says so.
                    Some(SendError::Closed) => {}
                    refused => {
                        shared.broken.get_or_insert(format!("a mailbox has no end: {refused:?}"));
                    }
                }
            }
        }
        if self.framed && (random >> 16).is_multiple_of(16) {
            let room = remote.topic(users::ROOM_NUMBER);
            if room.members() > 0 {
                self.said += 1;
                let mut body = u64::MAX.to_le_bytes().to_vec();
                body.extend(self.said.to_le_bytes());
                // Another thread speaks at no moment of a worker.
                body.extend(u64::MAX.to_le_bytes());
                shared.hits.hit(Hazard::O5);
                // The room need not hear everything.
                remote.broadcast(&room, packet(users::SAID, &body)).ok();
            }
        }
        if self.stormy
            && (random >> 24).is_multiple_of(64)
            && let Some(id) = shared.came.pop_front()
        {
            shared.hits.hit(Hazard::L1);
            if (random >> 30).is_multiple_of(2) {
                shared.kicked.insert(id);
                remote.kick(id).ok();
            } else {
                shared.dismissed.insert(id);
                remote.end(id, cause()).ok();
            }
        }
    }
}
