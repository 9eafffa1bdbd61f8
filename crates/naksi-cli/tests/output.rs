//! Tests of an output that takes nothing: a full pipe, a full disk, a reader that has left.

#![cfg(unix)] // Full outputs are made with sockets and devices.

mod support;

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use support::{Server, echo, naksi, scratch, until};

/// Why nothing here is run under Wine.
const OUTPUTS: &str = "its programs have outputs of their own";

/// A full pipe, and its other end, which is not read.
fn full() -> (Stdio, UnixStream) {
    let (mut writer, reader) = UnixStream::pair().expect("a pair of sockets");
    writer.set_nonblocking(true).expect("a socket option");
    while writer.write(&[b'x'; 4096]).is_ok() {}
    while writer.write(b"x").is_ok() {}
    writer.set_nonblocking(false).expect("a socket option");
    (OwnedFd::from(writer).into(), reader)
}

fn serve() -> Command {
    let mut command = naksi();
    command.args(["serve", "--addr", "127.0.0.1:0", "--workers", "2"]);
    command
}

/// Commands whose result is what they print.
fn results(schema: &str) -> Vec<Vec<String>> {
    let schema = scratch(schema);
    let text = "syntax = \"proto3\";\npackage game;\nmessage Hello { string name = 1; }\n";
    fs::write(&schema, text).expect("a scratch file");
    let schema = schema.to_str().expect("a plain path");
    let all: &[&[&str]] = &[
        &[],
        &["--help"],
        &["--version"],
        &["serve", "--help"],
        &["help", "dummy"],
        &["config", "print", "--effective"],
        &["config", "check"],
        &["gen", "--lang", "rust", "--proto", schema],
        &["conform", "--list"],
        &["sim", "--seed", "1"],
        &["sim", "--seed", "0", "--trace"],
        &["ladder", "--lab", "11-1"],
        &["demo", "--secs", "0.2", "--sessions", "2"],
    ];
    all.iter().map(|arguments| arguments.iter().map(|word| (*word).to_owned()).collect()).collect()
}

fn output(arguments: &[String], stdout: Stdio) -> (Option<i32>, String) {
    let child = naksi().args(arguments).stdout(stdout).stderr(Stdio::piped()).spawn().expect("it starts");
    let Output { status, stderr, .. } = child.wait_with_output().expect("it ends");
    (status.code(), String::from_utf8(stderr).expect("text"))
}

#[test]
fn a_result_that_cannot_be_written_is_an_error_of_every_command() {
    if support::is_left_out_under_wine(OUTPUTS) {
        return;
    }
    for arguments in results("disk.proto") {
        let disk = OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
        let (code, said) = output(&arguments, disk.into());
        assert_eq!(code, Some(1), "{arguments:?}: {said}");
        assert!(said.contains("naksi: cannot write to standard output: "), "{arguments:?}: {said}");
        assert!(!said.contains("panicked"), "{arguments:?}: {said}");
    }
}

#[test]
fn a_reader_that_has_left_is_told_nothing() {
    if support::is_left_out_under_wine(OUTPUTS) {
        return;
    }
    // A demo says on standard error what it does.
    let is_silent = |arguments: &Vec<String>| arguments.first().is_none_or(|name| name != "demo");
    for arguments in results("pipe.proto").into_iter().filter(is_silent) {
        let (reader, writer) = io::pipe().expect("a pipe");
        drop(reader);
        let (code, said) = output(&arguments, writer.into());
        assert_eq!((code, said.as_str()), (Some(1), ""), "{arguments:?}");
    }
}

#[test]
fn a_server_whose_stderr_is_full_serves_and_stops_in_order() {
    if support::is_left_out_under_wine(OUTPUTS) {
        return;
    }
    let (stderr, _reader) = full();
    let mut server = Server::with_output(serve().env("NAKSI_LOG", "trace"), stderr);
    for _ in 0..100 {
        echo(&mut server.connect(), b"it serves");
    }
    server.process.signal("TERM");
    assert_eq!(server.process.wait().code(), Some(0));
}

#[test]
fn a_server_whose_output_is_full_stops_in_order() {
    if support::is_left_out_under_wine(OUTPUTS) {
        return;
    }
    let ((stdout, _out), (stderr, _err)) = (full(), full());
    let folder = scratch("silent");
    let mut command = serve();
    command.args(["--record", folder.to_str().expect("a plain path")]).stdout(stdout).stderr(stderr);
    let mut server = support::Process::spawn(&mut command);
    // Its worker records before it listens; the address line cannot be printed here.
    until("it has started", || fs::read_dir(&folder).is_ok_and(|mut files| files.next().is_some()));
    until("it handles signals", || handles_termination(server.pid()));
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));
    fs::remove_dir_all(folder).expect("it can be removed");
}

/// Whether a process has a handler for SIGTERM.
fn handles_termination(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).expect("it is always there");
    u64::from_str_radix(caught.trim(), 16).expect("hexadecimal") & (1 << 14) != 0
}

#[test]
fn a_server_whose_stderr_has_no_reader_reloads_each_time_and_stops_in_order() {
    if support::is_left_out_under_wine(OUTPUTS) {
        return;
    }
    let file = scratch("unread.toml");
    let admit = |count: usize| {
        fs::write(&file, format!("[limits]\nsessions_max = {count}\n")).expect("a scratch file");
    };
    admit(1);
    let (reader, writer) = io::pipe().expect("a pipe");
    let mut server = Server::with_output(serve().arg("--config").arg(&file), writer.into());
    drop(reader);
    for count in [2, 3, 4] {
        admit(count);
        server.process.signal("HUP");
        until("so many are let in and no more", || admitted(&server, count + 2) == count);
    }
    server.process.signal("TERM");
    assert_eq!(server.process.wait().code(), Some(0));
}

/// How many of so many connections at once the server serves.
fn admitted(server: &Server, connections: usize) -> usize {
    let streams: Vec<_> = (0..connections).map(|_| server.connect()).collect();
    let is_served = |mut stream: &std::net::TcpStream| {
        let mut answer = [0];
        stream.write_all(b"x").is_ok() && stream.read(&mut answer).is_ok_and(|count| count == 1)
    };
    streams.iter().filter(|stream| is_served(stream)).count()
}

#[test]
fn an_error_that_nothing_reads_keeps_its_exit_code() {
    if support::is_left_out_under_wine(OUTPUTS) {
        return;
    }
    let settings = scratch("unread-error.toml");
    fs::write(&settings, "[io]\nwokers = 2\n").expect("a scratch file");
    let settings = settings.to_str().expect("a plain path");
    let cases: [(&[&str], i32); 4] = [
        (&["serve", "--addr", "nonsense"], 2),
        (&["serve", "--nonsense"], 2),
        (&["config", "check", "--config", settings], 2),
        (&["client", "127.0.0.1:1"], 1),
    ];
    for (arguments, code) in cases {
        let (reader, writer) = io::pipe().expect("a pipe");
        drop(reader);
        let disk = OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
        let (stderr, _reader) = full();
        for stderr in [writer.into(), disk.into(), stderr] {
            let status = naksi().args(arguments).stderr(stderr).status().expect("it runs");
            assert_eq!(status.code(), Some(code), "{arguments:?}");
        }
    }
}

#[test]
fn a_file_name_cannot_forge_a_line_or_steer_a_terminal() {
    if support::is_left_out_under_wine(OUTPUTS) {
        return;
    }
    let name = PathBuf::from("no\nnaksi: all is well\u{1b}[2J\u{9b}2J\u{202e}.toml");
    for arguments in [&["config", "check", "--config"][..], &["serve", "--config"], &["replay"]] {
        let output = support::output(naksi().args(arguments).arg(&name));
        let said = String::from_utf8(output.stderr).expect("text");
        assert_eq!((output.status.code(), said.lines().count()), (Some(2), 1), "{arguments:?}: {said:?}");
        let is_shown = |letter: char| letter == '\n' || !(letter.is_control() || letter == '\u{202e}');
        assert!(said.chars().all(is_shown), "{arguments:?}: {said:?}");
    }
}
