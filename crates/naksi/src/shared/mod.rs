//! What the workers of one service share and other threads can reach: mailboxes, counters, admission, the directory
//! of topics and rooms, and the handle of a running service.

pub(crate) mod core;
pub(crate) mod handle;
pub(crate) mod mailbox;
pub(crate) mod stats;
