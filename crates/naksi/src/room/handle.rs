//! A handle of a room: to join it, to call into it from anywhere, to close it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::caller;
use super::mailbox::{Charge, Job, Site};
use super::{Cx, DynRoom, Room, RoomCell, RoomCloseReason, RoomHost, RoomOptions};
use crate::config::Result;
use crate::group::SubmitError;

/// Most calls that wait for a room.
const CALLS_MAX: usize = 65_536;
/// Most bytes of memory of calls that wait for a room.
const CALL_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Memory of a call beside what it captures.
const CALL_BYTES: usize = 128;
/// A session's callback that has sent this much through calls may fill only half of a room's mailbox.
const CALLER_BYTES_MAX: u32 = 64 * 1024;
/// Memory charged for a room that was opened and has not begun.
const ROOM_BYTES: usize = 4096;

/// A handle of a room; cheap to clone, usable from any thread. The room lives until it is closed, panics, or the
/// service ends, whether or not a handle exists.
pub struct RoomRef<R: Room>(pub(crate) Arc<RoomCell<R>>);

/// Opens a room. The caller starts its first run.
pub(crate) fn open<R: Room>(host: &Arc<dyn RoomHost>, room: R, options: RoomOptions) -> Result<RoomRef<R>> {
    options.check()?;
    let (number, home, counters) = host.new_room();
    let group = host.group(options.group_name());
    let site = Site { number, home, group, counters, service: Some(Arc::downgrade(host)) };
    let cell = RoomCell::new(room, options, site);
    host.add_room(Arc::clone(&cell) as Arc<dyn DynRoom>);
    Ok(RoomRef(cell))
}

impl<R: Room> RoomRef<R> {
    /// The room's number in its service.
    pub fn number(&self) -> u64 {
        self.0.number
    }

    /// Number of members. Approximate while sessions join and leave.
    pub fn members(&self) -> usize {
        self.0.members.load(Ordering::Relaxed)
    }

    /// Whether it has ended.
    pub fn is_closed(&self) -> bool {
        DynRoom::is_closed(&*self.0)
    }

    /// Runs a closure inside the room, for example to deliver a database result. As with callbacks, one thread at a
    /// time runs in the room. Calls made by one thread keep their order. A call from a session's callback is charged
    /// to that session ([`Limits::room_backlog_bytes_max`](naksi_core::limits::Limits)).
    ///
    /// # Errors
    /// 65,536 calls or 16 MiB of them wait already (half of that if the calling session has sent much itself), or the
    /// room has ended. A room that ends before it reaches the call drops it silently.
    pub fn call(
        &self,
        call: impl FnOnce(&mut R, &mut Cx<'_, R>) + Send + 'static,
    ) -> Result<(), SubmitError> {
        if self.is_closed() {
            return Err(SubmitError::Closed);
        }
        let share = if caller::current().is_some_and(|(_, bytes)| bytes >= CALLER_BYTES_MAX) { 2 } else { 1 };
        if self.0.calls.load(Ordering::Relaxed) >= CALLS_MAX / share
            || self.0.call_bytes.load(Ordering::Relaxed) >= CALL_BYTES_MAX / share
        {
            return Err(SubmitError::Full);
        }
        let charge = charge(size_of_val(&call) + CALL_BYTES);
        self.put(Job::Call(Box::new(call), charge));
        Ok(())
    }

    /// Closes the room after everything that was sent to it before.
    pub fn close(&self) {
        self.put(Job::Close(RoomCloseReason::Closed));
    }

    fn put(&self, job: Job<R>) {
        if self.0.put(job) {
            self.schedule();
        }
    }

    /// Starts a room that was opened by a thread that does not run it.
    pub(crate) fn begin(&self) {
        self.put(Job::Mark(charge(size_of::<RoomCell<R>>() + ROOM_BYTES)));
    }

    /// Schedules a room that was claimed by a thread that does not run it: on its group, or else on its home worker.
    fn schedule(&self) {
        if !Arc::clone(&self.0).hand_over() {
            match self.0.service() {
                Some(service) => service.schedule(Arc::clone(&self.0) as Arc<dyn DynRoom>),
                None => self.0.release(),
            }
        }
    }
}

/// Charges the session whose callback runs on this thread, if there is one.
fn charge(bytes: usize) -> Charge {
    let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
    Charge { session: caller::charge(bytes), bytes }
}

impl<R: Room> Clone for RoomRef<R> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<R: Room> fmt::Debug for RoomRef<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RoomRef({}, {} members)", self.number(), self.members())
    }
}
