//! Tests of settings: checks before a server starts, and changes in a running one.

#![cfg(unix)] // A hang-up is a signal.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStderr, Command, Output, Stdio};

use support::{naksi, scratch, until};

fn run(command: &mut Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = support::output(command);
    (status.code(), String::from_utf8(stdout).expect("text"), String::from_utf8(stderr).expect("text"))
}

fn squeezed(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn each_value_names_where_it_came_from() {
    let file = scratch("origins.toml");
    std::fs::write(&file, "[io]\nworkers = 3\nbackend = \"epoll\"\n\n[limits]\nsessions_max = 5\n")
        .expect("written");
    let mut command = naksi();
    command.args(["config", "print", "--effective", "--workers", "2", "--config"]).arg(&file);
    command.env("NAKSI_LIMITS__SESSIONS_MAX", "6").env("NAKSI_LIMITS__IDLE_WITHIN", "90s");
    let (code, printed, said) = run(&mut command);
    assert_eq!((code, said.as_str()), (Some(0), ""));
    let printed = squeezed(&printed);
    let name = file.display();
    for line in [
        "workers = 2 # flag --workers",
        &format!("backend = \"epoll\" # {name}:3"),
        "sessions_max = 6 # environment NAKSI_LIMITS__SESSIONS_MAX",
        "idle_within = \"90s\" # environment NAKSI_LIMITS__IDLE_WITHIN",
        "frame_bytes_max = \"16KiB\" # default",
    ] {
        assert!(printed.contains(line), "{line} in {printed}");
    }
}

#[test]
fn a_new_file_is_sound_and_is_not_written_over() {
    let file = scratch("new.toml");
    std::fs::remove_file(&file).ok(); // It may be left from another run.
    let (code, said, _) = run(naksi().args(["config", "init"]).arg(&file));
    assert_eq!((code, said.starts_with("naksi: wrote ")), (Some(0), true), "{said}");
    let (code, said, _) = run(naksi().args(["config", "check", "--config"]).arg(&file));
    assert!(code == Some(0) && said.contains("make sense") && said.contains("0 of "), "{said}");
    let (code, _, said) = run(naksi().args(["config", "init"]).arg(&file));
    assert!(code == Some(2) && said.contains("is left as it is"), "{said}");
}

#[test]
fn a_check_refuses_what_a_server_would_refuse() {
    for (text, rule) in [
        ("[io]\nworkers = 0\n", "io.workers must be 1 to 256"),
        ("[io]\ndirect = 0\n", "io.direct must be at least 1"),
        ("[limits]\nidle_within = \"0s\"\n", "idle_within"),
        ("[record]\ndirectory = \"\"\n", "record.directory must not be empty"),
        ("[io]\nflush_ms = 500\n", "io.flush_ms must be 1 to 100"),
        ("[io]\nspin_us = 5000\n", "io.spin_us must be at most 1000"),
        ("[log]\nfilter = \"naksi=loud\"\n", "log.filter"),
        ("[log]\nfilter = \"wran\"\n", "`wran` is no level: off, error, warn, info, debug or trace"),
    ] {
        let file = scratch("refused.toml");
        std::fs::write(&file, text).expect("written");
        let (code, _, said) = run(naksi().args(["config", "check", "--config"]).arg(&file));
        assert!(code == Some(2) && said.contains(rule), "{text}: {code:?}, {said}");
        let (code, _, said) = run(naksi().args(["serve", "--addr", "127.0.0.1:0", "--config"]).arg(&file));
        assert!(code == Some(2) && said.contains(rule), "{text}: {code:?}, {said}");
    }
}

#[test]
fn everything_that_is_wrong_is_said_at_once_whoever_says_it() {
    let file = scratch("much.toml");
    let text = "[io]\nworkers = 999\nflush_ms = \"x\"\n[limits]\nsessions_max = 0\n[listen]\naddresses = \"nowhere\"\n";
    std::fs::write(&file, text).expect("written");
    let mut command = naksi();
    command.args(["config", "check", "--config"]).arg(&file);
    command.env("NAKSI_IO__SPIN_US", "many").env("NAKSI_RECORD__DIRECTORY", "2026");
    let (code, _, said) = run(&mut command);
    assert_eq!(code, Some(2), "{said}");
    for line in [
        "much.toml:3:12: `io.flush_ms` wants a whole number from 1 to 100, and not \"x\"",
        "naksi: environment variable NAKSI_IO__SPIN_US: `io.spin_us` wants a whole number from 0 to 1,000, and not \"many\"",
        "naksi: io.workers must be 1 to 256 (",
        "naksi: limits make no sense: sessions_max must be 1 to 16,777,216: a worker names no more",
        "naksi: listen.addresses: `nowhere` has no port",
    ] {
        assert!(said.contains(line), "{line}\nin\n{said}");
    }
    assert!(!said.contains("usize") && !said.contains("u32") && !said.contains("2026"), "{said}");
}

#[test]
fn a_variable_that_is_no_text_is_an_error_and_not_passed_over() {
    use std::os::unix::ffi::OsStrExt as _;
    let bytes = |bytes: &'static [u8]| std::ffi::OsStr::from_bytes(bytes);
    for (name, value) in [
        (bytes(b"NAKSI_IO__WORKERS"), bytes(b"\xff")),
        (bytes(b"NAKSI_IO__\xff"), bytes(b"2")),
        (bytes(b"NAKSI_LOG"), bytes(b"\xff")),
    ] {
        let (code, _, said) = run(naksi().args(["config", "check"]).env(name, value));
        assert!(code == Some(2) && said.contains("it is no text (no UTF-8)"), "{name:?}: {said}");
    }
}

#[test]
fn listeners_that_cannot_all_be_opened_are_refused_with_the_key_and_its_place() {
    for (text, rule) in [
        (
            "[[listen]]\naddress = \"127.0.0.1:7\"\n\n[[listen]]\naddress = \"ws://127.0.0.1:7\"\n",
            "two listeners have the address 127.0.0.1:7",
        ),
        (
            "[listen]\naddresses = \"127.0.0.1:7,tcp://127.0.0.1:7\"\n",
            "two listeners have the address 127.0.0.1:7",
        ),
        ("[[listen]]\naddress = \"ws://127.0.0.1\"\n", "`ws://127.0.0.1` has no port"),
        ("[[listen]]\naddress = \"ws://127.0.0.1:0/play\"\n", "has no path"),
        (
            "[[listen]]\naddress = \"127.0.0.1:7\"\norigins = \"any\"\n",
            "`listen.origins` is for an address with ws://",
        ),
    ] {
        let file = scratch("listeners.toml");
        std::fs::write(&file, text).expect("written");
        for command in [&["config", "check", "--config"][..], &["serve", "--config"]] {
            let (code, _, said) = run(naksi().args(command).arg(&file));
            assert!(
                code == Some(2) && said.contains(rule) && said.contains("listeners.toml:"),
                "{text}: {said}"
            );
            assert!(said.contains("listen.addresses") || said.contains("`listen."), "{said}");
        }
    }
    let file = scratch("sound.toml");
    std::fs::write(&file, "[[listen]]\naddress = \"ws://127.0.0.1:7\"\norigins = \"any\"\n")
        .expect("written");
    let (code, printed, said) = run(naksi().args(["config", "print", "--config"]).arg(&file));
    assert_eq!(code, Some(0), "{said}");
    let line = "addresses = [{ address = \"ws://127.0.0.1:7\", origins = \"any\" }] # ";
    assert!(squeezed(&printed).contains(line), "{printed}");
}

#[test]
fn a_server_without_an_address_is_refused() {
    let file = scratch("nowhere.toml");
    std::fs::write(&file, "[listen]\naddresses = []\n").expect("written");
    for command in [&["config", "check", "--config"][..], &["serve", "--config"]] {
        let (code, _, said) = run(naksi().args(command).arg(&file));
        assert!(code == Some(2) && said.contains("listen.addresses must not be empty"), "{code:?}, {said}");
    }
}

#[test]
fn a_check_refuses_the_port_of_another_system() {
    let other = if support::is_under_wine() { "uring" } else { "iocp" };
    let (code, _, said) = run(naksi().args(["config", "check", "--backend", other]));
    assert!(code == Some(2) && said.contains(&format!("no io.backend \"{other}\"")), "{code:?}, {said}");
}

#[test]
fn the_usual_file_is_read_where_no_other_is_named() {
    let folder = scratch("usual");
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join("naksi.toml"), "[io]\nworkers = 3\n").expect("written");
    let (code, printed, _) = run(naksi().args(["config", "print"]).current_dir(&folder));
    assert_eq!((code, squeezed(&printed).as_str()), (Some(0), "[io] workers = 3 # naksi.toml:2"));
}

/// A server with a file of settings, and what it says.
struct Watched {
    child: Child,
    address: SocketAddr,
    stderr: BufReader<ChildStderr>,
}

impl Watched {
    fn start(file: &std::path::Path) -> Self {
        let mut command = naksi();
        command.args(["serve", "--addr", "127.0.0.1:0", "--config"]).arg(file);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("its first line");
        let address = line.split_whitespace().nth(3).and_then(|word| word.parse().ok()).expect("an address");
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        Self { child, address, stderr }
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(status.expect("kill runs").success());
    }

    /// Sends a hang-up, and returns the line that answers it.
    fn reload(&mut self) -> String {
        self.signal("HUP");
        loop {
            let mut line = String::new();
            assert!(self.stderr.read_line(&mut line).expect("text") > 0, "it ended");
            if line.contains("reloaded") {
                return line;
            }
        }
    }

    /// Whether a new session is accepted: it is if its bytes come back.
    fn lets_in(&self) -> Option<TcpStream> {
        let mut socket = TcpStream::connect(self.address).expect("it listens");
        socket.write_all(b"fish").ok()?;
        let mut back = [0; 4];
        socket.read_exact(&mut back).ok().map(|()| socket)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.child.kill().ok(); // It has ended if all went well.
        self.child.wait().ok(); // And leaves nothing behind.
    }
}

#[test]
fn a_hang_up_reloads_what_can_be_and_names_what_needs_a_restart() {
    let file = scratch("reload.toml");
    let write = |text: &str| std::fs::write(&file, text).expect("a scratch file");
    write("[io]\nworkers = 1\n[limits]\nsessions_max = 1\n");
    let mut server = Watched::start(&file);
    let _first = server.lets_in().expect("the first");
    assert!(server.lets_in().is_none(), "one is the most");

    write(
        "[io]\nworkers = 2\n[limits]\nsessions_max = 3\nmessages_per_second_max = 5\n[log]\nfilter = \"info\"\n",
    );
    let line = server.reload();
    let said = "reloaded: log.filter not set -> \"info\", limits.sessions_max 1 -> 3; needs a restart: io.workers 1 -> 2, \
                limits.messages_per_second_max 0 -> 5";
    assert!(line.contains(said), "{line}");
    let _second = server.lets_in().expect("there is room");

    write("[limits]\nsesions_max = 1\n");
    let line = server.reload();
    assert!(line.contains("not reloaded") && line.contains("did you mean `sessions_max`?"), "{line}");
    let _third = server.lets_in().expect("everything stays as it was");

    write("[io]\nworkers = 1\n[limits]\nsessions_max = 3\n");
    let line = server.reload();
    assert!(line.contains("log.filter \"info\" -> not set") && !line.contains("restart"), "{line}");

    server.signal("TERM");
    until("it ends", || server.child.try_wait().expect("a child").is_some());
    assert_eq!(server.child.wait().expect("it has ended").code(), Some(0));
}

#[test]
fn without_settings_to_reload_a_hang_up_ends_the_server_in_order() {
    let mut server = support::Server::start(&[]);
    server.process.signal("HUP");
    assert_eq!(server.process.wait().code(), Some(0));
}

#[test]
fn the_guide_shows_the_settings_file_that_the_program_writes() {
    let file = scratch("guide.toml");
    let (code, _, said) = run(naksi().args(["config", "init"]).arg(&file));
    assert_eq!((code, said.as_str()), (Some(0), ""));
    let shown = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/book/src/naksi.toml");
    let shown = std::fs::read_to_string(shown).expect("the guide has the file").replace('\r', "");
    let written = std::fs::read_to_string(&file).expect("it was written").replace('\r', "");
    assert_eq!(shown, written, "write docs/book/src/naksi.toml anew with `naksi config init`");
}
