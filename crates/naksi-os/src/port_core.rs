//! What the ports on real kernels have in common: tables, pool, inbox and counters, and the steps that do not depend
//! on the kernel.
//!
//! `F` is the in-flight state of an operation, `R` the resource of a handle, and `A` the kernel's result. Nothing
//! here makes a system call.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use naksi_core::completion::{Completion, Done};
use naksi_core::id::{Handle, Token, TokenMap};
use naksi_core::lease::LeasePool;
use naksi_core::op::Op;
use naksi_core::tick::Tick;

use crate::Waker;
use crate::clock::now;
use crate::handles::{HandleTable, needed};
use crate::in_flight::{Finished, InFlight, Key};
use crate::inbox::{Inbox, Poster};
use crate::port::{Ledger, Port, PortError, PortOptions, SubmitErrorKind, Trimmed};

/// The longest single sleep; the caller's loop continues it. Kernels reject or overflow on very long ones.
pub(crate) const SLEEP_SPAN_MAX: Duration = Duration::from_secs(3600);
/// How long the end of a port waits for operations in flight (law 10).
const DRAIN_SPAN_MAX: Duration = Duration::from_secs(2);
/// Buffers of the largest pool: io_uring names them with 15 bits.
const LEASES_MAX: u16 = 1 << 15;

/// What every port on a real kernel keeps.
pub(crate) struct PortCore<F, R, A> {
    /// Most completions that one wait returns.
    pub(crate) catch_max: usize,
    pub(crate) handles: HandleTable<R>,
    pub(crate) in_flight: InFlight<F>,
    pub(crate) tokens: TokenMap<Token, Key>,
    pub(crate) pool: LeasePool,
    /// Results that need no kernel: a call that failed at once, a cancelled receive that was parked.
    pub(crate) local: VecDeque<(Key, A)>,
    pub(crate) inbox: Arc<Inbox<Waker>>,
    /// Posts taken out of the inbox; those before `posts_given` have been delivered.
    posts: Vec<(Token, u64)>,
    posts_given: usize,
    /// The port is being dropped: nothing is asked for again.
    pub(crate) ending: bool,
    /// Only the totals and `starved` are kept up to date here: see [`PortCore::ledger`].
    pub(crate) counters: Ledger,
}

impl<F, R, A> PortCore<F, R, A> {
    /// Everything empty, and every buffer of the pool at home.
    pub(crate) fn new(options: &PortOptions, waker: Waker) -> Self {
        Self {
            catch_max: options.catch_max.max(1),
            handles: HandleTable::default(),
            in_flight: InFlight::default(),
            tokens: TokenMap::default(),
            pool: LeasePool::new(options.lease_count, options.lease_bytes),
            local: VecDeque::new(),
            inbox: Inbox::new(waker),
            posts: Vec::new(),
            posts_given: 0,
            ending: false,
            counters: Ledger::default(),
        }
    }

    /// Checks an operation, and occupies the direction of the handle that it needs. A refusal changes nothing. `None`
    /// if it uses no open handle.
    pub(crate) fn reserve(&mut self, token: Token, op: &Op) -> Result<Option<&R>, SubmitErrorKind> {
        self.may_start(token)?;
        if let Some(why) = SubmitErrorKind::of_any_system(op) {
            return Err(why);
        }
        let Some((handle, kind, direction)) = needed(op) else { return Ok(None) };
        self.handles.begin(handle, kind, direction).map(Some)
    }

    /// Removes a handle from the table, to be closed under this token. Nothing is in flight on it (law 4).
    pub(crate) fn take_to_close(&mut self, token: Token, handle: Handle) -> Result<R, SubmitErrorKind> {
        self.may_start(token)?;
        self.handles.remove(handle)
    }

    /// Refuses a token that names an operation in flight.
    pub(crate) fn may_start(&self, token: Token) -> Result<(), SubmitErrorKind> {
        if self.tokens.contains_key(&token) { Err(SubmitErrorKind::TokenInUse) } else { Ok(()) }
    }

    /// Adds an accepted operation to the in-flight table, which owns what the kernel may touch, and maps its token to
    /// it.
    pub(crate) fn track(&mut self, token: Token, op: F) -> Key {
        let key = self.in_flight.start(token, op);
        self.tokens.insert(token, key);
        key
    }

    /// The operation that a token names.
    pub(crate) fn named(&mut self, token: Token) -> Option<(Key, &mut F)> {
        let key = self.tokens.get(&token).copied()?;
        let (_, op) = self.in_flight.running(key).expect("every token in flight names a running operation");
        Some((key, op))
    }

    /// Handles the last result of an operation: frees its slot and returns what it owns.
    pub(crate) fn take_out(&mut self, key: Key) -> (Token, F) {
        match self.in_flight.finish(key) {
            Finished::Wanted(token, op) => (token, op),
            _ => unreachable!("an operation that was just seen running"),
        }
    }

    /// Delivers the last completion of an operation; its token may be reused.
    pub(crate) fn hand_out_last(&mut self, completions: &mut Vec<Completion>, token: Token, done: Done) {
        self.tokens.remove(&token);
        self.hand_out(completions, token, done, false);
    }

    /// Hands out a completion.
    pub(crate) fn hand_out(
        &mut self,
        completions: &mut Vec<Completion>,
        token: Token,
        done: Done,
        more: bool,
    ) {
        self.counters.completions_total += 1;
        completions.push(Completion { token, done, more });
    }

    /// Delivers posts, up to `full` completions. Returns whether the inbox was read.
    pub(crate) fn hand_out_posts(&mut self, completions: &mut Vec<Completion>, full: usize) -> bool {
        let mut looked = false;
        while completions.len() < full {
            if let Some((token, value)) = self.posts.get(self.posts_given).copied() {
                self.posts_given += 1;
                self.hand_out(completions, token, Done::Posted(value), false);
                continue;
            }
            self.posts.clear();
            self.posts_given = 0;
            if !self.inbox.is_filled() {
                return looked;
            }
            self.inbox.take(&mut self.posts);
            looked = true;
        }
        looked
    }

    /// Whether posts were taken out of the inbox and not delivered.
    pub(crate) fn has_posts_left(&self) -> bool {
        self.posts_given < self.posts.len()
    }

    /// Whether posts wait to be delivered. One that is being added may be missed; it wakes the port.
    pub(crate) fn has_posts(&self) -> bool {
        self.has_posts_left() || self.inbox.is_filled()
    }

    /// Counts a receive that found the pool empty and waits inside the port.
    pub(crate) fn count_starved(&mut self) {
        self.counters.starved += 1;
        self.counters.starved_total += 1;
        tracing::debug!(starved = self.counters.starved, "a receive waits for a free lease");
    }

    /// Posts to this port from other threads.
    pub(crate) fn poster(&self) -> Poster<Waker> {
        Poster::new(&self.inbox)
    }

    /// What the port holds right now.
    pub(crate) fn ledger(&self) -> Ledger {
        Ledger {
            handles: self.handles.open(),
            in_flight: self.in_flight.len(),
            leases_out: self.pool.out(),
            lease_size: self.pool.size(),
            ..self.counters
        }
    }

    /// Frees memory that a burst of operations needed and that was unused since.
    pub(crate) fn trim(&mut self) -> Trimmed {
        let trimmed = self.in_flight.trim();
        if trimmed == Trimmed::Freed {
            self.tokens.shrink_to(self.in_flight.len() * 5 / 4);
        }
        trimmed
    }

    /// Begins the end of the port: no more posts are accepted. Returns the tokens in flight, to be cancelled, and the
    /// time by which they must have ended; `None` if the end has begun before.
    pub(crate) fn begin_end(&mut self) -> Option<(Vec<Token>, Tick)> {
        if mem::replace(&mut self.ending, true) {
            return None;
        }
        self.inbox.close();
        Some((self.tokens.keys().copied().collect(), now() + DRAIN_SPAN_MAX))
    }

    /// Leaks what could not be drained, on purpose (law 10). Returns the number of operations.
    pub(crate) fn leak_the_rest(&mut self) -> usize {
        self.in_flight.abandon_all();
        let leaked = mem::take(&mut self.in_flight).leak();
        self.counters.leaked_total += leaked as u64;
        if leaked > 0 {
            tracing::warn!(leaked, "operations could not be drained: their memory is leaked on purpose");
        }
        leaked
    }
}

/// Checks the options of the pool. `code` is the system's number for an invalid argument.
pub(crate) fn check(options: &PortOptions, code: i32) -> Result<(), PortError> {
    if options.lease_count == 0 || options.lease_count > LEASES_MAX || options.lease_bytes == 0 {
        let text = format!("the receive pool needs 1 to {LEASES_MAX} buffers of at least one byte");
        return Err(PortError { text, code });
    }
    Ok(())
}

/// Waits until nothing is in flight, at most until `deadline`. Completions are dropped: sockets accepted meanwhile
/// are in the handle table and close with it.
pub(crate) fn drain(port: &mut impl Port, deadline: Tick) {
    let mut completions = Vec::new();
    while port.ledger().in_flight > 0 && now() < deadline {
        if let Err(error) = port.wait(&mut completions, Some(deadline)) {
            tracing::warn!(%error, "the end of a port cannot wait for its operations");
            return;
        }
        completions.clear();
    }
}
