//! A peer that has fallen silent: its session must end within the limit that holds for it.
//!
//! Whatever else the world grants is counted: jumps of the clock, workers that stall, an echo that has yet to get
//! through a narrow socket, a rate at which the session is read. Nothing here knows a port.

use std::time::Duration;

use crate::kernel::peer::PeerIo;
use naksi::prelude::*;
use naksi_core::frame;

use super::observations::SessionLife;
use super::setting::Setting;
use super::sim_service::limits;

/// What faults may hold back on the way of an ending besides: completions, posts, cancels that find nothing.
const DELAYS_WITHIN: Duration = Duration::from_millis(500);
/// A worker that always has more to read judges deadlines a second late.
const HEARD_WITHIN: Duration = Duration::from_secs(1);
/// One flight of an echo: there, its acknowledgement back, and a completion that comes late.
const FLIGHT_WITHIN: Duration = Duration::from_millis(50);
/// Turns of a worker that one flight of an echo takes: two until its bytes are read, one for the answer, and as many
/// before a deadline is judged.
const TURNS_A_FLIGHT: u32 = 6;
/// What a session may have queued beside the echo of what was said.
const OTHER_BYTES_MAX: usize = 100;

/// The stalls of a run's workers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stalls {
    total: Duration,
    until: Tick,
}

impl Stalls {
    /// A worker stalls.
    pub fn begin(&mut self, now: Tick, span: Duration) {
        self.total += span;
        self.until = now + span;
    }

    /// All stalls before `now`, and what is left of the last one not among them.
    fn before(&self, now: Tick) -> Duration {
        self.total - self.until.since(now)
    }
}

/// What a setting grants the sessions of silent peers.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    framed: bool,
    /// A frame that is cut must be whole within this.
    cut_within: Duration,
    /// A silent session ends within this.
    idle_within: Duration,
    /// As many bytes of an echo get out to a peer that does not read.
    room_bytes: usize,
    socket_bytes: usize,
    rates: (u32, usize),
    /// What a turn of a worker takes.
    turn: Duration,
}

impl Terms {
    /// Those of the server's sessions.
    pub fn of(setting: &Setting) -> Self {
        let limits = limits(setting, 0);
        Self {
            framed: setting.framed,
            cut_within: limits.frame_within.max(limits.first_frame_within),
            // A session that has more to send than there is room for may end at the last moment.
            idle_within: limits.idle_within.max(limits.send_stall_within) + limits.drain_within,
            room_bytes: limits.send_queue_high_bytes.min(2 * setting.socket_bytes),
            socket_bytes: setting.socket_bytes.max(1),
            rates: setting.rates(),
            turn: Duration::from_millis(setting.turn_ms),
        }
    }
}

/// When a peer fell silent, and what its session is granted from then on.
#[derive(Debug)]
pub struct QuietCheck {
    since: Tick,
    limit: Duration,
    grant: Duration,
    jumped: Duration,
    stalled: Duration,
}

impl QuietCheck {
    /// From now on the peer says nothing more than `said`; `reads` says whether it still reads.
    pub fn begin(io: &PeerIo<'_>, terms: Terms, stalls: Stalls, said: &[u8], reads: bool) -> Self {
        let (frames, cut) = frames_of(said, terms.framed);
        let gets_out = reads || said.len() + OTHER_BYTES_MAX <= terms.room_bytes;
        let flights = 1 + 4 * said.len() / terms.socket_bytes;
        // Twice as long as the rate has it: a pause may be longer than it must be.
        let paced = |units: usize, rate: usize| match rate {
            0 => Duration::ZERO,
            _ => Duration::from_millis((2000 * units / rate) as u64) + DELAYS_WITHIN,
        };
        let paced = paced(frames, terms.rates.0 as usize) + paced(said.len(), terms.rates.1);
        Self {
            since: io.now(),
            limit: if cut && gets_out { terms.cut_within } else { terms.idle_within },
            grant: DELAYS_WITHIN
                + HEARD_WITHIN
                + (FLIGHT_WITHIN + TURNS_A_FLIGHT * terms.turn) * flights as u32
                + paced,
            jumped: io.jumped(),
            stalled: stalls.before(io.now()),
        }
    }

    /// The peer hears that the session has ended. Returns whether a deadline has ended it.
    ///
    /// # Panics
    /// It has ended too late.
    pub fn end(&self, io: &PeerIo<'_>, life: &SessionLife, stalls: Stalls) -> bool {
        let took = io.now().since(self.since.max(life.begun));
        let grant = self.grant + (io.jumped() - self.jumped) + (stalls.total - self.stalled);
        assert!(
            took <= self.limit + grant,
            "law 9: a session outlives its peer's silence: it took {took:?}, its limit is {:?}, and {grant:?} were granted",
            self.limit
        );
        use DisconnectReason::{FirstFrameLate, FrameLate, Idle, SendStalled};
        matches!(life.over, Some(FirstFrameLate | FrameLate | Idle | SendStalled))
    }
}

/// How many frames were said, and whether the last of them is cut.
fn frames_of(said: &[u8], framed: bool) -> (usize, bool) {
    let (mut rest, mut count) = (said, 0);
    while framed && let Ok(Some(packet)) = frame::first(rest, usize::from(u16::MAX)) {
        rest = &rest[packet.frame.len()..];
        count += 1;
    }
    (count, framed && !rest.is_empty())
}
