//! What both ports of Linux share, the choice between them, and the calls of the ladder's six models.
//!
//! `choice.rs` falls back to `epoll/` where `uring/` is refused, and `sandbox.rs` makes the system refuse it for
//! tests. `socket.rs` and `file.rs` open things, `error.rs` translates error numbers, `waker.rs` wakes a port from
//! another thread, `signals.rs` reports requests to stop, `queue.rs` is the completion queue of a group, `limiter.rs`
//! decides which of its threads may run, and `clock.rs` reads a thread's processor time.
//!
//! The ladder has one module for each of its six models: `select.rs`, `message.rs`, `event.rs`, `overlapped.rs`,
//! `routine.rs` and `completion_port.rs`; the last three share `in_flight_op.rs`.

pub mod choice;
pub mod clock;
pub mod completion_port;
pub(crate) mod error;
pub mod event;
pub(crate) mod file;
mod in_flight_op;
mod limiter;
pub mod message;
pub mod overlapped;
pub mod queue;
pub mod routine;
pub mod sandbox;
pub mod select;
pub mod signals;
pub(crate) mod socket;
pub(crate) mod waker;
