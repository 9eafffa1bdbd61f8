//! The plan of a run, and the signals between the clients and the conductor.
//!
//! The plan is fixed before the first connection; beside it are the signals (who is ready, when it starts, when it
//! stops) and one meter for each worker.

use std::hash::{BuildHasher as _, RandomState};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use naksi::config::Url;
use naksi::prelude::{Conn, Limits, Tick};

use super::meter::Meter;
use super::pattern::mix;
use super::world::Field;

/// How members decide when to send.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Pace {
    /// Open loop: one message per this many nanoseconds, whatever comes back.
    Every(u64),
    /// Closed loop: this many messages on their way at a time.
    Window(u32),
}

impl Pace {
    /// Messages per second.
    pub(crate) fn every(rate: f64) -> Self {
        Pace::Every((1e9 / rate) as u64)
    }
}

/// The plan of a run, shared by its clients.
pub(crate) struct Plan {
    pub(crate) target: SocketAddr,
    /// What connections travel over; plain TCP without.
    pub(crate) url: Option<Url>,
    pub(crate) sessions: u32,
    pub(crate) workers: usize,
    pub(crate) connect_rate: u32,
    pub(crate) pace: Pace,
    pub(crate) size: usize,
    pub(crate) span: Duration,
    pub(crate) rooms: u32,
    /// Where the dummies of a world are; empty in other scenarios.
    pub(crate) field: Field,
    pub(crate) seed: u64,
    /// Identifies this run in every message, so that two runs in one room are told apart.
    pub(crate) run: u32,
    pub(crate) clock: Clock,
    pub(crate) signals: Signals,
    pub(crate) meters: Box<[Mutex<Meter>]>,
    /// Which clients have started: the scenario's first message was answered.
    started: Box<[AtomicBool]>,
}

impl Plan {
    /// A plan with a random seed; the caller may still change its numbers.
    pub(crate) fn new(target: SocketAddr, sessions: u32, rooms: u32, pace: Pace, span: Duration) -> Self {
        let random = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
        let mut plan = Self {
            target,
            url: None,
            sessions,
            workers: 0,
            connect_rate: 5_000,
            pace,
            size: 64,
            span,
            rooms: rooms.min(sessions),
            field: Field::default(),
            seed: mix(random),
            run: RandomState::new().hash_one(random) as u32,
            clock: Clock::new(0),
            signals: Signals::default(),
            meters: Box::default(),
            started: (0..sessions).map(|_| AtomicBool::new(false)).collect(),
        };
        // The server needs processors as well, and is usually on the same machine.
        plan.set_workers(thread::available_parallelism().map_or(1, |count| count.get().div_ceil(2).min(255)));
        plan
    }

    /// Gives every worker a meter and a place in the clock.
    pub(crate) fn set_workers(&mut self, workers: usize) {
        self.workers = workers;
        self.clock = Clock::new(workers);
        self.meters = (0..workers).map(|_| Mutex::default()).collect();
    }

    /// Whether this member has begun.
    pub(crate) fn is_started(&self, member: u32) -> bool {
        self.started[member as usize].load(Ordering::Relaxed)
    }

    /// This member has begun.
    pub(crate) fn start(&self, member: u32) {
        self.started[member as usize].store(true, Ordering::Relaxed);
    }

    /// Members that have not begun.
    pub(crate) fn never_started(&self) -> u64 {
        self.started.iter().filter(|started| !started.load(Ordering::Relaxed)).count() as u64
    }

    /// The meter of one worker. Only that worker and the conductor ever lock it.
    pub(crate) fn meter(&self, worker: usize) -> MutexGuard<'_, Meter> {
        self.meters[worker].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When the connection with this index was due, so that its latency includes the wait before it.
    pub(crate) fn connect_due(&self, index: u64) -> u64 {
        let begun = self.signals.begun_at.load(Ordering::Relaxed);
        begun + index * 1_000_000_000 / u64::from(self.connect_rate)
    }

    /// How often a client that waits for the start checks for it: all of them together 20,000 times a second.
    pub(crate) fn look_every(&self) -> Duration {
        Duration::from_micros(u64::from(self.sessions) * 50)
            .clamp(Duration::from_millis(10), Duration::from_secs(1))
    }

    /// A random part of `whole` for this client, the same in every run with this seed.
    pub(crate) fn phase(&self, member: u32, whole: u64) -> u64 {
        let random = mix(self.seed ^ mix(u64::from(member) + 1));
        ((u128::from(random) * u128::from(whole)) >> 64) as u64
    }

    /// Limits that are never reached, because the server is what is tested.
    pub(crate) fn limits(&self) -> Limits {
        const NEVER: Duration = Duration::from_secs(24 * 3600);
        const PLENTY: usize = 1 << 30;
        Limits {
            frame_bytes_max: 65_535,
            first_frame_bytes_max: 65_535,
            first_frame_within: NEVER,
            frame_within: NEVER,
            idle_within: NEVER,
            send_stall_within: NEVER,
            send_queue_bytes_max: PLENTY,
            send_queue_entries_max: PLENTY,
            // A client that stops receiving because it cannot send would deadlock with a server that does the same.
            send_queue_high_bytes: PLENTY,
            recv_backlog_bytes_max: PLENTY,
            recv_backlog_total_bytes_max: PLENTY,
            ..Limits::default()
        }
    }
}

/// Signals between the conductor and the clients; times are the clock's nanoseconds, 0 means "not yet".
#[derive(Default)]
pub(crate) struct Signals {
    begun_at: AtomicU64,
    start_at: AtomicU64,
    stop_at: AtomicU64,
    finished: AtomicU64,
}

impl Signals {
    pub(crate) fn begin(&self, now: u64) {
        self.begun_at.store(now, Ordering::Relaxed);
    }

    pub(crate) fn start(&self, start: u64, stop: u64) {
        self.stop_at.store(stop, Ordering::Release);
        self.start_at.store(start, Ordering::Release);
    }

    /// Nothing new is sent from this moment on.
    pub(crate) fn stop(&self, now: u64) {
        self.stop_at.fetch_min(now, Ordering::AcqRel);
    }

    /// From now on the end of a connection is expected.
    pub(crate) fn finish(&self) {
        self.finished.store(1, Ordering::Release);
    }

    pub(crate) fn started(&self) -> Option<u64> {
        Some(self.start_at.load(Ordering::Acquire)).filter(|start| *start > 0)
    }

    pub(crate) fn stop_at(&self) -> u64 {
        self.stop_at.load(Ordering::Acquire)
    }

    /// How long the clients were sending.
    pub(crate) fn sent_for(&self) -> Duration {
        let start = self.started().unwrap_or(u64::MAX);
        Duration::from_nanos(self.stop_at().saturating_sub(start))
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.finished.load(Ordering::Acquire) == 1
    }
}

/// One clock for the whole process, and its offset from the clock of each worker's port.
///
/// Timers fire on the grid of a port. With a schedule between the grid's points, the client's own timer delay would
/// count as the server's latency, so schedules are aligned to the grid.
pub(crate) struct Clock {
    origin: Instant,
    ahead: Box<[AtomicI64]>,
}

/// The grid of the engine's timer wheel.
const GRID_NANOS: u64 = 1 << 20;

impl Clock {
    pub(crate) fn new(workers: usize) -> Self {
        // A past origin, so that 0 can mean "not yet".
        let origin = Instant::now().checked_sub(Duration::from_millis(1)).unwrap_or_else(Instant::now);
        Self { origin, ahead: (0..workers).map(|_| AtomicI64::new(i64::MAX)).collect() }
    }

    /// Nanoseconds since the run began.
    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// The first point of the port's grid at or after `time`, and the port's offset.
    pub(crate) fn on_grid(&self, time: u64, worker: usize, c: &Conn<'_>) -> u64 {
        let ahead = self.calibrate(worker, c.now());
        let port = time.saturating_add_signed(-ahead);
        port.next_multiple_of(GRID_NANOS).saturating_add_signed(ahead)
    }

    /// How long after the port's present moment `time` will be.
    pub(crate) fn until(&self, time: u64, worker: usize, c: &Conn<'_>) -> Duration {
        let ahead = self.calibrate(worker, c.now());
        Duration::from_nanos(time.saturating_add_signed(-ahead).saturating_sub(c.now().nanos()))
    }

    /// The port's clock was read before this one, so the smallest offset seen is the most accurate.
    fn calibrate(&self, worker: usize, port: Tick) -> i64 {
        let seen = self.now() as i64 - port.nanos() as i64;
        self.ahead[worker].fetch_min(seen, Ordering::Relaxed).min(seen)
    }
}
