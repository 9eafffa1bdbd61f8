//! When a session is late, and what it is late with.
//!
//! The deadlines are worked out anew whenever they are asked for, so nothing has to be moved while bytes
//! flow. Nothing here knows a timer or a clock.

use super::{Framing, Session, State};
use crate::limits::Limits;
use crate::reason::Reason;
use crate::session::Context;
use crate::tick::Tick;

impl Session {
    /// Deadlines that end the session, each with its reason.
    pub(super) fn deadlines(&self, limits: &Limits) -> [Option<(Tick, Reason)>; 4] {
        match self.state {
            State::Connected => {
                // While we do not listen, nobody can be late with what they say.
                let listening = !self.voice.queue.is_congested();
                let first = self.framing == Framing::Packets && !self.greeted && listening;
                let cut_since = self.cut_since.filter(|_| listening);
                let stalled = self.voice.queue.is_flying();
                let silent = listening && !self.peer_finished;
                [
                    first.then(|| (self.since + limits.first_frame_within, Reason::FirstFrameLate)),
                    cut_since.map(|since| (since + limits.frame_within, Reason::FrameLate)),
                    stalled.then(|| (self.sent_at + limits.send_stall_within, Reason::SendStalled)),
                    silent.then(|| (self.received_at + limits.idle_within, Reason::Idle)),
                ]
            }
            State::Draining(reason) => [Some((self.since + limits.drain_within, reason)), None, None, None],
            State::Lingering(reason) => [Some((self.since + limits.linger_within, reason)), None, None, None],
            State::Ending(_) | State::Closing(_) | State::Over(_) => [None; 4],
        }
    }

    pub(super) fn late(&self, now: Tick, limits: &Limits) -> Option<Reason> {
        let mut passed = self.deadlines(limits).into_iter().flatten().filter(|(tick, _)| *tick <= now);
        passed.next().map(|(_, reason)| reason)
    }

    pub(super) fn beat_at(&self, limits: &Limits) -> Option<Tick> {
        let heartbeat = limits.heartbeat.filter(|_| self.framing == Framing::Packets)?;
        // Behind a batch that does not get out a heartbeat tells nobody anything, and would pass for progress.
        let idle = self.state == State::Connected && !self.voice.queue.is_flying();
        idle.then(|| self.sent_at + heartbeat.every)
    }

    /// Sends a heartbeat if nothing else was sent for long enough.
    pub(super) fn beat(&mut self, cx: &mut Context<'_>) {
        if let Some(heartbeat) = cx.limits.heartbeat
            && self.beat_at(cx.limits).is_some_and(|at| at <= cx.now)
        {
            self.voice.outlet(true, cx).send_packet(heartbeat.packet_id, &[]);
            self.sent_at = cx.now;
        }
    }
}
