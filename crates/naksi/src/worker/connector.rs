//! The connector: makes a client's connections, with limits on concurrency and rate, and retries.
//!
//! Each worker makes its share of the connections. A failed attempt is repeated after a pause that doubles and has a
//! jitter, so that many clients do not return at the same moment.

use core::net::SocketAddr;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use naksi_core::completion::Done;
use naksi_core::ended::Ended;
use naksi_core::id::Token;
use naksi_core::op::Op;
use naksi_core::prng::Prng;
use naksi_core::tick::Tick;
use naksi_core::timer::{TimerKey, TimerWheel};
use naksi_os::port::Port;

use super::Worker;
use super::dispatch::KIND_CONNECT;
use crate::config::{CONNECT_WITHIN_DEFAULT, Retry};
use crate::log_limiter::Subject;
use crate::session::Factory;
use crate::session::context::Due;
use crate::shared::mailbox::Wires;

/// Most connection attempts of one worker in flight, because a listener's backlog is limited.
const CONNECTING_MAX: usize = 256;

/// How far a connector may fall behind its rate and still make up for it.
const CATCH_UP: Duration = Duration::from_millis(20);

/// How far a connection has come.
#[derive(Clone, Copy, Debug, Default)]
struct Tried {
    /// Failed rounds through all addresses.
    rounds: u32,
    /// The index of the next address to try in this round.
    address: u32,
}

/// A connection that is being made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Attempt {
    token: Token,
    began: Tick,
    /// It took too long, and returns soon.
    called_off: bool,
}

/// One worker's share of a client's connections.
#[derive(Debug)]
pub(crate) struct Connector {
    /// The server's addresses, tried in turn; at least one.
    remotes: Arc<[SocketAddr]>,
    /// What each address last failed with.
    failures: Vec<Option<Ended>>,
    retry: Retry,
    /// Connections to be made now, by number.
    waiting: VecDeque<u32>,
    /// The progress of each connection by index; its number is `index * stride + first`.
    tried: Vec<Tried>,
    /// When each of them was last established.
    made_at: Vec<Tick>,
    /// Connections to be made again later.
    pausing: TimerWheel<u32>,
    paused: usize,
    first: u32,
    stride: u32,
    /// In the order in which they began.
    connecting: Vec<Attempt>,
    /// How long an attempt may take.
    within: Duration,
    /// Time between two attempts; zero for no limit.
    gap: Duration,
    next_at: Tick,
    /// The timer that was set last, and its time.
    woken_for: Option<(TimerKey, Tick)>,
    chance: Prng,
    stopped: bool,
    /// When each connection is made for the first time, counted from the beginning; at once if absent.
    schedule: Option<Arc<[Duration]>>,
    wires: Wires,
}

impl Connector {
    fn new(
        remotes: Arc<[SocketAddr]>,
        retry: Retry,
        connections: u32,
        rate: Option<u32>,
        first: usize,
        stride: usize,
    ) -> Self {
        let waiting: VecDeque<u32> = (first as u32..connections).step_by(stride).collect();
        let gap = rate.map_or(Duration::ZERO, |rate| Duration::from_secs(1) * stride as u32 / rate.max(1));
        Self {
            failures: vec![None; remotes.len()],
            remotes,
            retry,
            tried: vec![Tried::default(); waiting.len()],
            made_at: vec![Tick::ZERO; waiting.len()],
            waiting,
            pausing: TimerWheel::default(),
            paused: 0,
            first: first as u32,
            stride: stride as u32,
            connecting: Vec::new(),
            within: CONNECT_WITHIN_DEFAULT,
            gap,
            next_at: Tick::ZERO,
            woken_for: None,
            chance: Prng::new(0x6361_7374 ^ first as u64),
            stopped: false,
            schedule: None,
            wires: None,
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.connecting.is_empty()
    }

    fn place(&self, connection: u32) -> usize {
        ((connection - self.first) / self.stride) as usize
    }

    fn tried(&mut self, connection: u32) -> &mut Tried {
        let place = self.place(connection);
        &mut self.tried[place]
    }

    /// The address of a connection's next attempt.
    fn remote(&mut self, connection: u32) -> SocketAddr {
        let place = self.tried(connection).address as usize;
        self.remotes[place]
    }

    /// An attempt failed: the next address is tried at once; after the last one the round has failed. Returns whether
    /// the connection is tried again.
    fn failed(&mut self, connection: u32, why: Ended, now: Tick) -> bool {
        let count = self.remotes.len() as u32;
        let tried = self.tried(connection);
        let address = tried.address;
        tried.address = (address + 1) % count;
        let is_round = tried.address == 0;
        tried.rounds = tried.rounds.saturating_add(u32::from(is_round));
        self.failures[address as usize] = Some(why);
        if is_round || self.stopped {
            return self.again(connection, now);
        }
        self.waiting.push_front(connection);
        true
    }

    /// Every address with its error, for the log.
    fn say_failures(&self) -> String {
        let each = self.remotes.iter().zip(&self.failures);
        let said = each.map(|(remote, why)| match why {
            Some(why) => format!("{remote}: {why}"),
            None => format!("{remote}: not tried"),
        });
        said.collect::<Vec<_>>().join("; ")
    }

    /// A connection was established.
    fn made(&mut self, connection: u32, now: Tick) {
        let place = self.place(connection);
        self.made_at[place] = now;
    }

    /// An established connection has ended: it is made again, after a longer pause if it was short.
    fn ended(&mut self, connection: u32, now: Tick) {
        if self.stopped || !self.retry.reconnects() {
            return;
        }
        if now.since(self.made_at[self.place(connection)]) >= self.retry.pause_max {
            self.tried(connection).rounds = 1;
        }
        self.again(connection, now);
    }

    /// Cancels attempts that have exceeded the time limit, once each.
    fn call_off_overdue(&mut self, now: Tick, mut call_off: impl FnMut(Token)) {
        let overdue =
            self.connecting.iter_mut().take_while(|attempt| now.since(attempt.began) >= self.within);
        for attempt in overdue.filter(|attempt| !attempt.called_off) {
            attempt.called_off = true;
            call_off(attempt.token);
        }
    }

    /// The next attempt that may be made now, if there is one.
    fn next(&mut self, now: Tick) -> Option<Token> {
        if self.stopped || self.connecting.len() >= CONNECTING_MAX || now < self.next_at {
            return None;
        }
        let connection = self.waiting.pop_front()?;
        // Timers are coarser than the gaps of a high rate, so what a late turn missed is made up, up to `CATCH_UP`.
        let missed_since = Tick::from_nanos(now.nanos().saturating_sub(CATCH_UP.as_nanos() as u64));
        self.next_at = self.next_at.max(missed_since) + self.gap;
        let Tried { rounds, address } = *self.tried(connection);
        let attempt = rounds.wrapping_mul(self.remotes.len() as u32).wrapping_add(address);
        let token = Token::new(KIND_CONNECT, connection, attempt);
        self.connecting.push(Attempt { token, began: now, called_off: false });
        Some(token)
    }

    /// Schedules a connection's next attempt after a jittered pause. Returns whether attempts are left.
    fn again(&mut self, connection: u32, now: Tick) -> bool {
        let Retry { attempts_max, pause_min, pause_max } = self.retry;
        let rounds = self.tried(connection).rounds;
        if self.stopped || rounds >= attempts_max {
            return false;
        }
        let doubled = pause_min.saturating_mul(1 << (rounds.saturating_sub(1)).min(20)).min(pause_max);
        let span = doubled.as_nanos().min(u128::from(u64::MAX)) as u64;
        let jittered = Duration::from_nanos(span / 2 + self.chance.below(span / 2 + 1));
        self.pausing.set(now + jittered, connection);
        self.paused += 1;
        true
    }

    /// Starts the schedule: each connection waits for its time from now.
    fn begin(&mut self, now: Tick) {
        let Some(schedule) = self.schedule.take() else { return };
        for connection in std::mem::take(&mut self.waiting) {
            let span = schedule.get(connection as usize).copied().unwrap_or_default();
            self.pausing.set(now + span, connection);
            self.paused += 1;
        }
    }

    fn wake_pausing(&mut self, now: Tick) {
        let (waiting, paused) = (&mut self.waiting, &mut self.paused);
        self.pausing.expire(now, |connection| {
            *paused -= 1;
            waiting.push_back(connection);
        });
    }

    /// When to look again without a completion.
    fn wake_at(&self) -> Option<Tick> {
        let paced =
            (!self.waiting.is_empty() && self.connecting.len() < CONNECTING_MAX).then_some(self.next_at);
        let overdue = self.connecting.iter().find(|attempt| !attempt.called_off);
        let overdue = overdue.map(|attempt| attempt.began + self.within);
        paced.into_iter().chain(self.pausing.next()).chain(overdue).min().filter(|_| !self.stopped)
    }
}

impl<P: Port + 'static, F: Factory> Worker<P, F> {
    /// Gives this worker its share of a client's connections: every `workers`-th of `connections`, at most its share
    /// of `rate` a second. Each attempt tries these addresses (at least one) in turn. It connects after
    /// [`ServiceCore::begin`](crate::shared::core::ServiceCore::begin).
    pub fn dial(
        &mut self,
        remotes: impl Into<Arc<[SocketAddr]>>,
        retry: Retry,
        connections: u32,
        rate: Option<u32>,
        workers: usize,
    ) {
        self.connector = Some(Connector::new(remotes.into(), retry, connections, rate, self.index, workers));
        self.mirror_dialer();
    }

    /// Schedules the connections at these times after the beginning.
    pub(crate) fn dial_at(&mut self, schedule: Arc<[Duration]>) {
        if let Some(connector) = &mut self.connector {
            connector.schedule = Some(schedule);
        }
    }

    /// Makes the connections use wires.
    pub(crate) fn dial_over(&mut self, wires: Wires) {
        if let Some(connector) = &mut self.connector {
            connector.wires = wires;
        }
    }

    /// Sets the time limit of one attempt.
    pub(crate) fn dial_within(&mut self, span: Duration) {
        if let Some(connector) = &mut self.connector {
            connector.within = span;
        }
    }

    /// Submits every connect that is due, and cancels those that have exceeded the time limit.
    pub(crate) fn register_connects(&mut self) {
        let Some(connector) = &mut self.connector else { return };
        let now = self.context.now;
        connector.begin(now);
        connector.wake_pausing(now);
        connector.call_off_overdue(now, |attempt| self.port.cancel(attempt));
        while let Some(token) = connector.next(now) {
            let remote = connector.remote(token.slot());
            if let Err(refused) = self.port.submit(token, Op::Connect { remote }) {
                unreachable!("a fresh connect is accepted: {}", refused.why);
            }
        }
        if let Some(at) = connector.wake_at()
            && connector.woken_for.is_none_or(|(_, set)| set > at || set <= now)
        {
            // An attempt that fails at once would leave a timer behind for its time limit, and so would each one
            // after it.
            if let Some((farther, _)) = connector.woken_for {
                self.context.wheel.cancel(farther);
            }
            connector.woken_for = Some((self.context.wheel.set(at, Due::Connect), at));
        }
        self.mirror_dialer();
    }

    pub(crate) fn process_connect(&mut self, token: Token, done: Done) {
        let Done::Connect(result) = done else { unreachable!("a connector asked for {done:?}") };
        let connector = self.connector.as_mut().expect("only a dialer connects");
        let connection = token.slot();
        connector.connecting.retain(|attempt| attempt.token != token);
        let remote = connector.remote(connection);
        match result {
            Ok(connected) => {
                let tried = connector.tried(connection);
                tried.rounds = tried.rounds.saturating_add(1);
                connector.made(connection, self.context.now);
                self.service_core.settle(self.index);
                let wires = connector.wires.clone();
                self.open_session(connected.socket, remote, Some(connection), wires, None);
            }
            // We called it off ourselves.
            Err(_) if connector.stopped => {}
            Err(ended) => {
                self.context.counters.connect_failures_total.add(1);
                tracing::debug!(%remote, connection, %ended, "an attempt to connect has failed");
                if !connector.failed(connection, ended, self.context.now) {
                    let failures = connector.say_failures();
                    self.context.counters.given_up_total.add(1);
                    self.context.say(Subject::GivenUp, |suppressed| {
                        tracing::warn!(connection, %failures, suppressed, "a connection was given up");
                    });
                }
            }
        }
        self.register_connects();
    }

    /// An established connection has ended: it is made again if the retry policy says so.
    pub(crate) fn connection_ended(&mut self, connection: u32) {
        let Some(connector) = &mut self.connector else { return };
        connector.ended(connection, self.context.now);
        self.register_connects();
    }

    /// Makes no more connections, and cancels the attempts in flight.
    pub(crate) fn stop_connecting(&mut self) {
        let Some(connector) = &mut self.connector else { return };
        connector.stopped = true;
        connector.waiting.clear();
        connector.connecting.iter().for_each(|attempt| self.port.cancel(attempt.token));
    }

    fn mirror_dialer(&self) {
        if let Some(connector) = &self.connector {
            self.context.counters.connecting.set(connector.connecting.len() as u64);
            self.context.counters.waiting.set((connector.waiting.len() + connector.paused) as u64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use naksi_core::ended::{Failure, OsError};

    fn millis(span: Duration) -> u128 {
        span.as_millis()
    }

    /// The time of the next attempt of the only connection, which is made then.
    fn connected(connector: &mut Connector, now: Tick) -> Tick {
        let mut at = now;
        let token = loop {
            at = connector.wake_at().expect("it is tried again").max(at);
            connector.wake_pausing(at);
            if let Some(token) = connector.next(at) {
                break token;
            }
        };
        connector.connecting.clear();
        connector.tried(token.slot()).rounds += 1;
        connector.made(token.slot(), at);
        at
    }

    #[test]
    fn sessions_that_end_at_once_are_made_again_after_longer_and_longer_pauses() {
        let remote = SocketAddr::from(([127, 0, 0, 1], 1));
        let mut connector = Connector::new([remote].into(), Retry::ALWAYS, 1, None, 0, 1);
        let mut now = connected(&mut connector, Tick::from_nanos(1));
        // 50 ms, doubled each time up to two seconds, with a jitter of up to a half.
        for wanted in [50, 100, 200, 400, 800, 1600, 2000, 2000] {
            connector.ended(0, now);
            let next = connected(&mut connector, now);
            let pause = millis(next.since(now));
            assert!((wanted / 2 - 2..=wanted + 2).contains(&pause), "{pause} ms of {wanted}");
            now = next;
        }
        now = now + Retry::ALWAYS.pause_max;
        connector.ended(0, now);
        let pause = millis(connected(&mut connector, now).since(now));
        assert!(pause <= 52, "one that stood is made again at once, and not after {pause} ms");
    }

    #[test]
    fn attempts_that_take_too_long_are_called_off_once_each_and_woken_for() {
        let remote = SocketAddr::from(([127, 0, 0, 1], 1));
        let mut connector = Connector::new([remote].into(), Retry::NEVER, 3, None, 0, 1);
        connector.within = Duration::from_secs(5);
        let at = |secs| Tick::ZERO + Duration::from_secs(secs);
        let tokens: Vec<Token> = (1..=3).map(|secs| connector.next(at(secs)).expect("it is tried")).collect();
        for (now, overdue, next) in
            [(5, 0..0, Some(6)), (6, 0..1, Some(7)), (20, 1..3, None), (21, 0..0, None)]
        {
            let mut called_off = Vec::new();
            connector.call_off_overdue(at(now), |token| called_off.push(token));
            assert_eq!(
                (called_off.as_slice(), connector.wake_at()),
                (&tokens[overdue], next.map(at)),
                "after {now} s"
            );
        }
    }

    #[test]
    fn each_address_is_tried_in_turn_and_only_a_whole_round_counts_as_an_attempt() {
        let remotes: [SocketAddr; 3] = [1, 2, 3].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let retry = Retry { attempts_max: 2, ..Retry::START };
        let mut connector = Connector::new(remotes.into(), retry, 1, None, 0, 1);
        let why = |code| Ended::Failed(OsError::new(Failure::Refused, code));
        let mut now = Tick::from_nanos(1);
        for round in 0..2 {
            for (place, remote) in remotes.into_iter().enumerate() {
                connector.wake_pausing(now);
                let token = connector.next(now).expect("the next address is tried at once");
                assert_eq!(connector.remote(token.slot()), remote);
                connector.connecting.clear();
                let is_last = round == 1 && place == 2;
                assert_eq!(connector.failed(0, why(place as i32), now), !is_last);
            }
            assert!(connector.next(now).is_none(), "a pause follows a round");
            now = now + retry.pause_max;
        }
        let said = connector.say_failures();
        assert!(remotes.iter().all(|remote| said.contains(&remote.to_string())), "{said}");
    }
}
