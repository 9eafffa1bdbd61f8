//! Tests of rooms: one thread at a time, one order for all members, bounded, and no member left behind.
//!
//! `alone.rs` tests a room by itself, with fake sessions and a test clock; `served.rs` in a service with real
//! sessions; `room_memberships.rs` which output reaches whom while members join and leave; and `floods.rs` senders
//! that send too much and members that do not keep up.

mod alone;
mod floods;
mod room_memberships;
mod served;
