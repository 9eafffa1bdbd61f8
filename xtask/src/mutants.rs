//! Mutation tests of the test suite: every mutant must be caught, and nothing may be caught without one.
//!
//! A mutant is a row of `xtask/mutants.toml`. All are inserted into a copy of the tree, each behind a condition, so
//! that one build contains them all and a variable selects one when a program starts; the work tree is never changed.
//! A mutant counts as caught if an assertion or a law failed; a crash or a test that hangs does not count.

mod copy;
pub(crate) mod rows;
mod seek;

use anyhow::{Result, ensure};
use std::collections::BTreeSet;
use std::fs;
use std::time::Instant;

use crate::root;
use copy::Copy;
use rows::{Mutant, Seeker};
use seek::{Programs, Verdict};

/// Tries all mutants.
pub(crate) fn run() -> Result<()> {
    trial(&all()?)
}

/// Tries a few of them.
pub(crate) fn smoke() -> Result<()> {
    let mut mutants = all()?;
    mutants.retain(|mutant| mutant.smoke);
    trial(&mutants)
}

/// Tries those with one of these names.
pub(crate) fn some(names: &[&str]) -> Result<()> {
    let mut mutants = all()?;
    let unknown: Vec<_> =
        names.iter().filter(|name| mutants.iter().all(|mutant| mutant.id != **name)).collect();
    ensure!(unknown.is_empty(), "{} has no {unknown:?}", rows::PATH);
    mutants.retain(|mutant| names.contains(&mutant.id.as_str()));
    trial(&mutants)
}

fn all() -> Result<Vec<Mutant>> {
    rows::parse(&fs::read_to_string(root::workspace().join(rows::PATH))?)
}

fn trial(mutants: &[Mutant]) -> Result<()> {
    let (alone, together): (Vec<_>, Vec<_>) = mutants.iter().partition(|mutant| mutant.alone);
    let copy = Copy::of_the_tree()?;
    copy.apply(&together)?;
    let seekers: BTreeSet<&Seeker> = mutants.iter().map(|mutant| &mutant.by).collect();
    let programs = Programs::build(&copy, &seekers)?;
    for seeker in &seekers {
        let verdict = programs.seek(seeker, None)?;
        ensure!(matches!(verdict, Verdict::Survived(_)), "{seeker} fails without a mutant: {verdict:?}");
    }
    let mut survived = Vec::new();
    for mutant in together {
        judge(mutant, &programs, &mut survived)?;
    }
    for mutant in alone {
        copy.apply(&[mutant])?;
        let programs = Programs::build(&copy, &BTreeSet::from([&mutant.by]))?;
        judge(mutant, &programs, &mut survived)?;
    }
    println!("mutants: {} of {} caught", mutants.len() - survived.len(), mutants.len());
    ensure!(survived.is_empty(), "mutants that nothing caught: {survived:?}");
    Ok(())
}

/// Looks for one mutant and prints what became of it.
fn judge(mutant: &Mutant, programs: &Programs, survived: &mut Vec<String>) -> Result<()> {
    let begun = Instant::now();
    let verdict = programs.seek(&mutant.by, Some(&mutant.id))?;
    println!("  {:<36} {:>5.1} s  {verdict}", mutant.id, begun.elapsed().as_secs_f64());
    if !matches!(verdict, Verdict::Caught(_)) {
        survived.push(mutant.id.clone());
    }
    Ok(())
}
