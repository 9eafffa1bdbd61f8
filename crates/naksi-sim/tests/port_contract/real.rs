//! Cases with foreign peers, several threads, or a look at the process: for ports of real kernels only.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use naksi_core::batch::{Segment, SendBatch};
use naksi_core::completion::{Completion, Done};
use naksi_core::ended::Ended;
#[cfg(target_os = "linux")]
use naksi_core::ended::Failure;
use naksi_core::op::Op;
use naksi_core::tick::Tick;
use naksi_os::ThreadClock;
#[cfg(target_os = "linux")]
use naksi_os::port::FileAccess;
use naksi_os::port::{Port, PortOptions, Poster};

use crate::asleep;
use crate::driver::{Driver, Harness, alone, pattern, small, together};

pub(crate) fn a_reset_by_the_peer_is_told_from_an_end<W: Harness>() {
    let _turn = together();
    let mut port = Driver::<W>::new(&small());
    let (listener, address) = port.listen();
    let accept = port.submit(Op::Accept { listener });
    for send_first in [false, true] {
        let peer = TcpStream::connect(address).expect("the port listens");
        let socket = port.accepted(accept);
        let recv = port.submit(Op::Recv { socket });
        port.look(2);
        socket2::SockRef::from(&peer).set_linger(Some(Duration::ZERO)).expect("a live socket");
        drop(peer);
        if send_first {
            let mut batch = SendBatch::new();
            batch.push(Segment::Owned(vec![1; 100]));
            let send = port.submit(Op::Send { socket, batch });
            assert!(matches!(port.last(send), Done::Send(_, Err(Ended::Reset))));
        }
        assert_eq!(port.recv_ended(recv), Ended::Reset);
        port.close(socket);
    }
    port.port.cancel(accept);
    assert!(matches!(port.last(accept), Done::Accept(Err(Ended::Aborted))));
    port.finish();
}

/// A kernel may be given few buffers ahead, but who finds none is served as long as there are some.
pub(crate) fn a_burst_of_messages_starves_nobody_while_there_are_leases<W: Harness>() {
    let _turn = together();
    let mut port = Driver::<W>::new(&PortOptions { lease_count: 64, ..small() });
    let (listener, address) = port.listen();
    let accept = port.submit(Op::Accept { listener });
    let mut peers = Vec::new();
    for _ in 0..40 {
        let peer = TcpStream::connect(address).expect("the port listens");
        let socket = port.accepted(accept);
        peers.push((peer, socket, port.submit(Op::Recv { socket })));
    }
    port.look(5);
    for _ in 0..3 {
        for (peer, _, _) in &mut peers {
            peer.write_all(b"bait").expect("the port reads");
        }
        for (_, _, recv) in &peers {
            assert_eq!(port.read(*recv, 4), b"bait");
        }
    }
    assert_eq!(port.port.ledger().starved_total, 0);
    for (peer, socket, recv) in peers {
        drop(peer);
        assert_eq!(port.recv_ended(recv), Ended::Closed);
        port.close(socket);
    }
    port.port.cancel(accept);
    assert!(matches!(port.last(accept), Done::Accept(Err(Ended::Aborted))));
    port.finish();
}

/// The bytes and the reset behind them are there before the port looks: one answer must not hide the other.
pub(crate) fn a_reset_right_behind_bytes_is_heard<W: Harness>() {
    let _turn = together();
    let mut port = Driver::<W>::new(&small());
    let (listener, address) = port.listen();
    let accept = port.submit(Op::Accept { listener });
    for armed_before in [false, true] {
        let mut peer = TcpStream::connect(address).expect("the port listens");
        let socket = port.accepted(accept);
        let early = armed_before.then(|| port.submit(Op::Recv { socket }));
        port.look(2);
        peer.write_all(b"last words").expect("the port reads");
        socket2::SockRef::from(&peer).set_linger(Some(Duration::ZERO)).expect("a live socket");
        drop(peer);
        let recv = early.unwrap_or_else(|| port.submit(Op::Recv { socket }));
        let mut completion = port.next_completion(recv);
        if let Done::Recv(Ok(lease)) = &completion.done {
            // A kernel may also throw away what it had when the reset came.
            assert_eq!(**lease, b"last words"[..]);
            completion = port.next_completion(recv);
        }
        assert!(matches!(completion, Completion { done: Done::Recv(Err(Ended::Reset)), more: false, .. }));
        port.close(socket);
    }
    port.finish_busy(accept);
}

/// The same, while there is always something else to hand out: a port that never sleeps looks all the same.
pub(crate) fn a_reset_right_behind_bytes_is_heard_by_a_port_without_rest<W: Harness>() {
    let _turn = together();
    let mut port = Driver::<W>::new(&small());
    let (listener, address) = port.listen();
    let accept = port.submit(Op::Accept { listener });
    let mut peer = TcpStream::connect(address).expect("the port listens");
    let socket = port.accepted(accept);
    port.look(2);
    peer.write_all(b"last words").expect("the port reads");
    socket2::SockRef::from(&peer).set_linger(Some(Duration::ZERO)).expect("a live socket");
    drop(peer);
    let recv = port.submit(Op::Recv { socket });
    let (poster, busy) = (port.port.poster(), port.token());
    let mut waits = 0;
    let ended = loop {
        assert!(poster.post(busy, waits));
        port.turn();
        let (others, last): (Vec<_>, Vec<_>) =
            port.seen.drain(..).partition(|completion| completion.token != recv || completion.more);
        drop(others);
        if let Some(completion) = last.into_iter().next() {
            break completion.done;
        }
        waits += 1;
        assert!(waits < 20_000, "a port that was never at rest did not hear of the end");
    };
    assert!(matches!(ended, Done::Recv(Err(Ended::Reset))), "{ended:?}");
    port.close(socket);
    port.finish_busy(accept);
}

pub(crate) fn a_foreign_peer_is_served<W: Harness>() {
    let _turn = together();
    let mut port = Driver::<W>::new(&small());
    let (listener, address) = port.listen();
    let accept = port.submit(Op::Accept { listener });
    let whole = pattern(3 << 20);
    let sent = whole.clone();
    let peer = thread::spawn(move || {
        let mut peer = TcpStream::connect(address).expect("the port listens");
        let mut writer = peer.try_clone().expect("a descriptor is left");
        let writing = thread::spawn(move || writer.write_all(&sent));
        let mut back = vec![0; 3 << 20];
        peer.read_exact(&mut back).expect("everything comes back");
        writing.join().expect("no panic").expect("everything is taken");
        back
    });
    let socket = port.accepted(accept);
    let recv = port.submit(Op::Recv { socket });
    let mut echoed = 0;
    while echoed < whole.len() {
        let lease = port.lease(recv);
        port.send(socket, &lease);
        echoed += lease.len();
    }
    assert!(peer.join().expect("the peer is content") == whole);
    assert_eq!(port.recv_ended(recv), Ended::Closed);
    port.finish_busy(accept);
}

pub(crate) fn a_post_wakes_a_sleeping_wait<W: Harness>() {
    const POSTS: u64 = 20_000;
    let _turn = together();
    let mut port = Driver::<W>::new(&small());
    let poster = port.port.poster();
    let token = port.token();
    let allowed = Arc::new(AtomicU64::new(0));
    let allows = Arc::clone(&allowed);
    let posting = thread::spawn(move || {
        for value in 0..POSTS {
            for look in 1_u32.. {
                if allows.load(Ordering::Acquire) > value {
                    break;
                }
                if look.is_multiple_of(1024) { thread::yield_now() } else { std::hint::spin_loop() }
            }
            // The port is on its way to sleep, about a nanosecond further each time: now it has looked for posts, now it
            // has said that it sleeps, now it sleeps.
            for step in 0..value % 1024 {
                std::hint::black_box(step);
            }
            assert!(poster.post(token, value));
        }
    });
    for value in 0..POSTS {
        allowed.store(value + 1, Ordering::Release);
        // A long way off: only the post can wake it in time.
        let deadline = port.port.now() + Duration::from_secs(20);
        let until = if value % 2 == 0 { deadline } else { Tick::MAX };
        while port.caught.is_empty() {
            port.port.wait(&mut port.caught, Some(until)).expect("the port works");
            assert!(port.port.now() < deadline, "a post was slept through");
        }
        assert!(
            matches!(port.caught.pop(), Some(Completion { done: Done::Posted(number), .. }) if number == value)
        );
    }
    posting.join().expect("no panic");
    port.finish();
}

/// A loop that has other things to do asks, and never sleeps: also what had no room at first comes to it.
pub(crate) fn who_asks_and_never_sleeps_hears_everything<W: Harness>() {
    let _turn = together();
    let mut port = Driver::<W>::new(&PortOptions { catch_max: 8, ..small() });
    let at = port.port.now() + Duration::from_millis(50);
    for _ in 0..1000 {
        port.submit(Op::Timeout { at });
    }
    // They are all due, and have been for a while by the port's own clock.
    let due = at + Duration::from_millis(50);
    while port.port.now() < due {
        thread::yield_now();
    }
    let deadline = port.port.now() + Duration::from_secs(20);
    while port.seen.len() < 1000 {
        assert!(port.port.now() < deadline, "{} of 1000 came", port.seen.len());
        port.look(1);
    }
    assert!(port.seen.drain(..).all(|completion| matches!(completion.done, Done::Timeout(Ok(())))));
    port.finish();
}

pub(crate) fn a_socket_moves_to_another_port_in_another_thread<W: Harness>()
where
    <W::Port as Port>::Socket: Send,
{
    let _turn = together();
    let (give, given) = mpsc::channel();
    let other = thread::spawn(move || {
        let mut port = Driver::<W>::new(&small());
        let socket = port.port.adopt(given.recv().expect("a socket comes"));
        let recv = port.submit(Op::Recv { socket });
        let bytes = port.read(recv, 5);
        port.send(socket, &bytes);
        assert_eq!(port.recv_ended(recv), Ended::Closed);
        port.close(socket);
        port.finish();
    });
    let mut port = Driver::<W>::new(&small());
    let (ours, theirs) = port.pair();
    port.send(ours, b"moved");
    let socket = port.port.release(theirs).unwrap_or_else(|why| panic!("{why}"));
    assert!(give.send(socket).is_ok());
    let recv = port.submit(Op::Recv { socket: ours });
    assert_eq!(port.read(recv, 5), b"moved");
    port.port.cancel(recv);
    assert_eq!(port.recv_ended(recv), Ended::Aborted);
    port.close(ours);
    other.join().expect("no panic");
    assert_eq!(port.finish().handles, 0);
}

#[cfg(target_os = "linux")]
pub(crate) fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("/proc is mounted").count()
}

#[cfg(windows)]
pub(crate) fn descriptors() -> usize {
    naksi_os::windows::handle_count::handles_open().expect("the system counts handles") as usize
}

/// Windows' own libraries open a few handles when they are first needed, and keep them.
const KEPT_BY_THE_SYSTEM: usize = if cfg!(windows) { 16 } else { 0 };

/// Returns how many descriptors there are now.
pub(crate) fn assert_nothing_left(before: usize) -> usize {
    let after = descriptors();
    assert!(after <= before + KEPT_BY_THE_SYSTEM, "{before} descriptors before, {after} after");
    after
}

pub(crate) fn a_cancelled_accept_leaks_no_connection<W: Harness>() {
    let _turn = alone();
    let before = descriptors();
    for round in 0..300_usize {
        let mut port = Driver::<W>::new(&PortOptions { lease_count: 4, ..small() });
        let (listener, address) = port.listen();
        let accept = port.submit(Op::Accept { listener });
        port.look(round % 3);
        let peers: Vec<_> = (0..3).map(|_| TcpStream::connect(address).expect("the port listens")).collect();
        if round % 2 == 0 {
            port.port.cancel(accept);
            let mut taken = Vec::new();
            loop {
                match port.next_completion(accept) {
                    Completion { done: Done::Accept(Ok(accepted)), more: true, .. } => {
                        taken.push(accepted.socket)
                    }
                    Completion { done: Done::Accept(Err(Ended::Aborted)), more: false, .. } => break,
                    other => panic!("{other:?}"),
                }
            }
            taken.into_iter().for_each(|socket| port.close(socket));
            port.close(listener);
            assert_eq!(port.finish().handles, 0);
        } else {
            // The port ends with the accept in flight and undelivered connections.
            assert_eq!(W::end(port.port).leaked_total, 0);
        }
        drop(peers);
    }
    assert_nothing_left(before);
}

pub(crate) fn ten_thousand_connections_leave_nothing_behind<W: Harness>() {
    let _turn = alone();
    let before = descriptors();
    let mut port = Driver::<W>::new(&small());
    let (listener, address) = port.listen();
    let accept = port.submit(Op::Accept { listener });
    for _ in 0..2500 {
        let connects: Vec<_> = (0..4).map(|_| port.submit(Op::Connect { remote: address })).collect();
        let mut open = Vec::new();
        for connect in connects {
            match port.last(connect) {
                Done::Connect(Ok(connected)) => open.push(connected.socket),
                other => panic!("{other:?}"),
            }
            open.push(port.accepted(accept));
        }
        let closes: Vec<_> = open.into_iter().map(|handle| port.submit(Op::Close { handle })).collect();
        for close in closes {
            assert!(matches!(port.last(close), Done::Close));
        }
    }
    port.port.cancel(accept);
    assert!(matches!(port.last(accept), Done::Accept(Err(Ended::Aborted))));
    port.close(listener);
    assert_eq!(port.finish().handles, 0);
    assert_nothing_left(before);
}

#[cfg(target_os = "linux")]
pub(crate) fn no_descriptor_left_is_told_and_accepting_goes_on_after_it<W: Harness>() {
    let _turn = alone();
    let mut port = Driver::<W>::new(&small());
    let (listener, address) = port.listen();
    let accept = port.submit(Op::Accept { listener });
    port.look(2);
    let first = TcpStream::connect(address).expect("the port listens");
    let first_socket = port.accepted(accept);
    let file = port.port.open_file("/proc/self/cmdline".as_ref(), FileAccess::Read).expect("a file");
    // The peer's own descriptor is made before the process has none left.
    let late = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    let mut hoard = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        hoard.push(file);
    }
    late.connect(&address.into()).expect("the backlog takes it");
    match port.last(accept) {
        Done::Accept(Err(Ended::Failed(error))) => assert_eq!(error.kind, Failure::DescriptorsExhausted),
        other => panic!("{other:?}"),
    }
    let connect = port.submit(Op::Connect { remote: address });
    match port.last(connect) {
        Done::Connect(Err(Ended::Failed(error))) => assert_eq!(error.kind, Failure::DescriptorsExhausted),
        other => panic!("{other:?}"),
    }
    assert!(port.port.file_bytes(file).is_ok(), "to ask for a size costs no descriptor");
    drop(hoard);
    port.close(file);
    let again = port.submit(Op::Accept { listener });
    let second_socket = port.accepted(again);
    port.close(first_socket);
    port.close(second_socket);
    drop(first);
    port.finish_busy(again);
}

pub(crate) fn a_wait_without_end_sleeps<W: Harness>() {
    let _turn = together();
    let mut port = Driver::<W>::new(&small());
    let poster = port.port.poster();
    let token = port.token();
    port.look(3);
    let before = port.port.ledger().enters_total;
    let clock = ThreadClock::of_this_thread();
    let posting = thread::spawn(move || {
        asleep::until_asleep(&clock);
        poster.post(token, 1)
    });
    while port.caught.is_empty() {
        port.port.wait(&mut port.caught, Some(Tick::MAX)).expect("the port works");
    }
    port.caught.clear();
    let enters = port.port.ledger().enters_total - before;
    assert!(enters < 100, "the port went round {enters} times instead of sleeping");
    assert!(posting.join().expect("no panic"));
    port.finish();
}

pub(crate) fn a_connect_under_way_is_cancelled_and_leaves_no_socket<W: Harness>() {
    let _turn = together();
    let mut port = Driver::<W>::new(&small());
    // No accept is pending and the backlog is full: the rest connects until it is cancelled.
    let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    full.bind(&socket2::SockAddr::from(crate::driver::loopback())).expect("a free port");
    full.listen(0).expect("a bound socket");
    let remote = full.local_addr().ok().and_then(|address| address.as_socket()).expect("an address");
    let connects: Vec<_> = (0..8).map(|_| port.submit(Op::Connect { remote })).collect();
    for _ in 0..20 {
        port.look(1);
    }
    let mut cancelled = 0;
    for token in &connects {
        port.port.cancel(*token);
    }
    for token in connects {
        match port.last(token) {
            Done::Connect(Ok(connected)) => port.close(connected.socket),
            Done::Connect(Err(Ended::Aborted)) => cancelled += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(cancelled > 0, "all of them found room: nothing was tested");
    assert_eq!(port.finish().handles, 0);
}
