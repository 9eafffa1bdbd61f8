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

use super::behavior::Behavior;
use super::datagrams::Datagrams;
use super::groups::Groups;
use super::hazard::Hazard;
use super::observations::Observations;
use super::other_threads::OtherThreads;
use super::outcome::Outcome;
use super::peers::{NONCE, SimulatedPeer, Tally};
use super::setting::{Setting, Stop, Weather};
use super::sim_service::{SimService, Stall, limits, open_service};
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
    let observations = Arc::downgrade(&run.observations);
    let outcome = run.settle_accounts(ports);
    assert_eq!(observations.strong_count(), 0, "a service that is gone keeps what was its users'");
    outcome
}

struct Run<'a> {
    setting: &'a Setting,
    world: World,
    address: SocketAddr,
    services: [SimService; 2],
    observations: Arc<Observations>,
    tally: Rc<RefCell<Tally>>,
    other_threads: OtherThreads,
    stepped_groups: Option<Groups>,
    datagrams: Option<Datagrams>,
    /// Datagrams that were sent without faults and arrived.
    datagrams_came: usize,
    stayers: Vec<PeerId>,
    /// Peers that are expected to be through.
    expected: u64,
    /// Peers that connected: each has an address of its own, except those of the crowd.
    dialled: u32,
    stormy: bool,
}

/// The one address that makes too many connections.
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
        let observations = Arc::new(Observations::default());
        let stormy = setting.weather == Weather::Storm;
        observations.stormy.store(stormy, Ordering::Relaxed);
        let stepped_groups = Groups::open(setting, stormy);
        let groups = stepped_groups.as_ref().map(Groups::groups).unwrap_or_default();
        let is_prompt = setting.weather == Weather::Calm && setting.turn_ms == 0;
        let host = Host { observations: Arc::clone(&observations), rates: setting.rates(), is_prompt };
        let bounds =
            Limits { memory_bytes_max: setting.memory_bytes, ..limits(setting, setting.address_max) };
        let server = if setting.framed {
            let make = move |arrival: &ConnectionInfo| FrameEcho::new(&host, arrival);
            open_service(&world, setting, Some(address), &[], bounds, groups, make)
        } else {
            let make = move |arrival: &ConnectionInfo| RawEcho::new(&host, arrival);
            open_service(&world, setting, Some(address), &[], bounds, groups, make)
        };
        let callers = Arc::clone(&observations);
        let talk = setting.talk;
        let make = move |arrival: &ConnectionInfo| Caller::new(arrival, talk, &callers);
        // No socket listens at the first address that a connection is tried with, and in some worlds there is no other.
        let dead = SocketAddr::new(address.ip(), 1);
        let remotes = if setting.is_out_of_reach() { &[dead][..] } else { &[dead, address] };
        let client =
            open_service(&world, setting, None, remotes, limits(setting, u32::MAX), Vec::new(), make);
        let datagrams = Datagrams::open(&world);
        let other_threads = OtherThreads::new(&observations, stormy, setting.framed);
        let mut run = Self {
            setting,
            world,
            address,
            services: [server, client],
            observations,
            tally: Rc::default(),
            other_threads,
            stepped_groups,
            datagrams,
            datagrams_came: 0,
            stayers: Vec::new(),
            expected: 0,
            dialled: 0,
            stormy,
        };
        run.invite();
        run
    }

    /// All peers connect within a second of the world's time; one address makes more connections than it may.
    fn invite(&mut self) {
        for _ in 0..self.setting.stayers {
            let id = self.dial(Behavior::Stayer, None, Duration::ZERO);
            self.stayers.push(id);
        }
        for _ in 0..self.setting.peers {
            let random = self.world.random();
            let behavior = if self.stormy {
                Behavior::from_number(random)
            } else {
                Behavior::honest(random, self.setting.framed)
            };
            let crowded = self.stormy && (random >> 32).is_multiple_of(4);
            let within = Duration::from_micros(self.world.random() % 1_000_000);
            self.dial(behavior, crowded.then(crowd), within);
        }
    }

    fn dial(&mut self, behavior: Behavior, from: Option<IpAddr>, within: Duration) -> PeerId {
        self.expected += u64::from(behavior != Behavior::Stayer);
        self.dialled += 1;
        let from = from.unwrap_or(IpAddr::V4(Ipv4Addr::from(0x0A01_0000 + self.dialled)));
        let peer =
            SimulatedPeer::new(behavior, self.setting, self.world.random(), &self.tally, &self.observations);
        self.world.dial_from(from, self.address, Box::new(peer), self.world.now() + within)
    }

    /// Steps until `done`, until `deadline`, or until nothing more can happen. Returns whether it was done.
    fn drive(&mut self, deadline: Tick, mut done: impl FnMut(&Self) -> bool) -> bool {
        let (mut rounds, mut at, mut turns) = (0_u64, self.world.now(), 0);
        loop {
            let now = self.world.now();
            if now != at {
                (at, turns) = (now, 0);
            }
            let stepped: u64 = self.services.iter_mut().map(|service| service.step(now)).sum();
            let stepped = stepped + self.stepped_groups.as_mut().map_or(0, |groups| groups.step(&self.world));
            let stepped = stepped + self.datagrams.as_mut().map_or(0, Datagrams::step);
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
                let stalls = self.services.iter_mut().any(|service| service.stalled.take().is_some());
                if !stalls && self.tally.borrow().again.is_empty() {
                    return done(self);
                }
                self.interfere();
            }
        }
    }

    /// What happens between the steps: other threads act, peers connect again, workers stall.
    fn interfere(&mut self) {
        let random = self.world.random();
        self.other_threads.run(random);
        self.datagrams.iter_mut().for_each(|datagrams| datagrams.write(random));
        let again = std::mem::take(&mut self.tally.borrow_mut().again);
        for behavior in again {
            self.dial(behavior, Some(crowd()), Duration::from_millis(random % 50));
        }
        if self.stormy && (random >> 40).is_multiple_of(64) && self.setting.workers > 1 {
            let span = Duration::from_millis(50 + (random >> 48) % 450);
            let worker = (random >> 32) as usize % self.setting.workers;
            self.tally.borrow_mut().stalls.begin(self.world.now(), span);
            self.services[0].stalled = Some(Stall { worker, until: self.world.now() + span, felt: false });
        }
    }

    fn storm(&mut self) {
        let deadline = self.world.now() + STORM_WITHIN;
        let idle = self.drive(deadline, |run| {
            run.tally.borrow().through == run.expected && {
                let (server, client) =
                    (run.services[0].service_core.stats(), run.services[1].service_core.stats());
                server.live <= run.tally.borrow().standing.len()
                    && client.live + client.connecting + client.waiting == 0
            }
        });
        let through = (self.tally.borrow().through, self.expected);
        assert!(
            idle,
            "sessions that never end: {through:?} {:?} {:?}",
            self.services[0].service_core.stats(),
            self.services[0].workers
        );
    }

    /// No more faults: live sessions must answer, and new peers must be served.
    fn heal_and_live(&mut self) {
        self.world.heal();
        self.world.set_descriptors_max(1 << 20);
        self.stormy = false;
        self.other_threads.calm_down();
        self.stepped_groups.iter_mut().for_each(Groups::calm_down);
        self.datagrams.iter_mut().for_each(Datagrams::calm_down);
        self.observations.stormy.store(false, Ordering::Relaxed);
        self.services[0].stalled = None;
        let settled = self.world.now() + SETTLE_WITHIN;
        self.drive(settled, |run| run.world.now() >= settled);
        let served = self.tally.borrow().served;
        self.stayers.iter().for_each(|stayer| self.world.nudge(*stayer, NONCE));
        // Where memory is short, no connection is accepted while those that stay are sent what they ask for.
        let within = if self.setting.memory_bytes == 0 { Duration::ZERO } else { GIVEN_BACK_WITHIN };
        for number in 0..LATE_PEERS {
            let from = (number == 0).then(crowd);
            self.dial(Behavior::Honest, from, within);
        }
        self.other_threads.hail();
        let deadline = self.world.now() + ANSWER_WITHIN;
        let alive = self.drive(deadline, |run| {
            let tally = run.tally.borrow();
            let (ready, wanted) = run.world.accept_credits();
            let served = tally.served >= served + LATE_PEERS;
            tally.standing.lacks(run.setting.framed).is_none()
                && served
                && ready == wanted
                && run.leases_are_returned()
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
            self.leases_are_returned(),
            self.services[0].workers
        );
    }

    /// Law 5: no lease is out, and no receive waits for one.
    fn leases_are_returned(&self) -> bool {
        self.services.iter().flat_map(|service| &service.workers).all(|worker| {
            let ledger = worker.ledger();
            (ledger.leases_out, ledger.starved) == (0, 0)
        })
    }

    /// Ends both services. Returns how many ports were asked for their last ledger.
    fn stop(&mut self) -> usize {
        if self.setting.stop == Stop::Drop {
            self.observations.abrupt.store(true, Ordering::Relaxed);
            // A drop without a single session drops nothing.
            let live = self.observations.live.load(Ordering::Relaxed);
            self.observations.shared().hits.add(Hazard::L5, live.try_into().unwrap_or(0));
            self.services.iter_mut().for_each(|service| service.workers.clear());
            self.datagrams = None;
            return 0;
        }
        self.stormy = false;
        self.other_threads.calm_down();
        self.datagrams.iter_mut().for_each(Datagrams::hush);
        self.services[0].stalled = None;
        if self.setting.stop == Stop::DrainInStorm {
            if self.setting.weather != Weather::Storm {
                let served = self.tally.borrow().served;
                assert_eq!(served, self.expected, "honest peers were not served before the drain");
            }
            // Accepts are on their way while the listener closes.
            for number in 0..40 {
                self.dial(Behavior::Slammer, None, Duration::from_micros(number * 100));
            }
            let soon = self.world.now() + Duration::from_millis(2);
            self.drive(soon, |run| run.world.now() >= soon);
        }
        self.services.iter().for_each(|service| service.service_core.drain(Duration::from_secs(5)));
        let deadline = self.world.now() + Duration::from_secs(60);
        let ended = self.drive(deadline, |run| run.services.iter().all(|service| service.workers.is_empty()));
        assert!(ended, "a worker has not ended: {:?}", self.services[0].workers);
        let deadline = self.world.now() + ANSWER_WITHIN;
        let missing = |run: &Self| run.datagrams.as_ref().map_or(0, Datagrams::missing);
        self.drive(deadline, |run| missing(run) == 0);
        assert_eq!(missing(self), 0, "datagrams are lost without a fault: {:?}", self.datagrams);
        self.datagrams_came = self.datagrams.take().map_or(0, |datagrams| datagrams.came_in_calm());
        2 * self.setting.workers
    }

    fn settle_accounts(mut self, ports: usize) -> Outcome {
        // As a service ends: first its workers, then its rooms, then its groups.
        self.services.iter().for_each(|service| service.service_core.close_rooms());
        let service_core = &self.services[0].service_core;
        let handed_over = || service_core.stats().rooms.handed_over_total;
        let staged =
            self.stepped_groups.as_mut().map(|groups| groups.settle(&self.observations, handed_over));
        let tally = self.tally.borrow();
        let fired = FaultKind::ALL.iter().map(|kind| (*kind, self.world.fired(*kind))).collect();
        let mut outcome = Outcome {
            worlds: 1,
            peers: self.expected,
            served: tally.served,
            reset: tally.reset,
            nonces: tally.echoed,
            datagrams: self.datagrams_came as u64,
            trace_hash: self.world.trace_hash(),
            enabled: self.setting.kinds().map(|kind| (kind, 1)).collect(),
            fired,
            hits: tally.hits.clone(),
            ..Outcome::default()
        };
        drop(tally);
        let ledgers: Vec<_> = self.services.iter().flat_map(|service| &service.ledgers).collect();
        assert_eq!(ledgers.len(), ports, "workers that are not through");
        for ledger in ledgers {
            assert_eq!((ledger.handles, ledger.in_flight), (0, 0), "law 1: {ledger:?}");
            assert_eq!((ledger.leases_out, ledger.starved), (0, 0), "law 5: {ledger:?}");
            assert_eq!(ledger.leaked_total, 0, "law 10: {ledger:?}");
        }
        for service in &self.services {
            // One more question, whose session is gone when the answer comes.
            service.service_core.drain(Duration::ZERO);
            let stats = service.service_core.stats();
            assert_eq!(service.service_core.in_mailboxes(), 0, "law 9: kept for workers that are gone");
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
        outcome.hits.add(Hazard::L7, self.services[0].stalls_felt);
        outcome.hits.merge(&staged.unwrap_or_default());
        let shared = self.observations.shared();
        outcome.hits.merge(&shared.hits);
        assert!(shared.broken.is_none(), "{}", shared.broken.as_deref().unwrap_or_default());
        drop(shared);
        self.settle_the_rest(&outcome);
        outcome
    }

    /// Each of the client's connections has stood once, or was given up after all its attempts.
    fn settle_connections(&self) {
        let stats = self.services[1].service_core.stats();
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
        assert_eq!(self.observations.live.load(Ordering::Relaxed), 0, "destructors that did not run");
        if self.setting.stop != Stop::Drop {
            let (joined, left) = (&self.observations.joined, &self.observations.left);
            let (joined, left) = (joined.load(Ordering::Relaxed), left.load(Ordering::Relaxed));
            assert_eq!(joined, left, "some are still in the room");
            assert_eq!(
                self.observations.told.load(Ordering::Relaxed),
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
