//! What an operator sees of a running server, and what others are refused.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use naksi::prelude::*;
use naksi_admin::{Admin, AdminError, AdminServer};

/// Longer than anything in these tests takes, even on a machine that is busy with something else.
const PATIENCE: Duration = Duration::from_secs(60);
const TOKEN: &str = "a-token-for-the-tests";

struct Echo;

impl Session for Echo {
    fn on_recv(&mut self, c: &mut Conn<'_>, data: &[u8]) -> usize {
        c.send(data);
        data.len()
    }
}

fn echo_service() -> Service {
    let server = Server::new().listen("127.0.0.1:0").workers(2).group(GroupOptions::new("lo\"gic"));
    server.session(|| Echo).start().expect("a service")
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("it accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket option");
    stream
}

/// The status and the text of an answer to these lines.
fn ask(address: SocketAddr, lines: &str) -> (u16, String) {
    let mut stream = connect(address);
    let request = format!("{lines}\r\nConnection: close\r\n\r\n");
    // A request that is refused while it is sent may find its connection closed.
    stream.write_all(request.as_bytes()).ok();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok(); // A reset after the answer loses nothing that was read.
    let answer = String::from_utf8(answer).expect("text");
    let status = answer.split_whitespace().nth(1).and_then(|status| status.parse().ok());
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    (status.unwrap_or_else(|| panic!("no answer to {lines:.200}: {answer:?}")), body)
}

fn get(address: SocketAddr, path: &str) -> (u16, String) {
    ask(address, &format!("GET {path} HTTP/1.1\r\nHost: {address}"))
}

fn with_token(address: SocketAddr, path: &str, more: &str) -> (u16, String) {
    ask(address, &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {TOKEN}{more}"))
}

/// The samples of a page, without those of the labels.
fn sums(page: &str) -> BTreeMap<String, f64> {
    let mut sums = BTreeMap::new();
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let (sample, value) = line.rsplit_once(' ').expect("a sample");
        let name = sample.split('{').next().expect("a name").to_owned();
        *sums.entry(name).or_insert(0.0) += value.parse::<f64>().expect("a number");
    }
    sums
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// A service after a known load: so many sessions have echoed a line, and half of them have left.
fn after_load(sessions: usize) -> (Service, AdminServer, Vec<TcpStream>) {
    let service = echo_service();
    let admin = Admin::bind("127.0.0.1:0").serve(service.handle()).expect("an admin server");
    let mut streams: Vec<TcpStream> = (0..sessions).map(|_| connect(service.addresses()[0])).collect();
    for stream in &mut streams {
        stream.write_all(b"hello").expect("it takes the bytes");
        stream.read_exact(&mut [0; 5]).expect("they come back");
    }
    streams.truncate(sessions / 2);
    let left = (sessions - sessions / 2) as u64;
    until("half of them have left", || {
        service.stats().disconnected_total == left && service.stats().live == sessions as u64 - left
    });
    (service, admin, streams)
}

#[test]
fn a_scrape_has_the_numbers_of_the_statistics() {
    let (service, admin, _streams) = after_load(40);
    let (status, page) = get(admin.address(), "/metrics");
    assert_eq!(status, 200);
    let (stats, sums) = (service.stats(), sums(&page));
    for (name, value) in [
        ("naksi_sessions", stats.live),
        ("naksi_sessions_connected_total", stats.connected_total),
        ("naksi_sessions_disconnected_total", stats.disconnected_total),
        ("naksi_received_bytes_total", stats.recv_bytes),
        ("naksi_sent_bytes_total", stats.sent_bytes),
        ("naksi_handles", stats.handles),
        ("naksi_operations_in_flight", stats.in_flight),
        ("naksi_held_bytes", stats.held_bytes),
        ("naksi_group_threads", stats.groups[0].threads as u64),
        ("naksi_stopping", 0),
        ("naksi_build_info", 1),
    ] {
        assert_eq!(sums.get(name).copied(), Some(value as f64), "{name}");
    }
    assert_eq!((stats.connected_total, stats.recv_bytes), (40, 200));
    for (reason, count) in &stats.ended {
        let line = format!("naksi_sessions_disconnected_total{{reason=\"{reason}\"}} {count}\n");
        assert!(page.contains(&line), "{line}");
    }
    let workers = service.handle().worker_stats();
    let of_worker =
        |worker: usize| format!("naksi_sessions{{worker=\"{worker}\"}} {}\n", workers[worker].live);
    assert!(page.contains(&of_worker(0)) && page.contains(&of_worker(1)), "{page}");
    assert_eq!(sums["naksi_wait_completions_bucket"] > 0.0, stats.completions > 0);
}

#[test]
fn promtool_has_nothing_to_say_about_a_scrape() {
    let (_service, admin, _streams) = after_load(4);
    let (_, page) = get(admin.address(), "/metrics");
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut promtool) = command.spawn() else {
        writeln!(std::io::stderr(), "skipped: there is no promtool (Debian: prometheus)")
            .expect("stderr takes a line");
        return;
    };
    promtool.stdin.take().expect("piped").write_all(page.as_bytes()).expect("it reads");
    let output = promtool.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
}

#[test]
fn an_address_that_others_reach_needs_a_token() {
    let service = echo_service();
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let error = Admin::bind(address).serve(service.handle()).expect_err(address);
        assert!(matches!(error, AdminError::NeedsToken(_)), "{error}");
        assert!(error.to_string().contains("--admin-token-file"), "{error}");
        assert!(Admin::bind(address).check().is_err(), "{address}");
    }
    for token in
        ["", "short", "with a space in the middle", "with-a-line-feed-in\nthe-middle", "a-tokén-of-letters"]
    {
        let error = Admin::bind("127.0.0.1:0").token(token).listen().expect_err(token);
        assert!(matches!(error, AdminError::Token(_)), "{error}");
    }
    let error = Admin::bind("127.0.0.1:0").token_file("no/such/file").listen().expect_err("no file");
    assert!(error.to_string().contains("no/such/file"), "{error}");
    let error = Admin::bind("127.0.0.1").check().expect_err("no port");
    assert!(matches!(error, AdminError::Address { .. }), "{error}");
    let wide = Admin::bind("0.0.0.0:0").token(TOKEN).serve(service.handle()).expect("it has a token");
    let address = SocketAddr::from(([127, 0, 0, 1], wide.address().port()));
    assert_eq!(get(address, "/metrics").0, 401);
    assert_eq!(with_token(address, "/metrics", "").0, 200);
}

#[test]
fn foreign_requests_are_refused_and_counted() {
    let service = echo_service();
    let admin = Admin::bind("127.0.0.1:0").token(TOKEN).serve(service.handle()).expect("an admin server");
    let address = admin.address();
    assert_eq!(get(address, "/metrics").0, 401, "no token");
    let wrong =
        format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer a-token-for-the-testZ");
    assert_eq!(ask(address, &wrong).0, 401);
    assert_eq!(with_token(address, "/metrics", "\r\nOrigin: http://evil.example").0, 403);
    let rebound = format!("GET /metrics HTTP/1.1\r\nHost: evil.example\r\nAuthorization: Bearer {TOKEN}");
    assert_eq!(ask(address, &rebound).0, 421);
    for path in
        ["/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/metrics/..%2f..%2fetc/passwd", "//metrics", "/x"]
    {
        assert_eq!(get(address, path).0, 401, "{path}");
        assert_eq!(with_token(address, path, ""), (404, "no such page\n".to_owned()), "{path}");
    }
    assert_eq!(with_token(address, &format!("/metrics?{}", "x".repeat(3_000)), "").0, 414);
    let huge = with_token(address, &format!("/metrics?{}", "x".repeat(100_000)), "").0;
    assert!(huge == 414 || huge == 431, "{huge}");
    let headers: String = (0..500).map(|number| format!("\r\nX-{number}: {}", "y".repeat(100))).collect();
    assert_eq!(with_token(address, "/metrics", &headers).0, 431);
    let post = format!(
        "POST /metrics HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 9999999"
    );
    assert_eq!(ask(address, &post).0, 405);
    let (status, page) = with_token(address, "/metrics", "");
    assert_eq!(status, 200);
    for line in ["reason=\"token\"} 7", "reason=\"origin\"} 1", "reason=\"host\"} 1", "reason=\"target\"} 1"]
    {
        assert!(page.contains(&format!("naksi_admin_refused_total{{{line}\n")), "{line} in {page}");
    }
}

#[test]
fn connections_that_say_nothing_are_bounded_in_number_and_in_time() {
    let service = echo_service();
    let admin = Admin::bind("127.0.0.1:0").serve(service.handle()).expect("an admin server");
    let address = admin.address();
    let mut slow: Vec<TcpStream> = (0..200).map(|_| connect(address)).collect();
    for stream in &mut slow {
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: ").ok(); // It may be closed already.
    }
    let mut ended = 0;
    for stream in &mut slow {
        let mut answer = Vec::new();
        // Each ends by itself, whether it was closed at once or at the end of its time.
        stream
            .read_to_end(&mut answer)
            .map_or_else(|error| assert!(error.kind() != std::io::ErrorKind::WouldBlock), drop);
        ended += 1;
    }
    assert_eq!(ended, 200);
    let (status, page) = get(address, "/metrics");
    assert_eq!(status, 200);
    let refused =
        page.lines().find_map(|line| line.strip_prefix("naksi_admin_refused_total{reason=\"connections\"} "));
    let refused: u64 = refused.expect("it is counted").parse().expect("a number");
    assert!((100..=136).contains(&refused), "{refused} of 200 are over the bound of 64");
}

/// Blocks its worker until it is told to go on.
struct Blocking(Arc<Mutex<Receiver<()>>>, Sender<()>);

impl Session for Blocking {
    fn on_recv(&mut self, _: &mut Conn<'_>, data: &[u8]) -> usize {
        self.1.send(()).expect("the test waits");
        self.0.lock().expect("one at a time").recv().ok(); // It goes on when the test does, or has ended.
        data.len()
    }
}

/// A service of which a session blocks a worker: the sender lets it go on.
fn blocked() -> (Service, AdminServer, Sender<()>, TcpStream) {
    let (go_on, goes_on) = channel();
    let (is_blocked, blocked) = channel();
    let goes_on = Arc::new(Mutex::new(goes_on));
    let server = Server::new().listen("127.0.0.1:0").workers(2);
    let make = move || Blocking(Arc::clone(&goes_on), is_blocked.clone());
    let service = server.session(make).start().expect("a service");
    let admin = Admin::bind("127.0.0.1:0").turn_within(Duration::from_millis(200));
    let admin = admin.serve(service.handle()).expect("an admin server");
    assert_eq!(get(admin.address(), "/healthz"), (200, "ok\n".to_owned()), "workers that sleep are well");
    let mut stream = connect(service.addresses()[0]);
    stream.write_all(b"x").expect("it takes the bytes");
    blocked.recv_timeout(PATIENCE).expect("the callback runs");
    (service, admin, go_on, stream)
}

#[test]
fn health_fails_while_a_callback_blocks_a_worker() {
    let (service, admin, go_on, _stream) = blocked();
    let (status, said) = get(admin.address(), "/healthz");
    assert_eq!(status, 503, "{said}");
    assert!(
        said.contains("have not turned for 200ms: 0") || said.contains("have not turned for 200ms: 1"),
        "{said}"
    );
    assert_eq!(get(admin.address(), "/metrics").0, 200, "a blocked worker holds nothing up");
    go_on.send(()).expect("it waits");
    until("it is well again", || get(admin.address(), "/healthz").0 == 200);
    drop(service);
}

#[test]
fn readiness_ends_with_the_first_moment_of_a_stop() {
    let (service, admin, go_on, _stream) = blocked();
    assert_eq!(get(admin.address(), "/readyz"), (200, "ready\n".to_owned()));
    let stop = thread::spawn(move || service.stop(PATIENCE));
    until("it is not ready", || get(admin.address(), "/readyz").0 == 503);
    assert!(!stop.is_finished(), "its worker is still blocked");
    assert_eq!(get(admin.address(), "/healthz").0, 200, "a service that stops is not to be killed for it");
    let (_, page) = get(admin.address(), "/metrics");
    assert!(page.contains("\nnaksi_stopping 1\n"), "{page}");
    go_on.send(()).expect("it waits");
    assert_eq!(stop.join().expect("it stops").live, 0);
    drop(admin);
}

/// The snapshots of a stream of events, as they come.
fn snapshots(address: SocketAddr) -> impl Iterator<Item = serde_json::Value> {
    let mut stream = connect(address);
    write!(stream, "GET /api/events HTTP/1.1\r\nHost: {address}\r\n\r\n").expect("it takes the bytes");
    let lines = std::io::BufRead::lines(std::io::BufReader::new(stream));
    lines.filter_map(|line| serde_json::from_str(line.expect("text").strip_prefix("data: ")?).ok())
}

#[test]
fn the_live_page_is_told_the_numbers_of_the_statistics_every_second() {
    let (service, admin, _streams) = after_load(10);
    let (status, page) = get(admin.address(), "/");
    assert_eq!(status, 200);
    assert!(page.contains("<script src=\"page.js\""), "{page}");
    for path in ["/page.js", "/page.css"] {
        assert_eq!(get(admin.address(), path).0, 200, "{path}");
    }
    let stats = service.stats();
    let (_, once) = get(admin.address(), "/api/stats");
    let once = serde_json::from_str(&once).expect("an object");
    for snapshot in snapshots(admin.address()).take(2).chain([once]) {
        for (name, value) in [
            ("sessions", stats.live),
            ("connected_total", stats.connected_total),
            ("disconnected_total", stats.disconnected_total),
            ("received_bytes", stats.recv_bytes),
            ("sent_bytes", stats.sent_bytes),
            ("held_bytes", stats.held_bytes),
        ] {
            assert_eq!(snapshot[name], value, "{name}");
        }
        let of_workers = snapshot["workers"].as_array().expect("a list");
        let sessions: u64 = of_workers.iter().filter_map(|worker| worker["sessions"].as_u64()).sum();
        assert_eq!((of_workers.len(), sessions), (2, stats.live));
    }
}

#[test]
fn live_pages_are_bounded_in_number_and_need_the_token() {
    let service = echo_service();
    let admin = Admin::bind("127.0.0.1:0").serve(service.handle()).expect("an admin server");
    let address = admin.address();
    let mut open: Vec<_> = (0..16).map(|_| snapshots(address)).collect();
    open.iter_mut().for_each(|events| drop(events.next().expect("an event")));
    assert_eq!(get(address, "/api/events").0, 503);
    assert_eq!(get(address, "/metrics").0, 200, "scrapes go on");
    let (_, page) = get(address, "/metrics");
    assert!(page.contains("naksi_admin_refused_total{reason=\"streams\"} 1\n"), "{page}");
    open.pop();
    until("there is room for another", || snapshots(address).next().is_some());
    let guarded = Admin::bind("127.0.0.1:0").token(TOKEN).serve(service.handle()).expect("an admin server");
    for path in ["/api/events", "/api/stats"] {
        assert_eq!(get(guarded.address(), path).0, 401, "{path}");
    }
    assert_eq!(get(guarded.address(), "/").0, 200, "the empty page asks for the token");
    let foreign = "\r\nOrigin: http://evil.example";
    assert_eq!(with_token(guarded.address(), "/api/events", foreign).0, 403);
}
