//! The session whose callback runs on this thread, and what it has sent to rooms through their handles. A handle does
//! not know its caller, so calls are charged to the session that is set here.

use std::cell::Cell;

use naksi_core::id::SessionId;

thread_local! {
    static CALLER: Cell<Option<(SessionId, u32)>> = const { Cell::new(None) };
}

/// Called when a callback of this session begins on this thread.
pub(crate) fn begin(session: SessionId) {
    CALLER.set(Some((session, 0)));
}

/// Called when the callback has returned. Returns the bytes of memory that it sent to rooms through their handles.
pub(crate) fn end() -> u32 {
    CALLER.take().map_or(0, |(_, bytes)| bytes)
}

/// The session whose callback runs on this thread, and what it has been charged so far.
pub(super) fn current() -> Option<(SessionId, u32)> {
    CALLER.get()
}

/// Charges the session whose callback runs on this thread, if there is one.
pub(super) fn charge(bytes: u32) -> Option<SessionId> {
    let (session, before) = CALLER.get()?;
    CALLER.set(Some((session, before.saturating_add(bytes))));
    Some(session)
}
