//! Test support of the program: a server process that never outlives its test, and bounded waits.

#![allow(dead_code, reason = "every test file uses its own part of this")]

pub(crate) mod tools;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Longer than anything in these tests takes, even on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Set by the Windows lane: the `naksi.exe` to test in place of this system's program, and what Wine needs for it.
const UNDER_WINE: &str = "NAKSI_TEST_UNDER_WINE";

/// The program under test.
pub(crate) fn naksi() -> Command {
    match std::env::var_os(UNDER_WINE) {
        Some(program) => {
            let mut wine = Command::new("wine");
            wine.arg(program);
            wine
        }
        None if ignores_signals() => {
            let mut with_defaults = Command::new("env");
            with_defaults.args(["--default-signal=HUP,INT,TERM", env!("CARGO_BIN_EXE_naksi")]);
            with_defaults
        }
        None => Command::new(env!("CARGO_BIN_EXE_naksi")),
    }
}

/// Whether these tests were started by `nohup` or in the background of a script: the program would inherit ignored
/// signals.
fn ignores_signals() -> bool {
    const HANGUP_INTERRUPT_TERMINATE: u64 = 1 | 1 << 1 | 1 << 14;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.is_some_and(|mask| mask & HANGUP_INTERRUPT_TERMINATE != 0)
}

/// Whether the program under test runs under Wine, where this system's figures about the process are not its own.
pub(crate) fn is_under_wine() -> bool {
    std::env::var_os(UNDER_WINE).is_some()
}

/// Whether a test is skipped under Wine; prints that and why.
pub(crate) fn is_left_out_under_wine(why: &str) -> bool {
    if is_under_wine() {
        writeln!(std::io::stderr(), "skipped: {why}").expect("stderr takes a line");
    }
    is_under_wine()
}

/// A program's output and exit code, after it has ended by itself.
///
/// Under Wine, one of thousands of programs is sometimes ended by a signal that no process sent, while it exits and
/// after all of its output. A Windows program that crashes has an exit code there as well, so a signal is not the
/// program's fault, and it is run once more.
pub(crate) fn output(command: &mut Command) -> Output {
    let output = command.output().expect("the program runs");
    if !is_under_wine() || output.status.code().is_some() {
        return output;
    }
    // Behind the harness, which shows nothing of what passes.
    let line =
        format!("skipped: an exit status that Wine lost ({}): the program is run again", output.status);
    writeln!(std::io::stderr(), "{line}").expect("stderr takes a line");
    command.output().expect("the program runs")
}

/// A process that is killed when its test is over.
pub(crate) struct Process(Child);

impl From<Child> for Process {
    fn from(child: Child) -> Self {
        Self(child)
    }
}

impl Process {
    pub(crate) fn spawn(command: &mut Command) -> Self {
        Self(command.spawn().expect("the program starts"))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Sends a signal by name.
    pub(crate) fn signal(&self, name: &str) {
        // Wine turns one of them into Ctrl-C and ends the process at the other.
        let name = if is_under_wine() && name == "TERM" { "INT" } else { name };
        let status = Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status();
        assert!(status.expect("kill runs").success(), "the process is gone already");
    }

    /// Waits for its end, within bounds.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let mut ended = None;
        until("the process ends", || {
            ended = self.0.try_wait().expect("it can be waited for");
            ended.is_some()
        });
        ended.expect("it has ended")
    }

    /// Its end, if it has come.
    pub(crate) fn try_wait(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().expect("it can be waited for")
    }

    pub(crate) fn stdout(&mut self) -> String {
        let mut text = String::new();
        self.0.stdout.take().expect("piped").read_to_string(&mut text).expect("text");
        text
    }

    pub(crate) fn stderr(&mut self) -> String {
        let mut text = String::new();
        self.0.stderr.take().expect("piped").read_to_string(&mut text).expect("text");
        text
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to kill.
        if self.0.kill().is_ok() {
            self.0.wait().expect("a killed process ends");
        }
    }
}

/// A server on a free port.
pub(crate) struct Server {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
}

impl Server {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut command = naksi();
        command.args(["serve", "--addr", "127.0.0.1:0", "--workers", "2"]).args(arguments);
        Self::from(command)
    }

    /// A server from a whole command with two workers.
    pub(crate) fn from(command: Command) -> Self {
        Self::with_workers(command, 2)
    }

    /// Starts a server from a command with this many workers.
    pub(crate) fn with_workers(mut command: Command, workers: usize) -> Self {
        Self::listening(&mut command, workers, 1).0
    }

    /// Starts a server from a command with this many workers and listeners, and returns the line for each listener.
    pub(crate) fn listening(command: &mut Command, workers: usize, listeners: usize) -> (Self, Vec<String>) {
        let (urls, child) = Self::spawn(command.stderr(Stdio::piped()), workers, listeners);
        (Self { process: Process(child), address: place(&urls[0]) }, urls)
    }

    /// Starts a server from a command with two workers and this standard error.
    pub(crate) fn with_output(command: &mut Command, stderr: Stdio) -> Self {
        let (urls, child) = Self::spawn(command.stderr(stderr), 2, 1);
        Self { process: Process(child), address: place(&urls[0]) }
    }

    /// Starts a server and reads where it listens, line by line.
    fn spawn(command: &mut Command, workers: usize, listeners: usize) -> (Vec<String>, Child) {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let urls = lines.take(listeners).map(|line| {
            let line = line.expect("text");
            let rest =
                line.strip_prefix("naksi: listening on ").unwrap_or_else(|| panic!("not the line: {line:?}"));
            let mut words = rest.split_whitespace();
            let url = words.next().expect("an address").to_owned();
            assert!(words.next().is_some_and(|word| word.starts_with("backend=")), "{line:?}");
            assert_eq!(words.next(), Some(format!("workers={workers}").as_str()), "{line:?}");
            url
        });
        let urls: Vec<String> = urls.collect();
        assert_eq!(urls.len(), listeners, "a line for each listener: {urls:?}");
        (urls, child)
    }

    /// A server whose settings come from a file.
    pub(crate) fn configured(name: &str, settings: &str, arguments: &[&str]) -> Self {
        let file = scratch(name);
        std::fs::write(&file, settings).expect("a scratch file");
        let path = file.to_str().expect("a plain path");
        Self::start(&[arguments, &["--config", path]].concat())
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("it accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket option");
        stream.set_write_timeout(Some(PATIENCE)).expect("a socket option");
        stream.set_nodelay(true).expect("a socket option");
        stream
    }

    /// Open descriptors of the server, if the system tells; under Wine, its connections.
    pub(crate) fn descriptors(&self) -> Option<usize> {
        if is_under_wine() {
            return connections(self.address);
        }
        Some(std::fs::read_dir(format!("/proc/{}/fd", self.process.pid())).ok()?.count())
    }

    /// How many descriptors it has open, to count connections from.
    pub(crate) fn connected(&self) -> usize {
        self.descriptors().expect("descriptors of a process can be counted here")
    }

    /// Waits until there are this many more connections than `alone`.
    pub(crate) fn until_more(&self, alone: usize, connections: usize) {
        until("all have connected", || self.connected() >= alone + connections);
    }

    /// Its own memory in KiB, where the system tells.
    pub(crate) fn memory_kib(&self) -> Option<u64> {
        if is_under_wine() {
            return None;
        }
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.pid())).ok()?;
        let line = status.lines().find(|line| line.starts_with("RssAnon:"))?;
        line.split_whitespace().nth(1)?.parse().ok()
    }

    /// Stops it and expects a graceful end.
    pub(crate) fn stop(mut self) -> String {
        self.process.signal("TERM");
        let status = self.process.wait();
        let said = self.process.stderr();
        assert_eq!(status.code(), Some(0), "{status}: {said}");
        said
    }
}

/// The address in what a server says of a listener.
fn place(url: &str) -> SocketAddr {
    url.rsplit("//").next().and_then(|place| place.parse().ok()).unwrap_or_else(|| panic!("{url}"))
}

/// Accepted connections at this IPv4 address, from the kernel's socket table, without those that still wait in the
/// listener's backlog (proc(5): its `rx_queue`).
fn connections(local: SocketAddr) -> Option<usize> {
    let table = std::fs::read_to_string("/proc/net/tcp").ok()?;
    let end = format!(":{:04X}", local.port());
    let here = table.lines().filter_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let is_here = fields.next()?.ends_with(&end);
        let (state, queues) = (fields.nth(1)?, fields.next()?);
        is_here.then_some((state, usize::from_str_radix(queues.split_once(':')?.1, 16).ok()?))
    });
    let (mut standing, mut waiting) = (0, 0);
    for (state, queued) in here {
        match state {
            "01" => standing += 1,
            "0A" => waiting += queued,
            _ => {}
        }
    }
    Some(standing - waiting.min(standing))
}

/// A place for a test's file.
pub(crate) fn scratch(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{name}", std::process::id()))
}

/// Waits until something is so.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Sends bytes and expects them back.
pub(crate) fn echo(stream: &mut TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).expect("it takes the bytes");
    expect(stream, bytes);
}

/// Expects exactly these bytes next.
pub(crate) fn expect(stream: &mut TcpStream, bytes: &[u8]) {
    let mut back = vec![0; bytes.len()];
    stream.read_exact(&mut back).expect("as many bytes come");
    assert!(back == bytes, "other bytes came");
}

/// A frame of the relay.
pub(crate) fn frame(id: u16, body: &[u8]) -> Vec<u8> {
    let size = u16::try_from(body.len() + 4).expect("a short body");
    [&size.to_le_bytes(), &id.to_le_bytes(), body].concat()
}

/// A member of a room of the relay.
pub(crate) fn member(server: &Server, room: u32) -> TcpStream {
    let mut stream = server.connect();
    stream.write_all(&frame(1, &room.to_le_bytes())).expect("it takes the bytes");
    expect(&mut stream, &frame(2, &room.to_le_bytes()));
    stream
}

/// The next frame of the relay: its id and its body.
pub(crate) fn read_frame(stream: &mut TcpStream) -> (u16, Vec<u8>) {
    let mut header = [0; 4];
    stream.read_exact(&mut header).expect("a header comes");
    let [size, id] = [[header[0], header[1]], [header[2], header[3]]].map(u16::from_le_bytes);
    let mut body = vec![0; usize::from(size) - header.len()];
    stream.read_exact(&mut body).expect("the rest of the frame comes");
    (id, body)
}

/// The first room that relay dummies with this seed enter, as received by a listener from a dummy.
pub(crate) fn room_of_seed(seed: u32) -> u32 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("its address").to_string();
    let mut command = naksi();
    command.args(["dummy", &address, "--scenario", "relay", "--sessions", "1", "--secs", "60"]);
    command.args(["--seed", &seed.to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
    let _dummy = Process::spawn(&mut command);
    // The program first makes a test connection that sends nothing.
    for stream in listener.incoming() {
        let mut stream = stream.expect("a connection comes");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket option");
        let mut join = [0; 8];
        if stream.read_exact(&mut join).is_ok() {
            return u32::from_le_bytes(join[4..].try_into().expect("four bytes"));
        }
    }
    unreachable!("a listener accepts without end")
}

/// A server with one thread for each connection, for one test.
pub(crate) fn threaded(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let serve = Arc::new(serve);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("its address");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = Arc::clone(&serve);
            thread::spawn(move || serve(stream));
        }
    });
    address
}

/// Expects that the server ends this connection, in order or by a reset, and returns the number of bytes before the
/// end.
pub(crate) fn ended(stream: &mut TcpStream) -> usize {
    let (mut buffer, mut came) = (vec![0; 65_536], 0);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return came,
            Ok(count) => came += count,
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "it was not ended: {error}");
                return came;
            }
        }
    }
}
