//! The io_uring port: one ring per port, with nothing shared between two of them.
//!
//! `port.rs` is the loop (submit, wait), `prepare.rs` checks and submits operations, `reap.rs` turns completion
//! entries into completions, `op.rs` turns one operation into one submission entry and one result into a completion's
//! value, `op_block.rs` holds the structures that the kernel reads and writes meanwhile, and `ext.rs` detects the
//! kernel's features. Three files have no counterpart at the other ports: `buffers.rs`, the ring of receive buffers
//! that the kernel takes from, `parked.rs`, receives that have to be submitted again, and `direct.rs`, sockets in a
//! table of the ring. Opening sockets and files, posts and error numbers are in `linux/`.

mod buffers;
mod direct;
pub(crate) mod ext;
pub(crate) mod op;
pub(crate) mod op_block;
mod parked;
pub mod port;
mod prepare;
mod reap;
