//! The session of the world: it handles the login and forwards everything else to the room.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use naksi::packets::decode;
use naksi::prelude::*;

use super::room::{Person, Way, World};
use super::store::Store;
use super::{Login, NAME_BYTES_MAX};
use crate::escape::is_control;

/// The one world of a server; it is opened by the first client.
pub(crate) struct Gate {
    store: Store,
    send_stall_within: Duration,
    world: Mutex<Option<RoomRef<World>>>,
}

impl Gate {
    /// A gate to a world of these players, on a server that ends sessions that read nothing for this long.
    pub(crate) fn new(store: Store, send_stall_within: Duration) -> Self {
        Self { store, send_stall_within, world: Mutex::default() }
    }

    fn world(&self, c: &mut Conn<'_>) -> naksi::Result<RoomRef<World>> {
        let mut open = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(world) = open.as_ref().filter(|world| !world.is_closed()) {
            return Ok(world.clone());
        }
        let world = World::new(self.store.clone(), self.send_stall_within);
        let world = c.open_room(world, World::options())?;
        *open = Some(world.clone());
        Ok(world)
    }
}

/// One client of the world.
pub(crate) struct Player {
    gate: Arc<Gate>,
    world: Option<RoomRef<World>>,
    /// How much of the world's output has reached it.
    way: Arc<Way>,
}

impl Player {
    pub(crate) fn new(gate: &Arc<Gate>) -> Self {
        Self { gate: Arc::clone(gate), world: None, way: Arc::default() }
    }

    fn log_in(&mut self, c: &mut Conn<'_>, name: &str) {
        let person = Person::new(name, Arc::clone(&self.way));
        match Arc::clone(&self.gate).world(c) {
            Ok(world) if c.join_room(&world, person) => self.world = Some(world),
            _ => c.close(DisconnectReason::RoomClosed),
        }
    }
}

impl Session for Player {
    const FRAMING: Framing = Framing::Packets;

    fn on_packet(&mut self, c: &mut Conn<'_>, packet: Packet<'_>) {
        if let Some(world) = &self.world {
            c.room_send_packet(world, packet);
            return;
        }
        match decode::<Login>(packet.body) {
            Ok(Login { name }) if packet.id == Login::ID && is_name(&name) => self.log_in(c, &name),
            _ => c.close(DisconnectReason::Protocol),
        }
    }

    fn on_sent(&mut self, c: &mut Conn<'_>, bytes: usize) {
        self.way.went_on(bytes, c.pending_bytes());
    }

    fn on_room_closed(&mut self, c: &mut Conn<'_>, _room: u64, why: RoomCloseReason) {
        self.world = None;
        c.close(if why == RoomCloseReason::Full {
            DisconnectReason::RoomFull
        } else {
            DisconnectReason::RoomClosed
        });
    }
}

/// Whether a name is valid: without control characters, which would control the terminals that show it.
fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.contains(is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_a_length_and_no_control_characters() {
        for name in
            ["", "bob\n", "\u{1b}[2J", "\u{85}", "\u{2029}", "\u{202e}bob", &"x".repeat(NAME_BYTES_MAX + 1)]
        {
            assert!(!is_name(name), "{name:?}");
        }
        assert!(is_name("bob") && is_name("베르타 😀") && is_name(&"x".repeat(NAME_BYTES_MAX)));
    }
}
