//! The sample world: players log in, walk about, and are told of those whom they see and of no others.
//!
//! The world is one room that ticks. A step or a line only leaves a wish; the tick carries the wishes out and tells
//! each player what has changed for it: who is gone from its view, at once, who came into it and where those in view
//! are now, as far as its bytes for a tick go, nearest first. Who has not taken what it was told last is
//! told nothing new of places until it has, and then the latest of each: so a crowd on one spot, or a slow line, costs
//! freshness and never a connection. Nothing here knows a database's tables or on which thread it runs.

#[cfg(feature = "world")]
mod gate;
#[cfg(feature = "world")]
mod room;
#[cfg(feature = "world")]
mod store;

use naksi::prelude::*;

#[cfg(feature = "world")]
pub(crate) use gate::{Gate, Player};
#[cfg(feature = "world")]
pub(crate) use store::Kept;

packets! {
    /// What players and the world say to each other.
    pub(crate) WORLD {
        /// A client says who it is. Who has been here before is where it was; another client with that name ends.
        1 => Login { name: String }
        /// The answer: the player's number in the world, the table that the server speaks, and where the player is.
        2 => Welcome { you: u32, version: u64, x: i32, y: i32 }
        /// The player wants to be there; of those in one tick the last one counts.
        3 => Step { x: i32, y: i32 }
        /// A player comes into view.
        4 => Enter { who: u32, name: String, x: i32, y: i32 }
        /// A player is not in view any more. Each follows an `Enter`; then the number may be another's.
        5 => Leave { who: u32 }
        /// Where those in view are now who have moved; some of them, if there are too many.
        6 => Moved { tick: u64, places: Vec<(u32, i32, i32)> }
        /// The player says something.
        10 => Say { text: String }
        /// A line from a player in view, or from the player itself.
        11 => Said { from: u32, text: String }
    }
}

/// The distance at which a player comes into view, in units of the world.
pub(crate) const SEEN_WITHIN: u32 = 100;
/// The distance at which a player in view goes out of view.
pub(crate) const LOST_BEYOND: u32 = 120;
/// The world goes so far from its middle to each side.
pub(crate) const EDGE: i32 = 1_000;
/// Longest name, in bytes.
pub(crate) const NAME_BYTES_MAX: usize = 64;
/// Longest line, in bytes.
const TEXT_BYTES_MAX: usize = 512;

#[cfg(all(test, feature = "world"))]
mod tests;
