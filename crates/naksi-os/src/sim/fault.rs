//! What can go wrong, how often, and how often it did.
//!
//! A plan gives each kind of fault a chance; the kernel asks at every place where that kind could happen.
//! What is asked for and never happens shows in the counters. Nothing here knows what a fault does.

use naksi_core::prng::Prng;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $usual:expr,)*) => {
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
    LostMore = 8192,
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
    /// A connect is refused although somebody listens.
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
    /// The submission queue is full after one wish: it is flushed in the middle.
    QueueFull = 8192,
    /// A datagram is lost.
    DatagramLost = 8192,
    /// A datagram is overtaken by later ones.
    DatagramReordered = 8192,
    /// The disk takes half of a write, or none of it.
    StorageFull = 4096,
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
    /// reach states that a run with all of them never lives to see.
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
    pub(super) fn new(plan: FaultPlan) -> Self {
        Self { plan, fired: [0; FaultKind::ALL.len()] }
    }

    /// An occasion for this kind. Takes a number from the sequence only if the kind is enabled.
    pub(super) fn strike(&mut self, kind: FaultKind, prng: &mut Prng) -> bool {
        let chances = self.plan.chances[kind as usize];
        let struck = chances > 0 && prng.chance(chances);
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
