//! What stalled readers cost the others. Run `cargo run --release -p naksi --example stalled -- 5 12 2`: of 500
//! players in one room, 5 stop reading in one half of each of 12 rounds, for 2 seconds. It prints the age of values
//! when the other players receive them, with and without the stall, and the memory of all sessions; and it fails
//! unless each player that resumes gets exactly the latest value of every key. With 0 no player stalls, and the ratio
//! shows the noise of the machine.
use naksi::packets::decode;
use naksi::prelude::*;

use hdrhistogram::Histogram;
use std::collections::HashMap;
use std::io::{BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

/// Players of the room, including those that stall.
const PLAYERS: usize = 500;
/// Values of the room; as many players change one each.
const KEYS: usize = 50;
/// Time between two changes of a key: 100 changes a second, 50,000 deliveries.
const PERIOD: Duration = Duration::from_millis(500);
/// Filler of a value beside its number; all keys together fit the droppable queue.
const FILLER_BYTES: usize = 500;
/// A member that misses a value gets the next one; one that stalls gets the latest of each key.
const VALUES: PacketClass = PacketClass { number: 1, lag_policy: LagPolicy::Latest };
const PATIENCE: Duration = Duration::from_secs(20);

packets! { WORLD {
    1 => Hello {}
    2 => Put { key: u32, value: u64, due_us: u64, filler: String }
    3 => Fill {}
    4 => Noise { filler: String }
} }

/// The latest value of each key, as one member knows them; 0 means none.
type Known = Arc<Vec<AtomicU64>>;

/// Counters of the room, its sessions and the players.
struct Books {
    truth: Known,
    /// No value changes.
    frozen: AtomicBool,
    /// Whether the stalled players have stopped reading.
    stalled: AtomicBool,
    said: AtomicU64,
    heard: AtomicU64,
    noise: AtomicU64,
    ages_us: Mutex<Histogram<u64>>,
    /// What each session of the server holds, in bytes.
    held: Mutex<Vec<Arc<AtomicUsize>>>,
    /// Values that came after a newer one of their key, or that are invalid.
    wrong: AtomicU64,
}

impl Books {
    fn new() -> Self {
        Self {
            truth: nothing_known(),
            frozen: AtomicBool::new(false),
            stalled: AtomicBool::new(false),
            said: AtomicU64::new(0),
            heard: AtomicU64::new(0),
            noise: AtomicU64::new(0),
            ages_us: Mutex::new(Histogram::new_with_max(60_000_000, 3).expect("a minute fits three digits")),
            held: Mutex::default(),
            wrong: AtomicU64::new(0),
        }
    }

    /// A member receives a value. Returns its age, or counts it as wrong.
    fn learn(&self, known: &[AtomicU64], packet: Packet<'_>) -> Option<Duration> {
        let put = decode::<Put>(packet.body).ok().filter(|put| packet.id == Put::ID && put.key < KEYS as u32);
        let Some(put) = put.filter(|put| known[put.key as usize].swap(put.value, SeqCst) < put.value) else {
            self.wrong.fetch_add(1, SeqCst);
            return None;
        };
        Some(naksi_os::now().since(Tick::from_nanos(put.due_us * 1000)))
    }

    /// Bytes that all sessions of the server hold together.
    fn held_bytes(&self) -> usize {
        self.held.lock().expect("not poisoned").iter().map(|held| held.load(SeqCst)).sum()
    }
}

fn nothing_known() -> Known {
    Arc::new((0..KEYS).map(|_| AtomicU64::new(0)).collect())
}

/// Keeps the values, and broadcasts each change at once.
struct World(Arc<Books>);

impl Room for World {
    type Member = ();

    fn routes(routes: &mut Routes<Self>) {
        routes.on(|_: &mut Self, _: &mut Cx<'_, Self>, _, _: Hello| {});
        routes.on(Self::put);
    }
}

impl World {
    fn put(&mut self, cx: &mut Cx<'_, Self>, _from: SessionId, put: Put) {
        self.0.truth[put.key as usize % KEYS].store(put.value, SeqCst);
        cx.broadcast_droppable(VALUES, u64::from(put.key), &put);
        self.0.heard.fetch_add(1, SeqCst);
    }
}

/// A session of the server, which is in the room and reports what it holds.
struct Member {
    counters: Arc<Books>,
    room: Arc<OnceLock<RoomRef<World>>>,
    held: Arc<AtomicUsize>,
    fills: bool,
}

impl Member {
    /// Sends filler until the kernel takes no more: a game would need long to fill the kernel's buffers of a stalled
    /// reader.
    fn fill(&mut self, c: &mut Conn<'_>) {
        self.fills &= self.counters.stalled.load(SeqCst);
        if self.fills && c.pending().bytes == 0 {
            c.send_message(&Noise { filler: "x".repeat(16_000) });
            self.counters.noise.fetch_add(1, SeqCst);
        }
    }
}

impl Session for Member {
    const FRAMING: Framing = Framing::Packets;

    fn on_connected(&mut self, c: &mut Conn<'_>) {
        c.join_room(self.room.get().expect("it is open before anybody comes"), ());
        self.on_timer(c, 0);
    }

    fn on_packet(&mut self, c: &mut Conn<'_>, packet: Packet<'_>) {
        if packet.id == Fill::ID {
            self.fills = true;
            return self.fill(c);
        }
        c.room_send_packet(self.room.get().expect("it is open"), packet);
    }

    fn on_sent(&mut self, c: &mut Conn<'_>, _bytes: usize) {
        self.fill(c);
    }

    fn on_timer(&mut self, c: &mut Conn<'_>, tag: u32) {
        let pending = c.pending();
        self.held.store(pending.bytes + pending.data_bytes, SeqCst);
        c.after(Duration::from_millis(100), tag);
    }
}

/// A player that always reads; the first ones change a value each.
struct Player {
    counters: Arc<Books>,
    known: Known,
    key: Option<u32>,
    due: Tick,
    value: u64,
}

impl Session for Player {
    const FRAMING: Framing = Framing::Packets;

    fn on_connected(&mut self, c: &mut Conn<'_>) {
        c.send_message(&Hello {});
        if let Some(key) = self.key {
            self.due = c.now() + PERIOD * key / KEYS as u32;
            c.after(self.due.since(c.now()), 0);
        }
    }

    fn on_timer(&mut self, c: &mut Conn<'_>, tag: u32) {
        if let Some(key) = self.key.filter(|_| !self.counters.frozen.load(SeqCst)) {
            self.value += 1;
            let due_us = self.due.nanos() / 1000;
            self.counters.said.fetch_add(1, SeqCst);
            c.send_message(&Put { key, value: self.value, due_us, filler: "x".repeat(FILLER_BYTES) });
        }
        self.due = self.due + PERIOD;
        c.after(self.due.since(c.now()), tag);
    }

    fn on_packet(&mut self, _c: &mut Conn<'_>, packet: Packet<'_>) {
        if let Some(age) = self.counters.learn(&self.known, packet) {
            let mut ages_us = self.counters.ages_us.lock().expect("not poisoned");
            ages_us.saturating_record(age.as_micros() as u64);
        }
    }
}

/// A player that does not read while `stalled` is set.
struct Staller {
    stream: TcpStream,
    known: Known,
    /// Values that it received.
    told: Arc<AtomicU64>,
    thread: std::thread::JoinHandle<()>,
}

impl Staller {
    fn new(address: SocketAddr, counters: &Arc<Books>) -> std::io::Result<Self> {
        let mut stream = TcpStream::connect(address)?;
        stream.write_all(&packets::encode(&Hello {}).expect("it fits a frame"))?;
        let (known, told) = (nothing_known(), Arc::new(AtomicU64::new(0)));
        let (mut reader, counters) =
            (BufReader::with_capacity(1024, stream.try_clone()?), Arc::clone(counters));
        let (mine, count) = (Arc::clone(&known), Arc::clone(&told));
        let thread = std::thread::spawn(move || {
            let mut frame = Vec::new();
            while read_frame(&mut reader, &mut frame).is_ok() {
                let id = u16::from_le_bytes([frame[2], frame[3]]);
                if id != Noise::ID {
                    counters.learn(&mine, Packet { id, body: &frame[4..], frame: &frame });
                    count.fetch_add(1, SeqCst);
                }
                while counters.stalled.load(SeqCst) {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        });
        Ok(Self { stream, known, told, thread })
    }

    /// Has the kernel's buffers filled, so that its stall begins.
    fn fill(&self) {
        let fill = packets::encode(&Fill {}).expect("it fits a frame");
        (&self.stream).write_all(&fill).expect("the server reads");
    }
}

fn read_frame(reader: &mut impl Read, frame: &mut Vec<u8>) -> std::io::Result<()> {
    frame.resize(4, 0);
    reader.read_exact(frame)?;
    frame.resize(usize::from(u16::from_le_bytes([frame[0], frame[1]])).max(4), 0);
    reader.read_exact(&mut frame[4..])
}

/// What one half of a round showed.
struct Half {
    p50_us: u64,
    p99_us: u64,
    held_bytes_max: usize,
    /// Of how many values those who stalled were spared how many.
    said: u64,
    spared: u64,
    /// Players that resumed and did not get the latest value of every key.
    behind: usize,
}

/// One half of a round: all members play, some stall or none do, then all are silent and the stalled ones resume.
fn play(counters: &Books, stallers: &[Staller], stall: bool, span: Duration) -> Half {
    let told = || stallers.iter().map(|staller| staller.told.load(SeqCst)).sum::<u64>();
    let (said, told_before) = (counters.said.load(SeqCst), told());
    counters.stalled.store(stall, SeqCst);
    if stall {
        stallers.iter().for_each(Staller::fill);
        let mut noise = u64::MAX;
        while std::mem::replace(&mut noise, counters.noise.load(SeqCst)) != noise {
            std::thread::sleep(Duration::from_millis(300));
        }
    }
    counters.frozen.store(false, SeqCst);
    counters.ages_us.lock().expect("not poisoned").reset();
    let (begun, mut held_bytes_max) = (Instant::now(), 0);
    while begun.elapsed() < span {
        std::thread::sleep(Duration::from_millis(20));
        held_bytes_max = held_bytes_max.max(counters.held_bytes());
    }
    counters.frozen.store(true, SeqCst);
    until(|| {
        std::thread::sleep(Duration::from_millis(50));
        counters.said.load(SeqCst) == counters.heard.load(SeqCst)
    });
    let (p50_us, p99_us) = {
        let ages_us = counters.ages_us.lock().expect("not poisoned");
        (ages_us.value_at_quantile(0.5), ages_us.value_at_quantile(0.99))
    };
    counters.stalled.store(false, SeqCst);
    let knows_all = |staller: &&Staller| {
        (0..KEYS).all(|key| staller.known[key].load(SeqCst) == counters.truth[key].load(SeqCst))
    };
    until(|| stallers.iter().all(|staller| knows_all(&staller)) && counters.held_bytes() == 0);
    let behind = stallers.iter().filter(|staller| !knows_all(staller)).count();
    let said = (counters.said.load(SeqCst) - said) * stallers.len() as u64;
    Half { p50_us, p99_us, held_bytes_max, said, spared: said.saturating_sub(told() - told_before), behind }
}

/// Waits until something holds, or until a generous timeout.
fn until(mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() && begun.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A server with the room, and the memory limit of one of its sessions.
fn serve(counters: &Arc<Books>) -> naksi::Result<(Service, usize)> {
    let hour = Duration::from_secs(3600);
    let limits = Limits { idle_within: hour, send_stall_within: hour, ..Limits::default() };
    let cap_bytes = limits.send_queue_bytes_max + limits.data_bytes_max;
    let room = Arc::new(OnceLock::new());
    let (service, books_of_all) = (Arc::clone(&room), Arc::clone(counters));
    let service = Server::from_env()?
        .listen("127.0.0.1:0")
        .limits(limits)
        .session(move || {
            let held = Arc::<AtomicUsize>::default();
            let counters = Arc::clone(&books_of_all);
            counters.held.lock().expect("not poisoned").push(Arc::clone(&held));
            Member { counters, room: Arc::clone(&service), held, fills: false }
        })
        .start()?;
    let world = service.handle().open_room(World(Arc::clone(counters)), RoomOptions::new())?;
    room.set(world).expect("it is opened once");
    Ok((service, cap_bytes))
}

/// The players that always read.
fn crowd(address: SocketAddr, players: usize, counters: &Arc<Books>) -> naksi::Result<Service> {
    let counters = Arc::clone(counters);
    let hour = Duration::from_secs(3600);
    Client::new(address)
        .connections(players as u32)
        .limits(Limits { idle_within: hour, ..Limits::default() })
        .session_with(move |arrival: &ConnectionInfo| {
            let key = (arrival.index < KEYS as u64).then_some(arrival.index as u32);
            let counters = Arc::clone(&counters);
            Player { counters, known: nothing_known(), key, due: Tick::ZERO, value: 0 }
        })
        .start()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let numbers: Vec<usize> = std::env::args().skip(1).filter_map(|number| number.parse().ok()).collect();
    let number = |place, default| numbers.get(place).copied().unwrap_or(default);
    let (stalling, rounds, secs) =
        (number(0, 5).min(PLAYERS - KEYS), number(1, 12).max(1), number(2, 2).max(1));
    let counters = Arc::new(Books::new());
    let (service, cap_bytes) = serve(&counters)?;
    let address = service.addresses()[0];
    let stallers = (0..stalling).map(|_| Staller::new(address, &counters)).collect::<Result<Vec<_>, _>>()?;
    let players = crowd(address, PLAYERS - stalling, &counters)?;
    until(|| counters.held.lock().expect("not poisoned").len() == PLAYERS);
    let (workers, backend) = (service.workers(), service.backend());
    println!("{PLAYERS} players, {stalling} of them stall; backend={backend} workers={workers}");
    // State that the first exchange of a session allocates is allocated before anything is measured.
    play(&counters, &stallers, false, Duration::from_secs(1));
    let (mut ratios, mut failures) = (Vec::new(), HashMap::new());
    for round in 1..=rounds {
        // Alternately, so that a change of the machine's speed affects both.
        let halves = [round % 2 == 0, round % 2 == 1].map(|stall| {
            let half = play(&counters, &stallers, stall, Duration::from_secs(secs as u64));
            (stall, half)
        });
        let of = |wanted| &halves.iter().find(|(stall, _)| *stall == wanted).expect("one of each").1;
        let (with, without) = (of(true), of(false));
        ratios.push(with.p99_us as f64 / without.p99_us.max(1) as f64);
        println!(
            "round {round}: p50 {} us, p99 {} us with, {} us, {} us without; held {} KiB with, {} KiB without; {} of {} values \
             spared, {} resumed behind",
            with.p50_us,
            with.p99_us,
            without.p50_us,
            without.p99_us,
            with.held_bytes_max / 1024,
            without.held_bytes_max / 1024,
            with.spared,
            with.said,
            with.behind,
        );
        let mut note =
            |what: &'static str, failed: bool| *failures.entry(what).or_insert(0) += u32::from(failed);
        note("did not show a stall: let it last longer", stalling > 0 && with.spared == 0);
        note("had a member resume without the latest of every key", with.behind + without.behind > 0);
        note(
            "had more held than a cap for each who stalled",
            stalling > 0 && with.held_bytes_max > stalling * cap_bytes,
        );
    }
    ratios.sort_by(f64::total_cmp);
    let (least, most, caps) = (ratios[0], ratios[ratios.len() - 1], stalling * cap_bytes / 1024);
    let median = (ratios[(ratios.len() - 1) / 2] + ratios[ratios.len() / 2]) / 2.0;
    println!(
        "p99 with ÷ without: median {median:.2} ({least:.2} to {most:.2}); {stalling} caps are {caps} KiB"
    );
    let ended = service.stats().ended;
    for staller in stallers {
        staller.stream.shutdown(Shutdown::Both)?;
        staller.thread.join().expect("a reader does not panic");
    }
    players.stop(Duration::from_secs(1));
    service.stop(Duration::from_secs(1));
    failures.insert("values came that should not have", counters.wrong.load(SeqCst) as u32);
    failures.insert("sessions ended before their time", ended.values().sum::<u64>() as u32);
    failures.retain(|_, count| *count > 0);
    if failures.is_empty() { Ok(()) } else { Err(format!("failed: {failures:?}").into()) }
}
