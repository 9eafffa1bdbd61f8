//! The engine on the simulated kernel without faults: an echo, and a broadcast to a room of peers.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use naksi::engine::ServiceCore;
use naksi::engine::Worker;
use naksi::prelude::*;
use naksi_os::port::{ListenOptions, Port as _, PortOptions};
use naksi_sim::kernel::fault::Dialect;
use naksi_sim::kernel::peer::{Peer, PeerEvent, PeerIo};
use naksi_sim::kernel::world::{World, WorldOptions};

/// Connections of a workload.
const PEERS: usize = 32;
/// Bytes of a message, its header included.
const MESSAGE_BYTES: usize = 64;
const ID: u16 = 10;

/// Returns each packet to its sender; an item is an echoed message.
pub(crate) fn echo(items: usize) {
    run(items / PEERS, PEERS, |c, packet| {
        c.send(packet.frame);
    });
}

/// Sends each packet to all members of a topic; an item is a delivery.
pub(crate) fn broadcast(items: usize) {
    run(items / PEERS, 1, |c, packet| {
        let everyone = c.topic(1);
        c.broadcast(&everyone, packet.frame);
    });
}

type OnPacket = fn(&mut Conn<'_>, Packet<'_>);

struct Member(OnPacket);

impl Session for Member {
    const FRAMING: Framing = Framing::Packets;

    fn on_connected(&mut self, c: &mut Conn<'_>) {
        let everyone = c.topic(1);
        c.join(&everyone);
    }

    fn on_packet(&mut self, c: &mut Conn<'_>, packet: Packet<'_>) {
        (self.0)(c, packet);
    }
}

/// What the peers of a run share.
struct Shared {
    frame: Vec<u8>,
    /// Messages that each peer receives before it closes.
    rounds: usize,
    closed: Cell<usize>,
}

/// A client that sends its next message when the last one has arrived.
struct Client {
    shared: Rc<Shared>,
    /// Whether it sends, or only receives what others send.
    sends: bool,
    received_bytes: usize,
    sent: usize,
}

impl Client {
    fn send(&mut self, io: &mut PeerIo<'_>) {
        if self.sends && self.sent < self.shared.rounds {
            self.sent += 1;
            assert_eq!(io.write(&self.shared.frame), MESSAGE_BYTES, "the socket has room for one message");
        }
    }
}

/// The timer that starts a client once all have connected.
const START: u32 = 1;

impl Peer for Client {
    fn on_event(&mut self, io: &mut PeerIo<'_>, event: PeerEvent) {
        match event {
            PeerEvent::Connected => io.set_timer(Duration::from_secs(1), START),
            PeerEvent::Timer(_) => self.send(io),
            PeerEvent::Readable => {
                let whole = self.received_bytes / MESSAGE_BYTES;
                self.received_bytes += io.read(usize::MAX).len();
                for _ in whole..self.received_bytes / MESSAGE_BYTES {
                    self.send(io);
                }
                if self.received_bytes == self.shared.rounds * MESSAGE_BYTES {
                    self.shared.closed.set(self.shared.closed.get() + 1);
                    io.close();
                }
            }
            PeerEvent::Writable => {}
            PeerEvent::Refused | PeerEvent::Closed | PeerEvent::Reset => {
                panic!("nothing ends a connection in calm weather: {event:?}")
            }
        }
    }
}

/// Connects all peers, lets the first `senders` of them send `rounds` messages each, and runs until every peer has
/// received all of them.
fn run(rounds: usize, senders: usize, on_packet: OnPacket) {
    let world = World::new(WorldOptions { seed: 1, dialect: Dialect::Uring, ..WorldOptions::default() });
    let address: SocketAddr = "10.0.0.9:7777".parse().expect("an address");
    let limits = Limits { connections_per_address_max: 1000, ..Limits::default() };
    let service_core = Arc::new(ServiceCore::new(1, limits));
    let mut port = world.open_port(&PortOptions::default());
    let (listener, _) = port.listen(address, &ListenOptions::default()).expect("the address is free");
    let make = Arc::new(move |_: &ConnectionInfo| Member(on_packet));
    let mut worker = Worker::new(0, port, Arc::clone(&service_core), make);
    worker.add_listener(listener);
    service_core.begin();

    let mut frame = naksi::frame::header(ID, MESSAGE_BYTES - 4).expect("a short body").to_vec();
    frame.resize(MESSAGE_BYTES, 7);
    let shared = Rc::new(Shared { frame, rounds, closed: Cell::new(0) });
    for number in 0..PEERS {
        let client =
            Client { shared: Rc::clone(&shared), sends: number < senders, received_bytes: 0, sent: 0 };
        world.dial(address, Box::new(client), world.now());
    }
    while shared.closed.get() < PEERS {
        while worker.port().is_runnable() {
            worker.turn().expect("a simulated port does not break");
        }
        assert!(world.advance(), "nothing is left to happen, and {} peers wait", PEERS - shared.closed.get());
    }
}
