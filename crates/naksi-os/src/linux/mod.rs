//! io_uring.
pub mod port;
