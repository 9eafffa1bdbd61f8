//! Tests of the engine on each of the system's ports, with clients made of plain sockets.
//!
//! Every test is bounded by [`until`]; none measures time. The tests are in `suite.rs` and its modules, and are
//! included here once per backend, so that the name of a failed test contains the backend.

#[cfg(target_os = "linux")]
#[path = "suite.rs"]
mod epoll;
#[cfg(windows)]
#[path = "suite.rs"]
mod iocp;
#[cfg(target_os = "linux")]
#[path = "suite.rs"]
mod uring;

/// The default backend: here it is one of those above, and inside `refused` it is epoll.
#[path = "suite.rs"]
mod auto;
#[cfg(target_os = "linux")]
mod little_memory;
#[cfg(target_os = "linux")]
mod refused;
#[path = "../../../naksi-os/tests/support/scale.rs"]
mod scale;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use naksi::prelude::*;
use scale::scaled;

/// How long anything may take before a test is lost.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for something to become true.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "waited in vain for: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the server accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a time limit");
    // Not every system wakes a thread that is blocked in a write when the peer resets.
    stream.set_write_timeout(Some(PATIENCE)).expect("a socket takes a time limit");
    stream.set_nodelay(true).expect("a socket takes TCP_NODELAY");
    stream
}

/// Reads exactly this many bytes.
fn read(stream: &mut TcpStream, bytes: usize) -> Vec<u8> {
    let mut buffer = vec![0; bytes];
    stream.read_exact(&mut buffer).expect("the server answers");
    buffer
}

/// Reads to the end; a reset counts as one.
fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut buffer = Vec::new();
    match stream.read_to_end(&mut buffer) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
        Err(error) => panic!("the server neither answers nor ends: {error}"),
    }
    buffer
}

fn write(stream: &mut TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).expect("the server reads");
}

fn frame(id: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = naksi_core::frame::header(id, body.len()).expect("a short body").to_vec();
    bytes.extend_from_slice(body);
    bytes
}

/// Sends everything back.
struct Echo;

impl Session for Echo {
    fn on_recv(&mut self, c: &mut Conn<'_>, data: &[u8]) -> usize {
        c.send(data);
        data.len()
    }
}
