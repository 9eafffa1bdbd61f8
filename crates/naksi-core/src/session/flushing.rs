//! The flush policy of a session: whether its queue is sent at once or at its tick.
//!
//! A session that drains, or that is over a mark, does not wait, because waiting would not help it.

use super::{Request, Session, State, Verb};
use crate::buffer_pool::BufferPool;
use crate::flush::Flush;
use crate::op::Op;
use crate::tick::Tick;

impl Session {
    /// When what the session queues leaves.
    pub fn flush(&self) -> Flush {
        self.egress.flush_timer.flush()
    }

    /// Sets when queued data is sent.
    pub fn set_flush(&mut self, flush: Flush) {
        self.egress.flush_timer.set(flush);
    }

    /// When [`Session::register`] should be called again for data that is held back until then.
    pub fn held_until(&self) -> Option<Tick> {
        self.holds_bytes().then_some(self.egress.flush_timer.due()).flatten()
    }

    pub(super) fn register_send(&mut self, now: Tick, buffer_pool: &mut BufferPool) -> Option<Request> {
        if self.egress.wired.is_some() {
            return self.register_sealed(now, buffer_pool);
        }
        if self.holds_bytes() && self.egress.flush_timer.holds(now) {
            return None;
        }
        let batch = self.egress.queue.take()?;
        self.egress.flush_timer.left();
        self.sent_at = now;
        Some(Request::Submit(Verb::Send, Op::Send { socket: self.socket, batch }))
    }

    /// Whether there are bytes that may be held back.
    pub(super) fn holds_bytes(&self) -> bool {
        let queue = &self.egress.queue;
        let may_wait = self.state == State::Connected && !queue.is_congested() && !queue.is_crowded();
        may_wait && queue.is_waiting() && !queue.is_flying()
    }
}
