//! Cases of a port that keeps accepted sockets in a table of its own: how it fills, and how it empties.
//!
//! Peers are the standard library's, so that every slot of the table belongs to an accepted socket.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use naksi_core::completion::{Completion, Done};
use naksi_core::ended::{Ended, Failure};
use naksi_core::id::{Handle, Token};
use naksi_core::op::Op;
use naksi_os::port::{ListenOptions, Port, PortOptions, Share, SubmitErrorKind};
use naksi_os::uring::port;

use crate::driver::{Driver, Harness, alone, loopback, small, together};
use crate::real::descriptors;

/// Room for whatever the cases of the whole contract accept at a time, by default.
const ENTRIES: u32 = 64;

pub(crate) fn open(options: &PortOptions) -> port::Port {
    let direct_descriptors = options.direct_descriptors.or(Some(ENTRIES));
    port::Port::open(&PortOptions { direct_descriptors, ..options.clone() }).expect("io_uring works here")
}

fn with_table(entries: u32) -> PortOptions {
    PortOptions { direct_descriptors: Some(entries), ..small() }
}

fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).expect("the port listens")
}

/// Accepts until the table is full, and returns what came.
fn fill<W: Harness>(port: &mut Driver<W>, accept: Token) -> Vec<Handle> {
    let mut taken = Vec::new();
    loop {
        match port.next_completion(accept) {
            Completion { done: Done::Accept(Ok(accepted)), more: true, .. } => taken.push(accepted.socket),
            Completion { done: Done::Accept(Err(Ended::Failed(error))), more: false, .. } => {
                assert_eq!(error.kind, Failure::DescriptorsExhausted);
                return taken;
            }
            other => panic!("{other:?}"),
        }
    }
}

/// What goes in comes out, on both ends.
fn talk<W: Harness>(port: &mut Driver<W>, socket: Handle, peer: &mut TcpStream) {
    port.send(socket, b"alive");
    let mut came = [0; 5];
    peer.read_exact(&mut came).expect("it comes");
    assert_eq!(&came, b"alive");
}

pub(crate) fn a_full_table_is_told_and_accepting_goes_on_after_it<W: Harness>() {
    let _turn = together();
    let mut port = Driver::<W>::new(&with_table(1));
    let (listener, address) = port.listen();
    let accept = port.submit(Op::Accept { listener });
    let _first = connect(address);
    let taken = fill(&mut port, accept);
    assert_eq!(taken.len(), 1);
    let mut second = connect(address);
    let still = port.submit(Op::Accept { listener });
    assert!(fill(&mut port, still).is_empty(), "there is no room for it");
    port.close(taken[0]);
    let again = port.submit(Op::Accept { listener });
    let socket = port.accepted(again);
    talk(&mut port, socket, &mut second);
    assert!(fill(&mut port, again).is_empty(), "it was the last slot");
    port.close(socket);
    port.close(listener);
    assert_eq!(port.finish().handles, 0);
}

pub(crate) fn a_table_is_filled_to_its_last_slot_and_no_connection_is_lost<W: Harness>() {
    let _turn = together();
    let mut port = Driver::<W>::new(&with_table(40));
    let (listener, address) = port.listen();
    for _ in 0..3 {
        let mut peers: Vec<_> = (0..50).map(|_| connect(address)).collect();
        let accept = port.submit(Op::Accept { listener });
        let mut taken = fill(&mut port, accept);
        assert_eq!(taken.len(), 40);
        taken.drain(..20).for_each(|socket| port.close(socket));
        let accept = port.submit(Op::Accept { listener });
        taken.extend((0..10).map(|_| port.accepted(accept)));
        // The queue is first come, first served, but several accepts may take two of it in either order.
        taken.sort_by_key(|socket| socket.slot());
        for socket in &taken {
            port.send(*socket, b"alive");
        }
        let alive = peers.drain(..).map(|mut peer| {
            peer.set_read_timeout(Some(Duration::from_secs(20))).expect("a live socket");
            let mut came = Vec::new();
            // Those whose sockets were closed above find the end, all others find five bytes first.
            let mut chunk = [0; 5];
            if peer.read(&mut chunk).is_ok_and(|count| count == 5) {
                came.extend(chunk);
            }
            came.len() / 5
        });
        assert_eq!(alive.sum::<usize>(), 30, "ten waited in the queue, twenty kept their places");
        port.port.cancel(accept);
        assert!(matches!(port.last(accept), Done::Accept(Err(Ended::Aborted))));
        taken.into_iter().for_each(|socket| port.close(socket));
    }
    port.close(listener);
    assert_eq!(port.finish().handles, 0);
}

pub(crate) fn two_listeners_share_a_table<W: Harness>() {
    let _turn = together();
    let mut port = Driver::<W>::new(&with_table(64));
    let open = |port: &mut Driver<W>, address, share| {
        let options = ListenOptions { share, ..ListenOptions::default() };
        port.port.listen(address, &options)
    };
    let (one, address) = open(&mut port, loopback(), Share::Open).expect("a free port");
    let (other, joined) = open(&mut port, address, Share::Join).expect("the address is shared");
    assert_eq!(joined, address);
    open(&mut port, address, Share::Open).expect_err("an address in use is in use, shared or not");
    open(&mut port, address, Share::Alone).expect_err("as above");
    let accepts = [one, other].map(|listener| port.submit(Op::Accept { listener }));
    let peers: Vec<_> = (0..20).map(|_| connect(address)).collect();
    let deadline = port.port.now() + Duration::from_secs(20);
    while port.seen.len() < peers.len() {
        assert!(port.port.now() < deadline, "{} of {} came", port.seen.len(), peers.len());
        port.turn();
    }
    let mut taken = Vec::new();
    for completion in port.seen.drain(..) {
        match completion.done {
            Done::Accept(Ok(accepted)) => taken.push(accepted.socket),
            other => panic!("{other:?}"),
        }
    }
    for accept in accepts {
        port.port.cancel(accept);
        assert!(matches!(port.last(accept), Done::Accept(Err(Ended::Aborted))));
    }
    taken.into_iter().for_each(|socket| port.close(socket));
    port.close(one);
    port.close(other);
    assert_eq!(port.finish().handles, 0);
}

pub(crate) fn a_socket_in_the_table_does_not_move_and_costs_no_descriptor<W: Harness>() {
    let _turn = alone();
    let mut port = Driver::<W>::new(&small());
    let (listener, address) = port.listen();
    let accept = port.submit(Op::Accept { listener });
    let mut peer = connect(address);
    let before = descriptors();
    let socket = port.accepted(accept);
    assert_eq!(descriptors(), before);
    assert!(matches!(port.port.release(socket), Err(SubmitErrorKind::Unsupported)));
    talk(&mut port, socket, &mut peer);
    port.close(socket);
    assert!(matches!(port.port.release(socket), Err(SubmitErrorKind::StaleHandle)));
    assert_eq!(peer.read(&mut [0; 1]).expect("an orderly end"), 0);
    port.finish_busy(accept);
}

pub(crate) fn a_port_dropped_with_a_full_table_closes_it_at_once<W: Harness>() {
    let _turn = together();
    let mut port = Driver::<W>::new(&with_table(8));
    let (listener, address) = port.listen();
    let mut peers: Vec<_> = (0..8).map(|_| connect(address)).collect();
    let accept = port.submit(Op::Accept { listener });
    for socket in fill(&mut port, accept) {
        port.submit(Op::Recv { socket });
    }
    assert_eq!(W::end(port.port).leaked_total, 0);
    for peer in &mut peers {
        peer.set_read_timeout(Some(Duration::from_secs(20))).expect("a live socket");
        assert_eq!(peer.read(&mut [0; 1]).expect("an orderly end"), 0);
    }
}
