//! The ladder under memory pressure, step by step, in a world where nothing goes wrong by chance.
//!
//! Peers ask for so many bytes and read when they are told to; everything is counted, and nothing is measured.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use naksi::Stats;
use naksi::engine::ServiceCore;
use naksi::engine::Worker;
use naksi::prelude::*;
use naksi_os::port::{ListenOptions, Port as _, PortOptions};
use naksi_sim::kernel::fault::Dialect;
use naksi_sim::kernel::peer::{Peer, PeerEvent, PeerId, PeerIo};
use naksi_sim::kernel::port::SimPort;
use naksi_sim::kernel::world::{World, WorldOptions};

const MOST: usize = 1_000_000;
/// A nudge with this bit is a word to read so many bytes; one without it asks for them.
const READ: u32 = 1 << 31;

/// And one with this bit asks for them for everybody.
const ALL: u32 = 1 << 30;

/// And one with this bit asks for as many for each, which no other member refers to.
const EACH: u32 = 1 << 29;

type Make = fn(&ConnectionInfo) -> Talker;

/// Sends as many bytes as it is asked for: to the guest that asks, to all of them, or to each of them apart. It has a
/// topic of its own: that of so many on its worker.
struct Talker(u64);

/// The topic of a worker's session with this number.
fn topic_of(worker: u64, number: u64) -> u64 {
    2 + worker * 1000 + number
}

impl Session for Talker {
    fn on_connected(&mut self, c: &mut Conn<'_>) {
        let (everybody, own) = (c.topic(1), c.topic(self.0));
        c.join(&everybody);
        c.join(&own);
    }

    fn on_recv(&mut self, c: &mut Conn<'_>, data: &[u8]) -> usize {
        let Some(number) = data.first_chunk() else { return 0 };
        let word = u32::from_le_bytes(*number);
        let bytes = vec![7; (word & !(ALL | EACH)) as usize];
        if word & EACH != 0 {
            for worker in 0..2 {
                let topics = (0..).map(|number| c.topic(topic_of(worker, number)));
                let topics: Vec<_> = topics.take_while(|topic| topic.members() > 0).collect();
                topics.iter().for_each(|topic| assert_eq!(c.broadcast(topic, &bytes), SendStatus::Queued));
            }
        } else if word & ALL != 0 {
            let everybody = c.topic(1);
            c.broadcast(&everybody, &bytes);
        } else {
            c.send(&bytes);
        }
        number.len()
    }
}

/// What has become of a guest.
#[derive(Default)]
struct Fate {
    read_bytes: Cell<usize>,
    over: Cell<bool>,
}

struct Guest(Rc<Fate>);

impl Peer for Guest {
    fn on_event(&mut self, io: &mut PeerIo<'_>, event: PeerEvent) {
        match event {
            PeerEvent::Timer(number) if number & READ != 0 => {
                let read = io.read((number & !READ) as usize).len();
                self.0.read_bytes.set(self.0.read_bytes.get() + read);
            }
            PeerEvent::Timer(number) => assert_eq!(io.write(&number.to_le_bytes()), 4),
            PeerEvent::Refused | PeerEvent::Closed | PeerEvent::Reset => self.0.over.set(true),
            PeerEvent::Connected | PeerEvent::Readable | PeerEvent::Writable => {}
        }
    }
}

struct Stage {
    world: World,
    service_core: Arc<ServiceCore<SimPort>>,
    workers: Vec<Worker<SimPort, Make>>,
    address: SocketAddr,
}

impl Stage {
    fn open(dialect: Dialect, workers: usize, memory_bytes_max: usize) -> Self {
        let world = World::new(WorldOptions { seed: 7, dialect, ..WorldOptions::default() });
        let address = "10.0.0.9:7777".parse().expect("an address");
        let limits = Limits {
            memory_bytes_max,
            send_queue_bytes_max: MOST,
            send_queue_high_bytes: MOST,
            connections_per_address_max: 1000,
            ..Limits::default()
        };
        let service_core = Arc::new(ServiceCore::new(workers, limits));
        let make: Arc<Make> = Arc::new(|arrival| Talker(topic_of(arrival.worker as u64, arrival.index)));
        let mut listeners = vec![address];
        let workers = (0..workers).map(|index| {
            let mut port = world.open_port(&PortOptions::default());
            let listener = listeners
                .pop()
                .map(|address| port.listen(address, &ListenOptions::default()).expect("a free address").0);
            let mut worker = Worker::new(index, port, Arc::clone(&service_core), Arc::clone(&make));
            listener.into_iter().for_each(|listener| worker.add_listener(listener));
            worker
        });
        let workers = workers.collect();
        service_core.begin();
        Self { world, service_core, workers, address }
    }

    /// Lets the world go on for so long.
    fn pass(&mut self, span: Duration) {
        let until = self.world.now() + span;
        self.world.wake_at(until);
        while self.world.now() < until {
            while let Some(worker) = self.workers.iter_mut().find(|worker| worker.port().is_runnable()) {
                worker.turn().expect("a simulated port does not break");
            }
            self.world.advance();
        }
    }

    fn come(&mut self) -> (PeerId, Rc<Fate>) {
        let fate = Rc::new(Fate::default());
        let id = self.world.dial(self.address, Box::new(Guest(Rc::clone(&fate))), self.world.now());
        self.pass(Duration::from_millis(20));
        (id, fate)
    }

    fn nudge(&mut self, guest: PeerId, number: u32) {
        self.world.nudge(guest, number);
        self.pass(Duration::from_millis(20));
    }

    /// Has a guest, for whom the kernels hold as much as they can already, ask for what brings all to so many
    /// thousandths.
    fn fill(&mut self, guest: PeerId, thousandths: usize) {
        let wanted = MOST / 1000 * thousandths;
        let held = self.stats().held_bytes as usize;
        assert!(held < wanted, "{held} bytes are held already");
        self.nudge(guest, (wanted - held) as u32);
    }

    fn stats(&self) -> Stats {
        self.service_core.stats()
    }

    fn pressed(&self) -> u64 {
        let ended = self.stats().ended.get("memory_pressure").copied().unwrap_or(0);
        assert_eq!(ended, self.stats().relieved_total);
        ended
    }
}

#[test]
fn the_door_closes_first_and_then_whoever_holds_most_goes_and_the_others_lose_nothing() {
    for dialect in Dialect::ALL {
        let mut stage = Stage::open(dialect, 1, MOST);
        let asked = [100_000, 400_000, 300_000, 50_000];
        let guests: Vec<_> = (0..4).map(|_| stage.come()).collect();
        for ((guest, _), bytes) in guests.iter().zip(asked) {
            stage.nudge(*guest, bytes);
        }
        // A buffer is held until all of it has gone out, whatever part the kernel has taken.
        assert!((850_000..900_000).contains(&stage.stats().held_bytes), "{}", stage.stats());
        let (_, early) = stage.come();
        assert!(!early.over.get(), "there is room, and it is let in");

        stage.fill(guests[3].0, 920);
        assert!((900_000..950_000).contains(&stage.stats().held_bytes), "{}", stage.stats());
        let (_, late) = stage.come();
        assert!(late.over.get() && stage.stats().refused_memory_total == 1, "{}", stage.stats());
        stage.pass(Duration::from_secs(8));
        assert_eq!(stage.pressed(), 0, "no session ends in the first step");

        stage.fill(guests[0].0, 990);
        assert_eq!(stage.pressed(), 1, "{}", stage.stats());
        assert!(guests[1].1.over.get(), "it held most");
        assert!(stage.stats().held_bytes < 900_000, "{}", stage.stats());
        let (_, again) = stage.come();
        assert!(!again.over.get(), "there is room again");
        stage.fill(guests[3].0, 920);
        stage.pass(Duration::from_secs(8));
        assert_eq!(stage.pressed(), 1, "and the ladder begins at its first step");

        for (guest, fate) in [&guests[0], &guests[2], &guests[3]] {
            for _ in 0..200 {
                stage.nudge(*guest, READ | (16 * 1024));
            }
            assert!(!fate.over.get());
        }
        assert_eq!(stage.stats().held_bytes, 0, "everything that the others were owed has gone out");
        assert_eq!(guests[2].1.read_bytes.get(), 300_000);
    }
}

#[test]
fn load_is_shed_from_the_largest_down() {
    for dialect in Dialect::ALL {
        let mut stage = Stage::open(dialect, 1, MOST);
        let guests: Vec<_> = (0..8).map(|_| stage.come()).collect();
        let asked = |guest: usize| 70_000 + 5_000 * (guest as u32 * 3 % 8);
        for (guest, (id, _)) in guests.iter().enumerate() {
            stage.nudge(*id, asked(guest));
        }
        let (asker, _) = stage.come();
        let held = stage.stats().held_bytes as usize;
        stage.nudge(asker, EACH | ((MOST / 100 * 99 - held) / (guests.len() + 1)) as u32);
        stage.pass(Duration::from_millis(100));
        let (over, left): (Vec<_>, Vec<_>) = (0..guests.len()).partition(|guest| guests[*guest].1.over.get());
        assert_eq!(over.len() as u64, stage.pressed(), "{}", stage.stats());
        let least = over.iter().map(|guest| asked(*guest)).min();
        assert!(least > left.iter().map(|guest| asked(*guest)).max(), "{over:?} ended, {left:?} did not");
    }
}

#[test]
fn whoever_has_taken_nothing_for_long_goes_before_those_who_hold_more_and_move() {
    for dialect in Dialect::ALL {
        let mut stage = Stage::open(dialect, 1, MOST);
        let guests: Vec<_> = (0..3).map(|_| stage.come()).collect();
        let (stuck, slow, last) = (&guests[0], &guests[1], &guests[2]);
        stage.nudge(stuck.0, 150_000);
        stage.nudge(slow.0, 700_000);
        stage.nudge(last.0, 50_000);
        for _ in 0..60 {
            stage.pass(Duration::from_millis(100));
            stage.nudge(slow.0, READ | (2 * 1024));
        }
        assert_eq!(stage.pressed(), 0, "{}", stage.stats());
        stage.fill(last.0, 965);
        assert!(stuck.1.over.get() && stage.pressed() == 1, "{}", stage.stats());
        assert!(!slow.1.over.get() && !last.1.over.get(), "they hold more, and it moves");
        for guest in [slow, last] {
            stage.nudge(guest.0, READ | (8 * 1024));
        }
        stage.pass(Duration::from_millis(200));
        stage.fill(slow.0, 965);
        stage.pass(Duration::from_secs(4));
        assert_eq!(stage.pressed(), 1, "no session has stood still for so long");
        // Nothing else happens in the meantime: the worker wakes up for it.
        stage.pass(Duration::from_secs(2));
        assert_eq!(stage.pressed(), 2, "{}", stage.stats());
    }
}

#[test]
fn at_the_last_step_whoever_is_stuck_still_goes_before_those_who_hold_more() {
    let mut stage = Stage::open(Dialect::Uring, 1, MOST);
    let guests: Vec<_> = (0..2).map(|_| stage.come()).collect();
    let (stuck, slow) = (&guests[0], &guests[1]);
    stage.nudge(stuck.0, 200_000);
    stage.nudge(slow.0, 500_000);
    for _ in 0..60 {
        stage.pass(Duration::from_millis(100));
        stage.nudge(slow.0, READ | (2 * 1024));
    }
    stage.fill(slow.0, 990);
    assert!(stuck.1.over.get() && !slow.1.over.get(), "{}", stage.stats());
}

/// The other worker sleeps when the pressure comes, and holds all that there is to give back.
#[test]
fn who_sleeps_is_rung_and_gives_back_its_part() {
    for dialect in Dialect::ALL {
        let mut stage = Stage::open(dialect, 2, MOST);
        // They are placed in turn.
        let guests: Vec<_> = (0..4).map(|_| stage.come()).collect();
        for guest in [1, 3] {
            stage.nudge(guests[guest].0, 400_000);
        }
        stage.pass(Duration::from_secs(10));
        stage.nudge(guests[0].0, 50_000);
        assert_eq!(stage.pressed(), 0, "{}", stage.stats());
        stage.fill(guests[0].0, 965);
        stage.pass(Duration::from_millis(200));
        let over = |guest: usize| guests[guest].1.over.get();
        assert!(over(1) != over(3) && !over(0), "one of those who are stuck: {}", stage.stats());
        assert!(stage.stats().held_bytes < 900_000, "there is room again: {}", stage.stats());
    }
}

#[test]
fn a_step_that_was_reached_holds_until_there_is_room_again() {
    let mut stage = Stage::open(Dialect::Uring, 2, MOST);
    let guests: Vec<_> = (0..12).map(|_| stage.come()).collect();
    for (guest, _) in &guests {
        stage.nudge(*guest, 66_000);
    }
    let held = stage.stats().held_bytes as usize;
    stage.nudge(guests[0].0, EACH | ((MOST / 100 * 99 - held) / guests.len()) as u32);
    stage.pass(Duration::from_millis(200));
    let over =
        |worker: usize| guests.iter().skip(worker).step_by(2).filter(|(_, fate)| fate.over.get()).count();
    assert_eq!((over(0), over(1)), (1, 1), "what one of them gives is not enough: {}", stage.stats());
    assert!(stage.stats().held_bytes < 900_000, "{}", stage.stats());
}

#[test]
fn what_everybody_takes_at_once_costs_nobody_his_session() {
    for dialect in Dialect::ALL {
        let mut stage = Stage::open(dialect, 1, MOST);
        let guests: Vec<_> = (0..64).map(|_| stage.come()).collect();
        // Sixteen thousand bytes for each of them: a turn has a million bytes to send, and the next one none.
        stage.nudge(guests[0].0, ALL | 15_900);
        stage.pass(Duration::from_millis(100));
        assert_eq!((stage.pressed(), stage.stats().held_bytes), (0, 0), "{}", stage.stats());
        assert_eq!(stage.stats().sent_bytes, 64 * 15_900);
    }
}

#[test]
fn a_broadcast_is_held_once_however_many_members_have_not_sent_it() {
    for dialect in Dialect::ALL {
        let mut stage = Stage::open(dialect, 2, MOST);
        let guests: Vec<_> = (0..64).map(|_| stage.come()).collect();
        stage.nudge(guests[0].0, ALL | 200_000);
        stage.pass(Duration::from_millis(100));
        // The batch, and a copy of it for the member that broadcast it.
        let held = stage.stats().held_bytes;
        assert!((400_000..450_000).contains(&held), "{held} bytes");
        assert_eq!(stage.pressed(), 0, "{}", stage.stats());
        for (guest, _) in &guests {
            (0..20).for_each(|_| stage.nudge(*guest, READ | 200_000));
        }
        assert!(guests.iter().all(|(_, fate)| fate.read_bytes.get() == 200_000));
        assert_eq!(stage.stats().held_bytes, 0);
    }
}

#[test]
fn members_that_keep_many_broadcasts_go_when_those_are_too_much_and_others_stay() {
    let mut stage = Stage::open(Dialect::Uring, 1, MOST);
    let (reader, fate) = stage.come();
    let slow: Vec<_> = (0..8).map(|_| stage.come()).collect();
    for round in 1..=20 {
        stage.nudge(reader, ALL | 90_000);
        (0..8).for_each(|_| stage.nudge(reader, READ | 90_000));
        assert_eq!(fate.read_bytes.get(), round * 90_000);
        assert!(stage.stats().held_bytes < MOST as u64, "{}", stage.stats());
    }
    assert!(!fate.over.get() && slow.iter().all(|(_, fate)| fate.over.get()), "{}", stage.stats());
    assert!(stage.pressed() > 0);
}

#[test]
fn without_a_limit_nobody_goes() {
    let mut stage = Stage::open(Dialect::Uring, 1, 0);
    for _ in 0..3 {
        let (guest, _) = stage.come();
        stage.nudge(guest, 900_000);
    }
    stage.pass(Duration::from_secs(10));
    assert_eq!((stage.pressed(), stage.stats().refused_memory_total, stage.stats().live), (0, 0, 3));
    assert!(stage.stats().held_bytes > 2_500_000, "it is counted all the same: {}", stage.stats());
    let service_core = Arc::clone(&stage.service_core);
    drop(stage);
    assert_eq!(service_core.stats().held_bytes, 0, "a worker that is gone holds nothing");
}
