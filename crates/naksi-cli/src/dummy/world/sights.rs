//! Counts of what the clients of a world received, and their text in a summary.

use std::fmt::{self, Write};

use serde::Serialize;

use crate::units::grouped;

macro_rules! sights {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What one client received about the others, or the sum over all clients.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
        pub(crate) struct Sights {
            $($(#[$doc])* pub(super) $name: u64,)*
        }

        impl Sights {
            /// Adds what another one counted.
            pub(crate) fn add(&mut self, other: &Sights) {
                $(self.$name += other.$name;)*
            }
        }
    };
}

sights! {
    /// Enters and leaves received.
    enters,
    leaves,
    /// Lines that were received.
    lines,
    /// Returning players that were where they had been, and those that were not.
    restored,
    not_restored,
    /// Clients that compared their view at the end with the truth.
    judged,
    /// Enters of players already in view; leaves, moves and lines of players that were not.
    entered_twice,
    left_unseen,
    moved_unseen,
    said_unseen,
    /// At the end: near and not in view, far and in view, in view at a wrong place, in view and not in the world.
    not_seen,
    seen_from_afar,
    wrong_place,
    ghosts,
}

impl Sights {
    /// What is wrong, by name; `present` dummies should have looked.
    pub(crate) fn errors(&self, present: u64) -> [(&'static str, u64); 10] {
        [
            ("entered twice", self.entered_twice),
            ("left unseen", self.left_unseen),
            ("moved unseen", self.moved_unseen),
            ("said unseen", self.said_unseen),
            ("near and not seen", self.not_seen),
            ("far and seen", self.seen_from_afar),
            ("seen at a wrong place", self.wrong_place),
            ("seen and not there", self.ghosts),
            ("not where it was before the logout", self.not_restored),
            ("did not settle", present.saturating_sub(self.judged)),
        ]
    }
}

/// The world's part of a summary.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Figures {
    #[serde(flatten)]
    pub(crate) sights: Sights,
    /// Places of neighbours received per second by all clients.
    pub(crate) places_per_second: f64,
}

impl Figures {
    /// The lines that a person reads.
    pub(crate) fn write(&self, out: &mut String) -> fmt::Result {
        let Sights { enters, leaves, lines, restored, judged, .. } = self.sights;
        writeln!(
            out,
            "World     enters {}  leaves {}  lines heard {}  places told {}/s",
            grouped(enters),
            grouped(leaves),
            grouped(lines),
            grouped(self.places_per_second.round() as u64),
        )?;
        writeln!(
            out,
            "          came back to their places {}  views that were exact at the end were looked for by {}",
            grouped(restored),
            grouped(judged),
        )
    }
}
