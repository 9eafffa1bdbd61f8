//! Every bound of a session and of a service, in one place.
//!
//! Each limit has a name, a [`DisconnectReason`](crate::reason::DisconnectReason) or a counter that shows when it was
//! reached, and a test. The defaults protect an untuned server.
//!
//! The worst-case memory of one session, with the defaults:
//!
//! ```text
//!   256 KiB  send_queue_bytes_max            what others and the handler queued for it
//! +  64 KiB  data_bytes_max                  droppable data for a slow peer
//! +  16 MiB  file_bytes_max                  its file reads and writes in flight
//! +  16 KiB  frame_bytes_max                 one cut frame; message_bytes_max, 64 KiB, where it has messages
//! +   8 MiB  recv_backlog_bytes_max          received before a pause took effect; bounded in practice by
//!                                            the kernel's receive buffer, and empty while it drains
//! ```
//!
//! An idle session holds none of the five. All backlogs of a worker together are bounded by
//! `recv_backlog_total_bytes_max` (128 MiB), because many peers that request data and do not read it fill their
//! backlogs at the same time. `memory_bytes_max` bounds all of it together, if it is set.

use std::time::Duration;

use crate::id::SessionId;

/// Most sessions of a service: the number of distinct slots in an id.
const SESSIONS_MAX: usize = SessionId::SLOTS_MAX as usize;

/// What happens to bytes for a session whose send queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// The session ends with [`DisconnectReason::SendQueueFull`](crate::reason::DisconnectReason::SendQueueFull).
    EndSession,
    /// The new bytes are dropped as a whole and counted; the session continues.
    DropNew,
}

/// What happens to a session that exceeds one of its rates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateLimitAction {
    /// Reading from it pauses, so that TCP slows its peer down. Nothing is lost, as long as what such sessions had
    /// sent already fits [`Limits::recv_backlog_total_bytes_max`]. Counted as `rate_limited_total`.
    Pause,
    /// The session ends with [`DisconnectReason::RateExceeded`](crate::reason::DisconnectReason::RateExceeded).
    EndSession,
}

/// An empty packet that both sides send when they have been silent; no handler sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// The packet's id.
    pub packet_id: u16,
    /// Sent after this long without sending anything else; not 0.
    pub every: Duration,
}

/// Bounds of every session of a service.
///
/// ```
/// use naksi_core::limits::Limits;
/// let limits = Limits { messages_per_second_max: 100, frame_bytes_max: 4096, ..Limits::default() };
/// assert_eq!(limits.check(), Ok(()));
/// ```
#[derive(Clone, Debug)]
pub struct Limits {
    /// Largest frame, header included, in bytes (4 to 65,535).
    /// Default: 16 KiB. The session ends with
    /// [`DisconnectReason::FrameTooLong`](crate::reason::DisconnectReason::FrameTooLong).
    pub frame_bytes_max: usize,
    /// Largest frame before the first whole frame has been received, in bytes. Accepted sessions only; peers that
    /// this process connects to are trusted. Default: 4 KiB. The session ends with
    /// [`DisconnectReason::FrameTooLong`](crate::reason::DisconnectReason::FrameTooLong).
    pub first_frame_bytes_max: usize,
    /// Time limit for the first whole frame after connecting. Accepted framed sessions only. Here and below, time
    /// during which receiving is paused by a full send queue, a rate or a room is added. Default: 10 s. The session
    /// ends with [`DisconnectReason::FirstFrameLate`](crate::reason::DisconnectReason::FirstFrameLate).
    pub first_frame_within: Duration,
    /// Time limit for a whole frame after its first byte. Default: 10 s. The session ends with
    /// [`DisconnectReason::FrameLate`](crate::reason::DisconnectReason::FrameLate).
    pub frame_within: Duration,
    /// Longest head of the HTTP request or response of a WebSocket handshake, in bytes. It may have at most 64 lines,
    /// and must be received within `first_frame_within`
    /// ([`DisconnectReason::HandshakeLate`](crate::reason::DisconnectReason::HandshakeLate)). Default: 8 KiB. The
    /// session ends with [`DisconnectReason::HeadTooLong`](crate::reason::DisconnectReason::HeadTooLong).
    pub head_bytes_max: usize,
    /// Largest message of a session with [`Framing::Messages`](crate::session::Framing::Messages), in bytes (1 to 1 GiB). It
    /// must be whole within `frame_within` ([`DisconnectReason::FrameLate`](crate::reason::DisconnectReason::FrameLate)).
    /// Default: 64 KiB. The session ends with [`DisconnectReason::MessageTooLong`](crate::reason::DisconnectReason::MessageTooLong).
    pub message_bytes_max: usize,
    /// Most fragments of one message; in sessions without [`Framing::Messages`](crate::session::Framing::Messages)
    /// only empty ones count. Default: 131,072. The session ends with
    /// [`DisconnectReason::TooManyFragments`](crate::reason::DisconnectReason::TooManyFragments).
    pub message_fragments_max: u32,
    /// A session that receives nothing for this long ends.
    /// Default: 60 s. The session ends with [`DisconnectReason::Idle`](crate::reason::DisconnectReason::Idle).
    pub idle_within: Duration,
    /// A session that has bytes to send and makes no progress for this long ends. Windows reports progress every 128
    /// KiB of a long batch, Linux after any part. Default: 30 s. The session ends with
    /// [`DisconnectReason::SendStalled`](crate::reason::DisconnectReason::SendStalled).
    pub send_stall_within: Duration,
    /// Heartbeats of framed sessions; off by default, because the protocol must define the packet. Default: none.
    pub heartbeat: Option<Heartbeat>,
    /// Most bytes queued for one session, including those with the kernel. Default: 256 KiB.
    pub send_queue_bytes_max: usize,
    /// Most pieces queued for one session.
    /// Default: 1,024.
    pub send_queue_entries_max: usize,
    /// Over this many queued bytes, or with a full queue, a session stops receiving.
    /// Default: 64 KiB.
    pub send_queue_high_bytes: usize,
    /// At or below this many queued bytes it receives again.
    /// Default: 32 KiB.
    pub send_queue_low_bytes: usize,
    /// The kernel's send buffer for one accepted session (sent and not yet acknowledged), in bytes; 0 leaves it to
    /// the system. It is in addition to `send_queue_bytes_max`. Linux by itself would let it grow to 4 MiB for a peer
    /// that does not read. Default: 256 KiB.
    pub kernel_send_bytes_max: usize,
    /// The kernel's receive buffer for one accepted session, in bytes; 0 leaves it to the system. It bounds what a
    /// peer can have in flight: 256 KiB with a round trip of a tenth of a second allow 20 Mbit/s. Linux grants at
    /// most `net.core.rmem_max` (and `wmem_max` to send), 208 KiB on many systems, and a log line says so where that
    /// is much less than requested; 0 may then give more. Default: 256 KiB.
    pub kernel_recv_bytes_max: usize,
    /// Most bytes of droppable data that wait for one session that does not keep up, beside the send queue; see
    /// [`droppable_queue`](crate::droppable_queue). Default: 64 KiB.
    pub data_bytes_max: usize,
    /// Most messages of data that wait for one session.
    /// Default: 1,024.
    pub data_entries_max: usize,
    /// What happens to bytes that do not fit.
    /// Default: [`Overflow::EndSession`].
    pub overflow: Overflow,
    /// Most unconsumed bytes of one session: received while it was paused, or not consumed by `on_recv`. Default: 8
    /// MiB. The session ends with
    /// [`DisconnectReason::RecvBacklogFull`](crate::reason::DisconnectReason::RecvBacklogFull).
    pub recv_backlog_bytes_max: usize,
    /// Most unconsumed bytes of all sessions of one worker. Above it, a session that keeps more than one incomplete
    /// frame ends. Default: 128 MiB. The session ends with
    /// [`DisconnectReason::RecvBacklogFull`](crate::reason::DisconnectReason::RecvBacklogFull).
    pub recv_backlog_total_bytes_max: usize,
    /// Most bytes of memory that all sessions of the service hold together; 0 is no limit. Included are the buffers
    /// of queued data, also while it is with the kernel, droppable data, received data that no callback has consumed,
    /// and data on its way to and from rooms in the mailboxes of rooms and workers. Capacity counts, not contents:
    /// one byte of an incomplete frame holds a buffer of 64. Shared data counts for *each* session that shares it: 16
    /// KiB sent to ten thousand sessions are 160 MB here until they are sent. Not included are pooled buffers (at
    /// most 25 MiB a worker, freed when unused for five seconds), what rooms and groups keep themselves, file
    /// operations (they have their own limit), the sessions themselves, and the kernel's buffers.
    ///
    /// From 90 % on no new connection is accepted (`refused_memory_total`). From 95 % on, sessions end that hold
    /// bytes that have not moved for five seconds; from 98 % on, those that hold most end too, until usage is below
    /// 90 % again (`relieved_total`,
    /// [`DisconnectReason::MemoryPressure`](crate::reason::DisconnectReason::MemoryPressure); a session that was
    /// ending already keeps its reason). Usage is checked once a turn, so what one turn queues may exceed the limit.
    /// A client's connections end as a server's do, and are made again as its `Retry` says. Default: 0.
    pub memory_bytes_max: usize,
    /// Most messages (whole frames) per second from an accepted session, with a burst of as many; 0 is no limit. Raw
    /// bytes have no messages: only the next limit applies to them. Default: 0.
    pub messages_per_second_max: u32,
    /// Most bytes per second from an accepted session, with a burst of as many; 0 is no limit. At least one frame.
    /// Default: 0.
    pub recv_bytes_per_second_max: usize,
    /// Most rooms per second that an accepted session may join, with a burst of as many; 0 is no limit. Every join is
    /// reported to all members of a room, and takes memory until the room has processed it. A session that is four
    /// bursts over its rate, which a single callback can cause, or over it for ten seconds, ends with
    /// [`DisconnectReason::RateExceeded`](crate::reason::DisconnectReason::RateExceeded) in any case. Default: 64.
    pub room_joins_per_second_max: u32,
    /// Most topics, and most rooms, that one session is in at once. A session that joins more ends with
    /// [`DisconnectReason::MembershipsFull`](crate::reason::DisconnectReason::MembershipsFull). Default: 1,024.
    pub memberships_max: usize,
    /// Most bytes of memory that rooms hold for what one session has sent them (packets, joins, leaves, calls) and
    /// they have not processed. Above it, reading from the session pauses until rooms have processed half of that
    /// (`room_pauses_total`). Default: 16 KiB.
    pub room_backlog_bytes_max: usize,
    /// What happens to a session that exceeds one of the three rates. Default: [`RateLimitAction::Pause`].
    pub rate_limit_action: RateLimitAction,
    /// Most files that one session may have open. A further open completes with `FileDone::Failed` and
    /// [`Failure::OverLimit`](crate::ended::Failure::OverLimit). Default: 64. Counted as `file_refused_total`.
    pub files_max: usize,
    /// Most file operations (opens, reads, writes, syncs) of one session in flight. A further one fails in the same
    /// way, and the session gets no more data in that turn. Default: 256. Counted as `file_refused_total`.
    pub file_operations_max: usize,
    /// Most bytes of the reads and writes of one session in flight; a read counts by the size of its buffer. An
    /// operation beyond that fails in the same way. Default: 16 MiB. Counted as `file_refused_total`.
    pub file_bytes_max: usize,
    /// How long a session that ends gracefully may take to flush its queue. A session whose peer has closed its
    /// sending side first waits as long for its rooms' answers. Default: 3 s.
    pub drain_within: Duration,
    /// How long the peer's own end is awaited after flushing, before the socket is closed. Default: 1 s.
    pub linger_within: Duration,
    /// Most sessions of a service, 1 to 16,777,216; more are refused at accept.
    /// Default: 1,000,000. Counted as `refused_full_total`.
    pub sessions_max: usize,
    /// Most connections from one address.
    /// Default: 64. Counted as `refused_address_total`.
    pub connections_per_address_max: u32,
    /// Most connections accepted per second, with a burst of as many. Default: 2,000. Counted as
    /// `refused_rate_total`.
    pub accepts_per_second_max: u32,
    /// Most connections of a service whose transport (TLS, WebSocket) has not completed its handshake, for which each has
    /// `first_frame_within`; more are refused at accept. Default: 4,096. Counted as `refused_handshakes_total`.
    pub handshakes_max: usize,
    /// Whether `connections_per_address_max` and `accepts_per_second_max` exempt loopback addresses, from which load tests
    /// come. Default: `true`.
    pub loopback_exempt: bool,
    /// Most log lines per second and worker about the same subject: refusals, pauses of accepting, panics. Default:
    /// 100. Counted as `log_lines_suppressed_total`.
    pub log_lines_per_second_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            frame_bytes_max: 16 * 1024,
            first_frame_bytes_max: 4 * 1024,
            first_frame_within: Duration::from_secs(10),
            frame_within: Duration::from_secs(10),
            head_bytes_max: 8 * 1024,
            message_bytes_max: 64 * 1024,
            message_fragments_max: 1 << 17,
            idle_within: Duration::from_secs(60),
            send_stall_within: Duration::from_secs(30),
            heartbeat: None,
            send_queue_bytes_max: 256 * 1024,
            send_queue_entries_max: 1024,
            send_queue_high_bytes: 64 * 1024,
            send_queue_low_bytes: 32 * 1024,
            kernel_send_bytes_max: 256 * 1024,
            kernel_recv_bytes_max: 256 * 1024,
            data_bytes_max: 64 * 1024,
            data_entries_max: 1024,
            overflow: Overflow::EndSession,
            recv_backlog_bytes_max: 8 * 1024 * 1024,
            recv_backlog_total_bytes_max: 128 * 1024 * 1024,
            memory_bytes_max: 0,
            messages_per_second_max: 0,
            recv_bytes_per_second_max: 0,
            room_joins_per_second_max: 64,
            memberships_max: 1024,
            room_backlog_bytes_max: 16 * 1024,
            rate_limit_action: RateLimitAction::Pause,
            files_max: 64,
            file_operations_max: 256,
            file_bytes_max: 16 * 1024 * 1024,
            drain_within: Duration::from_secs(3),
            linger_within: Duration::from_secs(1),
            sessions_max: 1_000_000,
            connections_per_address_max: 64,
            accepts_per_second_max: 2_000,
            handshakes_max: 4096,
            loopback_exempt: true,
            log_lines_per_second_max: 100,
        }
    }
}

impl Limits {
    /// Checks the limits.
    ///
    /// # Errors
    /// The first invalid limit and what it must be.
    pub fn check(&self) -> Result<(), String> {
        match self.faults().first() {
            Some(rule) => Err((*rule).to_owned()),
            None => Ok(()),
        }
    }

    /// All invalid limits, each with what it must be.
    pub fn faults(&self) -> Vec<&'static str> {
        let rules = [
            ((4..=65_535).contains(&self.frame_bytes_max), "frame_bytes_max must be 4 to 65,535"),
            (self.first_frame_bytes_max >= 4, "first_frame_bytes_max must be at least 4"),
            ((256..=1 << 20).contains(&self.head_bytes_max), "head_bytes_max must be 256 to 1 MiB"),
            ((1..=1 << 30).contains(&self.message_bytes_max), "message_bytes_max must be 1 to 1 GiB"),
            (
                self.send_queue_low_bytes <= self.send_queue_high_bytes,
                "send_queue_low_bytes must not be above send_queue_high_bytes",
            ),
            (
                self.send_queue_high_bytes <= self.send_queue_bytes_max,
                "send_queue_high_bytes must not be above send_queue_bytes_max",
            ),
            (
                self.send_queue_bytes_max >= self.frame_bytes_max,
                "send_queue_bytes_max must hold at least one frame (frame_bytes_max)",
            ),
            (
                [self.kernel_send_bytes_max, self.kernel_recv_bytes_max]
                    .iter()
                    .all(|bytes| *bytes == 0 || (4096..=1 << 30).contains(bytes)),
                "kernel_send_bytes_max and kernel_recv_bytes_max must be 0 or 4 KiB to 1 GiB",
            ),
            (
                u32::try_from(self.send_queue_bytes_max).is_ok(),
                "send_queue_bytes_max must be less than 4 GiB",
            ),
            (
                self.recv_backlog_bytes_max >= self.frame_bytes_max,
                "recv_backlog_bytes_max must hold at least one frame (frame_bytes_max)",
            ),
            (
                self.recv_backlog_total_bytes_max >= self.recv_backlog_bytes_max,
                "recv_backlog_total_bytes_max must hold at least one backlog (recv_backlog_bytes_max)",
            ),
            (
                self.memory_bytes_max == 0 || self.memory_bytes_max / 2 >= self.send_queue_bytes_max,
                "memory_bytes_max must be 0 or hold at least two send queues (send_queue_bytes_max)",
            ),
            (
                self.recv_bytes_per_second_max == 0 || self.recv_bytes_per_second_max >= self.frame_bytes_max,
                "recv_bytes_per_second_max must be 0 or let at least one frame through (frame_bytes_max)",
            ),
            (
                [self.idle_within, self.first_frame_within, self.frame_within, self.send_stall_within]
                    .iter()
                    .all(|span| !span.is_zero()),
                "idle_within, first_frame_within, frame_within and send_stall_within must not be 0: every session would \
                 end at once (a long time, like \"8760h\", is as good as none)",
            ),
            (
                (1..=SESSIONS_MAX).contains(&self.sessions_max),
                "sessions_max must be 1 to 16,777,216: a worker names no more",
            ),
        ];
        let rules = rules.into_iter().chain(self.rules_against_zero());
        rules.filter(|(holds, _)| !holds).map(|(_, rule)| rule).collect()
    }

    /// Limits for which 0 would block everything, each with whether it is valid.
    fn rules_against_zero(&self) -> [(bool, &'static str); 12] {
        [
            (self.handshakes_max > 0, "handshakes_max must not be 0"),
            (self.send_queue_high_bytes > 0, "send_queue_high_bytes must not be 0"),
            (
                self.data_bytes_max > 0 && self.data_entries_max > 0,
                "data_bytes_max and data_entries_max must not be 0",
            ),
            (self.send_queue_entries_max > 0, "send_queue_entries_max must not be 0"),
            (self.room_backlog_bytes_max > 0, "room_backlog_bytes_max must not be 0"),
            (self.memberships_max > 0, "memberships_max must not be 0"),
            (self.message_fragments_max > 0, "message_fragments_max must not be 0"),
            (
                self.heartbeat.is_none_or(|heartbeat| !heartbeat.every.is_zero()),
                "a heartbeat must not come every 0 seconds",
            ),
            (
                self.files_max > 0 && self.file_operations_max > 0 && self.file_bytes_max > 0,
                "files_max, file_operations_max and file_bytes_max must not be 0",
            ),
            (self.connections_per_address_max > 0, "connections_per_address_max must not be 0"),
            (self.log_lines_per_second_max > 0, "log_lines_per_second_max must not be 0"),
            (self.accepts_per_second_max > 0, "accepts_per_second_max must not be 0"),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_that_are_documented() {
        const KIB: usize = 1024;
        let Limits { frame_bytes_max, first_frame_bytes_max, first_frame_within, idle_within, .. } =
            Limits::default();
        assert_eq!((frame_bytes_max, first_frame_bytes_max), (16 * KIB, 4 * KIB));
        assert_eq!((first_frame_within.as_secs(), idle_within.as_secs()), (10, 60));
        let limits = Limits::default();
        let marks = (limits.send_queue_low_bytes, limits.send_queue_high_bytes, limits.send_queue_bytes_max);
        assert_eq!(marks, (32 * KIB, 64 * KIB, 256 * KIB));
        assert_eq!((limits.connections_per_address_max, limits.accepts_per_second_max), (64, 2_000));
        assert_eq!((limits.loopback_exempt, limits.log_lines_per_second_max), (true, 100));
    }

    #[test]
    fn the_defaults_make_sense_and_nonsense_is_named() {
        assert_eq!(Limits::default().check(), Ok(()));
        let crossed = Limits { send_queue_low_bytes: 70_000, ..Limits::default() };
        assert!(crossed.check().unwrap_err().contains("send_queue_low_bytes"));
        let short = Limits { frame_bytes_max: 3, ..Limits::default() };
        assert!(short.check().unwrap_err().contains("frame_bytes_max"));
        let narrow = Limits { kernel_send_bytes_max: 1, ..Limits::default() };
        assert!(narrow.check().unwrap_err().contains("kernel_send_bytes_max"));
        let choked = Limits { recv_bytes_per_second_max: 1000, ..Limits::default() };
        assert!(choked.check().unwrap_err().contains("recv_bytes_per_second_max"));
        let cramped = Limits { memory_bytes_max: 300 * 1024, ..Limits::default() };
        assert!(cramped.check().unwrap_err().contains("memory_bytes_max"));
        let hasty = Limits { idle_within: Duration::ZERO, ..Limits::default() };
        assert!(hasty.check().unwrap_err().contains("idle_within"));
        let heartbeat = Some(Heartbeat { packet_id: 1, every: Duration::ZERO });
        let restless = Limits { heartbeat, ..Limits::default() };
        assert!(restless.check().unwrap_err().contains("heartbeat"));
    }

    /// Changes a limit to a value.
    type Set = fn(&mut Limits, usize);

    #[test]
    fn each_limit_that_must_not_be_zero_may_be_one_and_is_named_when_it_is_zero() {
        let sets: [(&str, Set); 13] = [
            ("handshakes_max", |limits, to| limits.handshakes_max = to),
            ("send_queue_high_bytes", |limits, to| {
                (limits.send_queue_low_bytes, limits.send_queue_high_bytes) = (0, to);
            }),
            ("data_bytes_max", |limits, to| limits.data_bytes_max = to),
            ("message_fragments_max", |limits, to| limits.message_fragments_max = to as u32),
            ("data_entries_max", |limits, to| limits.data_entries_max = to),
            ("send_queue_entries_max", |limits, to| limits.send_queue_entries_max = to),
            ("room_backlog_bytes_max", |limits, to| limits.room_backlog_bytes_max = to),
            ("memberships_max", |limits, to| limits.memberships_max = to),
            ("files_max", |limits, to| limits.files_max = to),
            ("file_operations_max", |limits, to| limits.file_operations_max = to),
            ("file_bytes_max", |limits, to| limits.file_bytes_max = to),
            ("log_lines_per_second_max", |limits, to| limits.log_lines_per_second_max = to as u32),
            ("accepts_per_second_max", |limits, to| limits.accepts_per_second_max = to as u32),
        ];
        for (name, set) in sets {
            let mut limits = Limits::default();
            set(&mut limits, 1);
            assert_eq!(limits.check(), Ok(()), "{name} of 1");
            set(&mut limits, 0);
            assert!(limits.check().is_err_and(|rule| rule.contains(name)), "{name} of 0");
        }
    }

    #[test]
    fn a_limit_makes_sense_up_to_its_bound_and_not_one_beyond() {
        const KIB: usize = 1024;
        let sets: [(&str, Set, usize, usize); 16] = [
            ("frame_bytes_max", |limits, to| limits.frame_bytes_max = to, 4, 3),
            ("frame_bytes_max", |limits, to| limits.frame_bytes_max = to, 65_535, 65_536),
            ("first_frame_bytes_max", |limits, to| limits.first_frame_bytes_max = to, 4, 3),
            ("head_bytes_max", |limits, to| limits.head_bytes_max = to, 256, 255),
            ("head_bytes_max", |limits, to| limits.head_bytes_max = to, 1 << 20, (1 << 20) + 1),
            ("message_bytes_max", |limits, to| limits.message_bytes_max = to, 1, 0),
            ("message_bytes_max", |limits, to| limits.message_bytes_max = to, 1 << 30, (1 << 30) + 1),
            ("send_queue_low_bytes", |limits, to| limits.send_queue_low_bytes = to, 64 * KIB, 64 * KIB + 1),
            (
                "send_queue_high_bytes",
                |limits, to| limits.send_queue_high_bytes = to,
                256 * KIB,
                256 * KIB + 1,
            ),
            ("kernel_send_bytes_max", |limits, to| limits.kernel_send_bytes_max = to, 4096, 4095),
            ("kernel_recv_bytes_max", |limits, to| limits.kernel_recv_bytes_max = to, 1 << 30, (1 << 30) + 1),
            (
                "recv_backlog_bytes_max",
                |limits, to| limits.recv_backlog_bytes_max = to,
                16 * KIB,
                16 * KIB - 1,
            ),
            ("memory_bytes_max", |limits, to| limits.memory_bytes_max = to, 512 * KIB, 512 * KIB - 1),
            (
                "recv_bytes_per_second_max",
                |limits, to| limits.recv_bytes_per_second_max = to,
                16 * KIB,
                16 * KIB - 1,
            ),
            (
                "connections_per_address_max",
                |limits, to| limits.connections_per_address_max = to as u32,
                1,
                0,
            ),
            ("sessions_max", |limits, to| limits.sessions_max = to, 1 << 24, (1 << 24) + 1),
        ];
        for (name, set, good, bad) in sets {
            let mut limits = Limits::default();
            set(&mut limits, good);
            assert_eq!(limits.check(), Ok(()), "{name} of {good}");
            set(&mut limits, bad);
            assert!(limits.check().is_err_and(|rule| rule.contains(name)), "{name} of {bad}");
        }
    }
}
