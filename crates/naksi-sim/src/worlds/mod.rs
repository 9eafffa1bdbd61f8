//! The engine on the simulated kernel: one seed makes a world, its faults, its peers and its end.
//!
//! [`setting`] says what a seed stands for, [`run`] plays it, [`sweep`] plays many of them on several
//! threads, shrinks what fails and writes it down.

pub mod books;
pub mod crew;
pub mod errands;
pub mod files;
pub mod hall;
pub mod hazard;
pub mod letters;
pub mod liveness;
pub mod manners;
pub mod outcome;
pub mod peers;
pub mod run;
pub mod setting;
pub mod silence;
pub mod stages;
pub mod sweep;
pub mod users;

pub use crate::kernel::fault::{Dialect, FaultKind};
