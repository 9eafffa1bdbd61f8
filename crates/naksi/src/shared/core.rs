//! What the workers of one service share: mailboxes, loads, admission, the topics' directory, limits.
//!
//! Everything here is touched once per connection or once per batch, never once per message.

use bytes::Bytes;
use core::net::IpAddr;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, PoisonError, Weak};
use std::time::Duration;

use naksi_core::admission::{Admission, Denied};
use naksi_core::callbacks::CloseMode;
use naksi_core::flush::Flush;
use naksi_core::id::SessionId;
use naksi_core::limits::Limits;
use naksi_core::pressure::Pressure;
use naksi_core::reason::DisconnectReason;
use naksi_core::tick::Tick;
use naksi_core::wire::MakeWire;
use naksi_os::port::Port;

use crate::group::Group;
use crate::room::output::{RoomOutput, Undelivered};
use crate::room::{DynRoom, RoomCloseReason, RoomCounters, RoomHost, RoomSink};
use crate::shared::handle::{SendError, ServiceInner};
use crate::shared::mailbox::{Claim, Mailbox, Message};
use crate::shared::stats::{Counters, Stats};
use crate::sync::{AtomicBool, AtomicU32, Mutex, MutexGuard, Ordering};
use crate::topic::{Shared, Topic, counted};

/// What the workers of one service share.
pub struct ServiceCore<P: Port> {
    pub(crate) mailboxes: Vec<Mailbox<P>>,
    pub(crate) counters: Vec<Arc<Counters>>,
    /// The level of memory pressure that was reached last, as a number.
    pressed: AtomicU32,
    pub(crate) limits: Limits,
    /// When topics' batches are sent, and the default for sessions.
    pub(crate) flush: Flush,
    /// How long a worker busy-polls before it sleeps.
    pub(crate) spin: Duration,
    /// Sessions of each worker, including those on their way to it.
    loads: Vec<AtomicU32>,
    /// Admission control and its limits, which may change while a service runs.
    admission: Mutex<(Admission, Limits)>,
    directory: Mutex<Directory>,
    groups: Vec<Group>,
    /// Connections that are in the handshake of their transport.
    handshakes: Arc<std::sync::atomic::AtomicUsize>,
    /// What makes the wires of the listeners.
    wires: Vec<Arc<dyn MakeWire>>,
    /// The name of the port behind each worker.
    backend: OnceLock<&'static str>,
    /// Whether it was told to drain.
    stopping: AtomicBool,
    rooms: Mutex<Rooms>,
    room_counters: Arc<RoomCounters>,
    /// Memory of topics' batches that are frozen and not yet sent to all their members, in bytes.
    pub(crate) topic_bytes: Arc<std::sync::atomic::AtomicU64>,
}

/// A connection that is in the handshake of its transport; counted until it is dropped.
#[derive(Debug)]
pub(crate) struct Handshake(Arc<std::sync::atomic::AtomicUsize>);

impl Handshake {
    fn begin(count: &Arc<std::sync::atomic::AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The rooms that are open, by number.
#[derive(Default)]
struct Rooms {
    open: BTreeMap<u64, Arc<dyn DynRoom>>,
    opened_total: u64,
}

/// The topics with a live handle, by number.
#[derive(Default)]
struct Directory {
    topics: BTreeMap<u64, Weak<Shared>>,
    /// At this many entries, those without a handle are removed.
    purge_at: usize,
}

impl<P: Port> ServiceCore<P> {
    /// A service core for this many workers (1 to 256).
    pub fn new(workers: usize, limits: Limits) -> Self {
        assert!((1..=256).contains(&workers), "a service has 1 to 256 workers, not {workers}");
        Self {
            mailboxes: (0..workers).map(|_| Mailbox::within(limits.memory_bytes_max / workers)).collect(),
            counters: (0..workers).map(|_| Arc::default()).collect(),
            pressed: AtomicU32::new(0),
            admission: Mutex::new((Admission::default(), limits.clone())),
            limits,
            flush: Flush::AtOnce,
            spin: Duration::ZERO,
            loads: (0..workers).map(|_| AtomicU32::new(0)).collect(),
            directory: Mutex::new(Directory::default()),
            groups: Vec::new(),
            handshakes: Arc::default(),
            wires: Vec::new(),
            backend: OnceLock::new(),
            stopping: AtomicBool::new(false),
            rooms: Mutex::new(Rooms::default()),
            room_counters: Arc::default(),
            topic_bytes: Arc::default(),
        }
    }

    /// Sets the flush policy. A tick must be within its range.
    #[must_use]
    pub fn with_flush(self, flush: Flush) -> Self {
        Self { flush, ..self }
    }

    /// Sets how long workers busy-poll before they sleep, where that has paid off.
    #[must_use]
    pub fn with_spin(self, spin: Duration) -> Self {
        Self { spin, ..self }
    }

    /// Sets the groups to post jobs to.
    #[must_use]
    pub fn with_groups(mut self, groups: Vec<Group>) -> Self {
        self.groups = groups;
        self
    }

    /// Sets what makes the wires of the listeners, for the statistics.
    #[must_use]
    pub fn with_wires(mut self, wires: Vec<Arc<dyn MakeWire>>) -> Self {
        self.wires = wires;
        self
    }

    /// All workers have opened: tells them to accept and to connect.
    pub fn begin(&self) {
        self.mailboxes.iter().for_each(|mailbox| mailbox.push(Message::Begin));
    }

    /// Closes the open rooms on this thread. The workers have ended, and the groups are still there: a room that a
    /// group runs is closed by it.
    pub fn close_rooms(self: &Arc<Self>)
    where
        P: 'static,
        P::Poster: Send + Sync,
    {
        let open = std::mem::take(&mut unpoisoned(&self.rooms).open);
        for room in open.into_values() {
            if room.close(RoomCloseReason::Shutdown) {
                while Arc::clone(&room).run(&naksi_os::now, &**self) {}
            }
        }
    }

    /// Accepts no more connections and drains all sessions within this time.
    pub fn drain(&self, within: Duration) {
        self.stopping.store(true, Ordering::SeqCst);
        self.mailboxes.iter().for_each(|mailbox| mailbox.push(Message::Drain { within }));
    }

    /// The counters of all workers together.
    pub fn stats(&self) -> Stats {
        let mut stats = Stats::default();
        self.counters.iter().for_each(|counters| stats.add(counters));
        stats.rooms = self.room_counters.stats();
        stats.dropped += stats.rooms.lost_total;
        stats.held_bytes += self.under_way_bytes();
        stats.handshakes = self.handshakes.load(Ordering::Relaxed) as u64;
        let not_after = self.wires.iter().filter_map(|wires| wires.not_after()).min();
        stats.tls_not_after_seconds = not_after.unwrap_or_default().as_secs();
        stats.groups = self.groups.iter().map(Group::stats).collect();
        stats
    }

    /// The counters of each worker.
    pub fn worker_stats(&self) -> Vec<Stats> {
        let one = |counters: &Arc<Counters>| {
            let mut stats = Stats::default();
            stats.add(counters);
            stats
        };
        self.counters.iter().map(one).collect()
    }

    /// A worker stands on a port of this name; all workers of a service have the same kind of port.
    pub(crate) fn stands_on(&self, backend: &'static str) {
        self.backend.get_or_init(|| backend);
    }

    /// Messages that wait for workers; 0 once all workers have ended.
    pub fn in_mailboxes(&self) -> usize {
        self.mailboxes.iter().map(Mailbox::len).sum()
    }

    /// The live worker with the fewest sessions, `own` if it is among them; the session is counted there.
    pub(crate) fn place(&self, own: usize) -> usize {
        let load = |worker: usize| self.loads[worker].load(Ordering::Relaxed);
        // A worker that has ended has no sessions and would get all new ones.
        let living = (0..self.loads.len()).filter(|worker| !self.mailboxes[*worker].is_closed());
        let fewest = living.min_by_key(|worker| load(*worker)).unwrap_or(own);
        self.settle(if load(own) <= load(fewest) { own } else { fewest })
    }

    /// Counts a session at a worker, and returns the worker.
    pub(crate) fn settle(&self, worker: usize) -> usize {
        self.loads[worker].fetch_add(1, Ordering::Relaxed);
        worker
    }

    /// A session of that worker is over.
    pub(crate) fn unsettle(&self, worker: usize) {
        self.loads[worker].fetch_sub(1, Ordering::Relaxed);
    }

    /// What every worker is counted to have.
    #[cfg(all(loom, test))]
    pub(crate) fn loads_now(&self) -> Vec<u32> {
        self.loads.iter().map(|load| load.load(Ordering::Relaxed)).collect()
    }

    /// Admits a connection, or says why not. One behind a wire is in its handshake until what is returned is dropped.
    pub(crate) fn admit(
        &self,
        address: IpAddr,
        now: Tick,
        is_wired: bool,
    ) -> Result<Option<Handshake>, Denied> {
        if Pressure::of(self.held_bytes(), self.limits.memory_bytes_max as u64) >= Pressure::NoNewcomers {
            return Err(Denied::MemoryMax);
        }
        let (admission, limits) = &mut *unpoisoned(&self.admission);
        if is_wired && self.handshakes.load(Ordering::Relaxed) >= limits.handshakes_max {
            return Err(Denied::HandshakesMax);
        }
        admission.enter(address, now, limits)?;
        Ok(is_wired.then(|| Handshake::begin(&self.handshakes)))
    }

    /// Records a refused connection. Returns whether it is the first one of its address.
    pub(crate) fn is_first_refusal(&self, address: IpAddr) -> bool {
        unpoisoned(&self.admission).0.is_first_refusal(address)
    }

    /// Memory that the sessions of all workers hold, as counted at the end of each worker's last turn, plus what
    /// waits for rooms and workers.
    pub(crate) fn held_bytes(&self) -> u64 {
        let sessions: u64 = self.counters.iter().map(|counters| counters.held_bytes.value()).sum();
        sessions + self.under_way_bytes()
    }

    /// Memory in the mailboxes of rooms and workers, and topics' batches that members or workers still refer to.
    fn under_way_bytes(&self) -> u64 {
        let workers: usize = self.mailboxes.iter().map(Mailbox::own_bytes).sum();
        self.room_counters.held_bytes() + workers as u64 + self.topic_bytes.load(Ordering::Relaxed)
    }

    /// The current level of memory pressure. A level that was reached holds until usage is clearly below it.
    pub(crate) fn pressure(&self) -> Pressure {
        let now = Pressure::of(self.held_bytes(), self.limits.memory_bytes_max as u64);
        if now == Pressure::None { now } else { now.max(self.pressed()) }
    }

    /// The same, stored as the level reached, and whether sessions have to be ended from now on and did not before.
    pub(crate) fn press(&self) -> (Pressure, bool) {
        let (before, step) = (self.pressed(), self.pressure());
        if before != step {
            self.pressed.store(step as u32, Ordering::Relaxed);
        }
        (step, before < Pressure::EndStuck && step >= Pressure::EndStuck)
    }

    fn pressed(&self) -> Pressure {
        Pressure::ALL[self.pressed.load(Ordering::Relaxed) as usize]
    }

    pub(crate) fn left(&self, address: IpAddr) {
        unpoisoned(&self.admission).0.left(address);
    }

    fn mailbox(&self, id: SessionId) -> Result<&Mailbox<P>, SendError> {
        self.mailboxes.get(usize::from(id.worker())).ok_or(SendError::UnknownSession)
    }
}

/// The data of these locks are valid between any two statements, so a poisoned lock is safe to use.
fn unpoisoned<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<P: Port + 'static> RoomSink for ServiceCore<P>
where
    P::Poster: Send + Sync,
{
    fn post(&self, room_output: RoomOutput) -> Option<Undelivered> {
        let room_output = Arc::new(room_output);
        let mut undelivered: Option<(Undelivered, Option<Arc<RoomOutput>>)> = None;
        for worker in room_output.workers() {
            let mailbox = &self.mailboxes[worker];
            if mailbox.has_room() {
                mailbox.push(Message::RoomOutput(Arc::clone(&room_output)));
                continue;
            }
            // The worker does not keep up. It still gets joins and leaves, of which there are no more than members
            // come and go.
            let (undelivered, known) = undelivered.get_or_insert_with(|| {
                (Undelivered::new(Arc::clone(&room_output)), room_output.without_bytes().map(Arc::new))
            });
            undelivered.add(worker);
            if let Some(known) = known {
                mailbox.push(Message::RoomOutput(Arc::clone(known)));
            }
        }
        undelivered.filter(|_| !room_output.bytes.is_empty()).map(|(undelivered, _)| undelivered)
    }

    fn set_wake_timer(&self, room: Arc<dyn DynRoom>, at: Tick) {
        self.mailboxes[room.home()].push(Message::WakeTimer { room, at });
    }

    fn closed(&self, room: u64) {
        let forgotten = unpoisoned(&self.rooms).open.remove(&room);
        drop(forgotten);
    }
}

impl<P: Port + 'static> RoomHost for ServiceCore<P>
where
    P::Poster: Send + Sync,
{
    fn group(&self, name: &str) -> Option<Group> {
        self.groups.iter().find(|group| group.name() == name).cloned()
    }

    fn new_room(&self) -> (u64, usize, Arc<RoomCounters>) {
        let mut rooms = unpoisoned(&self.rooms);
        rooms.opened_total += 1;
        let home = rooms.opened_total as usize % self.mailboxes.len();
        (rooms.opened_total, home, Arc::clone(&self.room_counters))
    }

    fn add_room(&self, room: Arc<dyn DynRoom>) {
        unpoisoned(&self.rooms).open.insert(room.number(), room);
    }

    fn schedule(&self, room: Arc<dyn DynRoom>) {
        self.mailboxes[room.home()].push(Message::Run(Claim::new(room)));
    }
}

impl<P: Port + 'static> ServiceInner for ServiceCore<P>
where
    P::Poster: Send + Sync,
{
    fn send(&self, to: SessionId, bytes: Bytes) -> Result<(), SendError> {
        let mailbox = self.mailbox(to)?;
        if mailbox.is_closed() {
            return Err(SendError::Closed);
        }
        if bytes.len() > self.limits.send_queue_bytes_max {
            return Err(SendError::TooLong);
        }
        if !mailbox.has_room() {
            return Err(SendError::Full);
        }
        mailbox.push(Message::Send { to, bytes });
        Ok(())
    }

    fn end(&self, id: SessionId, reason: DisconnectReason, ending: CloseMode) -> Result<(), SendError> {
        let mailbox = self.mailbox(id)?;
        if mailbox.is_closed() {
            return Err(SendError::Closed);
        }
        if !mailbox.has_room_for_orders() {
            return Err(SendError::Full);
        }
        mailbox.push(Message::End { id, reason, ending });
        Ok(())
    }

    fn broadcast(&self, topic: &Topic, bytes: Bytes, messages: u64) -> Result<(), SendError> {
        if bytes.len() > self.limits.send_queue_bytes_max {
            return Err(SendError::TooLong);
        }
        if topic.workers().any(|worker| !self.mailboxes[worker].has_room()) {
            return Err(SendError::Full);
        }
        // Copied once for all members: a reference to a part of a long buffer would keep the whole buffer alive.
        let bytes = counted(Bytes::copy_from_slice(&bytes), &self.topic_bytes);
        for worker in topic.workers() {
            let bytes = bytes.clone();
            self.mailboxes[worker].push(Message::Batch { topic: topic.number(), bytes, messages });
        }
        Ok(())
    }

    fn topic(&self, number: u64) -> Topic {
        let mut directory = unpoisoned(&self.directory);
        if let Some(shared) = directory.topics.get(&number).and_then(Weak::upgrade) {
            return Topic(shared);
        }
        if directory.topics.len() >= directory.purge_at {
            directory.topics.retain(|_, weak| weak.strong_count() > 0);
            directory.purge_at = 2 * directory.topics.len() + 1024;
        }
        let topic = Topic::new(number, self.mailboxes.len());
        directory.topics.insert(number, Arc::downgrade(&topic.0));
        topic
    }

    fn close_rooms(self: Arc<Self>) {
        ServiceCore::close_rooms(&self);
    }

    fn admit_by(&self, limits: &Limits) {
        unpoisoned(&self.admission).1.clone_from(limits);
    }

    fn stats(&self) -> Stats {
        ServiceCore::stats(self)
    }

    fn worker_stats(&self) -> Vec<Stats> {
        ServiceCore::worker_stats(self)
    }

    fn wake_workers(&self) {
        self.mailboxes.iter().for_each(Mailbox::wake);
    }

    fn backend(&self) -> &'static str {
        self.backend.get().copied().unwrap_or_default()
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    fn drain(&self, within: Duration) {
        ServiceCore::drain(self, within);
    }
}

impl<P: Port> std::fmt::Debug for ServiceCore<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ServiceCore({} workers)", self.mailboxes.len())
    }
}
