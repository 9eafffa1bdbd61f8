//! The port on I/O completion ports: one completion port per port, with nothing shared between two of them.
//!
//! `port.rs` is the loop (submit, wait), `prepare.rs` turns an operation into its in-flight state, `reap.rs` turns
//! packets into completions, `op.rs` defines what one operation owns and what its result means, and `op_block.rs`
//! holds the structures that the kernel reads and writes. Three files have no counterpart at the other ports:
//! `call.rs`, the call for each operation, `accept.rs`, the chain of `AcceptEx`, and `extra.rs`, Winsock functions
//! beyond the contract. Opening sockets and files, the completion port itself, posts and error numbers are in
//! `windows/`.

mod accept;
mod call;
pub mod extra;
mod op;
mod op_block;
pub mod port;
mod prepare;
mod reap;
