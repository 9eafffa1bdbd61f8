//! Time, chance, and what comes next.
//!
//! Events stand in a heap by time and, within one time, in the order in which they were written down. The
//! one random sequence of a world is drawn here, and the running hash of all that happened is kept here.
//! Nothing here knows what an event does.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::fmt;
use std::time::Duration;

use naksi_core::ended::Failure;
use naksi_core::prng::Prng;
use naksi_core::tick::Tick;

use super::fault::{Dialect, FaultKind, FaultPlan, Faults};
use super::net::SocketId;
use super::peer::PeerId;
use super::world::Tracer;
use naksi_os::backend::Key;

/// One operation of one port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OpId {
    pub(super) port: u32,
    pub(super) key: Key,
}

/// Who makes a connection.
#[derive(Clone, Copy, Debug)]
pub(super) enum Caller {
    Op(OpId),
    Peer(PeerId),
}

/// What will happen.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    Segment {
        to: SocketId,
        bytes: u32,
    },
    Fin {
        to: SocketId,
    },
    Reset {
        to: SocketId,
    },
    Space {
        to: SocketId,
    },
    Syn {
        caller: Caller,
        tries: u8,
    },
    Established {
        socket: SocketId,
    },
    ConnectFailed {
        caller: Caller,
        failure: Failure,
    },
    Datagram {
        slot: u32,
    },
    Poke(OpId),
    CancelAgain(OpId),
    CancelAtLast(OpId),
    PeerStart(PeerId),
    PeerTimer(PeerId, u32),
    PostsReleased {
        port: u32,
    },
    /// A wake-up of something that is neither a port nor a peer.
    Outside,
}

impl Event {
    /// A small number for the trace.
    fn number(self) -> u64 {
        match self {
            Event::Segment { bytes, .. } => 1 | u64::from(bytes) << 8,
            Event::Fin { .. } => 2,
            Event::Reset { .. } => 3,
            Event::Space { .. } => 4,
            Event::Syn { .. } => 5,
            Event::Established { .. } => 6,
            Event::ConnectFailed { .. } => 7,
            Event::Datagram { .. } => 8,
            Event::Poke(op) => 9 | op.key.to_u64() << 8,
            Event::CancelAgain(op) => 10 | op.key.to_u64() << 8,
            Event::CancelAtLast(op) => 11 | op.key.to_u64() << 8,
            Event::PeerStart(_) => 12,
            Event::PeerTimer(_, number) => 13 | u64::from(number) << 8,
            Event::PostsReleased { .. } => 14,
            Event::Outside => 15,
        }
    }
}

struct Scheduled {
    at: Tick,
    sequence: u64,
    event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.sequence == other.sequence
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    /// The heap gives its greatest first, so the earliest is the greatest.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.sequence).cmp(&(self.at, self.sequence))
    }
}

pub(super) struct Calendar {
    now: Tick,
    scheduled: BinaryHeap<Scheduled>,
    sequence: u64,
    pub(super) prng: Prng,
    pub(super) faults: Faults,
    latency_nanos: (u64, u64),
    trace: u64,
    events_total: u64,
    pub(super) tracer: Option<Tracer>,
}

impl Calendar {
    pub(super) fn new(seed: u64, plan: FaultPlan, dialect: Dialect, latency: (Duration, Duration)) -> Self {
        let nanos = |span: Duration| u64::try_from(span.as_nanos()).expect("a latency below 584 years");
        Self {
            now: Tick::ZERO,
            scheduled: BinaryHeap::new(),
            sequence: 0,
            prng: Prng::new(seed),
            faults: Faults::new(plan, dialect),
            latency_nanos: (nanos(latency.0), nanos(latency.1)),
            trace: 0,
            events_total: 0,
            tracer: None,
        }
    }

    pub(super) fn now(&self) -> Tick {
        self.now
    }

    /// Moves time to `at`, if that lies ahead.
    pub(super) fn move_to(&mut self, at: Tick) {
        self.now = self.now.max(at);
    }

    /// An occasion for a fault.
    pub(super) fn strike(&mut self, kind: FaultKind) -> bool {
        let struck = self.faults.strike(kind, &mut self.prng);
        if struck {
            self.tell(format_args!("fault {kind:?}"));
        }
        struck
    }

    /// Whether a kind is to happen from now on: each time that it does is noted when it does.
    pub(super) fn draw(&mut self, kind: FaultKind) -> bool {
        self.faults.draw(kind, &mut self.prng)
    }

    /// Reports an event to the run's trace.
    pub(super) fn tell(&mut self, what: fmt::Arguments<'_>) {
        if let Some(tracer) = &mut self.tracer {
            tracer(self.now, what);
        }
    }

    /// Writes an event down.
    pub(super) fn at(&mut self, at: Tick, event: Event) {
        self.sequence += 1;
        self.scheduled.push(Scheduled { at, sequence: self.sequence, event });
    }

    /// Writes an event down for `nanos` nanoseconds from now.
    pub(super) fn after(&mut self, nanos: u64, event: Event) {
        self.at(self.now + Duration::from_nanos(nanos), event);
    }

    /// The time of one way through the network, in nanoseconds.
    pub(super) fn latency(&mut self) -> u64 {
        let (least, most) = self.latency_nanos;
        if least == most { least } else { self.prng.between(least, most) }
    }

    /// Some milliseconds, in nanoseconds: how long an injected delay lasts.
    pub(super) fn delay(&mut self) -> u64 {
        self.prng.between(100_000, 20_000_000)
    }

    /// When the next event is due.
    pub(super) fn next_at(&self) -> Option<Tick> {
        self.scheduled.peek().map(|next| next.at)
    }

    /// Takes the next event and moves time to it.
    pub(super) fn take(&mut self) -> Option<Event> {
        let next = self.scheduled.pop()?;
        self.move_to(next.at);
        self.events_total += 1;
        self.note(next.event.number());
        self.tell(format_args!("{:?}", next.event));
        Some(next.event)
    }

    /// Mixes something that happened now into the trace.
    pub(super) fn note(&mut self, what: u64) {
        let mixed = (self.trace ^ what).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.trace = (mixed ^ mixed >> 29).wrapping_add(self.now.nanos()).rotate_left(17);
    }

    pub(super) fn trace(&self) -> u64 {
        self.trace
    }

    pub(super) fn events_total(&self) -> u64 {
        self.events_total
    }
}
