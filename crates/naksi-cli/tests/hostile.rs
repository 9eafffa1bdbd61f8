//! Tests with small versions of every attack: the good clients lose nothing, every attacker ends, and the server logs
//! why.
//!
//! No test asserts a time: a missed deadline shows as an attacker that outlives the grace period.

#![cfg(unix)] // The tests stop their servers with signals.

mod support;

use std::io::Read;
use std::net::TcpListener;
use std::process::{Output, Stdio};
use std::thread;

use serde_json::Value;
use support::{Process, Server, naksi, scratch};

/// Deadlines short enough for a test; loopback is not exempt, so that admission is tested.
const STRICT: &str = "[limits]\nfirst_frame_within = \"700ms\"\nframe_within = \"700ms\"\nidle_within = \"5s\"\n\
    send_stall_within = \"1s\"\nloopback_exempt = false\nconnections_per_address_max = 40\n\
    accepts_per_second_max = 500\n";

/// The same with silence limited by `idle_within`, and sessions over their rate ended at once.
const QUICK: &str = "[limits]\nfirst_frame_within = \"700ms\"\nframe_within = \"700ms\"\nidle_within = \"2s\"\n\
    send_stall_within = \"1s\"\nloopback_exempt = false\nconnections_per_address_max = 60\n\
    accepts_per_second_max = 500\nrate_limit_action = \"end_session\"\n";

/// Attacks a server that has these settings, and knows them itself.
fn attack(server: &Server, settings: &str, name: &str, arguments: &[&str]) -> Output {
    let file = scratch(name);
    std::fs::write(&file, settings).expect("a scratch file");
    let mut command = naksi();
    command.arg("attack").arg(server.address.to_string()).arg("--config").arg(&file);
    command.args(["--good", "10", "--secs", "0.5", "--json", "-"]);
    let patient = if arguments.contains(&"--grace") { &[][..] } else { &["--grace", "30s"] };
    command.args(patient).args(arguments);
    command.output().expect("the attack runs")
}

/// Runs every attack, small, against a server of this application, and checks the results of the good clients and the
/// attackers. Returns the report's attacks and the server's last output.
fn withstood(app: &str, settings: &str, attacks: usize) -> (Vec<Value>, String) {
    let server = Server::configured(&format!("hostile-{app}.toml"), settings, &["--app", app]);
    let file = format!("hostile-{app}-attack.toml");
    let output = attack(&server, settings, &file, &["--suite", "all", "--scale", "0.03"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_str(&text).expect("a report");
    assert_eq!(report["served"], app);
    let list = report["attacks"].as_array().expect("a list").clone();
    assert_eq!(list.len(), attacks, "{text}");
    for attack in &list {
        assert_eq!((attack["lost"].as_u64(), attack["attack"]["outlived"].as_u64()), (Some(0), Some(0)));
        assert!(attack["received"].as_u64() > Some(0), "the good ones were served: {attack}");
        assert!(attack["attack"]["attackers"].as_u64() > Some(0), "an attack without attackers: {attack}");
    }
    (list, server.stop())
}

/// A count of one attack's attackers.
fn counts_of(attacks: &[Value], name: &str, count: &str) -> u64 {
    let attack = attacks.iter().find(|attack| attack["name"] == name).expect("this attack ran");
    attack["attack"][count].as_u64().expect("a count")
}

#[test]
fn a_chat_withstands_every_attack_and_ends_join_floods_and_bad_names() {
    let (attacks, said) = withstood("chat", QUICK, 12);
    assert_eq!(
        counts_of(&attacks, "members", "ended"),
        counts_of(&attacks, "members", "attackers"),
        "all are over their rate"
    );
    assert!(
        counts_of(&attacks, "names", "ended") > 20,
        "renamers over their rate, and names that are not allowed"
    );
    assert!(
        counts_of(&attacks, "moves", "left") > 0,
        "a player who floods moves is held back and stays connected"
    );
    for reason in ["rate_exceeded", "protocol", "frame_too_short", "frame_too_long", "idle"] {
        assert!(said.contains(reason), "{reason} was never counted: {said}");
    }
}

#[test]
fn a_world_withstands_every_attack_and_ends_bad_and_doubled_names() {
    let (attacks, said) = withstood("world", QUICK, 12);
    assert!(counts_of(&attacks, "members", "left") > 0, "they log in and go");
    assert!(
        counts_of(&attacks, "names", "ended") > 0,
        "names that are not allowed, and players whose name is taken over"
    );
    assert!(
        counts_of(&attacks, "moves", "left") > 0,
        "a player who floods moves is held back and stays connected"
    );
    for reason in ["protocol", "kicked", "frame_too_short", "first_frame_late"] {
        assert!(said.contains(reason), "{reason} was never counted: {said}");
    }
}

#[test]
fn a_join_flood_that_a_server_does_not_end_is_reported() {
    let unbounded = format!("{QUICK}room_joins_per_second_max = 0\n");
    let server = Server::configured("hostile-joins.toml", &unbounded, &["--app", "chat"]);
    let arguments = ["--suite", "members", "--scale", "0.03", "--grace", "500ms"];
    let output = attack(&server, QUICK, "hostile-joins-attack.toml", &arguments);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_str(&text).expect("a report");
    assert!(report["attacks"][0]["attack"]["outlived"].as_u64() > Some(0), "{text}");
    server.stop();
}

#[test]
fn every_attack_on_a_relay_ends_and_the_good_ones_lose_nothing() {
    let (_, said) = withstood("relay", STRICT, 10);
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
    let report: Value = serde_json::from_str(&text).expect("a report");
    assert_eq!(report["attacks"].as_array().map(Vec::len), Some(3), "an echo has no sizes: {text}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("left out sizes, ") && said.contains("an echo server, which has no frames"),
        "{said}"
    );
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
    // A server that reads the request and disconnects, as an application with other frames does; it gets the requests
    // of three applications.
    let hangs_up = thread::spawn(move || {
        for stream in listener.incoming().take(3) {
            stream.expect("a connection").read_exact(&mut [0; 8]).expect("the question");
        }
    });
    let output = support::output(naksi().args(["attack", &address]));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && !said.contains("buffer"), "{said}");
    assert!(said.contains(&format!("{address} runs none of the echo, relay, chat and world apps")), "{said}");
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
        ["127.0.0.1:1", "all", "no server listens"],
    ];
    for [address, suite, said] in cases {
        let output = naksi().args(["attack", address, "--suite", suite]).output().expect("it runs");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && error.contains(said), "{error}");
    }
}
