//! The echo scenario: messages whose bytes are all known in advance, compared as they come back. The comparison is on
//! the stream, which has no message boundaries.

use std::collections::VecDeque;

use naksi::prelude::*;

use super::member::Member;
use super::pattern::Message;

/// One dummy that sends to itself through a server.
pub(crate) struct EchoDummy {
    member: Member,
    /// Scheduled times of messages that are on their way.
    on_their_way: VecDeque<u64>,
    /// Whole messages received, and the bytes of the next one.
    came: u32,
    offset: usize,
}

impl super::Dummy for EchoDummy {
    fn new(member: Member) -> Self {
        Self { member, on_their_way: VecDeque::new(), came: 0, offset: 0 }
    }
}

impl Session for EchoDummy {
    fn on_connected(&mut self, c: &mut Conn<'_>) {
        self.member.connected();
        self.member.ready(c);
    }

    fn on_timer(&mut self, c: &mut Conn<'_>, _tag: u32) {
        self.member.woken();
        self.pump(c);
    }

    fn on_sent(&mut self, c: &mut Conn<'_>, _bytes: usize) {
        self.pump(c);
    }

    fn on_recv(&mut self, c: &mut Conn<'_>, data: &[u8]) -> usize {
        if !self.compare(data) {
            self.member.protest(c);
        }
        self.pump(c);
        data.len()
    }

    fn on_disconnected(&mut self, reason: DisconnectReason) {
        if !self.member.hand_in(reason, vec![self.came]) {
            // What a broken connection still owed is not awaited.
            self.member.plan.meter(self.member.worker).owed -= self.on_their_way.len() as u64;
        }
    }
}

impl EchoDummy {
    fn pump(&mut self, c: &mut Conn<'_>) {
        let mut bytes = Vec::new();
        let size = self.member.plan.size;
        let mut count = 0;
        while let Some(due_at) = self.member.due(c, self.on_their_way.len()) {
            let number = self.member.sent - 1;
            bytes.clear();
            Message::new(self.member.plan.seed, self.member.index, number).append(size, &mut bytes);
            c.send(&bytes);
            self.on_their_way.push_back(due_at);
            count += 1;
        }
        if count > 0 {
            let mut meter = self.member.plan.meter(self.member.worker);
            meter.sent += count;
            meter.owed += count;
            meter.bytes_out += count * size as u64;
        }
    }

    /// Whether these bytes are the next ones of the stream.
    fn compare(&mut self, mut data: &[u8]) -> bool {
        let plan = &self.member.plan;
        let mut meter = plan.meter(self.member.worker);
        let now = plan.clock.now();
        meter.bytes_in += data.len() as u64;
        while !data.is_empty() {
            let message = Message::new(plan.seed, self.member.index, self.came);
            let (now_due, later) = data.split_at(data.len().min(plan.size - self.offset));
            if self.on_their_way.is_empty() || !message.matches(self.offset, now_due) {
                return false;
            }
            data = later;
            self.offset += now_due.len();
            if self.offset == plan.size {
                self.offset = 0;
                self.came += 1;
                let due_at = self.on_their_way.pop_front().unwrap_or(now);
                meter.received += 1;
                meter.latency.saturating_record(now.saturating_sub(due_at));
            }
        }
        true
    }
}
