//! Ends before the time: a cancelled transfer reports how far it got, and busy sockets keep no others from
//! being served. Runs unchanged on every backend.

use bytes::Bytes;
use naksi_core::batch::{Segment, SendBatch};
use naksi_core::completion::{Completion, Done};
use naksi_core::ended::Ended;
use naksi_core::op::{Op, ShutdownHow};
use naksi_os::port::{FileAccess, Port, PortOptions};

use crate::driver::{Driver, Harness, pattern, small, together};

pub(crate) fn a_send_that_is_cancelled_half_way_tells_what_was_taken<W: Harness>() {
    let _turn = together();
    for turns in [0, 1, 3, 30] {
        let mut port = Driver::<W>::new(&small());
        let (ours, theirs) = port.pair();
        let whole = pattern(16 << 20);
        let rest = |taken: usize| {
            let mut batch = SendBatch::new();
            whole[taken..].chunks(1 << 16).for_each(|piece| batch.push(Segment::Owned(piece.to_vec())));
            Op::Send { socket: ours, batch }
        };
        let (mut taken, mut send) = (0, port.submit(rest(0)));
        port.look(turns);
        // After a partial send the rest is sent, which waits for room.
        while let Some(place) = port.seen.iter().position(|completion| completion.token == send) {
            match port.seen.remove(place).map(|completion| completion.done) {
                Some(Done::Send(_, Ok(sent))) => taken += sent as usize,
                other => panic!("{other:?}"),
            }
            send = port.submit(rest(taken));
            port.look(turns);
        }
        port.port.cancel(send);
        match port.last(send) {
            Done::Send(batch, Ok(sent)) => {
                assert_eq!(batch.bytes(), whole.len() - taken, "the mark is the caller's to move");
                taken += sent as usize;
            }
            Done::Send(_, Err(Ended::Aborted)) => {}
            other => panic!("{other:?}"),
        }
        let end = port.submit(Op::Shutdown { socket: ours, how: ShutdownHow::Write });
        let recv = port.submit(Op::Recv { socket: theirs });
        assert!(matches!(port.last(end), Done::Shutdown(Ok(()))));
        let mut arrived = Vec::new();
        loop {
            match port.next_completion(recv) {
                Completion { done: Done::Recv(Ok(lease)), more: true, .. } => {
                    arrived.extend_from_slice(&lease)
                }
                Completion { done: Done::Recv(Err(Ended::Closed)), more: false, .. } => break,
                other => panic!("{other:?}"),
            }
        }
        assert!(arrived == whole[..taken], "{} arrived, {taken} were said to be taken", arrived.len());
        port.close(ours);
        port.close(theirs);
        assert_eq!(port.finish().handles, 0);
    }
}

pub(crate) fn what_came_before_the_receive_is_received_and_then_the_end<W: Harness>() {
    let _turn = together();
    for length in [1, 4095, 4096, 4097, 9000] {
        let mut port = Driver::<W>::new(&small());
        let (ours, theirs) = port.pair();
        let whole = pattern(length);
        port.send(ours, &whole);
        let end = port.submit(Op::Shutdown { socket: ours, how: ShutdownHow::Write });
        assert!(matches!(port.last(end), Done::Shutdown(Ok(()))));
        port.turn();
        let recv = port.submit(Op::Recv { socket: theirs });
        assert_eq!(port.read(recv, length), whole);
        assert_eq!(port.recv_ended(recv), Ended::Closed);
        // The end is final: a second receive gets it too.
        let again = port.submit(Op::Recv { socket: theirs });
        assert_eq!(port.recv_ended(again), Ended::Closed);
        port.close(ours);
        port.close(theirs);
        assert_eq!(port.finish().handles, 0);
    }
}

pub(crate) fn a_quiet_socket_is_heard_beside_a_busy_one<W: Harness>() {
    // With fewer buffers than the busy one could take at once, who waited longest is served first.
    for lease_count in [1, 2, 8, 64] {
        quiet_beside_busy::<W>(lease_count, 64, 2000);
    }
    // So long that the flood is read in portions.
    for lease_count in [1, 8, 64] {
        quiet_beside_busy::<W>(lease_count, 8192, 200);
    }
}

/// A flood that never ends, and a few bytes now and then, through a pool of so many buffers.
fn quiet_beside_busy<W: Harness>(lease_count: u16, lease_bytes: usize, flooded_max: u32) {
    let _turn = together();
    let mut port = Driver::<W>::new(&PortOptions { catch_max: 4, lease_count, lease_bytes, ..small() });
    let (busy, busy_end) = port.pair();
    let (quiet, quiet_end) = port.pair();
    let filling = Bytes::from(vec![7; 8 << 20]);
    let flooding = || {
        let mut batch = SendBatch::new();
        batch.push(Segment::Shared(filling.clone()));
        Op::Send { socket: busy, batch }
    };
    let mut flood = port.submit(flooding());
    let busy_recv = port.submit(Op::Recv { socket: busy_end });
    let quiet_recv = port.submit(Op::Recv { socket: quiet_end });
    for round in 0..10 {
        let send = {
            let mut batch = SendBatch::new();
            batch.push(Segment::Owned(b"hush".to_vec()));
            port.submit(Op::Send { socket: quiet, batch })
        };
        let (mut heard, mut sent, mut flooded) = (0, false, 0);
        while heard < 4 || !sent {
            port.turn();
            while let Some(completion) = port.seen.pop_front() {
                match completion.done {
                    Done::Recv(Ok(lease)) if completion.token == quiet_recv => heard += lease.len(),
                    Done::Recv(Ok(_)) => flooded += 1,
                    Done::Send(_, Ok(_)) if completion.token == flood => flood = port.submit(flooding()),
                    Done::Send(..) => sent |= completion.token == send,
                    other => panic!("{other:?}"),
                }
            }
            assert!(
                flooded < flooded_max,
                "round {round}: the flood has come {flooded} times, the quiet one not once"
            );
        }
    }
    for token in [flood, busy_recv, quiet_recv] {
        port.port.cancel(token);
    }
    assert_eq!(port.recv_ended(quiet_recv), Ended::Aborted);
    while port.next_completion(busy_recv).more {}
    while port.port.ledger().in_flight > 0 {
        port.turn();
    }
    port.seen.clear();
    port.finish();
}

/// A receive that is told to stop delivers at most two more leases, however much has come.
#[cfg(target_os = "linux")]
pub(crate) fn one_receive_brings_little_between_two_waits<W: Harness>() {
    let _turn = together();
    let mut port =
        Driver::<W>::new(&PortOptions { catch_max: 64, lease_count: 64, lease_bytes: 64, ..small() });
    let (ours, theirs) = port.pair();
    let whole = pattern(64 * 40);
    port.send(ours, &whole);
    let recv = port.submit(Op::Recv { socket: theirs });
    let mut arrived = Vec::new();
    while arrived.len() < whole.len() {
        port.turn();
        let brought = port.seen.len();
        assert!(brought <= 2, "{brought} leases in one wait, after {} bytes", arrived.len());
        for completion in port.seen.drain(..) {
            match completion.done {
                Done::Recv(Ok(lease)) if completion.token == recv => arrived.extend_from_slice(&lease),
                other => panic!("{other:?}"),
            }
        }
    }
    assert!(arrived == whole, "what came is not what was sent");
    port.port.cancel(recv);
    assert_eq!(port.recv_ended(recv), Ended::Aborted);
    port.close(ours);
    port.close(theirs);
    assert_eq!(port.finish().handles, 0);
}

pub(crate) fn file_work_that_is_cancelled_ends_once_and_brings_its_buffer_home<W: Harness>() {
    let _turn = together();
    let mut port = Driver::<W>::new(&small());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("file");
    let file = port.port.open_file(&path, FileAccess::Create).expect("a temporary file can be made");
    let mut works = Vec::new();
    for place in 0..60_u64 {
        works.push(port.submit(match place % 3 {
            0 => Op::WriteAt { file, offset: place * 512, bytes: vec![place as u8; 512] },
            1 => Op::ReadAt { file, offset: 0, buffer: vec![0; 512] },
            _ => Op::Sync { file },
        }));
    }
    for token in works.iter().rev().step_by(2) {
        port.port.cancel(*token);
        port.port.cancel(*token);
    }
    for token in works {
        match port.last(token) {
            Done::WriteAt(bytes, Ok(512) | Err(Ended::Aborted)) => assert_eq!(bytes.len(), 512),
            Done::ReadAt(buffer, Ok(_) | Err(Ended::Aborted | Ended::Closed)) => {
                assert_eq!(buffer.len(), 512)
            }
            Done::Sync(Ok(()) | Err(Ended::Aborted)) => {}
            other => panic!("{other:?}"),
        }
    }
    // A port ends with work on the desk, and with the file open.
    for _ in 0..20 {
        port.submit(Op::WriteAt { file, offset: 0, bytes: vec![1; 4096] });
        port.submit(Op::Sync { file });
    }
    let last = W::end(port.port);
    assert_eq!((last.in_flight, last.leaked_total), (0, 0), "{last:?}");
}
