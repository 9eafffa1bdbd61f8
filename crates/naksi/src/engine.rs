//! The engine's inside, for who drives it without threads: a simulation on a simulated kernel, or a measurement.
//!
//! A server of your own needs none of this. These types may change with every version.

pub use crate::shared::core::ServiceCore;
pub use crate::worker::{Turn, Worker};
