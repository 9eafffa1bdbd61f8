//! What rounds amount to: medians, ratios of the same round, goals met or missed. It measures nothing.

use serde::Serialize;

use crate::matrix::{Cell, Figure, Goal, Work};
use crate::round::Sample;

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

/// A goal and what became of it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Verdict {
    pub(crate) goal: String,
    /// `None`: nobody was there to compare with.
    pub(crate) reached: Option<f64>,
    pub(crate) met: Option<bool>,
    pub(crate) text: String,
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

fn row(peer: &Rounds, naksi: Option<&Rounds>) -> Row {
    let whole: Vec<Sample> = peer.samples.iter().flatten().cloned().collect();
    let middle = |of: fn(&Sample) -> f64| Spread::of(whole.iter().map(of)).unwrap_or_default().median;
    let ratio = |of: fn(&Sample) -> f64| {
        let pairs = peer.samples.iter().zip(naksi.into_iter().flat_map(|naksi| &naksi.samples));
        Spread::of(pairs.filter_map(|(peer, naksi)| Some(of(peer.as_ref()?) / of(naksi.as_ref()?))))
    };
    Row {
        peer: peer.peer.clone(),
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

fn judge(goal: Goal, rows: &[Row], unit: &str) -> Verdict {
    match goal {
        Goal::Ratio(figure, peers, least) => {
            let ratios = rows.iter().filter(|row| peers.contains(&row.peer.as_str())).filter_map(|row| {
                let ratio = match figure {
                    Figure::P50 => row.p50_ratio,
                    Figure::P99 => row.p99_ratio,
                    _ => row.ratio,
                };
                Some((ratio?.median, row.peer.as_str()))
            });
            let best = ratios.min_by(|one, other| one.0.total_cmp(&other.0));
            let whom = if peers.len() > 2 { "the best rival".to_owned() } else { peers.join(", ") };
            let goal = format!("{} at least {least:.2} against {whom}", label(figure));
            let Some((reached, peer)) = best else {
                return Verdict { text: format!("{goal}: not compared"), goal, reached: None, met: None };
            };
            let met = reached >= least;
            let text = if met {
                format!("{goal}: met, {reached:.2} ({peer})")
            } else {
                format!("{goal}: missed by {:.2}, {reached:.2} ({peer})", least - reached)
            };
            Verdict { goal, reached: Some(reached), met: Some(met), text }
        }
        Goal::Most(figure, most) => {
            let unit = match figure {
                Figure::Cost => unit,
                Figure::P50 | Figure::P99 => "us",
                Figure::Core => "of a processor",
                Figure::Lost => "lost",
            };
            let goal = format!("{} at most {most} {unit}", label(figure));
            let Some(naksi) = rows.first().filter(|row| !row.samples.is_empty()) else {
                return Verdict { text: format!("{goal}: not measured"), goal, reached: None, met: None };
            };
            let reached = match figure {
                Figure::Cost => naksi.cost.median,
                Figure::P50 => naksi.p50_us,
                Figure::P99 => naksi.p99_us,
                Figure::Core => naksi.core,
                Figure::Lost => naksi.lost as f64,
            };
            let met = reached <= most;
            let text = if met {
                format!("{goal}: met, {reached:.2}")
            } else {
                format!("{goal}: missed by {:.2}, {reached:.2}", reached - most)
            };
            Verdict { goal, reached: Some(reached), met: Some(met), text }
        }
    }
}

fn label(figure: Figure) -> &'static str {
    match figure {
        Figure::Cost => "cost",
        Figure::P50 => "p50",
        Figure::P99 => "p99",
        Figure::Core => "load",
        Figure::Lost => "deliveries",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(peer: &str, costs: &[f64]) -> Rounds {
        let samples = costs.iter().map(|cost| Some(Sample { cost: *cost, ..Sample::default() })).collect();
        Rounds { peer: peer.to_owned(), samples, failed: None }
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
    fn the_best_rival_is_the_one_that_decides() {
        let all = [rounds("naksi", &[1.0]), rounds("tokio", &[1.3]), rounds("mio", &[0.9])];
        let rows: Vec<Row> = all.iter().map(|peer| row(peer, all.first())).collect();
        let verdict = judge(Goal::Ratio(Figure::Cost, &["tokio", "mio"], 1.0), &rows, "us/message");
        assert_eq!((verdict.met, verdict.reached), (Some(false), Some(0.9)));
        let verdict = judge(Goal::Ratio(Figure::Cost, &["tokio"], 1.0), &rows, "us/message");
        assert_eq!((verdict.met, verdict.reached), (Some(true), Some(1.3)));
        let verdict = judge(Goal::Ratio(Figure::Cost, &["asio"], 1.0), &rows, "us/message");
        assert_eq!(verdict.met, None, "whoever was not there is not beaten");
    }

    #[test]
    fn an_unfinished_round_of_one_peer_takes_no_other_round_away() {
        let naksi = rounds("naksi", &[1.0, 2.0]);
        let mut peer = rounds("tokio", &[9.0, 4.0]);
        peer.samples[0] = None;
        assert_eq!(row(&peer, Some(&naksi)).ratio.expect("one round").median, 2.0);
    }
}
