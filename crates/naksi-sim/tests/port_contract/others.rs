//! The pool, posts, timeouts, files, datagrams, the bounds and the end. Runs unchanged on every backend.

use std::time::Duration;

use bytes::Bytes;
use naksi_core::batch::{Segment, SendBatch};
use naksi_core::completion::{Completion, Done};
use naksi_core::ended::{Ended, Failure};
use naksi_core::op::{Op, ShutdownHow};
use naksi_os::port::{FileAccess, PollStatus, Port, PortOptions, Poster, SubmitErrorKind};

use crate::driver::{Driver, Harness, loopback, pattern, small, together};

pub(crate) fn a_pool_of_one_serves_eight_sockets<W: Harness>() {
    let _turn = together();
    let mut port = Driver::<W>::new(&PortOptions { lease_count: 1, lease_bytes: 512, ..small() });
    let pairs: Vec<_> = (0..8).map(|_| port.pair()).collect();
    let recvs: Vec<_> = pairs.iter().map(|(_, theirs)| port.submit(Op::Recv { socket: *theirs })).collect();
    let whole = pattern(20_000);
    for (ours, _) in &pairs {
        port.send(*ours, &whole);
    }
    let mut arrived = vec![Vec::new(); pairs.len()];
    let mut kept = None;
    while arrived.iter().any(|bytes| bytes.len() < whole.len()) {
        port.look(1); // with the only lease in our hands
        drop(kept.take());
        port.turn();
        while let Some(completion) = port.seen.pop_front() {
            let place = recvs.iter().position(|recv| *recv == completion.token).expect("a receive of ours");
            match completion.done {
                Done::Recv(Ok(lease)) => {
                    assert!(completion.more);
                    arrived[place].extend_from_slice(&lease);
                    kept = Some(lease);
                }
                other => panic!("an empty pool disconnects no session: {other:?}"),
            }
        }
        let ledger = port.port.ledger();
        assert!(ledger.leases_out <= ledger.lease_size && ledger.lease_size == 1);
    }
    drop(kept);
    assert!(arrived.iter().all(|bytes| *bytes == whole));
    assert!(port.port.ledger().starved_total > 0, "the pool was never empty: nothing was tested");
    for recv in recvs {
        port.port.cancel(recv);
        assert_eq!(port.recv_ended(recv), Ended::Aborted);
    }
    port.finish();
}

pub(crate) fn a_starved_receive_can_be_cancelled_and_shut_down<W: Harness>() {
    let _turn = together();
    let mut port = Driver::<W>::new(&PortOptions { lease_count: 1, ..small() });
    let pairs: Vec<_> = (0..3).map(|_| port.pair()).collect();
    let recvs: Vec<_> = pairs.iter().map(|(_, theirs)| port.submit(Op::Recv { socket: *theirs })).collect();
    port.send(pairs[0].0, b"a");
    let kept = port.lease(recvs[0]);
    let idle = port.submit(Op::Recv { socket: pairs[0].0 });
    port.look(5);
    assert_eq!(port.port.ledger().starved_total, 0, "a receive without data needs no buffer");
    port.port.cancel(idle);
    assert_eq!(port.recv_ended(idle), Ended::Aborted);
    port.send(pairs[1].0, b"b");
    port.send(pairs[2].0, b"c");
    for _ in 0..1000 {
        if port.port.ledger().starved == 2 {
            break;
        }
        port.turn();
    }
    assert_eq!(port.port.ledger().starved, 2);
    port.port.cancel(recvs[1]);
    assert_eq!(port.recv_ended(recvs[1]), Ended::Aborted);
    let token = port.submit(Op::Shutdown { socket: pairs[2].1, how: ShutdownHow::Both });
    assert!(matches!(port.last(token), Done::Shutdown(Ok(()))));
    assert_eq!(port.recv_ended(recvs[2]), Ended::Aborted);
    assert_eq!(port.port.ledger().starved, 0);
    drop(kept);
    port.port.cancel(recvs[0]);
    assert_eq!(port.recv_ended(recvs[0]), Ended::Aborted);
    port.finish();
}

pub(crate) fn leases_balance<W: Harness>() {
    let _turn = together();
    let mut port = Driver::<W>::new(&PortOptions { lease_count: 7, lease_bytes: 64, ..small() });
    let (ours, theirs) = port.pair();
    let recv = port.submit(Op::Recv { socket: theirs });
    port.send(ours, &pattern(64 * 5));
    let leases: Vec<_> = (0..5).map(|_| port.lease(recv)).collect();
    let ledger = port.port.ledger();
    assert_eq!((ledger.leases_out, ledger.lease_size), (5, 7));
    drop(leases);
    assert_eq!(port.port.ledger().leases_out, 0);
    port.send(ours, &pattern(64 * 40));
    port.read(recv, 64 * 40);
    port.port.cancel(recv);
    assert_eq!(port.recv_ended(recv), Ended::Aborted);
    port.finish();
}

pub(crate) fn posts_arrive_in_order_and_a_dropped_port_takes_none<W: Harness>() {
    let _turn = together();
    let mut port = Driver::<W>::new(&small());
    let poster = port.port.poster();
    let token = port.token();
    for value in 0..1000 {
        assert!(poster.post(token, value));
    }
    for value in 0..1000 {
        assert!(matches!(port.last(token), Done::Posted(number) if number == value));
    }
    port.finish();
    assert!(!poster.post(token, 0));
}

pub(crate) fn a_timeout_fires_or_is_cancelled<W: Harness>() {
    let _turn = together();
    let mut port = Driver::<W>::new(&small());
    let at = port.port.now() + Duration::from_millis(20);
    let soon = port.submit(Op::Timeout { at });
    let never = port.submit(Op::Timeout { at: at + Duration::from_secs(3600) });
    let past = port.submit(Op::Timeout { at: port.port.now() });
    assert!(matches!(port.last(past), Done::Timeout(Ok(()))));
    assert!(matches!(port.last(soon), Done::Timeout(Ok(()))));
    assert!(port.port.now() >= at, "a timeout is never early");
    port.port.cancel(never);
    assert!(matches!(port.last(never), Done::Timeout(Err(Ended::Aborted))));
    port.finish();
}

pub(crate) fn a_file_is_written_and_read_at_offsets<W: Harness>() {
    let _turn = together();
    let mut port = Driver::<W>::new(&small());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("file");
    let file = port.port.open_file(&path, FileAccess::Create).expect("a temporary file can be made");
    let tail = port.submit(Op::WriteAt { file, offset: 6, bytes: b"world".to_vec() });
    let head = port.submit(Op::WriteAt { file, offset: 0, bytes: b"hello ".to_vec() });
    assert!(matches!(port.last(head), Done::WriteAt(bytes, Ok(6)) if bytes == b"hello "));
    assert!(matches!(port.last(tail), Done::WriteAt(_, Ok(5))));
    let sync = port.submit(Op::Sync { file });
    assert!(matches!(port.last(sync), Done::Sync(Ok(()))));
    assert_eq!(port.port.file_bytes(file), Ok(11));
    let read = port.submit(Op::ReadAt { file, offset: 4, buffer: vec![0; 32] });
    assert!(matches!(port.last(read), Done::ReadAt(buffer, Ok(7)) if &buffer[..7] == b"o world"));
    let read = port.submit(Op::ReadAt { file, offset: 11, buffer: vec![0; 32] });
    assert!(matches!(port.last(read), Done::ReadAt(buffer, Err(Ended::Closed)) if buffer.len() == 32));
    assert_eq!(port.refusal(Op::Recv { socket: file }), SubmitErrorKind::WrongKind);
    port.close(file);
    let missing = port.port.open_file(&path.join("missing"), FileAccess::Read).expect_err("it is not there");
    assert_eq!(missing.kind, Failure::NotFound);
    port.finish();
}

pub(crate) fn datagrams_go_both_ways_and_a_long_one_is_cut<W: Harness>() {
    let _turn = together();
    let mut port = Driver::<W>::new(&small());
    let (left, left_address) = port.port.bind_datagram(loopback()).expect("a datagram socket");
    let (right, right_address) = port.port.bind_datagram(loopback()).expect("a datagram socket");
    for (from, from_address, to, to_address) in
        [(left, left_address, right, right_address), (right, right_address, left, left_address)]
    {
        for (bytes, cut) in [(&b"ping"[..], false), (&b""[..], false), (&b"longer than eight"[..], true)] {
            let recv = port.submit(Op::RecvFrom { socket: to, buffer: vec![0; 8] });
            let bytes = Bytes::copy_from_slice(bytes);
            let send = port.submit(Op::SendTo { socket: from, remote: to_address, bytes: bytes.clone() });
            assert!(matches!(port.last(send), Done::SendTo(_, Ok(sent)) if sent as usize == bytes.len()));
            match port.last(recv) {
                Done::RecvFrom(buffer, Ok(datagram)) => {
                    assert_eq!((datagram.from, datagram.cut), (from_address, cut));
                    assert_eq!(datagram.bytes as usize, bytes.len().min(8));
                    assert_eq!(buffer[..datagram.bytes as usize], bytes[..bytes.len().min(8)]);
                }
                other => panic!("{other:?}"),
            }
        }
    }
    let recv = port.submit(Op::RecvFrom { socket: left, buffer: vec![0; 8] });
    port.port.cancel(recv);
    assert!(matches!(port.last(recv), Done::RecvFrom(buffer, Err(Ended::Aborted)) if buffer.len() == 8));
    port.finish();
}

pub(crate) fn a_port_dropped_with_operations_in_flight_drains<W: Harness>() {
    let _turn = together();
    let mut port = Driver::<W>::new(&small());
    let (listener, address) = port.listen();
    port.submit(Op::Accept { listener });
    let (ours, theirs) = port.pair();
    port.submit(Op::Recv { socket: ours });
    port.stuff(ours); // the peer does not read
    port.submit(Op::Timeout { at: port.port.now() + Duration::from_secs(3600) });
    let (datagram, _) = port.port.bind_datagram(loopback()).expect("a datagram socket");
    port.submit(Op::RecvFrom { socket: datagram, buffer: vec![0; 8] });
    port.look(3);
    port.submit(Op::Connect { remote: address });
    port.submit(Op::Close { handle: theirs });
    assert!(port.port.ledger().in_flight >= 7);
    let last = W::end(port.port);
    assert_eq!((last.in_flight, last.leaked_total, last.leases_out, last.starved), (0, 0, 0, 0), "{last:?}");
}

pub(crate) fn a_small_ring_loses_nothing<W: Harness>() {
    let _turn = together();
    // A buffer for every socket: a case that reads them in its own order must not wait for one that starves.
    let roomy = PortOptions { lease_count: 64, ..small() };
    let options = PortOptions { submission_entries: 8, completion_entries: 16, catch_max: 5, ..roomy };
    let mut port = Driver::<W>::new(&options);
    let (left, left_address) = port.port.bind_datagram(loopback()).expect("a datagram socket");
    let pairs: Vec<_> = (0..40).map(|_| port.pair()).collect();
    let recvs: Vec<_> = pairs.iter().map(|(_, theirs)| port.submit(Op::Recv { socket: *theirs })).collect();
    let mut arrived = vec![0_usize; pairs.len()];
    for round in 1..=60 {
        // Hundreds of wishes between two waits: far more than either queue holds.
        let sends: Vec<_> = pairs
            .iter()
            .map(|(ours, _)| {
                let mut batch = SendBatch::new();
                batch.push(Segment::Owned(vec![round as u8; 10]));
                port.submit(Op::Send { socket: *ours, batch })
            })
            .collect();
        let now = port.port.now();
        let timeouts: Vec<_> =
            (0..60).map(|span| port.submit(Op::Timeout { at: now + Duration::from_micros(span) })).collect();
        let datagram =
            port.submit(Op::SendTo { socket: left, remote: left_address, bytes: Bytes::from_static(b"x") });
        for send in sends {
            assert!(matches!(port.last(send), Done::Send(_, Ok(10))));
        }
        for timeout in timeouts {
            assert!(matches!(port.last(timeout), Done::Timeout(Ok(()))));
        }
        assert!(matches!(port.last(datagram), Done::SendTo(_, Ok(1))));
        for (recv, arrived) in recvs.iter().zip(&mut arrived) {
            while *arrived < round * 10 {
                *arrived += port.lease(*recv).len();
            }
        }
    }
    // Once more, and cancelled while the data completions do not fit the queue: each receive still gives its
    // bytes, then ends, although the kernel may have ended it before the cancellation came.
    let sends: Vec<_> = pairs
        .iter()
        .map(|(ours, _)| {
            let mut batch = SendBatch::new();
            batch.push(Segment::Owned(vec![0; 10]));
            port.submit(Op::Send { socket: *ours, batch })
        })
        .collect();
    for token in sends {
        assert!(matches!(port.last(token), Done::Send(_, Ok(10))));
    }
    for recv in &recvs {
        port.port.cancel(*recv);
    }
    for recv in recvs {
        let mut length = 0;
        loop {
            // Some end although the kernel had ended them early, and must not be asked for again.
            match port.next_completion(recv) {
                Completion { done: Done::Recv(Ok(lease)), more: true, .. } => length += lease.len(),
                Completion { done: Done::Recv(Err(Ended::Aborted)), more: false, .. } => break,
                other => panic!("{other:?}"),
            }
        }
        assert!(length <= 10, "at most what was sent");
    }
    port.finish();
}

pub(crate) fn a_wait_returns_at_most_what_was_asked_for<W: Harness>() {
    let _turn = together();
    let mut port = Driver::<W>::new(&PortOptions { catch_max: 7, ..small() });
    let poster = port.port.poster();
    let token = port.token();
    (0..100).for_each(|value| assert!(poster.post(token, value)));
    let mut total = 0;
    while total < 100 {
        let now = port.port.now();
        let status = port.port.wait(&mut port.caught, Some(now)).expect("the port works");
        assert!(port.caught.len() <= 7);
        total += port.caught.drain(..).count();
        assert_eq!(status, if total < 100 { PollStatus::More } else { PollStatus::Drained });
    }
    port.finish();
}
