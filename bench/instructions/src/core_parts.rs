//! The parts of `naksi-core` that every message passes, each by itself.

use std::hint::black_box;
use std::time::Duration;

use naksi_core::buffer_pool::BufferPool;
use naksi_core::frame;
use naksi_core::limits::Limits;
use naksi_core::send_queue::SendQueue;
use naksi_core::table::Table;
use naksi_core::tick::Tick;
use naksi_core::timer::TimerWheel;

/// Frames cut out of one receive buffer.
const FRAMES: usize = 256;
/// Messages that leave in one batch.
const BATCH: usize = 64;
/// Sessions in the table, and timers in the wheel.
const ENTRIES: usize = 1024;

/// Splits a receive buffer into frames of 64 bytes; an item is a frame.
pub(crate) fn frame_decode(items: usize) {
    let mut frame = frame::header(10, 60).expect("a short body").to_vec();
    frame.resize(64, 7);
    let received = frame.repeat(FRAMES);
    for _ in 0..items / FRAMES {
        let mut rest = black_box(&received[..]);
        while let Ok(Some(packet)) = frame::first(rest, 16 * 1024) {
            black_box(packet.id);
            rest = &rest[packet.frame.len()..];
        }
    }
}

/// Queues messages of 64 bytes, takes them as one batch and returns it as sent; an item is a message.
pub(crate) fn send_queue(items: usize) {
    let (limits, message) = (Limits::default(), [7; 64]);
    let (mut queue, mut buffer_pool) = (SendQueue::default(), BufferPool::default());
    for _ in 0..items / BATCH {
        for _ in 0..BATCH {
            black_box(queue.push([black_box(&message[..]), &[]], &limits, &mut buffer_pool));
        }
        let batch = queue.take().expect("the batch was queued");
        let sent = batch.bytes();
        queue.returned(black_box(batch), sent, &limits, &mut buffer_pool);
    }
}

/// Inserts a session, finds it twice by its id and removes it; an item is a session.
pub(crate) fn session_table(items: usize) {
    let mut table = Table::new(ENTRIES);
    let mut ids = Vec::with_capacity(ENTRIES);
    for _ in 0..items / ENTRIES {
        ids.extend((0..ENTRIES).map(|_| table.insert([0_u64; 32]).expect("there is room")));
        for (slot, generation) in ids.iter().chain(ids.iter().rev()) {
            if let Some(session) = table.get_mut(*slot, *generation) {
                session[0] += 1;
            }
        }
        for (slot, generation) in ids.drain(..) {
            black_box(table.remove(slot, generation));
        }
    }
}

/// Sets timers over a minute and lets them fire; an item is a timer.
pub(crate) fn timer_wheel(items: usize) {
    let (mut wheel, mut now) = (TimerWheel::default(), Tick::ZERO);
    for _ in 0..items / ENTRIES {
        for number in 0..ENTRIES {
            let span = Duration::from_millis((number as u64 * 7919) % 60_000);
            wheel.set(now + span, number as u32);
        }
        now = now + Duration::from_secs(61);
        wheel.expire(now, |fired| {
            black_box(fired);
        });
    }
}
