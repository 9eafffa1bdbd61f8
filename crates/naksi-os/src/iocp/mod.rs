//! The port on I/O completion ports: one completion port per port, and nothing shared between two of them.
//!
//! `port.rs` is the loop (submit, wait), `prepare.rs` turns an operation into what is in flight, `reap.rs`
//! turns what came out of the port into completions, `op.rs` says what one operation owns and what one
//! result means, and `op_block.rs` holds what the kernel is pointed at. Three files have no counterpart at the
//! other ports: `call.rs`, the call for each operation, `accept.rs`, the chain of `AcceptEx`, and
//! `extra.rs`, what Winsock can do beyond the contract. Opening things, the completion port itself, posts and
//! error numbers are in `windows/`. Nothing here knows a session.

mod accept;
mod call;
pub mod extra;
mod op;
mod op_block;
pub mod port;
mod prepare;
mod reap;
