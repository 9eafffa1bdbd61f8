//! The io_uring room: one ring per port, and nothing shared between two of them.
//!
//! `port.rs` is the loop (submit, wait), `reap.rs` what came out of the ring, `op.rs` turns one wish into one submission entry and one
//! result into one answer, `socket.rs` and `file.rs` open things, `error.rs` translates numbers, `ext.rs`
//! finds out what this kernel can do. Two files have no twin on Windows by nature: `buffers.rs`, the ring of
//! receive buffers that the kernel picks from, and `poster.rs`, the event that wakes a ring from another
//! thread (a completion port has `PostQueuedCompletionStatus` for that). This room knows no session.

mod buffers;
pub(crate) mod error;
pub(crate) mod ext;
pub(crate) mod file;
pub(crate) mod op;
pub mod port;
pub(crate) mod poster;
mod reap;
pub(crate) mod socket;
