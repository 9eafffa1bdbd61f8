//! The idle scenario: connect, exchange one nonce, be silent, exchange another one.
//!
//! It measures what an idle session costs a server, and checks that the server still has it afterwards. The conductor
//! measures during the silence.

use std::time::Duration;

use naksi::prelude::*;

use super::member::Member;
use super::pattern::Message;

/// Bytes of a nonce.
const NONCE_BYTES: usize = 16;
/// The second nonces are spread over this long, starting a moment after the silence, so that the measurement is not
/// disturbed.
const SPREAD: Duration = Duration::from_secs(1);
const MOMENT: Duration = Duration::from_millis(250);
/// How long after the silence the last second nonce has been sent.
pub(crate) const SECOND_WITHIN: Duration = Duration::from_millis(1_500);

/// One silent dummy.
pub(crate) struct IdleDummy {
    member: Member,
    /// When the nonce that is on its way was due.
    due_at: u64,
    came: usize,
}

impl super::Dummy for IdleDummy {
    fn new(member: Member) -> Self {
        Self { member, due_at: 0, came: 0 }
    }
}

impl Session for IdleDummy {
    fn on_connected(&mut self, c: &mut Conn<'_>) {
        self.member.connected();
        self.send_nonce(c);
    }

    fn on_timer(&mut self, c: &mut Conn<'_>, _tag: u32) {
        self.member.woken();
        let plan = &self.member.plan;
        if plan.signals.started().is_none() {
            self.member.look_out(c);
            return;
        }
        if self.due_at == 0 {
            let spread = plan.phase(self.member.index, SPREAD.as_nanos() as u64);
            let raw = plan.signals.stop_at() + MOMENT.as_nanos() as u64 + spread;
            self.due_at = plan.clock.on_grid(raw, self.member.worker, c);
            self.member.wake_at(self.due_at, c);
        } else if self.member.sent == 1 && !plan.signals.is_finished() {
            self.send_nonce(c);
        }
    }

    fn on_recv(&mut self, c: &mut Conn<'_>, data: &[u8]) -> usize {
        let plan = &self.member.plan;
        let sent = self.member.sent as usize * NONCE_BYTES;
        let number = self.came / NONCE_BYTES;
        let nonce = Message::new(plan.seed, self.member.index, number as u32);
        let offset = self.came % NONCE_BYTES;
        let fits = self.came + data.len() <= sent && offset + data.len() <= NONCE_BYTES;
        if !fits || !nonce.matches(offset, data) {
            self.member.protest(c);
            return data.len();
        }
        self.came += data.len();
        if self.came == sent {
            let latency = plan.clock.now().saturating_sub(self.due_at);
            let mut meter = plan.meter(self.member.worker);
            meter.received += 1;
            meter.bytes_in += NONCE_BYTES as u64;
            meter.latency.saturating_record(latency);
            drop(meter);
            self.due_at = 0;
            self.member.ready(c);
        }
        data.len()
    }

    fn on_disconnected(&mut self, reason: DisconnectReason) {
        let came = (self.came / NONCE_BYTES) as u32;
        if !self.member.hand_in(reason, vec![came]) {
            self.member.plan.meter(self.member.worker).owed -= u64::from(self.member.sent - came);
        }
    }
}

impl IdleDummy {
    fn send_nonce(&mut self, c: &mut Conn<'_>) {
        let plan = &self.member.plan;
        if self.due_at == 0 {
            self.due_at = plan.clock.now();
        }
        let mut nonce = Vec::with_capacity(NONCE_BYTES);
        Message::new(plan.seed, self.member.index, self.member.sent).append(NONCE_BYTES, &mut nonce);
        c.send(&nonce);
        self.member.sent += 1;
        let mut meter = plan.meter(self.member.worker);
        meter.sent += 1;
        meter.owed += 1;
        meter.bytes_out += NONCE_BYTES as u64;
    }
}
