//! The sample chat: people in rooms, who talk and walk; a tick sends who has moved.
//!
//! A program uses frames, as in the table below; a person types lines: the first one is the name, `/go X Y` walks,
//! and everything else is talk. The first bytes tell which of the two a client is, because no line contains a zero
//! byte. Names and text are relayed without control characters, so that no client controls another one's terminal or
//! fakes a line of another one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use naksi::frame;
use naksi::packets::decode;
use naksi::prelude::*;

use crate::escape::stripped;

packets! {
    /// The packets of the chat.
    pub(crate) CHAT {
        /// A client enters a room, and leaves the one it was in.
        1 => Enter { room: u32, name: String }
        /// The answer: who you are, which table the server speaks, and who else is here.
        2 => Entered { you: u64, version: u64, people: Vec<(u64, String)> }
        /// A client has entered.
        3 => Joined { who: u64, name: String }
        /// A client has left.
        4 => Gone { who: u64 }
        /// A member says something.
        10 => Say { text: String }
        /// A line of chat; its sender gets it too.
        11 => Said { from: u64, text: String }
        /// A member walks to a place.
        12 => Move { x: i32, y: i32 }
        /// The places of all that have moved since the last tick that sent places; for many people in several
        /// packets.
        13 => Moved { tick: u64, places: Vec<(u64, i32, i32)> }
    }
}

/// Ticks of a room in a second.
const TICK_HZ: u32 = 20;
/// Longest name, in bytes.
pub(crate) const NAME_BYTES_MAX: usize = 64;
/// Longest line of a person, in bytes.
const LINE_BYTES_MAX: usize = 1024;
/// Longest frame of a program, in bytes.
pub(crate) const FRAME_BYTES_MAX: usize = 16 * 1024;
/// Fewer rooms than this are not looked through for empty ones.
const PURGE_AT_MIN: usize = 64;
/// The room that people with lines come to.
const ROOM_OF_LINES: u32 = 0;
/// Most places of at most 20 bytes that fit a frame that a client accepts.
const PLACES_MAX: usize = 800;
/// How many of the present members are named to a new one.
const NAMED_MAX: usize = 100;

/// A member of a room.
pub(crate) struct Person {
    name: String,
    /// Whether it gets lines instead of frames.
    lines: bool,
    place: (i32, i32),
    moved: bool,
}

/// One room of the chat.
#[derive(Default)]
pub(crate) struct Hall {
    /// Number of members that get lines.
    lines: usize,
}

impl Room for Hall {
    type Member = Person;

    fn routes(routes: &mut Routes<Self>) {
        routes.on(Self::say).on(Self::walk);
    }

    fn on_join(&mut self, cx: &mut Cx<'_, Self>, member: SessionId) {
        let Some(Person { name, lines, .. }) = cx.member(member) else { return };
        let (name, lines) = (name.clone(), *lines);
        self.lines += usize::from(lines);
        if lines {
            cx.send_bytes(member, format!("* {} here\n", cx.len()).as_bytes());
        } else {
            let people = cx.members().take(NAMED_MAX).map(|(id, person)| (id.to_u64(), person.name.clone()));
            let people = people.collect();
            cx.send(member, &Entered { you: member.to_u64(), version: CHAT.version(), people });
        }
        let line = format!("* {name} joined\n");
        self.tell(cx, Some(member), &Joined { who: member.to_u64(), name }, &line);
    }

    fn on_leave(&mut self, cx: &mut Cx<'_, Self>, member: SessionId, person: Person, _why: LeaveReason) {
        self.lines -= usize::from(person.lines);
        self.tell(cx, None, &Gone { who: member.to_u64() }, &format!("* {} left\n", person.name));
        if cx.is_empty() {
            cx.close();
        }
    }

    fn on_tick(&mut self, cx: &mut Cx<'_, Self>, tick: u64) {
        let mut places = Vec::new();
        for (id, person) in cx.members_mut().filter(|(_, person)| person.moved) {
            person.moved = false;
            places.push((id.to_u64(), person.place.0, person.place.1));
        }
        // The places of very many people do not fit a frame that a client accepts.
        for places in places.chunks(PLACES_MAX) {
            self.tell(cx, None, &Moved { tick, places: places.to_vec() }, "");
        }
    }
}

impl Hall {
    /// The options of a room.
    fn options() -> RoomOptions {
        RoomOptions::new().tick_hz(TICK_HZ)
    }

    fn say(&mut self, cx: &mut Cx<'_, Self>, from: SessionId, Say { text }: Say) {
        let text = stripped(&text);
        let name = cx.member(from).map(|person| person.name.as_str()).unwrap_or_default();
        let line = if self.lines > 0 { format!("{name}: {text}\n") } else { String::new() };
        self.tell(cx, None, &Said { from: from.to_u64(), text }, &line);
    }

    fn walk(&mut self, cx: &mut Cx<'_, Self>, from: SessionId, Move { x, y }: Move) {
        if let Some(person) = cx.member_mut(from) {
            (person.place, person.moved) = ((x, y), true);
        }
    }

    /// Sends to all but one: the message to programs, the line to people.
    fn tell<M: Message>(&self, cx: &mut Cx<'_, Self>, but: Option<SessionId>, message: &M, line: &str) {
        if self.lines == 0 {
            match but {
                Some(but) => cx.broadcast_others(but, message),
                None => cx.broadcast(message),
            };
            return;
        }
        let members: Vec<_> = cx.members().map(|(id, person)| (id, person.lines)).collect();
        for (id, lines) in members.into_iter().filter(|(id, _)| Some(*id) != but) {
            if lines {
                cx.send_bytes(id, line.as_bytes())
            } else {
                cx.send(id, message)
            };
        }
    }
}

/// The rooms that are open, by number.
#[derive(Default)]
pub(crate) struct Halls(Mutex<Directory>);

#[derive(Default)]
struct Directory {
    halls: HashMap<u32, RoomRef<Hall>>,
    /// At this many entries, empty rooms are removed, so that not every new room costs a scan of all others.
    purge_at: usize,
}

impl Halls {
    /// The room with this number; opened if there is none.
    fn find(&self, c: &mut Conn<'_>, number: u32) -> naksi::Result<RoomRef<Hall>> {
        let Directory { halls, purge_at } = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(hall) = halls.get(&number).filter(|hall| !hall.is_closed()) {
            return Ok(hall.clone());
        }
        if halls.len() >= *purge_at {
            halls.retain(|_, hall| !hall.is_closed());
            *purge_at = 2 * halls.len() + PURGE_AT_MIN;
        }
        let hall = c.open_room(Hall::default(), Hall::options())?;
        halls.insert(number, hall.clone());
        Ok(hall)
    }
}

/// The protocol of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tongue {
    Unknown,
    Frames,
    Lines,
}

/// One client of the chat.
pub(crate) struct Chat {
    halls: Arc<Halls>,
    tongue: Tongue,
    name: String,
    number: u32,
    hall: Option<RoomRef<Hall>>,
}

impl Chat {
    pub(crate) fn new(halls: &Arc<Halls>) -> Self {
        let halls = Arc::clone(halls);
        Self { halls, tongue: Tongue::Unknown, name: String::new(), number: ROOM_OF_LINES, hall: None }
    }

    /// Enters the room with this number under the session's name.
    fn enter(&mut self, c: &mut Conn<'_>) {
        if let Some(hall) = self.hall.take() {
            c.leave_room(&hall);
        }
        let lines = self.tongue == Tongue::Lines;
        let person = Person { name: self.name.clone(), lines, place: (0, 0), moved: false };
        let found = self.halls.find(c, self.number);
        match found {
            Ok(hall) if c.join_room(&hall, person) => self.hall = Some(hall),
            _ => c.close(DisconnectReason::RoomClosed),
        }
    }

    fn take_frame(&mut self, c: &mut Conn<'_>, packet: Packet<'_>) {
        if packet.id == Enter::ID {
            match decode::<Enter>(packet.body) {
                Ok(Enter { room, name }) if (1..=NAME_BYTES_MAX).contains(&stripped(&name).trim().len()) => {
                    (self.number, self.name) = (room, stripped(&name).trim().to_owned());
                    self.enter(c);
                }
                _ => c.close(DisconnectReason::Protocol),
            }
        } else if let Some(hall) = &self.hall {
            c.room_send_packet(hall, packet);
        } else {
            c.close(DisconnectReason::Protocol);
        }
    }

    fn take_line(&mut self, c: &mut Conn<'_>, line: &str) {
        let Some(hall) = self.hall.clone() else {
            let guest = || format!("guest {}", c.id());
            let name = stripped(line);
            self.name = match name.trim() {
                "" => guest(),
                name => name.chars().take(NAME_BYTES_MAX / 4).collect(),
            };
            return self.enter(c);
        };
        let place = line.strip_prefix("/go ").and_then(|place| place.split_once(' '));
        match place.map(|(x, y)| (x.trim().parse(), y.trim().parse())) {
            Some((Ok(x), Ok(y))) => c.room_send(&hall, &Move { x, y }),
            Some(_) => c.send(b"* /go X Y, two numbers\n"),
            None if line.is_empty() => SendStatus::Queued,
            None => c.room_send(&hall, &Say { text: line.to_owned() }),
        };
    }

    fn take_frames(&mut self, c: &mut Conn<'_>, data: &[u8]) -> usize {
        let mut taken = 0;
        while c.is_open() {
            if c.is_held_back() {
                return taken;
            }
            match frame::first(&data[taken..], FRAME_BYTES_MAX) {
                Ok(Some(packet)) => {
                    taken += packet.frame.len();
                    self.take_frame(c, packet);
                }
                Ok(None) => return taken,
                Err(reason) => c.abort(reason),
            }
        }
        data.len()
    }

    fn take_lines(&mut self, c: &mut Conn<'_>, data: &[u8]) -> usize {
        let mut taken = 0;
        while let Some(end) = data[taken..].iter().position(|byte| *byte == b'\n') {
            let line = String::from_utf8_lossy(&data[taken..taken + end]).trim().to_owned();
            taken += end + 1;
            self.take_line(c, &line);
            if c.is_held_back() {
                return taken;
            }
        }
        if data.len() - taken > LINE_BYTES_MAX {
            c.abort(DisconnectReason::FrameTooLong);
            return data.len();
        }
        taken
    }
}

impl Session for Chat {
    fn on_recv(&mut self, c: &mut Conn<'_>, data: &[u8]) -> usize {
        if self.tongue == Tongue::Unknown {
            let head = &data[..data.len().min(frame::HEADER_BYTES)];
            self.tongue = match head {
                _ if head.contains(&0) => Tongue::Frames,
                _ if head.contains(&b'\n') || head.len() == frame::HEADER_BYTES => Tongue::Lines,
                _ => return 0,
            };
        }
        match self.tongue {
            Tongue::Lines => self.take_lines(c, data),
            Tongue::Frames | Tongue::Unknown => self.take_frames(c, data),
        }
    }

    fn on_room_closed(&mut self, c: &mut Conn<'_>, _room: u64, why: RoomCloseReason) {
        self.hall = None;
        match why {
            // It became empty and closed while the join was on its way.
            RoomCloseReason::Closed => self.enter(c),
            RoomCloseReason::Full => c.close(DisconnectReason::RoomFull),
            _ => c.close(DisconnectReason::RoomClosed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn person(name: &str, lines: bool) -> Person {
        Person { name: name.into(), lines, place: (0, 0), moved: false }
    }

    #[test]
    fn a_crowd_that_walks_at_once_is_told_in_frames_that_fit_and_each_once() {
        let mut hall = TestRoom::new(Hall::default(), Hall::options());
        let people: Vec<_> = (0..1200).map(|_| hall.join(person("walker", false))).collect();
        for who in &people {
            hall.send(*who, &Move { x: i32::MAX, y: i32::MIN });
        }
        hall.received(people[0]);
        hall.advance(Duration::from_millis(50));
        let frames = hall.received(people[0]);
        assert!(frames.iter().all(|(_, body)| body.len() <= FRAME_BYTES_MAX - frame::HEADER_BYTES));
        let moved = frames.iter().map(|(_, body)| decode::<Moved>(body).expect("where who has moved is"));
        let mut told: Vec<_> = moved.flat_map(|moved| moved.places).map(|(who, ..)| who).collect();
        told.sort_unstable();
        assert!(told.into_iter().eq(people.iter().map(|who| who.to_u64())), "each once");
    }

    #[test]
    fn what_is_said_is_relayed_without_control_characters() {
        let mut hall = TestRoom::new(Hall::default(), Hall::options());
        let (anna, berta) = (hall.join(person("anna", false)), hall.join(person("berta", true)));
        hall.received_bytes(berta);
        hall.send(anna, &Say { text: "hi\nserver: your password?\u{1b}]0;x\u{7}\u{202e}".into() });
        let said = "hi server: your password?]0;x";
        assert_eq!(hall.heard::<Said>(anna), [Said { from: anna.to_u64(), text: said.into() }]);
        let told = String::from_utf8(hall.received_bytes(berta)).expect("text");
        assert_eq!(told, format!("anna: {said}\n"));
    }

    #[test]
    fn who_talks_and_walks_is_heard_and_seen_by_programs_and_people() {
        let mut hall = TestRoom::new(Hall::default(), Hall::options());
        let anna = hall.join(person("anna", false));
        let entered = hall.heard::<Entered>(anna);
        assert_eq!((entered[0].version, entered[0].people.len()), (CHAT.version(), 1));
        let berta = hall.join(person("berta", true));
        assert_eq!(hall.heard::<Joined>(anna), [Joined { who: berta.to_u64(), name: "berta".into() }]);
        hall.send(anna, &Say { text: "hello".into() });
        hall.send(anna, &Move { x: 3, y: -4 });
        assert_eq!(hall.heard::<Said>(anna), [Said { from: anna.to_u64(), text: "hello".into() }]);
        hall.advance(Duration::from_millis(100));
        let moved = Moved { tick: 1, places: vec![(anna.to_u64(), 3, -4)] };
        assert_eq!(hall.heard::<Moved>(anna), [moved], "once, at the first tick");
        hall.leave(anna);
        let told = String::from_utf8(hall.received_bytes(berta)).expect("text");
        assert_eq!(told, "* 2 here\nanna: hello\n* anna left\n");
        hall.leave(berta);
        assert!(hall.is_closed(), "no member is left");
    }
}
