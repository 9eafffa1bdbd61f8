//! The imports that a server or a client needs.

pub use crate::config::Retry;
pub use crate::config::{Backend, Error};
pub use crate::group::{Group, GroupOptions, blocking};
pub use crate::packets;
pub use crate::packets::Message;
pub use crate::record::RecordOptions;
pub use crate::room::{
    Cx, LeaveReason, Overrun, Room, RoomCloseReason, RoomFull, RoomOptions, RoomRef, RoomTimer, Routes,
    TestRoom,
};
pub use crate::service::{Client, Server, Service};
pub use crate::session::{Conn, ConnectionInfo, FileDone, FileId, Session};
pub use crate::shared::handle::ServiceHandle;
pub use crate::shared::stats::Stats;
pub use crate::topic::Topic;
pub use bytes::Bytes;
pub use naksi_core::callbacks::CloseMode;
pub use naksi_core::droppable_queue::{LagPolicy, PacketClass};
pub use naksi_core::ended::{Failure, OsError};
pub use naksi_core::flush::Flush;
pub use naksi_core::frame::Packet;
pub use naksi_core::id::SessionId;
pub use naksi_core::limits::{Limits, Overflow, RateLimitAction};
pub use naksi_core::reason::{Cause, DisconnectReason};
pub use naksi_core::send_queue::{Pending, SendStatus};
pub use naksi_core::session::Framing;
pub use naksi_core::tick::Tick;
pub use naksi_core::timer::TimerKey;
pub use naksi_core::wire::Message as WsMessage;
pub use naksi_os::port::FileAccess;
