//! Counts the instructions per item of the workloads in `bench/instructions` and compares them with the committed
//! counts.
//!
//! callgrind counts instructions, not time, so other load on the machine has no effect. Each workload runs with two
//! numbers of items, and the difference is divided by the items between them, which removes the cost of starting and
//! ending a run.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::root;

/// Tolerance between a count and the committed one, in percent.
const TOLERANCE_PERCENT: f64 = 2.0;
/// The committed counts: instructions per item by workload.
const COUNTS: &str = "bench/instructions/counts.json";
/// Workloads, the number of items of the shorter run (the longer one has three times as many), and whether only the
/// engine's own functions count, because a simulated kernel and its peers cost more than what is measured.
const WORKLOADS: &[(&str, u32, bool)] = &[
    ("frame_decode", 16_384, false),
    ("send_queue", 16_384, false),
    ("session_table", 16_384, false),
    ("timer_wheel", 16_384, false),
    ("echo", 3_200, true),
    ("broadcast", 6_400, true),
];
/// How names of the engine's functions begin.
const ENGINE: &[&str] = &["naksi::", "naksi_core::"];

/// Counts every workload; fails if a count differs from the committed one by more than the tolerance, in either
/// direction.
pub(crate) fn check() -> Result<()> {
    let committed = fs::read(root::workspace().join(COUNTS)).context(COUNTS)?;
    let committed: BTreeMap<String, f64> = serde_json::from_slice(&committed).context(COUNTS)?;
    let counted = count_all()?;
    println!("{:<16} {:>12} {:>12} {:>8}", "instructions of", "committed", "counted", "change");
    let mut outside = Vec::new();
    for (name, count) in &counted {
        let before = *committed.get(name).with_context(|| format!("{COUNTS} has no `{name}`"))?;
        let percent = change_percent(before, *count);
        println!("{name:<16} {before:>12.1} {count:>12.1} {percent:>+7.2}%");
        if percent.abs() > TOLERANCE_PERCENT {
            outside.push(format!("{name} {percent:+.2}%"));
        }
    }
    ensure!(
        outside.is_empty(),
        "instruction counts moved by more than {TOLERANCE_PERCENT} %: {}. Find out why; a change that is meant is committed with \
         `cargo xtask instructions --update`",
        outside.join(", ")
    );
    Ok(())
}

/// Writes the counts of this tree as the committed ones.
pub(crate) fn update() -> Result<()> {
    let rounded: BTreeMap<_, _> =
        count_all()?.into_iter().map(|(name, count)| (name, (count * 10.0).round() / 10.0)).collect();
    let text = serde_json::to_string_pretty(&rounded)? + "\n";
    print!("{text}");
    Ok(fs::write(root::workspace().join(COUNTS), text)?)
}

fn change_percent(before: f64, after: f64) -> f64 {
    (after / before - 1.0) * 100.0
}

fn count_all() -> Result<BTreeMap<String, f64>> {
    let target = root::target().join("bench");
    let manifest = root::workspace().join("bench/Cargo.toml");
    let status = root::cargo()
        .args([
            "build",
            "--quiet",
            "--locked",
            "--profile",
            "instructions",
            "-p",
            "bench-instructions",
            "--manifest-path",
        ])
        .arg(&manifest)
        .env("CARGO_TARGET_DIR", &target)
        .env_remove("RUSTFLAGS")
        .status()?;
    ensure!(status.success(), "the workloads did not build");
    let program = target.join("instructions/bench-instructions");
    let mut counts = BTreeMap::new();
    for (name, items, engine_only) in WORKLOADS {
        let short = count(&program, name, *items, *engine_only)?;
        let long = count(&program, name, *items * 3, *engine_only)?;
        let per_item = long.checked_sub(short).context("more items take more instructions")? as f64;
        counts.insert((*name).to_owned(), per_item / f64::from(*items * 2));
    }
    Ok(counts)
}

/// The instructions of one run.
fn count(program: &Path, workload: &str, items: u32, engine_only: bool) -> Result<u64> {
    let profile = program.with_file_name(format!("callgrind.{workload}.{items}"));
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet"])
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(program)
        .args([workload, &items.to_string()])
        // The size of the environment shifts the stack, and a C library chooses its copy routines by the processor.
        .env_clear()
        .env("GLIBC_TUNABLES", "glibc.cpu.hwcaps=-AVX2,-AVX2_Usable,-AVX512F,-ERMS,-FSRM")
        .stdin(Stdio::null())
        .output()
        .context("valgrind is not installed")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{workload} under callgrind ended with {}: {said}", output.status);
    let text = fs::read_to_string(&profile)?;
    let counts = |function: &str| !engine_only || is_engine(function);
    Ok(own_costs(&text).iter().filter(|(function, _)| counts(function)).map(|(_, cost)| cost).sum())
}

fn is_engine(function: &str) -> bool {
    ENGINE.iter().any(|name| function.trim_start_matches('<').starts_with(name))
}

/// Self cost by function, in instructions, from callgrind's format
/// (<https://valgrind.org/docs/manual/cl-format.html>).
fn own_costs(profile: &str) -> HashMap<&str, u64> {
    let mut names: HashMap<&str, &str> = HashMap::new();
    let mut costs: HashMap<&str, u64> = HashMap::new();
    let (mut function, mut is_call) = ("", false);
    for line in profile.lines() {
        if let Some(rest) = line.strip_prefix("fn=").or_else(|| line.strip_prefix("cfn=")) {
            // `(7) name` gives number 7 its name; `(7)` alone repeats it.
            let (number, name) = rest.split_once(' ').unwrap_or((rest, ""));
            let name = match name {
                "" => names.get(number).copied().unwrap_or(number),
                name => {
                    names.insert(number, name);
                    name
                }
            };
            if line.starts_with("fn=") {
                function = name;
            }
        } else if line.starts_with("calls=") {
            // The next line has the cost of the called function.
            is_call = true;
        } else if line.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '+' | '-' | '*')) {
            let cost = line.split(' ').nth(1).and_then(|cost| cost.parse::<u64>().ok()).unwrap_or(0);
            if !std::mem::take(&mut is_call) {
                *costs.entry(function).or_default() += cost;
            }
        }
    }
    costs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_costs_leave_out_what_called_functions_cost() {
        let profile = "events: Ir\n\nfl=(1) a.rs\nfn=(1) naksi::turn\n16 400\ncfi=(2) b.rs\ncfn=(2) naksi_sim::kernel::wait\n\
                       calls=3 50\n16 900\n+2 5\n\nfl=(2)\nfn=(2)\n50 900\n\nfl=(1)\nfn=(1)\n* 7\ntotals: 1312\n";
        let costs = own_costs(profile);
        assert_eq!(costs["naksi::turn"], 412);
        assert_eq!(costs["naksi_sim::kernel::wait"], 900);
        assert!(
            is_engine("<naksi::worker::Worker<P,F>>::turn")
                && !is_engine("<naksi_sim::kernel::Port as naksi::X>::wait")
        );
        assert_eq!(costs.values().sum::<u64>(), 1312, "as callgrind's own total says");
    }

    #[test]
    fn five_percent_is_outside_and_one_percent_is_not() {
        assert!(change_percent(1000.0, 1050.0) > TOLERANCE_PERCENT);
        assert!(change_percent(1000.0, 1010.0) < TOLERANCE_PERCENT);
        assert!(change_percent(1000.0, 950.0) < -TOLERANCE_PERCENT);
    }
}
