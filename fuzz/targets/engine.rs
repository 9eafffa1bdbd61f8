//! Fuzzes the whole engine in a simulated world that the bytes describe: its seed, sizes, workers and peers. The
//! world asserts every law.

#![no_main]

use libfuzzer_sys::fuzz_target;
use naksi_sim::worlds::Dialect;
use naksi_sim::worlds::setting::Setting;
use naksi_sim::worlds::sweep::attempt;

fuzz_target!(|bytes: [u8; 16]| {
    let [a, b, c, d, e, f, g, h, workers, peers, framed, own, leases, lease_bytes, catch, socket] = bytes;
    let pick = |byte: u8, choices: &[usize]| choices[usize::from(byte) % choices.len()];
    let seed = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
    // Small worlds, because the fuzzer needs many of them; the seeds of `cargo test` have the large ones.
    let setting = Setting {
        workers: pick(workers, &[1, 2, 3]),
        peers: u64::from(peers % 12),
        framed: framed % 2 == 1,
        own_clients: u32::from(own % 6),
        lease_count: pick(leases, &[1, 2, 8]) as u16,
        lease_bytes: pick(lease_bytes, &[1, 16, 100, 4096]),
        catch_max: pick(catch, &[1, 3, 256]),
        socket_bytes: pick(socket, &[32, 500, 16_384]),
        ..Setting::random(seed, Dialect::ALL[usize::from(a % 2)])
    };
    // Callbacks panic on purpose there, and libFuzzer would report every panic.
    if let Err(broken) = attempt(&setting) {
        panic!("{broken}");
    }
});
