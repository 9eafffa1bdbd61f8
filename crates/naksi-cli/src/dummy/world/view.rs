//! The view of one client, as sent by the server, and every error found in it.

use super::field::Field;
use super::sights::Sights;
use crate::apps::world::{LOST_BEYOND, SEEN_WITHIN};

/// Numbers of players are never larger: they are small, and reused.
const WHO_MAX: u32 = 1 << 20;

/// A player in view.
struct Neighbour {
    /// Which dummy it is; a stranger has none.
    index: Option<u32>,
    at: (i32, i32),
    told_at: u64,
    /// Its index in the list of players in view.
    place: usize,
}

/// The players in one dummy's view.
#[derive(Default)]
pub(super) struct View {
    /// By number.
    neighbours: Vec<Option<Neighbour>>,
    in_view: Vec<u32>,
    sights: Sights,
}

impl View {
    pub(super) fn enter(&mut self, who: u32, index: Option<u32>, at: (i32, i32), now: u64) {
        self.sights.enters += 1;
        if who >= WHO_MAX || self.find(who).is_some() {
            self.sights.entered_twice += 1;
            return;
        }
        if self.neighbours.len() <= who as usize {
            self.neighbours.resize_with(who as usize + 1, || None);
        }
        let place = self.in_view.len();
        self.in_view.push(who);
        self.neighbours[who as usize] = Some(Neighbour { index, at, told_at: now, place });
    }

    pub(super) fn leave(&mut self, who: u32) {
        self.sights.leaves += 1;
        let Some(gone) = self.neighbours.get_mut(who as usize).and_then(Option::take) else {
            self.sights.left_unseen += 1;
            return;
        };
        self.in_view.swap_remove(gone.place);
        if let Some(moved) = self.in_view.get(gone.place).copied() {
            self.find(moved).expect("who is in view is known").place = gone.place;
        }
    }

    pub(super) fn moved(&mut self, who: u32, at: (i32, i32), now: u64) {
        match self.find(who) {
            Some(neighbour) => (neighbour.at, neighbour.told_at) = (at, now),
            None => self.sights.moved_unseen += 1,
        }
    }

    pub(super) fn said(&mut self, by_me: bool, from: u32) {
        self.sights.lines += 1;
        if !by_me && self.find(from).is_none() {
            self.sights.said_unseen += 1;
        }
    }

    /// When the last news of one of those in view arrived; a player outside this run need not move, so it may have
    /// none.
    pub(super) fn told_at(&self, chance: u64) -> Option<u64> {
        let who = *self.in_view.get((chance % self.in_view.len().max(1) as u64) as usize)?;
        let neighbour = self.neighbours[who as usize].as_ref()?;
        neighbour.index.is_some().then_some(neighbour.told_at)
    }

    /// All players stand still and everything has arrived: exactly the near ones must be in view, at their places.
    pub(super) fn judge(&mut self, field: &Field, me: u32) {
        let here = field.place(me);
        let square = |radius: u32| i64::from(radius) * i64::from(radius);
        let mut sees = std::collections::HashMap::new();
        for neighbour in self.neighbours.iter().flatten() {
            if let Some(index) = neighbour.index {
                sees.insert(index, neighbour.at);
            }
        }
        for (index, at) in field.present().filter(|(index, _)| *index != me) {
            let (x, y) = (i64::from(at.0 - here.0), i64::from(at.1 - here.1));
            let distance = x * x + y * y;
            match sees.remove(&index) {
                Some(_) if distance > square(LOST_BEYOND) => self.sights.seen_from_afar += 1,
                Some(told) if told != at => self.sights.wrong_place += 1,
                None if distance <= square(SEEN_WITHIN) => self.sights.not_seen += 1,
                _ => {}
            }
        }
        // The remaining ones are not in the world.
        self.sights.ghosts += sees.len() as u64;
    }

    /// Adds what was counted to the sum of all.
    pub(super) fn hand_in(&mut self, sum: &mut Sights) {
        sum.add(&std::mem::take(&mut self.sights));
    }

    fn find(&mut self, who: u32) -> Option<&mut Neighbour> {
        self.neighbours.get_mut(who as usize).and_then(Option::as_mut)
    }
}

#[cfg(test)]
mod tests {
    use super::super::field::Spread;
    use super::*;

    #[test]
    fn whatever_is_told_out_of_its_turn_is_counted() {
        let mut view = View::default();
        view.moved(3, (0, 0), 1);
        view.leave(3);
        view.said(false, 3);
        view.enter(3, Some(1), (0, 0), 1);
        view.enter(3, Some(1), (0, 0), 1);
        view.enter(WHO_MAX, Some(2), (0, 0), 1);
        view.said(false, 3);
        view.said(true, 9);
        view.leave(3);
        let Sights { enters, leaves, entered_twice, left_unseen, moved_unseen, said_unseen, lines, .. } =
            view.sights;
        assert_eq!((enters, leaves, lines), (3, 2, 3));
        assert_eq!((entered_twice, left_unseen, moved_unseen, said_unseen), (2, 1, 1, 1));
    }

    #[test]
    fn what_is_seen_at_the_end_is_compared_with_what_is() {
        let field = Field::new(Spread::Wide, 6);
        let near = SEEN_WITHIN as i32;
        for (index, at) in [(0, (0, 0)), (1, (near, 0)), (2, (near, 0)), (3, (0, 500)), (4, (1, 1))] {
            field.enter(index, at);
        }
        let mut view = View::default();
        view.enter(11, Some(1), (near, 0), 0);
        view.enter(13, Some(3), (0, 500), 0);
        view.enter(14, Some(4), (1, 2), 0);
        view.enter(15, Some(5), (1, 2), 0);
        view.enter(16, None, (1, 2), 0);
        view.judge(&field, 0);
        let Sights { not_seen, seen_from_afar, wrong_place, ghosts, .. } = view.sights;
        assert_eq!((not_seen, seen_from_afar, wrong_place, ghosts), (1, 1, 1, 1));
    }
}
