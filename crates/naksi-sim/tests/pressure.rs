//! Engines in processes of their own, under a system that refuses them things.
//!
//! A child is this test program again, with one ignored test as its task and its orders in the environment;
//! it serves an echo, and answers on standard input what it has counted. Nothing here measures time.

#![cfg(target_os = "linux")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use naksi::prelude::*;

const PATIENCE: Duration = Duration::from_secs(20);

struct Echo;

impl Session for Echo {
    fn on_recv(&mut self, c: &mut Conn<'_>, data: &[u8]) -> usize {
        c.send(data);
        data.len()
    }
}

/// A server in a process of its own.
struct Served {
    child: Child,
    orders: ChildStdin,
    lines: BufReader<ChildStdout>,
    address: SocketAddr,
    /// Why it serves on epoll, or `none`.
    fallback: String,
}

impl Served {
    /// Starts this program again as a server, behind the words of another program if there are any.
    fn start(before: &[&str], backend: &str, descriptors: u64) -> Self {
        let program = std::env::current_exe().expect("this program has a path");
        let mut words: Vec<String> = before.iter().map(|word| (*word).to_owned()).collect();
        words.push(program.to_str().expect("a path in plain letters").to_owned());
        let task = ["child_serves", "--exact", "--ignored", "--nocapture", "--test-threads=1"];
        words.extend(task.map(str::to_owned));
        let mut child = Command::new(&words[0])
            .args(&words[1..])
            .env("NAKSI_TRIAL_BACKEND", backend)
            .env("NAKSI_TRIAL_DESCRIPTORS", descriptors.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program can be started again");
        let orders = child.stdin.take().expect("it was asked for");
        let mut lines = BufReader::new(child.stdout.take().expect("it was asked for"));
        let address = answer(&mut lines, "address").parse().expect("the child says an address");
        let fallback = answer(&mut lines, "fallback");
        Self { child, orders, lines, address, fallback }
    }

    /// The child's counters now: accept pauses, turns of its loop, system calls, live sessions.
    fn counters(&mut self) -> [u64; 4] {
        self.orders.write_all(b"counters\n").expect("the child listens");
        let line = answer(&mut self.lines, "counters");
        let numbers: Vec<u64> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
        numbers.try_into().expect("four numbers")
    }

    /// Ends the child, which fails the test if it did not end as it should.
    fn stop(mut self) {
        drop(self.orders);
        assert!(self.child.wait().expect("it was started").success(), "the child failed");
    }
}

/// The rest of the child's next line that begins with this word.
fn answer(lines: &mut impl BufRead, word: &str) -> String {
    let mut line = String::new();
    loop {
        line.clear();
        assert!(lines.read_line(&mut line).expect("the child writes text") > 0, "the child has ended");
        if let Some((_, rest)) = line.split_once(&format!("{word}: ")) {
            return rest.trim().to_owned();
        }
    }
}

/// The child: serves until its standard input ends.
#[test]
#[ignore = "a task for a process of its own, which the other tests start"]
fn child_serves() {
    let Ok(backend) = std::env::var("NAKSI_TRIAL_BACKEND") else { return };
    let descriptors = std::env::var("NAKSI_TRIAL_DESCRIPTORS").ok().and_then(|text| text.parse().ok());
    if let Some(descriptors @ 1..) = descriptors {
        rlimit::Resource::NOFILE.set(descriptors, descriptors).expect("a limit can be lowered");
    }
    let backend: Backend = backend.parse().expect("a backend");
    let server = Server::new().backend(backend).listen("127.0.0.1:0").workers(1);
    let service = server.session(|| Echo).start().expect("it can be served here");
    println!("address: {}", service.addresses()[0]);
    println!("fallback: {}", service.fallback_reason().unwrap_or("none"));
    for line in std::io::stdin().lines() {
        line.expect("the parent writes text");
        let stats = service.stats();
        println!("counters: {} {} {} {}", stats.accept_pauses_total, stats.turns, stats.enters, stats.live);
    }
    let stats = service.stop(PATIENCE);
    assert_eq!((stats.live, stats.leases_out), (0, 0));
    assert_eq!(stats.connected_total, stats.disconnected_total);
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the system's queue takes it");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a time limit");
    stream
}

fn echo(stream: &mut TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).expect("the server reads");
    let mut back = vec![0; bytes.len()];
    stream.read_exact(&mut back).expect("the server answers");
    assert!(back == bytes, "the bytes changed on their way");
}

/// A hundred clients and sixty-four descriptors.
fn few_descriptors(backend: &str) {
    let mut served = Served::start(&[], backend, 64);
    let mut clients: Vec<TcpStream> = (0..100).map(|_| connect(served.address)).collect();
    let mut before = served.counters();
    while before[0] == 0 {
        std::thread::sleep(Duration::from_millis(5));
        before = served.counters();
    }
    // Those who are in are served while the others wait; and no worker spins over them.
    echo(&mut clients[0], b"served while others wait");
    for _ in 0..100 {
        std::thread::sleep(Duration::from_millis(10));
        served.counters();
    }
    let after = served.counters();
    let (pauses, turns, enters) = (after[0] - before[0], after[1] - before[1], after[2] - before[2]);
    println!(
        "{backend}: {} of 100 live; in a second {pauses} pauses, {turns} turns, {enters} enters",
        after[3]
    );
    assert!(after[3] < 64, "more sessions than descriptors");
    // A pause is at least some milliseconds: without it there were hundreds of thousands.
    assert!(pauses < 400 && turns < 2000 && enters < 4000, "it spins: {pauses}, {turns}, {enters}");
    let waiting = clients.split_off(after[3] as usize);
    drop(clients);
    for mut client in waiting {
        echo(&mut client, b"served at last");
    }
    served.stop();
}

#[test]
fn sixty_four_descriptors_pause_accepting_without_a_spin_on_io_uring() {
    few_descriptors("uring");
}

#[test]
fn sixty_four_descriptors_pause_accepting_without_a_spin_on_epoll() {
    few_descriptors("epoll");
}

/// Whether this system lets one process trace another.
fn strace_works() -> bool {
    let tried = Command::new("strace").args(["-o", "/dev/null", "true"]).stderr(Stdio::null()).status();
    let works = tried.is_ok_and(|status| status.success());
    if !works {
        // Behind the harness, which shows nothing of what passes.
        let line = "skipped: strace is not here, or may not trace: no system call was made to fail";
        writeln!(std::io::stderr(), "{line}").expect("stderr takes a line");
    }
    works
}

/// A server whose system calls fail, so often at least, serves everybody all the same: on epoll for the
/// reason that holds this word, if there is one.
fn injected(backend: &str, faults: &[&str], struck_min: usize, fallback: Option<&str>) {
    if !strace_works() {
        return;
    }
    for fault in faults {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let log = folder.path().join("strace");
        let log_path = log.to_str().expect("a path in plain letters");
        let trace = format!("trace={}", fault.split(':').next().expect("a name"));
        let inject = format!("inject={fault}");
        let mut served =
            Served::start(&["strace", "-f", "-o", log_path, "-e", &trace, "-e", &inject], backend, 0);
        assert!(served.fallback.contains(fallback.unwrap_or("none")), "{fault}: {}", served.fallback);
        for round in 0..20_u8 {
            let mut clients: Vec<TcpStream> = (0..4).map(|_| connect(served.address)).collect();
            for client in &mut clients {
                (0..10).for_each(|_| echo(client, &vec![round; 500]));
            }
        }
        served.counters();
        served.stop();
        let text = std::fs::read_to_string(&log).expect("strace wrote its log");
        let struck = text.lines().filter(|line| line.contains("(INJECTED)")).count();
        println!("{backend}, {fault}: {struck} calls failed");
        assert!(struck >= struck_min, "the fault struck {struck} times: nothing was tested");
    }
}

#[test]
fn io_uring_serves_while_its_enters_fail() {
    let faults = ["EINTR", "EAGAIN", "EBUSY"].map(|errno| format!("io_uring_enter:error={errno}:when=5+7"));
    injected("uring", &faults.each_ref().map(String::as_str), 6, None);
}

/// The ring itself, the question what it can do, and the ring of buffers: without any of them it is epoll.
#[test]
fn what_cannot_be_set_up_or_registered_is_served_on_epoll() {
    let setup = ["EPERM", "ENOSYS", "ENOMEM", "EINVAL"].map(|errno| format!("io_uring_setup:error={errno}"));
    let register = ["EPERM:when=1", "EINVAL:when=1+1", "ENOMEM:when=2+1"]
        .map(|errno| format!("io_uring_register:error={errno}"));
    injected("auto", &setup.each_ref().map(String::as_str), 1, Some("io_uring"));
    injected("auto", &register.each_ref().map(String::as_str), 1, Some("io_uring"));
}

#[test]
fn epoll_serves_while_its_waits_and_accepts_fail() {
    let accepts = ["ECONNABORTED", "EMFILE", "ENOBUFS", "EPROTO"];
    let mut faults: Vec<String> =
        accepts.iter().map(|errno| format!("accept4:error={errno}:when=3+5")).collect();
    faults.push("epoll_wait,epoll_pwait,epoll_pwait2:error=EINTR:when=5+7".to_owned());
    faults.push("recvfrom,recvmsg,read,readv:error=EINTR:when=90+7".to_owned());
    injected("epoll", &faults.iter().map(String::as_str).collect::<Vec<_>>(), 6, None);
}

/// Three hundred that send and never read, and a limit on the memory of the process; half of it is too little.
/// What a server keeps for them is bounded by its limits, and who is well is served in between.
fn little_memory(backend: &str) {
    const DATA_BYTES_MAX: &str = "--data=80000000";
    let served = Served::start(&["prlimit", DATA_BYTES_MAX], backend, 0);
    let mut crowd = Vec::new();
    for _ in 0..300 {
        let mut hostile = connect(served.address);
        hostile.set_nonblocking(true).expect("a socket can be made so");
        // As much as the kernel and the server take: the rest is refused here, or the session is ended.
        while matches!(hostile.write(&[9; 1 << 16]), Ok(1..)) {}
        crowd.push(hostile);
    }
    let mut good = connect(served.address);
    for round in 0..20_u8 {
        for hostile in &mut crowd {
            while matches!(hostile.write(&[9; 1 << 16]), Ok(1..)) {}
        }
        echo(&mut good, &vec![round; 5000]);
    }
    drop(crowd);
    echo(&mut good, b"served afterwards");
    drop(good);
    served.stop();
}

#[test]
fn a_limit_on_memory_is_never_met_on_io_uring() {
    little_memory("uring");
}

#[test]
fn a_limit_on_memory_is_never_met_on_epoll() {
    little_memory("epoll");
}
