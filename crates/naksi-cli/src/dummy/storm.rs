//! The storm scenario: connect, one echo, close, and repeat, as fast as possible. The engine's client reconnects
//! after each visit; this file is one visit.

use naksi::prelude::*;

use super::member::Member;
use super::pattern::Message;

/// Bytes that each visit echoes.
const ECHO_BYTES: usize = 16;

/// One visit.
pub(crate) struct StormDummy {
    member: Member,
    echo: Message,
    connected_at: u64,
    came: usize,
    /// Whether this visit has sent something that is not back yet.
    waits: bool,
}

impl super::Dummy for StormDummy {
    fn new(member: Member) -> Self {
        let visit = member.plan.clock.now();
        let echo = Message::new(member.plan.seed ^ visit, member.index, visit as u32);
        Self { member, echo, connected_at: 0, came: 0, waits: false }
    }
}

impl Session for StormDummy {
    fn on_connected(&mut self, c: &mut Conn<'_>) {
        let plan = &self.member.plan;
        self.connected_at = plan.clock.now();
        // A client without a visit makes its first one, however late it connects.
        let goes_on = plan.signals.started().is_none_or(|_| self.connected_at < plan.signals.stop_at())
            || !plan.is_started(self.member.index);
        let mut meter = plan.meter(self.member.worker);
        meter.connected += 1;
        if goes_on {
            let mut bytes = Vec::with_capacity(ECHO_BYTES);
            self.echo.append(ECHO_BYTES, &mut bytes);
            c.send(&bytes);
            self.waits = true;
            meter.sent += 1;
            meter.owed += 1;
            meter.bytes_out += ECHO_BYTES as u64;
        }
    }

    fn on_recv(&mut self, c: &mut Conn<'_>, data: &[u8]) -> usize {
        let plan = &self.member.plan;
        let mut meter = plan.meter(self.member.worker);
        meter.bytes_in += data.len() as u64;
        let fits = self.waits && self.came + data.len() <= ECHO_BYTES;
        if !fits || !self.echo.matches(self.came, data) {
            drop(meter);
            self.member.protest(c);
            return data.len();
        }
        self.came += data.len();
        if self.came == ECHO_BYTES {
            self.waits = false;
            meter.received += 1;
            meter.visits += 1;
            plan.start(self.member.index);
            meter.latency.saturating_record(plan.clock.now().saturating_sub(self.connected_at));
            c.close(DisconnectReason::Handler);
        }
        data.len()
    }

    fn on_disconnected(&mut self, reason: DisconnectReason) {
        let plan = &self.member.plan;
        let mut meter = plan.meter(self.member.worker);
        meter.gone += 1;
        // A visit that had nothing to do, or has done it, ends as expected.
        match (self.waits, plan.signals.is_finished()) {
            (false, _) => return,
            (true, false) => *meter.surprises.entry(reason.name()).or_default() += 1,
            // What is not answered by now is not answered at all.
            (true, true) => meter.unanswered += 1,
        }
        meter.owed -= 1;
    }
}
