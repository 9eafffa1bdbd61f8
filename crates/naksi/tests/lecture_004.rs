//! The two programs of lecture 004, each in a process of its own: the client is ended by force, and the server's console
//! shows the lecture's lines.

#[path = "../examples/dummy_client.rs"]
#[expect(dead_code, reason = "its main takes the address from the command line, which here is the test's")]
mod dummy_client;
#[path = "../examples/game_server.rs"]
mod game_server;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// In a child: which program it is, and for the client the server's address.
const PROGRAM: &str = "NAKSI_LECTURE_PROGRAM";
/// How long a program may take for its next line.
const NEXT_LINE_WITHIN: Duration = Duration::from_secs(60);

/// Not a test: one of the programs, for the next test.
#[test]
fn program() {
    let which = std::env::var(PROGRAM);
    if which.is_ok() {
        // The parent holds the other end, so that a program does not outlive a killed test.
        std::thread::spawn(|| {
            std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).ok();
            std::process::exit(1);
        });
    }
    match which.as_deref() {
        Ok("server") => game_server::main().expect("the server"),
        Ok(address) => dummy_client::run(address).expect("the client"),
        Err(_) => {}
    }
}

/// A running program, which is ended by force when it is dropped.
struct Program(Child);

impl Program {
    /// Starts a program; the lines of its console come through the channel, which ends with the program.
    fn start(which: &str) -> (Self, Receiver<String>) {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(["--exact", "program", "--nocapture"]).env("NAKSI_LISTEN__ADDRESSES", "127.0.0.1:0");
        command.env(PROGRAM, which).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("a child");
        let console = BufReader::new(child.stdout.take().expect("piped"));
        let (lines, shown) = channel();
        // Reads to the end even when its lines are not asked for: a program must not stop at a full or a closed pipe.
        std::thread::spawn(move || {
            console.lines().map_while(Result::ok).for_each(|line| drop(lines.send(line)))
        });
        (Self(child), shown)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.0.kill().ok(); // A program that has ended needs no end.
        self.0.wait().ok();
    }
}

/// The console's next line; `shown` is what it showed before, for the error.
fn next_line(console: &Receiver<String>, shown: &[String]) -> String {
    let line = console.recv_timeout(NEXT_LINE_WITHIN);
    line.unwrap_or_else(|error| panic!("no further line ({error}) after {shown:?}"))
}

//= lecture 004: 강제로 클라이언트를 끈다고 가정을 해봅시다
#[test]
fn a_client_ended_by_force_leaves_the_lines_of_the_lectures_console() {
    let (_server, console) = Program::start("server");
    let mut before = Vec::new();
    let address = loop {
        let line = next_line(&console, &before);
        if let Some((_, rest)) = line.split_once("listening on ") {
            break rest.split_whitespace().next().expect("an address").to_owned();
        }
        before.push(line);
    };
    let (client, _clients_console) = Program::start(&address);
    let mut client = Some(client);
    let mut shown: Vec<String> = Vec::new();
    let mut received = 0;
    while shown.last().is_none_or(|line| line != "~GameSession") {
        shown.push(next_line(&console, &shown));
        received += usize::from(shown.last().is_some_and(|line| line.starts_with("OnRecv Len = ")));
        if received == 3 {
            drop(client.take());
        }
    }
    let lines: Vec<&str> = shown.iter().map(String::as_str).collect();
    assert_eq!((lines[0], lines[1]), ("OnConnected", "OnRecv Len = 100"), "{lines:?}");
    // Windows resets the connections of a process that it ends.
    let last = &lines[lines.len() - 2..];
    let recv_0 = ["Disconnect : Recv 0", "~GameSession"];
    assert!(last == recv_0 || (cfg!(windows) && last[0] == "Disconnect : peer_reset"), "{lines:?}");
    assert!(received >= 3 && lines.len() == received + 3, "{lines:?}");
}
