//! A room's routes: which method takes which type of packet.

use std::collections::BTreeMap;
use std::fmt;

use naksi_core::id::SessionId;

use super::{Cx, Room};
use crate::packets::{Malformed, Message, decode};

/// A method that takes a packet's type.
type Taker<R, M> = fn(&mut R, &mut Cx<'_, R>, SessionId, M);

/// The same, with the body still encoded.
type Handler<R> =
    Box<dyn Fn(&mut R, &mut Cx<'_, R>, SessionId, &[u8]) -> Result<(), Malformed> + Send + Sync>;

/// Maps packet types to the room's methods; see [`Room::routes`].
pub struct Routes<R: Room> {
    handlers: BTreeMap<u16, (&'static str, Handler<R>)>,
}

impl<R: Room> Default for Routes<R> {
    fn default() -> Self {
        Self { handlers: BTreeMap::new() }
    }
}

impl<R: Room> Routes<R> {
    /// Routes packets of this type to this method. A malformed body ends its session with
    /// [`DisconnectReason::Protocol`](naksi_core::reason::DisconnectReason::Protocol).
    ///
    /// # Panics
    /// If this id has a route already.
    pub fn on<M: Message>(&mut self, take: Taker<R, M>) -> &mut Self {
        let handler: Handler<R> = Box::new(move |room, cx, from, body| {
            take(room, cx, from, decode(body)?);
            Ok(())
        });
        let before = self.handlers.insert(M::ID, (M::NAME, handler));
        assert!(before.is_none(), "two methods take packet {} {}", M::ID, M::NAME);
        self
    }

    pub(super) fn find(&self, id: u16) -> Option<&Handler<R>> {
        self.handlers.get(&id).map(|(_, handler)| handler)
    }

    pub(super) fn known(&self) -> Box<[(u16, &'static str)]> {
        self.handlers.iter().map(|(id, (name, _))| (*id, *name)).collect()
    }
}

impl<R: Room> fmt::Debug for Routes<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.known()).finish()
    }
}
