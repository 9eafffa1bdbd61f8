//! Tests of errors before anything runs: one readable line, and the exit code that scripts rely on.

#![cfg(unix)] // The tests stop their servers with signals.

mod support;

use std::fs::File;
use std::net::TcpListener;
use std::process::{Command, Output};

use support::{Server, naksi, scratch};

fn run(arguments: &[&str]) -> Output {
    support::output(naksi().args(arguments))
}

/// Expects an exit code and one line on stderr that contains all of these.
fn refused(arguments: &[&str], code: i32, says: &[&str]) {
    refused_as(naksi().args(arguments), code, says);
}

/// The same for a command with a special environment or input.
fn refused_as(command: &mut Command, code: i32, says: &[&str]) {
    let output = support::output(command);
    let arguments: Vec<_> = command.get_args().collect();
    let said = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    assert_eq!(said.lines().count(), 1, "{arguments:?}: {said}");
    assert!(
        said.starts_with("naksi: ") && says.iter().all(|part| said.contains(part)),
        "{arguments:?}: {said}"
    );
    assert!(output.stdout.is_empty(), "nothing on stdout");
}

/// Expects a line that contains all of these, and below it the line of the file with a caret.
fn pointed_at(path: &str, says: &[&str], shows: &str, caret: &str) {
    for command in [&["serve", "--config", path][..], &["config", "check", "--config", path]] {
        let output = run(command);
        let said = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(2), "{said}");
        let mut lines = said.lines();
        let first = lines.next().expect("a line");
        assert!(first.starts_with("naksi: ") && says.iter().all(|part| first.contains(part)), "{said}");
        let below: Vec<&str> = lines.skip_while(|line| !line.contains(shows)).collect();
        assert!(below.len() > 1 && below[1].contains(caret), "{said}");
    }
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("its address").to_string();
    refused(&["serve", "--addr", &address], 1, &[&address, "already in use"]);
}

#[test]
fn an_address_that_is_none_is_named_with_one_that_is() {
    refused(&["serve", "--addr", "127.0.0.1"], 2, &["`127.0.0.1` has no port", "127.0.0.1:7777"]);
    refused(&["serve", "--addr", "127.0.0.1:fish"], 2, &["`127.0.0.1:fish` is not an address"]);
    refused(&["dummy", "127.0.0.1:99999"], 2, &["`127.0.0.1:99999`"]);
}

#[test]
fn a_wrong_setting_is_named_with_its_line_and_the_right_one() {
    let file = scratch("wrong.toml");
    std::fs::write(&file, "# a server\n[io]\nwokers = 2\n").expect("a scratch file");
    let path = file.to_str().expect("a plain path");
    pointed_at(
        path,
        &["wrong.toml:3:", "unknown key `wokers`: did you mean `workers`?"],
        "wokers = 2",
        "^^^",
    );
    std::fs::write(&file, "[limits]\nidle_within = 30\n").expect("a scratch file");
    pointed_at(path, &["wrong.toml:2:", "\"30s\""], "idle_within = 30", "^");
    refused(&["serve", "--config", "no-such-file.toml"], 2, &["cannot read no-such-file.toml"]);
    let output =
        naksi().args(["serve", "--addr", "127.0.0.1:0"]).env("NAKSI_LIMITS__SESION_MAX", "5").output();
    let said = String::from_utf8(output.expect("the program runs").stderr).expect("text");
    assert!(said.contains("NAKSI_LIMITS__SESION_MAX") && said.contains("`sessions_max`"), "{said}");
    let mut command = naksi();
    command.args(["config", "print", "--effective"]).env("NAKSI_IO_WORKERS", "5");
    refused_as(&mut command, 2, &["NAKSI_IO_WORKERS: did you mean NAKSI_IO__WORKERS?"]);
}

#[test]
fn a_mistyped_level_is_named_and_does_not_silence_the_log() {
    let mut command = naksi();
    command.args(["dummy", "127.0.0.1:1"]).env("NAKSI_LOG", "wran");
    let says = "NAKSI_LOG: `wran` is no level: off, error, warn, info, debug or trace";
    refused_as(&mut command, 2, &[says]);
}

#[test]
fn what_is_not_built_is_not_offered() {
    let help = String::from_utf8(run(&["dummy", "--help"]).stdout).expect("text");
    for scenario in ["slow", "garbage"] {
        let output = run(&["dummy", "127.0.0.1:1", "--scenario", scenario]);
        let said = String::from_utf8(output.stderr).expect("text");
        assert!(output.status.code() == Some(2) && said.contains("possible values: echo, relay"), "{said}");
        assert!(!help.contains(&format!("- {scenario}")), "{help}");
    }
}

#[test]
fn an_option_that_a_scenario_has_no_use_for_is_refused() {
    let cases: [(&str, &[&str]); 6] = [
        ("--rate", &["idle", "storm"]),
        ("--window", &["idle", "storm"]),
        ("--size", &["idle", "storm", "world"]),
        ("--rooms", &["echo", "idle", "storm", "world"]),
        ("--spread", &["echo", "relay", "idle", "storm", "chat"]),
        ("--connect-rate", &["storm"]),
    ];
    for (option, scenarios) in cases {
        let value = if option == "--spread" { "one" } else { "50" };
        for scenario in scenarios {
            let arguments = ["dummy", "127.0.0.1:1", "--scenario", scenario, option, value];
            refused(
                &arguments,
                2,
                &[&format!("the {scenario} scenario has no use for {option}: it is for ")],
            );
        }
    }
    refused(&["dummy", "127.0.0.1:1", "--scenario", "world", "--window", "2"], 2, &["use --rate instead"]);
}

#[test]
fn a_file_that_cannot_be_written_is_said_before_the_run_and_no_empty_one_is_left() {
    let server = Server::start(&["--app", "echo"]);
    let address = server.address.to_string();
    let nowhere = scratch("no-such-folder").join("x");
    let nowhere = nowhere.to_str().expect("a plain path");
    // These runs are long: if one of them started, the test would time out.
    for (command, file) in [("dummy", "--json"), ("dummy", "--html"), ("attack", "--json")] {
        let arguments = [command, &address, "--secs", "3600", file, nowhere];
        refused(&arguments, 1, &["cannot write ", "no-such-folder"]);
    }
    refused(&["ladder", "--secs", "1000", "--html", nowhere], 1, &["cannot write ", "no-such-folder"]);
    let picture = scratch("no-picture.html");
    let picture = picture.to_str().expect("a plain path");
    refused(&["dummy", &address, "--html", picture, "--json", nowhere], 1, &["cannot write "]);
    // Clients that do not leave in time may be reported before.
    let world = run(&["dummy", &address, "--scenario", "world", "--html", picture]);
    let said = String::from_utf8_lossy(&world.stderr);
    assert!(world.status.code() == Some(1) && said.contains("let no dummy into a world"), "{said}");
    assert!(!std::path::Path::new(picture).exists(), "an empty file looks like a result");
    server.stop();
}

#[test]
fn somebody_elses_server_is_not_loaded() {
    refused(
        &["dummy", "192.0.2.1:7777"],
        2,
        &["192.0.2.1:7777 is not on this machine", "--i-own-this-target"],
    );
}

#[test]
fn nobody_listening_is_said_once_and_not_a_hundred_times() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = free.local_addr().expect("its address").to_string();
    drop(free);
    refused(&["dummy", &address], 1, &["no server listens on", &address]);
    refused(&["client", &address], 1, &["no server listens on", &address]);
}

#[test]
fn what_an_encoding_has_no_letter_for_is_said_under_the_name_that_was_typed() {
    // Its connects wait in the queue: no accept is needed.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("its address").to_string();
    let file = scratch("emoji.txt");
    std::fs::write(&file, "😀\n").expect("a scratch file");
    let mut command = naksi();
    command.args(["client", &address, "--encoding", "cp949"]);
    command.stdin(File::open(&file).expect("it was written"));
    refused_as(&mut command, 2, &["`😀` cannot be written in CP949"]);
}

#[test]
fn a_count_out_of_its_range_is_refused_with_the_option_named() {
    let most = u32::MAX.to_string();
    let address = "127.0.0.1:1";
    let cases: [(&[&str], &str); 18] = [
        (&["sim"], "--sessions"),
        (&["sim"], "--threads"),
        (&["sim"], "--talk"),
        (&["ladder"], "--conns"),
        (&["ladder"], "--active"),
        (&["ladder"], "--workers"),
        (&["ladder"], "--events-max"),
        (&["ladder"], "--set-size"),
        (&["ladder"], "--secs"),
        (&["dummy", address], "--sessions"),
        (&["dummy", address], "--window"),
        (&["dummy", address], "--rooms"),
        (&["dummy", address], "--workers"),
        (&["dummy", address], "--connect-rate"),
        (&["attack", address], "--good"),
        (&["demo"], "--sessions"),
        (&["demo"], "--rooms"),
        (&["replay", "file", address], "--wait-ms"),
    ];
    for (command, option) in cases {
        let largest =
            if option == "--sessions" && command == ["sim"] { "18446744073709551615" } else { &most };
        for value in ["0", largest, "-1", "nan", "1e99"] {
            let output = run(&[command, &[&format!("{option}={value}")]].concat());
            let said = String::from_utf8(output.stderr).expect("text");
            assert!(
                output.status.code() == Some(2) && said.contains(option),
                "{command:?} {option} {value}: {said}"
            );
        }
    }
    // What is checked with the rest, in one line.
    let cases: [(&[&str], &[&str]); 5] = [
        (&["dummy", address], &["--rate", "--secs", "--size"]),
        (&["attack", address], &["--rate", "--secs", "--scale"]),
        (&["demo"], &["--rate", "--secs"]),
        (&["dummy", address, "--scenario", "relay"], &["--size"]),
        (&["dummy", address, "--scenario", "chat"], &["--size"]),
    ];
    for (command, options) in cases {
        for option in options {
            for value in ["0", "99999999999999999999", "NaN"] {
                let output = run(&[command, &[&format!("{option}={value}")]].concat());
                let said = String::from_utf8(output.stderr).expect("text");
                assert!(
                    output.status.code() == Some(2) && said.contains(option),
                    "{command:?} {option} {value}: {said}"
                );
            }
        }
    }
}

#[test]
fn a_crowd_that_no_memory_holds_is_refused() {
    refused(&["dummy", "127.0.0.1:1", "--sessions", "1M", "--size", "64MiB"], 2, &["--size", "--sessions"]);
    let crowded = ["dummy", "127.0.0.1:1", "--scenario", "relay", "--sessions", "1M", "--rooms", "1"];
    refused(&crowded, 2, &["--rooms", "--sessions"]);
    refused(&["demo", "--sessions", "1M", "--rooms", "1"], 2, &["--rooms", "--sessions"]);
}

#[test]
fn the_folder_of_a_recording_is_offered_once() {
    let said = String::from_utf8(run(&["record", "--help"]).stdout).expect("text");
    assert!(said.contains("<DIR>") && !said.contains("--record <DIR>"), "{said}");
    refused(&["record", "a", "--record", "b"], 2, &["leave --record out"]);
}

#[cfg(unix)]
#[test]
fn a_crowd_too_large_for_the_descriptors_is_told_the_command() {
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -n 100 && exec \"$0\" dummy 127.0.0.1:1 --sessions 1k"]);
    let output = shell.arg(env!("CARGO_BIN_EXE_naksi")).output().expect("a shell");
    let said = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(
        said,
        "naksi: 1,000 sessions need 1064 descriptors and this process may have 100: run `ulimit -n 1064` first\n"
    );
}

#[test]
fn a_bare_name_prints_the_help_and_nonsense_is_usage() {
    let output = run(&[]);
    assert_eq!(output.status.code(), Some(0));
    let said = String::from_utf8(output.stdout).expect("text");
    for name in ["serve", "dummy", "client", "demo"] {
        assert!(said.contains(name), "{said}");
    }
    assert_eq!(run(&["serve", "--nonsense"]).status.code(), Some(2));
    assert_eq!(run(&["dummy", "127.0.0.1:1", "--fail-if", "p98>1ms"]).status.code(), Some(2));
}

#[test]
fn a_crossed_threshold_is_ninety_nine() {
    let server = Server::start(&["--app", "echo"]);
    let address = server.address.to_string();
    let arguments = ["dummy", &address, "--sessions", "5", "--rate", "50", "--secs", "1", "--fail-if"];
    let crossed = run(&[&arguments[..], &["p50>1ns"]].concat());
    assert_eq!(crossed.status.code(), Some(99), "{crossed:?}");
    assert_eq!(run(&[&arguments[..], &["p50>1h"]].concat()).status.code(), Some(0));
    server.stop();
}
