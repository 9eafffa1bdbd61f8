//! A service in the simulation: its core, its workers, and what their ports held at the end.
//!
//! A worker is stepped when it is awake, unless it is made to stall. Nothing here knows peers or phases.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::kernel::port::SimPort;
use crate::kernel::world::World;
use naksi::Retry;
use naksi::engine::ServiceCore;
use naksi::engine::{Turn, Worker};
use naksi::group::Group;
use naksi::prelude::*;
use naksi::session::Factory;
use naksi_os::port::{Ledger, ListenOptions, Port as _, PortOptions};

use super::setting::Setting;
use super::users::{DATA_BYTES_MAX, DATA_ENTRIES_MAX, FRAME_BYTES_MAX, QUEUE_BYTES_MAX};

/// Something that can be stepped, whatever its sessions are.
pub trait Stepped: std::fmt::Debug {
    /// One turn.
    fn step(&mut self) -> Turn;
    /// What its port holds.
    fn ledger(&self) -> Ledger;
    /// Whether a turn would do anything.
    fn is_runnable(&self) -> bool;
}

impl<F: Factory> Stepped for Worker<SimPort, F> {
    fn step(&mut self) -> Turn {
        self.turn().expect("a simulated port does not break")
    }

    fn ledger(&self) -> Ledger {
        self.port().ledger()
    }

    fn is_runnable(&self) -> bool {
        self.port().is_runnable()
    }
}

/// A worker whose callbacks are slow: each of its turns takes a while, in which the world goes on.
#[derive(Debug)]
struct Slow<W> {
    worker: W,
    world: World,
    span: Duration,
    /// When the turn that it is in is over.
    until: Tick,
}

impl<W: Stepped> Stepped for Slow<W> {
    fn step(&mut self) -> Turn {
        let turn = self.worker.step();
        self.until = self.world.now() + self.span;
        self.world.wake_at(self.until);
        turn
    }

    fn ledger(&self) -> Ledger {
        self.worker.ledger()
    }

    fn is_runnable(&self) -> bool {
        self.until <= self.world.now() && self.worker.is_runnable()
    }
}

/// A worker that is not stepped for a while.
#[derive(Clone, Copy, Debug)]
pub struct Stall {
    /// Which one.
    pub worker: usize,
    /// Until when.
    pub until: Tick,
    /// It would have had something to do meanwhile.
    pub felt: bool,
}

/// A service in the simulation.
pub struct SimService {
    /// What its workers share.
    pub service_core: Arc<ServiceCore<SimPort>>,
    /// Those that are not through; a port that is not stepped would keep the world awake.
    pub workers: Vec<Box<dyn Stepped>>,
    /// Who stalls.
    pub stalled: Option<Stall>,
    /// Stalls that kept a worker from something.
    pub stalls_felt: u64,
    /// What the ports of those that are through held at their end.
    pub ledgers: Vec<Ledger>,
}

impl SimService {
    /// Steps the workers that are awake. Returns how many were.
    pub fn step(&mut self, now: Tick) -> u64 {
        if self.stalled.is_some_and(|stall| stall.until <= now) {
            self.stalled = None;
        }
        let (ledgers, stalled, stalls_felt) = (&mut self.ledgers, &mut self.stalled, &mut self.stalls_felt);
        let (mut stepped, mut index) = (0, 0);
        self.workers.retain_mut(|worker| {
            let stall = stalled.as_mut().filter(|stall| stall.worker == index);
            index += 1;
            // A stall that was already felt is not checked again.
            if stall.as_ref().is_some_and(|stall| stall.felt) || !worker.is_runnable() {
                return true;
            }
            if let Some(stall) = stall {
                stall.felt = true;
                *stalls_felt += 1;
                return true;
            }
            stepped += 1;
            let going = worker.step() == Turn::Going;
            if !going {
                ledgers.push(worker.ledger());
            }
            going
        });
        stepped
    }
}

/// The bounds of every service in the simulation: short, so that every one of them bites.
pub fn limits(setting: &Setting, address_max: u32) -> Limits {
    Limits {
        first_frame_bytes_max: 1024,
        frame_bytes_max: FRAME_BYTES_MAX,
        first_frame_within: Duration::from_secs(2),
        frame_within: Duration::from_secs(2),
        idle_within: Duration::from_secs(8),
        send_stall_within: Duration::from_secs(6),
        loopback_exempt: true,
        connections_per_address_max: address_max,
        accepts_per_second_max: u32::MAX,
        send_queue_bytes_max: QUEUE_BYTES_MAX,
        send_queue_high_bytes: match setting.seed % 3 {
            // Half of it is long enough to go out from where it came in.
            _ if setting.lease_bytes >= QUEUE_BYTES_MAX => QUEUE_BYTES_MAX,
            0 => 300,
            _ => 2000,
        },
        send_queue_low_bytes: 100,
        data_bytes_max: DATA_BYTES_MAX,
        data_entries_max: DATA_ENTRIES_MAX,
        // So few that storms have more to say.
        log_lines_per_second_max: 2,
        messages_per_second_max: setting.rates().0,
        recv_bytes_per_second_max: setting.rates().1,
        rate_limit_action: if setting.rate_ends {
            RateLimitAction::EndSession
        } else {
            RateLimitAction::Pause
        },
        ..Limits::default()
    }
}

/// Opens a service: a server at `address`, or a client that dials `remotes` in turn.
pub fn open_service<F: Factory>(
    world: &World,
    setting: &Setting,
    address: Option<SocketAddr>,
    remotes: &[SocketAddr],
    limits: Limits,
    groups: Vec<Group>,
    factory: F,
) -> SimService {
    let options = PortOptions {
        submission_entries: setting.submission_entries,
        completion_entries: setting.completion_entries,
        lease_count: setting.lease_count,
        lease_bytes: setting.lease_bytes,
        catch_max: setting.catch_max,
        ..PortOptions::default()
    };
    let flush = match setting.tick_ms {
        0 => Flush::AtOnce,
        milliseconds => Flush::Every(Duration::from_millis(milliseconds)),
    };
    let service_core =
        Arc::new(ServiceCore::new(setting.workers, limits).with_flush(flush).with_groups(groups));
    let factory = Arc::new(factory);
    let mut workers: Vec<Box<dyn Stepped>> = Vec::new();
    for index in 0..setting.workers {
        let mut port = world.open_port(&options);
        let listener = address
            .filter(|_| index == 0)
            .map(|address| port.listen(address, &ListenOptions::default()).expect("a free address").0);
        let mut worker = Worker::new(index, port, Arc::clone(&service_core), Arc::clone(&factory));
        listener.into_iter().for_each(|listener| worker.add_listener(listener));
        if !remotes.is_empty() {
            let retry = Retry { attempts_max: 4, ..Retry::START };
            worker.dial(remotes, retry, setting.own_clients, Some(500), setting.workers);
        }
        let span = Duration::from_millis(setting.turn_ms);
        match address {
            Some(_) if !span.is_zero() => {
                workers.push(Box::new(Slow { worker, world: world.clone(), span, until: Tick::ZERO }));
            }
            _ => workers.push(Box::new(worker)),
        }
    }
    service_core.begin();
    SimService { service_core, workers, stalled: None, stalls_felt: 0, ledgers: Vec::new() }
}
