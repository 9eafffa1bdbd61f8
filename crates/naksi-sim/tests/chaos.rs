//! An echo server of the engine behind a proxy that treats its connections badly.
//!
//! Clients verify every byte: what comes back is a prefix of what was sent, and all of it unless the proxy
//! tore the connection or ended a direction early. Nothing here measures time.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use naksi::prelude::*;
use naksi_core::prng::Prng;
use naksi_sim::chaos::{Proxy, Weather};

const CLIENTS: u64 = 24;
const CLIENT_BYTES: usize = 48 * 1024;
const PATIENCE: Duration = Duration::from_secs(20);

struct Echo;

impl Session for Echo {
    fn on_recv(&mut self, c: &mut Conn<'_>, data: &[u8]) -> usize {
        c.send(data);
        data.len()
    }
}

/// What became of one client.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Whole,
    CutShort,
}

/// Sends bytes of its own in pieces of its own while it reads them back.
fn client(address: SocketAddr, number: u64) -> Fate {
    let Ok(mut stream) = TcpStream::connect(address) else { return Fate::CutShort };
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a time limit");
    let mut prng = Prng::new(number);
    let whole: Vec<u8> = (0..CLIENT_BYTES).map(|_| prng.next_u64() as u8).collect();
    let (sent, mut writer) = (whole.clone(), stream.try_clone().expect("a descriptor is left"));
    let writing = thread::spawn(move || {
        let mut rest = &sent[..];
        while !rest.is_empty() {
            let length = (1 + prng.below(3000) as usize).min(rest.len());
            if writer.write_all(&rest[..length]).is_err() {
                return;
            }
            rest = &rest[length..];
        }
    });
    let mut back = vec![0; CLIENT_BYTES];
    let mut read = 0;
    while read < CLIENT_BYTES {
        match stream.read(&mut back[read..]) {
            Ok(0) => break,
            Ok(length) => read += length,
            Err(error) => {
                let kind = error.kind();
                assert_eq!(kind, std::io::ErrorKind::ConnectionReset, "client {number} after {read} bytes");
                break;
            }
        }
    }
    assert!(back[..read] == whole[..read], "client {number}: the bytes changed on their way");
    stream.shutdown(Shutdown::Both).ok(); // the writer may be stuck without a reader
    writing.join().expect("the writer does not panic");
    if read == CLIENT_BYTES { Fate::Whole } else { Fate::CutShort }
}

/// Runs a crowd through one weather. Returns how many were cut short, and how often the proxy did that.
fn crowd(backend: Backend, weather: Weather, seed: u64) -> (u64, u64) {
    let server = Server::new().backend(backend).listen("127.0.0.1:0").workers(2);
    let service = server.session(|| Echo).start().expect("it can be served here");
    let proxy = Proxy::start(service.addresses()[0], weather, seed).expect("a port is left");
    let address = proxy.address();
    let clients: Vec<_> = (0..CLIENTS).map(|number| thread::spawn(move || client(address, number))).collect();
    let fates: Vec<Fate> = clients.into_iter().map(|one| one.join().expect("every byte is right")).collect();
    let damage = proxy.damage();
    assert_eq!(damage.connections.load(Ordering::Relaxed), CLIENTS);
    let torn = damage.resets.load(Ordering::Relaxed) + damage.half_closes.load(Ordering::Relaxed);
    println!("{:?}: {damage:?}", service.backend());
    drop(proxy);
    let stats = service.stop(PATIENCE);
    // A connection that was reset while it waited to be accepted need not have become a session.
    assert!(stats.connected_total <= CLIENTS && stats.connected_total + torn >= CLIENTS, "{stats}");
    assert_eq!((stats.disconnected_total, stats.live), (stats.connected_total, 0), "{stats}");
    assert_eq!((stats.leases_out, stats.in_flight, stats.handler_panics), (0, 0, 0));
    (fates.iter().filter(|fate| **fate == Fate::CutShort).count() as u64, torn)
}

fn bad_networks(backend: Backend) {
    let millis = Duration::from_millis;
    let late = Weather { delay: millis(1), jitter: millis(3), ..Weather::default() };
    let cut = Weather { split_bytes_max: 7, ..Weather::default() };
    let joined = Weather { coalesce: millis(4), stall_chance: 8192, stall: millis(30), ..Weather::default() };
    let slow = Weather { bytes_per_second: 200_000, split_bytes_max: 100, ..Weather::default() };
    for (seed, weather) in [late, cut, joined, slow].into_iter().enumerate() {
        assert_eq!(crowd(backend, weather, seed as u64), (0, 0), "no session is torn in this weather");
    }
    let torn = Weather { reset_chance: 3000, jitter: millis(1), split_bytes_max: 500, ..Weather::default() };
    let ended = Weather { half_close_chance: 3000, jitter: millis(1), ..Weather::default() };
    for (seed, weather) in [torn, ended].into_iter().enumerate() {
        let (cut_short, damage) = crowd(backend, weather, seed as u64);
        assert!(damage > 0, "the weather was too good");
        assert!(cut_short <= damage, "{cut_short} were cut short, and the proxy tore only {damage}");
    }
}

#[test]
fn every_byte_is_right_on_bad_networks() {
    bad_networks(Backend::Auto);
}

#[cfg(target_os = "linux")]
#[test]
fn every_byte_is_right_on_bad_networks_with_epoll() {
    bad_networks(Backend::Epoll);
}
