//! Statistics over rounds: medians, and ratios within the same round.

use serde::Serialize;

use crate::load::Shares;
use crate::matrix::{Cell, Work};
use crate::round::Sample;
use crate::stall::Stalled;
use crate::verdict::{Verdict, judge};

/// The middle, the least and the most of some figures.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Spread {
    /// `None`: there are no figures.
    pub(crate) fn of(figures: impl Iterator<Item = f64>) -> Option<Self> {
        let mut figures: Vec<f64> = figures.filter(|figure| figure.is_finite()).collect();
        figures.sort_by(f64::total_cmp);
        let (least, most) = (*figures.first()?, *figures.last()?);
        let middle = figures.len() / 2;
        let median = if figures.len() % 2 == 1 {
            figures[middle]
        } else {
            f64::midpoint(figures[middle - 1], figures[middle])
        };
        Some(Self { median, least, most })
    }
}

/// One peer in one cell.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) peer: String,
    /// How its program was built.
    pub(crate) profile: String,
    pub(crate) cost: Spread,
    /// Median of this peer's cost divided by Naksi's of the same round: above 1, Naksi is cheaper.
    pub(crate) ratio: Option<Spread>,
    pub(crate) p50_ratio: Option<Spread>,
    pub(crate) p99_ratio: Option<Spread>,
    pub(crate) per_second: f64,
    pub(crate) core: f64,
    pub(crate) user_share: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    pub(crate) lost: u64,
    /// Why it has no figures.
    pub(crate) failed: Option<String>,
    pub(crate) samples: Vec<Sample>,
}

impl Row {
    /// What its figures do not say.
    pub(crate) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.lost > 0 {
            notes.push(format!("{} lost", self.lost));
        }
        notes.extend(self.starved());
        let stalled: Vec<Stalled> = self.samples.iter().filter_map(|sample| sample.stalled).collect();
        if let Some(memory_bytes) = stalled.iter().map(|stalled| stalled.memory_bytes).max() {
            let ended: usize = stalled.iter().map(|stalled| stalled.ended).sum();
            let held: usize = stalled.iter().map(|stalled| stalled.held).sum();
            let memory = memory_bytes as f64 / f64::from(1 << 20);
            notes.push(format!("who did not read: {ended} ended, {held} held, {memory:.1} MiB more at most"));
        }
        notes
    }

    /// Why its figures decide nothing, if they do not.
    pub(crate) fn unsound(&self) -> Option<String> {
        let failed = self.failed.as_ref().map(|why| format!("failed: {why}"));
        let lost = || (self.lost > 0).then(|| format!("failed: {} lost", self.lost));
        failed.or_else(lost).or_else(|| self.samples.is_empty().then(|| "not run".to_owned()))
    }

    /// Reports that some of its connections got next to nothing, and where that was worst.
    pub(crate) fn starved(&self) -> Option<String> {
        let starved =
            || self.samples.iter().filter_map(|sample| sample.shares).filter(|shares| shares.starved);
        let share = |shares: &Shares| shares.least as f64 / shares.middle as f64;
        let worst = starved().min_by(|one, other| share(one).total_cmp(&share(other)))?;
        let (rounds, all) = (starved().count(), self.samples.len());
        let Shares { least, middle, .. } = worst;
        Some(format!(
            "starves connections: {least} messages where the middle has {middle}, {rounds} of {all} rounds"
        ))
    }
}

/// A cell after its rounds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Summary {
    pub(crate) cell: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) workers: usize,
    pub(crate) naksi_arguments: &'static [&'static str],
    pub(crate) rows: Vec<Row>,
    pub(crate) verdicts: Vec<Verdict>,
    /// Rounds that were thrown away because others used the machine.
    pub(crate) rejected: usize,
    /// Rounds that were kept all the same, when patience was over.
    pub(crate) disturbed: usize,
}

/// What a cell's main figure is measured in.
pub(crate) fn unit(work: Work) -> &'static str {
    match work {
        Work::Echo(_) => "us/message",
        Work::Relay(_) => "us/delivery",
        Work::Storm(_) => "us/life",
        Work::Idle(_) | Work::IdleMany { .. } => "B/connection",
        Work::End(_) => "ms",
    }
}

/// A peer's rounds, in order; a round that it did not finish is `None`.
pub(crate) struct Rounds {
    pub(crate) peer: String,
    pub(crate) profile: String,
    pub(crate) samples: Vec<Option<Sample>>,
    pub(crate) failed: Option<String>,
}

/// Sums up a cell. The first rounds are Naksi's.
pub(crate) fn sum_up(cell: &Cell, rounds: &[Rounds], rejected: usize, disturbed: usize) -> Summary {
    let rows: Vec<Row> = rounds.iter().map(|peer| row(peer, rounds.first())).collect();
    let verdicts = cell.goals.iter().map(|goal| judge(*goal, &rows, unit(cell.work))).collect();
    Summary {
        cell: cell.name,
        unit: unit(cell.work),
        workers: cell.workers,
        naksi_arguments: cell.naksi,
        rows,
        verdicts,
        rejected,
        disturbed,
    }
}

pub(crate) fn row(peer: &Rounds, naksi: Option<&Rounds>) -> Row {
    let whole: Vec<Sample> = peer.samples.iter().flatten().cloned().collect();
    let middle = |of: fn(&Sample) -> f64| Spread::of(whole.iter().map(of)).unwrap_or_default().median;
    let ratio = |of: fn(&Sample) -> f64| {
        let pairs = peer.samples.iter().zip(naksi.into_iter().flat_map(|naksi| &naksi.samples));
        Spread::of(pairs.filter_map(|(peer, naksi)| Some(of(peer.as_ref()?) / of(naksi.as_ref()?))))
    };
    Row {
        peer: peer.peer.clone(),
        profile: peer.profile.clone(),
        cost: Spread::of(whole.iter().map(|sample| sample.cost)).unwrap_or_default(),
        ratio: ratio(|sample| sample.cost),
        p50_ratio: ratio(|sample| sample.p50_us),
        p99_ratio: ratio(|sample| sample.p99_us),
        per_second: middle(|sample| sample.per_second),
        core: middle(|sample| sample.core),
        user_share: middle(|sample| sample.user_share),
        p50_us: middle(|sample| sample.p50_us),
        p99_us: middle(|sample| sample.p99_us),
        p999_us: middle(|sample| sample.p999_us),
        lost: whole.iter().map(|sample| sample.lost).sum(),
        failed: peer.failed.clone(),
        samples: whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(peer: &str, costs: &[f64]) -> Rounds {
        let samples = costs.iter().map(|cost| Some(Sample { cost: *cost, ..Sample::default() })).collect();
        Rounds { peer: peer.to_owned(), profile: String::new(), samples, failed: None }
    }

    #[test]
    fn a_ratio_is_of_one_round_so_a_machine_that_is_slow_for_a_round_does_not_count() {
        // The machine is three times slower in the second round, for both.
        let naksi = rounds("naksi", &[1.0, 3.0, 1.0]);
        let peer = rounds("tokio", &[1.5, 4.5, 1.5]);
        let ratio = row(&peer, Some(&naksi)).ratio.expect("three rounds");
        assert_eq!((ratio.median, ratio.least, ratio.most), (1.5, 1.5, 1.5));
    }

    #[test]
    fn every_ratio_is_the_peers_figure_divided_by_naksis() {
        let one = |cost, p50_us, p99_us| Rounds {
            peer: String::new(),
            profile: String::new(),
            samples: vec![Some(Sample { cost, p50_us, p99_us, ..Sample::default() })],
            failed: None,
        };
        let row = row(&one(3.0, 40.0, 700.0), Some(&one(2.0, 10.0, 100.0)));
        let ratios = [row.ratio, row.p50_ratio, row.p99_ratio].map(|ratio| ratio.expect("one round").median);
        assert_eq!(ratios, [1.5, 4.0, 7.0]);
        assert_eq!((row.cost.median, row.p50_us, row.p99_us), (3.0, 40.0, 700.0));
    }

    #[test]
    fn a_row_says_in_how_many_rounds_connections_starved_and_where_it_was_worst() {
        let share = |least, starved| {
            let shares = Shares { least, middle: 900, most: 1_000, starved };
            Some(Sample { shares: Some(shares), ..Sample::default() })
        };
        let mut peer = rounds("monoio", &[]);
        peer.samples = vec![share(800, false), share(40, true), None, share(3, true)];
        let note = "starves connections: 3 messages where the middle has 900, 2 of 3 rounds";
        assert_eq!(row(&peer, None).notes(), [note]);
        peer.samples.truncate(1);
        assert_eq!(row(&peer, None).notes(), [""; 0]);
    }

    #[test]
    fn an_unfinished_round_of_one_peer_takes_no_other_round_away() {
        let naksi = rounds("naksi", &[1.0, 2.0]);
        let mut peer = rounds("tokio", &[9.0, 4.0]);
        peer.samples[0] = None;
        assert_eq!(row(&peer, Some(&naksi)).ratio.expect("one round").median, 2.0);
    }
}
