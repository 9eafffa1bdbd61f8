//! Tests of panics whose payload panics when it is dropped: each ends its own session, and nothing else on its
//! worker.

use std::panic::panic_any;

use super::*;

/// Panics when it is dropped, and may be thrown.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("on purpose, in the payload's destructor")
    }
}

/// Where a session throws one.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Factory,
    Connected,
    Recv,
    Timer,
    Disconnected,
    Drop,
    Nowhere,
}

struct Thrower(Place);

impl Thrower {
    fn at(&self, place: Place) {
        if self.0 == place {
            panic_any(Bomb);
        }
    }
}

impl Session for Thrower {
    fn on_connected(&mut self, c: &mut Conn<'_>) {
        self.at(Place::Connected);
        c.after(Duration::from_millis(1), 1);
    }

    fn on_recv(&mut self, c: &mut Conn<'_>, data: &[u8]) -> usize {
        self.at(Place::Recv);
        c.send(data);
        data.len()
    }

    fn on_timer(&mut self, _: &mut Conn<'_>, _: u32) {
        self.at(Place::Timer);
    }

    fn on_disconnected(&mut self, _: DisconnectReason) {
        self.at(Place::Disconnected);
    }
}

impl Drop for Thrower {
    fn drop(&mut self) {
        self.at(Place::Drop);
    }
}

#[test]
fn a_payload_that_panics_when_it_is_dropped_ends_its_session_and_no_other() {
    const PLACES: [Place; 7] = [
        Place::Nowhere,
        Place::Factory,
        Place::Connected,
        Place::Recv,
        Place::Timer,
        Place::Disconnected,
        Place::Drop,
    ];
    let make = |arrival: &ConnectionInfo| {
        let place = PLACES[arrival.index as usize];
        if place == Place::Factory {
            panic_any(Bomb);
        }
        Thrower(place)
    };
    let service = server().workers(1).session_with(make).start().expect("a server");
    let mut good = connect(service.addresses()[0]);
    until("the good one is the first", || service.stats().live == 1);
    for (place, thrown) in PLACES.into_iter().skip(1).zip(1..) {
        let mut bad = connect(service.addresses()[0]);
        bad.write_all(b"x").ok(); // It may have been ended already.
        if !matches!(place, Place::Disconnected | Place::Drop) {
            read_to_end(&mut bad);
        }
        drop(bad);
        until("it is counted", || service.stats().handler_panics == thrown);
        write(&mut good, b"still there");
        assert_eq!(read(&mut good, 11), b"still there");
    }
    drop(good);
    let stats = service.stop(Duration::from_secs(5));
    assert_eq!((stats.live, stats.handles, stats.in_flight), (0, 0, 0));
}

/// A room that throws one where it is told to.
struct Hall(Place);

impl Hall {
    fn at(&self, place: Place) {
        if self.0 == place {
            panic_any(Bomb);
        }
    }
}

impl Room for Hall {
    type Member = ();

    fn on_join(&mut self, _: &mut Cx<'_, Self>, _: SessionId) {
        self.at(Place::Connected);
    }

    fn on_packet(&mut self, _: &mut Cx<'_, Self>, _: SessionId, _: Packet<'_>) {
        self.at(Place::Recv);
    }

    fn on_close(&mut self, _: &mut Cx<'_, Self>) {
        self.at(Place::Disconnected);
    }
}

impl Drop for Hall {
    fn drop(&mut self) {
        self.at(Place::Drop);
    }
}

#[test]
fn a_payload_that_panics_when_it_is_dropped_ends_its_room_and_not_what_runs_it() {
    for group in [None, Some(GroupOptions::new("logic").threads(1))] {
        for place in [Place::Connected, Place::Recv, Place::Disconnected, Place::Drop] {
            let mut server = server().workers(1);
            if let Some(group) = &group {
                server = server.group(group.clone());
            }
            let service = server.room(RoomOptions::new(), move || Hall(place)).start().expect("a server");
            let mut members: Vec<_> = (0..2).map(|_| connect(service.addresses()[0])).collect();
            for member in &mut members {
                member.write_all(&frame(1, b"")).ok(); // Its room may have ended already.
            }
            if matches!(place, Place::Connected | Place::Recv) {
                members.iter_mut().for_each(|member| drop(read_to_end(member)));
                // The next one opens another room, on the same threads.
                let mut next = connect(service.addresses()[0]);
                next.write_all(&frame(1, b"")).ok();
                read_to_end(&mut next);
            } else {
                until("they are in the room", || service.stats().rooms.events_total >= 2);
            }
            drop(members);
            let stats = service.stop(Duration::from_secs(5));
            assert_eq!((stats.live, stats.rooms.live), (0, 0));
            assert!(stats.rooms.panics_total > 0, "{}", stats.rooms);
        }
    }
}
