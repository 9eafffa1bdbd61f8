//! A proxy that treats connections as bad networks do: late, cut, joined, stalled, torn.
//!
//! Two threads for each connection carry the bytes and never change or reorder them; everything else is
//! theirs to spoil, by a seed. An end travels through in its own direction only, so that half-closed
//! connections stay so. Knows no protocol and no engine.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use naksi_core::prng::Prng;

/// Most bytes that are carried at a time.
const CARRY_BYTES: usize = 16 * 1024;
/// How long the proxy tries to hand bytes to a side that does not read.
const PATIENCE: Duration = Duration::from_secs(5);

/// What happens to the bytes. Chances are in 65,536 parts of each time bytes are carried.
#[derive(Clone, Debug, Default)]
pub struct Weather {
    /// Every run of bytes is this late.
    pub delay: Duration,
    /// And up to this much later.
    pub jitter: Duration,
    /// Runs are cut into pieces of at most this many bytes; 0 leaves them whole.
    pub split_bytes_max: usize,
    /// Bytes are collected for so long before they go on together.
    pub coalesce: Duration,
    /// How likely a run waits for `stall`.
    pub stall_chance: u16,
    /// How long a stalled run waits.
    pub stall: Duration,
    /// How likely the connection is reset, for both sides, with bytes in the air.
    pub reset_chance: u16,
    /// How likely one direction says its end early, while the other goes on.
    pub half_close_chance: u16,
    /// Bytes a second in each direction; 0 is no limit.
    pub bytes_per_second: u64,
}

/// What the weather has done.
#[derive(Debug, Default)]
pub struct Damage {
    /// Connections taken.
    pub connections: AtomicU64,
    /// Connections reset.
    pub resets: AtomicU64,
    /// Directions that were ended early.
    pub half_closes: AtomicU64,
    /// Runs that stalled.
    pub stalls: AtomicU64,
    /// Runs that were cut into pieces.
    pub splits: AtomicU64,
    /// Bytes carried.
    pub bytes: AtomicU64,
}

/// A proxy at work; dropping it ends it.
pub struct Proxy {
    address: SocketAddr,
    damage: Arc<Damage>,
    ended: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Proxy({})", self.address)
    }
}

/// One connection: both sockets, shared by the two threads that carry.
struct Link {
    sides: [TcpStream; 2],
    torn: AtomicBool,
    damage: Arc<Damage>,
    weather: Weather,
}

impl Proxy {
    /// Stands before `upstream` on a port of the system's choice.
    ///
    /// # Errors
    /// No port or no descriptor left.
    pub fn start(upstream: SocketAddr, weather: Weather, seed: u64) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let (damage, ended) = (Arc::new(Damage::default()), Arc::new(AtomicBool::new(false)));
        let (damage_there, ended_there) = (Arc::clone(&damage), Arc::clone(&ended));
        let accepting = thread::spawn(move || {
            let carriers = Mutex::new(Vec::new());
            for (number, client) in listener.incoming().enumerate() {
                if ended_there.load(Ordering::Acquire) {
                    break;
                }
                let Ok(client) = client else { continue };
                let seed = seed ^ (number as u64) << 8;
                if let Ok(pair) = link(client, upstream, &weather, &damage_there, seed) {
                    carriers.lock().unwrap_or_else(PoisonError::into_inner).extend(pair);
                }
            }
            let carriers = carriers.into_inner().unwrap_or_else(PoisonError::into_inner);
            for carrier in carriers {
                carrier.join().ok(); // a carrier that panicked has closed its sockets
            }
        });
        Ok(Self { address, damage, ended, accepting: Some(accepting) })
    }

    /// Where clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What has happened so far.
    pub fn damage(&self) -> &Damage {
        &self.damage
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
        TcpStream::connect(self.address).ok(); // wakes the accepting thread; if it is gone, it needs no waking
        if let Some(accepting) = self.accepting.take() {
            accepting.join().ok(); // its panic would have been printed already
        }
    }
}

/// Connects to the other side and starts to carry in both directions.
fn link(
    client: TcpStream,
    upstream: SocketAddr,
    weather: &Weather,
    damage: &Arc<Damage>,
    seed: u64,
) -> io::Result<[JoinHandle<()>; 2]> {
    let server = TcpStream::connect(upstream)?;
    for side in [&client, &server] {
        side.set_nodelay(true)?;
        side.set_write_timeout(Some(PATIENCE))?;
    }
    damage.connections.fetch_add(1, Ordering::Relaxed);
    let link = Arc::new(Link {
        sides: [client, server],
        torn: AtomicBool::new(false),
        damage: Arc::clone(damage),
        weather: weather.clone(),
    });
    Ok([0, 1].map(|from| {
        let link = Arc::clone(&link);
        thread::spawn(move || link.carry(from, &mut Prng::new(seed + from as u64)))
    }))
}

impl Link {
    /// Carries one direction to its end. The last of the two threads closes both sockets by dropping them.
    fn carry(&self, from: usize, prng: &mut Prng) {
        let (mut source, mut sink) = (&self.sides[from], &self.sides[1 - from]);
        let mut buffer = vec![0; CARRY_BYTES];
        loop {
            thread::sleep(self.weather.coalesce);
            let length = match source.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => length,
                Err(_) => return self.tear(),
            };
            if self.strikes(self.weather.reset_chance, prng, &self.damage.resets) {
                return self.tear();
            }
            self.dawdle(length, prng);
            if self.pieces(length).try_for_each(|piece| sink.write_all(&buffer[piece])).is_err() {
                return self.tear();
            }
            self.damage.bytes.fetch_add(length as u64, Ordering::Relaxed);
            if self.strikes(self.weather.half_close_chance, prng, &self.damage.half_closes) {
                break;
            }
        }
        if !self.torn.load(Ordering::Acquire) {
            sink.shutdown(Shutdown::Write).ok(); // a socket that is gone has ended already
        }
        // A side that still sends is read to the end, so that nothing unread turns the end into a reset.
        while matches!(source.read(&mut buffer), Ok(1..)) {}
    }

    fn dawdle(&self, length: usize, prng: &mut Prng) {
        let jitter = self.weather.jitter.as_micros() as u64;
        let late = if jitter > 0 { Duration::from_micros(prng.below(jitter)) } else { Duration::ZERO };
        thread::sleep(self.weather.delay + late);
        if self.strikes(self.weather.stall_chance, prng, &self.damage.stalls) {
            thread::sleep(self.weather.stall);
        }
        if let Some(micros) = (length as u64 * 1_000_000).checked_div(self.weather.bytes_per_second) {
            thread::sleep(Duration::from_micros(micros));
        }
    }

    fn pieces(&self, length: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
        let size = if self.weather.split_bytes_max == 0 { length } else { self.weather.split_bytes_max };
        if size < length {
            self.damage.splits.fetch_add(1, Ordering::Relaxed);
        }
        (0..length).step_by(size.max(1)).map(move |start| start..(start + size).min(length))
    }

    fn strikes(&self, chance: u16, prng: &mut Prng, counter: &AtomicU64) -> bool {
        let struck = chance > 0 && prng.chance(chance);
        counter.fetch_add(u64::from(struck), Ordering::Relaxed);
        struck
    }

    /// Both sides hear a reset when the sockets are closed; until then no side is left waiting in a read.
    fn tear(&self) {
        self.torn.store(true, Ordering::Release);
        for side in &self.sides {
            socket2::SockRef::from(side).set_linger(Some(Duration::ZERO)).ok(); // a dead socket needs none
            side.shutdown(Shutdown::Read).ok(); // likewise
        }
    }
}
