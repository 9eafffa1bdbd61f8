//! Rooms: one thread at a time, one order for all members, bounded, and no member left behind.
//!
//! `alone.rs` holds what a room does by itself, with fake sessions and a clock that is told; `served.rs` what it does in
//! a service, with real ones, `room_memberships.rs` what reaches whom while they come and go, and `floods.rs` what
//! becomes of those who bring too much, and of those who cannot be told.

mod alone;
mod floods;
mod room_memberships;
mod served;
