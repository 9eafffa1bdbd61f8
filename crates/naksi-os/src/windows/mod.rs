//! The I/O completion port room. Its port is not built yet: [`port::Port::open`] says so, in one line.
//!
//! What stands here already is what can be true before there is a port: what Windows' numbers mean
//! (`error.rs`), how its files are opened (`file.rs`), which functions have to be asked for (`ext.rs`), and
//! how time and offsets are handed over (`port.rs`, `op.rs`). The crate compiles for Windows from the first
//! day, so that nothing above this room can come to depend on Linux. This room knows no session.

pub mod error;
pub mod ext;
pub mod file;
pub mod op;
pub mod port;
pub mod socket;
