//! The table of faults: which of its rows a run has met, and how often.
//!
//! A row is met by a kind of the kernel's faults, by a peer's behavior, or by something that the sessions and
//! the other threads of a run do on purpose. Nothing here does anything.

use crate::kernel::fault::FaultKind::{self, *};

macro_rules! hazards {
    ($($name:ident = $text:literal, [$($kind:ident),*];)*) => {
        /// One row of the fault table that a simulated run can meet.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Hazard { $(#[doc = $text] $name,)* }

        impl Hazard {
            /// Every row, in the order of the table.
            pub const ALL: &[Hazard] = &[$(Hazard::$name,)*];

            /// What happens, in a few words.
            pub fn text(self) -> &'static str {
                match self { $(Hazard::$name => $text,)* }
            }

            /// The kinds of the kernel's faults that are this row.
            pub fn kinds(self) -> &'static [FaultKind] {
                match self { $(Hazard::$name => &[$($kind),*],)* }
            }
        }
    };
}

hazards! {
    P1 = "The peer resets while operations are pending.", [PeerReset];
    P2 = "The peer closes in order.", [];
    P3 = "The peer closes its half and reads on.", [];
    P4 = "The peer ends inside a frame.", [];
    P5 = "A frame is shorter than its header.", [];
    P6 = "A frame is longer than allowed.", [];
    P7 = "Bytes come one at a time.", [];
    P8 = "A frame never becomes whole.", [];
    P9 = "The peer does not read.", [];
    P10 = "The peer vanishes.", [];
    P11 = "The peer sends garbage.", [];
    P13 = "A connect is refused or not answered.", [ConnectRefused, ConnectTimedOut];
    K3 = "The kernel lacks multishot operations.", [FeatureMissing];
    K4 = "The submission queue is full.", [QueueFull];
    K5 = "The hand-over is interrupted.", [EnterInterrupted, SpuriousWake];
    K6 = "The completion queue overflows.", [CompletionOverflow];
    K7 = "The buffer pool is empty.", [PoolEmpty];
    K8 = "A multishot operation ends early.", [LostMore];
    K9 = "Receives and sends are short.", [PartialRecv, ShortSend, SplitDelivery];
    K10 = "Completions are late and change places.", [CompletionReordered, CompletionDelayed, PostDelayed];
    K11 = "A cancel is not found, or too late.", [CancelNotFound, CancelLate];
    K12 = "No descriptor is left.", [DescriptorsExhausted, DirectTableFull];
    K13 = "An accept fails.", [AcceptAborted, AcceptFailed];
    K14 = "A send or a receive fails with any number.", [SendFailed, RecvFailed];
    K15 = "A completion belongs to no operation.", [UnknownCompletion];
    L1 = "A session is ended with operations in flight.", [];
    L2 = "Bytes are sent after the end, also from elsewhere.", [];
    L3 = "A session is ended inside its callbacks.", [];
    L4 = "A name is stale.", [];
    L5 = "A service is dropped while its sessions live.", [];
    L6 = "A callback panics.", [];
    L7 = "A worker stalls.", [];
    L8 = "A mailbox is full.", [];
    L9 = "A database answers late, never, or to an ended session.", [];
    L10 = "The clock jumps; timers are taken back.", [ClockJump];
    L11 = "A session cannot be made.", [];
    G1 = "A group is slow.", [];
    G2 = "A group's queue is full.", [];
    G3 = "A job panics.", [];
    G4 = "A group answers a session that has ended.", [];
    G5 = "A group answers a room.", [];
    G6 = "A room goes on in a group.", [];
    U1 = "A datagram is lost, or overtaken.", [DatagramLost, DatagramReordered];
    O3 = "Too many connections from one address.", [];
    O4 = "A peer floods.", [];
    O4r = "A session brings more than its rate, and is held back or ended.", [];
    O5 = "A room is told something, from inside and outside.", [];
    O6 = "A session is sent data that it may miss.", [];
    O7 = "There is more to log than may be said.", [];
    O8 = "A session's replies wait for ticks of its own.", [];
    O9 = "Sessions hold nearly as much as they may together.", [];
    O10 = "A room puts a member out.", [];
    W1 = "A packet says that its operation failed.", [StrangeEnding];
    W2 = "An immediate success brings no packet.", [PacketSkipped];
    W3 = "An immediate failure brings no packet.", [ImmediateError];
    W4 = "What we end has a number of its own.", [StrangeEnding];
    W5 = "An accept socket or its settings fail.", [AcceptContextFailed, AcceptSocketFailed];
    W6 = "A packet comes although its cancel found nothing.", [];
    W7 = "A receive of no byte wakes up for nothing.", [EmptyReceive];
}

/// How often each row was met.
#[derive(Clone, Debug)]
pub struct Hits([u64; Hazard::ALL.len()]);

impl Default for Hits {
    fn default() -> Self {
        Self([0; Hazard::ALL.len()])
    }
}

impl Hits {
    /// One more.
    pub fn hit(&mut self, hazard: Hazard) {
        self.add(hazard, 1);
    }

    /// That many more.
    pub fn add(&mut self, hazard: Hazard, count: u64) {
        self.0[hazard as usize] += count;
    }

    /// How often.
    pub fn count(&self, hazard: Hazard) -> u64 {
        self.0[hazard as usize]
    }

    /// Adds those of another run.
    pub fn merge(&mut self, other: &Hits) {
        self.0.iter_mut().zip(other.0).for_each(|(mine, theirs)| *mine += theirs);
    }
}
