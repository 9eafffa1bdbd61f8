//! The servers that the program can run.
//!
//! Each application is one session type; which of them runs is the user's choice. Nothing here knows
//! how a session's bytes travel.

pub(crate) mod chat;
pub(crate) mod echo;
pub(crate) mod relay;
pub(crate) mod world;

/// The applications by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum App {
    /// Raw bytes back.
    Echo,
    /// Framed messages to everybody in the sender's room.
    Relay,
    /// The sample game on rooms: names, talk, moves and a tick.
    Chat,
    /// The sample world: logins, saved places, and players who are told of those whom they see.
    World,
}
