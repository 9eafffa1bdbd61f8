//! A worker's part of running rooms: delivers events to them, runs those it claimed, carries out their output.

use bytes::Bytes;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use naksi_core::callbacks::CloseMode;
use naksi_core::droppable_queue::PacketClass;
use naksi_core::id::SessionId;
use naksi_core::reason::DisconnectReason;
use naksi_core::send_queue::SendStatus;
use naksi_os::port::Port;

use super::Worker;
use crate::room::RoomCloseReason;
use crate::room::local::{DrainState, RoomMembership};
use crate::room::output::{Part, RoomOutput};
use crate::session::{Factory, Session};

/// Time that all rooms together may take in one turn; the rest goes to groups, or to the next turn.
const TURN_BUDGET: Duration = Duration::from_millis(2);

impl<P: Port + 'static, F: Factory> Worker<P, F> {
    /// Delivers this turn's events to the rooms, and runs the idle ones.
    pub(crate) fn run_rooms(&mut self) {
        self.context.rooms.set_out(self.context.now);
        if self.context.rooms.ready.is_empty() {
            return;
        }
        let service = Arc::clone(&self.context.service);
        // The rooms' output for this worker comes through its mailbox as well, after earlier output; it is read
        // below, so no wake-up is needed.
        self.mailbox().hush();
        let clock = || self.port.now();
        let began = clock();
        for _ in 0..self.context.rooms.ready.len() {
            let Some(room) = self.context.rooms.ready.pop_front() else { break };
            let late = clock().since(began) > TURN_BUDGET;
            if (late || room.is_heavy()) && Arc::clone(&room).hand_over() {
                continue;
            }
            if late || (Arc::clone(&room).run(&clock, &*service) && !Arc::clone(&room).hand_over()) {
                self.context.rooms.ready.push_back(room);
            }
        }
        self.read_mailbox();
    }

    /// Carries out a room's output for sessions of this worker.
    pub(crate) fn deliver_parcel(&mut self, room_output: &RoomOutput) {
        let room = room_output.room;
        for part in &room_output.parts {
            match part {
                Part::Data(to, class, key, range) => {
                    let bytes = room_output.bytes.slice(range.start as usize..range.end as usize);
                    self.tell_data(room, *to, (*class, *key), &bytes);
                }
                Part::All(range, messages) => self.tell_all(room_output, range, None, *messages),
                Part::Others(but, range) => self.tell_all(room_output, range, Some(*but), 1),
                Part::Admit(id, ticket) => {
                    if self.holds_seat(*id, room, *ticket) {
                        self.context.rooms.admit(room, *id);
                    }
                }
                Part::One(to, ticket, range, messages) => {
                    if self.holds_seat(*to, room, *ticket) {
                        let bytes = room_output.bytes.slice(range.start as usize..range.end as usize);
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

    fn tell_all(
        &mut self,
        room_output: &RoomOutput,
        range: &Range<u32>,
        but: Option<SessionId>,
        messages: u32,
    ) {
        let bytes = room_output.bytes.slice(range.start as usize..range.end as usize);
        let mut members = std::mem::take(&mut self.members);
        self.context.rooms.members_into(room_output.room, &mut members);
        let mut queued = 0;
        for member in members.iter().filter(|member| Some(**member) != but) {
            queued += self.tell_one(*member, &bytes, messages);
        }
        self.context.counters.deliveries.add(queued);
        self.members = members;
    }

    fn tell_data(
        &mut self,
        room: u64,
        to: Option<(SessionId, u32)>,
        (class, key): (PacketClass, u64),
        bytes: &Bytes,
    ) {
        let mut members = std::mem::take(&mut self.members);
        match to {
            None => self.context.rooms.members_into(room, &mut members),
            Some((to, ticket)) => {
                members.clear();
                members.extend(self.holds_seat(to, room, ticket).then_some(to));
            }
        }
        let mut queued = 0;
        for member in &members {
            let sent = self.with_session(member.slot(), member.generation(), |session, cx, callbacks| {
                session.with_output(cx, callbacks, |_, mut output| output.send_droppable(class, key, bytes))
            });
            queued += u64::from(sent == Some(SendStatus::Queued));
        }
        self.context.counters.deliveries.add(queued);
        self.members = members;
    }

    /// Returns how many messages were queued.
    fn tell_one(&mut self, to: SessionId, bytes: &Bytes, messages: u32) -> u64 {
        let sent = self.with_session(to.slot(), to.generation(), |session, cx, callbacks| {
            session.with_output(cx, callbacks, |_, mut output| output.send_shared(bytes))
        });
        sent.map_or(0, |sent| self.context.counters.told(sent, messages.into()))
    }

    /// A room has answered everything that a session waited for; after the last such room the session begins to
    /// drain.
    fn hear_out(&mut self, id: SessionId, room: u64, ticket: u32) {
        if usize::from(id.worker()) != self.index {
            return;
        }
        let Some(entry) = self.sessions.get_mut(id.slot(), id.generation()) else { return };
        let is_it = |membership: &&mut RoomMembership| {
            membership.room.number() == room && membership.ticket == ticket
        };
        if let Some(membership) = entry.room_memberships.iter_mut().find(is_it) {
            membership.drain_state = DrainState::Answered;
            self.with_session(id.slot(), id.generation(), |session, cx, callbacks| {
                session.with_output(cx, callbacks, |_, _| ());
            });
        }
    }

    /// Releases a part of a session's charge after a room processed its data; a session that was paused for that is
    /// read again.
    fn take_off(&mut self, id: SessionId, bytes: u32) {
        if usize::from(id.worker()) == self.index {
            self.with_session(id.slot(), id.generation(), |session, cx, callbacks| {
                session.taken(bytes, cx, callbacks)
            });
        }
    }

    /// Ends the memberships of all sessions of this worker in the room; `then` runs for each.
    fn close_room(&mut self, room: u64, then: impl Fn(&mut Self, SessionId)) {
        let mut members = Vec::new();
        self.context.rooms.members_into(room, &mut members);
        for id in members {
            if self.unseat(id, room, None) {
                then(self, id);
            }
        }
    }

    /// Ends a session once its queued data has been sent.
    pub(crate) fn end_in_order(&mut self, id: SessionId, reason: DisconnectReason) {
        self.with_session(id.slot(), id.generation(), |session, cx, callbacks| {
            session.with_output(cx, callbacks, |callbacks, output| {
                callbacks.play(output, (), |_, conn| conn.end_with(reason, CloseMode::Graceful));
            });
        });
    }

    fn put_out(&mut self, id: SessionId, room: u64, ticket: u32, why: RoomCloseReason) {
        if self.unseat(id, room, Some(ticket)) {
            self.tell_of_end(id, room, why);
        }
    }

    fn tell_of_end(&mut self, id: SessionId, room: u64, why: RoomCloseReason) {
        self.with_session(id.slot(), id.generation(), |session, cx, callbacks| {
            if session.is_live() {
                session.with_output(cx, callbacks, |callbacks, output| {
                    callbacks.play(output, (), |user, conn| user.on_room_closed(conn, room, why));
                });
            }
        });
    }

    /// Removes a session's membership. Returns whether it had one, under this ticket if one is given.
    fn unseat(&mut self, id: SessionId, room: u64, ticket: Option<u32>) -> bool {
        if usize::from(id.worker()) != self.index {
            return false;
        }
        let Some(entry) = self.sessions.get_mut(id.slot(), id.generation()) else { return false };
        let mut room_memberships = entry.room_memberships.iter();
        let place = room_memberships.position(|membership| {
            membership.room.number() == room && ticket.is_none_or(|ticket| ticket == membership.ticket)
        });
        if let Some(place) = place {
            entry.room_memberships.swap_remove(place);
            self.context.rooms.expel(room, id);
        }
        place.is_some()
    }

    fn holds_seat(&self, id: SessionId, room: u64, ticket: u32) -> bool {
        let holds =
            |membership: &RoomMembership| membership.room.number() == room && membership.ticket == ticket;
        self.own(id).is_some_and(|entry| entry.room_memberships.iter().any(holds))
    }

    fn own(&self, id: SessionId) -> Option<&crate::worker::Entry<F::Session>> {
        let mine = usize::from(id.worker()) == self.index;
        mine.then(|| self.sessions.get(id.slot(), id.generation())).flatten()
    }
}
