//! What can go wrong, how often, and how often it did.
//!
//! A plan gives each kind of fault a chance; the kernel asks at every place where that kind could happen.
//! What is asked for and never happens shows in the counters. Nothing here knows what a fault does.

use naksi_core::prng::Prng;

/// Which kernel a world imitates. The contract above is the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// Multishot operations, completions that overflow, buffers that the kernel picks.
    #[default]
    Uring,
    /// Packets, accept sockets made beforehand, receives that ask for no byte.
    Iocp,
}

impl Dialect {
    /// Both.
    pub const ALL: [Dialect; 2] = [Dialect::Uring, Dialect::Iocp];

    /// The name by which a person asks for it.
    pub fn name(self) -> &'static str {
        match self {
            Dialect::Uring => "uring",
            Dialect::Iocp => "iocp",
        }
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident $(in $dialect:ident)? = $usual:expr,)*) => {
        /// One way in which a kernel or a network disappoints.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum FaultKind { $($(#[$doc])* $name,)* }

        impl FaultKind {
            /// Every kind, in order.
            pub const ALL: &[FaultKind] = &[$(FaultKind::$name,)*];

            /// A chance that leaves most sessions alive, in 65,536 parts of each occasion.
            pub fn usual_chances(self) -> u16 {
                match self { $(FaultKind::$name => $usual,)* }
            }

            /// The only dialect in which it can happen; `None` if it can in both.
            pub fn dialect(self) -> Option<Dialect> {
                match self { $(FaultKind::$name => None$(.or(Some(Dialect::$dialect)))?,)* }
            }
        }
    };
}

kinds! {
    /// A receive fills its lease with fewer bytes than are there.
    PartialRecv = 16_384,
    /// A send takes fewer bytes than there is room for.
    ShortSend = 16_384,
    /// Bytes sent together arrive apart.
    SplitDelivery = 16_384,
    /// A multishot receive or accept ends with its result; the port asks again by itself.
    LostMore in Uring = 8192,
    /// A receive finds no buffer although there are some; the port parks and resumes it.
    PoolEmpty = 4096,
    /// An accept ends because no descriptor is left.
    DescriptorsExhausted = 2048,
    /// A connection dies between the backlog and the accept; the port takes the next.
    AcceptAborted = 2048,
    /// The network tears a connection down, for both ends.
    PeerReset = 512,
    /// Two completions of different operations change places.
    CompletionReordered = 16_384,
    /// What is ready completes some milliseconds later.
    CompletionDelayed = 4096,
    /// A cancel comes too late: the operation may complete with success yet.
    CancelLate = 16_384,
    /// A cancel does not find its operation at once; the port tries again.
    CancelNotFound = 16_384,
    /// A connect is refused although a socket listens.
    ConnectRefused = 4096,
    /// A connect gets no answer for three seconds.
    ConnectTimedOut = 4096,
    /// A send fails: no memory, timed out, or unreachable.
    SendFailed = 512,
    /// Time jumps forward by 1 to 20 seconds.
    ClockJump = 16,
    /// A wait returns with nothing.
    SpuriousWake = 8192,
    /// A post is seen some milliseconds later.
    PostDelayed = 16_384,
    /// The submission queue is full after one operation: it is flushed in the middle.
    QueueFull = 8192,
    /// A datagram is lost.
    DatagramLost = 8192,
    /// A datagram is overtaken by later ones.
    DatagramReordered = 8192,
    /// The disk takes half of a write, or none of it.
    StorageFull = 16_384,
    /// A receive fails with any of the system's numbers.
    RecvFailed = 256,
    /// An accept fails for a reason that will pass: a protocol error, the network down, no memory.
    AcceptFailed = 2048,
    /// The hand-over is interrupted or refused for now: the operations stay where they are.
    EnterInterrupted = 8192,
    /// A completion arrives that belongs to no operation.
    UnknownCompletion = 2048,
    /// The completion queue is full: multishot operations end, and the port asks again.
    CompletionOverflow in Uring = 4096,
    /// The kernel has no multishot receive and accept: every result is the last of its request.
    FeatureMissing in Uring = 8192,
    /// The table of direct descriptors has no place for an accepted connection.
    DirectTableFull in Uring = 2048,
    /// An immediate success brings no packet: the port says it itself.
    PacketSkipped in Iocp = 16_384,
    /// An immediate failure brings no packet: the port says it itself.
    ImmediateError in Iocp = 512,
    /// What is ended by us ends with a number of its own: 64, 676, 1236, 10054.
    StrangeEnding in Iocp = 32_768,
    /// An accepted connection cannot take its listener's settings over: it is closed, the accept is made anew.
    AcceptContextFailed in Iocp = 2048,
    /// The next accept socket cannot be made now: the credit is made up later.
    AcceptSocketFailed in Iocp = 8192,
    /// A receive that asked for no byte wakes up for nothing.
    EmptyReceive in Iocp = 8192,
}

/// How likely each kind is on each of its occasions.
#[derive(Clone, Debug)]
pub struct FaultPlan {
    chances: [u16; FaultKind::ALL.len()],
}

impl FaultPlan {
    /// Nothing goes wrong.
    pub fn none() -> Self {
        Self { chances: [0; FaultKind::ALL.len()] }
    }

    /// Everything goes wrong as often as is usual.
    pub fn every() -> Self {
        Self { chances: std::array::from_fn(|index| FaultKind::ALL[index].usual_chances()) }
    }

    /// A random half of the kinds, each at a random rate up to twice its usual one. Runs that lack a fault
    /// reach states that a run with all of them never lives to see. A kind of the other dialect stays silent.
    pub fn random(seed: u64) -> Self {
        // Not the world's own sequence: the plan must not say what the first latencies are.
        let mut prng = Prng::new(seed ^ 0x5EED_0FFA_175C_0001);
        let mut plan = Self::none();
        for kind in FaultKind::ALL {
            let chances = prng.between(1, u64::from(kind.usual_chances()) * 2);
            if prng.chance(32_768) {
                plan.chances[*kind as usize] = u16::try_from(chances).unwrap_or(u16::MAX);
            }
        }
        plan
    }

    /// The same plan with another chance for one kind, in 65,536 parts of each occasion.
    #[must_use]
    pub fn with(mut self, kind: FaultKind, chances: u16) -> Self {
        self.chances[kind as usize] = chances;
        self
    }

    /// The chance of a kind, in 65,536 parts of each occasion.
    pub fn chances(&self, kind: FaultKind) -> u16 {
        self.chances[kind as usize]
    }
}

/// A plan at work.
pub(super) struct Faults {
    plan: FaultPlan,
    fired: [u64; FaultKind::ALL.len()],
}

impl Faults {
    pub(super) fn new(mut plan: FaultPlan, dialect: Dialect) -> Self {
        for kind in FaultKind::ALL {
            if kind.dialect().is_some_and(|only| only != dialect) {
                plan.chances[*kind as usize] = 0;
            }
        }
        Self { plan, fired: [0; FaultKind::ALL.len()] }
    }

    /// It happened without being asked for: a queue was too small, a descriptor was missing.
    pub(super) fn note(&mut self, kind: FaultKind) {
        self.fired[kind as usize] += 1;
    }

    /// Whether it is to happen. Takes a number from the sequence only if the kind is enabled.
    pub(super) fn draw(&self, kind: FaultKind, prng: &mut Prng) -> bool {
        let chances = self.plan.chances[kind as usize];
        chances > 0 && prng.chance(chances)
    }

    /// An occasion for this kind: if it is to happen, it has.
    pub(super) fn strike(&mut self, kind: FaultKind, prng: &mut Prng) -> bool {
        let struck = self.draw(kind, prng);
        self.fired[kind as usize] += u64::from(struck);
        struck
    }

    pub(super) fn fired(&self, kind: FaultKind) -> u64 {
        self.fired[kind as usize]
    }

    pub(super) fn heal(&mut self) {
        self.plan = FaultPlan::none();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_plans_repeat_differ_and_leave_kinds_out() {
        let (one, again, other) = (FaultPlan::random(1), FaultPlan::random(1), FaultPlan::random(2));
        assert_eq!(one.chances, again.chances);
        assert_ne!(one.chances, other.chances);
        for kind in FaultKind::ALL {
            let with = (0..100).filter(|seed| FaultPlan::random(*seed).chances(*kind) > 0).count();
            assert!((25..75).contains(&with), "{kind:?} is in {with} plans of 100");
        }
    }
}
