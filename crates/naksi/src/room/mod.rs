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
//! [`Conn::room_send_packet`](crate::Conn::room_send_packet). The packets of one worker's sessions in a turn form one
//! batch. A worker that delivers a batch to an idle room runs it for a bounded time and leaves the rest to the room's
//! group. The room's output of such a run is posted once to each worker that has members, so every member sees the
//! same order: that of the room's own calls.

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

/// State that several sessions share: a lobby, a match, a zone.
///
/// Its callbacks run one at a time, on varying threads; they must not block. A panic ends only the room: its members
/// are told through [`Session::on_room_closed`](crate::session::Session::on_room_closed).
///
/// See [the module](crate::room) for an example, and [`TestRoom`] for testing one without a server.
#[expect(unused_variables, reason = "the names of the parameters document the defaults that ignore them")]
pub trait Room: Sized + Send + 'static {
    /// The room's data for each member; passed by the joining session.
    type Member: Send + 'static;

    /// The room has been opened. Called once, before any other callback.
    fn on_open(&mut self, cx: &mut Cx<'_, Self>) {}

    /// A session has joined; it receives broadcasts from here on.
    fn on_join(&mut self, cx: &mut Cx<'_, Self>, member: SessionId) {}

    /// A member has left. Called exactly once for every [`Room::on_join`], unless the room itself ends before.
    fn on_leave(&mut self, cx: &mut Cx<'_, Self>, member: SessionId, data: Self::Member, why: LeaveReason) {}

    /// Registers a method for each type of packet: `routes.on(Self::say).on(Self::walk)`.
    fn routes(routes: &mut Routes<Self>) {}

    /// A member's session sent a packet that has no route. The default logs it with the nearest known ids and ends
    /// the member's session.
    fn on_packet(&mut self, cx: &mut Cx<'_, Self>, from: SessionId, packet: Packet<'_>) {
        cx.end_for_unknown(from, packet);
    }

    /// A timer set with [`Cx::after`] is due.
    fn on_timer(&mut self, cx: &mut Cx<'_, Self>, tag: u32) {}

    /// The next step of a room that [ticks](RoomOptions::tick_hz); `tick` counts periods since the room was opened,
    /// including skipped ones.
    fn on_tick(&mut self, cx: &mut Cx<'_, Self>, tick: u64) {}

    /// The room closes gracefully. Output sent here still reaches the members. Not called after a panic.
    fn on_close(&mut self, cx: &mut Cx<'_, Self>) {}
}

/// Why a session is no longer a member of a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaveReason {
    /// Its session asked to leave.
    Asked,
    /// Its session is over.
    Disconnected(DisconnectReason),
    /// The room removed it; the session may continue.
    Removed,
    /// The room ended its session.
    Ended(DisconnectReason),
}

/// Why a session is no longer in a room although it did not leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoomCloseReason {
    /// The room closed in order.
    Closed,
    /// One of the room's callbacks panicked.
    Panicked,
    /// The service is stopping.
    Shutdown,
    /// The room has reached its maximum of members.
    Full,
    /// The room put this member out.
    Removed,
}
