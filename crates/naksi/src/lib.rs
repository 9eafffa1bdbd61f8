//! A completion-port network engine for game and other real-time servers.
//!
//! A session is one value per connection, with `&mut self` and no lock; the engine calls it when something
//! has happened. The whole echo server:
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
//! The folders stand in the order in which they call each other: `service` starts `worker`s, a worker calls a `session`'s
//! callbacks, and these reach rooms, topics, groups and recordings. This crate writes no unsafe code and names no system:
//! everything below a worker is a port, real or simulated.

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
