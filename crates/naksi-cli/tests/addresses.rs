//! Tests of names and addresses on the command line: a name stands for all of its addresses, in every option.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, ToSocketAddrs, UdpSocket};
use std::process::{Command, Stdio};

use support::{Server, naksi};

/// The addresses of `localhost` that this machine has.
fn localhost() -> Vec<SocketAddr> {
    let mut found: Vec<SocketAddr> =
        ("localhost", 0).to_socket_addrs().expect("every system knows it").collect();
    found.dedup();
    found.retain(|address| UdpSocket::bind(address).is_ok());
    found
}

#[test]
fn every_address_of_a_name_is_listened_on_with_a_line_of_its_own() {
    let mut command = naksi();
    command.args(["serve", "--addr", "localhost:0", "--workers", "1"]);
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("it starts");
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    let mut said = String::new();
    stdout.read_line(&mut said).expect("its first line");
    // All lines are printed before it handles a signal, and none after its end.
    let name = if support::is_under_wine() { "-INT" } else { "-TERM" };
    let status = Command::new("kill").args([name, &child.id().to_string()]).status().expect("kill runs");
    assert!(status.success(), "{said}");
    stdout.read_to_string(&mut said).expect("text");
    child.wait().expect("it ends");
    let lines: Vec<&str> = said.lines().collect();
    for address in localhost() {
        let shown = SocketAddr::new(address.ip(), 0).to_string();
        let begins = format!("naksi: listening on {}", shown.trim_end_matches('0'));
        assert!(lines.iter().any(|line| line.starts_with(&begins)), "{address}: {lines:?}");
    }
}

#[test]
fn a_server_at_one_address_of_a_name_is_found_by_the_name() {
    for address in localhost() {
        let mut command = naksi();
        command.args(["serve", "--addr", &address.to_string(), "--app", "echo", "--workers", "2"]);
        let server = Server::from(command);
        let name = format!("localhost:{}", server.address.port());
        let mut client = naksi();
        client.args(["client", &name]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut client = client.spawn().expect("it starts");
        client.stdin.take().expect("piped").write_all(b"hi\n").expect("it reads");
        let output = client.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "client at {address}: {said}");
        let dummy =
            naksi().args(["dummy", &name, "--sessions", "2", "--secs", "0.5"]).output().expect("it runs");
        let said = String::from_utf8_lossy(&dummy.stderr);
        assert_eq!(dummy.status.code(), Some(0), "dummy at {address}: {said}");
        server.stop();
    }
}

#[test]
fn an_address_to_listen_on_is_a_target_for_clients_too() {
    let mut command = naksi();
    command.args(["serve", "--addr", "0.0.0.0:0", "--app", "echo", "--workers", "2"]);
    let server = Server::from(command);
    let name = format!("0.0.0.0:{}", server.address.port());
    let dummy = naksi().args(["dummy", &name, "--sessions", "2", "--secs", "0.5"]).output().expect("it runs");
    assert_eq!(dummy.status.code(), Some(0), "{}", String::from_utf8_lossy(&dummy.stderr));
    let attack = ["attack", &name, "--suite", "sizes", "--good", "2", "--secs", "0.5"];
    let attack = naksi().args(attack).output().expect("it runs");
    assert!(!String::from_utf8_lossy(&attack.stderr).contains("is not a loopback address"));
    server.stop();
}

#[test]
fn what_is_no_address_is_said_by_every_command() {
    let closed =
        TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
    for (address, why) in [
        ("::1:7777", "an IPv6 address stands in brackets"),
        ("localhost", "has no port"),
        ("[fe80::1%nowhere]:7777", "no interface `nowhere`"),
    ] {
        for command in [&["serve", "--addr"][..], &["client"], &["dummy"], &["attack"]] {
            let output = naksi().args(command).arg(address).output().expect("it runs");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.code() == Some(2) && said.contains(why), "{command:?} {address}: {said}");
        }
    }
    let output = naksi().args(["client", &closed.to_string()]).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("no server listens on"), "{said}");
}
