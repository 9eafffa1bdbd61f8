//! The I/O completion port room: one completion port per port, and nothing shared between two of them.
//!
//! `port.rs` is the loop (submit, wait), `reap.rs` what came out of the port, `op.rs` what one wish owns and
//! what one result means, `socket.rs` and `file.rs` open things, `error.rs` translates numbers, `ext.rs` finds
//! out what this system can do, `signals.rs` hears requests to stop, `poster.rs` wakes a port from another thread, `queue.rs` is the completion queue of a group. Without a twin are `board.rs`,
//! which turns a wish into what flies, `call.rs`, the call for each, `accept.rs`, the chain of accepts,
//! `kernel.rs`, the completion port itself, `parcel.rs`, what a kernel is pointed at, `extra.rs`, what Winsock can do beyond the contract, and `census.rs`, which counts handles
//! for tests. This room knows no session.
//!
//! The doors of the ladder stand beside the port, one for each of the six models: `select.rs`, `message.rs`,
//! `event.rs`, `overlapped.rs`, `routine.rs` and `completion_port.rs`; the last three share `flight.rs`, and
//! `clock.rs` reads a thread's processor time.

mod accept;
mod board;
mod call;
pub mod census;
pub mod clock;
pub mod completion_port;
pub mod error;
pub mod event;
mod ext;
pub mod extra;
pub(crate) mod file;
mod flight;
pub mod heap;
mod kernel;
pub mod message;
mod op;
mod parcel;
pub mod overlapped;
pub mod port;
mod poster;
pub mod queue;
mod reap;
pub mod routine;
pub mod select;
pub mod signals;
mod socket;
