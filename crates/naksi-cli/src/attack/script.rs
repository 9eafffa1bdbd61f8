//! What an attacker says, how fast, whether it listens, and by when the server should have ended it.
//!
//! A script is bytes and manners; it is played by anybody with a connection. Nothing here knows a socket.

use std::sync::Arc;
use std::time::Duration;

use naksi::prelude::{Limits, OverRate};

use super::Served;
use crate::apps::relay::{JOIN, MSG};
use crate::dummy::pattern::mix;

/// Bytes that a flooder says in one turn at most, so that every one of them has its turn.
const BYTES_PER_TURN: usize = 256 * 1024;
/// Bodies of the messages that floods are made of.
const FLOOD_BODY_BYTES: usize = 200;

/// By when a server that keeps its limits has ended who plays a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// So long after connecting.
    AfterConnect(Duration),
    /// So long after the last byte was taken from it.
    AfterStall(Duration),
    /// Nothing it does is forbidden: it is held back, and leaves by itself.
    Never,
}

/// What an attacker says, and how.
#[derive(Clone, Debug)]
pub(super) struct Script {
    /// Said first, once.
    pub(super) opening: Arc<[u8]>,
    /// Said again and again after that; nothing if it is empty.
    pub(super) refrain: Arc<[u8]>,
    /// Most bytes said in one turn.
    pub(super) bytes_per_turn: usize,
    /// A turn comes at most this often.
    pub(super) turn_every: Duration,
    /// Whether it reads what it is sent.
    pub(super) reads: bool,
    pub(super) due: Due,
}

impl Script {
    fn once(opening: Vec<u8>, due: Due) -> Self {
        Self {
            opening: opening.into(),
            refrain: Arc::default(),
            bytes_per_turn: BYTES_PER_TURN,
            turn_every: Duration::ZERO,
            reads: true,
            due,
        }
    }

    fn again_and_again(opening: Vec<u8>, refrain: Vec<u8>, reads: bool, due: Due) -> Self {
        Self { refrain: refrain.into(), reads, ..Self::once(opening, due) }
    }
}

/// A size below the header's own, or above what a first frame may have: wrong at the second byte.
pub(super) fn wrong_size(index: u32, limits: &Limits) -> Script {
    let first_max = limits.first_frame_bytes_max.min(limits.frame_bytes_max);
    let above = u16::try_from(first_max + 1).unwrap_or(u16::MAX);
    let size = [0_u16, 1, 2, 3, above, u16::MAX][index as usize % 6];
    // Every other one sends nothing after the size: it must not be waited for.
    let mut bytes = size.to_le_bytes().to_vec();
    if index.is_multiple_of(2) {
        bytes.extend([1, 0, 0xAB, 0xCD]);
    }
    Script::once(bytes, Due::AfterConnect(Duration::ZERO))
}

/// The largest size that is allowed, a few bytes of it, and silence: before the first frame or after it.
pub(super) fn huge_then_silent(index: u32, limits: &Limits) -> Script {
    if index.is_multiple_of(2) {
        let mut bytes = header(limits.first_frame_bytes_max.min(limits.frame_bytes_max), JOIN).to_vec();
        bytes.extend([0; 10]);
        return Script::once(bytes, Due::AfterConnect(limits.first_frame_within));
    }
    let mut bytes = join(index);
    bytes.extend(header(limits.frame_bytes_max, MSG));
    bytes.extend([0; 10]);
    Script::once(bytes, Due::AfterConnect(limits.frame_within))
}

/// One byte at a time, of a frame that will not be whole in time.
pub(super) fn dribble(limits: &Limits) -> Script {
    let size = limits.first_frame_bytes_max.min(limits.frame_bytes_max);
    let mut bytes = header(size, JOIN).to_vec();
    bytes.resize(size, 0);
    let mut script = Script::once(bytes, Due::AfterConnect(limits.first_frame_within));
    script.bytes_per_turn = 1;
    // Twice too slow: half of the frame is there when the time is over.
    script.turn_every = limits.first_frame_within * 2 / size as u32;
    script
}

/// Bytes without a meaning; most of them are a wrong size, some are a frame that nobody knows.
pub(super) fn garbage(index: u32, limits: &Limits) -> Script {
    let seed = u64::from(index) << 32;
    let bytes = (0..512).flat_map(|word| mix(seed | word).to_le_bytes()).collect();
    Script::once(bytes, Due::AfterConnect(limits.first_frame_within))
}

/// Connects and says nothing.
pub(super) fn squatter(limits: &Limits, served: Served) -> Script {
    let within = match served {
        Served::Relay => limits.first_frame_within.min(limits.idle_within),
        // Raw bytes have no first frame.
        Served::Echo => limits.idle_within,
    };
    Script::once(Vec::new(), Due::AfterConnect(within))
}

/// Messages as fast as they are taken, all answers read.
pub(super) fn flood(index: u32, limits: &Limits, served: Served) -> Script {
    let (opening, refrain) = talk(index, served);
    Script::again_and_again(opening, refrain, true, due_by_rate(limits, served).unwrap_or(Due::Never))
}

/// Messages as fast as they are taken, and not one answer read.
pub(super) fn stalled(index: u32, limits: &Limits, served: Served) -> Script {
    let (opening, refrain) = talk(index, served);
    // Whoever is not read is sent nothing, and stalls late or never.
    let due = due_by_rate(limits, served).unwrap_or(Due::AfterStall(limits.send_stall_within));
    Script::again_and_again(opening, refrain, false, due)
}

/// By when somebody who says too much must end, if there is a limit to how much a session may bring in a second.
fn due_by_rate(limits: &Limits, served: Served) -> Option<Due> {
    let messages = served == Served::Relay && limits.messages_per_second_max > 0;
    let limited = messages || limits.recv_bytes_per_second_max > 0;
    limited.then_some(match limits.over_rate {
        OverRate::Pause => Due::Never,
        OverRate::EndSession => Due::AfterConnect(Duration::from_secs(1)),
    })
}

/// The greeting of an application, and many messages in one run of bytes.
fn talk(index: u32, served: Served) -> (Vec<u8>, Vec<u8>) {
    let mut message = header(FLOOD_BODY_BYTES + 4, MSG).to_vec();
    message.resize(FLOOD_BODY_BYTES + 4, index as u8);
    let opening = match served {
        Served::Relay => join(index),
        Served::Echo => Vec::new(),
    };
    (opening, message.repeat(64))
}

/// Every attacker has a room to itself: rooms of the good ones are not the point, the worker is.
pub(super) fn join(index: u32) -> Vec<u8> {
    const FIRST_ROOM: u32 = 0xA77A_0000;
    let room = FIRST_ROOM.wrapping_add(index);
    [&header(8, JOIN)[..], &room.to_le_bytes()[..]].concat()
}

fn header(size: usize, id: u16) -> [u8; 4] {
    let size = u16::try_from(size).unwrap_or(u16::MAX).to_le_bytes();
    let id = id.to_le_bytes();
    [size[0], size[1], id[0], id[1]]
}
