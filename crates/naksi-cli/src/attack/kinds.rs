//! The attacks by name: how many attackers, with which script, from which address, for how long.
//!
//! An attack runs on its own thread beside the regular clients and returns its counts.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use naksi::config::Url;
use naksi::service::Signals;
use serde::Serialize;

use super::Served;
use super::attacker::{Attacker, Opening, Turn};
use super::script::{self, Due, Script, Server};

/// The source address of connect floods, so that they do not use up the regular clients' limit per address.
const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 66));
/// Attackers that connect in one turn, except in connect floods.
const CONNECTS_PER_TURN: u32 = 50;
/// The pause between two turns: attackers are many, and the machine is shared with the regular clients.
const TURN_EVERY: Duration = Duration::from_millis(20);

/// This long after every deadline an attack is over, and attackers that are still connected have outlived it.
const PATIENCE: Duration = Duration::from_secs(20);

/// No attack has more different scripts than this.
const SCRIPTS_MAX: usize = 64;

/// The attacks of the suite, in the order in which they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum AttackKind {
    /// Sizes below the header's, or above the limit of a first frame.
    Sizes,
    /// The largest allowed size, a few bytes, and silence.
    Huge,
    /// One byte at a time of a frame that is never completed.
    Dribble,
    /// Random bytes.
    Garbage,
    /// Messages as fast as possible.
    Flood,
    /// Connect and close as fast as possible, from one address.
    Connects,
    /// Connect and send nothing, from one address.
    Squatters,
    /// Connect, begin a frame, reset.
    Resets,
    /// Request much output and do not read it.
    Stalled,
    /// Enter and leave rooms as fast as possible; log in to a world and leave.
    Members,
    /// Names: unusual ones repeatedly, one for many attackers, and invalid ones.
    Names,
    /// Walk and jump as fast as possible.
    Moves,
}

/// The counts of one attack.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct AttackCounts {
    /// Attackers that were connected.
    pub(crate) attackers: u64,
    /// Attackers that could not connect.
    pub(crate) kept_out: u64,
    /// Attackers that the server ended.
    pub(crate) ended: u64,
    /// Attackers whose behaviour is allowed, and that left by themselves.
    pub(crate) left: u64,
    /// Attackers that were still there after their deadline and the grace.
    pub(crate) outlived: u64,
    /// The longest time from the start of a deadline to the end of the session, in milliseconds.
    pub(crate) ended_after_ms: u64,
    /// Bytes that attackers received.
    pub(crate) heard_bytes: u64,
}

/// The target and the options of the attacks.
pub(super) struct AttackContext<'a> {
    pub(super) target: SocketAddr,
    /// What connections travel over.
    pub(super) url: Url,
    pub(super) server: Server<'a>,
    /// A Ctrl-C ends the suite.
    pub(super) signals: &'a Signals,
    /// Multiplies the number of attackers.
    pub(super) scale: f64,
    /// Length of attacks without a deadline.
    pub(super) span: Duration,
    /// How late an attacker may end, on a busy machine.
    pub(super) grace: Duration,
}

impl AttackKind {
    /// The name on the command line.
    pub(super) fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }

    /// Whether the attack fits an application.
    pub(super) fn applies_to(self, served: Served) -> bool {
        match self {
            AttackKind::Sizes
            | AttackKind::Huge
            | AttackKind::Dribble
            | AttackKind::Garbage
            | AttackKind::Members => served != Served::Echo,
            AttackKind::Names | AttackKind::Moves => matches!(served, Served::Chat | Served::World),
            AttackKind::Flood
            | AttackKind::Connects
            | AttackKind::Squatters
            | AttackKind::Resets
            | AttackKind::Stalled => true,
        }
    }

    /// When the server must have ended the last attacker that must end, counted from that attacker's start.
    pub(super) fn deadline(self, context: &AttackContext<'_>) -> Option<Duration> {
        let due = |index| match self.script(index, context).due {
            Due::AfterConnect(within) | Due::AfterStall(within) => Some(within),
            Due::Never => None,
        };
        if self.is_connect_flood() {
            None
        } else {
            (0..self.count(context)).take(SCRIPTS_MAX).filter_map(due).max()
        }
    }

    /// How long the regular clients must run to cover the whole attack.
    pub(super) fn lasts(self, context: &AttackContext<'_>) -> Duration {
        self.deadline(context)
            .map_or(context.span, |deadline| context.span.max(deadline + Duration::from_secs(1)))
    }

    /// Number of attackers, or of connections in a connect flood. All of them fit beside the regular clients under
    /// 20,000 descriptors, and leave a machine of two processors some time for the server.
    fn count(self, context: &AttackContext<'_>) -> u32 {
        let (count, scripts) = match self {
            AttackKind::Sizes => (200.0, script::WRONG_SIZES),
            AttackKind::Huge | AttackKind::Dribble | AttackKind::Garbage => (200.0, 1),
            AttackKind::Flood => (4.0, 1),
            AttackKind::Connects => (4_000.0, 1),
            AttackKind::Squatters => (2_000.0, 1),
            AttackKind::Resets => (8_000.0, 1),
            AttackKind::Stalled => (1_000.0, 1),
            AttackKind::Members if context.server.served == Served::World => (4_000.0, script::MEMBER_KINDS),
            AttackKind::Members => (6.0, script::MEMBER_KINDS),
            AttackKind::Names => (1_000.0, script::RENAMERS + 2 * script::WRONG_NAMES),
            AttackKind::Moves => (4.0, script::MOVE_KINDS),
        };
        ((count * context.scale) as u32).max(scripts)
    }

    /// Number of concurrent attackers; the next one starts when one has ended.
    fn at_once(self, context: &AttackContext<'_>) -> u32 {
        let most = match self {
            _ if self.is_connect_flood() => 1,
            AttackKind::Members if context.server.served == Served::World => 200,
            AttackKind::Names => script::RENAMERS * 2,
            _ => u32::MAX,
        };
        self.count(context).min(most)
    }

    /// Descriptors that it needs at a time.
    pub(super) fn descriptors(self, context: &AttackContext<'_>) -> u32 {
        self.at_once(context)
    }

    /// Whether it is a connect flood: one connection after the other, each closed at once.
    fn is_connect_flood(self) -> bool {
        matches!(self, AttackKind::Connects | AttackKind::Resets)
    }

    fn script(self, index: u32, context: &AttackContext<'_>) -> Script {
        let server = &context.server;
        match self {
            AttackKind::Sizes => script::wrong_size(index, server),
            AttackKind::Huge => script::huge_then_silent(index, server),
            AttackKind::Dribble => script::dribble(server),
            AttackKind::Garbage => script::garbage(index, server),
            AttackKind::Flood => script::flood(index, server),
            AttackKind::Stalled => script::stalled(index, server),
            AttackKind::Members => script::members(index, server),
            AttackKind::Names => script::names(index, server),
            AttackKind::Moves => script::moves(index, server),
            AttackKind::Squatters | AttackKind::Connects | AttackKind::Resets => script::squatter(server),
        }
    }

    /// Runs until every attacker that must end has ended or is overdue, and the others have left.
    pub(super) fn run(self, context: &AttackContext<'_>) -> AttackCounts {
        // Many connections come from another address, so that the regular clients keep their limit per address.
        let many = self.is_connect_flood()
            || self == AttackKind::Squatters
            || self.at_once(context) < self.count(context);
        let opening = Opening {
            target: context.target,
            from: Some(ELSEWHERE).filter(|_| many && context.target.is_ipv4()),
            resets: self == AttackKind::Resets,
            deaf: self == AttackKind::Stalled,
        };
        if self.is_connect_flood() {
            self.flood_connects(context, opening)
        } else {
            self.run_attackers(context, opening)
        }
    }

    /// One connection after the other, each closed at once.
    fn flood_connects(self, context: &AttackContext<'_>, opening: Opening) -> AttackCounts {
        let began = Instant::now();
        let mut counts = AttackCounts::default();
        for index in 0..self.count(context) {
            if began.elapsed() > context.span || context.signals.seen() {
                break;
            }
            let Ok(stream) = opening.open() else {
                counts.kept_out += 1;
                continue;
            };
            counts.attackers += 1;
            counts.left += 1;
            if self == AttackKind::Resets {
                // The first half of a frame; it does not matter whether it is sent.
                std::io::Write::write_all(&mut &stream, &script::join(index)[..5]).ok();
            }
        }
        counts
    }

    /// Many attackers at a time, each until its end.
    fn run_attackers(self, context: &AttackContext<'_>, opening: Opening) -> AttackCounts {
        let began = Instant::now();
        let (mut counts, mut attackers) = (AttackCounts::default(), Vec::<Attacker>::new());
        let mut scratch = vec![0; 64 * 1024];
        let (mut made, count, at_once) = (0, self.count(context), self.at_once(context) as usize);
        let deadline = self.deadline(context).unwrap_or_default();
        loop {
            let is_over = began.elapsed() > context.span;
            let until =
                if is_over && at_once < count as usize { made } else { count.min(made + CONNECTS_PER_TURN) };
            while made < until && attackers.len() < at_once {
                match opening.open() {
                    Ok(stream) => {
                        let (script, share) = (
                            self.script(made, context).over(&context.url),
                            f64::from(made) / f64::from(count),
                        );
                        attackers.push(Attacker::new(stream, script, Instant::now(), share));
                        counts.attackers += 1;
                    }
                    Err(_) => counts.kept_out += 1,
                }
                made += 1;
            }
            attackers.retain_mut(|attacker| counts.goes_on(attacker, is_over, context.grace, &mut scratch));
            let is_complete = made == count || (is_over && at_once < count as usize);
            if (is_complete && attackers.is_empty()) || context.signals.seen() {
                break;
            }
            // A stall's clock restarts with every byte that the server takes, so an upper bound is needed.
            if began.elapsed() > context.span.max(deadline) + context.grace + PATIENCE {
                counts.outlived += attackers.len() as u64;
                break;
            }
            let is_fast = matches!(
                self,
                AttackKind::Flood
                    | AttackKind::Dribble
                    | AttackKind::Members
                    | AttackKind::Names
                    | AttackKind::Moves
            );
            std::thread::sleep(if is_fast { Duration::from_millis(1) } else { TURN_EVERY });
        }
        counts.heard_bytes += attackers.iter().map(Attacker::heard_bytes).sum::<u64>();
        counts
    }
}

impl AttackCounts {
    /// Gives an attacker its turn. Returns whether it stays. When the attack is over, attackers whose behaviour is
    /// allowed leave.
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
