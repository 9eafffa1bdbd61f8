//! The epoll port: the same contract over readiness, for systems that refuse io_uring.
//!
//! An operation is kept in the in-flight table and carried out, by an ordinary system call inside `wait`, when its
//! descriptor is ready for it; no kernel ever holds a buffer of ours. `port.rs` is the loop (submit, wait),
//! `prepare.rs` the way in, `serve.rs` carries out what is ready, `reap.rs` is the way out, `op.rs` turns
//! results into answers, `socket_state.rs` remembers what each descriptor is ready for, `poll.rs` asks the kernel,
//! `file_thread.rs` is the thread that reads and writes files, `timers.rs` the deadlines. Opening things, posts and
//! the meaning of numbers are those of `linux/`. Nothing here knows a session.

pub mod port;

mod file_thread;
mod op;
mod socket_state;
mod poll;
mod prepare;
mod reap;
mod serve;
mod timers;
