//! One world: warm, storm, heal, liveness, stop, and the ledger in which everything must be zero.
//!
//! One seed decides all of it. A run that breaks a law panics with the law's number; the caller
//! knows the setting. Nothing here knows how the engine does what it does.

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::kernel::fault::{Dialect, FaultKind};
use crate::kernel::peer::PeerId;
use crate::kernel::world::{Tracer, World, WorldOptions};
use naksi::prelude::*;
use naksi_os::port::{ListenOptions, Port as _, PortOptions};

use super::behavior::Manner;
use super::datagrams::Letters;
use super::groups::Stages;
use super::hazard::Hazard;
use super::observations::Books;
use super::other_threads::Errands;
use super::outcome::Outcome;
use super::peers::{Guest, NONCE, Tally};
use super::setting::{Setting, Stop, Weather};
use super::sim_service::{Crew, Stall, crew, limits};
use super::users::{Caller, FrameEcho, Host, RawEcho};

/// A storm that lasts longer holds a session that never ends.
const STORM_WITHIN: Duration = Duration::from_secs(900);
/// What the storm has delayed has come after this.
const SETTLE_WITHIN: Duration = Duration::from_secs(12);
/// Every live session must answer within this.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// Turns of workers without any progress of time: more is a spin.
const TURNS_AT_ONCE_MAX: u64 = 300_000;
/// What those that stay were sent has left after this, and what it took is given back.
const GIVEN_BACK_WITHIN: Duration = Duration::from_secs(5);
/// Peers that come after the storm.
const LATE_PEERS: u64 = 4;

/// Runs one world from its first moment to its ledger.
///
/// # Panics
/// A law is broken; the message names it.
pub fn run(setting: &Setting) -> Outcome {
    run_followed(setting, None)
}

/// The same; `tracer` hears of every event, fault and completion.
///
/// # Panics
/// A law is broken; the message names it.
pub fn run_followed(setting: &Setting, tracer: Option<Tracer>) -> Outcome {
    let mut run = Run::begin(setting);
    if let Some(tracer) = tracer {
        run.world.follow(tracer);
    }
    run.storm();
    if setting.stop != Stop::DrainInStorm {
        run.heal_and_live();
    }
    let ports = run.stop();
    let books = Arc::downgrade(&run.books);
    let outcome = run.settle_accounts(ports);
    assert_eq!(books.strong_count(), 0, "a service that is gone keeps what was its users'");
    outcome
}

struct Run<'a> {
    setting: &'a Setting,
    world: World,
    address: SocketAddr,
    crews: [Crew; 2],
    books: Arc<Books>,
    tally: Rc<RefCell<Tally>>,
    errands: Errands,
    stages: Option<Stages>,
    letters: Option<Letters>,
    /// Letters that were written in calm weather and came.
    letters_came: usize,
    stayers: Vec<PeerId>,
    /// Peers that are expected to be through.
    expected: u64,
    /// Peers that came: everybody but the crowd has an address of his own.
    dialled: u32,
    stormy: bool,
}

/// The one address from which too many come.
fn crowd() -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 9, 9, 9))
}

impl<'a> Run<'a> {
    fn begin(setting: &'a Setting) -> Self {
        let world = World::new(WorldOptions {
            seed: setting.seed,
            dialect: setting.dialect,
            faults: setting.faults.clone(),
            socket_send_bytes: setting.socket_bytes,
            socket_recv_bytes: setting.socket_bytes,
            descriptors_max: setting.descriptors_max,
            ..WorldOptions::default()
        });
        let address: SocketAddr = "10.0.0.9:7777".parse().expect("an address");
        let books = Arc::new(Books::default());
        let stormy = setting.weather == Weather::Storm;
        books.stormy.store(stormy, Ordering::Relaxed);
        let stages = Stages::open(setting, stormy);
        let groups = stages.as_ref().map(Stages::groups).unwrap_or_default();
        let is_prompt = setting.weather == Weather::Calm && setting.turn_ms == 0;
        let host = Host { books: Arc::clone(&books), rates: setting.rates(), is_prompt };
        let bounds =
            Limits { memory_bytes_max: setting.memory_bytes, ..limits(setting, setting.address_max) };
        let server = if setting.framed {
            let make = move |arrival: &ConnectionInfo| FrameEcho::new(&host, arrival);
            crew(&world, setting, Some(address), &[], bounds, groups, make)
        } else {
            let make = move |arrival: &ConnectionInfo| RawEcho::new(&host, arrival);
            crew(&world, setting, Some(address), &[], bounds, groups, make)
        };
        let callers = Arc::clone(&books);
        let talk = setting.talk;
        let make = move |arrival: &ConnectionInfo| Caller::new(arrival, talk, &callers);
        // No socket listens at the first address that a connection is tried with, and in some worlds there is no other.
        let dead = SocketAddr::new(address.ip(), 1);
        let remotes = if setting.is_out_of_reach() { &[dead][..] } else { &[dead, address] };
        let client = crew(&world, setting, None, remotes, limits(setting, u32::MAX), Vec::new(), make);
        let letters = Letters::open(&world);
        let errands = Errands::new(&books, stormy, setting.framed);
        let mut run = Self {
            setting,
            world,
            address,
            crews: [server, client],
            books,
            tally: Rc::default(),
            errands,
            stages,
            letters,
            letters_came: 0,
            stayers: Vec::new(),
            expected: 0,
            dialled: 0,
            stormy,
        };
        run.invite();
        run
    }

    /// Everybody comes within a second of the world's time; one address brings more than its share.
    fn invite(&mut self) {
        for _ in 0..self.setting.stayers {
            let id = self.dial(Manner::Stayer, None, Duration::ZERO);
            self.stayers.push(id);
        }
        for _ in 0..self.setting.peers {
            let random = self.world.random();
            let manner = if self.stormy {
                Manner::from_number(random)
            } else {
                Manner::honest(random, self.setting.framed)
            };
            let crowded = self.stormy && (random >> 32).is_multiple_of(4);
            let within = Duration::from_micros(self.world.random() % 1_000_000);
            self.dial(manner, crowded.then(crowd), within);
        }
    }

    fn dial(&mut self, manner: Manner, from: Option<IpAddr>, within: Duration) -> PeerId {
        self.expected += u64::from(manner != Manner::Stayer);
        self.dialled += 1;
        let from = from.unwrap_or(IpAddr::V4(Ipv4Addr::from(0x0A01_0000 + self.dialled)));
        let guest = Guest::new(manner, self.setting, self.world.random(), &self.tally, &self.books);
        self.world.dial_from(from, self.address, Box::new(guest), self.world.now() + within)
    }

    /// Steps until `done`, until `deadline`, or until nothing more can happen. Returns whether it was done.
    fn drive(&mut self, deadline: Tick, mut done: impl FnMut(&Self) -> bool) -> bool {
        let (mut rounds, mut at, mut turns) = (0_u64, self.world.now(), 0);
        loop {
            let now = self.world.now();
            if now != at {
                (at, turns) = (now, 0);
            }
            let stepped: u64 = self.crews.iter_mut().map(|crew| crew.step(now)).sum();
            let stepped = stepped + self.stages.as_mut().map_or(0, |stages| stages.step(&self.world));
            let stepped = stepped + self.letters.as_mut().map_or(0, Letters::step);
            turns += stepped;
            assert!(turns < TURNS_AT_ONCE_MAX, "a worker spins: {turns} turns at {now:?}");
            rounds += 1;
            if rounds % 64 == 0 {
                self.interfere();
                if done(self) {
                    return true;
                }
            }
            // Time passes only while no worker runs, and only then is what is out kept and not just on its way: a lease
            // that is being read has not been lost.
            if now > deadline && stepped == 0 {
                return done(self);
            }
            if stepped == 0 && !self.world.advance() {
                let stalls = self.crews.iter_mut().any(|crew| crew.stalled.take().is_some());
                if !stalls && self.tally.borrow().again.is_empty() {
                    return done(self);
                }
                self.interfere();
            }
        }
    }

    /// What happens between the steps: errands, peers that come again, workers that stall.
    fn interfere(&mut self) {
        let random = self.world.random();
        self.errands.run(random);
        self.letters.iter_mut().for_each(|letters| letters.write(random));
        let again = std::mem::take(&mut self.tally.borrow_mut().again);
        for manner in again {
            self.dial(manner, Some(crowd()), Duration::from_millis(random % 50));
        }
        if self.stormy && (random >> 40).is_multiple_of(64) && self.setting.workers > 1 {
            let span = Duration::from_millis(50 + (random >> 48) % 450);
            let worker = (random >> 32) as usize % self.setting.workers;
            self.tally.borrow_mut().stalls.begin(self.world.now(), span);
            self.crews[0].stalled = Some(Stall { worker, until: self.world.now() + span, felt: false });
        }
    }

    fn storm(&mut self) {
        let deadline = self.world.now() + STORM_WITHIN;
        let idle = self.drive(deadline, |run| {
            run.tally.borrow().through == run.expected && {
                let (server, client) = (run.crews[0].service_core.stats(), run.crews[1].service_core.stats());
                server.live <= run.tally.borrow().standing.len()
                    && client.live + client.connecting + client.waiting == 0
            }
        });
        let through = (self.tally.borrow().through, self.expected);
        assert!(
            idle,
            "sessions that never end: {through:?} {:?} {:?}",
            self.crews[0].service_core.stats(),
            self.crews[0].workers
        );
    }

    /// No more faults: live sessions must answer, and new peers must be served.
    fn heal_and_live(&mut self) {
        self.world.heal();
        self.world.set_descriptors_max(1 << 20);
        self.stormy = false;
        self.errands.calm_down();
        self.stages.iter_mut().for_each(Stages::calm_down);
        self.letters.iter_mut().for_each(Letters::calm_down);
        self.books.stormy.store(false, Ordering::Relaxed);
        self.crews[0].stalled = None;
        let settled = self.world.now() + SETTLE_WITHIN;
        self.drive(settled, |run| run.world.now() >= settled);
        let served = self.tally.borrow().served;
        self.stayers.iter().for_each(|stayer| self.world.nudge(*stayer, NONCE));
        // Where memory is short, no connection is accepted while those that stay are sent what they ask for.
        let within = if self.setting.memory_bytes == 0 { Duration::ZERO } else { GIVEN_BACK_WITHIN };
        for number in 0..LATE_PEERS {
            let from = (number == 0).then(crowd);
            self.dial(Manner::Honest, from, within);
        }
        self.errands.hail();
        let deadline = self.world.now() + ANSWER_WITHIN;
        let alive = self.drive(deadline, |run| {
            let tally = run.tally.borrow();
            let (ready, wanted) = run.world.accept_credits();
            let served = tally.served >= served + LATE_PEERS;
            tally.standing.lacks(run.setting.framed).is_none()
                && served
                && ready == wanted
                && run.leases_are_home()
        });
        let tally = self.tally.borrow();
        let credits = self.world.accept_credits();
        assert!(
            alive,
            "deaf after the storm: {} stand, {:?}, {} of {LATE_PEERS} served, accepts {credits:?}, \
             leases home: {}: {:?}",
            tally.standing.len(),
            tally.standing.lacks(self.setting.framed),
            tally.served - served,
            self.leases_are_home(),
            self.crews[0].workers
        );
    }

    /// Law 5: no lease is out, and no receive waits for one.
    fn leases_are_home(&self) -> bool {
        self.crews.iter().flat_map(|crew| &crew.workers).all(|worker| {
            let ledger = worker.ledger();
            (ledger.leases_out, ledger.starved) == (0, 0)
        })
    }

    /// Ends both services. Returns how many ports were asked for their last ledger.
    fn stop(&mut self) -> usize {
        if self.setting.stop == Stop::Drop {
            self.books.abrupt.store(true, Ordering::Relaxed);
            // A drop without a single session drops nothing.
            let live = self.books.live.load(Ordering::Relaxed);
            self.books.pages().hits.add(Hazard::L5, live.try_into().unwrap_or(0));
            self.crews.iter_mut().for_each(|crew| crew.workers.clear());
            self.letters = None;
            return 0;
        }
        self.stormy = false;
        self.errands.calm_down();
        self.letters.iter_mut().for_each(Letters::hush);
        self.crews[0].stalled = None;
        if self.setting.stop == Stop::DrainInStorm {
            if self.setting.weather != Weather::Storm {
                let served = self.tally.borrow().served;
                assert_eq!(served, self.expected, "honest peers were not served before the drain");
            }
            // Accepts are on their way while the listener closes.
            for number in 0..40 {
                self.dial(Manner::Slammer, None, Duration::from_micros(number * 100));
            }
            let soon = self.world.now() + Duration::from_millis(2);
            self.drive(soon, |run| run.world.now() >= soon);
        }
        self.crews.iter().for_each(|crew| crew.service_core.drain(Duration::from_secs(5)));
        let deadline = self.world.now() + Duration::from_secs(60);
        let home = self.drive(deadline, |run| run.crews.iter().all(|crew| crew.workers.is_empty()));
        assert!(home, "a worker does not come home: {:?}", self.crews[0].workers);
        let deadline = self.world.now() + ANSWER_WITHIN;
        let missing = |run: &Self| run.letters.as_ref().map_or(0, Letters::missing);
        self.drive(deadline, |run| missing(run) == 0);
        assert_eq!(missing(self), 0, "letters are lost in calm weather: {:?}", self.letters);
        self.letters_came = self.letters.take().map_or(0, |letters| letters.came_in_calm());
        2 * self.setting.workers
    }

    fn settle_accounts(mut self, ports: usize) -> Outcome {
        // As a service ends: first its workers, then its rooms, then its groups.
        self.crews.iter().for_each(|crew| crew.service_core.close_rooms());
        let service_core = &self.crews[0].service_core;
        let handed_over = || service_core.stats().rooms.handed_over_total;
        let staged = self.stages.as_mut().map(|stages| stages.settle(&self.books, handed_over));
        let tally = self.tally.borrow();
        let fired = FaultKind::ALL.iter().map(|kind| (*kind, self.world.fired(*kind))).collect();
        let mut outcome = Outcome {
            worlds: 1,
            peers: self.expected,
            served: tally.served,
            reset: tally.reset,
            nonces: tally.echoed,
            letters: self.letters_came as u64,
            trace_hash: self.world.trace_hash(),
            enabled: self.setting.kinds().map(|kind| (kind, 1)).collect(),
            fired,
            hits: tally.hits.clone(),
            ..Outcome::default()
        };
        drop(tally);
        let ledgers: Vec<_> = self.crews.iter().flat_map(|crew| &crew.ledgers).collect();
        assert_eq!(ledgers.len(), ports, "workers that are not through");
        for ledger in ledgers {
            assert_eq!((ledger.handles, ledger.in_flight), (0, 0), "law 1: {ledger:?}");
            assert_eq!((ledger.leases_out, ledger.starved), (0, 0), "law 5: {ledger:?}");
            assert_eq!(ledger.leaked_total, 0, "law 10: {ledger:?}");
        }
        for crew in &self.crews {
            // One more question, whose session is gone when the answer comes.
            crew.service_core.drain(Duration::ZERO);
            let stats = crew.service_core.stats();
            assert_eq!(crew.service_core.in_mailboxes(), 0, "law 9: kept for workers that are gone");
            assert_eq!(stats.rooms.live, 0, "a room outlives its service");
            assert_eq!((stats.recv_backlog_bytes, stats.held_bytes), (0, 0), "law 9");
            if ports > 0 {
                assert_eq!((stats.live, stats.connected_total), (0, stats.disconnected_total), "law 8");
            }
            outcome.completions += stats.completions;
            outcome.starved += stats.starved_total;
            outcome.sessions += stats.connected_total;
            outcome.accept_pauses += stats.accept_pauses_total;
            outcome.panics += stats.handler_panics;
            outcome.stale += stats.stale_total;
            outcome.hits.add(Hazard::O3, stats.refused_address_total);
            outcome.hits.add(Hazard::O7, stats.log_lines_suppressed_total);
            outcome.hits.add(Hazard::O9, stats.refused_memory_total + stats.relieved_total);
            outcome.hits.add(Hazard::O4r, stats.rate_limited_total);
            for (reason, count) in &stats.ended {
                *outcome.reasons.entry(reason).or_default() += count;
            }
        }
        if self.setting.dialect == Dialect::Iocp {
            outcome.hits.add(Hazard::W6, self.world.unfound_answers());
        }
        outcome.hits.add(Hazard::L7, self.crews[0].stalls_felt);
        outcome.hits.merge(&staged.unwrap_or_default());
        let pages = self.books.pages();
        outcome.hits.merge(&pages.hits);
        assert!(pages.broken.is_none(), "{}", pages.broken.as_deref().unwrap_or_default());
        drop(pages);
        self.settle_the_rest(&outcome);
        outcome
    }

    /// Each of the client's connections has stood once, or was given up after all its attempts.
    fn settle_connections(&self) {
        let stats = self.crews[1].service_core.stats();
        let (wanted, stood, given_up) =
            (u64::from(self.setting.own_clients), stats.connected_total, stats.given_up_total);
        if self.setting.stop == Stop::DrainInStorm {
            return;
        }
        assert_eq!(stood + given_up, wanted, "connections that neither stood nor were given up: {stats:?}");
        if self.setting.is_out_of_reach() {
            assert_eq!(given_up, wanted, "a connection stood without a listener");
        } else if self.setting.weather == Weather::Calm {
            assert_eq!(stood, wanted, "a connection was given up although a socket listens");
        }
    }

    fn settle_the_rest(&self, outcome: &Outcome) {
        self.settle_connections();
        assert_eq!(self.books.live.load(Ordering::Relaxed), 0, "destructors that did not run");
        if self.setting.stop != Stop::Drop {
            let (joined, left) = (&self.books.joined, &self.books.left);
            let (joined, left) = (joined.load(Ordering::Relaxed), left.load(Ordering::Relaxed));
            assert_eq!(joined, left, "some are still in the room");
            assert_eq!(
                self.books.told.load(Ordering::Relaxed),
                outcome.sessions,
                "law 8: some were not told"
            );
        }
        // Sockets that were on their way between two ports are closed at the world's next step.
        self.world.advance();
        assert_eq!(self.world.descriptors(), 0, "descriptors stay open after the last port is gone");
        let mut port = self.world.open_port(&PortOptions::default());
        assert!(port.listen(self.address, &ListenOptions::default()).is_ok(), "the address stays taken");
        if self.setting.weather != Weather::Storm && self.setting.stop != Stop::DrainInStorm {
            let late = (outcome.peers, outcome.reset, outcome.panics);
            assert_eq!((outcome.served, 0, 0), late, "honest peers were not served: {:?}", outcome.reasons);
        }
        let failing = [FaultKind::SendFailed, FaultKind::RecvFailed, FaultKind::ImmediateError];
        if failing.iter().all(|kind| outcome.fired.get(kind) == Some(&0)) {
            for reason in ["system", "out_of_memory", "timed_out", "unreachable"] {
                assert!(
                    !outcome.reasons.contains_key(reason),
                    "nothing failed, but a session ended with {reason}"
                );
            }
        }
    }
}
