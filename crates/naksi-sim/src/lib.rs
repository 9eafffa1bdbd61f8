//! A simulated kernel, the engine's own tests on it, and one suite of scenarios for every port.
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
