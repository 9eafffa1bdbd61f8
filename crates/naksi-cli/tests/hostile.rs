//! Small versions of every attack: the good ones lose nothing, every attacker ends, and the server says why.
//!
//! Nothing here asserts a time: a deadline that is missed shows as an attacker that outlives the grace.

#![cfg(unix)] // The tests stop their servers with signals.

mod support;

use std::io::Read;
use std::net::TcpListener;
use std::process::{Output, Stdio};
use std::thread;

use support::{Process, Server, naksi, scratch};

/// Deadlines short enough for a test; loopback counts, so that the door has something to do.
const STRICT: &str = "[limits]\nfirst_frame_within = \"700ms\"\nframe_within = \"700ms\"\nidle_within = \"5s\"\n\
    send_stall_within = \"1s\"\nloopback_exempt = false\nconnections_per_address_max = 40\n\
    accepts_per_second_max = 500\n";

/// Attacks a server that has these settings, and knows them itself.
fn attack(server: &Server, settings: &str, name: &str, arguments: &[&str]) -> Output {
    let file = scratch(name);
    std::fs::write(&file, settings).expect("a scratch file");
    let mut command = naksi();
    command.arg("attack").arg(server.address.to_string()).arg("--config").arg(&file);
    command.args(["--good", "10", "--secs", "0.5", "--grace", "30s", "--json", "-"]).args(arguments);
    command.output().expect("the attack runs")
}

#[test]
fn every_attack_on_a_relay_ends_and_the_good_ones_lose_nothing() {
    let server = Server::configured("hostile.toml", STRICT, &["--app", "relay"]);
    let output = attack(&server, STRICT, "hostile-attack.toml", &["--suite", "all", "--scale", "0.03"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value = serde_json::from_str(&text).expect("a report");
    let attacks = report["attacks"].as_array().expect("a list");
    assert_eq!(attacks.len(), 9, "{text}");
    for attack in attacks {
        assert_eq!((attack["lost"].as_u64(), attack["attack"]["outlived"].as_u64()), (Some(0), Some(0)));
        assert!(attack["received"].as_u64() > Some(0), "the good ones were served: {attack}");
        assert!(attack["attack"]["attackers"].as_u64() > Some(0), "somebody attacked: {attack}");
    }
    let said = server.stop();
    for reason in ["frame_too_short", "frame_too_long", "first_frame_late", "frame_late", "refused: full"] {
        assert!(said.contains(reason), "{reason} was never counted: {said}");
    }
}

#[test]
fn an_echo_is_attacked_with_what_has_no_frames() {
    let server = Server::configured("hostile-echo.toml", STRICT, &["--app", "echo", "--stats-every", "1"]);
    let arguments = ["--suite", "flood,connects,squatters,sizes", "--scale", "0.02"];
    let output = attack(&server, STRICT, "hostile-echo-attack.toml", &arguments);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value = serde_json::from_str(&text).expect("a report");
    assert_eq!(report["attacks"].as_array().map(Vec::len), Some(3), "an echo has no sizes: {text}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("left out sizes, ") && said.contains("an echo server: it has no frames"), "{said}");
    let output = attack(&server, STRICT, "hostile-none.toml", &["--suite", "sizes,huge"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(2) && said.contains("none of these attacks applies"), "{said}");
    assert!(output.stdout.is_empty(), "nothing was attacked, and nothing is judged");
    let said = server.stop();
    assert!(said.contains("naksi: live ") && said.contains("idle"), "{said}");
}

#[test]
fn a_server_that_is_no_target_is_told_what_it_is_not() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("its address").to_string();
    // One that reads the question and hangs up, as an app with other frames does.
    let hangs_up = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("somebody asks");
        stream.read_exact(&mut [0; 8]).expect("the question");
    });
    let output = support::output(naksi().args(["attack", &address]));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && !said.contains("buffer"), "{said}");
    assert!(said.contains(&format!("{address} is neither the echo app nor the relay app")), "{said}");
    hangs_up.join().expect("it was asked");
}

#[test]
fn an_attack_that_is_cut_short_judges_nothing() {
    let server = Server::start(&["--app", "echo"]);
    let alone = server.connected();
    let mut command = naksi();
    command.arg("attack").arg(server.address.to_string());
    command.args(["--good", "10", "--secs", "600", "--suite", "flood"]);
    let mut attack = Process::spawn(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    server.until_more(alone, 10);
    attack.signal("INT");
    let (status, judged, said) = (attack.wait(), attack.stdout(), attack.stderr());
    assert!(status.code() == Some(1) && judged.is_empty(), "{status}: {judged}{said}");
    assert!(said.contains("stopped by Ctrl-C: nothing is judged"), "{said}");
    server.stop();
}

#[test]
fn an_attack_on_another_machine_or_by_an_unknown_name_is_refused() {
    let cases = [
        ["192.0.2.1:7777", "all", "loopback"],
        ["127.0.0.1:1", "nonsense", "no attack"],
        ["127.0.0.1:1", "all", "nobody listens"],
    ];
    for [address, suite, said] in cases {
        let output = naksi().args(["attack", address, "--suite", suite]).output().expect("it runs");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && error.contains(said), "{error}");
    }
}
