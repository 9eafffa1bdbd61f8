//! The session of a service that consists of one room: it joins, forwards every packet, and ends with the room.

use std::sync::{Arc, Mutex, PoisonError};

use naksi_core::frame::Packet;
use naksi_core::reason::DisconnectReason;
use naksi_core::send_queue::SendStatus;
use naksi_core::session::Framing;

use crate::room::{Room, RoomCloseReason, RoomOptions, RoomRef};
use crate::session::{Conn, Session};

/// The room that all sessions join; when it has ended, the next session opens a new one.
pub(crate) struct Lobby<R: Room> {
    pub(crate) make: Box<dyn Fn() -> R + Send + Sync>,
    pub(crate) options: RoomOptions,
    pub(crate) open: Mutex<Option<RoomRef<R>>>,
}

/// A session that forwards every packet to its room; see [`Server::room`](crate::Server::room).
pub struct Guest<R: Room> {
    pub(crate) lobby: Arc<Lobby<R>>,
    pub(crate) room: Option<RoomRef<R>>,
}

impl<R: Room<Member: Default>> Session for Guest<R> {
    const FRAMING: Framing = Framing::Packets;

    fn on_connected(&mut self, c: &mut Conn<'_>) {
        let mut open = self.lobby.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.as_ref().is_none_or(RoomRef::is_closed) {
            // `Server::room` has checked the options; nothing else makes opening a room fail.
            *open = c.open_room((self.lobby.make)(), self.lobby.options.clone()).ok();
        }
        self.room = open.clone();
        let joined = self.room.as_ref().is_some_and(|room| c.join_room(room, R::Member::default()));
        if !joined {
            c.close(DisconnectReason::RoomClosed);
        }
    }

    fn on_packet(&mut self, c: &mut Conn<'_>, packet: Packet<'_>) {
        let sent = self.room.as_ref().map_or(SendStatus::Closed, |room| c.room_send_packet(room, packet));
        if sent == SendStatus::Closed {
            c.close(DisconnectReason::RoomClosed);
        }
    }

    fn on_room_closed(&mut self, c: &mut Conn<'_>, _room: u64, why: RoomCloseReason) {
        c.close(if why == RoomCloseReason::Full {
            DisconnectReason::RoomFull
        } else {
            DisconnectReason::RoomClosed
        });
    }
}

impl<R: Room> std::fmt::Debug for Guest<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Guest({:?})", self.room)
    }
}
