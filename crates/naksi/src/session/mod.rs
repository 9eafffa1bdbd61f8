//! The trait that applications implement: one value per connection, with a callback for each event.
//!
//! Every callback has a default and none may block: while one runs, its worker serves no other session.

pub(crate) mod callbacks;
pub(crate) mod context;
mod conn;
pub(crate) mod files;
pub(crate) mod turn_budget;

use core::net::SocketAddr;

use naksi_core::frame::Packet;
use naksi_core::reason::DisconnectReason;
use naksi_core::session::Framing;
use naksi_core::wire::Message;

use crate::packets::Table;
use crate::room::RoomCloseReason;

pub use conn::Conn;
pub use files::{FileDone, FileId, READ_BYTES_MAX};

/// The application's state and callbacks of one connection (the lecture's `Session`: `OnConnected`, `OnRecv`,
/// `OnSend`, `OnDisconnected`; lecture 004).
///
/// The value lives on one worker thread from `on_connected` until after `on_disconnected`, so it needs no lock and
/// need not be `Send`. A panic in a callback ends this session with [`DisconnectReason::HandlerPanic`] and affects no
/// other session.
///
/// ```
/// use naksi::prelude::*;
/// /// Counts its packets and answers each with the count.
/// struct Counter(u32);
/// impl Session for Counter {
///     const FRAMING: Framing = Framing::Packets;
///     fn on_packet(&mut self, c: &mut Conn, packet: Packet) {
///         self.0 += 1;
///         c.send_packet(packet.id, &self.0.to_le_bytes());
///     }
///     fn on_disconnected(&mut self, reason: DisconnectReason) {
///         println!("{} packets, then {reason}", self.0);
///     }
/// }
/// ```
#[expect(unused_variables, reason = "the names of the parameters document the defaults that ignore them")]
pub trait Session: Sized + 'static {
    /// Whether received data is delivered as raw bytes, to [`Session::on_recv`], or as frames, to
    /// [`Session::on_packet`].
    const FRAMING: Framing = Framing::Raw;

    /// The packet table that the session speaks; none by default. A client that begins with HELLO, as one written by
    /// `naksi gen` does, and has another version of it is refused with [`DisconnectReason::VersionRefused`], and is told both
    /// versions. Clients that do not begin with HELLO are not asked.
    const PACKETS: Option<Table> = None;

    /// The connection is established. Called once, before any other callback.
    fn on_connected(&mut self, c: &mut Conn<'_>) {}

    /// Bytes were received (raw sessions). Returns how many were consumed; the rest is offered again together with
    /// the bytes that follow.
    ///
    /// The default ends the session at its first byte with [`DisconnectReason::UnhandledBytes`], and an error in the
    /// log names what the session type lacks: `FRAMING = Framing::Packets` if it has [`Session::on_packet`],
    /// `on_recv` if not. A session that only sends and ignores what its peer sends overrides it and returns
    /// `data.len()`.
    fn on_recv(&mut self, c: &mut Conn<'_>, data: &[u8]) -> usize {
        c.end_unhandled_bytes::<Self>(data.len());
        data.len()
    }

    /// A whole frame was received (framed sessions).
    ///
    /// The default ends the session at its first packet with [`DisconnectReason::UnknownPacket`], and an error in the
    /// log says that the session type has no `on_packet`.
    fn on_packet(&mut self, c: &mut Conn<'_>, packet: Packet<'_>) {
        c.end_unhandled_packet::<Self>(packet);
    }

    /// A whole message was received ([`Framing::Messages`], over WebSocket). Over plain TCP such a session gets its
    /// bytes through [`Session::on_recv`].
    ///
    /// The default ends the session at its first message with [`DisconnectReason::UnhandledBytes`], and an error in
    /// the log says that the session type has no `on_message`.
    fn on_message(&mut self, c: &mut Conn<'_>, message: Message<'_>) {
        c.end_unhandled_message::<Self>(message);
    }

    /// The kernel took this many of the queued bytes. Over WebSocket they include frame headers.
    fn on_sent(&mut self, c: &mut Conn<'_>, bytes: usize) {}

    /// A timer set with [`Conn::after`] is due.
    fn on_timer(&mut self, c: &mut Conn<'_>, tag: u32) {}

    /// A file operation of this session has completed.
    fn on_file(&mut self, c: &mut Conn<'_>, done: FileDone<'_>) {}

    /// The session is no longer in a room, though it did not leave; `room` is the room's number.
    fn on_room_closed(&mut self, c: &mut Conn<'_>, room: u64, why: RoomCloseReason) {}

    /// The session has ended. Called exactly once if [`Session::on_connected`] was, and last; the value is dropped as
    /// soon as the socket is closed. The reason carries the system's error ([`DisconnectReason::os_error`]) or the
    /// application's own code and text ([`DisconnectReason::cause`]), where there is one.
    fn on_disconnected(&mut self, reason: DisconnectReason) {}
}

/// What is known about a connection when its session is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionInfo {
    /// The worker that will own it.
    pub worker: usize,
    /// For a client: the index of the connection, from 0. For a server: how many connections its worker had before.
    pub index: u64,
    /// The other side's address.
    pub peer: SocketAddr,
}

/// Makes a session for each connection; shared by all workers.
pub trait Factory: Send + Sync + 'static {
    /// What it makes.
    type Session: Session;

    /// Makes one.
    fn make(&self, arrival: &ConnectionInfo) -> Self::Session;
}

impl<S: Session, F: Fn(&ConnectionInfo) -> S + Send + Sync + 'static> Factory for F {
    type Session = S;

    fn make(&self, arrival: &ConnectionInfo) -> S {
        self(arrival)
    }
}
