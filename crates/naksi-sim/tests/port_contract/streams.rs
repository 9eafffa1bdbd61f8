//! Streams: connect, accept, send, receive, cancel, close. Runs unchanged on every backend.

use bytes::Bytes;
use naksi_core::batch::{Segment, SendBatch};
use naksi_core::completion::{Completion, Done};
use naksi_core::ended::{Ended, Failure};
use naksi_core::op::{Op, ShutdownHow};
use naksi_os::port::{ListenOptions, Port, SubmitErrorKind};

use crate::driver::{Driver, Harness, pattern, small, together};

pub(crate) fn accepts_connects_and_echoes<W: Harness>() {
    let _turn = together();
    let mut port = Driver::<W>::new(&small());
    let (ours, theirs) = port.pair();
    let (at_ours, at_theirs) =
        (port.submit(Op::Recv { socket: ours }), port.submit(Op::Recv { socket: theirs }));
    for round in 0..50_usize {
        let ping = pattern(round * 97 + 1);
        port.send(ours, &ping);
        let pong = port.read(at_theirs, ping.len());
        port.send(theirs, &pong);
        assert_eq!(port.read(at_ours, ping.len()), ping);
    }
    for socket in [ours, theirs] {
        let token = port.submit(Op::Shutdown { socket, how: ShutdownHow::Both });
        assert!(matches!(port.last(token), Done::Shutdown(Ok(()))));
    }
    assert!(matches!(port.recv_ended(at_ours), Ended::Aborted));
    // The other side may have read the end of the first shutdown before its own.
    assert!(matches!(port.recv_ended(at_theirs), Ended::Aborted | Ended::Closed));
    port.close(ours);
    port.close(theirs);
    assert_eq!(port.finish().handles, 0);
}

pub(crate) fn many_sends_keep_their_order<W: Harness>() {
    let _turn = together();
    let mut port = Driver::<W>::new(&small());
    let (ours, theirs) = port.pair();
    let recv = port.submit(Op::Recv { socket: theirs });
    let mut expected = Vec::new();
    let mut arrived = Vec::new();
    for number in 0..3000_u32 {
        port.send(ours, &number.to_le_bytes());
        expected.extend_from_slice(&number.to_le_bytes());
    }
    while arrived.len() < expected.len() {
        arrived.extend_from_slice(&port.lease(recv));
    }
    assert_eq!(arrived, expected);
    port.port.cancel(recv);
    assert_eq!(port.recv_ended(recv), Ended::Aborted);
    port.finish();
}

pub(crate) fn a_second_operation_in_a_direction_is_refused<W: Harness>() {
    let _turn = together();
    let mut port = Driver::<W>::new(&small());
    let (ours, _theirs) = port.pair();
    let recv = port.submit(Op::Recv { socket: ours });
    assert_eq!(port.refusal(Op::Recv { socket: ours }), SubmitErrorKind::Busy);
    assert_eq!(port.refusal(Op::Send { socket: ours, batch: SendBatch::new() }), SubmitErrorKind::Empty);
    assert_eq!(port.refusal(Op::Accept { listener: ours }), SubmitErrorKind::WrongKind);
    port.port.cancel(recv);
    assert_eq!(port.recv_ended(recv), Ended::Aborted);
    port.finish();
}

pub(crate) fn a_large_batch_reaches_a_slow_reader_whole<W: Harness>() {
    let _turn = together();
    let mut port = Driver::<W>::new(&small());
    let (ours, theirs) = port.pair();
    let whole = pattern(1 << 20);
    let mut batch = SendBatch::new();
    for (number, piece) in whole.chunks(1049).enumerate() {
        batch.push(if number % 2 == 0 {
            Segment::Owned(piece.to_vec())
        } else {
            Segment::Shared(Bytes::copy_from_slice(piece))
        });
    }
    let mut send = port.submit(Op::Send { socket: ours, batch });
    port.look(50); // the peer does not read yet
    let recv = port.submit(Op::Recv { socket: theirs });
    let (mut arrived, mut sending) = (Vec::new(), true);
    while sending || arrived.len() < whole.len() {
        port.turn();
        while let Some(completion) = port.seen.pop_front() {
            match completion.done {
                Done::Recv(Ok(lease)) => arrived.extend_from_slice(&lease),
                Done::Send(mut batch, Ok(sent)) => {
                    assert_eq!(completion.token, send);
                    // How short a port makes it is its own affair.
                    batch.advance(sent as usize, drop);
                    sending = !batch.is_empty();
                    if sending {
                        send = port.submit(Op::Send { socket: ours, batch });
                    }
                }
                other => panic!("{other:?}"),
            }
        }
    }
    assert!(arrived == whole, "the bytes arrived changed");
    port.port.cancel(recv);
    assert_eq!(port.recv_ended(recv), Ended::Aborted);
    port.finish();
}

pub(crate) fn an_orderly_end_is_closed_and_the_other_way_stays_open<W: Harness>() {
    let _turn = together();
    let mut port = Driver::<W>::new(&small());
    let (ours, theirs) = port.pair();
    let (at_ours, at_theirs) =
        (port.submit(Op::Recv { socket: ours }), port.submit(Op::Recv { socket: theirs }));
    port.send(ours, b"the end");
    let token = port.submit(Op::Shutdown { socket: ours, how: ShutdownHow::Write });
    assert!(matches!(port.last(token), Done::Shutdown(Ok(()))));
    assert_eq!(port.read(at_theirs, 7), b"the end");
    assert_eq!(port.recv_ended(at_theirs), Ended::Closed);
    port.send(theirs, b"still here");
    assert_eq!(port.read(at_ours, 10), b"still here");
    port.close(theirs);
    assert_eq!(port.recv_ended(at_ours), Ended::Closed);
    port.close(ours);
    assert_eq!(port.finish().handles, 0);
}

pub(crate) fn a_send_after_our_own_shutdown_is_aborted<W: Harness>() {
    let _turn = together();
    let mut port = Driver::<W>::new(&small());
    let (ours, _theirs) = port.pair();
    let token = port.submit(Op::Shutdown { socket: ours, how: ShutdownHow::Write });
    assert!(matches!(port.last(token), Done::Shutdown(Ok(()))));
    let mut batch = SendBatch::new();
    batch.push(Segment::Owned(b"late".to_vec()));
    let send = port.submit(Op::Send { socket: ours, batch });
    match port.last(send) {
        Done::Send(batch, Err(Ended::Aborted)) => assert_eq!(batch.bytes(), 4),
        other => panic!("{other:?}"),
    }
    port.finish();
}

pub(crate) fn a_refused_connection_says_so<W: Harness>() {
    let _turn = together();
    let mut port = Driver::<W>::new(&small());
    let (listener, address) = port.listen();
    port.close(listener);
    let token = port.submit(Op::Connect { remote: address });
    match port.last(token) {
        Done::Connect(Err(Ended::Failed(error))) => assert_eq!(error.kind, Failure::Refused),
        other => panic!("{other:?}"),
    }
    assert_eq!(port.finish().handles, 0);
}

pub(crate) fn an_address_in_use_says_so<W: Harness>() {
    let _turn = together();
    let mut port = Driver::<W>::new(&small());
    let (_listener, address) = port.listen();
    let error = port.port.listen(address, &ListenOptions::default()).expect_err("it is taken");
    assert_eq!(error.kind, Failure::AddressInUse);
    port.finish();
}

pub(crate) fn a_cancelled_receive_ends_once_with_or_without_data<W: Harness>() {
    let _turn = together();
    let mut port = Driver::<W>::new(&small());
    let (ours, theirs) = port.pair();
    let recv = port.submit(Op::Recv { socket: theirs });
    port.port.cancel(recv); // before the kernel has seen it
    assert_eq!(port.recv_ended(recv), Ended::Aborted);
    let recv = port.submit(Op::Recv { socket: theirs });
    port.look(2);
    port.port.cancel(recv); // armed, without data
    port.port.cancel(recv);
    assert_eq!(port.recv_ended(recv), Ended::Aborted);
    for round in 0..200_usize {
        let recv = port.submit(Op::Recv { socket: theirs });
        port.look(round % 3);
        port.send(ours, b"fish");
        port.port.cancel(recv); // the data may be anywhere between the peer and us
        let mut bytes = Vec::new();
        loop {
            match port.next_completion(recv) {
                Completion { done: Done::Recv(Ok(lease)), more: true, .. } => bytes.extend_from_slice(&lease),
                Completion { done: Done::Recv(Err(Ended::Aborted)), more: false, .. } => break,
                other => panic!("{other:?}"),
            }
        }
        let rest = port.submit(Op::Recv { socket: theirs });
        if bytes.len() < 4 {
            bytes.extend(port.read(rest, 4 - bytes.len()));
        }
        assert_eq!(bytes, b"fish", "nothing is lost by a cancellation");
        port.port.cancel(rest);
        assert_eq!(port.recv_ended(rest), Ended::Aborted);
    }
    port.finish();
}

pub(crate) fn a_busy_handle_is_not_closed_and_a_stale_one_not_used<W: Harness>() {
    let _turn = together();
    let mut port = Driver::<W>::new(&small());
    let (ours, _theirs) = port.pair();
    let recv = port.submit(Op::Recv { socket: ours });
    assert_eq!(port.refusal(Op::Close { handle: ours }), SubmitErrorKind::Busy);
    assert!(matches!(port.port.release(ours), Err(SubmitErrorKind::Busy)));
    port.port.cancel(recv);
    // The end is not delivered yet: still busy, or over with the next wait.
    assert_eq!(port.refusal(Op::Close { handle: ours }), SubmitErrorKind::Busy);
    assert_eq!(port.recv_ended(recv), Ended::Aborted);
    port.close(ours);
    assert_eq!(port.refusal(Op::Close { handle: ours }), SubmitErrorKind::StaleHandle);
    assert_eq!(port.refusal(Op::Recv { socket: ours }), SubmitErrorKind::StaleHandle);
    assert!(matches!(port.port.release(ours), Err(SubmitErrorKind::StaleHandle)));
    port.finish();
}

pub(crate) fn a_token_in_flight_is_not_used_twice_and_the_wish_comes_back<W: Harness>() {
    let _turn = together();
    let mut port = Driver::<W>::new(&small());
    let (ours, theirs) = port.pair();
    let recv = port.submit(Op::Recv { socket: ours });
    let mut batch = SendBatch::new();
    batch.push(Segment::Owned(b"mine".to_vec()));
    let refused = port.port.submit(recv, Op::Send { socket: ours, batch }).expect_err("the token is taken");
    assert_eq!(refused.why, SubmitErrorKind::TokenInUse);
    let Op::Send { batch, .. } = refused.op else { panic!("another wish came back") };
    assert_eq!(batch.bytes(), 4);
    port.port.cancel(recv);
    assert_eq!(port.recv_ended(recv), Ended::Aborted);
    // Free again after its last completion.
    port.port.submit(recv, Op::Recv { socket: theirs }).expect("the token is free");
    port.port.cancel(recv);
    assert_eq!(port.recv_ended(recv), Ended::Aborted);
    port.finish();
}
