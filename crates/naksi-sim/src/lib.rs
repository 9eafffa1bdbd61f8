//! The laws on trial: simulated worlds full of faults, and one conformance suite for every port.
//!
//! This crate builds nothing that a server needs. It runs the engine and the ports under faults, asserts
//! every law, and reports what it saw, for the command line and for the tests alike.

#![forbid(unsafe_code)]

pub mod chaos;
pub mod conform;
pub mod worlds;
