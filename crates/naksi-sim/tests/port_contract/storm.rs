//! Ends with everything in flight, again and again: each operation completes once, whatever it meets. For
//! ports of real kernels only, whose timing differs from round to round.

use std::net::SocketAddr;

use bytes::Bytes;
use naksi_core::batch::{Segment, SendBatch};
use naksi_core::completion::{Completion, Connected, Done};
use naksi_core::ended::Ended;
use naksi_core::id::{Handle, Token};
use naksi_core::op::{Op, ShutdownHow};
use naksi_os::port::{ListenOptions, Port};

use crate::driver::{Driver, Harness, alone, loopback, small};
use crate::real::{assert_nothing_left, descriptors};
use crate::scale::scaled;

/// More than two small kernel buffers hold.
static FLOOD: [u8; 1 << 20] = [7; 1 << 20];

/// How a round ends what is in flight.
#[derive(Clone, Copy)]
enum Stroke {
    /// Both directions are shut down.
    Shutdown,
    /// Each operation is cancelled, then both directions are shut down.
    Cancel,
    /// The peer closes, with everything unread.
    Peer,
}

pub(crate) fn a_close_with_everything_in_flight_completes_each_once<W: Harness>() {
    let _turn = alone();
    let before = descriptors();
    let mut port = Driver::<W>::new(&small());
    let options = ListenOptions { kernel_send_bytes: Some(4096), ..ListenOptions::default() };
    let (listener, address) = port.port.listen(loopback(), &options).expect("loopback can be listened on");
    let mut accept = port.submit(Op::Accept { listener });
    let rounds = scaled(10_000);
    for round in 0..rounds {
        let (ours, theirs) = meet(&mut port, address, accept);
        let recv = port.submit(Op::Recv { socket: theirs });
        let send = match round % 4 {
            // The kernel has not seen it when the stroke comes.
            0 => {
                let mut batch = SendBatch::new();
                batch.push(Segment::Shared(Bytes::from_static(&FLOOD)));
                port.submit(Op::Send { socket: theirs, batch })
            }
            _ => port.stuff(theirs),
        };
        let stroke = [Stroke::Shutdown, Stroke::Cancel, Stroke::Peer][(round % 3) as usize];
        if let Stroke::Peer = stroke {
            port.close(ours);
        }
        if let Stroke::Cancel = stroke {
            port.port.cancel(send);
            port.port.cancel(recv);
        }
        if round % 7 == 0 {
            port.port.cancel(accept);
        }
        let end = port.submit(Op::Shutdown { socket: theirs, how: ShutdownHow::Both });
        assert_ends_once(&mut port, [recv, send, end]);
        if round % 7 == 0 {
            assert!(matches!(port.last(accept), Done::Accept(Err(Ended::Aborted))));
            accept = port.submit(Op::Accept { listener });
        }
        port.close(theirs);
        if !matches!(stroke, Stroke::Peer) {
            port.close(ours);
        }
        assert!(port.seen.is_empty(), "left over in round {round}: {:?}", port.seen);
        let ledger = port.port.ledger();
        assert_eq!((ledger.handles, ledger.in_flight), (1, 1), "round {round}");
    }
    port.finish_busy(accept);
    let after = assert_nothing_left(before);
    println!("{rounds} closes with everything in flight: {before} descriptors before, {after} after");
}

/// Both ends of one connection; strangers are turned away.
fn meet<W: Harness>(port: &mut Driver<W>, address: SocketAddr, accept: Token) -> (Handle, Handle) {
    let connect = port.submit(Op::Connect { remote: address });
    let Done::Connect(Ok(Connected { socket: ours, local })) = port.last(connect) else {
        panic!("a listener is there");
    };
    loop {
        match port.next_completion(accept).done {
            Done::Accept(Ok(accepted)) if accepted.peer == local => return (ours, accepted.socket),
            Done::Accept(Ok(stranger)) => port.close(stranger.socket),
            other => panic!("{other:?}"),
        }
    }
}

/// Each of these has one last completion, and nothing behind it.
fn assert_ends_once<W: Harness>(port: &mut Driver<W>, tokens: [Token; 3]) {
    for token in tokens {
        // No peer sent anything, so the first completion is the last.
        let Completion { more, done, .. } = port.next_completion(token);
        let is_fair = matches!(
            done,
            Done::Recv(Err(Ended::Aborted | Ended::Closed | Ended::Reset))
                | Done::Send(_, Ok(_) | Err(Ended::Aborted | Ended::Reset))
                | Done::Shutdown(Ok(()))
        );
        assert!(is_fair && !more, "{done:?}");
    }
    port.look(1);
    assert!(port.seen.iter().all(|completion| !tokens.contains(&completion.token)), "twice: {:?}", port.seen);
}
