//! Who holds a thread: a callback that runs for more than 100 ms is named in the log, while it does and when it is
//! over, and so is everything else of the user's that a worker runs: the factory of sessions, `on_disconnected`,
//! destructors.
//!
//! Threads that run callbacks say in two words what they are at, which costs them no clock; one thread of the process
//! looks at these words now and then. While nothing happens it dozes, and the first callback after that wakes it.
//! Nothing here knows a session or a room but its number.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use naksi_core::id::SessionId;
use naksi_os::ThreadClock;

/// A callback that runs for longer holds its thread.
const HELD: Duration = Duration::from_millis(100);
/// How often the watch looks while callbacks are run.
const LOOK_EVERY: Duration = Duration::from_millis(25);
/// It dozes when nothing has happened for so long, and for so long at most.
const DOZE: Duration = Duration::from_secs(1);
/// No packet is at hand. Smaller numbers than this one, and above all packets, say what else runs: see [`What`].
const NO_PACKET: u64 = u64::MAX;

/// Whose callback runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Session(SessionId),
    Room(u64),
    /// A connection that has no session yet: so many came to this worker before it.
    Connecting(u64),
}

/// What of the user's runs, if it is none of the callbacks that come as often as messages do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    OnDisconnected = 1,
    Factory = 2,
    Destructor = 3,
}

impl What {
    /// What the number in the place of a packet says.
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

/// What one thread says of itself. Only that thread writes.
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

/// Every thread that is watched, and the one that watches.
struct Roll {
    slots: Vec<Weak<Slot>>,
    watch: Option<Thread>,
}

static ROLL: Mutex<Roll> = Mutex::new(Roll { slots: Vec::new(), watch: None });

/// The watch dozes. Every callback reads this and next to none writes it, so that its line stays in all caches.
static DOZES: AtomicBool = AtomicBool::new(false);

thread_local! {
    static MINE: RefCell<Option<Arc<Slot>>> = const { RefCell::new(None) };
}

fn roll() -> MutexGuard<'static, Roll> {
    // Valid between any two statements, so a panic elsewhere spoils nothing.
    ROLL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// This thread runs callbacks and is watched until it ends.
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

/// The packet that the next callback of this thread is about.
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

/// Runs something else of the user's where the watch sees it.
pub(crate) fn seen_at<T>(what: What, who: Who, run: impl FnOnce() -> T) -> T {
    announce(what.number());
    seen(who, run)
}

/// Runs a callback where the watch sees it.
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

/// Ends the doze of the watch: one call to the system for the first callback after a quiet second.
#[cold]
fn wake() {
    if DOZES.swap(false, Ordering::Relaxed)
        && let Some(watch) = &roll().watch
    {
        watch.unpark();
    }
}

/// The callback is over, also if it panicked.
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
    /// What the thread's processor clock said then.
    ran: Duration,
    /// What was said of the present callback: whose it is, which one, and its packet.
    said: Option<(Who, &'static str, Option<u16>)>,
}

/// The life of the watch: it ends when no thread is left to be watched.
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
        // A callback that begins in the very moment in which this is written may not see it. It is the next that wakes,
        // or the doze's own end: no callback is missed for longer than that.
        DOZES.store(true, Ordering::Relaxed);
        thread::park_timeout(DOZE);
        if !DOZES.swap(false, Ordering::Relaxed) {
            moved_at = Instant::now();
        }
    }
}

impl Memory {
    /// Looks at the thread. Returns whether anything happens there.
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
        // A machine that is too busy keeps threads waiting as well; that is no callback's fault.
        let works = || slot.clock.elapsed().saturating_sub(self.ran) > HELD / 2;
        if runs && held > HELD && self.said.is_none() && (works() || slot.clock.is_asleep()) {
            let (who, packet) = (slot.who(), slot.packet.load(Ordering::Relaxed));
            // What was read is of this callback only if no other has begun meanwhile.
            if slot.beat.load(Ordering::Acquire) == beat {
                let (what, packet) = (What::name(packet), u16::try_from(packet).ok());
                tracing::warn!(?who, what, packet, ?held, thread, "a callback holds its thread");
                self.said = Some((who, what, packet));
            }
        }
        runs
    }
}
