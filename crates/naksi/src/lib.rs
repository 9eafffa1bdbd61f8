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
//! The modules stand in the order in which data flows through them. This crate writes no unsafe code and
//! names no system: everything below a [`worker::Worker`] is a port, real or simulated.

#![forbid(unsafe_code)]

pub mod address;
pub mod client;
pub mod config;
pub mod hub;
mod launch;
pub mod mailbox;
pub mod remote;
pub mod server;
pub mod service;

mod broadcast;
mod connector;
mod desk;
mod dispatch;
mod held;
mod lateness;
mod listener;
mod murmur;
mod peer;
mod relief;
mod slice;
mod spin;
pub mod worker;

pub mod conn;
pub mod file;
pub mod record;
pub mod topic;
pub mod packets;
pub mod group;
pub mod room;
pub mod session;
mod stage;
mod watch;

mod shutdown;
mod signals;
mod sync;
pub mod stats;

#[cfg(all(loom, test))]
mod models;

pub mod prelude;

#[doc(hidden)]
pub use serde;

#[cfg(feature = "prost")]
pub use prost;

pub use naksi_core::frame;

pub use config::{Backend, Error, Result};
pub use naksi_core::grid;
