//! The project's style rules that neither the compiler nor a reviewer should have to check.
//!
//! A rule is a function from the tree to findings, with a test that fails on a bad sample. All rules run in well
//! under a second, as `cargo xtask tidy` and as a test. Nothing here changes a file.

mod lecture;
mod mutants;
mod rooms;
mod shape;
mod source;
mod tree;
mod words;

use anyhow::{Result, bail};
use std::fmt;

use crate::root;
use tree::Tree;

/// One place that breaks one rule.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    path: String,
    /// Counted from 1; 0 means the file or the folder as a whole.
    line: usize,
    text: String,
}

impl Finding {
    fn new(path: &str, line: usize, text: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, text: text.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.text),
            line => write!(f, "{}:{line}: {}", self.path, self.text),
        }
    }
}

type Rule = fn(&Tree) -> Vec<Finding>;

/// Every rule, starting with the most general.
const RULES: &[Rule] = &[
    shape::every_file_says_what_it_does,
    shape::files_are_short,
    shape::functions_are_short,
    shape::documentation_is_made_of_sentences,
    rooms::systems_are_told_apart_in_one_place,
    rooms::twin_rooms_have_the_same_doors,
    rooms::the_formatter_finds_every_module,
    rooms::unsafe_stays_in_its_rooms,
    rooms::crates_depend_downwards,
    rooms::the_map_names_every_room,
    words::nothing_is_left_unfinished,
    words::no_result_is_thrown_away,
    words::no_code_sleeps_in_comments,
    words::names_are_whole_words,
    words::retired_names_stay_retired,
    words::nothing_names_this_machine,
    lecture::links_lead_to_the_code,
    lecture::citations_lead_to_the_lecture,
    mutants::every_mutant_finds_its_place,
];

/// Judges the tree and prints what it found.
pub(crate) fn run() -> Result<()> {
    let tree = Tree::load(&root::workspace())?;
    let findings = judge(&tree);
    for finding in &findings {
        println!("{finding}");
    }
    if findings.is_empty() {
        println!("tidy: {} files, {} rules, nothing to say", tree.files.len(), RULES.len());
        return Ok(());
    }
    bail!("tidy: {} findings", findings.len())
}

fn judge(tree: &Tree) -> Vec<Finding> {
    let mut findings: Vec<Finding> = RULES.iter().flat_map(|rule| rule(tree)).collect();
    findings.sort();
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_tidy() {
        let tree = Tree::load(&root::workspace()).expect("the workspace can be read");
        let findings: Vec<String> = judge(&tree).iter().map(Finding::to_string).collect();
        assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
    }
}
