//! Rate limits of one session: token buckets for messages, bytes and joins.
//!
//! A bucket is one number: the time until which the received amount is paid for. A session that is a burst ahead of
//! the clock is paused or ended, as the limits say. The clock is the turn's, so a message costs one comparison, and
//! some arithmetic where there is a limit.

use std::time::Duration;

use super::{Egress, Session, State};
use crate::callbacks::{CloseMode, End, SessionCallbacks};
use crate::limits::{Limits, RateLimitAction};
use crate::reason::DisconnectReason;
use crate::session::Context;
use crate::tick::Tick;

/// The burst that a session may send after having been silent: its rate times this.
const BURST: Duration = Duration::from_secs(1);
/// The minimum length of a pause: stopping and restarting a receive takes work that a peer must not be able to cause
/// with every message.
const PAUSE_MIN: Duration = Duration::from_millis(250);
/// A single callback can make any number of joins before a pause takes effect: with this much in debt the session
/// ends.
const JOIN_DEBT_MAX: Duration = Duration::from_secs(4);

/// A session that exceeds its rate of joins for this long ends.
const JOINS_OVER_MAX: Duration = Duration::from_secs(10);

/// What became of a session that has spent of a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Spent {
    /// It is within its rate.
    Within,
    /// It is over its rate, and gets nothing more until that is paid for.
    Paused,
    /// It is over its rate, and ends.
    Ended,
}

/// The buckets of a session; `None`, without memory, where there is no limit.
#[derive(Debug, Default)]
pub(crate) struct Throttle(Option<Box<Buckets>>);

#[derive(Debug, Default, PartialEq, Eq)]
struct Buckets {
    messages_paid_until: Tick,
    bytes_paid_until: Tick,
    joins_paid_until: Tick,
    /// Since when it is over its rate of joins; reset when it has stayed below it for half a second.
    joins_over_since: Option<Tick>,
    paused_until: Option<Tick>,
    /// What it has sent to rooms and they have not processed, in bytes of memory.
    brought_bytes: u32,
    /// Whether rooms have to process some of that before it is read again.
    waits: bool,
    /// Since when reading is paused, for whatever reason.
    paused_at: Option<Tick>,
}

impl Throttle {
    pub(crate) fn is_paused(&self) -> bool {
        self.0.as_ref().is_some_and(|buckets| buckets.paused_until.is_some() || buckets.waits)
    }

    /// When reading should resume, if it is paused.
    pub(super) fn paused_until(&self) -> Option<Tick> {
        self.0.as_ref()?.paused_until
    }

    /// The application cannot take more now: the session is read again in a later turn.
    pub(crate) fn rest(&mut self, now: Tick) {
        let buckets = self.0.get_or_insert_default();
        buckets.paused_until = buckets.paused_until.max(Some(now));
    }

    /// Bytes that rooms hold for the session and have not taken.
    pub(super) fn brought_bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |buckets| buckets.brought_bytes as usize)
    }

    /// Charges the session for memory that a room holds. Returns whether it has to wait for rooms from now on.
    pub(crate) fn bring(&mut self, bytes: u32, is_crowded: bool, limits: &Limits) -> bool {
        let buckets = self.0.get_or_insert_default();
        buckets.brought_bytes = buckets.brought_bytes.saturating_add(bytes);
        let has_to_wait = is_crowded || buckets.brought_bytes as usize >= limits.room_backlog_bytes_max;
        has_to_wait && !std::mem::replace(&mut buckets.waits, true)
    }

    /// Whether the session waits for rooms to process what it sent.
    pub(crate) fn waits(&self) -> bool {
        self.0.as_ref().is_some_and(|buckets| buckets.waits)
    }

    /// A room has processed this many bytes. Returns whether reading resumes.
    fn taken(&mut self, bytes: u32, limits: &Limits) -> bool {
        let Some(buckets) = &mut self.0 else { return false };
        buckets.brought_bytes = buckets.brought_bytes.saturating_sub(bytes);
        if !buckets.waits || buckets.brought_bytes as usize >= limits.room_backlog_bytes_max.div_ceil(2) {
            return false;
        }
        buckets.waits = false;
        buckets.paused_until.is_none()
    }

    /// Counts a join against the rate of the limits.
    pub(crate) fn spend_join(&mut self, now: Tick, limits: &Limits) -> Spent {
        let rate = u64::from(limits.room_joins_per_second_max);
        if rate == 0 {
            return Spent::Within;
        }
        let buckets = self.0.get_or_insert_default();
        if buckets.joins_paid_until < now + BURST / 2 {
            buckets.joins_over_since = None;
        }
        let paid_until =
            buckets.joins_paid_until.max(now) + Duration::from_nanos(1_000_000_000_u64.div_ceil(rate));
        buckets.joins_paid_until = paid_until;
        if paid_until < now + BURST {
            return Spent::Within;
        }
        let goes_on = now.since(*buckets.joins_over_since.get_or_insert(now)) > JOINS_OVER_MAX;
        let ends = limits.rate_limit_action == RateLimitAction::EndSession
            || paid_until > now + JOIN_DEBT_MAX
            || goes_on;
        if ends {
            return Spent::Ended;
        }
        let until = (Tick::ZERO + paid_until.since(Tick::ZERO + BURST)).max(now + PAUSE_MIN);
        buckets.paused_until = buckets.paused_until.max(Some(until));
        Spent::Paused
    }

    fn pause(&mut self, until: Option<Tick>) {
        if let Some(buckets) = &mut self.0 {
            buckets.paused_until = until;
        }
        self.shrink();
    }

    /// Starts a pause at `now`, unless one has started.
    pub(super) fn pauses_from(&mut self, now: Tick) {
        self.0.get_or_insert_default().paused_at.get_or_insert(now);
    }

    /// Ends a pause. Returns when it started.
    pub(super) fn pauses_no_more(&mut self) -> Option<Tick> {
        let paused_at = self.0.as_mut()?.paused_at.take();
        self.shrink();
        paused_at
    }

    /// A session without rates that was paused keeps no memory for it afterwards.
    fn shrink(&mut self) {
        if self.0.as_deref().is_some_and(|buckets| *buckets == Buckets::default()) {
            self.0 = None;
        }
    }

    /// When there is room for another message, if there is none now. A bucket without a limit never fills.
    fn full_until(&self, now: Tick) -> Option<Tick> {
        let buckets = self.0.as_ref()?;
        let ahead = buckets.messages_paid_until.max(buckets.bytes_paid_until);
        let full = ahead >= now + BURST;
        full.then(|| (Tick::ZERO + ahead.since(Tick::ZERO + BURST)).max(now + PAUSE_MIN))
    }

    /// Counts a message, or raw bytes. A message may leave its sender in debt, so that one larger than a burst can be
    /// delivered.
    fn spend(&mut self, messages: u32, bytes: usize, now: Tick, limits: &Limits) {
        let (messages_max, bytes_max) = (limits.messages_per_second_max, limits.recv_bytes_per_second_max);
        if messages_max == 0 && bytes_max == 0 {
            return;
        }
        let paid = |until: Tick, units: u64, rate: u64| match rate {
            0 => until,
            _ => until.max(now) + Duration::from_nanos((units * 1_000_000_000).div_ceil(rate)),
        };
        let buckets = self.0.get_or_insert_default();
        buckets.messages_paid_until = paid(buckets.messages_paid_until, messages.into(), messages_max.into());
        buckets.bytes_paid_until = paid(buckets.bytes_paid_until, bytes as u64, bytes_max as u64);
    }
}

impl Egress {
    /// Whether data may be delivered now. Called with data at hand; if not, it starts a pause or an end.
    pub(super) fn admits(&mut self, cx: &Context<'_>, callbacks: &mut impl SessionCallbacks) -> bool {
        let Some(until) = self.throttle.full_until(cx.now) else { return true };
        callbacks.on_rate_limited();
        match cx.limits.rate_limit_action {
            RateLimitAction::Pause => self.throttle.pause(Some(until)),
            RateLimitAction::EndSession => {
                self.end = Some(End::new(DisconnectReason::RateExceeded, CloseMode::Abort))
            }
        }
        false
    }

    /// Counts one message of this many bytes.
    pub(super) fn spend_message(&mut self, bytes: usize, cx: &Context<'_>) {
        if !self.exempt {
            self.throttle.spend(1, bytes, cx.now, cx.limits);
        }
    }

    /// Counts raw bytes, which have no number of messages.
    pub(super) fn spend_bytes(&mut self, bytes: usize, cx: &Context<'_>) {
        if !self.exempt {
            self.throttle.spend(0, bytes, cx.now, cx.limits);
        }
    }
}

impl Session {
    /// Resumes reading a session that was paused because of its rate, if it is time.
    pub(super) fn read_again(&mut self, cx: &mut Context<'_>, callbacks: &mut impl SessionCallbacks) {
        if self.state == State::Opening {
            return self.open_again(cx, callbacks);
        }
        if self.egress.throttle.paused_until().is_some_and(|until| until <= cx.now) {
            self.egress.throttle.pause(None);
            if !self.egress.throttle.is_paused() {
                self.resume(cx, callbacks);
            }
        }
    }

    /// A room has processed this many bytes of what the session sent: reading resumes if the session has waited for
    /// that and nothing else holds it back.
    pub fn taken(&mut self, bytes: u32, cx: &mut Context<'_>, callbacks: &mut impl SessionCallbacks) {
        if self.egress.throttle.taken(bytes, cx.limits) {
            self.resume(cx, callbacks);
            self.settle(cx, callbacks);
        }
    }
}
