//! What only a port over readiness can get wrong: edges that are told once, and calls that cost.
//!
//! Knows epoll, and io_uring as its neighbour in the same process.

use std::io::Write;
use std::net::TcpStream;

use naksi_core::batch::{Segment, SendBatch};
use naksi_core::completion::Done;
use naksi_core::ended::Ended;
use naksi_core::op::Op;
use naksi_os::linux::choice;
use naksi_os::port::{Ledger, Port as _, PortOptions};
use naksi_os::uring::port as uring;

use crate::driver::{Driver, Harness, small, together};
use crate::epoll::Epoll;

/// Far more than the buffers of two sockets hold.
const FULL_BYTES: usize = 16 << 20;

struct Ring;

impl Harness for Ring {
    type Port = uring::Port;

    fn open(options: &PortOptions) -> uring::Port {
        uring::Port::open(options).expect("io_uring works here")
    }

    fn end(port: uring::Port) -> Ledger {
        port.end()
    }
}

/// A receive stops short at an urgent byte, and no edge tells of what stands behind it.
#[test]
fn what_stands_behind_an_urgent_byte_is_received() {
    let _turn = together();
    for round in 0..20_usize {
        let mut port = Driver::<Epoll>::new(&small());
        let (listener, address) = port.listen();
        let accept = port.submit(Op::Accept { listener });
        let mut peer = TcpStream::connect(address).expect("the port listens");
        let socket = port.accepted(accept);
        let early = (round % 2 == 0).then(|| port.submit(Op::Recv { socket }));
        port.look(round % 3);
        peer.write_all(b"before").expect("a live socket");
        socket2::SockRef::from(&peer).send_out_of_band(b"!").expect("a live socket");
        peer.write_all(b"behind").expect("a live socket");
        let recv = early.unwrap_or_else(|| port.submit(Op::Recv { socket }));
        assert_eq!(port.read(recv, 12), b"beforebehind");
        drop(peer);
        assert_eq!(port.recv_ended(recv), Ended::Closed);
        port.close(socket);
        port.finish_busy(accept);
    }
}

/// Both ports of this system leave a socket as they found it.
#[test]
fn a_socket_moves_between_a_ring_and_epoll() {
    let _turn = together();
    let mut ring = Driver::<Ring>::new(&small());
    let mut epoll = Driver::<Epoll>::new(&small());
    let (mut at_ring, mut at_epoll) = ring.pair();
    at_epoll = epoll.port.adopt(ring.port.release(at_epoll).unwrap_or_else(|why| panic!("{why}")));
    for round in 0..6_u8 {
        let (to_epoll, to_ring) =
            (epoll.submit(Op::Recv { socket: at_epoll }), ring.submit(Op::Recv { socket: at_ring }));
        ring.look(usize::from(round) % 3);
        ring.send(at_ring, &[round; 100]);
        assert_eq!(epoll.read(to_epoll, 100), [round; 100]);
        epoll.send(at_epoll, &[round; 50]);
        assert_eq!(ring.read(to_ring, 50), [round; 50]);
        epoll.port.cancel(to_epoll);
        assert_eq!(epoll.recv_ended(to_epoll), Ended::Aborted);
        ring.port.cancel(to_ring);
        assert_eq!(ring.recv_ended(to_ring), Ended::Aborted);
        // They change places, and one was made by accept, the other by connect.
        let from_ring = ring.port.release(at_ring).unwrap_or_else(|why| panic!("{why}"));
        let from_epoll = epoll.port.release(at_epoll).unwrap_or_else(|why| panic!("{why}"));
        (at_ring, at_epoll) = (ring.port.adopt(from_epoll), epoll.port.adopt(from_ring));
    }
    // And the other way about: made by epoll, served by a ring.
    let (ours, theirs) = epoll.pair();
    let moved = [ours, theirs].map(|socket| {
        let between = epoll.port.release(socket).unwrap_or_else(|why| panic!("{why}"));
        ring.port.adopt(between)
    });
    for (socket, other) in [(moved[0], moved[1]), (moved[1], moved[0])] {
        // More than the kernel takes at once: it takes a part, and what is sent then waits for room. A ring that was
        // told "try again" would say so here.
        let full = || {
            let mut batch = SendBatch::new();
            batch.push(Segment::Owned(vec![9; FULL_BYTES]));
            Op::Send { socket, batch }
        };
        let first = ring.submit(full());
        let Done::Send(_, Ok(a_part)) = ring.last(first) else { panic!("there is room for a part") };
        assert!((a_part as usize) < FULL_BYTES);
        let second = ring.submit(full());
        ring.look(5);
        let recv = ring.submit(Op::Recv { socket: other });
        let (mut arrived, mut sent) = (0, a_part as usize);
        while arrived < sent {
            let Done::Recv(Ok(lease)) = ring.next_completion(recv).done else { panic!("it goes on") };
            assert!(lease.iter().all(|byte| *byte == 9));
            arrived += lease.len();
            if arrived >= sent && sent == a_part as usize {
                let Done::Send(_, Ok(more)) = ring.last(second) else { panic!("there is room again") };
                sent += more as usize;
            }
        }
        assert_eq!(arrived, sent);
        ring.port.cancel(recv);
        assert_eq!(ring.recv_ended(recv), Ended::Aborted);
    }
    for socket in moved {
        let recv = ring.submit(Op::Recv { socket });
        ring.look(3);
        ring.port.cancel(recv);
        assert_eq!(ring.recv_ended(recv), Ended::Aborted, "a receive in a ring waits for its socket");
    }
    moved.into_iter().for_each(|socket| ring.close(socket));
    ring.close(at_ring);
    epoll.close(at_epoll);
    assert_eq!((ring.finish().handles, epoll.finish().handles), (0, 0));
}

/// One receive, one send, and a share of the wait; nothing is registered or changed for a message.
#[test]
fn a_message_costs_a_receive_a_send_and_a_share_of_a_wait() {
    let _turn = together();
    let mut port = Driver::<Epoll>::new(&PortOptions { catch_max: 256, lease_count: 256, ..small() });
    let pairs: Vec<_> = (0..32).map(|_| port.pair()).collect();
    let recvs: Vec<_> = pairs.iter().map(|(_, theirs)| port.submit(Op::Recv { socket: *theirs })).collect();
    let before = port.port.ledger().enters_total;
    for _ in 0..50 {
        for (ours, _) in &pairs {
            let mut batch = SendBatch::new();
            batch.push(Segment::Owned(vec![1; 64]));
            port.submit(Op::Send { socket: *ours, batch });
        }
        for recv in &recvs {
            port.read(*recv, 64);
        }
        port.seen.clear();
    }
    let calls = port.port.ledger().enters_total - before;
    // 1,600 messages: a send and a receive each, three waits for every 32 of them, and a few that the
    // kernel woke us for in vain.
    assert!(calls < 1600 * 5 / 2, "{calls} system calls for 1,600 messages");
    for recv in recvs {
        port.port.cancel(recv);
        assert_eq!(port.recv_ended(recv), Ended::Aborted);
    }
    port.seen.clear();
    port.finish();
}

/// The choice hands sockets on whatever it is made of.
#[test]
fn the_choice_opens_either_and_moves_sockets_between_them() {
    let _turn = together();
    let open = |name| choice::Port::open_backend(&small(), name).expect("both work here");
    let (mut ring, mut epoll) = (open("uring"), open("epoll"));
    let datagram = epoll.bind_datagram(crate::driver::loopback()).expect("a datagram socket").0;
    assert!(epoll.release(datagram).is_err(), "only streams move");
    let (listener, _) = ring.listen(crate::driver::loopback(), &Default::default()).expect("a listener");
    assert!(ring.release(listener).is_err(), "only streams move");
    assert_eq!((ring.end().leaked_total, epoll.end().leaked_total), (0, 0));
}

#[test]
fn one_receive_brings_little_between_two_waits() {
    crate::early::one_receive_brings_little_between_two_waits::<Epoll>();
    // A kernel before 6.17 cannot be told: it fills up to 32 buffers in a row.
    if kernel_is_at_least(6, 17) {
        crate::early::one_receive_brings_little_between_two_waits::<Ring>();
    } else {
        // Behind the harness, which shows nothing of what passes.
        let line = "skipped: one_receive_brings_little_between_two_waits on io_uring, this kernel is older than 6.17";
        writeln!(std::io::stderr(), "{line}").expect("stderr takes a line");
    }
}

fn kernel_is_at_least(major: u32, minor: u32) -> bool {
    let release =
        std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("the kernel tells its release");
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (major, minor)
}

/// A quiet socket is served within a turn or two of sockets that never stop sending, however many there are.
#[test]
fn many_short_messages_are_received_in_a_few_turns_beside_floods() {
    const FLOODS: usize = 4;
    const MESSAGES: usize = 64;
    let _turn = together();
    let mut port = Driver::<Ring>::new(&PortOptions { lease_count: 256, catch_max: 256, ..small() });
    let (listener, address) = port.listen();
    let accept = port.submit(Op::Accept { listener });
    let mut streams: Vec<TcpStream> = Vec::new();
    let mut recvs = Vec::new();
    for _ in 0..FLOODS + MESSAGES {
        streams.push(TcpStream::connect(address).expect("the port listens"));
        let socket = port.accepted(accept);
        recvs.push((port.submit(Op::Recv { socket }), socket));
    }
    let mut quiet = streams.split_off(FLOODS);
    let floods: Vec<_> = streams
        .into_iter()
        // It ends when the socket does.
        .map(|mut stream| std::thread::spawn(move || while stream.write_all(&[1; 65_536]).is_ok() {}))
        .collect();
    let mut flooded_bytes = 0;
    while flooded_bytes < 4 << 20 {
        port.turn();
        flooded_bytes += port.seen.drain(..).map(|caught| received(&caught.done)).sum::<usize>();
    }
    for stream in &mut quiet {
        stream.write_all(&[2; 64]).expect("a live socket");
    }
    let (mut heard, mut turns) = (0, 0);
    while heard < MESSAGES {
        port.turn();
        turns += 1;
        heard += port.seen.drain(..).filter(|caught| received(&caught.done) == 64).count();
    }
    println!("{turns} turns until {MESSAGES} messages were received");
    assert!(turns <= 16, "{turns} turns until {MESSAGES} messages were received");
    for (recv, socket) in recvs {
        port.port.cancel(recv);
        port.seen.retain(|caught| caught.token != recv || !caught.more);
        while !matches!(port.next_completion(recv).done, Done::Recv(Err(_))) {}
        port.close(socket);
    }
    floods.into_iter().for_each(|flood| flood.join().expect("it does not panic"));
    port.port.cancel(accept);
    assert!(matches!(port.last(accept), Done::Accept(Err(Ended::Aborted))));
    port.close(listener);
    port.finish();
}

fn received(done: &Done) -> usize {
    match done {
        Done::Recv(Ok(lease)) => lease.len(),
        other => panic!("{other:?}"),
    }
}
