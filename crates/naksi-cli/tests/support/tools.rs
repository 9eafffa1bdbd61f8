//! Compilers and runtimes that a machine may lack.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

use super::scratch;

/// Runs a tool to its end. `false`: it is not here.
pub(crate) fn tool(command: &mut Command) -> bool {
    match command.output() {
        Ok(output) => {
            let said = [&output.stdout[..], &output.stderr].concat();
            assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&said));
            true
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            skipped(&format!("{:?} is not installed", command.get_program()));
            false
        }
        Err(error) => panic!("{command:?}: {error}"),
    }
}

/// Says that a test is left out, and why, behind the harness, which shows nothing of what passes.
pub(crate) fn skipped(why: &str) {
    writeln!(std::io::stderr(), "skipped: {why}").expect("stderr takes a line");
}

/// How a careful project compiles TypeScript, into a folder.
pub(crate) const STRICT: &str = "--strict --noUncheckedIndexedAccess --exactOptionalPropertyTypes --noUnusedLocals --noUnusedParameters \
                      --target es2020 --module es2020 --lib es2020,dom --outDir";

/// A folder that is this test's own.
pub(crate) fn folder(name: &str) -> PathBuf {
    let folder = scratch(name);
    fs::create_dir_all(&folder).expect("a scratch folder");
    folder
}

/// Node, with a global WebSocket: from 22 on it is there, before by a flag.
pub(crate) fn node() -> Option<Command> {
    if !tool(Command::new("node").arg("--version")) {
        return None;
    }
    let mut node = Command::new("node");
    node.args(["--experimental-websocket", "--no-warnings"]);
    let has_one = node.arg("--eval").arg("process.exit(typeof WebSocket === 'function' ? 0 : 1)").status();
    if !has_one.is_ok_and(|status| status.success()) {
        skipped("this node has no WebSocket");
        return None;
    }
    let mut node = Command::new("node");
    node.args(["--experimental-websocket", "--no-warnings"]);
    Some(node)
}
