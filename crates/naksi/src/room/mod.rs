//! Rooms: state that several sessions share, run by one thread at a time, with `&mut self` and no lock.
//!
//! ```no_run
//! use naksi::prelude::*;
//! #[derive(Default)]
//! struct Lobby;
//! impl Room for Lobby {
//!     type Member = String; // what the room knows of each member
//!     fn on_join(&mut self, cx: &mut Cx<'_, Self>, member: SessionId) {
//!         let hello = format!("{} joined", cx.member(member).map_or("?", String::as_str));
//!         cx.broadcast_packet(2, hello.as_bytes());
//!     }
//!     fn on_packet(&mut self, cx: &mut Cx<'_, Self>, _from: SessionId, packet: Packet<'_>) {
//!         cx.broadcast_packet(packet.id, packet.body); // encoded once, shared by all members
//!     }
//! }
//! ```
//!
//! A session joins with [`Conn::join_room`](crate::Conn::join_room) and hands packets on with
//! [`Conn::room_send_packet`](crate::Conn::room_send_packet). What the sessions of one worker hand over in a turn is
//! one batch; the worker that brings a batch to an idle room runs it, for a bounded time, and leaves the rest to the
//! room's group. What the room says in that time is one parcel, posted once to each worker that has members. So
//! everybody sees one order: that in which the room did things. Nothing here knows a port or a socket.

mod stats;
pub(crate) mod caller;
mod mailbox;
mod timers;
mod cx;
mod event;
mod handle;
mod options;
pub(crate) mod output;
pub(crate) mod local;
mod routes;
mod state;
mod test_room;

use naksi_core::frame::Packet;
use naksi_core::id::SessionId;
use naksi_core::reason::DisconnectReason;

pub use cx::{Cx, RoomTimer};
pub(crate) use event::{Batch, DynRoom, EVENT_BYTES, Event, RoomHost, RoomSink, Space};
pub use handle::RoomRef;
pub(crate) use handle::open;
pub(crate) use mailbox::RoomCell;
pub use options::{Overrun, RoomFull, RoomOptions};
pub use routes::Routes;
pub(crate) use stats::RoomCounters;
pub use stats::RoomStats;
pub use test_room::TestRoom;

/// Something that sessions are in together: a lobby, a match, a zone.
///
/// Its callbacks run one at a time, on whatever thread; they may not block. A panic ends the room only: its
/// members are told with [`Session::on_room_closed`](crate::session::Session::on_room_closed).
#[expect(unused_variables, reason = "the names of the parameters document the defaults that ignore them")]
pub trait Room: Sized + Send + 'static {
    /// What the room keeps of each member; given by the joining session.
    type Member: Send + 'static;

    /// The room stands. Called once, before anything else.
    fn on_open(&mut self, cx: &mut Cx<'_, Self>) {}

    /// A session has joined; it hears what is broadcast from here on.
    fn on_join(&mut self, cx: &mut Cx<'_, Self>, member: SessionId) {}

    /// A member is gone. Called exactly once for every [`Room::on_join`], unless the room itself ends before.
    fn on_leave(&mut self, cx: &mut Cx<'_, Self>, member: SessionId, data: Self::Member, why: LeaveReason) {}

    /// Says which method takes which type of packet: `routes.on(Self::say).on(Self::walk)`.
    fn routes(routes: &mut Routes<Self>) {}

    /// A member's session handed a packet on that no route takes. If no handler takes it, it is named in the log with
    /// the nearest known ids, and the member's session ends.
    fn on_packet(&mut self, cx: &mut Cx<'_, Self>, from: SessionId, packet: Packet<'_>) {
        cx.end_for_unknown(from, packet);
    }

    /// A timer set with [`Cx::after`] is due.
    fn on_timer(&mut self, cx: &mut Cx<'_, Self>, tag: u32) {}

    /// The next step of a room that [ticks](RoomOptions::tick_hz); `tick` counts periods since the opening, those
    /// skipped included.
    fn on_tick(&mut self, cx: &mut Cx<'_, Self>, tick: u64) {}

    /// The room ends in order. What is sent here still reaches the members. Not called after a panic.
    fn on_close(&mut self, cx: &mut Cx<'_, Self>) {}
}

/// Why a member is gone from a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaveReason {
    /// Its session asked to leave.
    Asked,
    /// Its session is over.
    Disconnected(DisconnectReason),
    /// The room put it out; its session may go on.
    Removed,
    /// The room ended its session.
    Ended(DisconnectReason),
}

/// Why a session is not in a room any more, though it did not ask to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoomCloseReason {
    /// The room closed in order.
    Closed,
    /// One of the room's callbacks panicked.
    Panicked,
    /// The service is stopping.
    Shutdown,
    /// The room has as many members as it may.
    Full,
    /// The room put this member out.
    Removed,
}
