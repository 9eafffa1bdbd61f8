//! What the port of Windows and the queue of a group share, and the calls of the ladder's six models.
//!
//! `kernel.rs` is the completion port itself, `ext.rs` finds Winsock's extension functions, `socket.rs` and
//! `file.rs` open things (`setup.rs` has the calls that set a socket up), `error.rs` translates error numbers, `waker.rs` wakes a port from another thread,
//! `signals.rs` tells of requests to stop, `queue.rs` is the completion queue of a group, `clock.rs` reads a
//! thread's processor time, and `handle_count.rs` counts handles for tests. Nothing here knows a session.
//!
//! The ladder has one module for each of its six models: `select.rs`, `message.rs`, `event.rs`, `overlapped.rs`,
//! `routine.rs` and `completion_port.rs`; the last three share `in_flight_op.rs`.

pub mod handle_count;
pub mod clock;
pub mod completion_port;
pub mod error;
pub mod event;
pub(crate) mod ext;
pub(crate) mod file;
mod in_flight_op;
pub mod heap;
pub(crate) mod kernel;
pub mod message;
pub mod overlapped;
pub mod queue;
pub mod routine;
pub mod select;
pub(crate) mod setup;
pub mod signals;
pub(crate) mod socket;
pub(crate) mod waker;
