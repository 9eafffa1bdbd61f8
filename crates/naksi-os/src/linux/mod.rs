//! What both ports of Linux share, the choice between them, and the doors of the ladder.
//!
//! `choice.rs` serves with `epoll/` where `uring/` is refused, and `sandbox.rs` refuses it for trials.
//! `socket.rs` and `file.rs` open things, `error.rs` translates error numbers, `waker.rs` wakes a port from
//! another thread, `signals.rs` tells of requests to stop, `queue.rs` is the completion queue of a group, `limiter.rs` says which of its
//! threads may run, and
//! `clock.rs` reads a thread's processor time. Nothing here knows a session.
//!
//! The ladder has one door for each of its six models: `select.rs`, `message.rs`, `event.rs`,
//! `overlapped.rs`, `routine.rs` and `completion_port.rs`; the last three share `in_flight_op.rs`.

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
