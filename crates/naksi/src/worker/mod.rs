//! The worker's loop: submit, wait, dispatch completions, fire timers, submit again.
//!
//! A worker owns one port and the sessions that were placed on it. Everything happens in [`Worker::turn`], so a
//! thread that loops over turns and a simulation that steps them run the same engine. All system calls go through its
//! port.

mod acceptor;
mod connector;
mod deadline_guard;
mod dispatch;
mod files;
mod flush_timers;
mod load_shedding;
mod peer;
mod recording;
mod rooms;
mod shutdown;
mod spin;
mod topics;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use naksi_core::buffer_pool::BufferPool;
use naksi_core::completion::Completion;
use naksi_core::ended::{Failure, OsError};
use naksi_core::flush::Flush;
use naksi_core::id::{SessionId, Token};
use naksi_core::reason::DisconnectReason;
use naksi_core::session::{self, Context, Request};
use naksi_core::table::Table;
use naksi_core::tick::Tick;
use naksi_core::timer::{TimerKey, TimerWheel};
use naksi_os::port::{PollStatus, Port, PortError};
use thin_vec::ThinVec;

use self::acceptor::Listener;
use self::connector::Connector;
use self::deadline_guard::DeadlineGuard;
use self::flush_timers::Held;
use self::load_shedding::LoadShedding;
use self::peer::Peer;
use self::shutdown::Stopping;
use self::spin::Spin;
use crate::log_limiter::LogLimiter;
use crate::room::local::{LocalRooms, RoomMembership};
use crate::session::Factory;
use crate::session::callbacks::Callbacks;
use crate::session::context::{Due, WorkerContext};
use crate::session::files::Files;
use crate::session::turn_budget::TurnBudget;
use crate::shared::core::ServiceCore;
use crate::shared::handle::ServiceInner;
use crate::shared::mailbox::Mailbox;
use crate::topic::{LocalTopics, Membership};

/// A batch of a topic is sent after at most this many completions, however busy the port is.
const COMPLETIONS_BEFORE_FLUSH: usize = 4096;
/// And after this long: while a peer floods, a turn may return only a few completions.
const BATCH_SPAN_MAX: Duration = Duration::from_millis(10);
/// Interval after which a batch is offered again to a worker that had no room for it.
const OWED_AGAIN: Duration = Duration::from_millis(1);
/// Interval after which a deadline that may not be judged yet is checked again.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// Whether a worker continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// The worker continues.
    Going,
    /// Everything is drained and closed; the port can be dropped.
    Finished,
}

/// One session and what the worker keeps for it.
struct Entry<S> {
    session: session::Session,
    user: S,
    peer: Peer,
    memberships: ThinVec<Membership>,
    /// Rooms that it has joined.
    room_memberships: ThinVec<RoomMembership>,
    /// Timers that the user set; some of them may have fired.
    timers: ThinVec<TimerKey>,
    /// A callback has panicked: only `on_disconnected` is still called.
    broken: bool,
    /// The deadline timer that is set, and its time.
    timer: Option<(TimerKey, Tick)>,
    /// The index of a client's connection plus 1; non-zero, so that the option takes no extra space.
    dialled: Option<NonZeroU32>,
    /// Its memory as counted last, in bytes.
    held_bytes: u32,
    /// Whether it is in the list of sessions to ask for operations.
    dirty: bool,
    /// Whether it is in the list of sessions that wait for a tick.
    held: bool,
}

/// One worker of a service.
pub struct Worker<P: Port, F: Factory> {
    index: usize,
    port: P,
    service_core: Arc<ServiceCore<P>>,
    factory: Arc<F>,
    sessions: Table<Entry<F::Session>>,
    buffer_pool: BufferPool,
    context: WorkerContext,
    listeners: Vec<Listener>,
    /// Accepted connections stay with this worker, because every worker has its own listeners.
    keeps: bool,
    connector: Option<Connector>,
    stopping: Option<Stopping>,
    /// Rejected sockets whose close is in flight; the worker finishes after them.
    turning_away: usize,
    arrivals: u64,
    begun: bool,
    dirty: Vec<(u32, u32)>,
    held: Held,
    load_shedding: LoadShedding,
    /// When the topics' batches are sent, if flushing is by ticks and a batch is not empty.
    topics_due: Option<Tick>,
    spin: Spin,
    completions: Vec<Completion>,
    since_flush: usize,
    poll_status: PollStatus,
    deadline_guard: DeadlineGuard,
    due: Vec<TimerKey>,
    members: Vec<SessionId>,
}

impl<P: Port + 'static, F: Factory> Worker<P, F> {
    /// A worker on its own port. It accepts and connects nothing before [`ServiceCore::begin`].
    pub fn new(index: usize, port: P, service_core: Arc<ServiceCore<P>>, factory: Arc<F>) -> Self {
        service_core.mailboxes[index].hang(port.poster());
        service_core.stands_on(port.backend());
        let service: Arc<dyn ServiceInner> = Arc::clone(&service_core) as Arc<dyn ServiceInner>;
        let context = WorkerContext {
            now: port.now(),
            wheel: TimerWheel::default(),
            topics: LocalTopics::new(
                index,
                service_core.limits.send_queue_bytes_max,
                Arc::clone(&service_core.topic_bytes),
            ),
            rooms: LocalRooms::default(),
            files: Files::default(),
            service,
            counters: Arc::clone(&service_core.counters[index]),
            scratch: bytes::BytesMut::new(),
            log_limiter: LogLimiter::new(service_core.limits.log_lines_per_second_max),
            recorder: None,
            turn_budget: TurnBudget::default(),
        };
        Self {
            index,
            port,
            sessions: Table::new(SessionId::SLOTS_MAX as usize),
            spin: Spin::new(service_core.spin),
            service_core,
            factory,
            buffer_pool: BufferPool::default(),
            context,
            listeners: Vec::new(),
            keeps: false,
            connector: None,
            stopping: None,
            turning_away: 0,
            arrivals: 0,
            begun: false,
            dirty: Vec::new(),
            held: Held::default(),
            load_shedding: LoadShedding::default(),
            topics_due: None,
            completions: Vec::new(),
            since_flush: 0,
            // The first turn does not block: a message may have been pushed before the poster was set.
            poll_status: PollStatus::More,
            deadline_guard: DeadlineGuard::default(),
            due: Vec::new(),
            members: Vec::new(),
        }
    }

    /// One turn of the loop.
    ///
    /// # Errors
    /// The port failed; the worker cannot go on.
    pub fn turn(&mut self) -> Result<Turn, PortError> {
        let until = self.sleep_until();
        let mut completions = std::mem::take(&mut self.completions);
        self.poll_status = match self.spin.wait(&mut self.port, &mut completions, until) {
            Ok(status) => status,
            Err(broken) => {
                self.give_up(&DisconnectReason::System(OsError::new(Failure::Other, broken.code)));
                return Err(broken);
            }
        };
        self.context.now = self.port.now();
        self.context.turn_budget.begin(self.context.now);
        // Receives without a buffer also have data to deliver, and are in no wait before a buffer is returned.
        let brings_all = self.poll_status == PollStatus::Drained && self.port.ledger().starved == 0;
        self.deadline_guard.turn(self.context.now, brings_all);
        self.since_flush += completions.len();
        self.context.counters.count_wait(completions.len());
        for completion in completions.drain(..) {
            self.dispatch(completion);
            if self.context.topics.is_full() {
                self.flush_topics();
            }
            self.context.turn_budget.step(|| self.port.now());
            if let Some(now) = self.context.turn_budget.is_slow() {
                self.time_has_passed(now);
            }
        }
        self.completions = completions;
        if !self.begun {
            self.read_mailbox();
        }
        self.fire_timers();
        self.carry_out_file_wishes();
        self.run_rooms();
        if self.topics_are_due() {
            self.flush_topics();
            self.since_flush = 0;
        }
        self.release_held();
        self.relieve();
        self.ask_dirty();
        self.trim_spares();
        self.write_record();
        self.context.counters.turns.add(1);
        self.context.counters.recv_backlog_bytes.set(self.buffer_pool.kept_bytes() as u64);
        self.context.counters.held_bytes.set(self.load_shedding.held_bytes());
        self.context.counters.timers.set(self.context.wheel.len() as u64);
        self.context.counters.mirror(&self.port.ledger());
        Ok(if self.is_finished() { Turn::Finished } else { Turn::Going })
    }

    /// Until when the port may block.
    fn sleep_until(&self) -> Option<Tick> {
        if self.poll_status == PollStatus::More
            || self.context.files.has_file_ops()
            || self.context.rooms.has_work()
        {
            return Some(Tick::ZERO);
        }
        let again = || self.topics_due.unwrap_or(self.context.now + OWED_AGAIN);
        let topics = &self.context.topics;
        let postponed = (topics.is_dirty() || topics.owes_anybody()).then(again);
        self.context
            .wheel
            .next()
            .into_iter()
            .chain(postponed)
            .chain(self.held.next())
            .chain(self.relief_at())
            .chain(self.context.rooms.next())
            .min()
    }

    /// Whether the topics' batches are sent with this turn.
    ///
    /// Replies are sent after every slice of completions, while their sessions are still in the cache; a topic's
    /// batch waits until the port is drained, or for its tick, to carry as much as possible.
    fn topics_are_due(&mut self) -> bool {
        if !self.context.topics.is_dirty() {
            (self.topics_due, self.since_flush) = (None, 0);
            return self.context.topics.owes_anybody();
        }
        let (flush, now) = (self.service_core.flush, self.context.now);
        let end = || if flush == Flush::AtOnce { now + BATCH_SPAN_MAX } else { flush.next(now) };
        let due = *self.topics_due.get_or_insert_with(end);
        let is_enough =
            self.poll_status == PollStatus::Drained || self.since_flush >= COMPLETIONS_BEFORE_FLUSH;
        let leave = due <= now || (flush == Flush::AtOnce && is_enough);
        self.topics_due = (!leave).then_some(due);
        leave
    }

    /// Asks those again whose tick has come.
    fn release_held(&mut self) {
        let (sessions, dirty) = (&mut self.sessions, &mut self.dirty);
        self.held.release(self.context.now, |slot, generation| {
            let Some(entry) = sessions.get_mut(slot, generation) else { return };
            entry.held = false;
            if !std::mem::replace(&mut entry.dirty, true) {
                dirty.push((slot, generation));
            }
        });
    }

    /// The worker's port, for its ledger.
    pub fn port(&self) -> &P {
        &self.port
    }

    /// Sessions whose slot is taken.
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// The service-wide id of the session in this slot.
    fn name(&self, slot: u32, generation: u32) -> SessionId {
        SessionId::new(self.index as u8, slot, generation)
    }

    /// Runs a function on one session, then updates what follows from it. `None`: the id is stale.
    fn with_session<R>(
        &mut self,
        slot: u32,
        generation: u32,
        run: impl FnOnce(&mut session::Session, &mut Context<'_>, &mut Callbacks<'_, F::Session>) -> R,
    ) -> Option<R> {
        let id = self.name(slot, generation);
        let entry = self.sessions.get_mut(slot, generation)?;
        let mut cx = Context {
            now: self.context.now,
            limits: &self.service_core.limits,
            buffer_pool: &mut self.buffer_pool,
        };
        let mut callbacks = Callbacks {
            user: &mut entry.user,
            clock: &self.port,
            context: &mut self.context,
            memberships: &mut entry.memberships,
            room_memberships: &mut entry.room_memberships,
            timers: &mut entry.timers,
            broken: &mut entry.broken,
            id,
            peer: entry.peer.get(),
        };
        let result = run(&mut entry.session, &mut cx, &mut callbacks);
        if !std::mem::replace(&mut entry.dirty, true) {
            self.dirty.push((slot, generation));
        }
        Some(result)
    }

    /// Asks every dirty session for its next operations and submits them.
    fn ask_dirty(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for (slot, generation) in dirty.drain(..) {
            self.ask(slot, generation);
        }
        // Registering marks no session dirty, so the emptied list can be put back.
        self.dirty = dirty;
    }

    fn ask(&mut self, slot: u32, generation: u32) {
        let Some(entry) = self.sessions.get_mut(slot, generation) else { return };
        entry.dirty = false;
        let dropped = entry.session.take_dropped();
        if dropped > 0 {
            self.context.counters.dropped.add(dropped);
        }
        self.load_shedding.count(&mut entry.held_bytes, entry.session.held_bytes());
        if entry.session.over().is_some() {
            self.retire(slot, generation);
            return;
        }
        while let Some(request) = entry.session.register(self.context.now, &mut self.buffer_pool) {
            match request {
                Request::Submit(verb, op) => {
                    let token = Token::new(verb as u8, slot, generation);
                    if let Err(refused) = self.port.submit(token, op) {
                        unreachable!("a session asks only for what its port can do: {}", refused.why);
                    }
                }
                Request::Cancel(verb) => self.port.cancel(Token::new(verb as u8, slot, generation)),
            }
        }
        if let Some(at) = entry.session.held_until()
            && !std::mem::replace(&mut entry.held, true)
        {
            self.held.hold(at, slot, generation);
        }
        let wanted = entry.session.deadline(&self.service_core.limits);
        // A deadline that moved later is checked when the old timer fires; only an earlier one is set anew.
        match (wanted, entry.timer) {
            (Some(wanted), Some((_, set))) if set <= wanted => {}
            (Some(wanted), set) => {
                if let Some((key, _)) = set {
                    self.context.wheel.cancel(key);
                }
                let key = self.context.wheel.set(wanted, Due::Deadline { slot, generation });
                entry.timer = Some((key, wanted));
            }
            (None, _) => {}
        }
    }

    #[inline]
    fn fire_timers(&mut self) {
        let mut due = std::mem::take(&mut self.due);
        self.context.wheel.due(self.context.now, &mut due);
        for key in due.drain(..) {
            // A callback of the same batch may have cancelled it.
            let Some(fired) = self.context.wheel.fire(key) else { continue };
            match fired {
                Due::Deadline { slot, generation } => self.look_at_deadline(slot, generation),
                Due::User { slot, generation, tag } => self.play_timer(slot, generation, tag),
                Due::Accept { listener } => self.resume_accept(listener as usize),
                Due::Connect => self.register_connects(),
                Due::DrainOver => self.end_drain(),
            }
            if self.context.topics.is_full() {
                self.flush_topics();
            }
        }
        self.due = due;
    }

    /// Callbacks are slow: timers and deadlines are checked before the end of the turn.
    #[cold]
    fn time_has_passed(&mut self, now: Tick) {
        self.context.now = now;
        self.deadline_guard.pass(now);
        self.fire_timers();
    }

    /// Ends a session that is late, unless data that it sent in time may still be unread; then it is checked again.
    fn look_at_deadline(&mut self, slot: u32, generation: u32) {
        let Some(entry) = self.sessions.get_mut(slot, generation) else { return };
        entry.timer = None;
        let (now, limits) = (self.context.now, &self.service_core.limits);
        let until = self.deadline_guard.judged_until(now).min(now);
        if entry.session.is_late(now, limits) && !entry.session.is_late(until, limits) {
            let key =
                self.context.wheel.set(self.context.now + LOOK_AGAIN, Due::Deadline { slot, generation });
            entry.timer = Some((key, Tick::ZERO)); // Whatever it wants, it is looked at soon enough.
            return;
        }
        self.with_session(slot, generation, |session, cx, callbacks| {
            session.check_deadline(until, cx, callbacks)
        });
    }

    fn play_timer(&mut self, slot: u32, generation: u32, tag: u32) {
        self.with_session(slot, generation, |session, cx, callbacks| {
            if session.is_live() {
                session.with_output(cx, callbacks, |callbacks, output| {
                    callbacks.play(output, (), |user, conn| {
                        crate::session::Session::on_timer(user, conn, tag);
                    });
                });
            }
        });
    }

    fn mailbox(&self) -> &Mailbox<P> {
        &self.service_core.mailboxes[self.index]
    }
}

impl<P: Port, F: Factory> Drop for Worker<P, F> {
    fn drop(&mut self) {
        let Self { context, port, .. } = self;
        let service = Arc::clone(&context.service);
        context.rooms.wind_up(&|| port.now(), &*service);
        // The remaining backlog is not delivered any more.
        context.counters.dropped.add(context.topics.owed_messages());
        // Its replies are not awaited.
        context.counters.held_bytes.set(0);
        context.counters.recv_backlog_bytes.set(0);
        // From here on pushed messages are dropped: a socket among them would otherwise never be closed.
        self.service_core.mailboxes[self.index].close();
    }
}

impl<P: Port, F: Factory> std::fmt::Debug for Worker<P, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Worker({}, {} sessions", self.index, self.sessions.len())?;
        // Names a few sessions that keep the worker from ending.
        for (slot, generation) in self.sessions.names().into_iter().take(4) {
            if let Some(entry) = self.sessions.get(slot, generation) {
                let id = SessionId::new(self.index as u8, slot, generation);
                write!(f, ", {id}: {:?}", entry.session)?;
            }
        }
        write!(f, ")")
    }
}
