//! Tests of recording and replay: a second server that gets a replay records the same sessions.

#![cfg(unix)] // The tests stop their servers with signals.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use naksi::record::{Entry, Reader};
use support::{Process, Server, naksi, scratch, until};

/// A folder that is not there yet.
fn folder(name: &str) -> PathBuf {
    let folder = scratch(name);
    fs::remove_dir_all(&folder).ok(); // It is there only if an earlier process had this number.
    folder
}

fn plain(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

/// Everything that each session of a folder's recordings received, sorted, because the order of sessions may differ.
fn recorded(folder: &Path) -> Vec<Vec<Vec<u8>>> {
    let mut sessions: BTreeMap<u64, Vec<Vec<u8>>> = BTreeMap::new();
    for file in fs::read_dir(folder).expect("the folder was made") {
        let file = fs::File::open(file.expect("readable").path()).expect("readable");
        let mut reader = Reader::new(file).expect("a recording");
        while let Some(entry) = reader.next_entry().expect("readable") {
            match entry {
                Entry::Opened { session, .. } => drop(sessions.insert(session, Vec::new())),
                Entry::Received { session, bytes, .. } => {
                    sessions.get_mut(&session).expect("it has begun").push(bytes.to_vec());
                }
                Entry::Ended { .. } => {}
                Entry::Lost { .. } => panic!("a disk that is not busy keeps up"),
            }
        }
    }
    let mut sessions: Vec<_> = sessions.into_values().collect();
    sessions.sort();
    sessions
}

/// Runs the program to its end: its exit code, and its output.
fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = support::output(naksi().args(arguments));
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// A crowd in front of a recording server.
fn record_a_crowd(app: &str, folder: &Path) -> usize {
    let server = Server::start(&["--app", app, "--record", plain(folder)]);
    let address = server.address.to_string();
    let crowd = ["--sessions", "12", "--rate", "20", "--secs", "1"];
    let (code, printed, said) = run(&[&["dummy", &address, "--scenario", app][..], &crowd].concat());
    assert_eq!(code, Some(0), "{printed}{said}");
    let said = server.stop();
    let recorded = recorded(folder);
    // Each session begins and ends, and what it sends lies between.
    let entries = recorded.iter().map(|session| 2 + session.len()).sum::<usize>();
    assert!(said.contains("entries, 0 lost") && entries > 12 * 10, "{entries}: {said}");
    recorded.len()
}

/// Replays a recording to a server that records, and expects it to have received the same.
fn plays_the_same(app: &str, manner: &[&str]) {
    let (first, second) = (folder(&format!("first-{app}")), folder(&format!("second-{app}")));
    let sessions = record_a_crowd(app, &first);
    let server = Server::start(&["--app", app, "--record", plain(&second)]);
    let address = server.address.to_string();
    let (code, printed, said) =
        run(&[&["replay", plain(&first), &address, "--wait-ms", "100"], manner].concat());
    assert_eq!(code, Some(0), "{printed}{said}");
    assert!(printed.contains(&format!("replayed   {sessions} of {sessions} sessions")), "{printed}");
    // Where the recorded server used frames, answers are counted by their ids.
    assert!(
        printed.contains("answered   ") && (app != "relay" || printed.contains(" of id 10\n")),
        "{printed}"
    );
    server.stop();
    // The split of a stream is up to the network; a silent session was only a test connection.
    let joined = |folder: &Path| -> Vec<Vec<u8>> {
        let mut sessions: Vec<_> = recorded(folder).into_iter().map(|pieces| pieces.concat()).collect();
        sessions.retain(|session| !session.is_empty());
        sessions.sort();
        sessions
    };
    assert!(joined(&first) == joined(&second), "what is played is what was recorded");
    fs::remove_dir_all(first).expect("it can be removed");
    fs::remove_dir_all(second).expect("it can be removed");
}

#[test]
fn what_was_recorded_is_played_at_its_times() {
    plays_the_same("relay", &[]);
}

#[test]
fn what_was_recorded_is_played_as_fast_as_possible() {
    plays_the_same("chat", &["--fast"]);
    plays_the_same("echo", &["--fast"]);
}

#[test]
fn a_recording_of_a_server_that_was_killed_is_read_up_to_its_last_whole_entry() {
    let folder = folder("killed");
    let mut command = naksi();
    command.args(["record", plain(&folder), "--app", "relay", "--addr", "127.0.0.1:0", "--workers", "1"]);
    let server = Server::with_workers(command, 1);
    let mut client = server.connect();
    let join = [8, 0, 1, 0, 7, 0, 0, 0];
    client.write_all(&join).expect("the server reads");
    client.read_exact(&mut [0; 8]).expect("the server answers");
    let mut file = PathBuf::new();
    until("the entries are in the file", || {
        let mut files = fs::read_dir(&folder).expect("the folder was made");
        file = files.next().expect("a file for the worker").expect("readable").path();
        fs::metadata(&file).expect("readable").len() > 60
    });
    let Server { process, .. } = server;
    kill(process);
    assert_eq!(recorded(&folder), [[join.to_vec()]]);
    // A disk that was interrupted leaves half of an entry.
    let mut bytes = fs::read(&file).expect("readable");
    let whole = bytes.len();
    bytes.extend([30, 0, 0, 0, 1, 2, 3]);
    fs::write(&file, bytes).expect("a scratch file");
    let (code, printed, said) = run(&["replay", plain(&file)]);
    assert!(code == Some(0) && printed.starts_with("recorded   1 sessions, 1 packets, 8 B in "), "{printed}");
    assert!(said.contains(&format!("read up to byte {whole}, the last whole entry")), "{said}");
    fs::remove_dir_all(folder).expect("it can be removed");
}

/// A recording of a stream, with one session.
fn make_recording<'a>(name: &str, entries: impl Iterator<Item = Entry<'a>>) -> PathBuf {
    let folder = folder(name);
    fs::create_dir_all(&folder).expect("a scratch folder");
    let header = naksi::record::Header { worker: 0, framed: false, table_version: 0, epoch_unix_us: 0 };
    let mut file = header.to_bytes().to_vec();
    let peer = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
    assert!(Entry::Opened { at_us: 0, session: 1, peer }.append(&mut file));
    entries.for_each(|entry| assert!(entry.append(&mut file)));
    fs::write(folder.join("1-2-0-000.nrec"), file).expect("a scratch file");
    folder
}

#[test]
fn whoever_plays_much_reads_what_is_said_to_it() {
    // More than two systems buffer between two programs that do not read.
    let piece = [7; 32 << 10];
    let folder =
        make_recording("much", (0..1280).map(|at_us| Entry::Received { at_us, session: 1, bytes: &piece }));
    let server = Server::start(&["--app", "echo"]);
    let (code, printed, said) = run(&["replay", plain(&folder), &server.address.to_string(), "--fast"]);
    assert_eq!(code, Some(0), "{printed}{said}");
    assert!(
        printed.contains("answered   40.0 MiB") && printed.contains("ended      0 by the server"),
        "{printed}"
    );
    server.stop();
    fs::remove_dir_all(folder).expect("it can be removed");
}

#[test]
fn whom_the_recorded_server_did_not_send_away_leaves_when_it_ended_and_not_later() {
    let (session, server) = (1, Server::start(&["--app", "echo"]));
    for reason in ["peer_closed", "peer_reset", "shutdown"] {
        let received = Entry::Received { at_us: 1, session, bytes: b"a" };
        let ended = Entry::Ended { at_us: 50_000, session, reason };
        let folder = make_recording(reason, [received, ended].into_iter());
        let mut command = naksi();
        // Who waits for answers waits longer than anybody here.
        command.args(["replay", plain(&folder), &server.address.to_string(), "--wait-ms", "600000"]);
        assert_eq!(Process::spawn(&mut command).wait().code(), Some(0), "{reason}");
        fs::remove_dir_all(folder).expect("it can be removed");
    }
    server.stop();
}

#[test]
fn whoever_stops_playing_does_not_blame_the_server() {
    let late = [(1, &b"soon"[..]), (3_600_000_000, b"in an hour")];
    let late = late.into_iter().map(|(at_us, bytes)| Entry::Received { at_us, session: 1, bytes });
    let folder = make_recording("stopped", late);
    let server = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    server.set_nonblocking(true).expect("a socket option");
    let mut command = naksi();
    command.args(["replay", plain(&folder), &server.local_addr().expect("its address").to_string()]);
    let mut player = Process::spawn(command.stdout(std::process::Stdio::piped()));
    // A probe sends nothing.
    let mut session = None;
    until("it plays", || {
        session = server.accept().ok().and_then(|(mut stream, _)| {
            stream.set_nonblocking(false).expect("a socket option");
            stream.read_exact(&mut [0; 4]).ok().map(|()| stream)
        });
        session.is_some()
    });
    player.signal("INT");
    let (code, printed) = (player.wait().code(), player.stdout());
    assert!(
        printed.contains("ended      0 by the server") && printed.contains("stopped    1 before"),
        "{printed}"
    );
    assert_eq!(code, Some(1));
    fs::remove_dir_all(folder).expect("it can be removed");
}

#[test]
fn a_server_that_does_not_answer_is_an_error_unless_it_only_takes() {
    let pieces = (0..3).map(|at_us| Entry::Received { at_us, session: 1, bytes: b"a" });
    let ended = Entry::Ended { at_us: 10, session: 1, reason: "peer_closed" };
    let folder = make_recording("unanswered", pieces.chain([ended]));
    // Its connections are made, and wait in its queue.
    let server = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = server.local_addr().expect("its address").to_string();
    for manner in [&["--fast"][..], &[]] {
        let play = [&["replay", plain(&folder), &address, "--wait-ms", "50"], manner].concat();
        let (code, printed, said) = run(&play);
        assert_eq!(code, Some(1), "{printed}{said}");
        assert!(printed.contains("unanswered 1 sent something"), "{printed}");
        let (code, printed, said) = run(&[&play[..], &["--one-way"]].concat());
        assert_eq!(code, Some(0), "{printed}{said}");
    }
    fs::remove_dir_all(folder).expect("it can be removed");
}

fn kill(mut process: Process) {
    process.signal("KILL");
    assert_eq!(process.wait().code(), None, "it ends by the signal");
}

#[test]
fn what_cannot_be_played_is_named() {
    let refused = |arguments: &[&str], says: &str| {
        let (code, _, said) = run(&[&["replay"], arguments].concat());
        assert!(code == Some(2) && said.starts_with("naksi: ") && said.contains(says), "{said}");
    };
    let folder = folder("runs");
    refused(&[plain(&folder)], "there is no recording at ");
    fs::create_dir_all(&folder).expect("a scratch folder");
    for name in ["1-2-000.nrec", "1-2-001.nrec", "3-4-000.nrec"] {
        fs::write(folder.join(name), "something else").expect("a scratch file");
    }
    refused(&[plain(&folder)], "there are several runs, name one: ");
    refused(&[plain(&folder.join("3-4"))], "this is no recording of a server");
    fs::write(folder.join("3-40-000.nrec"), "something else").expect("a scratch file");
    refused(&[plain(&folder.join("3-4"))], "3-4-000.nrec: this is no recording of a server");
    refused(&[plain(&folder.join("3-"))], "there are several runs, name one: ");
    let (code, _, said) = run(&["record", plain(&folder), "--record", plain(&folder)]);
    assert!(code == Some(2) && said.contains("leave --record out"), "{said}");
    refused(&[plain(&folder.join("3-4-000.nrec")), "127.0.0.1:1"], "3-4-000.nrec: this is no recording");
    fs::remove_dir_all(folder).expect("it can be removed");
}

#[test]
fn a_server_that_is_not_there_or_is_not_here_is_an_error_and_not_an_answer() {
    let pieces = (0..100).map(|at_us| Entry::Received { at_us, session: 1, bytes: b"a" });
    let folder = make_recording("closed", pieces);
    let free =
        std::net::TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("its address");
    let elsewhere = "192.0.2.1:7777 is not on this machine: add --i-own-this-target";
    for (address, code, says) in [
        (free.to_string(), 1, format!("no server listens on {free}")),
        ("192.0.2.1:7777".to_owned(), 2, elsewhere.to_owned()),
    ] {
        let (ended, printed, said) = run(&["replay", plain(&folder), &address, "--fast"]);
        assert!(ended == Some(code) && said.contains(&says) && said.lines().count() == 1, "{said}");
        assert!(!printed.contains("replayed"), "{printed}");
    }
    fs::remove_dir_all(folder).expect("it can be removed");
}
