//! The I/O completion port room: one completion port per port, and nothing shared between two of them.
//!
//! `port.rs` is the loop (submit, wait), `reap.rs` what came out of the port, `op.rs` what one wish owns and
//! what one result means, `call.rs` the call for each, `accept.rs` the chain of accepts, `socket.rs` and
//! `file.rs` open things, `error.rs` translates numbers, `ext.rs` finds out what this system can do,
//! `poster.rs` wakes a port from another thread. `kernel.rs` is the completion port itself. This room knows
//! no session.

mod accept;
mod call;
pub mod error;
mod ext;
mod file;
mod kernel;
mod op;
pub mod port;
mod poster;
mod reap;
mod socket;
