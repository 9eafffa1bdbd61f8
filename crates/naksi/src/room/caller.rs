//! Which session's callback runs on this thread, and what it has brought to rooms by their handles: a handle knows no
//! session, and what is brought counts against the session whose callback brought it.

use std::cell::Cell;

use naksi_core::id::SessionId;

thread_local! {
    static CALLER: Cell<Option<(SessionId, u32)>> = const { Cell::new(None) };
}

/// A callback of this session begins on this thread.
pub(crate) fn begin(session: SessionId) {
    CALLER.set(Some((session, 0)));
}

/// The callback is over. Returns what it has brought to rooms by their handles, in bytes of memory.
pub(crate) fn end() -> u32 {
    CALLER.take().map_or(0, |(_, bytes)| bytes)
}

/// The session whose callback runs on this thread, and what it has brought so far.
pub(super) fn current() -> Option<(SessionId, u32)> {
    CALLER.get()
}

/// The session whose callback runs on this thread, if one does, has brought so much more.
pub(super) fn charge(bytes: u32) -> Option<SessionId> {
    let (session, before) = CALLER.get()?;
    CALLER.set(Some((session, before.saturating_add(bytes))));
    Some(session)
}
