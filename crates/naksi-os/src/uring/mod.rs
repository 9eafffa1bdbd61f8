//! The io_uring port: one ring per port, and nothing shared between two of them.
//!
//! `port.rs` is the loop (submit, wait), `prepare.rs` the way in, `reap.rs` turns what came out of the ring into completions, `op.rs`
//! turns one operation into one submission entry and one result into one answer, `op_block.rs` holds what the
//! kernel is pointed at meanwhile, and `ext.rs` finds out what this kernel can do. Three files have no
//! counterpart at the other ports: `buffers.rs`, the ring of receive buffers that the kernel picks from,
//! `parked.rs`, receives that have to be asked for again, and `direct.rs`, sockets in a table of the ring's
//! own. Opening things, posts and error numbers are in `linux/`. Nothing here knows a session.

mod buffers;
mod direct;
pub(crate) mod ext;
pub(crate) mod op;
pub(crate) mod op_block;
mod parked;
pub mod port;
mod prepare;
mod reap;
