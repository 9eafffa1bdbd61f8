//! What runs came to, and how it is told. Nothing here runs anything.

use std::collections::BTreeMap;

use crate::kernel::fault::FaultKind;

use super::hazard::{Hazard, Hits};

/// A kind that was enabled in so many worlds has happened in one of them: of the rarest, a jump of the clock, a world
/// that has it in store sees three.
pub const SILENCE_WORLDS_MIN: u64 = 1_000;

/// What a run, or many, came to.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Worlds that were run.
    pub worlds: u64,
    /// Peers that came, those that stay not counted.
    pub peers: u64,
    /// Peers that got everything back and the end.
    pub served: u64,
    /// Peers that were reset or refused.
    pub reset: u64,
    /// Fresh nonces that came back after the storm.
    pub nonces: u64,
    /// Datagrams that were sent after the storm and came.
    pub datagrams: u64,
    /// Sessions of the engine.
    pub sessions: u64,
    /// Completions of all ports.
    pub completions: u64,
    /// Receives that found a pool empty.
    pub starved: u64,
    /// Pauses of accepting.
    pub accept_pauses: u64,
    /// Callbacks that panicked, all on purpose.
    pub panics: u64,
    /// Messages that met no live session.
    pub stale: u64,
    /// The world as one number: the same seed gives the same.
    pub trace_hash: u64,
    /// Sessions by their reason.
    pub reasons: BTreeMap<&'static str, u64>,
    /// Worlds in which a kind of fault could happen.
    pub enabled: BTreeMap<FaultKind, u64>,
    /// Faults that happened.
    pub fired: BTreeMap<FaultKind, u64>,
    /// Rows of the fault table that were met.
    pub hits: Hits,
}

impl Outcome {
    /// Adds another run.
    pub fn add(&mut self, other: &Outcome) {
        self.worlds += other.worlds;
        self.peers += other.peers;
        self.served += other.served;
        self.reset += other.reset;
        self.nonces += other.nonces;
        self.datagrams += other.datagrams;
        self.sessions += other.sessions;
        self.completions += other.completions;
        self.starved += other.starved;
        self.accept_pauses += other.accept_pauses;
        self.panics += other.panics;
        self.stale += other.stale;
        for (reason, count) in &other.reasons {
            *self.reasons.entry(reason).or_default() += count;
        }
        for (kind, worlds) in &other.enabled {
            *self.enabled.entry(*kind).or_default() += worlds;
        }
        for (kind, count) in &other.fired {
            *self.fired.entry(*kind).or_default() += count;
        }
        self.hits.merge(&other.hits);
    }

    /// Faults that happened, all kinds together.
    pub fn fired_total(&self) -> u64 {
        self.fired.values().sum()
    }

    /// Kinds that never happened, although too many worlds held them in store for that to be chance: whatever was to
    /// be shown of them is not.
    pub fn silent(&self) -> Vec<FaultKind> {
        let enabled = self.enabled.iter().filter(|(_, worlds)| **worlds >= SILENCE_WORLDS_MIN);
        enabled
            .map(|(kind, _)| *kind)
            .filter(|kind| self.fired.get(kind).is_none_or(|count| *count == 0))
            .collect()
    }

    /// How often a row of the fault table was met.
    pub fn met(&self, hazard: Hazard) -> u64 {
        let fired = |kind| self.fired.get(kind).copied().unwrap_or(0);
        self.hits.count(hazard) + hazard.kinds().iter().map(fired).sum::<u64>()
    }

    /// The rows of the fault table, one line each.
    pub fn table(&self) -> String {
        let line =
            |row: &Hazard| format!("{:<5}{:>14}  {}\n", format!("{row:?}"), self.met(*row), row.text());
        Hazard::ALL.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_silent_if_it_never_happened_in_many_worlds_that_had_it() {
        let world = |fired| Outcome {
            enabled: [(FaultKind::ClockJump, 1), (FaultKind::StorageFull, 1)].into(),
            fired: [(FaultKind::ClockJump, 0), (FaultKind::StorageFull, fired), (FaultKind::LostMore, 0)]
                .into(),
            ..Outcome::default()
        };
        let mut sum = Outcome::default();
        (1..SILENCE_WORLDS_MIN).for_each(|number| sum.add(&world(number % 2)));
        assert_eq!(sum.silent(), [], "chance may do that in so few");
        sum.add(&world(0));
        assert_eq!(sum.silent(), [FaultKind::ClockJump]);
        sum.add(&Outcome { fired: [(FaultKind::ClockJump, 1)].into(), ..Outcome::default() });
        assert_eq!(sum.silent(), []);
    }
}
