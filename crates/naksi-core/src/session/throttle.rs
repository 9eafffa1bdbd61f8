//! How much one session may bring in a second: a bucket of messages and a bucket of bytes, refilled by time alone.
//!
//! A bucket is one number: the time until which what came is paid for. Whoever is a burst ahead of the clock is not
//! read for a while, or ends, as the limits say. The clock is the turn's, so a message costs a comparison, and
//! some arithmetic where there is a limit. Nothing here knows a kernel or a frame.

use std::time::Duration;

use super::{Session, Voice};
use crate::content::{Content, Ending};
use crate::limits::{Limits, OverRate};
use crate::planted;
use crate::reason::Reason;
use crate::session::Context;
use crate::tick::Tick;

/// What a session may bring at once after having been silent: what it may bring in this long.
const BURST: Duration = Duration::from_secs(1);
/// A pause is at least this long: to stop a receive and to begin it again is work, which nobody should be able to
/// ask for with every message.
const PAUSE_MIN: Duration = Duration::from_millis(250);

/// What a session has brought of what it may bring. Nothing, and without memory, where there is no limit.
#[derive(Debug, Default)]
pub(crate) struct Throttle(Option<Box<Buckets>>);

#[derive(Debug, Default, PartialEq, Eq)]
struct Buckets {
    messages_paid_until: Tick,
    bytes_paid_until: Tick,
    paused_until: Option<Tick>,
}

impl Throttle {
    pub(super) fn is_paused(&self) -> bool {
        self.0.as_ref().is_some_and(|buckets| buckets.paused_until.is_some())
    }

    /// When the session should be read again, if it is not now.
    pub(super) fn paused_until(&self) -> Option<Tick> {
        self.0.as_ref()?.paused_until.filter(|_| !planted!("44"))
    }

    /// Its user cannot take more now: it is read again in a later turn.
    pub(crate) fn rest(&mut self, now: Tick) {
        let buckets = self.0.get_or_insert_default();
        buckets.paused_until = buckets.paused_until.max(Some(now));
    }

    fn pause(&mut self, until: Option<Tick>) {
        if let Some(buckets) = &mut self.0 {
            buckets.paused_until = until;
            if *buckets.as_ref() == Buckets::default() {
                // A session without rates that had to rest holds nothing for it afterwards.
                self.0 = None;
            }
        }
    }

    /// When there is room for another message, if there is none now. A bucket without a limit never fills.
    fn full_until(&self, now: Tick) -> Option<Tick> {
        let buckets = self.0.as_ref()?;
        let ahead = buckets.messages_paid_until.max(buckets.bytes_paid_until);
        let full = ahead >= now + BURST;
        full.then(|| (Tick::ZERO + ahead.since(Tick::ZERO + BURST)).max(now + PAUSE_MIN))
    }

    /// A message, or bytes without frames, were shown. A message may leave its sender in debt, so that one that is
    /// larger than a burst is shown at all.
    fn spend(&mut self, messages: u32, bytes: usize, now: Tick, limits: &Limits) {
        let (messages_max, bytes_max) = (limits.messages_per_second_max, limits.recv_bytes_per_second_max);
        if (messages_max == 0 && bytes_max == 0) || planted!("45") {
            return;
        }
        let paid = |until: Tick, units: u64, rate: u64| match rate {
            0 => until,
            _ => until.max(now) + Duration::from_nanos((units * 1_000_000_000).div_ceil(rate)),
        };
        let buckets = self.0.get_or_insert_default();
        buckets.messages_paid_until = paid(buckets.messages_paid_until, messages.into(), messages_max.into());
        if !planted!("53") {
            buckets.bytes_paid_until = paid(buckets.bytes_paid_until, bytes as u64, bytes_max as u64);
        }
    }
}

impl Voice {
    /// Whether the user may be shown more now. Asked with something in hand to show, it draws the consequences if not.
    pub(super) fn admits(&mut self, cx: &Context<'_>, content: &mut impl Content) -> bool {
        let Some(until) = self.throttle.full_until(cx.now) else { return true };
        content.on_over_rate();
        match cx.limits.over_rate {
            OverRate::Pause => self.throttle.pause(Some(until)),
            OverRate::EndSession => self.wish = Some((Reason::RateExceeded, Ending::Now)),
        }
        false
    }

    /// One message of so many bytes was shown.
    pub(super) fn spend_message(&mut self, bytes: usize, cx: &Context<'_>) {
        if !self.exempt {
            self.throttle.spend(1, bytes, cx.now, cx.limits);
        }
    }

    /// Bytes without frames were shown: there is no telling how many messages they are.
    pub(super) fn spend_bytes(&mut self, bytes: usize, cx: &Context<'_>) {
        if !self.exempt {
            self.throttle.spend(0, bytes, cx.now, cx.limits);
        }
    }
}

impl Session {
    /// Whoever was not read because of its rate is read again, if it is time.
    pub(super) fn read_again(&mut self, cx: &mut Context<'_>, content: &mut impl Content) {
        if self.voice.throttle.paused_until().is_some_and(|until| until <= cx.now) {
            self.voice.throttle.pause(None);
            self.resume(cx, content);
        }
    }
}
