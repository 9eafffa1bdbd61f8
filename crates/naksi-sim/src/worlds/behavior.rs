//! How the far ends behave, and what each of them will say.
//!
//! A behavior is a script of frames and, for most, a row of the fault table. Nothing here knows a socket.

use naksi_core::frame;

use super::hazard::Hazard;
use super::users;

/// How a peer behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behavior {
    /// Sends frames in pieces of any size, reads everything, says its end, waits for the server's.
    Honest,
    /// Lets the server end it.
    Polite,
    /// One byte at a time, with pauses.
    Dribbler,
    /// Reads a few bytes now and then.
    SlowReader,
    /// Says much and reads nothing.
    Deaf,
    /// Says very much at once.
    Flooder,
    /// Resets in the middle.
    Resetter,
    /// Stops doing anything.
    Vanisher,
    /// Sends a size that no frame has.
    Liar,
    /// Begins a frame and waits.
    Squatter,
    /// Sends bytes that mean nothing.
    Garbler,
    /// Ends in the middle of a frame.
    Cutter,
    /// Makes the handler panic.
    Bomber,
    /// Has itself ended at once.
    Slammer,
    /// Connects again whenever it is through.
    Reconnector,
    /// Stays until the service stops.
    Stayer,
}

impl Behavior {
    /// A behavior for a random number; half of all are honest.
    pub fn from_number(number: u64) -> Self {
        use Behavior::*;
        const MANY: [Behavior; 28] = [
            Dribbler,
            SlowReader,
            Deaf,
            Flooder,
            Resetter,
            Resetter,
            Vanisher,
            Liar,
            Liar,
            Squatter,
            Garbler,
            Cutter,
            Bomber,
            Slammer,
            Reconnector,
            Polite,
            Honest,
            Honest,
            Honest,
            Honest,
            Honest,
            Honest,
            Honest,
            Honest,
            Honest,
            Honest,
            Honest,
            Honest,
        ];
        MANY[number as usize % MANY.len()]
    }

    /// An honest behavior for a random number.
    pub fn honest(number: u64, framed: bool) -> Self {
        if framed && number.is_multiple_of(4) { Behavior::Polite } else { Behavior::Honest }
    }

    /// What it is where there are no frames: a peer that misuses them is honest.
    pub(super) fn without_frames(self) -> Self {
        use Behavior::*;
        if matches!(self, Polite | Liar | Squatter | Garbler | Cutter) { Honest } else { self }
    }

    /// The row of the fault table that this behavior meets by what it does. What a bomb does, its session tells.
    pub(super) fn row(self, random: u64) -> Option<Hazard> {
        Some(match self {
            Behavior::Honest | Behavior::Reconnector => Hazard::P3,
            Behavior::Polite => Hazard::P2,
            Behavior::Dribbler => Hazard::P7,
            Behavior::SlowReader | Behavior::Deaf => Hazard::P9,
            Behavior::Flooder => Hazard::O4,
            Behavior::Resetter => Hazard::P1,
            Behavior::Vanisher => Hazard::P10,
            Behavior::Liar if random.is_multiple_of(2) => Hazard::P5,
            Behavior::Liar => Hazard::P6,
            Behavior::Squatter => Hazard::P8,
            Behavior::Garbler => Hazard::P11,
            Behavior::Cutter => Hazard::P4,
            Behavior::Bomber | Behavior::Slammer | Behavior::Stayer => return None,
        })
    }
}

/// Adds a frame to a script.
pub(super) fn push(script: &mut Vec<u8>, id: u16, body: &[u8]) {
    script.extend(frame::header(id, body.len()).expect("a short body"));
    script.extend_from_slice(body);
}

/// Adds what one peer in three asks for beside its echo.
fn add_extra(script: &mut Vec<u8>, behavior: Behavior, random: u64) {
    const EXTRAS: [u16; 8] = [
        users::ROOM,
        users::LEAVE,
        users::FILE,
        users::ASK_GROUP,
        users::TIMER,
        users::VISIT,
        users::DATA,
        users::FLUSH,
    ];
    let extra = EXTRAS[(random >> 44) as usize % EXTRAS.len()];
    let unfit = match behavior {
        // While others talk to a squatter, its session does not listen, and does not hold that against it.
        Behavior::Squatter => [users::ROOM, users::VISIT, users::DATA, users::FLUSH].contains(&extra),
        // Of those that fall silent it is known when what they said has got out, and nothing else.
        Behavior::Vanisher => [users::VISIT, users::DATA, users::FLUSH].contains(&extra),
        _ => false,
    };
    let is_asked = (random >> 40).is_multiple_of(3);
    if behavior == Behavior::Stayer && !is_asked {
        // It says something now and then, and nothing else wakes its session.
        let mut first = Vec::new();
        push(&mut first, users::FLUSH, b"");
        script.splice(0..0, first);
    }
    if is_asked && !unfit {
        if extra == users::FLUSH {
            // What follows waits for ticks.
            let mut first = Vec::new();
            push(&mut first, extra, b"");
            script.splice(0..0, first);
        } else {
            push(script, extra, b"");
        }
    }
    if behavior == Behavior::Stayer {
        push(script, users::ENLIST, b"");
    }
}

/// What a peer of this behavior will say, and after how many bytes of it the behavior's row is met: never, if another act
/// decides.
pub(super) fn script_of(behavior: Behavior, framed: bool, random: u64, talk: u64) -> (Vec<u8>, usize) {
    let mut script = Vec::new();
    let (frames, body_max) = match behavior {
        Behavior::Dribbler => (1 + random % 2, 12),
        // Without frames a flood is long enough to come in long leases.
        Behavior::Flooder => ((12 + random % 12) * talk, if framed { 200 } else { 800 }),
        Behavior::Deaf => (12 + random % 12, 200),
        Behavior::Stayer => (1, 40),
        _ => ((1 + random % 10) * talk, 120),
    };
    for number in 0..frames {
        let body = ((random >> (8 + number % 8 * 6)) % body_max) as usize;
        let bytes: Vec<u8> = (0..body).map(|byte| (byte as u8) ^ (random as u8)).collect();
        push(&mut script, number as u16 + 1, &bytes);
    }
    if !framed {
        if behavior == Behavior::Bomber {
            script.extend_from_slice(users::BOMB_BYTES);
        }
        let met_at = if matches!(behavior, Behavior::Dribbler | Behavior::Flooder) {
            script.len()
        } else {
            usize::MAX
        };
        return (script, met_at);
    }
    add_extra(&mut script, behavior, random);
    let usual_bytes = script.len();
    match behavior {
        Behavior::Polite => push(&mut script, users::BYE, b"farewell"),
        Behavior::Slammer => push(&mut script, users::SLAM, b""),
        Behavior::Bomber => push(&mut script, users::BOMB, b""),
        Behavior::Deaf => {
            push(&mut script, users::ROOM, b"");
            push(&mut script, if random.is_multiple_of(2) { users::BLAST } else { users::GLUT }, b"");
        }
        Behavior::Liar if random.is_multiple_of(2) => script.extend([(random >> 4) as u8 % 4, 0, 9, 9]),
        Behavior::Liar => push(&mut script, 2, &[0; 4996]),
        Behavior::Cutter => script.extend([200, 0, 1]),
        Behavior::Squatter => script.extend([50, 0]),
        Behavior::Garbler => script.extend((0..64).map(|byte| (random >> (byte % 56)) as u8 ^ 0x5C)),
        _ => {}
    }
    let met_at = match behavior {
        Behavior::Dribbler | Behavior::Flooder | Behavior::Deaf => script.len(),
        // A header says it; of what follows not all may be wanted any more.
        Behavior::Liar | Behavior::Garbler => usual_bytes + frame::HEADER_BYTES,
        _ => usize::MAX,
    };
    (script, met_at)
}
