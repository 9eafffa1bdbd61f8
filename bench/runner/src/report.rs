//! The output of a run for people and programs: tables, JSON and a page.

use std::fs::{self, File};
use std::hash::{BuildHasher as _, RandomState};
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::html;
use crate::load::Window;
use crate::machine::Machine;
use crate::matrix::Cell;
use crate::server::Peer;
use crate::summary::{Row, Spread, Summary};

/// Everything that was measured.
#[derive(Serialize)]
struct Results<'a> {
    machine: &'a Machine,
    rounds: usize,
    measured_ms: u64,
    not_built: &'a [String],
    cells: &'a [Summary],
}

/// Says what could be run.
pub(crate) fn list(cells: &[Cell], peers: &[Peer], missing: &[String]) {
    println!("cells");
    for cell in cells {
        println!("  {:<20} {:?}, {} worker(s)", cell.name, cell.work, cell.workers);
    }
    println!("peers");
    for peer in peers {
        println!("  {:<13} {}", peer.name, peer.profile);
    }
    for reason in missing {
        println!("  not here: {reason}");
    }
}

/// Says where the figures come from.
pub(crate) fn head(machine: &Machine, missing: &[String]) {
    println!("{} x {}, Linux {}", machine.processors, machine.processor, machine.kernel);
    println!("revision {}, {}, {}", machine.revision, machine.compiler, machine.began);
    for reason in missing {
        println!("not here: {reason}");
    }
}

/// One cell's table, and its goals beside it.
pub(crate) fn cell(summary: &Summary) {
    let options = summary.naksi_arguments.join(" ");
    println!();
    println!("{} ({} worker{}) {options}", summary.cell, summary.workers, plural(summary.workers));
    println!(
        "  {:<13} {:<8} {:>12} {:>22} {:>11} {:>5} {:>5} {:>9} {:>9} {:>9}",
        "peer",
        "build",
        summary.unit,
        "ratio [least, most]",
        "a second",
        "core",
        "user",
        "p50 us",
        "p99 us",
        "p999 us"
    );
    for row in &summary.rows {
        println!("{}", line(row));
    }
    for verdict in &summary.verdicts {
        println!("  goal: {}", verdict.text);
    }
    if summary.rejected + summary.disturbed > 0 {
        println!(
            "  disturbed by other processes: {} rounds repeated, {} kept all the same",
            summary.rejected, summary.disturbed
        );
    }
}

fn line(row: &Row) -> String {
    if row.samples.is_empty() {
        return format!(
            "  {:<13} {:<8} {}",
            row.peer,
            row.profile,
            row.failed.as_deref().unwrap_or("not run")
        );
    }
    let Spread { median, least, most } = row.ratio.unwrap_or_default();
    let mut line = format!(
        "  {:<13} {:<8} {:>12} {:>22} {:>11.0} {:>4.0}% {:>4.0}% {:>9.0} {:>9.0} {:>9.0}",
        row.peer,
        row.profile,
        significant(row.cost.median),
        format!("{median:.2} [{least:.2}, {most:.2}]"),
        row.per_second,
        row.core * 100.0,
        row.user_share * 100.0,
        row.p50_us,
        row.p99_us,
        row.p999_us
    );
    for note in row.notes() {
        line += &format!("  {note}");
    }
    if let Some(failed) = &row.failed {
        line += &format!("  then failed: {failed}");
    }
    line
}

/// Enough digits to tell two peers apart, and no more.
pub(crate) fn significant(figure: f64) -> String {
    match figure {
        ..10.0 => format!("{figure:.3}"),
        ..100.0 => format!("{figure:.2}"),
        _ => format!("{figure:.0}"),
    }
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// Writes what was measured, as JSON and as a page.
pub(crate) fn write(
    (folder, name): (&Path, &str),
    machine: &Machine,
    missing: &[String],
    (rounds, window): (usize, Window),
    cells: &[Summary],
) -> Result<()> {
    fs::create_dir_all(folder)?;
    let measured_ms = window.measured.as_millis() as u64;
    let results = Results { machine, rounds, measured_ms, not_built: missing, cells };
    let json = folder.join(format!("{name}.json"));
    write_whole(&json, &(serde_json::to_string_pretty(&results)? + "\n"))?;
    let page = folder.join(format!("{name}.html"));
    write_whole(&page, &html::page(machine, missing, cells))?;
    println!("\nwritten: {}, {}", json.display(), page.display());
    Ok(())
}

/// Replaces a file, or leaves it unchanged on an error such as a full disk.
fn write_whole(path: &Path, text: &str) -> Result<()> {
    let beside = path.with_added_extension(format!("{:x}.tmp", RandomState::new().hash_one(path)));
    let written = File::create_new(&beside)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        fs::remove_file(&beside).ok(); // It may not even have been made.
    }
    written.with_context(|| format!("cannot write {}", path.display()))
}
