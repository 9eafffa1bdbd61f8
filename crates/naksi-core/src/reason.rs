//! Why a session ended: a closed set of reasons, for the callback, the counters and the log. The first reason is
//! kept.

use std::fmt;
use std::sync::Arc;

use crate::ended::{Failure, OsError};

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident $(($held:ty))? = $text:literal,)*) => {
        /// Why a session ended.
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum DisconnectReason {
            $($(#[$doc])* $name $(($held))?,)*
        }

        #[derive(Clone, Copy)]
        enum Number { $($name,)* }

        impl DisconnectReason {
            /// The name of every reason, in the order of their numbers.
            pub const NAMES: &'static [&'static str] = &[$($text,)*];

            /// Its place in [`DisconnectReason::NAMES`].
            pub fn number(&self) -> usize {
                let number = match self { $(reasons!(@pattern $name $($held)?) => Number::$name,)* };
                number as usize
            }
        }
    };
    (@pattern $name:ident) => { DisconnectReason::$name };
    (@pattern $name:ident $held:ty) => { DisconnectReason::$name(_) };
}

reasons! {
    /// The peer closed the connection in order and everything queued for it was sent.
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
    /// The handshake of its transport was not done in time.
    HandshakeLate = "handshake_late",
    /// The bytes before the first message were no WebSocket handshake, or one that asks for something not offered.
    BadHandshake = "bad_handshake",
    /// The head of an HTTP request or response exceeded its limit of bytes or lines.
    HeadTooLong = "head_too_long",
    /// A page of another origin wanted to connect.
    OriginRefused = "origin_refused",
    /// What came first to a TLS port was no TLS: a client that speaks plain text, or HTTP.
    NotTls = "not_tls",
    /// The two sides of a TLS handshake have no version, no cipher suite or no protocol (ALPN) in common.
    TlsRefused = "tls_refused",
    /// The peer's certificate is missing, has expired, is for another name, or is signed by none that is trusted.
    CertificateRefused = "certificate_refused",
    /// The peer broke the rules of TLS: a record that is too long, empty or damaged, a message out of place, or too many of them.
    TlsViolation = "tls_violation",
    /// The peer gave up the TLS connection with a fatal alert: often because it does not trust our certificate.
    TlsAlert = "tls_alert",
    /// The stream ended without TLS's own end (`close_notify`): what the peer sent last may be missing. Many clients that
    /// just close their socket end like this.
    TlsTruncated = "tls_truncated",
    /// The peer uses another version of the packets.
    VersionRefused = "version_refused",
    /// The peer broke the rules of WebSocket frames.
    WebSocketViolation = "websocket_violation",
    /// A client's frame was not masked, or a server's was.
    WrongMask = "wrong_mask",
    /// A text message was not UTF-8.
    TextNotUtf8 = "text_not_utf8",
    /// A text message came where frames travel in binary ones.
    TextRefused = "text_refused",
    /// A message was longer than it may be.
    MessageTooLong = "message_too_long",
    /// A message came in more fragments than it may.
    TooManyFragments = "too_many_fragments",
    /// Nothing was received for too long.
    Idle = "idle",
    /// Bytes were queued and none of them could be sent for too long.
    SendStalled = "send_stalled",
    /// More was queued for it than its send queue may hold.
    SendQueueFull = "send_queue_full",
    /// More was received than may be kept unread.
    RecvBacklogFull = "recv_backlog_full",
    /// All sessions together were close to the memory limit, and this one held most, or held bytes that did not move.
    MemoryPressure = "memory_pressure",
    /// The session exceeded its rate of messages, bytes or room joins.
    RateExceeded = "rate_exceeded",
    /// The peer violated the application's protocol, as reported by the handler.
    Protocol = "protocol",
    /// The peer, which began with HELLO, sent a frame with an id of the engine that has no meaning there.
    BadEngineMessage = "bad_engine_message",
    /// A packet came that no handler takes.
    UnknownPacket = "unknown_packet",
    /// Bytes were received by a session type that has no `on_recv`, or that has `on_packet` and lacks `FRAMING =
    /// Framing::Packets`.
    UnhandledBytes = "unhandled_bytes",
    /// The handler ended it in order.
    Handler = "handler",
    /// Code outside its own callbacks ended it.
    Kicked = "kicked",
    /// The session tried to join more topics or rooms than a session may be in.
    MembershipsFull = "memberships_full",
    /// A message of one of its rooms or topics did not fit the mailbox of its worker, which did not keep up.
    Lagged = "lagged",
    /// The room that it was in has ended.
    RoomClosed = "room_closed",
    /// The room that it tried to join has its maximum of members, or its mailbox is full.
    RoomFull = "room_full",
    /// A callback panicked.
    HandlerPanic = "handler_panic",
    /// The service is stopping.
    Shutdown = "shutdown",
    /// The system had no memory for an operation.
    OutOfMemory(OsError) = "out_of_memory",
    /// The network gave up: no answer to what was sent.
    TimedOut(OsError) = "timed_out",
    /// The network has no route to the peer.
    Unreachable(OsError) = "unreachable",
    /// Another failure of the system, with the system's error number.
    System(OsError) = "system",
    /// The application ended it for its own cause; see [`DisconnectReason::custom`].
    Custom(Cause) = "custom",
}

impl DisconnectReason {
    /// The application's own cause: a code, and a short text for the log. A text longer than
    /// [`Cause::TEXT_BYTES_MAX`] is cut. All causes are counted under one name, `custom`.
    ///
    /// ```
    /// use naksi_core::reason::DisconnectReason;
    /// let banned = DisconnectReason::custom(4001, "banned for 3 days");
    /// assert_eq!(banned.name(), "custom");
    /// assert_eq!(banned.cause().map(|cause| (cause.code(), cause.text())), Some((4001, "banned for 3 days")));
    /// ```
    pub fn custom(code: u32, text: impl AsRef<str>) -> Self {
        let text = text.as_ref();
        let cut = text.floor_char_boundary(Cause::TEXT_BYTES_MAX);
        DisconnectReason::Custom(Cause(Arc::new((code, text[..cut].into()))))
    }

    /// The reason for a failure that a system reported for an established session.
    pub fn from_system(error: OsError) -> Self {
        match error.kind {
            Failure::MemoryExhausted => DisconnectReason::OutOfMemory(error),
            Failure::TimedOut => DisconnectReason::TimedOut(error),
            Failure::Unreachable => DisconnectReason::Unreachable(error),
            Failure::PeerGone | Failure::Refused => DisconnectReason::PeerReset,
            _ => DisconnectReason::System(error),
        }
    }

    /// The name used by counters and logs.
    pub fn name(&self) -> &'static str {
        Self::NAMES[self.number()]
    }

    /// The system's error, if it was one.
    pub fn os_error(&self) -> Option<OsError> {
        match self {
            DisconnectReason::OutOfMemory(error)
            | DisconnectReason::TimedOut(error)
            | DisconnectReason::Unreachable(error)
            | DisconnectReason::System(error) => Some(*error),
            _ => None,
        }
    }

    /// The application's own cause, if it was one.
    pub fn cause(&self) -> Option<&Cause> {
        match self {
            DisconnectReason::Custom(cause) => Some(cause),
            _ => None,
        }
    }
}

impl fmt::Display for DisconnectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            DisconnectReason::Custom(cause) => write!(f, " {} {:?}", cause.code(), cause.text()),
            _ => Ok(()),
        }
    }
}

/// Why an application ended a session: its own code, and a short text.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cause(Arc<(u32, Box<str>)>);

impl Cause {
    /// Most bytes of the text.
    pub const TEXT_BYTES_MAX: usize = 120;

    /// The application's code.
    pub fn code(&self) -> u32 {
        self.0.0
    }

    /// The application's text, of at most [`Cause::TEXT_BYTES_MAX`] bytes.
    pub fn text(&self) -> &str {
        &self.0.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_number_and_name() {
        for name in DisconnectReason::NAMES {
            assert_eq!(DisconnectReason::NAMES.iter().filter(|other| *other == name).count(), 1, "{name}");
        }
        let error = OsError::new(Failure::Other, 71);
        for (reason, name) in [
            (DisconnectReason::PeerClosed, "peer_closed"),
            (DisconnectReason::Shutdown, "shutdown"),
            (DisconnectReason::System(error), "system"),
            (DisconnectReason::custom(1, ""), "custom"),
        ] {
            assert_eq!((reason.name(), DisconnectReason::NAMES[reason.number()]), (name, name));
        }
    }

    #[test]
    fn a_failure_of_the_system_keeps_its_number() {
        for kind in [Failure::MemoryExhausted, Failure::TimedOut, Failure::Unreachable, Failure::Other] {
            let error = OsError::new(kind, 113);
            assert_eq!(DisconnectReason::from_system(error).os_error(), Some(error));
        }
        assert_eq!(DisconnectReason::PeerReset.os_error(), None);
    }

    #[test]
    fn what_a_failure_means_to_a_session_is_its_reason() {
        for (kind, name) in [
            (Failure::MemoryExhausted, "out_of_memory"),
            (Failure::TimedOut, "timed_out"),
            (Failure::Unreachable, "unreachable"),
            (Failure::PeerGone, "peer_reset"),
            (Failure::Refused, "peer_reset"),
            (Failure::Other, "system"),
        ] {
            assert_eq!(DisconnectReason::from_system(OsError::new(kind, 1)).name(), name);
        }
    }

    #[test]
    fn an_own_cause_has_its_code_and_a_text_that_is_cut_between_letters() {
        let long = "낚시".repeat(100);
        let reason = DisconnectReason::custom(u32::MAX, &long);
        let cause = reason.cause().expect("it is its own");
        assert_eq!((cause.code(), cause.text()), (u32::MAX, "낚시".repeat(20).as_str()));
        assert_eq!(cause.text().len(), Cause::TEXT_BYTES_MAX);
        let odd = format!("x{long}");
        assert_eq!(DisconnectReason::custom(0, &odd).cause().map(|cause| cause.text().len()), Some(118));
        assert_eq!(
            DisconnectReason::custom(7, "a\nb").to_string(),
            "custom 7 \"a\\nb\"",
            "one line in a log"
        );
        assert!(size_of::<DisconnectReason>() <= 16, "every mailbox entry has one");
    }
}
