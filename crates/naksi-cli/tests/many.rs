//! More sessions than descriptors: a server with 256 descriptors holds 3,000 live sessions.
//!
//! Accepted sockets are in the tables of the workers' rings (`--direct`). `cargo xtask many` runs the full number;
//! this is the same at a size for every commit.

#![cfg(target_os = "linux")] // Only io_uring has tables of its own for sockets.

mod support;

use std::io::Read;
use std::process::{Command, Stdio};

use support::{Process, Server, echo, ended, naksi, until};

const SESSIONS: usize = 3_000;
const DESCRIPTORS: usize = 256;
const WORKERS: usize = 16;

/// A server with this many descriptors, and a table of that size for each of its workers.
fn confined(descriptors: usize, workers: usize, direct: usize) -> Server {
    Server::with_workers(confined_command(descriptors, workers, direct), workers)
}

fn confined_command(descriptors: usize, workers: usize, direct: usize) -> Command {
    let mut command = Command::new("sh");
    // A shell, because only a process itself can lower its own limit permanently without unsafe code.
    command.args(["-c", r#"ulimit -n "$1" && shift && exec "$@""#, "sh", &descriptors.to_string()]);
    command.arg(env!("CARGO_BIN_EXE_naksi")).args(["serve", "--addr", "127.0.0.1:0", "--backend", "uring"]);
    command.args(["--workers", &workers.to_string(), "--direct", &direct.to_string()]);
    command
}

#[test]
fn three_thousand_sessions_live_under_a_limit_of_256_descriptors() {
    let server = confined(DESCRIPTORS, WORKERS, DESCRIPTORS - 6);
    let before = server.descriptors().expect("the server is ours");
    // The second crowd needs the slots that the first one left.
    for _ in 0..2 {
        let mut dummy = naksi();
        dummy.args(["dummy", &server.address.to_string(), "--scenario", "idle", "--json", "-"]);
        dummy.args(["--sessions", &SESSIONS.to_string(), "--secs", "2", "--seed", "1"]);
        let mut crowd = Process::spawn(dummy.stdout(Stdio::piped()).stderr(Stdio::piped()));
        let mut most = 0;
        let mut status = None;
        until("the crowd has come and gone", || {
            most = most.max(server.descriptors().expect("the server is ours"));
            status = crowd.try_wait();
            status.is_some()
        });
        let (said, told) = (crowd.stdout(), crowd.stderr());
        assert!(status.is_some_and(|status| status.success()), "{said}{told}");
        let figures: serde_json::Value = serde_json::from_str(&said).expect("JSON");
        for (name, expected) in
            [("connected", SESSIONS), ("received", 2 * SESSIONS), ("lost", 0), ("corrupt", 0)]
        {
            assert_eq!(figures[name], expected, "{name} of {said}");
        }
        assert!(most <= before + 2, "{most} descriptors for {SESSIONS} sessions, {before} without any");
    }
    let said = server.stop();
    // One more per run: the dummies make one test connection first.
    assert!(said.contains("drained 0 sessions, 0 left (6,002 connected in all"), "{said}");
}

#[test]
fn a_full_table_makes_connections_wait_and_loses_none() {
    let server = confined(64, 1, 4);
    let mut inside: Vec<_> = (0..4).map(|_| server.connect()).collect();
    inside.iter_mut().for_each(|stream| echo(stream, b"inside"));
    let mut waiting = server.connect();
    std::io::Write::write_all(&mut waiting, b"let me in").expect("the system takes it");
    inside.iter_mut().for_each(|stream| echo(stream, b"still inside"));
    drop(inside.pop());
    let mut came = [0; 9];
    waiting.read_exact(&mut came).expect("it comes in as soon as there is room");
    assert_eq!(&came, b"let me in");
    let said = server.stop();
    assert!(said.contains("drained 4 sessions, 0 left"), "{said}");
    assert_eq!(ended(&mut waiting), 0);
}

#[test]
fn a_table_larger_than_the_limit_is_refused_in_one_line() {
    for (table, told) in [
        (1_000_000, "use more workers with smaller tables"),
        (1_000_000_000, "direct_descriptors must be 1 to 1,048,576"),
    ] {
        let output = confined_command(DESCRIPTORS, 1, table).output().expect("the program starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(told), "{said}");
    }
}
