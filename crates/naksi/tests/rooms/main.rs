//! Rooms: one thread at a time, one order for everybody, bounded, and nobody left behind.
//!
//! `alone.rs` holds what a room does by itself, with fake sessions and a clock that is told; `served.rs` what it does in
//! a service, with real ones, and `seats.rs` what reaches whom while they come and go.

mod alone;
mod seats;
mod served;
