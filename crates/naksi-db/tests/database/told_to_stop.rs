//! A test of a process that is stopped by a signal: accepted saves are written first.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use naksi::prelude::{Conn, Server, Session};
use naksi_db::{Database, Settings};

use crate::support::{Folder, PATIENCE, Player, SCHEMA, read, settings, write};

/// In the child: where its database is.
const CHILD: &str = "NAKSI_DB_TEST_CHILD";

/// Saves each line that it receives, slowly, and confirms at once that the job was accepted.
struct Saver(Database);

impl Session for Saver {
    fn on_recv(&mut self, c: &mut Conn<'_>, data: &[u8]) -> usize {
        let Some(end) = data.iter().position(|byte| *byte == b'\n') else { return 0 };
        let name: u32 = std::str::from_utf8(&data[..end]).expect("text").parse().expect("a number");
        let save = self.0.save(name, move |db| {
            std::thread::sleep(Duration::from_millis(3));
            write(db, name, &Player { version: 1, items: Vec::new() })
        });
        if save.forget().is_ok() {
            c.send(&data[..=end]);
        }
        end + 1
    }
}

/// Not a test: the server that the next test stops.
#[test]
fn child() {
    let Ok(address) = std::env::var(CHILD) else { return };
    let database =
        Database::open(&address, SCHEMA, Settings { threads: Some(1), ..settings() }).expect("a database");
    let of_sessions = database.clone();
    let server = Server::new().listen("127.0.0.1:0").workers(1);
    server.session(move || Saver(of_sessions.clone())).run().expect("a server");
    let waiting = database.stats().waiting;
    let closed = database.close(PATIENCE);
    println!("waited {waiting} lost {}", closed.saves_lost);
}

/// A child that does not outlive its test.
pub(crate) struct Ended(pub(crate) Child);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.kill().ok(); // It has ended, if all went well.
        self.0.wait().ok(); // And is not left behind as a zombie.
    }
}

#[test]
fn nothing_that_was_taken_is_lost_when_the_process_is_told_to_stop() {
    let folder = Folder::new();
    let itself = std::env::current_exe().expect("this program");
    let mut command = Command::new(itself);
    command
        .args(["--exact", "told_to_stop::child", "--nocapture"])
        .env(CHILD, folder.address())
        .stdout(Stdio::piped());
    let mut child = Ended(command.spawn().expect("a child"));
    let mut said = BufReader::new(child.0.stdout.take().expect("piped")).lines();
    let mut line_with = |word: &str| loop {
        let line = said.next().expect("the child goes on").expect("text");
        if let Some((_, rest)) = line.split_once(word) {
            return rest.trim().to_owned();
        }
    };
    let place = line_with("listening on ");
    let address = place.split_whitespace().next().expect("an address");
    let mut socket = TcpStream::connect(address).expect("the server");
    let mut taken = BufReader::new(socket.try_clone().expect("a handle")).lines();
    let mut names = Vec::new();
    for name in 0..500 {
        socket.write_all(format!("{name}\n").as_bytes()).expect("the server reads");
        names.push(taken.next().expect("an answer").expect("text").parse::<u32>().expect("a number"));
    }
    let stop = Command::new("kill").args(["-TERM", &child.0.id().to_string()]).status();
    assert!(stop.expect("the command kill").success());
    // The stop waits for the database only.
    drop((socket, taken));
    let rest = line_with("waited ");
    let (waiting, lost) = rest.split_once(" lost ").expect("two numbers");
    assert!(waiting.parse::<u32>().expect("a number") > 100, "saves waited when it ended: {waiting}");
    assert_eq!(lost, "0");
    let begun = Instant::now();
    while child.0.try_wait().expect("a child").is_none() {
        assert!(begun.elapsed() < PATIENCE, "the child ends");
        std::thread::sleep(Duration::from_millis(5));
    }
    let database = folder.database(settings());
    for name in names {
        let player = crate::support::answer(database.load(name, move |conn| read(conn, name)));
        assert_eq!(player.map(|player| player.version), Ok(1), "{name} was taken");
    }
}
