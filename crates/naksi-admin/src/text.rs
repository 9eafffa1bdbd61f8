//! Prometheus' text format (0.0.4): families with a help line, a type and samples. Nothing here knows a metric.
//!
//! The crate `prometheus-client` writes OpenMetrics, whose counters `promtool check metrics` takes for untyped ones.

use std::fmt::{self, Write as _};

/// The media type of what is written here.
pub(crate) const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a family's samples are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// A page of metrics.
#[derive(Debug, Default)]
pub(crate) struct Page(String);

impl Page {
    /// Begins a family; its samples follow.
    pub(crate) fn family(&mut self, name: &'static str, kind: Kind, help: &str) -> Family<'_> {
        let kind = kind.name();
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        self.0 += &format!("# HELP {name} {help}\n# TYPE {name} {kind}\n");
        Family { page: &mut self.0, name }
    }

    /// The page as it is sent.
    pub(crate) fn into_text(self) -> String {
        self.0
    }
}

/// A family that is being written.
pub(crate) struct Family<'a> {
    page: &'a mut String,
    name: &'static str,
}

impl Family<'_> {
    pub(crate) fn sample(&mut self, labels: &[(&str, &str)], value: impl fmt::Display) {
        self.line("", labels, value);
    }

    /// A histogram's samples: how many were within each bound, how many there were, and their sum.
    pub(crate) fn histogram(
        &mut self,
        labels: &[(&str, &str)],
        within: impl Iterator<Item = (f64, u64)>,
        count: u64,
        sum: impl fmt::Display,
    ) {
        let with = |bound: &str, samples: &mut Self, count| {
            let labels: Vec<(&str, &str)> = labels.iter().copied().chain([("le", bound)]).collect();
            samples.line("_bucket", &labels, count);
        };
        for (bound, count) in within {
            with(&bound.to_string(), self, count);
        }
        with("+Inf", self, count);
        self.line("_sum", labels, sum);
        self.line("_count", labels, count);
    }

    fn line(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl fmt::Display) {
        *self.page += self.name;
        *self.page += suffix;
        for (place, (label, text)) in labels.iter().enumerate() {
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            self.page.push(if place == 0 { '{' } else { ',' });
            write!(self.page, "{label}=\"{text}\"").expect("a string takes all");
        }
        let end = if labels.is_empty() { "" } else { "}" };
        writeln!(self.page, "{end} {value}").expect("a string takes all");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_cannot_end_its_line_and_a_histogram_has_its_bounds() {
        let mut page = Page::default();
        page.family("naksi_a_total", Kind::Counter, "Help\nwith a line feed.")
            .sample(&[("name", "a\"b\\c\nd"), ("x", "y")], 3);
        let mut family = page.family("naksi_b_seconds", Kind::Histogram, "Help.");
        family.histogram(&[], [(0.001, 1), (2.5, 4)].into_iter(), 5, 1.5);
        assert_eq!(
            page.into_text(),
            "# HELP naksi_a_total Help\\nwith a line feed.\n# TYPE naksi_a_total counter\n\
             naksi_a_total{name=\"a\\\"b\\\\c\\nd\",x=\"y\"} 3\n\
             # HELP naksi_b_seconds Help.\n# TYPE naksi_b_seconds histogram\n\
             naksi_b_seconds_bucket{le=\"0.001\"} 1\nnaksi_b_seconds_bucket{le=\"2.5\"} 4\n\
             naksi_b_seconds_bucket{le=\"+Inf\"} 5\nnaksi_b_seconds_sum 1.5\nnaksi_b_seconds_count 5\n"
        );
    }
}
