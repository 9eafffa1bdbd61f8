//! The engine on the simulated kernel: one seed makes a world, its faults, its peers and its end.
//!
//! [`setting`] says what a seed stands for, [`run`] plays it, [`sweep`] plays many of them on several
//! threads, shrinks what fails and writes it down.

pub mod observations;
pub mod sim_service;
pub mod other_threads;
pub mod files;
pub mod shared_room;
pub mod hazard;
pub mod datagrams;
pub mod liveness;
pub mod behavior;
pub mod outcome;
pub mod peers;
pub mod run;
pub mod setting;
pub mod quiet_check;
pub mod groups;
pub mod sweep;
pub mod users;

pub use crate::kernel::fault::{Dialect, FaultKind};
