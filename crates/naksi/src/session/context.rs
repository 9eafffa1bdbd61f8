//! What the callbacks of one worker's sessions share: the current time, timers, topics, file operations.
//!
//! The sessions themselves and the port stay with the worker, so callbacks cannot reach them.

use bytes::BytesMut;
use std::sync::Arc;

use naksi_core::callbacks::SessionOutput;
use naksi_core::tick::Tick;
use naksi_core::timer::TimerWheel;
use naksi_os::port::Port;

use crate::log_limiter::{LogLimiter, Subject};
use crate::record::{Entry, Recorder};
use crate::room::local::LocalRooms;
use crate::session::files::Files;
use crate::session::turn_budget::TurnBudget;
use crate::shared::handle::ServiceInner;
use crate::shared::stats::Counters;
use crate::topic::{LocalTopics, Membership};

/// Maximum piece of a stream in one entry of a recording, in bytes.
const PIECE_BYTES_MAX: usize = 32 << 10;

/// The time of a worker's port.
pub(crate) trait Clock {
    fn now(&self) -> Tick;
}

impl<P: Port> Clock for P {
    fn now(&self) -> Tick {
        Port::now(self)
    }
}

/// What a worker's timers mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// A session's next deadline may have passed.
    Deadline { slot: u32, generation: u32 },
    /// A session's own timer.
    User { slot: u32, generation: u32, tag: u32 },
    /// A listener that paused may accept again.
    Accept { listener: u32 },
    /// More connections may be made.
    Connect,
    /// The time to drain is over.
    DrainOver,
}

/// What the callbacks of one worker share.
pub(crate) struct WorkerContext {
    pub(crate) now: Tick,
    pub(crate) wheel: TimerWheel<Due>,
    pub(crate) topics: LocalTopics,
    pub(crate) rooms: LocalRooms,
    pub(crate) files: Files,
    pub(crate) service: Arc<dyn ServiceInner>,
    pub(crate) counters: Arc<Counters>,
    /// Buffer in which messages are encoded before they are queued.
    pub(crate) scratch: BytesMut,
    pub(crate) log_limiter: LogLimiter,
    pub(crate) recorder: Option<Recorder>,
    /// The time that this turn has.
    pub(crate) turn_budget: TurnBudget,
}

impl WorkerContext {
    /// Queues for one session what its topics' batches hold for it so far.
    pub(crate) fn catch_up(&mut self, memberships: &mut [Membership], output: &mut SessionOutput<'_>) {
        let Self { topics, counters, .. } = self;
        let mut queued = 0;
        topics.catch_up(memberships, output, |sent, messages| queued += counters.told(sent, messages));
        counters.deliveries.add(queued);
    }

    /// Writes a rate-limited log line, or counts it as suppressed.
    pub(crate) fn say(&mut self, subject: Subject, say: impl FnOnce(Option<u64>)) {
        self.log_limiter.say(subject, self.now, say);
        self.counters.log_lines_suppressed_total.set(self.log_limiter.suppressed_total());
    }
}

impl WorkerContext {
    /// Records something, if there is a recorder.
    pub(crate) fn record<'a>(&mut self, entry: impl FnOnce(u64) -> Entry<'a>) {
        if let Some(recorder) = &mut self.recorder
            && !recorder.note(&entry(self.now.nanos() / 1000))
        {
            self.counters.record_lost_total.add(1);
        }
    }

    /// Records a piece of a stream, in as many entries as it needs.
    pub(crate) fn record_stream(&mut self, session: u64, data: &[u8]) {
        if self.recorder.is_some() {
            for bytes in data.chunks(PIECE_BYTES_MAX) {
                self.record(|at_us| Entry::Received { at_us, session, bytes });
            }
        }
    }
}
