//! Verdicts on the goals, and against which peers: a peer that is absent, or that lost something, does not count as
//! beaten.

use serde::Serialize;

use crate::matrix::{Figure, Goal};
use crate::summary::Row;

/// A goal and what became of it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Verdict {
    pub(crate) goal: String,
    /// `None`: there was no peer to compare with.
    pub(crate) reached: Option<f64>,
    pub(crate) met: Option<bool>,
    /// The number of peers to compare with, and how many of them were compared.
    pub(crate) wanted: usize,
    pub(crate) compared: usize,
    /// Those that were not, each with the reason.
    pub(crate) absent: Vec<String>,
    pub(crate) text: String,
}

/// Judges a goal by the rows of a cell, the first of which is Naksi's; figures are in `unit`.
pub(crate) fn judge(goal: Goal, rows: &[Row], unit: &str) -> Verdict {
    match goal {
        Goal::Ratio(figure, peers, least) => judge_ratio(figure, peers, least, rows),
        Goal::Most(figure, most) => judge_most(figure, most, rows, unit),
    }
}

fn judge_ratio(figure: Figure, peers: &[&str], least: f64, rows: &[Row]) -> Verdict {
    let whom = if peers.len() > 2 { "the best rival".to_owned() } else { peers.join(", ") };
    let goal = format!("{} at least {least:.2} against {whom}", label(figure));
    let (mut compared, mut absent) = (Vec::new(), Vec::new());
    for peer in peers {
        match compare(figure, peer, rows) {
            Ok(ratio) => compared.push((ratio, *peer)),
            Err(why) => absent.push(format!("{peer} ({why})")),
        }
    }
    let best = compared.iter().min_by(|one, other| one.0.total_cmp(&other.0));
    let reached = best.map(|(ratio, _)| *ratio);
    let among = match (compared.len(), peers.len()) {
        (1, 1) => ",".to_owned(),
        (some, all) if some == all => format!(" among all {all}:"),
        (some, all) => format!(" among {some} of {all} measured:"),
    };
    let (met, mut outcome) = match (failure_of_naksi(rows), best) {
        (Some(why), _) => (Some(false), format!("missed, naksi {why}")),
        (None, None) => (None, "not compared".to_owned()),
        (None, Some((ratio, peer))) if *ratio >= least => {
            (Some(true), format!("met{among} {ratio:.2} ({peer})"))
        }
        (None, Some((ratio, peer))) => {
            (Some(false), format!("missed by {:.2}{among} {ratio:.2} ({peer})", least - ratio))
        }
    };
    if !absent.is_empty() {
        outcome += &format!("; without {}", absent.join(", "));
    }
    let named = |row: &&Row| row.peer == "naksi" || peers.contains(&row.peer.as_str());
    for row in rows.iter().filter(named) {
        if let Some(starved) = row.starved() {
            outcome += &format!("; {} {starved}", row.peer);
        }
    }
    let text = format!("{goal}: {outcome}");
    Verdict { goal, reached, met, wanted: peers.len(), compared: compared.len(), absent, text }
}

/// A peer's figure divided by Naksi's, or why they cannot be compared.
fn compare(figure: Figure, peer: &str, rows: &[Row]) -> Result<f64, String> {
    let row = rows.iter().find(|row| row.peer == peer).ok_or("not run")?;
    if let Some(why) = row.unsound() {
        return Err(why);
    }
    let ratio = match figure {
        Figure::P50 => row.p50_ratio,
        Figure::P99 => row.p99_ratio,
        _ => row.ratio,
    };
    Ok(ratio.ok_or("no round in common")?.median)
}

/// Why Naksi has reached nothing, whatever its figures are.
fn failure_of_naksi(rows: &[Row]) -> Option<String> {
    rows.first().filter(|row| row.failed.is_some() || row.lost > 0)?.unsound()
}

fn judge_most(figure: Figure, most: f64, rows: &[Row], unit: &str) -> Verdict {
    let unit = match figure {
        Figure::Cost => unit,
        Figure::P50 | Figure::P99 => "us",
        Figure::Core => "of a processor",
        Figure::Lost => "lost",
    };
    let goal = format!("{} at most {most} {unit}", label(figure));
    let verdict = |reached, met, outcome: &str| {
        let text = format!("{goal}: {outcome}");
        Verdict { goal: goal.clone(), reached, met, wanted: 0, compared: 0, absent: Vec::new(), text }
    };
    let Some(naksi) = rows.first() else { return verdict(None, None, "not measured") };
    if let Some(why) = &naksi.failed {
        return verdict(None, Some(false), &format!("missed, naksi failed: {why}"));
    }
    if naksi.samples.is_empty() {
        return verdict(None, None, "not measured");
    }
    let reached = match figure {
        Figure::Cost => naksi.cost.median,
        Figure::P50 => naksi.p50_us,
        Figure::P99 => naksi.p99_us,
        Figure::Core => naksi.core,
        Figure::Lost => naksi.lost as f64,
    };
    if reached <= most {
        verdict(Some(reached), Some(true), &format!("met, {reached:.2}"))
    } else {
        verdict(Some(reached), Some(false), &format!("missed by {:.2}, {reached:.2}", reached - most))
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
    use crate::load::Shares;
    use crate::round::Sample;
    use crate::summary::{Rounds, row};

    fn rounds(peer: &str, sample: Sample) -> Rounds {
        Rounds { peer: peer.to_owned(), profile: String::new(), samples: vec![Some(sample)], failed: None }
    }

    fn costs(peer: &str, cost: f64) -> Rounds {
        rounds(peer, Sample { cost, ..Sample::default() })
    }

    fn judged(all: &[Rounds], peers: &'static [&'static str]) -> Verdict {
        let rows: Vec<Row> = all.iter().map(|peer| row(peer, all.first())).collect();
        judge(Goal::Ratio(Figure::Cost, peers, 1.0), &rows, "us/message")
    }

    #[test]
    fn the_best_rival_is_the_one_that_decides() {
        let all = [costs("naksi", 1.0), costs("tokio", 1.3), costs("mio", 0.9)];
        let verdict = judged(&all, &["tokio", "mio"]);
        assert_eq!((verdict.met, verdict.reached), (Some(false), Some(0.9)));
        let verdict = judged(&all, &["tokio"]);
        assert_eq!((verdict.met, verdict.reached), (Some(true), Some(1.3)));
        assert_eq!(verdict.text, "cost at least 1.00 against tokio: met, 1.30 (tokio)");
        let verdict = judged(&all, &["asio"]);
        assert_eq!((verdict.met, verdict.compared), (None, 0), "an absent peer is not beaten");
    }

    #[test]
    fn a_verdict_says_among_how_many_of_the_wanted_rivals_and_who_was_absent() {
        let mut all = [costs("naksi", 1.0), costs("tokio", 1.3), costs("mio", 1.2), costs("compio", 0.5)];
        all[3].failed = Some("round 2: it closed".to_owned());
        let verdict = judged(&all, &["tokio", "mio", "compio", "asio"]);
        assert_eq!((verdict.met, verdict.compared, verdict.wanted), (Some(true), 2, 4));
        assert_eq!(
            verdict.text,
            "cost at least 1.00 against the best rival: met among 2 of 4 measured: 1.20 (mio); without compio \
             (failed: round 2: it closed), asio (not run)"
        );
        let verdict = judged(&all, &["tokio", "mio"]);
        assert_eq!(verdict.text, "cost at least 1.00 against tokio, mio: met among all 2: 1.20 (mio)");
    }

    #[test]
    fn a_peer_that_loses_decides_no_goal_and_naksi_meets_none_if_it_loses() {
        let losing = |peer, cost| rounds(peer, Sample { cost, lost: 3, ..Sample::default() });
        let all = [costs("naksi", 1.0), costs("tokio", 1.3), losing("mio", 0.5)];
        let verdict = judged(&all, &["tokio", "mio"]);
        assert_eq!((verdict.met, verdict.reached), (Some(true), Some(1.3)));
        assert_eq!(verdict.absent, ["mio (failed: 3 lost)"]);
        let verdict = judged(&[losing("naksi", 1.0), costs("tokio", 1.3)], &["tokio"]);
        assert_eq!(verdict.met, Some(false), "{}", verdict.text);
    }

    #[test]
    fn a_naksi_that_failed_has_missed_its_goals() {
        let mut all = [costs("naksi", 1.0), costs("tokio", 1.3)];
        all[0].failed = Some("round 2: 6 messages did not come back".to_owned());
        assert_eq!(judged(&all, &["tokio"]).met, Some(false));
        let rows: Vec<Row> = all.iter().map(|peer| row(peer, all.first())).collect();
        assert_eq!(judge(Goal::Most(Figure::Cost, 9.0), &rows, "us/message").met, Some(false));
    }

    #[test]
    fn whoever_starves_connections_is_named_where_it_decides() {
        let shares = Some(Shares { least: 0, middle: 812, most: 900, starved: true });
        let starving = rounds("monoio", Sample { cost: 0.9, shares, ..Sample::default() });
        let all = [costs("naksi", 1.0), costs("tokio", 1.3), starving];
        let text = judged(&all, &["tokio", "monoio"]).text;
        let end =
            "0.90 (monoio); monoio starves connections: 0 messages where the middle has 812, 1 of 1 rounds";
        assert!(text.ends_with(end), "{text}");
        assert!(!judged(&all, &["tokio"]).text.contains("starves"), "it has no part in this goal");
    }
}
