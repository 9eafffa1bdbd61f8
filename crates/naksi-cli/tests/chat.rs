//! The sample game under a crowd, and with people among it.

#![cfg(unix)] // The tests stop their servers with signals.

mod support;

use std::io::Write;
use std::process::Stdio;

use support::{Process, Server, expect, naksi};

#[test]
fn a_thousand_dummies_hear_everything_once_and_in_order_and_see_who_walks() {
    let server = Server::start(&["--app", "chat"]);
    let mut command = naksi();
    command.args(["dummy", &server.address.to_string(), "--scenario", "chat", "--json", "-"]);
    command.args(["--sessions", "1000", "--rate", "5", "--secs", "3", "--fail-if", "lost>0"]);
    let mut crowd = Process::spawn(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    let said = crowd.stdout();
    assert_eq!(crowd.wait().code(), Some(0), "{said}\n{}", crowd.stderr());
    let summary: serde_json::Value = serde_json::from_str(&said).expect("a summary in JSON");
    assert_eq!(
        (&summary["connected"], &summary["lost"], &summary["corrupt"]),
        (&1000.into(), &0.into(), &0.into())
    );
    assert!(summary["sent"].as_u64() > Some(10_000), "{summary}");
    assert_eq!(summary["received"].as_u64(), summary["sent"].as_u64().map(|sent| sent * 10), "rooms of ten");
    server.stop();
}

#[test]
fn people_talk_in_lines() {
    let server = Server::start(&["--app", "chat"]);
    let mut anna = server.connect();
    anna.write_all(b"anna\r\n").expect("it takes the bytes");
    expect(&mut anna, b"* 1 here\n");
    let mut berta = server.connect();
    berta.write_all("베르타\nhello\n".as_bytes()).expect("it takes the bytes");
    expect(&mut anna, "* 베르타 joined\n베르타: hello\n".as_bytes());
    expect(&mut berta, "* 2 here\n베르타: hello\n".as_bytes());
    drop(berta);
    expect(&mut anna, "* 베르타 left\n".as_bytes());
    // The room empties and closes; whoever comes next finds it again.
    drop(anna);
    let mut clara = server.connect();
    clara.write_all(b"clara\n/go here\n").expect("it takes the bytes");
    expect(&mut clara, b"* ");
    server.stop();
}
