//! Topics: publish and subscribe among sessions. A broadcast is encoded once, batched for a turn, and shared by all
//! members.
//!
//! Each worker keeps its own members of a topic and one growing batch for it. At the end of a turn the batch is
//! frozen, queued for every local member by reference, and posted once to each other worker that has members, never
//! once per member. Before a member is sent something directly in the same turn, it gets its share of the batch, so
//! every member sees one order.

use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use naksi_core::callbacks::SessionOutput;
use naksi_core::id::{PeerMap, SessionId, TokenMap};
use naksi_core::send_queue::SendStatus;
use thin_vec::ThinVec;

/// A batch of this many bytes is sent before the turn ends, so it always fits a send queue.
const BATCH_FULL_BYTES: usize = 32 * 1024;

/// The number of batch buffers that are kept, and the largest one kept. A silent topic has no buffer.
const BUFFERS_KEPT: usize = 16;
const BUFFER_BYTES_KEPT: usize = 64 * 1024;

/// A table with more entries than this is shrunk when it is mostly empty.
const PLACES_KEPT: usize = 1024;

/// A set of sessions that receive the same broadcasts. Cheap to clone, usable from any thread through a
/// [`ServiceHandle`](crate::ServiceHandle).
///
/// ```
/// use naksi::prelude::*;
/// const LOBBY: u64 = 1;
/// struct Member;
/// impl Session for Member {
///     fn on_connected(&mut self, c: &mut Conn) {
///         let lobby = c.topic(LOBBY);
///         c.join(&lobby);
///     }
///     fn on_recv(&mut self, c: &mut Conn, data: &[u8]) -> usize {
///         let lobby = c.topic(LOBBY);
///         c.broadcast(&lobby, data);
///         data.len()
///     }
/// }
/// ```
#[derive(Clone)]
pub struct Topic(pub(crate) Arc<Shared>);

pub(crate) struct Shared {
    number: u64,
    /// Members by worker, to know which workers get a post.
    members_on: Box<[AtomicU32]>,
}

impl Topic {
    pub(crate) fn new(number: u64, workers: usize) -> Self {
        let members_on = (0..workers).map(|_| AtomicU32::new(0)).collect();
        Self(Arc::new(Shared { number, members_on }))
    }

    /// The topic's number in its service.
    pub fn number(&self) -> u64 {
        self.0.number
    }

    /// Members on all workers. Approximate while sessions join and leave.
    pub fn members(&self) -> usize {
        self.0.members_on.iter().map(|count| count.load(Ordering::Relaxed) as usize).sum()
    }

    /// The workers that have members.
    pub(crate) fn workers(&self) -> impl Iterator<Item = usize> + '_ {
        let counts = self.0.members_on.iter().enumerate();
        counts.filter(|(_, count)| count.load(Ordering::Acquire) > 0).map(|(worker, _)| worker)
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Topic({}, {} members)", self.number(), self.members())
    }
}

/// A prefix of a batch: bytes and messages.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Extent {
    pub(crate) bytes: usize,
    pub(crate) messages: u64,
}

/// One session's membership in one topic of its worker.
#[derive(Debug)]
pub(crate) struct Membership {
    number: u64,
    /// The batch that `shown` refers to.
    epoch: u64,
    /// The prefix of that batch that the member has received or must not receive.
    shown: Extent,
}

/// A topic's members and batch on one worker.
struct Local {
    topic: Topic,
    members: Vec<SessionId>,
    /// The index in `members` of a slot's session.
    places: TokenMap<u32, u32>,
    batch: Vec<u8>,
    messages: u64,
    epoch: u64,
    dirty: bool,
}

/// Topics by number, which peers may choose.
type Locals = PeerMap<u64, Local>;

/// A frozen batch. Its memory is counted once, for as long as a member or a worker refers to it.
struct Batch {
    bytes: Bytes,
    held_bytes: Arc<AtomicU64>,
}

/// The same bytes, counted in `held_bytes` until the last reference is dropped.
pub(crate) fn counted(bytes: Bytes, held_bytes: &Arc<AtomicU64>) -> Bytes {
    let batch = Batch { bytes, held_bytes: Arc::clone(held_bytes) };
    held_bytes.fetch_add(batch.memory_bytes(), Ordering::Relaxed);
    Bytes::from_owner(batch)
}

impl Batch {
    fn memory_bytes(&self) -> u64 {
        (size_of::<Self>() + self.bytes.len()) as u64
    }
}

impl AsRef<[u8]> for Batch {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.held_bytes.fetch_sub(self.memory_bytes(), Ordering::Relaxed);
    }
}

/// What leaves at a flush.
pub(crate) struct Flushed {
    pub(crate) bytes: Bytes,
    pub(crate) messages: u64,
    pub(crate) epoch: u64,
}

/// A batch for the members of a topic on one other worker.
pub(crate) struct Post {
    pub(crate) topic: u64,
    pub(crate) bytes: Bytes,
    pub(crate) messages: u64,
}

/// What another worker is owed.
pub(crate) enum Owed {
    Post(Post),
    /// The worker missed a batch of this topic: its members of the topic are disconnected.
    Lagged(u64),
}

/// Batches not yet posted to another worker, oldest first.
#[derive(Default)]
struct Debt {
    owed: VecDeque<Owed>,
    bytes: usize,
    /// Topics of which the worker missed a batch; `owed` holds an entry for each.
    lagged: PeerMap<u64, ()>,
}

/// The topics of one worker.
pub(crate) struct LocalTopics {
    worker: usize,
    locals: Locals,
    /// Empty buffers for batches.
    buffers: Vec<Vec<u8>>,
    dirty: Vec<u64>,
    full: bool,
    /// Backlog of workers whose mailboxes had no room; other workers do not wait for them.
    debts: BTreeMap<usize, Debt>,
    /// The largest batch that a send queue accepts.
    batch_bytes_max: usize,
    /// A batch of this many bytes is sent before the turn ends.
    batch_full_bytes: usize,
    /// Memory of all frozen batches of the service, in bytes.
    held_bytes: Arc<AtomicU64>,
}

impl LocalTopics {
    pub(crate) fn new(worker: usize, batch_bytes_max: usize, held_bytes: Arc<AtomicU64>) -> Self {
        // A small send queue gets small batches, so that it can hold several of them.
        let batch_full_bytes = BATCH_FULL_BYTES.min(batch_bytes_max / 8);
        Self {
            worker,
            locals: Locals::default(),
            buffers: Vec::new(),
            dirty: Vec::new(),
            full: false,
            debts: BTreeMap::new(),
            batch_bytes_max,
            batch_full_bytes,
            held_bytes,
        }
    }

    /// Whether a batch is long enough to be sent at once.
    pub(crate) fn is_full(&self) -> bool {
        self.full
    }

    /// Whether a topic's batch is so long that its senders should pause until it has been sent.
    pub(crate) fn is_crowded(&self, topic: &Topic) -> bool {
        self.locals.get(&topic.number()).is_some_and(|local| local.batch.len() >= self.batch_bytes_max / 2)
    }

    /// Whether a worker with members of the topic has so large a backlog that senders should slow down.
    pub(crate) fn is_behind(&self, topic: &Topic) -> bool {
        let lacks_much = |debt: &Debt| debt.bytes >= self.batch_bytes_max / 2;
        !self.debts.is_empty()
            && topic.workers().any(|worker| self.debts.get(&worker).is_some_and(lacks_much))
    }

    pub(crate) fn join(&mut self, topic: &Topic, id: SessionId, memberships: &mut ThinVec<Membership>) {
        if memberships.iter().any(|membership| membership.number == topic.number()) {
            return;
        }
        let worker = self.worker;
        let local = Self::local(&mut self.locals, topic);
        local.places.insert(id.slot(), local.members.len() as u32);
        local.members.push(id);
        // A new member does not receive what was broadcast before it joined.
        let (epoch, shown) = (local.epoch, local.extent());
        memberships.push(Membership { number: topic.number(), epoch, shown });
        topic.0.members_on[worker].fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn leave(&mut self, topic: &Topic, id: SessionId, memberships: &mut ThinVec<Membership>) {
        let Some(place) = memberships.iter().position(|membership| membership.number == topic.number())
        else {
            return;
        };
        memberships.swap_remove(place);
        self.remove(topic.number(), id);
    }

    /// The session is over: it leaves everything.
    pub(crate) fn leave_all(&mut self, id: SessionId, memberships: &mut ThinVec<Membership>) {
        for membership in std::mem::take(memberships) {
            self.remove(membership.number, id);
        }
    }

    fn remove(&mut self, number: u64, id: SessionId) {
        let local = self.locals.get_mut(&number).expect("a topic with members is kept");
        let place = local.places.remove(&id.slot()).expect("a member has a place") as usize;
        local.members.swap_remove(place);
        if let Some(moved) = local.members.get(place) {
            local.places.insert(moved.slot(), place as u32);
        }
        local.topic.0.members_on[self.worker].fetch_sub(1, Ordering::AcqRel);
        if local.members.is_empty() {
            // Many may have been here.
            (local.members, local.places) = (Vec::new(), TokenMap::default());
            if !local.dirty {
                self.forget(number);
            }
        }
    }

    /// Adds one message to the topic's batch of this turn, unless the batch would then exceed what a send queue
    /// accepts.
    pub(crate) fn append(&mut self, topic: &Topic, parts: &[&[u8]]) -> SendStatus {
        let bytes: usize = parts.iter().map(|part| part.len()).sum();
        let (batch_bytes_max, batch_full_bytes) = (self.batch_bytes_max, self.batch_full_bytes);
        let local = Self::local(&mut self.locals, topic);
        if local.batch.len() + bytes > batch_bytes_max {
            return SendStatus::Dropped;
        }
        if local.batch.capacity() == 0
            && let Some(buffer) = self.buffers.pop()
        {
            local.batch = buffer;
        }
        for part in parts {
            local.batch.extend_from_slice(part);
        }
        local.messages += 1;
        let full = local.batch.len() >= batch_full_bytes;
        let newly_dirty = !std::mem::replace(&mut local.dirty, true);
        if newly_dirty {
            self.dirty.push(topic.number());
        }
        self.full |= full;
        SendStatus::Queued
    }

    /// Excludes the member from the message that was just appended.
    pub(crate) fn skip(&mut self, topic: &Topic, memberships: &mut [Membership]) {
        let Some(local) = self.locals.get(&topic.number()) else { return };
        let mine = memberships.iter_mut().find(|membership| membership.number == topic.number());
        if let Some(membership) = mine {
            (membership.epoch, membership.shown) = (local.epoch, local.extent());
        }
    }

    /// Queues for one member what its topics' batches hold for it so far. `told` is called with the result and the
    /// number of messages of each batch.
    pub(crate) fn catch_up(
        &mut self,
        memberships: &mut [Membership],
        output: &mut SessionOutput<'_>,
        mut told: impl FnMut(SendStatus, u64),
    ) {
        if self.dirty.is_empty() {
            return;
        }
        for membership in memberships {
            let local = self.locals.get(&membership.number).expect("a topic with members is kept");
            let (shown, held) = (membership.shown(local.epoch), local.extent());
            if shown.bytes < held.bytes {
                told(output.send(&local.batch[shown.bytes..]), held.messages - shown.messages);
            }
            (membership.epoch, membership.shown) = (local.epoch, held);
        }
    }

    /// Topics with a batch to send; each is to be flushed.
    pub(crate) fn take_dirty(&mut self) -> Vec<u64> {
        self.full = false;
        std::mem::take(&mut self.dirty)
    }

    /// Whether there is something to send.
    pub(crate) fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Keeps a post for a worker whose mailbox has no room. Returns `false` if the backlog is full and the post is
    /// dropped; the worker's members of the topic are then disconnected after the backlog that was queued before.
    pub(crate) fn owe(&mut self, worker: usize, post: Post) -> bool {
        let debt = self.debts.entry(worker).or_default();
        if debt.lagged.contains_key(&post.topic) {
            return false;
        }
        if debt.bytes + post.bytes.len() > self.batch_bytes_max {
            debt.lagged.insert(post.topic, ());
            debt.owed.push_back(Owed::Lagged(post.topic));
            return false;
        }
        debt.bytes += post.bytes.len();
        debt.owed.push_back(Owed::Post(post));
        true
    }

    /// Whether a worker has a backlog; later posts must then be queued behind it.
    pub(crate) fn owes(&self, worker: usize) -> bool {
        self.debts.contains_key(&worker)
    }

    /// Whether any worker does.
    pub(crate) fn owes_anybody(&self) -> bool {
        !self.debts.is_empty()
    }

    /// Delivers the backlogs in order, to each worker for as long as its mailbox has room.
    pub(crate) fn pay(&mut self, has_room: impl Fn(usize) -> bool, mut pay: impl FnMut(usize, Owed)) {
        self.debts.retain(|worker, debt| {
            while has_room(*worker)
                && let Some(owed) = debt.owed.pop_front()
            {
                match &owed {
                    Owed::Post(post) => debt.bytes -= post.bytes.len(),
                    Owed::Lagged(topic) => {
                        debt.lagged.remove(topic);
                    }
                }
                pay(*worker, owed);
            }
            !debt.owed.is_empty()
        });
    }

    /// Messages that workers still lack.
    pub(crate) fn owed_messages(&self) -> u64 {
        let owed = self.debts.values().flat_map(|debt| &debt.owed);
        owed.map(|owed| if let Owed::Post(post) = owed { post.messages } else { 0 }).sum()
    }

    /// The topic with this number, if this worker knows it.
    pub(crate) fn topic(&self, number: u64) -> Option<Topic> {
        self.locals.get(&number).map(|local| local.topic.clone())
    }

    /// Freezes a topic's batch.
    pub(crate) fn freeze(&mut self, number: u64) -> Option<Flushed> {
        let local = self.locals.get_mut(&number).filter(|local| local.dirty)?;
        local.dirty = false;
        let mut batch = std::mem::take(&mut local.batch);
        let flushed = Flushed {
            // Copied to its exact length, because slow members keep it alive.
            bytes: counted(Bytes::copy_from_slice(&batch), &self.held_bytes),
            messages: std::mem::take(&mut local.messages),
            epoch: local.epoch,
        };
        local.epoch += 1;
        batch.clear();
        if self.buffers.len() < BUFFERS_KEPT && batch.capacity() <= BUFFER_BYTES_KEPT {
            self.buffers.push(batch);
        }
        Some(flushed)
    }

    /// Collects the members of a topic on this worker into a vector that the caller reuses.
    pub(crate) fn members_into(&self, number: u64, members: &mut Vec<SessionId>) {
        members.clear();
        if let Some(local) = self.locals.get(&number) {
            members.extend_from_slice(&local.members);
        }
    }

    /// Called after a flush: removes a topic that has no members.
    pub(crate) fn tidy(&mut self, number: u64) {
        if self.locals.get(&number).is_some_and(|local| local.members.is_empty() && !local.dirty) {
            self.forget(number);
        }
    }

    fn forget(&mut self, number: u64) {
        self.locals.remove(&number);
        let (len, places) = (self.locals.len(), self.locals.capacity());
        if places > PLACES_KEPT && len < places / 8 {
            self.locals.shrink_to(2 * len);
        }
    }

    fn local<'a>(locals: &'a mut Locals, topic: &Topic) -> &'a mut Local {
        locals.entry(topic.number()).or_insert_with(|| Local {
            topic: topic.clone(),
            members: Vec::new(),
            places: TokenMap::default(),
            batch: Vec::new(),
            messages: 0,
            epoch: 0,
            dirty: false,
        })
    }
}

impl Local {
    /// How much the batch holds by now.
    fn extent(&self) -> Extent {
        Extent { bytes: self.batch.len(), messages: self.messages }
    }
}

impl Membership {
    /// The prefix of the batch with this epoch that the member has received.
    pub(crate) fn shown(&self, epoch: u64) -> Extent {
        if self.epoch == epoch { self.shown } else { Extent::default() }
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }
}
