//! Sessions that hold data back until a tick. When it has come, the worker checks each of them again.

use naksi_core::tick::Tick;

/// The sessions of one worker that wait for a tick. An id may outlive its session here.
#[derive(Default)]
pub(crate) struct Held {
    waiting: Vec<(Tick, u32, u32)>,
    /// Their earliest tick, or an earlier one.
    next: Option<Tick>,
}

impl Held {
    /// Adds a session to be visited at a tick.
    pub(crate) fn hold(&mut self, at: Tick, slot: u32, generation: u32) {
        self.waiting.push((at, slot, generation));
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
    }

    /// When a session is to be visited.
    pub(crate) fn next(&self) -> Option<Tick> {
        self.next
    }

    /// Removes those whose tick has come, in the order in which they began to wait.
    pub(crate) fn release(&mut self, now: Tick, mut released: impl FnMut(u32, u32)) {
        if self.next.is_none_or(|next| next > now) {
            return;
        }
        self.next = None;
        let mut next = None;
        self.waiting.retain(|(at, slot, generation)| {
            if *at <= now {
                released(*slot, *generation);
                return false;
            }
            next = Some(next.map_or(*at, |next: Tick| next.min(*at)));
            true
        });
        self.next = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_is_released_once_at_its_own_tick() {
        let mut held = Held::default();
        let tick = Tick::from_nanos;
        for (at, slot) in [(20, 0), (10, 1), (20, 2), (15, 3)] {
            held.hold(tick(at), slot, 0);
        }
        let mut released = Vec::new();
        for now in 0..30 {
            held.release(tick(now), |slot, _| released.push((now, slot)));
        }
        assert_eq!(released, [(10, 1), (15, 3), (20, 0), (20, 2)]);
        assert_eq!(held.next(), None);
    }
}
