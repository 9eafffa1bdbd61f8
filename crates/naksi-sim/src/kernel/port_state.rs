//! What the simulated kernel keeps for one port.
//!
//! Wishes stand in a submission queue, answers in a completion queue, and what belongs to an operation in
//! flight is held by the in-flight table in between, as with a real kernel. Nothing here knows what an
//! operation does; `ops.rs` carries them out and `wait.rs` hands the answers over.

use core::net::SocketAddr;
use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use naksi_core::completion::Datagram;
use naksi_core::ended::Ended;
use naksi_core::id::{Handle, Token, TokenMap};
use naksi_core::lease::{Buffer, LeasePool};
use naksi_core::op::Op;
use naksi_core::tick::Tick;

use super::net::SocketId;
use naksi_os::backend::{Direction, HandleTable};
use naksi_os::backend::{InFlight, Key};
use naksi_os::port::{Ledger, PortOptions};

/// What a handle stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Nothing,
    Stream(SocketId),
    Listener(u32),
    Datagram(u32),
    /// A file, and whether it was opened for writing.
    File(u32, bool),
}

/// How far an operation has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// In the submission queue.
    Queued,
    /// With the kernel: it may answer.
    Armed,
    /// The kernel is done with it and the answer stands in the completion queue.
    Answered,
    /// Waits inside the port for a buffer.
    Parked,
}

/// One operation in flight and everything it owns.
pub(super) struct Held {
    pub(super) op: Op,
    /// What to release when it ends.
    pub(super) direction: Option<(Handle, Direction)>,
    pub(super) target: Target,
    pub(super) stage: Stage,
    /// A fault holds its answer back until an event pokes it.
    pub(super) held_back: bool,
    /// A cancel came too late: whatever it answers next is its last.
    pub(super) dying: bool,
    /// The engine asked for its end.
    pub(super) cancelled: bool,
    /// The kernel did not find it when it was to be cancelled, and will be asked again.
    pub(super) unfound: bool,
    /// Its place among those that waited for a buffer.
    pub(super) parked_as: u64,
    /// Not before this time: file operations and timeouts.
    pub(super) ready_at: Tick,
}

/// Whether the kernel goes on after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It will answer again.
    More,
    /// It stopped although the operation is not over: the port asks again by itself.
    Lost,
    /// As `Lost`, because there was no room in the completion queue.
    Overflowed,
    /// The operation is over.
    Last,
}

/// What the kernel answered, before the port has said it in the contract's words.
#[derive(Debug)]
pub(super) enum Raw {
    Data(Buffer, NonZeroU32),
    Starved,
    Accepted(SocketId, SocketAddr),
    AcceptAborted,
    Connected(SocketId, SocketAddr),
    Count(u32),
    Datagram(Datagram),
    Nothing,
    Ended(Ended),
    /// A receive that asked for no byte found that there are some (iocp).
    Readable,
    /// It ended with a number that says nothing by itself (iocp).
    EndedWith(i32),
}

/// An entry of the completion queue.
#[derive(Debug)]
pub(super) enum Answer {
    Op {
        key: Key,
        raw: Raw,
        end: End,
    },
    Post {
        token: Token,
        value: u64,
    },
    /// What a kernel says about an unknown operation.
    Stray(Key),
}

impl Answer {
    /// Whose order must be kept: an operation's, or that of the posts.
    fn source(&self) -> Option<Key> {
        match self {
            Answer::Op { key, .. } => Some(*key),
            Answer::Stray(key) => Some(*key),
            Answer::Post { .. } => None,
        }
    }
}

/// An entry of the submission queue.
#[derive(Clone, Copy, Debug)]
pub(super) enum Submission {
    Start(Key),
    Cancel(Key),
}

/// Where other threads leave what they post.
#[derive(Default)]
pub(super) struct PostBox {
    posts: Mutex<Posts>,
    waiting: AtomicUsize,
}

#[derive(Default)]
struct Posts {
    queue: VecDeque<(Token, u64)>,
    closed: bool,
}

impl PostBox {
    pub(super) fn post(&self, token: Token, value: u64) -> bool {
        // A poisoned lock is harmless: every change of the queue is one step.
        let mut posts = self.posts.lock().unwrap_or_else(PoisonError::into_inner);
        if posts.closed {
            return false;
        }
        posts.queue.push_back((token, value));
        self.waiting.store(posts.queue.len(), Ordering::Release);
        true
    }

    pub(super) fn waiting(&self) -> bool {
        self.waiting.load(Ordering::Acquire) > 0
    }

    pub(super) fn take(&self) -> Option<(Token, u64)> {
        let mut posts = self.posts.lock().unwrap_or_else(PoisonError::into_inner);
        let post = posts.queue.pop_front();
        self.waiting.store(posts.queue.len(), Ordering::Release);
        post
    }

    fn close(&self) {
        let mut posts = self.posts.lock().unwrap_or_else(PoisonError::into_inner);
        posts.closed = true;
        posts.queue.clear();
        self.waiting.store(0, Ordering::Release);
    }
}

/// One port, as the kernel sees it.
pub(super) struct PortState {
    pub(super) in_flight: InFlight<Held>,
    pub(super) names: TokenMap<Token, Key>,
    pub(super) handles: HandleTable<Target>,
    pub(super) pool: LeasePool,
    /// Buffers with bytes in them whose answer was not handed out yet.
    pub(super) with_kernel: usize,
    pub(super) submissions: VecDeque<Submission>,
    pub(super) answers: VecDeque<Answer>,
    /// Answers that come by no queue: the port says them itself, before all others.
    pub(super) local: VecDeque<Answer>,
    /// The operation that is being handed over right now: what it answers is immediate.
    pub(super) starting: Option<Key>,
    /// The kernel behind this port knows no multishot operations.
    pub(super) single_shot: bool,
    pub(super) starved: VecDeque<Key>,
    pub(super) posts: Arc<PostBox>,
    /// A fault keeps the posts out of sight until an event releases them.
    pub(super) posts_held: bool,
    /// Its last wait found nothing: its worker sleeps until something is ready or until `wake_at`.
    pub(super) asleep: bool,
    pub(super) wake_at: Option<Tick>,
    /// Only the totals are kept up to date here.
    pub(super) totals: Ledger,
    pub(super) submission_entries: usize,
    pub(super) completion_entries: usize,
    pub(super) catch_max: usize,
}

impl PortState {
    pub(super) fn new(options: &PortOptions) -> Self {
        Self {
            in_flight: InFlight::default(),
            names: TokenMap::default(),
            handles: HandleTable::default(),
            pool: LeasePool::new(options.lease_count, options.lease_bytes),
            with_kernel: 0,
            submissions: VecDeque::new(),
            answers: VecDeque::new(),
            local: VecDeque::new(),
            starting: None,
            single_shot: false,
            starved: VecDeque::new(),
            posts: Arc::default(),
            posts_held: false,
            asleep: false,
            wake_at: None,
            totals: Ledger::default(),
            submission_entries: options.submission_entries.max(1) as usize,
            completion_entries: options.completion_entries.max(1) as usize,
            catch_max: options.catch_max.max(1),
        }
    }

    /// Whether its worker is awake, or would be woken now.
    pub(super) fn runnable(&self, now: Tick) -> bool {
        !self.asleep
            || !self.answers.is_empty()
            || !self.local.is_empty()
            || !self.submissions.is_empty()
            || (self.posts.waiting() && !self.posts_held)
            || (!self.starved.is_empty() && self.pool.at_home() > 0)
            || self.wake_at.is_some_and(|at| at <= now)
    }

    /// Whether this answer and the last one in the queue have different sources, so that they may change
    /// places: the order within one operation, and among the posts, is kept.
    pub(super) fn may_overtake(&self, source: Option<Key>) -> bool {
        self.answers.back().is_some_and(|last| last.source() != source)
    }

    /// Puts an answer into the completion queue, before the last one if `overtake` says so.
    pub(super) fn push(&mut self, answer: Answer, overtake: bool) {
        self.answers.push_back(answer);
        if overtake {
            let end = self.answers.len() - 1;
            self.answers.swap(end - 1, end);
        }
    }

    /// Law 5: every buffer of the pool is home, with the kernel, or out.
    pub(super) fn assert_leases_balance(&self) {
        assert!(
            self.pool.at_home() + self.pool.out() + self.with_kernel == self.pool.size(),
            "law 5: {:?} and {} with the kernel do not balance",
            self.pool,
            self.with_kernel
        );
    }

    pub(super) fn ledger(&self) -> Ledger {
        Ledger {
            handles: self.handles.open(),
            in_flight: self.in_flight.len(),
            leases_out: self.pool.out(),
            lease_size: self.pool.at_home() + self.pool.out() + self.with_kernel,
            starved: self.starved.len(),
            ..self.totals
        }
    }

    /// The port has ended: what is held is dropped, and posts are refused.
    ///
    /// Returns what was open and what was under way, for the kernel to close.
    pub(super) fn abandon(&mut self) -> Vec<Target> {
        self.posts.close();
        let mut orphans = Vec::new();
        let local = std::mem::take(&mut self.local);
        for answer in local.into_iter().chain(std::mem::take(&mut self.answers)) {
            match answer {
                Answer::Op { raw: Raw::Data(buffer, _), .. } => {
                    self.with_kernel -= 1;
                    self.pool.put(buffer);
                }
                Answer::Op { raw: Raw::Accepted(socket, _) | Raw::Connected(socket, _), .. } => {
                    orphans.push(Target::Stream(socket));
                }
                Answer::Op { .. } | Answer::Post { .. } | Answer::Stray(_) => {}
            }
        }
        self.submissions.clear();
        self.starved.clear();
        self.names.clear();
        self.wake_at = None;
        let open: Vec<_> = self.handles.iter().map(|(handle, _)| handle).collect();
        orphans.extend(open.iter().filter_map(|handle| self.handles.any(*handle).copied()));
        orphans
    }
}
