//! The Linux room: io_uring, one ring per port and nothing shared between two of them; and the choice.
//!
//! `port.rs` is the loop (submit, wait), `reap.rs` what came out of the ring, `op.rs` turns one wish into one submission entry and one
//! result into one answer, `parcel.rs` holds what a kernel is pointed at meanwhile, `socket.rs` and `file.rs` open things, `error.rs` translates numbers, `ext.rs`
//! finds out what this kernel can do, `signals.rs` hears requests to stop, `queue.rs` is the completion queue of a group. Some files have no twin on Windows by nature: `choice.rs`, which
//! serves with `epoll/` where io_uring is refused, `sandbox.rs`, which refuses it for trials, `direct.rs`,
//! sockets in a table of the ring's own, `buffers.rs`, the ring of receive buffers that the kernel picks from, and `poster.rs`, the event that wakes a ring from another
//! thread (a completion port has `PostQueuedCompletionStatus` for that). This room knows no session.
//!
//! The doors of the ladder stand beside the port, one for each of the six models: `select.rs`, `message.rs`,
//! `event.rs`, `overlapped.rs`, `routine.rs` and `completion_port.rs`; the last three share `flight.rs`, and
//! `clock.rs` reads a thread's processor time.

mod buffers;
pub mod choice;
pub mod clock;
pub mod completion_port;
mod direct;
pub(crate) mod error;
pub mod event;
pub(crate) mod ext;
pub(crate) mod file;
mod flight;
pub mod message;
pub(crate) mod op;
pub mod overlapped;
pub(crate) mod parcel;
mod parked;
pub mod port;
pub(crate) mod poster;
pub mod queue;
mod reap;
pub mod routine;
pub mod sandbox;
pub mod select;
pub mod signals;
pub(crate) mod socket;
