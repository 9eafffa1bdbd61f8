//! The attacks by name: how many attackers, with which script, from where, for how long.
//!
//! An assault runs on its own thread beside the crowd of good clients and leaves a tally. Nothing here
//! knows the good ones.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use naksi::service::Signals;
use serde::Serialize;

use super::Served;
use super::attacker::{Attacker, Opening, Turn};
use super::script::{self, Due, Script, Server};

/// Where storms come from, so that what an address may have is not taken from the good ones.
const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 66));
/// Attackers that connect in one turn of an assault that is no storm.
const CONNECTS_PER_TURN: u32 = 50;
/// The pause between two turns: attackers are many, and the machine is shared with the good ones.
const TURN_EVERY: Duration = Duration::from_millis(20);

/// After this long beyond every deadline an assault is over, and those that are still there have outlived it.
const PATIENCE: Duration = Duration::from_secs(20);

/// No attack has more different scripts than this.
const SCRIPTS_MAX: usize = 64;

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
    /// Enter and leave rooms as fast as they are taken; log in to a world and go.
    Members,
    /// Names: odd ones again and again, one for many, and ones that are not allowed.
    Names,
    /// Walk and leap as fast as the moves are taken.
    Moves,
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
    pub(super) server: Server<'a>,
    /// A Ctrl-C ends the suite.
    pub(super) signals: &'a Signals,
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

    /// Whether an application can be attacked so.
    pub(super) fn applies_to(self, served: Served) -> bool {
        match self {
            Assault::Sizes | Assault::Huge | Assault::Dribble | Assault::Garbage | Assault::Members => {
                served != Served::Echo
            }
            Assault::Names | Assault::Moves => matches!(served, Served::Chat | Served::World),
            Assault::Flood | Assault::Connects | Assault::Squatters | Assault::Resets | Assault::Stalled => {
                true
            }
        }
    }

    /// By when the server must have ended the last of those that must end, counted from its own beginning.
    pub(super) fn deadline(self, field: &Field<'_>) -> Option<Duration> {
        let due = |index| match self.script(index, field).due {
            Due::AfterConnect(within) | Due::AfterStall(within) => Some(within),
            Due::Never => None,
        };
        if self.is_storm() { None } else { (0..self.count(field)).take(SCRIPTS_MAX).filter_map(due).max() }
    }

    /// How long the good ones must stay to have lived through all of it.
    pub(super) fn lasts(self, field: &Field<'_>) -> Duration {
        self.deadline(field).map_or(field.span, |deadline| field.span.max(deadline + Duration::from_secs(1)))
    }

    /// How many attackers, or connections of a storm. All of them together fit beside the good ones under
    /// 20,000 descriptors, and leave a machine of two processors some time for its own work.
    fn count(self, field: &Field<'_>) -> u32 {
        let (count, scripts) = match self {
            Assault::Sizes => (200.0, script::WRONG_SIZES),
            Assault::Huge | Assault::Dribble | Assault::Garbage => (200.0, 1),
            Assault::Flood => (4.0, 1),
            Assault::Connects => (4_000.0, 1),
            Assault::Squatters => (2_000.0, 1),
            Assault::Resets => (8_000.0, 1),
            Assault::Stalled => (1_000.0, 1),
            Assault::Members if field.server.served == Served::World => (4_000.0, script::MEMBER_KINDS),
            Assault::Members => (6.0, script::MEMBER_KINDS),
            Assault::Names => (1_000.0, script::RENAMERS + 2 * script::WRONG_NAMES),
            Assault::Moves => (4.0, script::MOVE_KINDS),
        };
        ((count * field.scale) as u32).max(scripts)
    }

    /// How many attackers there are at a time; the next one comes when one is gone.
    fn at_once(self, field: &Field<'_>) -> u32 {
        let most = match self {
            _ if self.is_storm() => 1,
            Assault::Members if field.server.served == Served::World => 200,
            Assault::Names => script::RENAMERS * 2,
            _ => u32::MAX,
        };
        self.count(field).min(most)
    }

    /// Descriptors that it needs at a time.
    pub(super) fn descriptors(self, field: &Field<'_>) -> u32 {
        self.at_once(field)
    }

    /// Whether it is one connection after the other, each given up at once.
    fn is_storm(self) -> bool {
        matches!(self, Assault::Connects | Assault::Resets)
    }

    fn script(self, index: u32, field: &Field<'_>) -> Script {
        let server = &field.server;
        match self {
            Assault::Sizes => script::wrong_size(index, server),
            Assault::Huge => script::huge_then_silent(index, server),
            Assault::Dribble => script::dribble(server),
            Assault::Garbage => script::garbage(index, server),
            Assault::Flood => script::flood(index, server),
            Assault::Stalled => script::stalled(index, server),
            Assault::Members => script::members(index, server),
            Assault::Names => script::names(index, server),
            Assault::Moves => script::moves(index, server),
            Assault::Squatters | Assault::Connects | Assault::Resets => script::squatter(server),
        }
    }

    /// Attacks until every attacker that must end has ended or is overdue, and the others have left.
    pub(super) fn run(self, field: &Field<'_>) -> Tally {
        // Many connections come from another address, so that the good ones keep what an address may have.
        let many = self.is_storm() || self == Assault::Squatters || self.at_once(field) < self.count(field);
        let opening = Opening {
            target: field.target,
            from: Some(ELSEWHERE).filter(|_| many && field.target.is_ipv4()),
            resets: self == Assault::Resets,
            deaf: self == Assault::Stalled,
        };
        if self.is_storm() { self.storm(field, opening) } else { self.siege(field, opening) }
    }

    /// One connection after the other, each given up at once.
    fn storm(self, field: &Field<'_>, opening: Opening) -> Tally {
        let began = Instant::now();
        let mut tally = Tally::default();
        for index in 0..self.count(field) {
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
                // The first half of a frame; it does not matter whether it goes out.
                std::io::Write::write_all(&mut &stream, &script::join(index)[..5]).ok();
            }
        }
        tally
    }

    /// Many at a time, each until its end.
    fn siege(self, field: &Field<'_>, opening: Opening) -> Tally {
        let began = Instant::now();
        let (mut tally, mut attackers) = (Tally::default(), Vec::<Attacker>::new());
        let mut scratch = vec![0; 64 * 1024];
        let (mut made, count, at_once) = (0, self.count(field), self.at_once(field) as usize);
        let deadline = self.deadline(field).unwrap_or_default();
        loop {
            let is_over = began.elapsed() > field.span;
            let until =
                if is_over && at_once < count as usize { made } else { count.min(made + CONNECTS_PER_TURN) };
            while made < until && attackers.len() < at_once {
                match opening.open() {
                    Ok(stream) => {
                        let (script, share) = (self.script(made, field), f64::from(made) / f64::from(count));
                        attackers.push(Attacker::new(stream, script, Instant::now(), share));
                        tally.attackers += 1;
                    }
                    Err(_) => tally.kept_out += 1,
                }
                made += 1;
            }
            attackers.retain_mut(|attacker| tally.goes_on(attacker, is_over, field.grace, &mut scratch));
            let is_complete = made == count || (is_over && at_once < count as usize);
            if (is_complete && attackers.is_empty()) || field.signals.seen() {
                break;
            }
            // The clock of a stall begins anew with every byte that the server takes: it does not go on for ever.
            if began.elapsed() > field.span.max(deadline) + field.grace + PATIENCE {
                tally.outlived += attackers.len() as u64;
                break;
            }
            let is_fast = matches!(
                self,
                Assault::Flood | Assault::Dribble | Assault::Members | Assault::Names | Assault::Moves
            );
            std::thread::sleep(if is_fast { Duration::from_millis(1) } else { TURN_EVERY });
        }
        tally.heard_bytes += attackers.iter().map(Attacker::heard_bytes).sum::<u64>();
        tally
    }
}

impl Tally {
    /// Gives an attacker its turn; whether it stays. When the attack is over, those leave that nothing forbids.
    fn goes_on(
        &mut self,
        attacker: &mut Attacker,
        is_over: bool,
        grace: Duration,
        scratch: &mut [u8],
    ) -> bool {
        let now = Instant::now();
        match attacker.turn(now, scratch) {
            Turn::Ended(after) => {
                self.ended += 1;
                self.ended_after_ms = self.ended_after_ms.max(after.as_millis() as u64);
            }
            Turn::Going if attacker.is_overdue(now, grace) => self.outlived += 1,
            Turn::Going if attacker.leaves(now, is_over) => self.left += 1,
            Turn::Going => return true,
        }
        self.heard_bytes += attacker.heard_bytes();
        false
    }
}
