//! The attacks by name: how many attackers, with which script, from where, for how long.
//!
//! An assault runs on its own thread beside the crowd of good clients and leaves a tally. Nothing here
//! knows the good ones.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use naksi::prelude::Limits;
use naksi::service::Signals;
use serde::Serialize;

use super::Served;
use super::attacker::{Attacker, Opening, Turn};
use super::script::{self, Due, Script};

/// Where storms come from, so that what an address may have is not taken from the good ones.
const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 66));
/// Attackers that connect in one turn of an assault that is no storm.
const CONNECTS_PER_TURN: u32 = 50;
/// The pause between two turns: attackers are many, and the machine is shared with the good ones.
const TURN_EVERY: Duration = Duration::from_millis(20);

/// After this long beyond every deadline an assault is over, whoever is still there.
const PATIENCE: Duration = Duration::from_secs(20);

/// The attacks of the suite, in the order in which they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Assault {
    /// Sizes below the header's own, or above what a first frame may have.
    Sizes,
    /// The largest allowed size, a few bytes, and silence.
    Huge,
    /// One byte at a time of a frame that never becomes whole.
    Dribble,
    /// Bytes without a meaning.
    Garbage,
    /// Messages as fast as they are taken.
    Flood,
    /// Connect and close, as fast as it goes, from one address.
    Connects,
    /// Connect and say nothing, from one address.
    Squatters,
    /// Connect, begin a frame, reset.
    Resets,
    /// Make the server talk and do not listen.
    Stalled,
}

/// What an assault came to.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Tally {
    /// Attackers that were connected.
    pub(crate) attackers: u64,
    /// Attackers that could not connect.
    pub(crate) kept_out: u64,
    /// Attackers that the server ended.
    pub(crate) ended: u64,
    /// Attackers that nothing forbade, and that left by themselves.
    pub(crate) left: u64,
    /// Attackers that were still there after their deadline and the grace.
    pub(crate) outlived: u64,
    /// The longest time from the beginning of a deadline to the end, in milliseconds.
    pub(crate) ended_after_ms: u64,
    /// What the server sent to those who read, in bytes.
    pub(crate) heard_bytes: u64,
}

/// Everything that an assault needs to know.
pub(super) struct Field<'a> {
    pub(super) target: SocketAddr,
    pub(super) served: Served,
    /// Whoever runs the suite may have enough of it.
    pub(super) signals: &'a Signals,
    pub(super) limits: &'a Limits,
    /// How many times the default number of attackers.
    pub(super) scale: f64,
    /// How long attacks without a deadline go on.
    pub(super) span: Duration,
    /// What a deadline may be missed by on a busy machine.
    pub(super) grace: Duration,
}

impl Assault {
    /// The name as it is typed.
    pub(super) fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }

    /// Whether an application can be attacked so: raw bytes have no frames to be wrong.
    pub(super) fn applies_to(self, served: Served) -> bool {
        let framed = matches!(self, Assault::Sizes | Assault::Huge | Assault::Dribble | Assault::Garbage);
        served == Served::Relay || !framed
    }

    /// By when the server must have ended the last of them, counted from its own beginning.
    pub(super) fn deadline(self, field: &Field<'_>) -> Option<Duration> {
        let limits = field.limits;
        match self {
            Assault::Sizes => Some(Duration::ZERO),
            Assault::Huge => Some(limits.first_frame_within.max(limits.frame_within)),
            Assault::Dribble | Assault::Garbage => Some(limits.first_frame_within),
            Assault::Squatters | Assault::Flood | Assault::Stalled => match self.script(0, field).due {
                Due::AfterConnect(within) | Due::AfterStall(within) => Some(within),
                Due::Never => None,
            },
            Assault::Connects | Assault::Resets => None,
        }
    }

    /// How long the good ones must stay to have lived through all of it.
    pub(super) fn lasts(self, field: &Field<'_>) -> Duration {
        self.deadline(field).map_or(field.span, |deadline| field.span.max(deadline + Duration::from_secs(1)))
    }

    /// How many attackers, or connections of a storm. All of them together fit beside the good ones under
    /// 20,000 descriptors, and leave a machine of two processors some time for its own work.
    fn count(self, scale: f64) -> u32 {
        let count = match self {
            Assault::Sizes | Assault::Huge | Assault::Dribble | Assault::Garbage => 200.0,
            Assault::Flood => 4.0,
            Assault::Connects => 4_000.0,
            Assault::Squatters => 2_000.0,
            Assault::Resets => 8_000.0,
            Assault::Stalled => 1_000.0,
        };
        ((count * scale) as u32).max(1)
    }

    /// Descriptors that it needs at a time.
    pub(super) fn descriptors(self, scale: f64) -> u32 {
        if self.is_storm() { 1 } else { self.count(scale) }
    }

    fn is_storm(self) -> bool {
        matches!(self, Assault::Connects | Assault::Resets)
    }

    fn script(self, index: u32, field: &Field<'_>) -> Script {
        match self {
            Assault::Sizes => script::wrong_size(index, field.limits),
            Assault::Huge => script::huge_then_silent(index, field.limits),
            Assault::Dribble => script::dribble(field.limits),
            Assault::Garbage => script::garbage(index, field.limits),
            Assault::Flood => script::flood(index, field.limits, field.served),
            Assault::Stalled => script::stalled(index, field.limits, field.served),
            Assault::Squatters | Assault::Connects | Assault::Resets => {
                script::squatter(field.limits, field.served)
            }
        }
    }

    /// Attacks until every attacker has ended or is overdue, or until those without a deadline leave.
    pub(super) fn run(self, field: &Field<'_>) -> Tally {
        let from = matches!(self, Assault::Connects | Assault::Squatters | Assault::Resets);
        let opening = Opening {
            target: field.target,
            from: Some(ELSEWHERE).filter(|_| from && field.target.is_ipv4()),
            resets: self == Assault::Resets,
            deaf: self == Assault::Stalled,
        };
        if self.is_storm() { self.storm(field, opening) } else { self.siege(field, opening) }
    }

    /// One connection after the other, each given up at once.
    fn storm(self, field: &Field<'_>, opening: Opening) -> Tally {
        let began = Instant::now();
        let mut tally = Tally::default();
        for index in 0..self.count(field.scale) {
            if began.elapsed() > field.span || field.signals.seen() {
                break;
            }
            let Ok(stream) = opening.open() else {
                tally.kept_out += 1;
                continue;
            };
            tally.attackers += 1;
            tally.left += 1;
            if self == Assault::Resets {
                // The first half of a frame; whether it goes out is the attacker's own loss.
                std::io::Write::write_all(&mut &stream, &script::join(index)[..5]).ok();
            }
        }
        tally
    }

    /// Many at a time, each until its end.
    fn siege(self, field: &Field<'_>, opening: Opening) -> Tally {
        let began = Instant::now();
        let (mut tally, mut attackers) = (Tally::default(), Vec::new());
        let mut scratch = vec![0; 64 * 1024];
        let (mut made, count) = (0, self.count(field.scale));
        loop {
            let until = count.min(made + CONNECTS_PER_TURN);
            for index in made..until {
                match opening.open() {
                    Ok(stream) => {
                        let (script, share) =
                            (self.script(index, field), f64::from(index) / f64::from(count));
                        attackers.push(Attacker::new(stream, script, Instant::now(), share));
                        tally.attackers += 1;
                    }
                    Err(_) => tally.kept_out += 1,
                }
            }
            made = until;
            attackers.retain_mut(|attacker| tally.goes_on(attacker, field.grace, &mut scratch));
            if (made == count && attackers.is_empty()) || field.signals.seen() {
                break;
            }
            let deadline = self.deadline(field);
            if deadline.is_none() && began.elapsed() > field.span {
                tally.left = attackers.len() as u64;
                break;
            }
            // A server that lets them go on for ever, a byte at a time, is not waited for that long.
            if deadline.is_some_and(|within| began.elapsed() > within + field.grace + PATIENCE) {
                tally.outlived += attackers.len() as u64;
                break;
            }
            let often = matches!(self, Assault::Flood | Assault::Dribble);
            std::thread::sleep(if often { Duration::from_millis(1) } else { TURN_EVERY });
        }
        tally.heard_bytes += attackers.iter().map(Attacker::heard_bytes).sum::<u64>();
        tally
    }
}

impl Tally {
    /// Gives an attacker its turn; whether it stays.
    fn goes_on(&mut self, attacker: &mut Attacker, grace: Duration, scratch: &mut [u8]) -> bool {
        let now = Instant::now();
        match attacker.turn(now, scratch) {
            Turn::Ended(after) => {
                self.ended += 1;
                self.ended_after_ms = self.ended_after_ms.max(after.as_millis() as u64);
            }
            Turn::Going if attacker.is_overdue(now, grace) => self.outlived += 1,
            Turn::Going => return true,
        }
        self.heard_bytes += attacker.heard_bytes();
        false
    }
}
