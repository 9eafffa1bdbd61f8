//! The watchdog for slow callbacks. A callback that runs for more than 100 ms is named in the log, once while it runs
//! and once when it returns. The same holds for all other user code that a worker runs: the session factory,
//! `on_disconnected`, destructors.
//!
//! Threads publish which callback they run in two atomic words, without reading a clock; one thread per process
//! samples these words. It dozes while no callback runs, and the first callback after that wakes it.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use naksi_core::id::SessionId;
use naksi_os::ThreadClock;

/// A callback that runs for longer is reported.
const HELD: Duration = Duration::from_millis(100);
/// Interval between two samples while callbacks run.
const LOOK_EVERY: Duration = Duration::from_millis(25);
/// The watchdog dozes after this long without a callback, and for at most this long at a time.
const DOZE: Duration = Duration::from_secs(1);
/// No current packet. Smaller numbers above the packet ids name other user code: see [`What`].
const NO_PACKET: u64 = u64::MAX;

/// Whose callback runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Session(SessionId),
    Room(u64),
    /// A connection that has no session yet; the number of connections this worker had before.
    Connecting(u64),
}

/// User code other than the callbacks that run per message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    OnDisconnected = 1,
    Factory = 2,
    Destructor = 3,
}

impl What {
    /// The name for the number that stands in place of a packet id.
    fn name(number: u64) -> &'static str {
        let what = [What::OnDisconnected, What::Factory, What::Destructor];
        match what.into_iter().find(|what| what.number() == number) {
            Some(What::OnDisconnected) => "on_disconnected",
            Some(What::Factory) => "factory",
            Some(What::Destructor) => "destructor",
            None => "callback",
        }
    }

    fn number(self) -> u64 {
        NO_PACKET - self as u64
    }
}

/// What one thread publishes about itself. Only that thread writes it.
struct Slot {
    name: String,
    clock: ThreadClock,
    /// Odd while a callback runs.
    beat: AtomicU64,
    kind: AtomicU64,
    number: AtomicU64,
    packet: AtomicU64,
}

impl Slot {
    fn bump(&self) {
        self.beat.store(self.beat.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
    }

    fn who(&self) -> Who {
        let number = self.number.load(Ordering::Relaxed);
        match self.kind.load(Ordering::Relaxed) {
            0 => Who::Session(SessionId::from_u64(number)),
            1 => Who::Room(number),
            _ => Who::Connecting(number),
        }
    }
}

/// All watched threads, and the watchdog thread.
struct Roll {
    slots: Vec<Weak<Slot>>,
    watch: Option<Thread>,
}

static ROLL: Mutex<Roll> = Mutex::new(Roll { slots: Vec::new(), watch: None });

/// Whether the watchdog dozes. Every callback reads it and it is rarely written, so its cache line stays shared.
static DOZES: AtomicBool = AtomicBool::new(false);

thread_local! {
    static MINE: RefCell<Option<Arc<Slot>>> = const { RefCell::new(None) };
}

fn roll() -> MutexGuard<'static, Roll> {
    // The data are valid between any two statements, so a poisoned lock is safe to use.
    ROLL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Registers this thread with the watchdog until it ends.
pub(crate) fn enlist() {
    let slot = Arc::new(Slot {
        clock: ThreadClock::of_this_thread(),
        name: thread::current().name().unwrap_or("?").to_owned(),
        beat: AtomicU64::new(0),
        kind: AtomicU64::new(0),
        number: AtomicU64::new(0),
        packet: AtomicU64::new(NO_PACKET),
    });
    let mut roll = roll();
    roll.slots.push(Arc::downgrade(&slot));
    if roll.watch.is_none() {
        // Without the watchdog thread no callback is reported; everything else works.
        let watching = thread::Builder::new().name("naksi-watch".into()).spawn(watch);
        roll.watch = watching.ok().map(|watching| watching.thread().clone());
    }
    MINE.set(Some(slot));
}

/// Sets the packet of this thread's next callback.
pub(crate) fn about(packet: u16) {
    announce(packet.into());
}

fn announce(number: u64) {
    MINE.with_borrow(|mine| {
        if let Some(slot) = mine {
            slot.packet.store(number, Ordering::Relaxed);
        }
    });
}

/// Runs other user code under the watchdog.
pub(crate) fn seen_at<T>(what: What, who: Who, run: impl FnOnce() -> T) -> T {
    announce(what.number());
    seen(who, run)
}

/// Runs a callback under the watchdog.
pub(crate) fn seen<T>(who: Who, run: impl FnOnce() -> T) -> T {
    MINE.with_borrow(|mine| {
        if let Some(slot) = mine {
            let (kind, number) = match who {
                Who::Session(id) => (0, id.to_u64()),
                Who::Room(number) => (1, number),
                Who::Connecting(number) => (2, number),
            };
            slot.kind.store(kind, Ordering::Relaxed);
            slot.number.store(number, Ordering::Relaxed);
            slot.bump();
            if DOZES.load(Ordering::Relaxed) {
                wake();
            }
        }
    });
    let _over = Over;
    run()
}

/// Wakes the watchdog: one system call for the first callback after a quiet second.
#[cold]
fn wake() {
    if DOZES.swap(false, Ordering::Relaxed)
        && let Some(watch) = &roll().watch
    {
        watch.unpark();
    }
}

/// Marks the callback as finished when dropped, also after a panic.
struct Over;

impl Drop for Over {
    fn drop(&mut self) {
        MINE.with_borrow(|mine| {
            if let Some(slot) = mine {
                slot.packet.store(NO_PACKET, Ordering::Relaxed);
                slot.bump();
            }
        });
    }
}

/// What the watch remembers of a thread.
struct Memory {
    slot: Weak<Slot>,
    beat: u64,
    since: Instant,
    /// The thread's processor time at that moment.
    ran: Duration,
    /// What was logged about the current callback: its owner, its name and its packet.
    said: Option<(Who, &'static str, Option<u16>)>,
}

/// The watchdog thread's main function; returns when no watched thread is left.
fn watch() {
    let mut memories: Vec<Memory> = Vec::new();
    let mut moved_at = Instant::now();
    loop {
        {
            let mut roll = roll();
            roll.slots.retain(|slot| slot.strong_count() > 0);
            if roll.slots.is_empty() {
                roll.watch = None;
                return;
            }
            memories.retain(|memory| memory.slot.strong_count() > 0);
            for slot in &roll.slots {
                if !memories.iter().any(|memory| memory.slot.ptr_eq(slot)) {
                    let slot = Weak::clone(slot);
                    memories.push(Memory {
                        slot,
                        beat: 0,
                        since: Instant::now(),
                        ran: Duration::ZERO,
                        said: None,
                    });
                }
            }
        }
        let now = Instant::now();
        for memory in &mut memories {
            if memory.look(now) {
                moved_at = now;
            }
        }
        if moved_at.elapsed() <= DOZE {
            thread::sleep(LOOK_EVERY);
            continue;
        }
        // A callback that begins while this is stored may not see it. The next callback wakes the watchdog, or its
        // own timeout does, so no callback is missed for longer than `DOZE`.
        DOZES.store(true, Ordering::Relaxed);
        thread::park_timeout(DOZE);
        if !DOZES.swap(false, Ordering::Relaxed) {
            moved_at = Instant::now();
        }
    }
}

impl Memory {
    /// Samples the thread. Returns whether a callback runs there.
    fn look(&mut self, now: Instant) -> bool {
        let Some(slot) = self.slot.upgrade() else { return false };
        let beat = slot.beat.load(Ordering::Acquire);
        let held = now.duration_since(self.since);
        let thread = slot.name.as_str();
        if beat != self.beat {
            if let Some((who, what, packet)) = self.said.take() {
                tracing::warn!(
                    ?who,
                    what,
                    packet,
                    ?held,
                    thread,
                    "the callback that held its thread is over"
                );
            }
            (self.beat, self.since, self.ran) = (beat, now, slot.clock.elapsed());
            return true;
        }
        let runs = beat % 2 == 1;
        // On an overloaded machine threads also wait for a processor; that is not the callback's fault.
        let works = || slot.clock.elapsed().saturating_sub(self.ran) > HELD / 2;
        if runs && held > HELD && self.said.is_none() && (works() || slot.clock.is_asleep()) {
            let (who, packet) = (slot.who(), slot.packet.load(Ordering::Relaxed));
            // The values read belong to this callback only if no other one has begun meanwhile.
            if slot.beat.load(Ordering::Acquire) == beat {
                let (what, packet) = (What::name(packet), u16::try_from(packet).ok());
                tracing::warn!(?who, what, packet, ?held, thread, "a callback holds its thread");
                self.said = Some((who, what, packet));
            }
        }
        runs
    }
}
