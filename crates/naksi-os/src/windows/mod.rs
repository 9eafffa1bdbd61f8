//! The I/O completion port room: one completion port per port, and nothing shared between two of them.
//!
//! `port.rs` is the loop (submit, wait), `reap.rs` what came out of the port, `op.rs` what one wish owns and
//! what one result means, `call.rs` the call for each, `accept.rs` the chain of accepts, `socket.rs` and
//! `file.rs` open things, `error.rs` translates numbers, `ext.rs` finds out what this system can do,
//! `poster.rs` wakes a port from another thread. Besides, `kernel.rs` is the completion port itself,
//! `parcel.rs` what a kernel is pointed at, `queue.rs` the completion queue of a group, and `extra.rs` what
//! Winsock can do beyond the contract. `census.rs` counts handles for tests. This room knows
//! no session.

mod accept;
mod call;
pub mod census;
pub mod error;
mod ext;
pub mod extra;
mod file;
mod kernel;
mod op;
mod parcel;
pub mod port;
mod poster;
pub mod queue;
mod reap;
mod socket;
