//! The engine on the simulated kernel: one seed makes a world, its faults, its peers and its end.

pub mod peers;
pub mod run;
