//! Thresholds: `p99>5ms`, `lost>0`. The condition is the failure, as in the option's name, fail-if. A threshold is
//! judged once, on the summary.

use std::str::FromStr;

use serde::Serialize;

use super::report::Summary;
use crate::units;

/// What a threshold looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Figure {
    P50,
    P90,
    P99,
    P999,
    Max,
    Lost,
    NeverStarted,
    Errors,
}

/// One condition under which the run has failed.
#[derive(Clone, Debug)]
pub(crate) struct Threshold {
    text: String,
    figure: Figure,
    or_equal: bool,
    bound: u64,
}

/// How a threshold was judged.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Verdict {
    pub(crate) threshold: String,
    /// Nanoseconds, or a count.
    pub(crate) value: u64,
    pub(crate) crossed: bool,
    #[serde(skip)]
    pub(crate) is_count: bool,
}

impl FromStr for Threshold {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shape = || format!("`{text}` is not a threshold: write `p99>5ms`, `lost>0` or `errors>0`");
        let (name, bound) = text.split_once('>').ok_or_else(shape)?;
        let figure = match name.trim() {
            "p50" => Figure::P50,
            "p90" => Figure::P90,
            "p99" => Figure::P99,
            "p99.9" => Figure::P999,
            "max" => Figure::Max,
            "lost" => Figure::Lost,
            "never-started" => Figure::NeverStarted,
            "errors" => Figure::Errors,
            other => {
                return Err(format!(
                    "`{other}` is no figure: use p50, p90, p99, p99.9, max, lost, never-started or errors"
                ));
            }
        };
        let (or_equal, bound) = match bound.strip_prefix('=') {
            Some(bound) => (true, bound),
            None => (false, bound),
        };
        let bound = if figure.is_count() {
            bound.trim().parse().map_err(|_| shape())?
        } else {
            u64::try_from(units::parse_duration(bound)?.as_nanos()).map_err(|_| shape())?
        };
        Ok(Self { text: text.to_owned(), figure, or_equal, bound })
    }
}

impl Figure {
    fn is_count(self) -> bool {
        matches!(self, Figure::Lost | Figure::NeverStarted | Figure::Errors)
    }

    fn of(self, summary: &Summary) -> u64 {
        match self {
            Figure::P50 => summary.latency.p50,
            Figure::P90 => summary.latency.p90,
            Figure::P99 => summary.latency.p99,
            Figure::P999 => summary.latency.p999,
            Figure::Max => summary.latency.max,
            Figure::Lost => summary.lost,
            Figure::NeverStarted => summary.never_started,
            Figure::Errors => summary.errors_total(),
        }
    }
}

impl Threshold {
    pub(crate) fn judge(&self, summary: &Summary) -> Verdict {
        let value = self.figure.of(summary);
        // Without a single answer there is no latency, and a threshold on it cannot have been met.
        let unknown = !self.figure.is_count() && summary.received == 0;
        let crossed = unknown || value > self.bound || (self.or_equal && value == self.bound);
        Verdict { threshold: self.text.clone(), value, crossed, is_count: self.figure.is_count() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_read_and_nonsense_is_named() {
        let read = |text: &str| text.parse::<Threshold>();
        assert_eq!(read("p99>5ms").map(|read| (read.figure, read.bound)), Ok((Figure::P99, 5_000_000)));
        assert_eq!(
            read("p99.9 > 1s").map(|read| (read.figure, read.bound)),
            Ok((Figure::P999, 1_000_000_000))
        );
        assert_eq!(read("never-started>=2").map(|read| read.figure), Ok(Figure::NeverStarted));
        assert_eq!(read("lost>0").map(|read| (read.figure, read.bound)), Ok((Figure::Lost, 0)));
        assert!(read("p99<5ms").is_err() && read("p98>5ms").is_err() && read("p99>5").is_err());
    }
}
