//! The epoll port: the same contract on readiness, for systems that refuse io_uring.
//!
//! An operation is kept in the in-flight table and carried out by an ordinary system call inside `wait` when its
//! descriptor is ready for it; the kernel never holds a buffer. `port.rs` is the loop (submit, wait), `prepare.rs`
//! checks and schedules operations, `serve.rs` carries out those that are ready, `reap.rs` makes completions, `op.rs`
//! turns results into completions' values, `socket_state.rs` stores what each descriptor is ready for, `poll.rs`
//! calls the kernel, `file_thread.rs` is the thread that reads and writes files, `timers.rs` the deadlines. Opening
//! sockets and files, posts and error numbers are in `linux/`.

pub mod port;

mod file_thread;
mod op;
mod socket_state;
mod poll;
mod prepare;
mod reap;
mod serve;
mod timers;
