//! What an operator sees of `naksi serve`: the admin server and the lines of its log.

#![cfg(unix)] // The tests stop their servers with signals.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Stdio;

use support::{PATIENCE, Process, naksi, output, scratch};

/// A server with an admin server, both on free ports.
struct Watched {
    process: Process,
    address: String,
    admin: SocketAddr,
}

fn watched(arguments: &[&str]) -> Watched {
    let mut command = naksi();
    command
        .args(["serve", "--addr", "127.0.0.1:0", "--workers", "2", "--admin", "127.0.0.1:0"])
        .args(arguments);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut line = || lines.next().expect("a line").expect("text");
    let address = line();
    let address = address.strip_prefix("naksi: listening on ").and_then(|rest| rest.split(' ').next());
    let address = address.expect("where it listens").to_owned();
    let admin = line();
    let admin = admin.strip_prefix("naksi: admin on http://").and_then(|place| place.parse().ok());
    Watched { process: Process::from(child), address, admin: admin.expect("where the admin server is") }
}

fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket option");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it takes the bytes");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer in text");
    answer
}

/// The sum of the samples of this name.
fn sum(page: &str, name: &str) -> u64 {
    let samples = page.lines().filter(|line| line.split(['{', ' ']).next() == Some(name));
    samples.map(|line| line.rsplit(' ').next().expect("a value").parse::<u64>().expect("a number")).sum()
}

#[test]
fn a_scrape_after_a_relay_run_counts_what_the_dummies_sent() {
    let mut server = watched(&["--app", "relay"]);
    let mut command = naksi();
    command.args([
        "dummy",
        &server.address,
        "--scenario",
        "relay",
        "--sessions",
        "100",
        "--rate",
        "10",
        "--secs",
        "2",
    ]);
    let run = output(command.args(["--json", "-"]));
    let summary: serde_json::Value = serde_json::from_slice(&run.stdout).expect("a summary");
    assert!(run.status.success(), "{summary}");
    support::until("all sessions have ended", || sum(&get(server.admin, "/metrics"), "naksi_sessions") == 0);
    let page = get(server.admin, "/metrics");
    let sent = summary["sent"].as_u64().expect("a number");
    // Each dummy has joined its room with one packet.
    assert_eq!(sum(&page, "naksi_packets_total"), sent + 100);
    // First, one test connection checks whether the server listens.
    assert_eq!(sum(&page, "naksi_sessions_connected_total"), 101);
    assert_eq!(sum(&page, "naksi_sessions_disconnected_total"), 101);
    assert!(page.contains("naksi_build_info{version="), "{page}");
    assert!(get(server.admin, "/healthz").starts_with("HTTP/1.1 200"));
    server.process.signal("TERM");
    assert_eq!(server.process.wait().code(), Some(0));
}

#[test]
fn an_admin_address_that_makes_no_sense_ends_the_server_before_it_begins() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = taken.local_addr().expect("its address").to_string();
    let short = scratch("short.token");
    std::fs::write(&short, "short\n").expect("a scratch file");
    let short = short.to_str().expect("a plain path");
    for (arguments, code, says) in [
        (vec!["--admin", "0.0.0.0:0"], 2, "is no loopback address: give a token"),
        (vec!["--admin", "localhost"], 2, "is no address to listen on"),
        (vec!["--admin", taken.as_str()], 1, "cannot listen on"),
        (vec!["--admin", "127.0.0.1:0", "--admin-token-file", short], 2, "at least 16 characters"),
        (
            vec!["--admin", "127.0.0.1:0", "--admin-token-file", "no-such-file"],
            2,
            "cannot read the token file",
        ),
        (vec!["--admin-token-file", short], 2, "admin.token_file is of no use without admin.address"),
    ] {
        let ended = output(naksi().args(["serve", "--addr", "127.0.0.1:0"]).args(&arguments));
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(says), "{arguments:?}: {said}");
        assert!(ended.stdout.is_empty(), "{arguments:?}: it listened");
        if code == 2 {
            let checked = output(naksi().args(["config", "check"]).args(&arguments));
            assert_eq!(checked.status.code(), Some(2), "{arguments:?}");
        }
    }
}

#[test]
fn a_settings_file_names_the_admin_server_and_a_token_guards_it() {
    let token = scratch("admin.token");
    std::fs::write(&token, "a-token-for-the-tests\n").expect("a scratch file");
    let file = scratch("admin.toml");
    let text = format!("[admin]\ntoken_file = '{}'\nhosts = [\"naksi.example\"]\n", token.display());
    std::fs::write(&file, text).expect("a scratch file");
    let mut server = watched(&["--config", file.to_str().expect("a plain path")]);
    assert!(get(server.admin, "/metrics").starts_with("HTTP/1.1 401"));
    assert!(get(server.admin, "/readyz").starts_with("HTTP/1.1 200"));
    let mut stream = TcpStream::connect(server.admin).expect("it accepts");
    let head =
        "GET /metrics HTTP/1.1\r\nHost: naksi.example\r\nAuthorization: Bearer a-token-for-the-tests\r\n";
    write!(stream, "{head}Connection: close\r\n\r\n").expect("it takes the bytes");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer in text");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    server.process.signal("TERM");
    assert_eq!(server.process.wait().code(), Some(0));
}

/// What the server logs of one session that joins a room and leaves, with its log in this format.
fn life_of_a_session(format: &str) -> (String, Vec<String>) {
    let mut command = naksi();
    command.args(["serve", "--addr", "127.0.0.1:0", "--workers", "2", "--app", "relay"]);
    command.env("NAKSI_LOG", "naksi=debug").env("NAKSI_LOG__FORMAT", format);
    let server = support::Server::from(command);
    let member = support::member(&server, 7);
    let peer = member.local_addr().expect("its address").to_string();
    drop(member);
    let said = server.stop();
    (peer.clone(), said.lines().filter(|line| line.contains(&peer)).map(str::to_owned).collect())
}

#[test]
fn the_life_of_a_session_is_two_lines_of_text() {
    let (peer, lines) = life_of_a_session("text");
    let [opened, ended] = lines.as_slice() else { panic!("{lines:?}") };
    for words in ["DEBUG", "session=", &format!("peer={peer}"), "transport=\"tcp\"", "a session is connected"]
    {
        assert!(opened.contains(words), "{words} in {opened}");
    }
    for words in ["reason=\"peer_closed\"", "recv_bytes=8", "sent_bytes=8", "age_ms=", "a session has ended"]
    {
        assert!(ended.contains(words), "{words} in {ended}");
    }
}

#[test]
fn the_life_of_a_session_is_two_objects_of_json() {
    let (peer, lines) = life_of_a_session("json");
    let lines: Vec<serde_json::Value> =
        lines.iter().map(|line| serde_json::from_str(line).expect("an object")).collect();
    let [opened, ended] = lines.as_slice() else { panic!("{lines:?}") };
    for line in [opened, ended] {
        assert_eq!((line["level"].as_str(), line["peer"].as_str()), (Some("DEBUG"), Some(&*peer)));
        assert_eq!(line["transport"], "tcp");
        assert!(line["timestamp"].as_str().is_some_and(|time| time.ends_with('Z')), "{line}");
    }
    assert_eq!(opened["session"], ended["session"]);
    assert_eq!((&ended["recv_bytes"], &ended["sent_bytes"]), (&8.into(), &8.into()));
    assert!(ended["age_ms"].is_u64() && ended["reason"].is_string(), "{ended}");
}
