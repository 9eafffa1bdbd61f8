//! The project's tasks, written in Rust: `cargo xtask tidy | ci | windows | windows-check`. Every task has its own
//! file.

#![forbid(unsafe_code)]

mod bench;
mod ci;
mod core_mutants;
mod mutants;
mod fuzz;
mod instructions;
mod loom;
mod miri;
mod many;
mod root;
mod tidy;
mod windows;

use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask <chore>

  tidy            the structure rules, in under a second (also a test: cargo test -p xtask)
  ci              the whole gate, in order, up to the first step that fails
  nightly         what the gate has no time for: all mutants, the whole Windows lane, a long simulation, …
  instructions [--update]
                  instructions per item of what every message passes, against the committed counts
  mutants [NAME…] put each mutant of xtask/mutants.toml into a copy of the tree and see it caught; --smoke tries a few
  mutants --core [FILE…]
                  cargo-mutants on naksi-core, file by file: what its tests miss must be listed with a reason
  fuzz [--secs N] every fuzz target for so many seconds each (60), guided by coverage; --replay
                  plays what is committed once
  loom            what threads share, in every order of the threads
  miri            the core's tests under Miri, where it is installed
  windows-check   type-check the workspace for Windows, on Linux and without a linker
  windows [--gate | --build | --all]
                  check, lint and build for Windows, and run under Wine what only that shows; the gate's part, its builds
                  alone, or every test
  windows-test …  some of them: the arguments are those of `cargo test`
  windows-programs  naksi.exe under Wine, against itself and against this system's naksi
  bench [--quick] [--only CELL,…] [--peers PEER,…] [--rounds N] [--list]
                  Naksi beside its peers, in one run (docs/performance.md)
  many [N]        N idle sessions (100000) in one server that may have 20,000 descriptors";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["tidy"] => tidy::run(),
        ["ci"] => ci::run(),
        ["nightly"] => ci::nightly(),
        ["instructions"] => instructions::check(),
        ["instructions", "--update"] => instructions::update(),
        ["mutants"] => mutants::run(),
        ["mutants", "--smoke"] => mutants::smoke(),
        ["mutants", "--core", files @ ..] => core_mutants::run(files),
        ["mutants", names @ ..] => mutants::some(names),
        ["fuzz", "--secs", seconds] => fuzz::run(seconds),
        ["fuzz"] => fuzz::run("60"),
        ["fuzz", "--replay"] => fuzz::replay(),
        ["loom"] => loom::run(),
        ["miri"] => miri::run(),
        ["windows-check"] => windows::check(),
        ["windows"] => windows::nightly(),
        ["windows", "--gate"] => windows::gate(),
        ["windows", "--build"] => windows::build(),
        ["windows", "--all"] => windows::everything(),
        ["windows-programs"] => windows::programs(),
        ["windows-test", arguments @ ..] => windows::test_some(arguments),
        // Not a task: cargo starts programs built for Windows with it.
        ["wine", prefix, program, arguments @ ..] => match windows::run_program(prefix, program, arguments) {
            Ok(code) => return code,
            Err(error) => Err(error),
        },
        ["bench", arguments @ ..] => bench::run(arguments),
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
