//! Calls the user's callbacks with a `Conn`, and catches their panics.
//!
//! A panic in a callback ends its session and is counted; the worker continues.

use core::net::SocketAddr;

use naksi_core::callbacks::{CloseMode, SessionCallbacks, SessionOutput, Traffic};
use naksi_core::frame::Packet;
use naksi_core::id::SessionId;
use naksi_core::reason::{Cause, DisconnectReason};
use naksi_core::timer::TimerKey;
use naksi_core::unwind::catch_panic;
use naksi_core::wire::Message;
use thin_vec::ThinVec;

use crate::log_limiter::Subject;
use crate::record::Entry;
use crate::room::local::RoomMembership;
use crate::room::{LeaveReason, caller};
use crate::session::Session;
use crate::session::conn::Conn;
use crate::session::context::Clock;
use crate::session::context::WorkerContext;
use crate::topic::Membership;
use crate::watchdog::{What, Who, about, seen, seen_at};

/// One session's user value and everything that its callbacks can reach.
pub(crate) struct Callbacks<'a, S> {
    pub(crate) user: &'a mut S,
    pub(crate) clock: &'a dyn Clock,
    pub(crate) context: &'a mut WorkerContext,
    pub(crate) memberships: &'a mut ThinVec<Membership>,
    pub(crate) room_memberships: &'a mut ThinVec<RoomMembership>,
    pub(crate) timers: &'a mut ThinVec<TimerKey>,
    /// A callback has panicked.
    pub(crate) broken: &'a mut bool,
    pub(crate) id: SessionId,
    pub(crate) peer: SocketAddr,
}

impl<S: Session> Callbacks<'_, S> {
    /// Runs one callback. A panic ends the session and returns `otherwise`, as do all later calls.
    pub(crate) fn play<R>(
        &mut self,
        mut output: SessionOutput<'_>,
        otherwise: R,
        run: impl FnOnce(&mut S, &mut Conn<'_>) -> R,
    ) -> R {
        if *self.broken {
            return otherwise;
        }
        let mut conn = Conn {
            output: output.reborrow(),
            context: self.context,
            memberships: self.memberships,
            room_memberships: self.room_memberships,
            timers: self.timers,
            id: self.id,
            peer: self.peer,
        };
        // The session's own state may be inconsistent after a panic: it is ended, and only `on_disconnected` is still
        // called. Everything else that a callback can reach keeps its invariants between its own calls.
        caller::begin(self.id);
        let played = catch_panic(|| seen(Who::Session(self.id), || run(self.user, &mut conn)));
        let called_bytes = caller::end();
        if called_bytes > 0 && output.bring(called_bytes, false) {
            self.context.counters.room_pauses_total.add(1);
        }
        match played {
            Ok(result) => result,
            Err(panic) => {
                *self.broken = true;
                self.context.counters.handler_panics.add(1);
                self.context.say(Subject::CallbackPanicked, |suppressed| {
                    tracing::error!(session = %self.id, panic = ?panic.text(), suppressed, "a callback panicked; its session ends");
                });
                output.end(DisconnectReason::HandlerPanic, CloseMode::Abort);
                otherwise
            }
        }
    }
}

impl<S: Session> SessionCallbacks for Callbacks<'_, S> {
    fn on_connected(&mut self, output: SessionOutput<'_>) {
        let (session, peer) = (self.id.to_u64(), self.peer);
        self.context.record(|at_us| Entry::Opened { at_us, session, peer });
        self.play(output, (), |user, conn| user.on_connected(conn));
    }

    fn on_hello(&mut self, packets: u64) -> Result<u64, u64> {
        let own = S::PACKETS.map_or(0, |table| table.version());
        if own == 0 || packets == 0 || packets == own {
            return Ok(own);
        }
        let (session, peer) = (self.id, self.peer);
        self.context.say(Subject::VersionRefused, |suppressed| {
            tracing::warn!(%session, %peer, client = %format_args!("{packets:016x}"), server = %format_args!("{own:016x}"), suppressed, "refused a client with another version of the packet table");
        });
        Err(own)
    }

    fn on_recv(&mut self, output: SessionOutput<'_>, data: &[u8]) -> usize {
        let consumed = self.play(output, data.len(), |user, conn| {
            let consumed = user.on_recv(conn, data);
            assert!(consumed <= data.len(), "on_recv consumed {consumed} of {} bytes", data.len());
            consumed
        });
        // Unconsumed bytes are offered again, and counted then.
        self.context.counters.recv_bytes.add(consumed as u64);
        self.context.record_stream(self.id.to_u64(), &data[..consumed]);
        consumed
    }

    fn on_packet(&mut self, output: SessionOutput<'_>, packet: Packet<'_>) {
        self.context.counters.recv_bytes.add(packet.frame.len() as u64);
        self.context.counters.packets.add(1);
        about(packet.id);
        let session = self.id.to_u64();
        self.context.record(|at_us| Entry::Received { at_us, session, bytes: packet.frame });
        self.play(output, (), |user, conn| user.on_packet(conn, packet));
    }

    fn on_message(&mut self, output: SessionOutput<'_>, message: Message<'_>) {
        let bytes = message.as_bytes();
        self.context.counters.recv_bytes.add(bytes.len() as u64);
        self.context.counters.packets.add(1);
        let session = self.id.to_u64();
        self.context.record(|at_us| Entry::Received { at_us, session, bytes });
        self.play(output, (), |user, conn| user.on_message(conn, message));
    }

    fn on_sent(&mut self, output: SessionOutput<'_>, bytes: usize) {
        self.context.counters.sent_bytes.add(bytes as u64);
        self.play(output, (), |user, conn| user.on_sent(conn, bytes));
    }

    fn on_draining(&mut self, mut output: SessionOutput<'_>) {
        // The session begins to drain, so this turn's broadcasts must be queued for it now.
        self.context.catch_up(self.memberships, &mut output);
    }

    fn is_owed(&mut self) -> bool {
        // The session stays open for answers of rooms in this turn or later.
        self.context.rooms.finish(self.room_memberships, self.id)
    }

    fn may_be_shown_more(&mut self) -> bool {
        self.context.turn_budget.shows_more(self.id, || self.clock.now())
    }

    fn may_open(&mut self) -> bool {
        self.context.turn_budget.opens()
    }

    fn on_rate_limited(&mut self) {
        self.context.counters.rate_limited_total.add(1);
    }

    fn on_unopened(&mut self, reason: DisconnectReason, traffic: &Traffic) {
        self.context.counters.ended(&reason);
        log_end(self.id, self.peer, &reason, traffic);
    }

    fn on_disconnected(&mut self, reason: DisconnectReason, traffic: &Traffic) {
        for key in self.timers.drain(..) {
            self.context.wheel.cancel(key);
        }
        self.context.topics.leave_all(self.id, self.memberships);
        for membership in self.room_memberships.drain(..) {
            self.context.rooms.leave(membership, self.id, LeaveReason::Disconnected(reason.clone()));
        }
        self.context.counters.ended(&reason);
        log_end(self.id, self.peer, &reason, traffic);
        let session = self.id.to_u64();
        self.context.record(|at_us| Entry::Ended { at_us, session, reason: reason.name() });
        let goodbye =
            || seen_at(What::OnDisconnected, Who::Session(self.id), || self.user.on_disconnected(reason));
        if let Err(panic) = catch_panic(goodbye) {
            self.context.counters.handler_panics.add(1);
            self.context.say(Subject::GoodbyePanicked, |suppressed| {
                tracing::error!(session = %self.id, panic = ?panic.text(), suppressed, "on_disconnected panicked");
            });
        }
    }
}

/// Logs one line for each session that ends; `os_error` is the system's error number, if one ended it.
fn log_end(session: SessionId, peer: SocketAddr, reason: &DisconnectReason, traffic: &Traffic) {
    let Traffic { transport, recv_bytes, sent_bytes, age, os_error } = *traffic;
    tracing::debug!(
        %session,
        %peer,
        transport,
        reason = reason.name(),
        code = reason.cause().map(Cause::code),
        text = reason.cause().map(|cause| tracing::field::debug(cause.text())),
        recv_bytes,
        sent_bytes,
        age_ms = age.as_millis() as u64,
        os_error = os_error.map(|error| error.code),
        error = os_error.map(|error| error.kind.text()),
        "a session has ended"
    );
}
