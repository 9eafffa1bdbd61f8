//! The room of a run: it numbers what its members say and tells everybody, and writes down who comes and goes.
//!
//! Whoever hears the numbers knows the room's order; whoever counts the members at the end knows that each of them has
//! left once, whatever ended it. Nothing here knows a worker.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use naksi::prelude::*;

use super::books::Books;
use super::users::NUMBERED;

/// The room, shared by all sessions of a server.
pub struct Hall {
    books: Arc<Books>,
    said: u32,
    /// The questions whose answers stages brought.
    answered: HashSet<u64>,
    /// Timers set and not yet due.
    timers: u32,
}

impl Hall {
    /// The room of this run; the first who asks opens it.
    pub fn find(books: &Arc<Books>, c: &mut Conn<'_>) -> RoomRef<Hall> {
        let mut pages = books.pages();
        let open = || {
            let hall = Hall { books: Arc::clone(books), said: 0, answered: HashSet::new(), timers: 0 };
            // A budget of two events is always spent: what is left waits for the next turn.
            let options = RoomOptions::new().budget(Duration::from_secs(1), 2);
            c.open_room(hall, options).expect("options that make sense")
        };
        pages.hall.get_or_insert_with(open).clone()
    }

    /// A stage has an answer for the room: to the question of this number.
    pub fn hear_answer(&mut self, number: u64) {
        if !self.answered.insert(number) {
            self.books.break_law(format!("a room heard the answer to question {number} twice"));
        }
        if self.answered.len() as u64 > self.books.jobs.calls.load(Ordering::Relaxed) {
            self.books.break_law("a room heard more answers than were given to it");
        }
    }
}

impl Room for Hall {
    type Member = ();

    fn on_join(&mut self, cx: &mut Cx<'_, Self>, member: SessionId) {
        self.books.joined.fetch_add(1, Ordering::Relaxed);
        if !cx.contains(member) {
            self.books.break_law("who joins is no member");
        }
    }

    fn on_leave(&mut self, cx: &mut Cx<'_, Self>, member: SessionId, _data: (), _why: LeaveReason) {
        self.books.left.fetch_add(1, Ordering::Relaxed);
        if cx.contains(member) {
            self.books.break_law("who has left is a member");
        }
    }

    fn on_packet(&mut self, cx: &mut Cx<'_, Self>, from: SessionId, _packet: Packet<'_>) {
        if !cx.contains(from) {
            self.books.break_law("somebody speaks who is no member");
        }
        self.said += 1;
        cx.broadcast_packet(NUMBERED, &self.said.to_le_bytes());
        self.timers += 1;
        cx.after(Duration::from_millis(u64::from(self.said % 50)), self.said);
    }

    fn on_timer(&mut self, _cx: &mut Cx<'_, Self>, tag: u32) {
        if self.timers == 0 || tag > self.said {
            self.books.break_law("a room's timer fired twice, or was never set");
        }
        self.timers = self.timers.saturating_sub(1);
    }
}
