//! The monitor: it finds threads that block without announcing it, by their processor clocks.
//!
//! It polls while work waits that no thread may take, and sleeps otherwise.

use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::Duration;

use super::{Freed, Shared, State, Watch};

/// How often the monitor polls while work waits and no thread may take it.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// A thread whose clock stands still for this many consecutive polls is taken for blocked.
const STILL_LOOKS: u32 = 2;
/// Less processor time than this between two polls counts as standing still, because blocking itself takes time.
const STILL_TIME: Duration = Duration::from_micros(100);

impl<T> State<T> {
    /// Work waits and a thread could take it, but the limit forbids it.
    fn is_held_up(&self, concurrency: usize) -> bool {
        !self.work.is_empty() && !self.idle.is_empty() && self.running >= concurrency
    }
}

impl<T: Send + 'static> Shared<T> {
    pub(super) fn watch_if_held_up(self: &Arc<Self>, state: &mut State<T>) {
        if !self.is_watched() || !state.is_held_up(self.concurrency) {
            return;
        }
        match state.watch {
            Watch::Unborn => {
                let shared = Arc::clone(self);
                let watch = thread::Builder::new().name("naksi-watch".into());
                // Without the monitor, unannounced blocking calls delay others; everything else works.
                if watch.spawn(move || shared.watch()).is_ok() {
                    state.watch = Watch::Looking;
                }
            }
            Watch::Asleep => {
                state.watch = Watch::Looking;
                self.called.notify_one();
            }
            Watch::Looking | Watch::Over => {}
        }
    }

    /// The monitor's loop: it polls while work is held up or a thread was seen blocking, and sleeps otherwise.
    fn watch(self: &Arc<Self>) {
        let mut state = self.lock();
        while state.watch != Watch::Over {
            let seen = state.seats.iter().any(|seat| seat.free == Some(Freed::Seen));
            if !seen && !state.is_held_up(self.concurrency) {
                state.watch = Watch::Asleep;
                let sleeps = |state: &mut State<T>| state.watch == Watch::Asleep;
                state = self.called.wait_while(state, sleeps).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            drop(state);
            thread::sleep(LOOK_EVERY);
            state = self.lock();
            self.look(&mut state);
            self.call_one(state);
            state = self.lock();
        }
    }

    fn look(&self, state: &mut State<T>) {
        let State { seats, running, .. } = state;
        for seat in seats {
            let now = seat.who.clock.elapsed();
            let moved = now.saturating_sub(seat.seen) > STILL_TIME;
            seat.seen = now;
            seat.still = if moved { 0 } else { seat.still + 1 };
            match seat.free {
                // A clock also stands still while the machine is busy: only a thread that sleeps is blocked.
                None if seat.still >= STILL_LOOKS && seat.who.clock.is_asleep() => {
                    seat.free = Some(Freed::Seen);
                    *running -= 1;
                }
                Some(Freed::Seen) if moved => {
                    seat.free = None;
                    *running += 1;
                }
                _ => {}
            }
        }
    }
}
