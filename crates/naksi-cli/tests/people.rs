//! Tests of what users run first: the lectures' client, the demo, and every scenario of the dummies once.

#![cfg(unix)] // The tests stop their servers with signals.

mod support;

use std::io::Write;
use std::process::{Command, Output, Stdio};

use support::{Server, naksi, scratch};

fn talk(server: &Server, encoding: &str, lines: &str) -> Output {
    let mut command = naksi();
    command.args(["client", &server.address.to_string(), "--encoding", encoding]);
    let mut client = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
    client.stdin.take().expect("piped").write_all(lines.as_bytes()).expect("it reads");
    client.wait_with_output().expect("it ends")
}

fn dummy(server: &Server, arguments: &[&str]) -> Output {
    let address = server.address.to_string();
    Command::output(naksi().args(["dummy", &address]).args(arguments)).expect("it runs")
}

#[test]
fn the_client_speaks_as_in_the_lectures() {
    let server = Server::start(&["--app", "echo"]);
    for (encoding, bytes) in [("cp949", [10, 18]), ("utf-8", [15, 27])] {
        let output = talk(&server, encoding, "안녕하세요\n한국산업기술대학교\n\nnot sent\n");
        let wanted = format!(
            "[TCP 클라이언트] {0}바이트를 보냈습니다.\n[TCP 클라이언트] {0}바이트를 받았습니다.\n\
             [받은 데이터] 안녕하세요\n\
             [TCP 클라이언트] {1}바이트를 보냈습니다.\n[TCP 클라이언트] {1}바이트를 받았습니다.\n\
             [받은 데이터] 한국산업기술대학교\n",
            bytes[0], bytes[1]
        );
        assert_eq!(String::from_utf8(output.stdout).expect("text"), wanted);
        assert_eq!(output.status.code(), Some(0));
    }
    server.stop();
}

#[test]
fn the_client_reads_what_it_is_to_send_in_the_encoding_that_was_named() {
    let server = Server::start(&["--app", "echo"]);
    let mut command = naksi();
    command.args(["client", &server.address.to_string(), "--encoding", "cp949"]);
    let mut client = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
    // "안녕" as a file of Windows has it.
    let greeting = [0xbe, 0xc8, 0xb3, 0xe7, b'\n'];
    client.stdin.take().expect("piped").write_all(&greeting).expect("it reads");
    let output = client.wait_with_output().expect("it ends");
    let said = String::from_utf8(output.stdout).expect("text");
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("4바이트를 보냈습니다") && said.contains("[받은 데이터] 안녕\n"), "{said}");
    server.stop();
}

#[test]
fn what_a_server_sends_to_the_client_does_not_steer_the_terminal() {
    let server = Server::start(&["--app", "echo"]);
    let output = talk(&server, "utf-8", "\u{1b}[2J\u{9b}2J\u{202e}a\tb\u{7f}\n");
    let said = String::from_utf8(output.stdout).expect("text");
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.ends_with("[받은 데이터] \\u{1b}[2J\\u{9b}2J\\u{202e}a\\tb\\u{7f}\n"), "{said}");
    server.stop();
}

#[test]
fn the_demo_loses_nothing_and_says_what_to_try_next() {
    let output = naksi().args(["demo", "--secs", "1"]).output().expect("it runs");
    let said = String::from_utf8(output.stdout).expect("text");
    assert_eq!(output.status.code(), Some(0), "{said}");
    for part in ["lost 0", "500 connected, 500 disconnected, 0 live: empty again", "naksi serve --app echo"] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn silence_keeps_its_sessions_and_storms_leave_none() {
    let server = Server::start(&["--app", "echo"]);
    let idle = dummy(&server, &["--scenario", "idle", "--sessions", "500", "--secs", "1"]);
    let said = String::from_utf8(idle.stdout).expect("text");
    assert_eq!(idle.status.code(), Some(0), "{said}");
    assert!(
        said.contains("sent 1,000  received 1,000") && said.contains("user memory per session: "),
        "{said}"
    );
    let before = server.descriptors();
    let storm = dummy(&server, &["--scenario", "storm", "--sessions", "20", "--secs", "2"]);
    let said = String::from_utf8(storm.stdout).expect("text");
    assert_eq!(storm.status.code(), Some(0), "{said}");
    assert!(said.contains("connections/s") && said.contains("Errors    none"), "{said}");
    support::until("descriptors are back", || server.descriptors() <= before);
    server.stop();
}

#[test]
fn large_echoes_in_a_closed_loop_are_compared_and_written_down() {
    let server = Server::start(&["--app", "echo"]);
    let (json, html) = (scratch("summary.json"), scratch("summary.html"));
    let files = ["--json", json.to_str().expect("plain"), "--html", html.to_str().expect("plain")];
    let run = ["--sessions", "4", "--window", "2", "--size", "300000", "--secs", "1"];
    let seed = u64::MAX.to_string();
    let output = dummy(&server, &[&run[..], &files, &["--seed", &seed]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
    let text = std::fs::read_to_string(&json).expect("it was written");
    let summary: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(summary["received"], summary["sent"]);
    assert_eq!(summary["errors"], serde_json::json!({}));
    // JavaScript would round the number.
    assert_eq!(summary["seed"], serde_json::json!(seed));
    let page = std::fs::read_to_string(&html).expect("it was written");
    assert!(page.contains("<svg") && page.contains("p99.9") && !page.contains("http"), "self-contained");
    server.stop();
}

#[test]
fn a_file_the_environment_and_a_flag_each_override_the_one_before() {
    let file = scratch("layers.toml");
    let settings = "[listen]\naddresses = \"127.0.0.1:1\"\n[io]\nworkers = 7\n[limits]\nsessions_max = 3\n";
    std::fs::write(&file, settings).expect("a scratch file");
    let mut command = naksi();
    command.args(["serve", "--addr", "127.0.0.1:0", "--config", file.to_str().expect("plain")]);
    command.env("NAKSI_IO__WORKERS", "2");
    let server = Server::from(command);
    let keep: Vec<_> = (0..3).map(|_| server.connect()).collect();
    let mut refused = server.connect();
    assert_eq!(support::ended(&mut refused), 0, "the file's sessions_max holds");
    drop(keep);
    server.stop();
}
