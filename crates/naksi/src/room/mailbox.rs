//! A room's mailbox, and the rule that one thread at a time processes it.
//!
//! Putting something into an idle room's mailbox claims the room; the claimant must run it or hand it on. A run ends
//! when the mailbox is empty or the budget is spent. Output is posted before the claim is released; otherwise the
//! next run, on another thread, could be delivered before this one. Due timers and ticks go before the mailbox, and
//! if they took long, the mailbox gets as much time: a tick that lasts longer than its period loses ticks, but never
//! keeps the room from processing leaves.

use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use naksi_core::id::SessionId;
use naksi_core::tick::Tick;

use super::event::{RoomHost, RoomSink};
use super::options::RoomFull;
use super::state::Body;
use super::{Batch, Cx, DynRoom, Event, Room, RoomCloseReason, RoomCounters, RoomOptions, Space};
use crate::group::{Group, Runnable};
use crate::sync::{AtomicBool, AtomicU64, AtomicUsize, Mutex, Ordering, SegQueue};

/// No alarm is set.
const NEVER: u64 = u64::MAX;

type Call<R> = Box<dyn FnOnce(&mut R, &mut Cx<'_, R>) + Send>;

/// Something for a room to do.
pub(super) enum Job<R: Room> {
    Batch(Batch),
    Call(Call<R>, Charge),
    /// Only releases the charge for what came before.
    Mark(Charge),
    /// Look at the clock.
    Wake,
    Close(RoomCloseReason),
}

/// The memory of a job that did not come in a batch, and the session that is charged for it, if there is one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Charge {
    pub(super) session: Option<SessionId>,
    pub(super) bytes: u32,
}

/// The batch that is being worked off.
#[derive(Default)]
struct Current {
    events: std::vec::IntoIter<Event>,
    frames: Bytes,
}

/// How ticks and timers share the room's time with its mailbox.
#[derive(Default)]
struct Shares {
    /// Time that ticks and timers have taken since the mailbox had its turn.
    timers: Duration,
    /// Time that the mailbox gets before they go first again.
    owed: Duration,
}

impl Shares {
    fn took(&mut self, by_clockwork: bool, span: Duration, budget: Duration) {
        if !by_clockwork {
            *self = Self { timers: Duration::ZERO, owed: self.owed.saturating_sub(span) };
            return;
        }
        self.timers += span;
        if self.timers > budget {
            self.owed = std::mem::take(&mut self.timers);
        }
    }
}

/// The room itself; only the claimant locks it.
pub(super) struct Inside<R: Room> {
    pub(super) body: Body<R>,
    current: Current,
    shares: Shares,
}

/// A room and its mailbox.
pub(crate) struct RoomCell<R: Room> {
    pub(super) number: u64,
    home: usize,
    options: RoomOptions,
    group: Option<Group>,
    counters: Arc<RoomCounters>,
    service: Option<Weak<dyn RoomHost>>,
    me: Weak<Self>,
    inbox: SegQueue<Job<R>>,
    packets: AtomicUsize,
    bytes: AtomicUsize,
    pub(super) calls: AtomicUsize,
    pub(super) call_bytes: AtomicUsize,
    /// Whether a thread runs the room or is about to.
    claimed: AtomicBool,
    closed: AtomicBool,
    /// Timers and ticks are off: the room ends after what is in its mailbox.
    is_still: AtomicBool,
    heavy: AtomicBool,
    alarm_at: AtomicU64,
    pub(super) members: AtomicUsize,
    pub(super) inside: Mutex<Inside<R>>,
}

/// A room's number, home and counters in its service.
pub(super) struct Site {
    pub(super) number: u64,
    pub(super) home: usize,
    pub(super) group: Option<Group>,
    pub(super) counters: Arc<RoomCounters>,
    pub(super) service: Option<Weak<dyn RoomHost>>,
}

impl<R: Room> RoomCell<R> {
    pub(super) fn new(room: R, options: RoomOptions, site: Site) -> Arc<Self> {
        let Site { number, home, group, counters, service } = site;
        RoomCounters::add(&counters.live, 1);
        Arc::new_cyclic(|me: &Weak<Self>| Self {
            number,
            home,
            options,
            group,
            counters,
            service,
            me: me.clone(),
            inbox: SegQueue::new(),
            packets: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            calls: AtomicUsize::new(0),
            call_bytes: AtomicUsize::new(0),
            claimed: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            is_still: AtomicBool::new(false),
            heavy: AtomicBool::new(false),
            alarm_at: AtomicU64::new(NEVER),
            members: AtomicUsize::new(0),
            inside: Mutex::new(Inside {
                body: Body::new(room, number, me.clone()),
                current: Current::default(),
                shares: Shares::default(),
            }),
        })
    }

    /// Queues a job. Returns whether the caller has claimed the room and must run it.
    #[must_use]
    pub(super) fn put(&self, job: Job<R>) -> bool {
        match job {
            Job::Call(_, Charge { bytes, .. }) => {
                self.calls.fetch_add(1, Ordering::Relaxed);
                self.call_bytes.fetch_add(bytes as usize, Ordering::Relaxed);
                RoomCounters::add(&self.counters.held_bytes, bytes.into());
            }
            // A close is queued already, and only one is accepted.
            Job::Close(_) if self.is_still.swap(true, Ordering::Relaxed) => return self.claim(),
            // The thread that runs the room may run one more tick; the room then ends a little later.
            Job::Close(_) => {}
            Job::Batch(_) | Job::Mark(_) | Job::Wake => {}
        }
        self.inbox.push(job);
        self.claim()
    }

    /// Claims the room, to run it or hand it on. Returns `false` if it is claimed already.
    #[must_use]
    pub(super) fn claim(&self) -> bool {
        !self.claimed.swap(true, Ordering::AcqRel)
    }

    pub(super) fn service(&self) -> Option<Arc<dyn RoomHost>> {
        self.service.as_ref().and_then(Weak::upgrade)
    }

    /// Processes the next event of the current batch, or of the next one; other jobs run here.
    fn step(&self, inside: &mut Inside<R>) -> bool {
        let Inside { body, current, .. } = inside;
        loop {
            if let Some(event) = current.events.next() {
                let frame = match &event {
                    Event::Packet { bytes, .. } => current.frames.split_to(*bytes as usize),
                    _ => Bytes::new(),
                };
                body.apply(event, &frame, &self.options);
                return true;
            }
            match self.inbox.pop() {
                None => return false,
                Some(Job::Batch(batch)) => {
                    self.packets.fetch_sub(batch.packets(), Ordering::Relaxed);
                    self.counters.held_bytes.fetch_sub(batch.memory_bytes() as u64, Ordering::Relaxed);
                    let (events, frames) = batch.seal();
                    self.bytes.fetch_sub(frames.len(), Ordering::Relaxed);
                    *current = Current { events: events.into_iter(), frames };
                }
                Some(Job::Call(call, charge)) => {
                    self.calls.fetch_sub(1, Ordering::Relaxed);
                    self.call_bytes.fetch_sub(charge.bytes as usize, Ordering::Relaxed);
                    self.counters.held_bytes.fetch_sub(charge.bytes.into(), Ordering::Relaxed);
                    body.play(call);
                    body.take_off(charge);
                    return true;
                }
                Some(Job::Mark(charge)) => body.take_off(charge),
                Some(Job::Wake) => {}
                Some(Job::Close(why)) => body.finish(why),
            }
        }
    }

    /// Processes what comes next. Returns whether it was a timer or tick rather than mail; `None` if there was
    /// nothing.
    fn play_next(&self, inside: &mut Inside<R>) -> Option<bool> {
        let clockwork_is_first = inside.shares.owed.is_zero();
        if clockwork_is_first && self.play_clockwork(inside) {
            return Some(true);
        }
        if self.step(inside) {
            return Some(false);
        }
        inside.shares = Shares::default();
        (!clockwork_is_first && self.play_clockwork(inside)).then_some(true)
    }

    fn play_clockwork(&self, inside: &mut Inside<R>) -> bool {
        !self.is_still.load(Ordering::Relaxed) && inside.body.play_clockwork(&self.counters)
    }

    /// Works until there is nothing to do or the budget is spent. Returns whether there may be more.
    fn work(&self, inside: &mut Inside<R>, clock: &dyn Fn() -> Tick, sink: &dyn RoomSink) -> bool {
        let began = clock();
        let mut heavy = false;
        inside.body.scene.now = began;
        inside.body.open(&self.options);
        let mut events = 0;
        let more = loop {
            let before = inside.body.scene.now;
            let Some(was_due) = self.play_next(inside) else { break false };
            if inside.body.scene.outbox.is_full() {
                self.post(inside, sink);
            }
            events += 1;
            let now = clock();
            inside.body.scene.now = now;
            inside.shares.took(was_due, now.since(before), self.options.budget);
            heavy |= now.since(before) > self.options.budget;
            if events >= self.options.budget_events || now.since(began) > self.options.budget {
                break true;
            }
        };
        self.heavy.store(heavy, Ordering::Relaxed);
        self.members.store(inside.body.scene.members.len(), Ordering::Relaxed);
        RoomCounters::add(&self.counters.events, std::mem::take(&mut inside.body.played));
        RoomCounters::add(&self.counters.panics, inside.body.take_panics());
        self.post(inside, sink);
        if inside.body.is_over() && !self.closed.swap(true, Ordering::AcqRel) {
            self.counters.live.fetch_sub(1, Ordering::Relaxed);
            sink.closed(self.number);
        }
        more
    }

    fn post(&self, inside: &mut Inside<R>, sink: &dyn RoomSink) {
        while !inside.body.scene.outbox.is_empty() {
            RoomCounters::add(&self.counters.parcels, 1);
            // This ends, because members that miss output are removed, so each round has fewer recipients.
            let Some(undelivered) = sink.post(inside.body.scene.outbox.take(self.number)) else { return };
            RoomCounters::add(&self.counters.parcels_cut, 1);
            RoomCounters::add(&self.counters.lost, inside.body.lose(&undelivered));
        }
    }

    /// Sets the wake-up timer if the next deadline is earlier than the one that is set.
    fn set_wake_timer(&self, next: Option<Tick>, sink: &dyn RoomSink) {
        if let Some(next) = next
            && !self.is_still.load(Ordering::Relaxed)
            && next.nanos() < self.alarm_at.load(Ordering::Acquire)
            && let Some(me) = self.me.upgrade()
        {
            self.alarm_at.store(next.nanos(), Ordering::Release);
            sink.set_wake_timer(me, next);
        }
    }
}

impl<R: Room> DynRoom for RoomCell<R> {
    fn number(&self) -> u64 {
        self.number
    }

    fn home(&self) -> usize {
        self.home
    }

    fn space(&self, packets: usize, bytes: usize) -> Space {
        let packets = self.packets.load(Ordering::Relaxed) + packets;
        let bytes = self.bytes.load(Ordering::Relaxed) + bytes;
        let RoomOptions { entries_max, bytes_max, .. } = self.options;
        if packets > entries_max || bytes > bytes_max {
            Space::Full
        } else if packets > entries_max / 2 || bytes > bytes_max / 2 {
            Space::Crowded
        } else {
            Space::Free
        }
    }

    fn refuse(&self) -> bool {
        RoomCounters::add(&self.counters.dropped, 1);
        self.options.full == RoomFull::EndSession
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    fn is_heavy(&self) -> bool {
        self.heavy.load(Ordering::Relaxed)
    }

    fn push(&self, batch: Batch) -> bool {
        self.packets.fetch_add(batch.packets(), Ordering::Relaxed);
        self.bytes.fetch_add(batch.frames.len(), Ordering::Relaxed);
        RoomCounters::add(&self.counters.held_bytes, batch.memory_bytes() as u64);
        self.put(Job::Batch(batch))
    }

    fn wake(&self) -> bool {
        self.put(Job::Wake)
    }

    fn close(&self, why: RoomCloseReason) -> bool {
        self.put(Job::Close(why))
    }

    fn release(&self) {
        self.claimed.swap(false, Ordering::AcqRel);
    }

    fn awaits(&self, at: Tick) -> bool {
        !self.is_closed() && self.alarm_at.load(Ordering::Acquire) == at.nanos()
    }

    fn hears(&self, at: Tick) -> bool {
        self.alarm_at.compare_exchange(at.nanos(), NEVER, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    fn run(self: Arc<Self>, clock: &dyn Fn() -> Tick, sink: &dyn RoomSink) -> bool {
        loop {
            let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
            if self.work(&mut inside, clock, sink) {
                return true;
            }
            self.set_wake_timer(inside.body.scene.timers.next(), sink);
            drop(inside);
            // Releasing the claim acquires what was queued by callers that found the room claimed.
            self.claimed.swap(false, Ordering::AcqRel);
            if self.inbox.is_empty() || self.claimed.swap(true, Ordering::AcqRel) {
                return false;
            }
        }
    }

    fn hand_over(self: Arc<Self>) -> bool {
        let Some(group) = self.group.clone() else { return false };
        let counters = Arc::clone(&self.counters);
        let taken = group.post_run(self).is_ok();
        RoomCounters::add(&counters.handed_over, u64::from(taken));
        taken
    }
}

impl<R: Room> Runnable for RoomCell<R> {
    /// Runs on a thread of its group, one budget at a time, so that other rooms get their turn between.
    fn run(self: Arc<Self>, clock: &dyn Fn() -> Tick) {
        let Some(service) = self.service() else { return self.release() };
        while DynRoom::run(Arc::clone(&self), clock, &*service) {
            if Arc::clone(&self).hand_over() {
                return;
            }
        }
    }
}

#[cfg(test)]
struct Still;

#[cfg(test)]
impl Room for Still {
    type Member = ();
}

#[cfg(all(not(loom), test))]
mod tests {
    use super::*;

    #[test]
    fn a_room_that_is_asked_to_close_any_number_of_times_keeps_it_once() {
        let site = Site { number: 1, home: 0, group: None, counters: Arc::default(), service: None };
        let cell = RoomCell::new(Still, RoomOptions::new(), site);
        assert!(DynRoom::close(&*cell, RoomCloseReason::Closed), "it is the caller's to run");
        let claims = (0..1000).filter(|_| DynRoom::close(&*cell, RoomCloseReason::Closed)).count();
        assert_eq!((claims, cell.inbox.len()), (0, 1));
    }
}

#[cfg(all(loom, test))]
mod models {
    use super::*;
    use crate::room::output::{RoomOutput, Undelivered};

    struct Nowhere;

    impl RoomSink for Nowhere {
        fn post(&self, _: RoomOutput) -> Option<Undelivered> {
            None
        }

        fn set_wake_timer(&self, _: Arc<dyn DynRoom>, _: Tick) {}

        fn closed(&self, _: u64) {}
    }

    /// Queues a job, and runs the room if this claimed it.
    fn bring(cell: &Arc<RoomCell<Still>>) {
        if cell.put(Job::Call(Box::new(|_, _| ()), Charge::default())) {
            while DynRoom::run(Arc::clone(cell), &|| Tick::ZERO, &Nowhere) {}
        }
    }

    #[test]
    fn nothing_is_left_in_a_room_that_nobody_runs_however_two_threads_that_bring_something_meet() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(|| {
            let counters: Arc<RoomCounters> = Arc::default();
            let site =
                Site { number: 1, home: 0, group: None, counters: Arc::clone(&counters), service: None };
            let cell = RoomCell::new(Still, RoomOptions::new(), site);
            let of_thread = Arc::clone(&cell);
            let other = loom::thread::spawn(move || bring(&of_thread));
            bring(&cell);
            other.join().expect("it ends");
            assert_eq!(
                counters.stats().events_total,
                3,
                "the opening and both calls, and there is no further run"
            );
        });
    }
}
