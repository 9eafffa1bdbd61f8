//! Completion ports: the only crate of Naksi that calls a kernel.
//!
//! There is one port for each kernel: `uring/`, `epoll/` (where Linux refuses io_uring) and `iocp/`, with the same file
//! names for the same tasks. All of them implement [`port::Port`] and keep the same laws. `linux/` and `windows/` hold
//! everything else that differs by system, and [`backend`] the parts for a port in another crate. This crate carries
//! out operations and reports their results; sessions are above it.

pub mod backend;
mod clock;
pub mod connection;
#[cfg(target_os = "linux")]
pub mod epoll;
mod handles;
mod in_flight;
mod inbox;
#[cfg(windows)]
pub mod iocp;
#[cfg(target_os = "linux")]
pub mod linux;
pub mod network_events;
pub mod port;
mod port_core;
pub mod stop_signal;
pub mod taken;
pub mod syscall_counter;
#[cfg(target_os = "linux")]
pub mod uring;
#[cfg(windows)]
pub mod windows;

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[path = "linux/heap.rs"]
mod heap;

pub use clock::now;

// Modules are declared outside, because `cargo fmt` does not find any in here.
std::cfg_select! {
    target_os = "linux" => {
        /// The port of the system that this was built for.
        pub type OsPort = linux::choice::Port;
        pub use linux::clock::ThreadClock;
        pub use linux::error::listen_hint;
        pub use linux::file::make_new;
        pub(crate) use linux::waker::Waker;
        pub use linux::{completion_port, event, message, overlapped, queue, routine, select, signals};
    }
    windows => {
        /// The port of the system that this was built for.
        pub type OsPort = iocp::port::Port;
        pub use windows::clock::ThreadClock;
        pub use windows::error::listen_hint;
        pub use windows::file::make_new;
        pub(crate) use windows::waker::Waker;
        pub use windows::{completion_port, event, message, overlapped, queue, routine, select, signals};
    }
}

std::cfg_select! {
    all(target_os = "linux", target_env = "gnu") => {
        pub use heap::give_back_memory;
    }
    windows => {
        pub use windows::heap::give_back_memory;
    }
    _ => {
        /// Does nothing: other C libraries return memory by themselves.
        pub fn give_back_memory() {}
    }
}
