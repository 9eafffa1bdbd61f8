//! The applications that `naksi serve` can run. Each is one session type, chosen on the command line.

pub(crate) mod chat;
pub(crate) mod echo;
pub(crate) mod relay;
#[cfg(any(feature = "world", feature = "clients"))]
pub(crate) mod world;

#[cfg(feature = "world")]
pub(crate) use world::Kept;

/// The players of a world, in a program without one.
#[cfg(not(feature = "world"))]
pub(crate) enum Kept {}

impl App {
    /// The version of its packet table; 0 if it has none.
    pub(crate) fn table_version(self) -> u64 {
        match self {
            App::Echo | App::Relay => 0,
            App::Chat => chat::CHAT.version(),
            #[cfg(feature = "world")]
            App::World => world::WORLD.version(),
        }
    }
}

/// The applications by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum App {
    /// Raw bytes back.
    Echo,
    /// Framed messages to everybody in the sender's room.
    Relay,
    /// The sample game on rooms: names, talk, moves and a tick.
    Chat,
    /// The sample world: logins, saved places, and players that are told what they can see.
    #[cfg(feature = "world")]
    World,
}
