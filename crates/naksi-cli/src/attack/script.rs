//! The scripts of the attackers: what is sent, at which rate, whether answers are read, and when the server should
//! end the session. A script is independent of the connection that plays it.

use std::sync::Arc;
use std::time::Duration;

use naksi::config::{Transport, Url};
use naksi::packets::{Message, encode};
use naksi::prelude::{Limits, RateLimitAction};

use super::Served;
use crate::apps::relay::{JOIN, MSG};
use crate::apps::{chat, world};
use crate::dummy::pattern::mix;
use crate::dummy::room_number;

/// Most bytes that a flooder sends in one turn, so that every attacker gets its turn.
const BYTES_PER_TURN: usize = 256 * 1024;
/// Bodies of the messages that floods are made of.
const FLOOD_BODY_BYTES: usize = 200;
/// Messages in one repetition of a flood.
const REFRAIN_MESSAGES: usize = 64;
/// A flood of new rooms enters this many before it enters the first one again, which has closed by then.
const NEW_ROOMS: u32 = 16_384;
/// The attackers' own rooms begin here.
const FIRST_ROOM: u32 = 0xA77A_0000;
/// The engine ends a session that exceeds its rate of joins for ten seconds; a burst of one second is allowed.
const JOINS_OVER_WITHIN: Duration = Duration::from_secs(11);
/// How long an attacker of a world stays before it logs out, unless it does so at once.
const VISIT: Duration = Duration::from_millis(100);
/// Attackers that change their names continuously; the others use invalid names.
pub(super) const RENAMERS: u32 = 20;
/// Number of scripts of some attacks: attacker `index` plays script `index` modulo this.
pub(super) const WRONG_SIZES: u32 = 6;
pub(super) const MEMBER_KINDS: u32 = 3;
pub(super) const MOVE_KINDS: u32 = 2;
/// Names that no application allows.
pub(super) const WRONG_NAMES: u32 = 5;

/// What a script has to know about the server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Server<'a> {
    pub(super) served: Served,
    pub(super) limits: &'a Limits,
    /// The good clients' seed, and how many rooms they are in.
    pub(super) good_seed: u64,
    pub(super) good_rooms: u32,
}

impl Server<'_> {
    /// Time limit of the first frame. An application that splits frames itself ends only idle sessions.
    pub(super) fn first_frame_within(&self) -> Duration {
        if self.is_framed() { self.limits.first_frame_within } else { self.limits.idle_within }
    }

    /// By when a later frame must be whole.
    fn frame_within(&self) -> Duration {
        if self.is_framed() { self.limits.frame_within } else { self.limits.idle_within }
    }

    /// Whether the engine cuts the frames.
    fn is_framed(&self) -> bool {
        matches!(self.served, Served::Relay | Served::World)
    }

    fn frame_bytes_max(&self) -> usize {
        if self.served == Served::Chat { chat::FRAME_BYTES_MAX } else { self.limits.frame_bytes_max }
    }

    fn first_frame_bytes_max(&self) -> usize {
        match self.served {
            Served::Chat => chat::FRAME_BYTES_MAX,
            _ => self.limits.first_frame_bytes_max.min(self.limits.frame_bytes_max),
        }
    }

    /// A room with good clients in it.
    fn good_room(&self, index: u32) -> u32 {
        room_number(self.good_seed, index % self.good_rooms)
    }

    /// The deadline of a session that sends too much, if there is a rate limit.
    fn due_by_rate(&self) -> Option<Due> {
        let messages = self.is_framed() && self.limits.messages_per_second_max > 0;
        let limited = messages || self.limits.recv_bytes_per_second_max > 0;
        limited.then_some(match self.limits.rate_limit_action {
            RateLimitAction::Pause => Due::Never,
            RateLimitAction::EndSession => Due::AfterConnect(Duration::from_secs(1)),
        })
    }

    /// The deadline of a session that enters rooms without end. A relay's rooms are topics, which have no rate limit.
    fn due_by_joins(&self) -> Due {
        match self.served {
            Served::Chat if self.limits.room_joins_per_second_max > 0 => {
                match self.limits.rate_limit_action {
                    RateLimitAction::Pause => Due::AfterConnect(JOINS_OVER_WITHIN),
                    RateLimitAction::EndSession => Due::AfterConnect(Duration::from_secs(1)),
                }
            }
            _ => self.due_by_rate().unwrap_or(Due::Never),
        }
    }
}

/// When a server that enforces its limits has ended the attacker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// This long after connecting.
    AfterConnect(Duration),
    /// This long after the server took its last byte.
    AfterStall(Duration),
    /// Its behaviour is allowed: it is held back, and leaves by itself.
    Never,
}

/// What an attacker sends, and how.
#[derive(Clone, Debug)]
pub(super) struct Script {
    /// Sent first, once.
    pub(super) opening: Arc<[u8]>,
    /// Sent repeatedly after that; nothing if it is empty.
    pub(super) refrain: Arc<[u8]>,
    /// Most bytes sent in one turn.
    pub(super) bytes_per_turn: usize,
    /// A turn comes at most this often.
    pub(super) turn_every: Duration,
    /// Whether it reads what it is sent.
    pub(super) reads: bool,
    pub(super) due: Due,
    /// It leaves by itself this long after connecting.
    pub(super) leaves_after: Option<Duration>,
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
            leaves_after: None,
        }
    }

    /// The same, said over what the address names: behind WebSocket's handshake, and in binary messages. Their masks are
    /// zero, which leaves every byte as it is.
    pub(super) fn over(self, url: &Url) -> Self {
        if url.transport() == Transport::Tcp {
            return self;
        }
        let opening = [&request(url)[..], &message(&self.opening)[..]].concat();
        Self { opening: opening.into(), refrain: message(&self.refrain).into(), ..self }
    }

    fn again_and_again(opening: Vec<u8>, refrain: Vec<u8>, reads: bool, due: Due) -> Self {
        Self { refrain: refrain.into(), reads, ..Self::once(opening, due) }
    }
}

/// A size below the header's, or above the limit of a first frame: invalid at the second byte.
pub(super) fn wrong_size(index: u32, server: &Server<'_>) -> Script {
    let above = u16::try_from(server.first_frame_bytes_max() + 1).unwrap_or(u16::MAX);
    let size = [0_u16, 1, 2, 3, above, u16::MAX][index as usize % WRONG_SIZES as usize];
    let mut bytes = size.to_le_bytes().to_vec();
    // Every other one sends nothing after the size: the server must not wait for it. A chat has to, because a typed
    // line may begin so.
    if index.is_multiple_of(2) || server.served == Served::Chat {
        bytes.extend([1, 0, 0xAB, 0xCD]);
    }
    Script::once(bytes, Due::AfterConnect(Duration::ZERO))
}

/// The largest valid size, a few bytes of the frame, and silence: before the first whole frame or after it.
pub(super) fn huge_then_silent(index: u32, server: &Server<'_>) -> Script {
    if index.is_multiple_of(2) {
        let mut bytes = header(server.first_frame_bytes_max(), JOIN).to_vec();
        bytes.extend([0; 10]);
        return Script::once(bytes, Due::AfterConnect(server.first_frame_within()));
    }
    let mut bytes = opening(index, server.served);
    bytes.extend(header(server.frame_bytes_max(), MSG));
    bytes.extend([0; 10]);
    Script::once(bytes, Due::AfterConnect(server.frame_within()))
}

/// One byte at a time, of a frame that will not be complete in time.
pub(super) fn dribble(server: &Server<'_>) -> Script {
    let size = server.first_frame_bytes_max();
    let mut bytes = header(size, JOIN).to_vec();
    bytes.resize(size, 0);
    // The chat splits its frames itself, and for the engine every byte is activity.
    let is_judged = server.is_framed();
    let due = if is_judged { Due::AfterConnect(server.first_frame_within()) } else { Due::Never };
    let mut script = Script::once(bytes, due);
    script.bytes_per_turn = 1;
    // Twice too slow: half of the frame is sent when the time is over.
    script.turn_every = server.limits.first_frame_within * 2 / size as u32;
    script
}

/// Random bytes; most of them are an invalid size, some are a frame with an unknown id.
pub(super) fn garbage(index: u32, server: &Server<'_>) -> Script {
    let seed = u64::from(index) << 32;
    let bytes = (0..512).flat_map(|word| mix(seed | word).to_le_bytes()).collect();
    Script::once(bytes, Due::AfterConnect(server.first_frame_within()))
}

/// Connects and sends nothing.
pub(super) fn squatter(server: &Server<'_>) -> Script {
    let within = server.first_frame_within().min(server.limits.idle_within);
    Script::once(Vec::new(), Due::AfterConnect(within))
}

/// Messages as fast as they are taken, all answers read.
pub(super) fn flood(index: u32, server: &Server<'_>) -> Script {
    let (opening, refrain) = talk(index, server.served);
    Script::again_and_again(opening, refrain, true, server.due_by_rate().unwrap_or(Due::Never))
}

/// Messages as fast as possible, without reading any answer.
pub(super) fn stalled(index: u32, server: &Server<'_>) -> Script {
    let (opening, refrain) = talk(index, server.served);
    // A session that is not read gets no answers, and stalls late or never.
    let due = server.due_by_rate().unwrap_or(match server.served {
        // A world sends nothing new to a player that is behind, and continues to read from it.
        Served::World => Due::Never,
        _ => Due::AfterStall(server.limits.send_stall_within),
    });
    Script::again_and_again(opening, refrain, false, due)
}

/// Enters and leaves as fast as possible: a room of regular clients, two of them alternately, or new ones each time.
/// A world has one room, entered by a login: there every attacker logs in, stands among the regular clients and
/// leaves.
pub(super) fn members(index: u32, server: &Server<'_>) -> Script {
    if server.served == Served::World {
        let step = framed(&world::Step { x: 0, y: 0 });
        let mut script = Script::again_and_again(opening(index, server.served), step, true, Due::Never);
        (script.bytes_per_turn, script.turn_every) = (64, VISIT / 4);
        script.leaves_after = Some(if index.is_multiple_of(2) { VISIT } else { Duration::ZERO });
        return script;
    }
    let rooms: Vec<u32> = match index % MEMBER_KINDS {
        0 => vec![server.good_room(index)],
        1 => vec![server.good_room(index), server.good_room(index + 1)],
        _ => {
            let first = FIRST_ROOM.wrapping_add(index.wrapping_mul(NEW_ROOMS));
            (0..NEW_ROOMS).map(|room| first.wrapping_add(room)).collect()
        }
    };
    let enter = |room: &u32| match server.served {
        Served::Chat => framed(&chat::Enter { room: *room, name: "x".to_owned() }),
        _ => join_room(*room),
    };
    let once: Vec<u8> = rooms.iter().flat_map(enter).collect();
    let refrain = once.repeat(REFRAIN_MESSAGES.div_ceil(rooms.len()));
    Script::again_and_again(Vec::new(), refrain, true, server.due_by_joins())
}

/// Names: unusual valid ones repeatedly, and invalid ones.
pub(super) fn names(index: u32, server: &Server<'_>) -> Script {
    let longest = "\u{1F41F}".repeat(chat::NAME_BYTES_MAX / 4);
    let odd = ["e\u{301}\u{301}\u{301}", "'; --", "%s%n", "../..", "<b>", "\u{B099}\u{C2DC}", &longest];
    let too_long = [b'x'; chat::NAME_BYTES_MAX + 1];
    // No name, one byte too many, only control characters, and invalid UTF-8.
    let wrong: [&[u8]; WRONG_NAMES as usize] = [b"", &too_long, b"\0\x1b\x07", b"\xC0\x80", b"\xED\xA0\x80"];
    let named = |name: &[u8]| match server.served {
        Served::World => named_frame(world::Login::ID, &[], name),
        _ => named_frame(chat::Enter::ID, &varint(server.good_room(index)), name),
    };
    if index >= RENAMERS && !index.is_multiple_of(2) {
        let name = wrong[index as usize / 2 % wrong.len()];
        return Script::once(named(name), Due::AfterConnect(Duration::ZERO));
    }
    match server.served {
        // A name is for a whole visit; a login under a name in use disconnects the other client.
        Served::World => Script::once(named(odd[index as usize % odd.len()].as_bytes()), Due::Never),
        // Its rate of joins limits it as it limits entering and leaving: the chat makes no difference.
        _ if index < RENAMERS => {
            let refrain = odd.iter().flat_map(|name| named(name.as_bytes())).collect();
            Script::again_and_again(Vec::new(), refrain, true, server.due_by_joins())
        }
        // One name for many, each for a moment.
        _ => {
            let mut script = Script::once(named(b"one for many"), Due::Never);
            script.leaves_after = Some(VISIT);
            script
        }
    }
}

/// Walks among the regular clients, or jumps between them and the edges of the world, as fast as possible.
pub(super) fn moves(index: u32, server: &Server<'_>) -> Script {
    let leaps = [(0, 0), (i32::MIN, i32::MAX), (1, 1), (i32::MAX, i32::MIN), (0, 1)];
    let places = (0..REFRAIN_MESSAGES).map(|number| match index % MOVE_KINDS {
        0 => (number as i32 % 10, index as i32 % 10),
        _ => leaps[number % leaps.len()],
    });
    let step = |(x, y)| match server.served {
        Served::Chat => framed(&chat::Move { x, y }),
        _ => framed(&world::Step { x, y }),
    };
    let opening = match server.served {
        Served::Chat => enter(server.good_room(index), index),
        _ => opening(index, server.served),
    };
    let due = server.due_by_rate().unwrap_or(Due::Never);
    Script::again_and_again(opening, places.flat_map(step).collect(), true, due)
}

/// The opening of an application's protocol, and many messages as one block of bytes.
fn talk(index: u32, served: Served) -> (Vec<u8>, Vec<u8>) {
    let text = || char::from(b'a' + (index % 26) as u8).to_string().repeat(FLOOD_BODY_BYTES);
    let message = match served {
        Served::Chat => framed(&chat::Say { text: text() }),
        Served::World => framed(&world::Say { text: text() }),
        Served::Echo | Served::Relay => {
            let mut message = header(FLOOD_BODY_BYTES + 4, MSG).to_vec();
            message.resize(FLOOD_BODY_BYTES + 4, index as u8);
            message
        }
    };
    (opening(index, served), message.repeat(REFRAIN_MESSAGES))
}

/// What a client of an application sends first. In a relay and in a chat every attacker has its own room.
pub(super) fn opening(index: u32, served: Served) -> Vec<u8> {
    match served {
        Served::Echo => Vec::new(),
        Served::Relay => join(index),
        Served::Chat => enter(FIRST_ROOM.wrapping_add(index), index),
        Served::World => framed(&world::Login { name: format!("attacker {index}") }),
    }
}

/// Enters a room of the attackers' own.
pub(super) fn join(index: u32) -> Vec<u8> {
    join_room(FIRST_ROOM.wrapping_add(index))
}

fn join_room(room: u32) -> Vec<u8> {
    [&header(8, JOIN)[..], &room.to_le_bytes()[..]].concat()
}

fn enter(room: u32, index: u32) -> Vec<u8> {
    framed(&chat::Enter { room, name: format!("attacker {index}") })
}

fn framed<M: Message>(message: &M) -> Vec<u8> {
    encode(message).expect("a short message fits a frame").to_vec()
}

/// A frame whose body ends with a name, which need not be valid text.
fn named_frame(id: u16, before: &[u8], name: &[u8]) -> Vec<u8> {
    let body = [before, &varint(name.len() as u32), name].concat();
    [&header(body.len() + 4, id)[..], &body].concat()
}

/// A varint as packets encode it: seven bits a byte, the lowest first.
fn varint(mut number: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// What asks for a WebSocket.
fn request(url: &Url) -> Vec<u8> {
    format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
        url.path(),
        url.place()
    )
    .into_bytes()
}

/// A whole binary message; nothing for no bytes.
fn message(payload: &[u8]) -> Vec<u8> {
    if payload.is_empty() { Vec::new() } else { web_frame(0x82, payload) }
}

/// A frame with this first byte and a mask of zeros.
fn web_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        length @ ..=125 => bytes.push(0x80 | length as u8),
        length @ ..=0xffff => {
            bytes.push(0x80 | 126);
            bytes.extend((length as u16).to_be_bytes());
        }
        length => {
            bytes.push(0x80 | 127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes.extend([0; 4]);
    bytes.extend_from_slice(payload);
    bytes
}

fn header(size: usize, id: u16) -> [u8; 4] {
    let size = u16::try_from(size).unwrap_or(u16::MAX).to_le_bytes();
    let id = id.to_le_bytes();
    [size[0], size[1], id[0], id[1]]
}
