//! `naksi sim` cancelled by Ctrl-C: what was simulated is told, and how to go on.

#![cfg(unix)] // It is broken off with a signal.

mod support;

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

use support::naksi;

/// The number before a word, grouped or not.
fn number_before(text: &str, word: &str) -> u64 {
    let mut words = text.split_whitespace().map(|found| found.trim_end_matches([',', ':']));
    let mut last = "";
    loop {
        match words.next() {
            Some(found) if found == word => break,
            Some(found) => last = found,
            None => panic!("no {word} in: {text}"),
        }
    }
    last.replace(',', "").parse().unwrap_or_else(|_| panic!("no number before {word} in: {text}"))
}

#[test]
fn a_run_that_is_broken_off_tells_what_it_saw_and_how_to_go_on() {
    let mut command = naksi();
    command.args(["sim", "--seed", "500", "--sessions", "100000000", "--talk", "2", "--dialect", "iocp"]);
    let mut run = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
    let mut stderr = BufReader::new(run.stderr.take().expect("it was asked for"));
    let mut said = String::new();
    // From this line on it listens to signals.
    stderr.read_line(&mut said).expect("it says that it begins");
    assert!(said.contains("100,000,000 sessions from seed 500"), "{said}");
    let told = Command::new("kill").args(["-INT", &run.id().to_string()]).status();
    assert!(told.expect("kill runs").success(), "it has ended already: {said}");
    stderr.read_to_string(&mut said).expect("the rest of what it says");
    let output = run.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0), "{said}");
    let told = String::from_utf8(output.stdout).expect("plain text");
    let (sessions, worlds) = (number_before(&told, "sessions"), number_before(&told, "worlds"));
    assert!(sessions > 0 && worlds > 0 && told.contains("0 breaks"), "{told}");
    let on = format!(
        "naksi sim --seed {} --sessions {} --dialect iocp --talk 2",
        500 + worlds,
        100_000_000 - sessions
    );
    assert!(said.contains(&on), "{on}\n{said}");
}
