//! Where a user's callbacks are played: with a `Conn` in hand, and with a net under them.
//!
//! A panic in a callback ends its session and is counted; the worker goes on. Nothing here knows a port.

use core::net::SocketAddr;

use naksi_core::content::{Content, Ending, Outlet, Traffic};
use naksi_core::frame::Packet;
use naksi_core::id::SessionId;
use naksi_core::reason::{Cause, Reason};
use naksi_core::timer::TimerKey;
use naksi_core::unwind::caught;
use thin_vec::ThinVec;

use crate::log_limiter::Subject;
use crate::record::Entry;
use crate::room::local::Seat;
use crate::room::{Left, caller};
use crate::session::Session;
use crate::session::conn::Conn;
use crate::session::context::Clock;
use crate::session::context::Desk;
use crate::topic::Membership;
use crate::watchdog::{What, Who, about, seen, seen_at};

/// One session's user and everything that its callbacks may reach.
pub(crate) struct Stage<'a, S> {
    pub(crate) user: &'a mut S,
    pub(crate) clock: &'a dyn Clock,
    pub(crate) desk: &'a mut Desk,
    pub(crate) memberships: &'a mut ThinVec<Membership>,
    pub(crate) seats: &'a mut ThinVec<Seat>,
    pub(crate) timers: &'a mut ThinVec<TimerKey>,
    /// A callback has panicked.
    pub(crate) broken: &'a mut bool,
    pub(crate) id: SessionId,
    pub(crate) peer: SocketAddr,
}

impl<S: Session> Stage<'_, S> {
    /// Plays one callback. A panic ends the session and answers `otherwise`, as does all that comes after it.
    pub(crate) fn play<R>(
        &mut self,
        mut outlet: Outlet<'_>,
        otherwise: R,
        run: impl FnOnce(&mut S, &mut Conn<'_>) -> R,
    ) -> R {
        if *self.broken {
            return otherwise;
        }
        let mut conn = Conn {
            outlet: outlet.reborrow(),
            desk: self.desk,
            memberships: self.memberships,
            seats: self.seats,
            timers: self.timers,
            id: self.id,
            peer: self.peer,
        };
        // The session's own state may be broken after a panic: it is ended and never called again but for
        // its goodbye. Everything else a callback can reach keeps its invariants between its own calls.
        caller::begin(self.id);
        let played = caught(|| seen(Who::Session(self.id), || run(self.user, &mut conn)));
        let called_bytes = caller::end();
        if called_bytes > 0 && outlet.bring(called_bytes, false) {
            self.desk.counters.room_pauses_total.add(1);
        }
        match played {
            Ok(result) => result,
            Err(panic) => {
                *self.broken = true;
                self.desk.counters.handler_panics.add(1);
                self.desk.say(Subject::CallbackPanicked, |suppressed| {
                    tracing::error!(session = %self.id, panic = ?panic.text(), suppressed, "a callback panicked; its session ends");
                });
                outlet.end(Reason::HandlerPanic, Ending::Now);
                otherwise
            }
        }
    }
}

impl<S: Session> Content for Stage<'_, S> {
    fn on_connected(&mut self, outlet: Outlet<'_>) {
        let (session, peer) = (self.id.to_u64(), self.peer);
        self.desk.record(|at_us| Entry::Opened { at_us, session, peer });
        self.play(outlet, (), |user, conn| user.on_connected(conn));
    }

    fn on_recv(&mut self, outlet: Outlet<'_>, data: &[u8]) -> usize {
        let consumed = self.play(outlet, data.len(), |user, conn| {
            let consumed = user.on_recv(conn, data);
            assert!(consumed <= data.len(), "on_recv consumed {consumed} of {} bytes", data.len());
            consumed
        });
        // What was not taken is offered again, and counted then.
        self.desk.counters.recv_bytes.add(consumed as u64);
        self.desk.record_stream(self.id.to_u64(), &data[..consumed]);
        consumed
    }

    fn on_packet(&mut self, outlet: Outlet<'_>, packet: Packet<'_>) {
        self.desk.counters.recv_bytes.add(packet.frame.len() as u64);
        self.desk.counters.packets.add(1);
        about(packet.id);
        let session = self.id.to_u64();
        self.desk.record(|at_us| Entry::Received { at_us, session, bytes: packet.frame });
        self.play(outlet, (), |user, conn| user.on_packet(conn, packet));
    }

    fn on_sent(&mut self, outlet: Outlet<'_>, bytes: usize) {
        self.desk.counters.sent_bytes.add(bytes as u64);
        self.play(outlet, (), |user, conn| user.on_sent(conn, bytes));
    }

    fn on_draining(&mut self, mut outlet: Outlet<'_>) {
        // What this turn's broadcasts hold for it would come too late: the session begins to drain.
        self.desk.catch_up(self.memberships, &mut outlet);
    }

    fn is_owed(&mut self) -> bool {
        // What a room answers in this turn, or elsewhere and later, finds the session open.
        self.desk.rooms.finish(self.seats, self.id)
    }

    fn may_be_shown_more(&mut self) -> bool {
        self.desk.slice.shows_more(self.id, || self.clock.now())
    }

    fn on_over_rate(&mut self) {
        self.desk.counters.over_rate_total.add(1);
    }

    fn on_disconnected(&mut self, reason: Reason, traffic: &Traffic) {
        for key in self.timers.drain(..) {
            self.desk.wheel.cancel(key);
        }
        self.desk.topics.leave_all(self.id, self.memberships);
        for seat in self.seats.drain(..) {
            self.desk.rooms.leave(seat, self.id, Left::Over(reason.clone()));
        }
        self.desk.counters.ended(&reason);
        log_end(self.id, self.peer, &reason, traffic);
        let session = self.id.to_u64();
        self.desk.record(|at_us| Entry::Ended { at_us, session, reason: reason.name() });
        let goodbye =
            || seen_at(What::OnDisconnected, Who::Session(self.id), || self.user.on_disconnected(reason));
        if let Err(panic) = caught(goodbye) {
            self.desk.counters.handler_panics.add(1);
            self.desk.say(Subject::GoodbyePanicked, |suppressed| {
                tracing::error!(session = %self.id, panic = ?panic.text(), suppressed, "on_disconnected panicked");
            });
        }
    }
}

/// One line for each session that ends; `os_error` is the number of the system's error that came to it.
fn log_end(session: SessionId, peer: SocketAddr, reason: &Reason, traffic: &Traffic) {
    let Traffic { recv_bytes, sent_bytes, age, os_error } = *traffic;
    tracing::debug!(
        %session,
        %peer,
        reason = reason.name(),
        code = reason.cause().map(Cause::code),
        text = reason.cause().map(|cause| tracing::field::debug(cause.text())),
        recv_bytes,
        sent_bytes,
        ?age,
        os_error = os_error.map(|error| error.code),
        error = os_error.map(|error| error.kind.text()),
        "a session has ended"
    );
}
