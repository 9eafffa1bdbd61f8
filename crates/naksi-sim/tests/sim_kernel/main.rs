//! The simulated kernel under a small echo engine, with thousands of seeds and every kind of fault.
//!
//! The engine below is written by hand on the bare port and keeps the laws that are a session's business;
//! the port asserts its own. Every byte that comes back to a client is compared, and at the end nothing is
//! open, nothing is in flight and every lease is home. `NAKSI_SIM_SEEDS` sets how many seeds are tried.

mod engine;
mod peers;
#[path = "../../../naksi-os/tests/support/scale.rs"]
mod scale;

use engine::{Engine, Shared};
use naksi_core::tick::Tick;
use naksi_os::port::{Port, PortOptions};
use naksi_sim::kernel::fault::{Dialect, FaultKind, FaultPlan};
use naksi_sim::kernel::peer::Peer;
use naksi_sim::kernel::world::{World, WorldOptions};
use peers::{Client, Manner, Tally};
use scale::scaled;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

/// What one run left behind.
struct Outcome {
    trace: u64,
    tally: Rc<Tally>,
    fired: Vec<u64>,
    late_successes: u32,
}

fn server_address() -> SocketAddr {
    "10.9.9.9:7".parse().expect("an address")
}

/// A world whose sizes are part of the seed, down to a pool of one buffer.
fn world_of(seed: u64, faults: FaultPlan) -> (World, PortOptions) {
    let mut dice = naksi_core::prng::Prng::new(seed.wrapping_mul(31));
    let options = WorldOptions {
        seed,
        faults,
        socket_send_bytes: 1 << dice.between(4, 14),
        socket_recv_bytes: 1 << dice.between(4, 14),
        dialect: Dialect::ALL[seed as usize % 2],
        descriptors_max: if dice.chance(8192) { dice.between(24, 32) as usize } else { 1 << 20 },
        ..WorldOptions::default()
    };
    let port = PortOptions {
        submission_entries: 1 << dice.between(0, 8),
        lease_count: 1 << dice.between(0, 6),
        lease_bytes: 1 << dice.between(4, 11),
        catch_max: dice.between(1, 64) as usize,
        ..PortOptions::default()
    };
    (World::new(options), port)
}

/// Steps the workers while something is ready and lets time go on otherwise, until `enough` says so.
fn drive(world: &World, engines: &mut [Engine], mut enough: impl FnMut(&[Engine]) -> bool) {
    let patience = world.now() + Duration::from_secs(3000);
    let mut steps = 0_u64;
    loop {
        while world.runnable() {
            for engine in engines.iter_mut() {
                engine.step();
            }
            steps += 1;
            assert!(steps < 2_000_000, "the workers spin: {world:?} {engines:?}");
        }
        if enough(engines) {
            return;
        }
        assert!(world.now() < patience, "nothing comes to an end: {engines:?}");
        assert!(world.advance_until_runnable() || enough(engines), "everything stands still: {engines:?}");
    }
}

/// One whole life of a world: a storm of faulty sessions, a heal, a proof of life, an orderly end.
fn run(seed: u64, faults: FaultPlan, sessions: u32, jobs: bool) -> Outcome {
    let (world, options) = world_of(seed, faults);
    let workers = 1 + (seed % 3) as usize;
    let shared = Rc::new(Shared::new(seed));
    let mut engines: Vec<Engine> =
        (0..workers).map(|index| Engine::new(world.open_port(&options), index, &shared)).collect();
    shared.meet(&engines);
    let address = engines[0].listen();
    world.serve(server_address(), Box::new(|| Box::new(peers::EchoServer::default())));
    let tally = Rc::new(Tally::default());
    for number in 0..sessions {
        let client = Client::new(&tally, seed ^ u64::from(number), Manner::of(world.random()));
        let at = Tick::from_nanos(world.random() % 20_000_000);
        world.dial(address, Box::new(client) as Box<dyn Peer>, at);
    }
    if jobs {
        for engine in &mut engines {
            engine.start_jobs(server_address(), address);
        }
    }
    drive(&world, &mut engines, |engines| {
        tally.ended.get() == sessions && engines.iter().all(Engine::jobs_done)
    });
    let fired = FaultKind::ALL.iter().map(|kind| world.fired(*kind)).collect();

    world.heal();
    shared.calm.set(true);
    world.set_descriptors_max(1 << 20);
    let fresh = Rc::new(Tally::default());
    for number in 0..3 {
        let client = Client::new(&fresh, seed ^ 0xF00D ^ number, Manner::Honest);
        world.dial(address, Box::new(client), world.now());
    }
    drive(&world, &mut engines, |_| fresh.ended.get() == 3);
    assert_eq!(fresh.complete.get(), 3, "seed {seed}: a healed world serves every honest client");

    for engine in &mut engines {
        engine.stop();
    }
    drive(&world, &mut engines, |engines| engines.iter().all(Engine::stopped));
    for engine in &engines {
        let ledger = engine.port.ledger();
        assert_eq!(
            (ledger.handles, ledger.in_flight, ledger.leases_out, ledger.starved, ledger.lease_size),
            (0, 0, 0, 0, usize::from(options.lease_count)),
            "seed {seed}"
        );
    }
    drop(engines);
    while world.advance() {}
    assert_eq!((world.open_sockets(), world.peers_alive(), world.descriptors()), (0, 0, 0), "seed {seed}");
    Outcome { trace: world.trace_hash(), tally, fired, late_successes: shared.late_successes.get() }
}

#[test]
fn an_echo_without_faults_is_complete() {
    let outcome = run(1, FaultPlan::none(), 50, false);
    assert_eq!(outcome.fired.iter().sum::<u64>(), 0);
    assert!(outcome.tally.complete.get() > 20, "{:?}", outcome.tally);
}

#[test]
fn thousands_of_seeds_keep_the_laws_and_fire_every_fault() {
    let mut fired = vec![0_u64; FaultKind::ALL.len()];
    let (mut bytes, mut complete, mut ended, mut late) = (0, 0, 0, 0);
    let seeds = std::env::var("NAKSI_SIM_SEEDS").map_or(3000, |seeds| seeds.parse().expect("a number"));
    for seed in 0..scaled(seeds) {
        let outcome = run(seed, FaultPlan::random(seed), 12, true);
        fired.iter_mut().zip(&outcome.fired).for_each(|(sum, more)| *sum += more);
        bytes += outcome.tally.bytes.get();
        complete += outcome.tally.complete.get();
        ended += outcome.tally.ended.get();
        late += outcome.late_successes;
    }
    println!("{ended} sessions, {complete} complete, {bytes} bytes compared, {late} late successes");
    assert!(late > 0, "no receive ended with a success: a late cancel shows nothing");
    for (kind, count) in FaultKind::ALL.iter().zip(&fired) {
        println!("{kind:?}: {count}");
    }
    for (kind, count) in FaultKind::ALL.iter().zip(&fired) {
        assert!(*count > 0, "{kind:?} never fired: whatever it should show was not tested");
    }
}

#[test]
fn a_seed_repeats_to_the_last_completion_and_another_does_not() {
    for seed in 0..scaled(20) {
        let trace = |seed| run(seed, FaultPlan::every(), 10, true).trace;
        assert_eq!(trace(seed), trace(seed));
        assert_ne!(trace(seed), trace(seed + 1));
    }
}

#[test]
fn short_sessions_are_fast() {
    let started = std::time::Instant::now();
    let (mut sessions, mut events) = (0, 0);
    for seed in 0..scaled(10) {
        let options = WorldOptions { seed, ..WorldOptions::default() };
        let world = World::new(options);
        let shared = Rc::new(Shared::new(seed));
        let port = PortOptions { lease_bytes: 512, ..PortOptions::default() };
        let mut engines = vec![Engine::new(world.open_port(&port), 0, &shared)];
        shared.meet(&engines);
        let address = engines[0].listen();
        let tally = Rc::new(Tally::default());
        for number in 0..5000 {
            let client = Client::new(&tally, number, Manner::Brief);
            world.dial(address, Box::new(client), Tick::from_nanos(number * 20_000));
        }
        drive(&world, &mut engines, |_| tally.ended.get() == 5000);
        sessions += tally.complete.get();
        events += world.events_total();
    }
    let seconds = started.elapsed().as_secs_f64();
    println!("{:.0} sessions/s, {:.0} events/s", f64::from(sessions) / seconds, events as f64 / seconds);
    assert_eq!(u64::from(sessions), 5000 * scaled(10));
}

#[test]
fn ports_dropped_in_the_middle_of_the_storm_leave_nothing_behind() {
    for seed in 0..scaled(500) {
        let (world, options) = world_of(seed, FaultPlan::random(seed));
        let shared = Rc::new(Shared::new(seed));
        let mut engines: Vec<Engine> =
            (0..2).map(|index| Engine::new(world.open_port(&options), index, &shared)).collect();
        shared.meet(&engines);
        let address = engines[0].listen();
        world.serve(server_address(), Box::new(|| Box::new(peers::EchoServer::default())));
        let tally = Rc::new(Tally::default());
        for number in 0..12 {
            let client = Client::new(&tally, number, Manner::of(world.random()));
            let at = Tick::from_nanos(world.random() % 10_000_000);
            world.dial(address, Box::new(client), at);
        }
        for engine in &mut engines {
            engine.start_jobs(server_address(), address);
        }
        let end = Tick::from_nanos(world.random() % 20_000_000);
        drive(&world, &mut engines, |_| world.now() >= end);
        drop(engines);
        // Sockets between the two ports were never adopted: dropping them closes them.
        drop(shared);
        while world.advance() {}
        let left = (world.open_sockets(), world.peers_alive(), world.descriptors());
        assert_eq!(left, (0, 0, 0), "seed {seed}");
        assert_eq!(tally.ended.get(), 12, "seed {seed}: every client heard of the end");
    }
}
