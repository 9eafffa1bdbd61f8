//! The sans-I/O core of Naksi: what a session asks of a kernel, what it gets back, and what follows.
//!
//! This crate uses no kernel, no clock and no thread. Time is an argument, bytes arrive in leases and are sent in
//! batches, and every request is an [`op::Op`] that a port carries out. The modules are listed in the order in which
//! data flows through them.

#![forbid(unsafe_code)]

pub mod id;
pub mod limits;
pub mod reason;
pub mod tick;

pub mod op;
pub mod lease;
pub mod completion;
pub mod ended;
pub mod engine_message;

pub mod admission;
pub mod pressure;
pub mod batch;
pub mod callbacks;
pub mod flush;
pub mod frame;
pub mod recv_buffer;
pub mod droppable_queue;
pub mod send_queue;
pub mod session;
pub mod wire;
pub mod buffer_pool;

pub mod grid;
pub mod nearest;
pub mod packet_version;

pub mod prng;
pub mod table;
pub mod timer;
pub mod unwind;
