//! The engine's internals, for programs that drive it without threads: a simulation on a simulated kernel, or a
//! benchmark.
//!
//! [`BoundServer::stepped`](crate::service::BoundServer::stepped) makes them from a server. A server needs none of this. These types may change with every version.

pub use crate::service::SteppedServer;
pub use crate::shared::core::ServiceCore;
pub use crate::worker::{Turn, Worker};
