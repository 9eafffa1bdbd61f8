//! The sample world: players log in, walk, and are sent only what they can see.
//!
//! The world is one room with a tick. A step or a line of talk is only stored; the tick applies it and sends each
//! player the changes: which players left its view, at once; then new ones in view and new places of those in view,
//! nearest first, within a budget of bytes. A player that has not received the previous places gets no new ones until
//! it has, and then the latest of each. So a crowd in one place, or a slow connection, reduces the update rate and
//! never ends a connection.

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
    /// The packets of the world.
    pub(crate) WORLD {
        /// A client logs in. A returning player is where it was; another client with the same name is disconnected.
        1 => Login { name: String }
        /// The answer: the player's number in the world, the table that the server speaks, and where the player is.
        2 => Welcome { you: u32, version: u64, x: i32, y: i32 }
        /// The player moves there; of several in one tick the last one counts.
        3 => Step { x: i32, y: i32 }
        /// A player comes into view.
        4 => Enter { who: u32, name: String, x: i32, y: i32 }
        /// A player has left the view. Each follows an `Enter`; afterwards the number may be reused.
        5 => Leave { who: u32 }
        /// New places of players in view that have moved; a part of them, if there are too many.
        6 => Moved { tick: u64, places: Vec<(u32, i32, i32)> }
        /// The player says something.
        10 => Say { text: String }
        /// A line from a player in view, or from the player itself.
        11 => Said { from: u32, text: String }
    }
}

/// The distance at which a player comes into view, in units of the world.
pub(crate) const SEEN_WITHIN: u32 = 100;
/// The distance at which a player in view leaves the view.
pub(crate) const LOST_BEYOND: u32 = 120;
/// The world goes so far from its middle to each side.
pub(crate) const EDGE: i32 = 1_000;
/// Longest name, in bytes.
pub(crate) const NAME_BYTES_MAX: usize = 64;
/// Longest line, in bytes.
const TEXT_BYTES_MAX: usize = 512;

#[cfg(all(test, feature = "world"))]
mod tests;
