//! `naksi sim`: the engine on simulated kernels full of faults, until enough sessions have lived.
//!
//! A world that breaks a law is named by its seed, shrunk, and written to `seeds/`, from where the tests
//! play it first. Nothing here knows what a law is.

use std::cell::RefCell;
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use naksi::service::Signals;
use naksi_sim::worlds::Dialect;
use naksi_sim::worlds::outcome::Outcome as Sum;
use naksi_sim::worlds::run::run_followed;
use naksi_sim::worlds::setting::Setting;
use naksi_sim::worlds::sweep::{FailedWorld, SweepOptions, Swept, attempt, shrink, sweep};

use crate::outcome::{Outcome, Problem};
use crate::output_file::OutputFile;
use crate::stderr::tell;
use crate::units::grouped;

/// Options of `naksi sim`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The first seed; every world has one, and the same seed gives the same world.
    #[arg(long, value_name = "S", default_value = "0", value_parser = parse_seed)]
    seed: u64,
    /// Run worlds until this many sessions have lived; without it and with --seed, one world.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000_000))]
    sessions: Option<u64>,
    /// Imitate only this kernel: uring or iocp; both in turn by default.
    #[arg(long, value_name = "D", value_parser = parse_dialect)]
    dialect: Option<Dialect>,
    /// Let every peer say this many times as much as usual: more completions a session.
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u64).range(1..=100))]
    talk: u64,
    /// Print every event, fault and completion of the first world.
    #[arg(long)]
    trace: bool,
    /// Play one written setting, as saved in seeds/.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["sessions", "seed"])]
    replay: Option<PathBuf>,
    /// Threads; as many as there are processors by default.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Where failing worlds are written.
    #[arg(long, value_name = "DIR", default_value = "seeds")]
    seeds: PathBuf,
}

fn parse_seed(text: &str) -> Result<u64, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| "a seed is a number, or 0x and hexadecimal digits".to_owned())
}

fn parse_dialect(text: &str) -> Result<Dialect, String> {
    Dialect::ALL.into_iter().find(|one| one.name() == text).ok_or_else(|| "uring or iocp".to_owned())
}

/// Runs what was asked for.
pub(crate) fn run(options: Options) -> Result<Outcome, Problem> {
    let dialect = options.dialect.unwrap_or(Dialect::ALL[(options.seed % 2) as usize]);
    let one = match &options.replay {
        Some(path) => {
            let text = crate::text::read(path)
                .map_err(|error| Problem::usage(format!("cannot read {}: {error}", path.display())))?;
            Some(Setting::parse(&text).map_err(Problem::usage)?)
        }
        None => options
            .sessions
            .is_none()
            .then(|| Setting { talk: options.talk, ..Setting::random(options.seed, dialect) }),
    };
    if options.trace {
        let setting = one.unwrap_or_else(|| {
            let setting = Setting::random(options.seed, dialect);
            Setting { talk: options.talk, ..setting }
        });
        return trace(&setting).map(|()| Outcome::Fine);
    }
    let begun = Instant::now();
    let result = match one {
        Some(setting) => attempt(&setting).map_err(|text| Box::new(FailedWorld { setting, text })),
        None => {
            let processors = thread::available_parallelism().map_or(1, usize::from);
            let sweep_options = SweepOptions {
                seed: options.seed,
                sessions: options.sessions.unwrap_or_default(),
                dialect: options.dialect,
                talk: options.talk,
                threads: options.threads.map_or(processors, usize::from),
            };
            let signals = Signals::watch().map_err(|error| Problem::failed(error.to_string()))?;
            play(&sweep_options, signals).map(|swept| {
                if swept.sum.sessions < sweep_options.sessions {
                    tell_the_rest(&sweep_options, &swept);
                }
                swept.sum
            })
        }
    };
    match result {
        Ok(sum) => {
            report(&sum, begun.elapsed().as_secs_f64())?;
            Ok(judge(&sum))
        }
        Err(failure) => {
            tell(&failure, &options.seeds)?;
            Ok(Outcome::Errors)
        }
    }
}

/// Plays what is ordered, or as much of it as is done when Ctrl-C is pressed.
fn play(sweep_options: &SweepOptions, signals: &Signals) -> Result<Swept, Box<FailedWorld>> {
    let terminal = io::stderr().is_terminal();
    if !terminal {
        let (sessions, threads) = (grouped(sweep_options.sessions), sweep_options.threads);
        tell!("naksi: simulating {sessions} sessions from seed {} on, {threads} threads", sweep_options.seed);
    }
    let target = if terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(sweep_options.sessions), target);
    let style = ProgressStyle::with_template(
        "  simulating [{bar:20}] {human_pos}/{human_len} sessions, {per_sec}, {eta} left",
    );
    bar.set_style(style.expect("a sound template").progress_chars("##-"));
    let begun = Instant::now();
    let minutes_told = AtomicU64::new(0);
    let result = sweep(sweep_options, |sum| {
        bar.set_position(sum.sessions.min(sweep_options.sessions));
        let minutes = begun.elapsed().as_secs() / 60;
        // A log has no progress bar: a line a minute says how far it is.
        if !terminal && minutes_told.fetch_max(minutes, Ordering::Relaxed) < minutes {
            let (sessions, completions) = (grouped(sum.sessions), grouped(sum.completions));
            tell!("naksi: {minutes} min: {sessions} sessions, {completions} completions, 0 breaks");
        }
        if signals.seen() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    bar.finish_and_clear();
    result
}

/// Cancelled with Ctrl-C: how to play what is left. What both parts print can be added up.
fn tell_the_rest(sweep_options: &SweepOptions, swept: &Swept) {
    let rest = sweep_options.sessions - swept.sum.sessions;
    let dialect =
        sweep_options.dialect.map(|dialect| format!(" --dialect {}", dialect.name())).unwrap_or_default();
    let talk = talk_flag(sweep_options.talk);
    tell!(
        "naksi: broken off after {} of {} sessions. The rest:\n  naksi sim --seed {} --sessions {rest}{dialect}{talk}",
        grouped(swept.sum.sessions),
        grouped(sweep_options.sessions),
        swept.next_seed
    );
}

/// As it is said on the command line; nothing where it is the default.
fn talk_flag(talk: u64) -> String {
    if talk == 1 { String::new() } else { format!(" --talk {talk}") }
}

/// Prints one world, event by event. A law that it breaks ends the program where it breaks.
fn trace(setting: &Setting) -> Result<(), Problem> {
    let refused = Rc::new(RefCell::new(None));
    let seen = Rc::clone(&refused);
    let mut out = io::stdout().lock();
    let tracer = move |now, what: std::fmt::Arguments<'_>| {
        // A reader that has stopped, like `head`, gets no more.
        if seen.borrow().is_none() {
            seen.replace(writeln!(out, "{now:?} {what}").err());
        }
    };
    run_followed(setting, Some(Box::new(tracer)));
    refused.take().map_or(Ok(()), |error| Err(Problem::output(error)))
}

fn report(sum: &Sum, seconds: f64) -> Result<(), Problem> {
    let rate = |count: u64| grouped((count as f64 / seconds.max(1e-9)) as u64);
    let mut out = io::stdout().lock();
    let mut print = || {
        writeln!(
            out,
            "{} sessions in {} worlds, {seconds:.1} s: 0 breaks",
            grouped(sum.sessions),
            grouped(sum.worlds)
        )?;
        writeln!(out, "{} sessions/s, {} completions/s", rate(sum.sessions), rate(sum.completions))?;
        writeln!(out, "{} completions, {} faults", grouped(sum.completions), grouped(sum.fired_total()))?;
        writeln!(out, "\nfaults by kind")?;
        for (kind, count) in &sum.fired {
            writeln!(out, "  {:<22}{:>16}", format!("{kind:?}"), grouped(*count))?;
        }
        writeln!(out, "\nrows of the fault table\n{}", sum.table())?;
        writeln!(out, "sessions by reason")?;
        sum.reasons
            .iter()
            .try_for_each(|(reason, count)| writeln!(out, "  {reason:<22}{:>16}", grouped(*count)))
    };
    print().map_err(Problem::output)
}

/// Worlds that held a fault in store for their engine and never struck show nothing of it, however many they are.
fn judge(sum: &Sum) -> Outcome {
    let silent = sum.silent();
    for kind in &silent {
        let worlds = sum.enabled.get(kind).copied().unwrap_or(0);
        tell!("naksi: {kind:?} was enabled in {} worlds and never happened", grouped(worlds));
    }
    if silent.is_empty() { Outcome::Fine } else { Outcome::Errors }
}

/// Says what broke and how to see it again, and writes the smallest world that breaks.
fn tell(failure: &FailedWorld, seeds: &Path) -> Result<(), Problem> {
    let (seed, dialect) = (failure.setting.seed, failure.setting.dialect.name());
    tell!("{}\n\nseed {seed} ({dialect}) broke a law. Again:", failure.text);
    let talk = talk_flag(failure.setting.talk);
    tell!("  naksi sim --seed {seed} --dialect {dialect}{talk}\n\nshrinking…");
    let small = shrink(failure);
    let path = seeds.join(format!("{dialect}-{seed}.txt"));
    let text = format!("# {}\n{}", small.text.replace('\n', " "), small.setting);
    fs::create_dir_all(seeds)
        .map_err(|error| Problem::failed(format!("cannot make {}: {error}", seeds.display())))?;
    OutputFile::open(&path)?.write(&text)?;
    tell!("  naksi sim --replay {}\n  naksi sim --replay {} --trace", path.display(), path.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use naksi_sim::worlds::FaultKind;
    use naksi_sim::worlds::outcome::SILENCE_WORLDS_MIN;

    #[test]
    fn a_run_is_red_if_a_kind_that_was_enabled_never_happened() {
        let enabled = [(FaultKind::ClockJump, SILENCE_WORLDS_MIN), (FaultKind::LostMore, 7)];
        let mut sum =
            Sum { enabled: enabled.into(), fired: [(FaultKind::ClockJump, 1)].into(), ..Sum::default() };
        assert_eq!(judge(&sum), Outcome::Fine);
        sum.fired.insert(FaultKind::ClockJump, 0);
        assert_eq!(judge(&sum), Outcome::Errors);
    }
}
