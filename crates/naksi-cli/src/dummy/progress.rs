//! The live view of a run: a bar on a terminal; elsewhere nothing, or a plain line a second. It goes to stderr, so
//! that standard output has only the summary.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::meter::Glance;
use crate::stderr::tell;
use crate::units::{grouped, millis};

/// What is shown when stderr is not a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Elsewhere {
    Nothing,
    Lines,
}

/// The view of one run.
pub(crate) struct View {
    bar: ProgressBar,
    lines: bool,
    shown: Option<(Instant, Glance)>,
    rate: u64,
}

impl View {
    pub(crate) fn new(elsewhere: Elsewhere) -> Self {
        let terminal = io::stderr().is_terminal();
        let target = if terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        let lines = !terminal && elsewhere == Elsewhere::Lines;
        Self { bar, lines, shown: None, rate: 0 }
    }

    /// The clients are connecting.
    pub(crate) fn gathering(&mut self, glance: &Glance, sessions: u32) {
        if self.shown.is_none() {
            self.style(u64::from(sessions), "  connecting [{bar:20}] {msg}");
            self.shown = Some((Instant::now(), Glance::default()));
        }
        self.bar.set_message(format!("{}/{} ready", grouped(glance.ready), grouped(u64::from(sessions))));
        self.bar.set_position(glance.ready);
    }

    /// The clients are sending.
    pub(crate) fn running(&mut self, glance: &Glance, elapsed: Duration, span: Duration) {
        let now = Instant::now();
        let (at, before) = *self.shown.get_or_insert((now, Glance::default()));
        let second = now.duration_since(at) >= Duration::from_secs(1);
        if second {
            let more = glance.received.saturating_sub(before.received) as f64;
            self.rate = (more / now.duration_since(at).as_secs_f64()) as u64;
            self.shown = Some((now, *glance));
        }
        let text = format!(
            "{} msg/s  p99 {} ms  errors {}  clients {}",
            grouped(self.rate),
            millis(glance.p99),
            glance.wrong + glance.surprises,
            grouped(glance.connected.saturating_sub(glance.gone)),
        );
        if self.lines && second {
            tell!("  {:>3}/{} s  {text}", elapsed.as_secs(), span.as_secs());
        }
        self.bar.set_message(format!("{}/{} s  {text}", elapsed.as_secs(), span.as_secs()));
        self.style(span.as_millis() as u64, "  [{bar:20}] {msg}");
        self.bar.set_position(elapsed.as_millis() as u64);
    }

    /// Wipes the view; what follows is the summary.
    pub(crate) fn done(self) {
        self.bar.finish_and_clear();
    }

    fn style(&self, length: u64, template: &str) {
        if self.bar.length() != Some(length) {
            let style = ProgressStyle::with_template(template).expect("a sound template");
            self.bar.set_style(style.progress_chars("##-"));
            self.bar.set_position(0);
            self.bar.set_length(length);
        }
    }
}
