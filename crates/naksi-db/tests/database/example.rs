//! Tests of the example world, in a process of its own: it is used, stopped and started again.

#[path = "../../examples/world.rs"]
mod world;

use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::net::TcpStream;
use std::process::{ChildStdout, Command, Stdio};

use naksi::packets::{Message, decode, encode};

use crate::support::{Folder, PATIENCE};
use crate::told_to_stop::Ended;

/// In the child: that it is one.
const CHILD: &str = "NAKSI_DB_EXAMPLE_CHILD";

// The same as in the example: its client is another program.
naksi::packets! { PACKETS {
    1 => Login { name: String }
    2 => Welcome { you: u32, back: bool, x: i32, y: i32 }
    3 => Step { x: i32, y: i32 }
    4 => Enter { who: u32, name: String }
    5 => Leave { who: u32 }
    6 => Moved { places: Vec<(u32, i32, i32)> }
} }

/// Not a test: the example, for the next test.
#[test]
fn child() {
    if std::env::var_os(CHILD).is_some() {
        world::main().expect("the example");
    }
}

/// A running example.
struct Example {
    process: Ended,
    said: Lines<BufReader<ChildStdout>>,
    address: String,
}

impl Example {
    fn start(folder: &Folder) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(["--exact", "example::child", "--nocapture"]).env(CHILD, "").current_dir(folder.path());
        command.env("NAKSI_LISTEN__ADDRESSES", "127.0.0.1:0").env("NAKSI_IO__WORKERS", "2");
        let mut process = Ended(command.stdout(Stdio::piped()).spawn().expect("a child"));
        let said = BufReader::new(process.0.stdout.take().expect("piped")).lines();
        let mut example = Self { process, said, address: String::new() };
        let place = example.line_with("listening on ");
        example.address = place.split_whitespace().next().expect("an address").to_owned();
        example
    }

    /// The text after these words, in the first line that contains them.
    fn line_with(&mut self, words: &str) -> String {
        loop {
            let line = self.said.next().expect("it goes on").expect("text");
            if let Some((_, rest)) = line.split_once(words) {
                return rest.to_owned();
            }
        }
    }

    /// Tells it to stop. Returns what it saved and lost.
    fn stop(mut self) -> String {
        let told = Command::new("kill").args(["-TERM", &self.process.0.id().to_string()]).status();
        assert!(told.expect("the command kill").success());
        let saved = self.line_with("places saved: ");
        assert!(self.process.0.wait().expect("a child").success());
        saved
    }

    /// Logs in, and returns the connection and the first answer.
    fn log_in(&self, name: &str) -> (TcpStream, Welcome) {
        let mut stream = TcpStream::connect(&self.address).expect("the example");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a time limit");
        say(&mut stream, &Login { name: name.to_owned() });
        let welcome = hear(&mut stream, |_: &Welcome| true);
        (stream, welcome)
    }
}

fn say<M: Message>(stream: &mut TcpStream, message: &M) {
    stream.write_all(&encode(message).expect("it fits a frame")).expect("the example reads");
}

/// Reads up to a message that is wanted.
fn hear<M: Message>(stream: &mut TcpStream, wanted: impl Fn(&M) -> bool) -> M {
    loop {
        let mut header = [0; 4];
        stream.read_exact(&mut header).expect("a packet");
        let mut body = vec![0; usize::from(u16::from_le_bytes([header[0], header[1]])) - header.len()];
        stream.read_exact(&mut body).expect("its body");
        let [id, other] = [M::ID, Leave::ID].map(u16::to_le_bytes);
        assert_ne!(header[2..], other, "no player leaves while both are here");
        if header[2..] == id {
            let message = decode::<M>(&body).expect("as the table says");
            if wanted(&message) {
                return message;
            }
        }
    }
}

#[test]
fn the_example_world_is_lived_in_and_saves_everybody_when_it_is_told_to_stop() {
    let folder = Folder::new();
    let example = Example::start(&folder);
    let ((mut one, first), (mut other, second)) = (example.log_in("one"), example.log_in("other"));
    for welcome in [&first, &second] {
        assert_eq!((welcome.back, welcome.x, welcome.y), (false, 0, 0));
    }
    // Each sees the other one enter, and one sees the other walk.
    hear(&mut one, |enter: &Enter| (enter.who, enter.name.as_str()) == (second.you, "other"));
    hear(&mut other, |enter: &Enter| (enter.who, enter.name.as_str()) == (first.you, "one"));
    say(&mut other, &Step { x: 30, y: -7 });
    hear(&mut one, |moved: &Moved| moved.places.contains(&(second.you, 30, -7)));
    assert_eq!(example.stop(), "2, lost: 0");

    let example = Example::start(&folder);
    for (name, x, y) in [("other", 30, -7), ("one", 0, 0), ("stranger", 0, 0)] {
        let welcome = example.log_in(name).1;
        assert_eq!((welcome.back, welcome.x, welcome.y), (name != "stranger", x, y), "{name}");
    }
    example.stop();
}
