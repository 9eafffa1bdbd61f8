//! Tests a server on simulated kernels: [`Simulation`] runs any Naksi server from a seed, with faults, and reports the
//! first seed that shows a bug. The guide's page "Test your game on a simulated kernel" is a tutorial.
//!
//! | to | use |
//! |---|---|
//! | run your server with many seeds | [`Simulation`] |
//! | say what a client sends and expects | [`ClientScript`] |
//! | write a port of your own and check it | [`naksi_os::backend`], [`conform`] |
//!
//! The rest tests Naksi itself:
//!
//! * [`kernel`]: time, network, files, scripted peers and faults, all of them from one seed. Its ports keep the
//!   contract of [`naksi_os::port`].
//! * [`worlds`]: the engine on that kernel, with faults of every kind; `naksi sim` runs it.
//! * [`conform`]: scenarios that every port must carry out alike, real or simulated; `naksi conform` runs them.
//! * [`chaos`]: a proxy that damages real connections.
//!
//! No server ships any of it.

#![forbid(unsafe_code)]

pub mod chaos;
pub mod conform;
pub mod kernel;
pub mod worlds;

mod client_script;
mod panics;
mod simulation;
mod stepped_group;

pub use client_script::ClientScript;
pub use naksi_core::prng::Prng;
pub use simulation::{FailedSeed, Simulation, SimulationReport};

/// The snippets of the guide's page on simulation, compiled and run as documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/book/src/simulation.md")]
mod guide {}
