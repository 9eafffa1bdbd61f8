//! Chores of the project, in the project's own language: `cargo xtask tidy | ci | windows-check | many`.
//!
//! Every chore is a file of its own. This one only knows their names.

#![forbid(unsafe_code)]

mod ci;
mod many;
mod root;
mod tidy;
mod windows;

use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask <chore>

  tidy            the structure rules, in under a second (also a test: cargo test -p xtask)
  ci              the whole gate, in order, up to the first step that fails
  windows-check   type-check the workspace for Windows, on Linux and without a linker
  many [N]        N idle sessions (100000) in one server that may have 20,000 descriptors";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["tidy"] => tidy::run(),
        ["ci"] => ci::run(),
        ["windows-check"] => windows::check(),
        ["many"] => many::run(many::SESSIONS),
        ["many", count] => count.parse().map_err(anyhow::Error::from).and_then(many::run),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
