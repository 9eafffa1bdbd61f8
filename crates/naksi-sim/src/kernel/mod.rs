//! A simulated kernel: the same seed gives the same run, to the last completion.
//!
//! A [`world::World`] holds virtual time, a network, files, scripted [`peer::Peer`]s and any number of
//! ports ([`naksi_os::port::Port`]). It carries the reads and writes out itself, in Rust, through the buffers that the ports
//! own, and it breaks things on purpose by a [`fault::FaultPlan`]. The same seed gives the same run, to the
//! last completion. Nothing here knows a real clock, a thread or a session; everything is stepped by the
//! test that owns the world.
//!
//! ```text
//!   world.rs     what a test holds            port.rs   what an engine holds
//!   state.rs     what happens at an event     wait.rs   what a wait hands out
//!   ops.rs       what each operation does        port_state.rs   what the kernel keeps for one port
//!   net.rs       sockets and their pipes      calendar.rs   time, chance, and what comes next
//!   cancel.rs    how an operation ends early          iocp.rs    what only a kernel of packets does
//! ```

mod calendar;
mod cancel;
mod port_state;
mod iocp;
mod state;
mod net;
mod ops;
mod wait;

pub mod fault;
pub mod peer;
pub mod port;
pub mod world;

#[cfg(test)]
mod laws;
