//! Why a session ended: one value of a closed set, for the callback, the counter and the log.
//!
//! Nothing here decides; the session does, and the first reason stays.

use std::fmt;

use crate::ended::{Failure, OsError};

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Why a session ended.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Reason {
            $($(#[$doc])* $name,)*
        }

        impl Reason {
            /// Every reason, in the order of their numbers.
            pub const ALL: &'static [Reason] = &[$(Reason::$name,)*];

            /// The name used by counters and logs.
            pub fn name(self) -> &'static str {
                match self { $(Reason::$name => $text,)* }
            }
        }
    };
}

reasons! {
    /// The peer closed in order and everything queued for it was sent.
    PeerClosed = "peer_closed",
    /// The peer reset the connection, or was gone when we sent.
    PeerReset = "peer_reset",
    /// The peer closed in the middle of a frame.
    TruncatedFrame = "truncated_frame",
    /// A frame's size is below its own header's.
    FrameTooShort = "frame_too_short",
    /// A frame's size is over the limit.
    FrameTooLong = "frame_too_long",
    /// No whole frame came in time after connecting.
    FirstFrameLate = "first_frame_late",
    /// A frame that had begun did not become whole in time.
    FrameLate = "frame_late",
    /// Nothing was received for too long.
    Idle = "idle",
    /// Bytes were queued and none of them could be sent for too long.
    SendStalled = "send_stalled",
    /// More was queued for it than its send queue may hold.
    SendQueueFull = "send_queue_full",
    /// More was received than may be kept unread.
    RecvBacklogFull = "recv_backlog_full",
    /// All sessions together held nearly as much as they may, and this one most of it, or longest without moving.
    MemoryPressure = "memory_pressure",
    /// More messages, bytes or joins of rooms came in a second than the session may bring.
    RateExceeded = "rate_exceeded",
    /// The peer broke the application's protocol; the handler said so.
    Protocol = "protocol",
    /// A packet came that nobody handles.
    UnknownPacket = "unknown_packet",
    /// Bytes came to a session type that has no `on_recv`, or has `on_packet` and lacks `FRAMING = Framing::Packets`.
    UnhandledBytes = "unhandled_bytes",
    /// The handler ended it in order.
    Handler = "handler",
    /// Somebody outside its own callbacks ended it.
    Kicked = "kicked",
    /// It was to join more topics or rooms than a session may be in.
    MembershipsFull = "memberships_full",
    /// What a room said to it found no room in the mailbox of its worker, which did not keep up.
    Lagged = "lagged",
    /// The room that it was in has ended.
    RoomClosed = "room_closed",
    /// The room that it was to join has as many members as it may, or takes no more packets.
    RoomFull = "room_full",
    /// A callback panicked.
    HandlerPanic = "handler_panic",
    /// The service is stopping.
    Shutdown = "shutdown",
    /// The system had no memory for an operation.
    OutOfMemory = "out_of_memory",
    /// The network gave up: no answer to what was sent.
    TimedOut = "timed_out",
    /// The network says that there is no way to the peer.
    Unreachable = "unreachable",
    /// The system failed an operation in another way; the log holds its number.
    System = "system",
}

impl Reason {
    /// The reason for a failure that a system reported under an established session.
    pub fn from_system(error: OsError) -> Self {
        match error.kind {
            Failure::MemoryExhausted => Reason::OutOfMemory,
            Failure::TimedOut => Reason::TimedOut,
            Failure::Unreachable => Reason::Unreachable,
            Failure::PeerGone | Failure::Refused => Reason::PeerReset,
            _ => Reason::System,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_number_and_name() {
        for (index, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
            assert_eq!(Reason::ALL.iter().filter(|other| other.name() == reason.name()).count(), 1);
        }
    }
}
