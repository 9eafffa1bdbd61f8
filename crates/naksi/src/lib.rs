//! A completion-port network engine for game and other real-time servers.
//!
//! A session is one value per connection, with `&mut self` and no lock; the engine calls it on events. The complete
//! echo server:
//!
//! ```no_run
//! use naksi::prelude::*;
//! struct Echo;
//! impl Session for Echo {
//!     fn on_recv(&mut self, c: &mut Conn, data: &[u8]) -> usize {
//!         c.send(data);
//!         data.len()
//!     }
//! }
//! fn main() -> naksi::Result<()> {
//!     Server::from_env()?.session(|| Echo).run()
//! }
//! ```
//!
//! The kernel interface is io_uring or epoll on Linux and I/O completion ports on Windows. Each worker thread owns one
//! port and its share of the sessions, so callbacks of one session never run concurrently and must not block.
//!
//! # Types
//!
//! | type | what it is |
//! |---|---|
//! | [`Server`], [`Client`] | builders of a service: addresses, workers, limits |
//! | [`Service`] | a running service: its addresses, counters, graceful stop |
//! | [`Session`] | a trait: the state and the callbacks of one connection |
//! | [`Conn`] | what a callback does: send, close, set timers, join topics and rooms, use files |
//! | [`Limits`](prelude::Limits) | every bound of a session and a service, with safe defaults |
//! | [`DisconnectReason`](prelude::DisconnectReason) | why a session ended |
//! | [`packets!`] | a table of typed packets |
//! | [`Topic`] | publish and subscribe among sessions |
//! | [`Room`], [`Cx`], [`RoomRef`] | shared state with a tick, run by one thread at a time |
//! | [`Group`], [`blocking`] | threads for blocking work such as database calls |
//! | [`ServiceHandle`] | sends to sessions, rooms and topics from any thread |
//! | [`grid`] | area of interest: which entities a player sees |
//! | [`record`] | recordings of what sessions received |
//! | [`TestRoom`] | a room in a unit test, without a server |
//!
//! [`prelude`] imports most of them.
//!
//! # Features
//!
//! None is enabled by default.
//!
//! | feature | adds |
//! |---|---|
//! | `log` | `naksi::log`: a log on standard error, as text or JSON |
//! | `prost` | Protobuf bodies in [`packets!`], for clients in other languages |
//! | `ws` | WebSocket listeners and clients |
//!
//! # Where to read on
//!
//! The guide is in `docs/book`; `crates/naksi/examples` has complete programs. This crate contains no unsafe code and
//! no platform code: both are in `naksi-os`.

#![forbid(unsafe_code)]

pub mod config;
pub mod engine;
pub mod service;
mod worker;
pub mod session;
mod shared;

pub mod group;
pub mod packets;
pub mod record;
pub mod room;
pub mod topic;

#[cfg(feature = "log")]
pub mod log;
mod log_limiter;
mod sync;
mod watchdog;

#[cfg(all(loom, test))]
mod models;

pub mod prelude;

#[doc(hidden)]
pub use serde;

#[cfg(feature = "prost")]
pub use prost;

#[cfg(feature = "ws")]
pub use naksi_ws as ws;

#[cfg(feature = "tls")]
pub mod tls;

pub use naksi_core::{frame, grid};

pub use config::{Backend, Error, Result, Retry};
pub use group::{Group, GroupOptions, blocking};
pub use record::RecordOptions;
pub use room::{Cx, Room, RoomOptions, RoomRef, TestRoom};
pub use service::{Client, Server, Service, Signals};
pub use session::{Conn, ConnectionInfo, Session};
pub use shared::handle::{SendError, ServiceHandle};
pub use shared::stats::{CATCHES, Counter, Counters, Stats};
pub use topic::Topic;
