//! The plane in square cells; the entities of each cell are contiguous in memory.

use crate::grid::{Point, Squares};
use crate::id::PeerMap;

/// What a scan needs of an entity, so that it accesses no other memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Occupant {
    pub(super) at: Point,
    pub(super) slot: u32,
    pub(super) visible: bool,
    pub(super) squares: Squares,
}

/// The name of one cell: its column and its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    column: i32,
    row: i32,
}

impl Cell {
    /// The cell of a place, for cells of this width.
    pub(super) fn of(at: Point, width: u32) -> Self {
        // A width is at most 2^29 and a coordinate below 2^30.
        let width = width as i32;
        Self { column: at.x().div_euclid(width), row: at.y().div_euclid(width) }
    }

    fn key(self) -> u64 {
        u64::from(self.column as u32) << 32 | u64::from(self.row as u32)
    }
}

/// A rectangle of cells, both corners included.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    first: Cell,
    last: Cell,
}

impl Span {
    /// Every cell that may contain a point within `radius`, for cells of that width.
    pub(super) fn around(at: Point, radius: u32) -> Self {
        let cell = Cell::of(at, radius);
        let next = |by: i32| Cell { column: cell.column + by, row: cell.row + by };
        Self { first: next(-1), last: next(1) }
    }

    pub(super) fn has(&self, cell: Cell) -> bool {
        (self.first.column..=self.last.column).contains(&cell.column)
            && (self.first.row..=self.last.row).contains(&cell.row)
    }

    pub(super) fn cells(self) -> impl Iterator<Item = Cell> {
        let rows = self.first.row..=self.last.row;
        (self.first.column..=self.last.column)
            .flat_map(move |column| rows.clone().map(move |row| Cell { column, row }))
    }
}

/// Every cell with an entity.
#[derive(Debug, Default)]
pub(super) struct Cells {
    /// Keyed by positions, which peers choose.
    lists: PeerMap<u64, Vec<Occupant>>,
    /// Lists of cells that became empty, for cells that are entered.
    spare: Vec<Vec<Occupant>>,
}

impl Cells {
    /// The entities in a cell.
    pub(super) fn list(&self, cell: Cell) -> &[Occupant] {
        self.lists.get(&cell.key()).map_or(&[], Vec::as_slice)
    }

    /// Appends an entity to a cell's list, and returns its index.
    pub(super) fn enter(&mut self, cell: Cell, occupant: Occupant) -> u32 {
        let list = self.lists.entry(cell.key()).or_insert_with(|| self.spare.pop().unwrap_or_default());
        list.push(occupant);
        u32::try_from(list.len() - 1).expect("fewer than 2^32 entities")
    }

    /// Removes an entity from a cell's list. Returns the slot of the entity that moved to its index, if one did.
    pub(super) fn leave(&mut self, cell: Cell, place: u32) -> Option<u32> {
        let list = self.lists.get_mut(&cell.key()).expect("the cell of a live entity has a list");
        list.swap_remove(place as usize);
        if list.is_empty() {
            self.spare.extend(self.lists.remove(&cell.key()));
            return None;
        }
        list.get(place as usize).map(|moved| moved.slot)
    }

    /// Records that an entity moved within its cell, or sees farther.
    pub(super) fn update(&mut self, cell: Cell, place: u32, occupant: Occupant) {
        let list = self.lists.get_mut(&cell.key()).expect("the cell of a live entity has a list");
        list[place as usize] = occupant;
    }

    /// Places that were allocated, in all cells and spare lists.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.lists.values().chain(&self.spare).map(Vec::capacity).sum()
    }
}
