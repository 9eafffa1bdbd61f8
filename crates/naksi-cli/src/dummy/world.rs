//! The world scenario: each client logs in, walks and talks a little, and checks what it receives: no player enters
//! twice, leaves unseen, or is reported while out of view. When all stand still, exactly the nearby players must be
//! in view, at their places.
//!
//! Some log out halfway and come back: they must be where they were. The latency of this scenario is the age of what
//! is known about a neighbour.

mod field;
mod sights;
mod view;

use std::time::Duration;

use naksi::packets::decode;
use naksi::prelude::*;

use super::member::Member;
use super::pattern::mix;
use crate::apps::world::{EDGE, Enter, Leave, Login, Moved, Said, Say, Step, WORLD, Welcome};
pub(crate) use field::{Field, Spread, settle};
pub(crate) use sights::{Figures, Sights};
use view::View;

/// Tags of timers; the member's own is 0.
const LEAVE: u32 = 1;
const JUDGE: u32 = 2;
/// How often each client checks whether all stand still and it is time to judge.
const JUDGE_EVERY: Duration = Duration::from_millis(200);
/// Between the last step and the logout: everything sent must have arrived.
const LEAVE_AFTER: Duration = Duration::from_millis(200);
/// One client in this many logs out and comes back.
const RELOG_ONE_IN: u32 = 20;
/// Steps between two lines.
const STEPS_PER_LINE: u32 = 100;
/// A line that some send after they have compared their view with the truth.
const LAST_LINE: &str = "That was all.";
/// Neighbours whose news are looked at with each step.
const LOOKED_AT: u32 = 4;

/// One player.
pub(crate) struct WorldDummy {
    member: Member,
    me: Option<u32>,
    view: View,
    judged: bool,
    /// It has sent its last line and not received it yet.
    awaits_last_line: bool,
    /// It has stopped walking in order to log out, or has come back from that.
    leaving: bool,
    chance: u64,
}

impl super::Dummy for WorldDummy {
    fn new(member: Member) -> Self {
        let chance = mix(member.plan.seed ^ u64::from(member.index) << 20 ^ member.plan.clock.now());
        Self {
            member,
            me: None,
            view: View::default(),
            judged: false,
            awaits_last_line: false,
            leaving: false,
            chance,
        }
    }
}

impl Session for WorldDummy {
    const FRAMING: Framing = Framing::Packets;

    fn on_connected(&mut self, c: &mut Conn<'_>) {
        if self.member.plan.field.visits(self.member.index) == 0 {
            self.member.connected();
        }
        c.send_message(&Login { name: field::name_of(self.member.plan.run, self.member.index) });
    }

    fn on_timer(&mut self, c: &mut Conn<'_>, tag: u32) {
        match tag {
            LEAVE => c.close(DisconnectReason::Handler),
            JUDGE => self.judge(c),
            _ => {
                self.member.woken();
                self.pump(c);
            }
        }
    }

    fn on_sent(&mut self, c: &mut Conn<'_>, _bytes: usize) {
        self.pump(c);
    }

    fn on_packet(&mut self, c: &mut Conn<'_>, packet: Packet<'_>) {
        let bytes = packet.frame.len() as u64;
        self.member.plan.meter(self.member.worker).bytes_in += bytes;
        if self.take(c, packet).is_none() {
            self.member.protest(c);
        }
    }

    fn on_disconnected(&mut self, reason: DisconnectReason) {
        let plan = &self.member.plan;
        plan.field.leave(self.member.index);
        if self.leaving && reason == DisconnectReason::Handler {
            plan.meter(self.member.worker).ready -= 1;
        } else {
            self.member.disconnected(reason);
        }
        self.view.hand_in(&mut plan.meter(self.member.worker).sights);
    }
}

impl WorldDummy {
    /// Handles a packet; `None` if it may not come now.
    fn take(&mut self, c: &mut Conn<'_>, packet: Packet<'_>) -> Option<()> {
        let now = self.member.plan.clock.now();
        match (packet.id, self.me) {
            (Welcome::ID, None) => return self.welcomed(c, &decode(packet.body).ok()?),
            (Enter::ID, Some(_)) => {
                let Enter { who, name, x, y } = decode(packet.body).ok()?;
                self.view.enter(who, field::index_of(self.member.plan.run, &name), (x, y), now);
            }
            (Leave::ID, Some(_)) => self.view.leave(decode::<Leave>(packet.body).ok()?.who),
            (Moved::ID, Some(_)) => {
                let moved: Moved = decode(packet.body).ok()?;
                self.member.plan.meter(self.member.worker).received += moved.places.len() as u64;
                for (who, x, y) in moved.places {
                    self.view.moved(who, (x, y), now);
                }
            }
            (Said::ID, Some(me)) => {
                let said: Said = decode(packet.body).ok()?;
                self.view.said(said.from == me, said.from);
                if self.awaits_last_line && said.from == me && said.text == LAST_LINE {
                    self.awaits_last_line = false;
                    self.member.plan.meter(self.member.worker).sights.judged += 1;
                }
            }
            _ => return None,
        }
        Some(())
    }

    fn welcomed(&mut self, c: &mut Conn<'_>, welcome: &Welcome) -> Option<()> {
        let (plan, index) = (&self.member.plan, self.member.index);
        self.me = Some(welcome.you);
        let at = (welcome.x, welcome.y);
        if plan.field.enter(index, at) {
            let was = plan.field.place(index);
            let mut meter = plan.meter(self.member.worker);
            *if was == at { &mut meter.sights.restored } else { &mut meter.sights.not_restored } += 1;
            drop(meter);
            self.leaving = true;
            self.member.catch_up();
        }
        self.member.ready(c);
        c.after(JUDGE_EVERY, JUDGE);
        (welcome.version == WORLD.version()).then_some(())
    }

    fn pump(&mut self, c: &mut Conn<'_>) {
        if self.me.is_none() || self.is_on_its_way_out(c) {
            return;
        }
        let mut bytes = 0;
        let mut steps = 0;
        while self.member.due(c, 0).is_some() {
            let (x, y) = self.next_place();
            self.member.plan.field.set_place(self.member.index, (x, y));
            c.send_message(&Step { x, y });
            if (self.member.sent + self.member.index * 37).is_multiple_of(STEPS_PER_LINE) {
                c.send_message(&Say { text: format!("I am at {x}, {y}") });
            }
            (steps, bytes) = (steps + 1, bytes + 8);
        }
        if steps > 0 {
            let plan = &self.member.plan;
            let (now, start) = (plan.clock.now(), plan.signals.started().unwrap_or(0));
            let mut meter = plan.meter(self.member.worker);
            (meter.sent, meter.bytes_out) = (meter.sent + steps, meter.bytes_out + bytes);
            for _ in 0..LOOKED_AT {
                self.chance = mix(self.chance);
                if let Some(told_at) = self.view.told_at(self.chance) {
                    // Before the start no client moved, so there was nothing to send.
                    meter.latency.saturating_record(now.saturating_sub(told_at.max(start)));
                }
            }
        }
    }

    /// Whether it is about to log out, halfway through the run and once.
    fn is_on_its_way_out(&mut self, c: &mut Conn<'_>) -> bool {
        let plan = &self.member.plan;
        let goes =
            self.member.index.is_multiple_of(RELOG_ONE_IN) && plan.field.visits(self.member.index) == 1;
        let Some(start) = plan.signals.started().filter(|_| goes && !self.leaving) else {
            return goes && self.leaving;
        };
        let now = plan.clock.now();
        let halfway = start + plan.span.as_nanos() as u64 / 2;
        if now < halfway || now >= plan.signals.stop_at() {
            return false;
        }
        self.leaving = true;
        c.after(LEAVE_AFTER, LEAVE);
        true
    }

    /// A place that is not where it is.
    fn next_place(&mut self) -> (i32, i32) {
        let (plan, index) = (&self.member.plan, self.member.index);
        let here = plan.field.place(index);
        loop {
            self.chance = mix(self.chance);
            let along = |part: u64| (part % 21) as i32 - 10;
            let by = (along(self.chance & 0xFFFF_FFFF), along(self.chance >> 32));
            let to = match plan.field.spread {
                Spread::One => by,
                Spread::Wide => ((here.0 + by.0).clamp(-EDGE, EDGE), (here.1 + by.1).clamp(-EDGE, EDGE)),
            };
            if to != here {
                return to;
            }
        }
    }

    /// When all stand still and everything has arrived: compares its view with the truth.
    fn judge(&mut self, c: &mut Conn<'_>) {
        let plan = &self.member.plan;
        if !plan.field.is_settled() {
            c.after(JUDGE_EVERY, JUDGE);
        } else if !self.judged {
            self.judged = true;
            self.view.judge(&plan.field, self.member.index);
            // A player that is alone receives nothing, whether or not the server works: some ask for an answer.
            if self.member.index.is_multiple_of(RELOG_ONE_IN) {
                self.awaits_last_line = true;
                c.send_message(&Say { text: LAST_LINE.to_owned() });
            } else {
                plan.meter(self.member.worker).sights.judged += 1;
            }
        }
    }
}
