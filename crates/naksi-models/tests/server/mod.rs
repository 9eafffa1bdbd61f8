//! A server of one model on a thread of its own, and blocking clients that check every byte.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use naksi_models::{Model, Site};

/// Long enough for a busy machine; only a server that never answers takes so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A server that stops when it is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) site: Arc<Site>,
    thread: Option<JoinHandle<std::io::Result<()>>>,
}

impl Server {
    pub(crate) fn start(model: &'static Model, site: Site) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("its address");
        let site = Arc::new(site);
        let inner = Arc::clone(&site);
        let thread = thread::spawn(move || (model.serve)(listener, &inner));
        Self { address, site, thread: Some(thread) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.site.stop(self.address);
        let result = self.thread.take().expect("it is dropped once").join();
        if !thread::panicking() {
            result.expect("the server does not panic").expect("the server ends well");
        }
    }
}

/// A client that gives up instead of hanging.
pub(crate) fn client(address: SocketAddr) -> TcpStream {
    let client = TcpStream::connect(address).expect("the server listens");
    client.set_nodelay(true).expect("the option is there");
    client.set_read_timeout(Some(PATIENCE)).expect("the option is there");
    client.set_write_timeout(Some(PATIENCE)).expect("the option is there");
    client
}

/// A message there and back.
pub(crate) fn exchange(client: &mut TcpStream, message: &[u8]) {
    client.write_all(message).expect("the message is sent");
    let mut back = vec![0; message.len()];
    client.read_exact(&mut back).expect("the echo arrives");
    assert!(back == message, "the echo is the message");
}

/// Bytes that differ from place to place and from seed to seed.
pub(crate) fn pattern(bytes: usize, seed: usize) -> Vec<u8> {
    (0..bytes).map(|place| (place.wrapping_mul(31) ^ (place >> 8) ^ seed.wrapping_mul(7)) as u8).collect()
}
