//! The handle table of a port: open handles, their kinds, and the operations in flight on them.
//!
//! Every backend keeps its sockets, listeners and files here, so that a stale handle is refused before it reaches a
//! number that the system may have reused, and so that nothing is closed under an operation in flight (laws 2 and 4).

use naksi_core::id::Handle;
use naksi_core::op::Op;
use std::collections::VecDeque;

use crate::port::SubmitErrorKind;

/// What kind of thing a handle names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandleKind {
    /// Accepts connections.
    Listener,
    /// A connected stream.
    Stream,
    /// Sends and receives datagrams.
    Datagram,
    /// A file with offsets.
    File,
}

/// The direction of a handle that an operation occupies. At most one operation per direction, except for files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Accept, receive.
    In,
    /// Send.
    Out,
    /// Shutdown, close.
    Control,
    /// File operations: any number at once, each with its own offset.
    Shared,
}

/// The handle that an operation uses, the kind that it must have, and the direction that the operation occupies.
/// `None` if it needs no open handle, or takes it out of the table (a close).
pub fn needed(op: &Op) -> Option<(Handle, HandleKind, Direction)> {
    Some(match op {
        Op::Connect { .. } | Op::Close { .. } | Op::Timeout { .. } => return None,
        Op::Accept { listener } => (*listener, HandleKind::Listener, Direction::In),
        Op::Recv { socket } => (*socket, HandleKind::Stream, Direction::In),
        Op::Send { socket, .. } => (*socket, HandleKind::Stream, Direction::Out),
        Op::Shutdown { socket, .. } => (*socket, HandleKind::Stream, Direction::Control),
        Op::ReadAt { file, .. } | Op::WriteAt { file, .. } | Op::Sync { file } => {
            (*file, HandleKind::File, Direction::Shared)
        }
        Op::RecvFrom { socket, .. } => (*socket, HandleKind::Datagram, Direction::In),
        Op::SendTo { socket, .. } => (*socket, HandleKind::Datagram, Direction::Out),
    })
}

struct Entry<T> {
    kind: HandleKind,
    resource: T,
    directions: [bool; 3],
    in_flight: u32,
}

struct Slot<T> {
    generation: u32,
    entry: Option<Entry<T>>,
}

/// Open handles and what the backend keeps for each (`T`: a descriptor, a socket, a simulated socket).
pub struct HandleTable<T> {
    slots: Vec<Slot<T>>,
    free: VecDeque<u32>,
    open: usize,
}

impl<T> Default for HandleTable<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: VecDeque::new(), open: 0 }
    }
}

impl<T> HandleTable<T> {
    /// Handles open now.
    pub fn open(&self) -> usize {
        self.open
    }

    /// Opens a handle on a resource.
    pub fn insert(&mut self, kind: HandleKind, resource: T) -> Handle {
        let entry = Some(Entry { kind, resource, directions: [false; 3], in_flight: 0 });
        self.open += 1;
        if let Some(index) = self.free.pop_front() {
            let slot = &mut self.slots[index as usize];
            slot.entry = entry;
            return Handle::new(index, slot.generation);
        }
        let index = u32::try_from(self.slots.len()).expect("fewer than 2^32 handles");
        self.slots.push(Slot { generation: 0, entry });
        Handle::new(index, 0)
    }

    /// The resource behind a handle of this kind.
    ///
    /// # Errors
    /// The handle is stale, or of another kind.
    pub fn resource(&self, handle: Handle, kind: HandleKind) -> Result<&T, SubmitErrorKind> {
        let entry = self.entry(handle).ok_or(SubmitErrorKind::StaleHandle)?;
        if entry.kind == kind { Ok(&entry.resource) } else { Err(SubmitErrorKind::WrongKind) }
    }

    /// The resource behind a handle of any kind.
    pub fn any(&self, handle: Handle) -> Option<&T> {
        self.entry(handle).map(|entry| &entry.resource)
    }

    /// The resource behind a handle of any kind, to change it.
    pub fn any_mut(&mut self, handle: Handle) -> Option<&mut T> {
        self.entry_mut(handle).map(|entry| &mut entry.resource)
    }

    /// Marks an operation as in flight on a direction of the handle.
    ///
    /// # Errors
    /// The handle is stale, of another kind, or the direction is occupied.
    pub fn begin(
        &mut self,
        handle: Handle,
        kind: HandleKind,
        direction: Direction,
    ) -> Result<&T, SubmitErrorKind> {
        let entry = self.entry_mut(handle).ok_or(SubmitErrorKind::StaleHandle)?;
        if entry.kind != kind {
            return Err(SubmitErrorKind::WrongKind);
        }
        if direction != Direction::Shared {
            let taken = &mut entry.directions[direction as usize];
            if *taken {
                return Err(SubmitErrorKind::Busy);
            }
            *taken = true;
        }
        entry.in_flight += 1;
        Ok(&entry.resource)
    }

    /// The operation on that direction has had its last completion.
    pub fn end(&mut self, handle: Handle, direction: Direction) {
        let entry = self.entry_mut(handle).expect("a handle outlives the operations on it");
        if direction != Direction::Shared {
            let taken = &mut entry.directions[direction as usize];
            assert!(*taken, "an operation ended on a direction where none was in flight");
            *taken = false;
        }
        entry.in_flight -= 1;
    }

    /// Operations in flight on a handle.
    pub fn in_flight(&self, handle: Handle) -> Option<u32> {
        self.entry(handle).map(|entry| entry.in_flight)
    }

    /// Removes an idle handle from the table; it is stale from now on.
    ///
    /// # Errors
    /// The handle is stale, or an operation is in flight on it (law 4).
    pub fn remove(&mut self, handle: Handle) -> Result<T, SubmitErrorKind> {
        let entry = self.entry(handle).ok_or(SubmitErrorKind::StaleHandle)?;
        if entry.in_flight > 0 {
            return Err(SubmitErrorKind::Busy);
        }
        let slot = &mut self.slots[handle.slot() as usize];
        let entry = slot.entry.take().expect("the entry was just seen");
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push_back(handle.slot());
        self.open -= 1;
        Ok(entry.resource)
    }

    /// Every open handle, for an orderly end.
    pub fn iter(&self) -> impl Iterator<Item = (Handle, HandleKind)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| {
            let entry = slot.entry.as_ref()?;
            Some((Handle::new(index as u32, slot.generation), entry.kind))
        })
    }

    fn entry(&self, handle: Handle) -> Option<&Entry<T>> {
        let slot = self.slots.get(handle.slot() as usize)?;
        if slot.generation == handle.generation() { slot.entry.as_ref() } else { None }
    }

    fn entry_mut(&mut self, handle: Handle) -> Option<&mut Entry<T>> {
        let slot = self.slots.get_mut(handle.slot() as usize)?;
        if slot.generation == handle.generation() { slot.entry.as_mut() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_handle_never_reaches_what_took_its_place() {
        let mut table = HandleTable::default();
        let old = table.insert(HandleKind::Stream, "old");
        assert_eq!(table.remove(old), Ok("old"));
        let new = table.insert(HandleKind::Stream, "new");
        assert_eq!(new.slot(), old.slot());
        assert_eq!(table.resource(old, HandleKind::Stream), Err(SubmitErrorKind::StaleHandle));
        assert_eq!(table.remove(old), Err(SubmitErrorKind::StaleHandle));
        assert_eq!(table.resource(new, HandleKind::Stream), Ok(&"new"));
    }

    #[test]
    fn a_busy_handle_is_not_closed_and_a_lane_takes_one_operation() {
        let mut table = HandleTable::default();
        let handle = table.insert(HandleKind::Stream, ());
        assert!(table.begin(handle, HandleKind::Stream, Direction::Out).is_ok());
        assert_eq!(table.begin(handle, HandleKind::Stream, Direction::Out), Err(SubmitErrorKind::Busy));
        assert!(table.begin(handle, HandleKind::Stream, Direction::In).is_ok());
        assert_eq!(table.remove(handle), Err(SubmitErrorKind::Busy));
        table.end(handle, Direction::Out);
        assert_eq!(table.remove(handle), Err(SubmitErrorKind::Busy));
        table.end(handle, Direction::In);
        assert_eq!(table.remove(handle), Ok(()));
        assert_eq!(table.open(), 0);
    }

    #[test]
    fn a_listener_does_not_send() {
        let mut table = HandleTable::default();
        let handle = table.insert(HandleKind::Listener, ());
        assert_eq!(table.begin(handle, HandleKind::Stream, Direction::Out), Err(SubmitErrorKind::WrongKind));
    }
}
