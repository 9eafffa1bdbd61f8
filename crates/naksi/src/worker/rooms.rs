//! What a worker does for rooms in a turn: brings them what came, runs those it claimed, carries out what they say.

use bytes::Bytes;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use naksi_core::content::Ending;
use naksi_core::data_plane::DataClass;
use naksi_core::id::SessionId;
use naksi_core::reason::Reason;
use naksi_core::send_queue::Sent;
use naksi_os::port::Port;

use super::Worker;
use crate::room::RoomEnd;
use crate::room::local::{Farewell, Seat};
use crate::room::output::{Parcel, Part};
use crate::session::{Factory, Session};

/// All rooms together hold a worker for about so long in a turn; the rest goes to groups, or waits for the next turn.
const TURN_BUDGET: Duration = Duration::from_millis(2);

impl<P: Port + 'static, F: Factory> Worker<P, F> {
    /// Brings the rooms what this turn's sessions have for them, and runs those that nobody else runs.
    pub(crate) fn run_rooms(&mut self) {
        self.desk.rooms.set_out(self.desk.now);
        if self.desk.rooms.ready.is_empty() {
            return;
        }
        let door = Arc::clone(&self.desk.door);
        // What the rooms say to this worker comes through its mailbox as well, behind what they said before; it
        // is read below, so nobody needs to ring.
        self.mailbox().hush();
        let clock = || self.port.now();
        let began = clock();
        for _ in 0..self.desk.rooms.ready.len() {
            let Some(room) = self.desk.rooms.ready.pop_front() else { break };
            let late = clock().since(began) > TURN_BUDGET;
            if (late || room.is_heavy()) && Arc::clone(&room).hand_over() {
                continue;
            }
            if late || (Arc::clone(&room).run(&clock, &*door) && !Arc::clone(&room).hand_over()) {
                self.desk.rooms.ready.push_back(room);
            }
        }
        self.read_mailbox();
    }

    /// Carries out what a room does to sessions of this worker.
    pub(crate) fn deliver_parcel(&mut self, parcel: &Parcel) {
        let room = parcel.room;
        for part in &parcel.parts {
            match part {
                Part::Data(to, class, key, range) => {
                    let bytes = parcel.bytes.slice(range.start as usize..range.end as usize);
                    self.tell_data(room, *to, (*class, *key), &bytes);
                }
                Part::All(range, messages) => self.tell_all(parcel, range, None, *messages),
                Part::Others(but, range) => self.tell_all(parcel, range, Some(*but), 1),
                Part::Admit(id, ticket) => {
                    if self.holds_seat(*id, room, *ticket) {
                        self.desk.rooms.admit(room, *id);
                    }
                }
                Part::One(to, ticket, range, messages) => {
                    if self.holds_seat(*to, room, *ticket) {
                        let bytes = parcel.bytes.slice(range.start as usize..range.end as usize);
                        self.tell_one(*to, &bytes, *messages);
                    }
                }
                Part::Answered(id, ticket) => self.hear_out(*id, room, *ticket),
                Part::Taken(id, bytes) => self.take_off(*id, *bytes),
                Part::PutOut(id, ticket, why) => self.put_out(*id, room, *ticket, *why),
                Part::End(id, ticket, reason) => {
                    if self.unseat(*id, room, Some(*ticket)) {
                        self.end_in_order(*id, reason.clone());
                    }
                }
                Part::Close(why) => self.close_room(room, |worker, id| worker.tell_of_end(id, room, *why)),
                Part::CloseAndEnd(reason) => {
                    self.close_room(room, |worker, id| worker.end_in_order(id, reason.clone()));
                }
            }
        }
    }

    fn tell_all(&mut self, parcel: &Parcel, range: &Range<u32>, but: Option<SessionId>, messages: u32) {
        let bytes = parcel.bytes.slice(range.start as usize..range.end as usize);
        let mut members = std::mem::take(&mut self.members);
        self.desk.rooms.members_into(parcel.room, &mut members);
        let mut queued = 0;
        for member in members.iter().filter(|member| Some(**member) != but) {
            queued += self.tell_one(*member, &bytes, messages);
        }
        self.desk.counters.deliveries.add(queued);
        self.members = members;
    }

    fn tell_data(
        &mut self,
        room: u64,
        to: Option<(SessionId, u32)>,
        (class, key): (DataClass, u64),
        bytes: &Bytes,
    ) {
        let mut members = std::mem::take(&mut self.members);
        match to {
            None => self.desk.rooms.members_into(room, &mut members),
            Some((to, ticket)) => {
                members.clear();
                members.extend(self.holds_seat(to, room, ticket).then_some(to));
            }
        }
        let mut queued = 0;
        for member in &members {
            let sent = self.with_session(member.slot(), member.generation(), |session, cx, stage| {
                session.with_outlet(cx, stage, |_, mut outlet| outlet.send_data(class, key, bytes))
            });
            queued += u64::from(sent == Some(Sent::Queued));
        }
        self.desk.counters.deliveries.add(queued);
        self.members = members;
    }

    /// Returns how many messages were queued.
    fn tell_one(&mut self, to: SessionId, bytes: &Bytes, messages: u32) -> u64 {
        let sent = self.with_session(to.slot(), to.generation(), |session, cx, stage| {
            session.with_outlet(cx, stage, |_, mut outlet| outlet.send_shared(bytes))
        });
        sent.map_or(0, |sent| self.desk.counters.told(sent, messages.into()))
    }

    /// A session that waits for the room's answers has them; if that was all, it begins to drain.
    fn hear_out(&mut self, id: SessionId, room: u64, ticket: u32) {
        if usize::from(id.worker()) != self.index {
            return;
        }
        let Some(entry) = self.sessions.get_mut(id.slot(), id.generation()) else { return };
        let is_it = |seat: &&mut Seat| seat.room.number() == room && seat.ticket == ticket;
        if let Some(seat) = entry.seats.iter_mut().find(is_it) {
            seat.farewell = Farewell::Answered;
            self.with_session(id.slot(), id.generation(), |session, cx, stage| {
                session.with_outlet(cx, stage, |_, _| ());
            });
        }
    }

    /// A room has taken so many bytes of what a session brought: one that waited for that is read again.
    fn take_off(&mut self, id: SessionId, bytes: u32) {
        if usize::from(id.worker()) == self.index {
            self.with_session(id.slot(), id.generation(), |session, cx, stage| {
                session.taken(bytes, cx, stage)
            });
        }
    }

    /// The room is over for every session of this worker. `then`: what follows for each.
    fn close_room(&mut self, room: u64, then: impl Fn(&mut Self, SessionId)) {
        let mut members = Vec::new();
        self.desk.rooms.members_into(room, &mut members);
        for id in members {
            if self.unseat(id, room, None) {
                then(self, id);
            }
        }
    }

    /// Ends a session; what was sent to it before still leaves.
    /// Ends a session once what is queued for it has left.
    pub(crate) fn end_in_order(&mut self, id: SessionId, reason: Reason) {
        self.with_session(id.slot(), id.generation(), |session, cx, stage| {
            session.with_outlet(cx, stage, |stage, outlet| {
                stage.play(outlet, (), |_, conn| conn.end_with(reason, Ending::Flush));
            });
        });
    }

    fn put_out(&mut self, id: SessionId, room: u64, ticket: u32, why: RoomEnd) {
        if self.unseat(id, room, Some(ticket)) {
            self.tell_of_end(id, room, why);
        }
    }

    fn tell_of_end(&mut self, id: SessionId, room: u64, why: RoomEnd) {
        self.with_session(id.slot(), id.generation(), |session, cx, stage| {
            if session.is_live() {
                session.with_outlet(cx, stage, |stage, outlet| {
                    stage.play(outlet, (), |user, conn| user.on_room_closed(conn, room, why));
                });
            }
        });
    }

    /// Takes a session's seat away. Returns whether it had it, under this ticket if one is named.
    fn unseat(&mut self, id: SessionId, room: u64, ticket: Option<u32>) -> bool {
        if usize::from(id.worker()) != self.index {
            return false;
        }
        let Some(entry) = self.sessions.get_mut(id.slot(), id.generation()) else { return false };
        let mut seats = entry.seats.iter();
        let place = seats
            .position(|seat| seat.room.number() == room && ticket.is_none_or(|ticket| ticket == seat.ticket));
        if let Some(place) = place {
            entry.seats.swap_remove(place);
            self.desk.rooms.expel(room, id);
        }
        place.is_some()
    }

    fn holds_seat(&self, id: SessionId, room: u64, ticket: u32) -> bool {
        let holds = |seat: &Seat| seat.room.number() == room && seat.ticket == ticket;
        self.own(id).is_some_and(|entry| entry.seats.iter().any(holds))
    }

    fn own(&self, id: SessionId) -> Option<&crate::worker::Entry<F::Session>> {
        let mine = usize::from(id.worker()) == self.index;
        mine.then(|| self.sessions.get(id.slot(), id.generation())).flatten()
    }
}
