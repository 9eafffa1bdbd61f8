//! The program's own clients over WebSocket: dummies, the interactive client, replays and attacks.

#![cfg(unix)] // The tests stop their servers with signals.

mod support;

use std::io::Write;
use std::process::{Output, Stdio};

use support::{Server, naksi, output, scratch};

/// A server with a listener of plain TCP and one of WebSocket.
fn both(app: &str, more: &[&str]) -> (Server, Vec<String>) {
    let mut command = naksi();
    command.args(["serve", "--app", app, "--workers", "2", "--addr", "127.0.0.1:0"]);
    command.args(["--addr", "ws://127.0.0.1:0"]).args(more);
    Server::listening(&mut command, 2, 2)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout)
}

#[test]
fn two_crowds_in_the_same_rooms_over_tcp_and_websocket_lose_nothing_and_keep_order() {
    for backend in ["auto", "epoll"] {
        let (server, urls) = both("relay", &["--backend", backend]);
        let crowds = urls.iter().map(|url| {
            let mut dummy = naksi();
            dummy.args([
                "dummy",
                url,
                "--scenario",
                "relay",
                "--sessions",
                "50",
                "--rooms",
                "5",
                "--seed",
                "7",
            ]);
            dummy.args(["--secs", "2", "--rate", "10", "--json", "-"]);
            dummy.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts")
        });
        let crowds: Vec<_> = crowds.collect();
        for (url, crowd) in urls.iter().zip(crowds) {
            let output = crowd.wait_with_output().expect("it ends");
            assert_eq!(output.status.code(), Some(0), "{url} on {backend}: {}", said(&output));
            let summary: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
            assert_eq!(summary["lost"], 0, "{summary}");
            let count = |key: &str| summary[key].as_u64().unwrap_or_else(|| panic!("{key}: {summary}"));
            assert!(
                count("received") > 0 && count("foreign") > 0,
                "members of both are in each room: {summary}"
            );
        }
        server.stop();
    }
}

#[test]
fn a_line_of_the_client_comes_back_over_websocket_whatever_its_path() {
    let (server, urls) = both("echo", &[]);
    for url in [urls[1].clone(), format!("{}/play?seat=3", urls[1].replace("127.0.0.1", "localhost"))] {
        let mut client = naksi();
        client.args(["client", &url]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut client = client.spawn().expect("it starts");
        client.stdin.take().expect("piped").write_all("안녕하세요\nagain\n".as_bytes()).expect("it reads");
        let output = client.wait_with_output().expect("it ends");
        let text = said(&output);
        assert_eq!(output.status.code(), Some(0), "{text}");
        assert!(text.contains("15바이트를 받았습니다") && text.contains("[받은 데이터] again"), "{text}");
    }
    // A listener of plain TCP is told of a request, and sends it back.
    let output = output(naksi().args(["client", &format!("ws://{}", urls[0])]).stdin(Stdio::null()));
    assert!(
        output.status.code() == Some(1) && said(&output).contains("accepts no WebSocket"),
        "{}",
        said(&output)
    );
    server.stop();
}

#[test]
fn a_recording_is_replayed_over_websocket() {
    let folder = scratch("recorded-over-ws");
    let folder = folder.to_str().expect("text");
    let (server, urls) = both("relay", &["--record", folder]);
    let dummy = ["--scenario", "relay", "--sessions", "4", "--rooms", "1", "--secs", "0.5"];
    let first = output(naksi().args(["dummy", &urls[1]]).args(dummy));
    assert_eq!(first.status.code(), Some(0), "{}", said(&first));
    server.stop();
    let (server, urls) = both("relay", &[]);
    let replayed = output(naksi().args(["replay", folder, &urls[1], "--fast", "--wait-ms", "3000"]));
    let text = said(&replayed);
    assert_eq!(replayed.status.code(), Some(0), "{text}");
    assert!(text.contains("4 of 4 sessions"), "{text}");
    server.stop();
}

#[test]
fn what_is_no_address_of_a_websocket_is_a_usage_error_of_every_tool() {
    for (address, why) in [
        ("ws://", "has no host"),
        ("wss://127.0.0.1:1", "TLS"),
        ("http://127.0.0.1:1", "the scheme is"),
        ("tcp://127.0.0.1:1/play", "has no path"),
        ("ws://127.0.0.1:1/#top", "no fragment"),
        ("ws://me@127.0.0.1:1", "a user name"),
        ("ws://127.0.0.1:port", "no number"),
    ] {
        for tool in ["dummy", "client", "attack"] {
            let output = output(naksi().args([tool, address]).stdin(Stdio::null()));
            let said = said(&output);
            assert!(output.status.code() == Some(2) && said.contains(why), "{tool} {address}: {said}");
        }
    }
}
