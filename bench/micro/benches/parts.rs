//! Microbenchmarks of the steps in a message's path, with everything in the cache: a lower bound for each.
//!
//! `cargo bench --manifest-path bench/Cargo.toml -p bench-micro`. Nothing here makes a system call.

#![forbid(unsafe_code)]

use std::time::Duration;

use bytes::Bytes;
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use naksi_core::buffer_pool::BufferPool;
use naksi_core::frame;
use naksi_core::id::PeerMap;
use naksi_core::limits::Limits;
use naksi_core::send_queue::SendQueue;
use naksi_core::table::Table;
use naksi_core::tick::Tick;
use naksi_core::timer::TimerWheel;

fn main() {
    divan::main();
}

/// Frames of this many bytes, one after the other, as a lease contains them.
fn frames(bytes: usize, count: usize) -> Vec<u8> {
    let mut frame = frame::header(10, bytes - 4).expect("a short body").to_vec();
    frame.resize(bytes, 7);
    frame.repeat(count)
}

/// Cutting 256 frames out of a lease.
#[divan::bench(args = [16, 64, 512])]
fn decoder(bencher: Bencher<'_, '_>, bytes: usize) {
    let lease = frames(bytes, 256);
    bencher.counter(ItemsCount::new(256_usize)).bench_local(|| {
        let mut rest = black_box(&lease[..]);
        while let Ok(Some(packet)) = frame::first(rest, 16 * 1024) {
            black_box(packet.id);
            rest = &rest[packet.frame.len()..];
        }
    });
}

/// 64 messages queued, taken as one batch, and sent.
#[divan::bench(args = [16, 64, 512])]
fn send_queue(bencher: Bencher<'_, '_>, bytes: usize) {
    let (limits, message) = (Limits::default(), vec![7; bytes]);
    let (mut queue, mut buffer_pool) = (SendQueue::default(), BufferPool::default());
    bencher.counter(ItemsCount::new(64_usize)).bench_local(|| {
        for _ in 0..64 {
            black_box(queue.push([&message, &[]], &limits, &mut buffer_pool));
        }
        let batch = queue.take().expect("something waits");
        let sent = batch.bytes();
        queue.returned(black_box(batch), sent, &limits, &mut buffer_pool);
    });
}

/// A batch of a turn queued for each of `members`, and sent.
#[divan::bench(args = [10, 100, 1000])]
fn broadcast(bencher: Bencher<'_, '_>, members: usize) {
    let (limits, mut buffer_pool) = (Limits::default(), BufferPool::default());
    let mut queues: Vec<SendQueue> = (0..members).map(|_| SendQueue::default()).collect();
    let batch = Bytes::from(frames(64, 32));
    bencher.counter(ItemsCount::new(members)).bench_local(|| {
        for queue in &mut queues {
            black_box(queue.push_shared(&batch, &limits, &mut buffer_pool));
        }
        for queue in &mut queues {
            let taken = queue.take().expect("something waits");
            let sent = taken.bytes();
            queue.returned(black_box(taken), sent, &limits, &mut buffer_pool);
        }
    });
}

/// Finding so many sessions by their ids, in no order.
#[divan::bench(args = [100, 10_000, 100_000])]
fn table(bencher: Bencher<'_, '_>, sessions: usize) {
    let mut table = Table::new(sessions);
    let mut names: Vec<(u32, u32)> = (0..sessions).filter_map(|_| table.insert([0_u64; 32]).ok()).collect();
    let mut state = 1_u64;
    for place in (1..names.len()).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        names.swap(place, (state >> 33) as usize % (place + 1));
    }
    bencher.counter(ItemsCount::new(sessions)).bench_local(|| {
        for (slot, generation) in &names {
            if let Some(session) = table.get_mut(*slot, *generation) {
                session[0] += 1;
            }
        }
    });
}

/// Setting so many timers over a minute, and letting them fire.
#[divan::bench(args = [100, 10_000, 100_000])]
fn timer_wheel(bencher: Bencher<'_, '_>, timers: usize) {
    let mut now = Tick::ZERO;
    let mut wheel = TimerWheel::default();
    bencher.counter(ItemsCount::new(timers)).bench_local(|| {
        for number in 0..timers {
            let span = Duration::from_millis((number as u64 * 7919) % 60_000);
            wheel.set(now + span, number as u32);
        }
        now = now + Duration::from_secs(61);
        wheel.expire(now, |fired| {
            black_box(fired);
        });
    });
}

/// Looks up one of 30,000 topics whose numbers are random, or chosen by a peer: consecutive numbers, multiples of a
/// large power of two, and numbers that a multiplication by the golden ratio and a shift, as in unseeded hashes, map
/// to one place.
#[divan::bench(args = ["random", "sequential", "multiples", "collide_unseeded"])]
fn topic_lookup(bencher: Bencher<'_, '_>, keys: &str) {
    const TOPICS: u64 = 30_000;
    let key = |number: u64| match keys {
        "random" => mix(number),
        "sequential" => number,
        "multiples" => number << 40,
        _ => unmix(5 << 57 | number << 24 | 0x1_2345),
    };
    let keys: Vec<u64> = (0..TOPICS).map(key).collect();
    let map: PeerMap<u64, [u8; 160]> = keys.iter().map(|key| (*key, [1; 160])).collect();
    bencher.counter(ItemsCount::new(1_000_usize)).bench_local(|| {
        for step in 0..1_000 {
            black_box(map.get(&keys[step * 7919 % keys.len()]));
        }
    });
}

const GOLDEN_RATIO: u64 = 0x9E37_79B9_7F4A_7C15;

fn mix(word: u64) -> u64 {
    let product = word.wrapping_mul(GOLDEN_RATIO);
    product ^ (product >> 29)
}

/// What [`mix`] makes `hash` of.
fn unmix(hash: u64) -> u64 {
    let product = (0..3).fold(hash, |product, _| hash ^ (product >> 29));
    // Newton's iteration for the inverse modulo 2^64: each step doubles the number of correct bits.
    let inverse = (0..6).fold(GOLDEN_RATIO, |inverse: u64, _| {
        inverse.wrapping_mul(2_u64.wrapping_sub(GOLDEN_RATIO.wrapping_mul(inverse)))
    });
    let word = product.wrapping_mul(inverse);
    assert_eq!(mix(word), hash);
    word
}
