//! What the port of Windows can do beyond the contract.

use std::io::{self, ErrorKind, Read as _};
use std::net::TcpStream;

use bytes::Bytes;
use naksi_core::completion::Done;
use naksi_core::ended::Ended;
use naksi_core::op::{Op, ShutdownHow};
use naksi_os::iocp::extra::{FileSpan, Part};
use naksi_os::port::{FileAccess, ListenOptions, Port as _, SubmitErrorKind};

use super::iocp::Iocp;
use crate::driver::{Driver, Harness as _, loopback, small, together};

#[test]
fn a_part_of_a_file_is_sent_with_what_stands_before_and_behind_it() {
    let _turn = together();
    let mut port = Driver::<Iocp>::new(&small());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("file");
    let file = port.port.open_file(&path, FileAccess::Create).expect("a temporary file can be made");
    let write = port.submit(Op::WriteAt { file, offset: 0, bytes: b"0123456789".to_vec() });
    assert!(matches!(port.last(write), Done::WriteAt(_, Ok(10))));
    let (ours, theirs) = port.pair();
    let recv = port.submit(Op::Recv { socket: theirs });
    let span = FileSpan {
        file,
        offset: 2,
        bytes: 5,
        head: Bytes::from_static(b"<<"),
        tail: Bytes::from_static(b">>"),
    };
    let token = port.token();
    port.port.transmit_file(token, ours, span.clone()).expect("the system has TransmitFile");
    let another = port.token();
    assert_eq!(port.port.transmit_file(another, ours, span.clone()), Err(SubmitErrorKind::Busy));
    assert_eq!(port.refusal(Op::Close { handle: file }), SubmitErrorKind::Busy);
    assert!(matches!(port.last(token), Done::Send(batch, Ok(9)) if batch.is_empty()));
    assert_eq!(port.read(recv, 9), b"<<23456>>");
    assert_eq!(port.port.transmit_file(another, file, span), Err(SubmitErrorKind::WrongKind));
    port.port.cancel(recv);
    assert_eq!(port.recv_ended(recv), Ended::Aborted);
    port.close(file);
    port.finish();
}

#[test]
fn parts_are_sent_together_or_refused_before_anything_has_happened() {
    let _turn = together();
    let mut port = Driver::<Iocp>::new(&small());
    let (ours, theirs) = port.pair();
    let parts = [&b"one "[..], b"two"].map(|bytes| Part::Memory(Bytes::from_static(bytes)));
    let token = port.token();
    match port.port.transmit_parts(token, ours, parts.to_vec()) {
        Ok(()) => {
            assert!(matches!(port.last(token), Done::Send(_, Ok(7))));
            let recv = port.submit(Op::Recv { socket: theirs });
            assert_eq!(port.read(recv, 7), b"one two");
            port.port.cancel(recv);
            assert_eq!(port.recv_ended(recv), Ended::Aborted);
        }
        Err(why) => {
            assert_eq!(why, SubmitErrorKind::Unsupported);
            println!("TransmitPackets: {why}");
        }
    }
    port.finish();
}

#[test]
fn a_disconnect_is_an_orderly_end_for_the_peer_and_our_own_for_us() {
    let _turn = together();
    let mut port = Driver::<Iocp>::new(&small());
    let (ours, theirs) = port.pair();
    let at_theirs = port.submit(Op::Recv { socket: theirs });
    port.send(ours, b"bye");
    let token = port.token();
    port.port.disconnect(token, ours).expect("the system has DisconnectEx");
    assert!(matches!(port.last(token), Done::Shutdown(Ok(()))));
    assert_eq!(port.read(at_theirs, 3), b"bye");
    assert_eq!(port.recv_ended(at_theirs), Ended::Closed);
    let late = port.submit(Op::Recv { socket: ours });
    assert_eq!(port.recv_ended(late), Ended::Aborted);
    port.close(ours);
    port.close(theirs);
    assert_eq!(port.finish().handles, 0);
}

#[test]
fn a_port_that_ends_ends_its_connections_and_its_address_is_free() {
    let _turn = together();
    let mut port = Driver::<Iocp>::new(&small());
    let (listener, address) = port.port.listen(loopback(), &ListenOptions::default()).expect("a free port");
    let accept = port.submit(Op::Accept { listener });
    let mut peer = TcpStream::connect(address).expect("it listens");
    port.accepted(accept);
    Iocp::end(port.port);
    // Windows resets it; Wine's server shuts every socket down that it closes.
    let ended = peer.read(&mut [0]);
    let is_reset = |error: &io::Error| error.kind() == ErrorKind::ConnectionReset;
    assert!(matches!(ended, Ok(0)) || ended.as_ref().is_err_and(is_reset), "{ended:?}");
    let mut again = Driver::<Iocp>::new(&small());
    again.port.listen(address, &ListenOptions::default()).expect("nothing holds the port");
    again.finish();
}

#[test]
fn a_connect_to_the_address_of_all_addresses_is_one_to_this_machine() {
    let _turn = together();
    let mut port = Driver::<Iocp>::new(&small());
    for all in ["0.0.0.0:0", "[::]:0"] {
        let all: std::net::SocketAddr = all.parse().expect("an address");
        let (listener, local) = port.port.listen(all, &ListenOptions::default()).expect("a free port");
        let mut remote = all;
        remote.set_port(local.port());
        let connect = port.submit(Op::Connect { remote });
        let Done::Connect(Ok(connected)) = port.last(connect) else { panic!("{remote} is this machine") };
        port.close(connected.socket);
        port.close(listener);
    }
    port.finish();
}

#[test]
fn a_message_that_is_longer_than_its_buffer_is_cut() {
    let _turn = together();
    let mut port = Driver::<Iocp>::new(&small());
    let (left, left_address) = port.port.bind_datagram(loopback()).expect("a datagram socket");
    let (right, right_address) = port.port.bind_datagram(loopback()).expect("a datagram socket");
    for (bytes, cut) in [(&b"ping"[..], false), (&b"longer than eight"[..], true)] {
        for is_waiting in [true, false] {
            let token = port.token();
            let receive = |port: &mut Driver<Iocp>| {
                port.port.receive_message(token, right, vec![0; 8]).expect("the system has WSARecvMsg");
            };
            if is_waiting {
                receive(&mut port);
            }
            let bytes = Bytes::from_static(bytes);
            let send = port.submit(Op::SendTo { socket: left, remote: right_address, bytes: bytes.clone() });
            assert!(matches!(port.last(send), Done::SendTo(..)));
            if !is_waiting {
                receive(&mut port);
            }
            match port.last(token) {
                Done::RecvFrom(buffer, Ok(datagram)) => {
                    assert_eq!((datagram.from, datagram.cut), (left_address, cut));
                    assert_eq!(buffer[..datagram.bytes as usize], bytes[..bytes.len().min(8)]);
                }
                other => panic!("{other:?}"),
            }
        }
    }
    port.finish();
}

#[test]
fn a_socket_that_was_used_can_be_taken_out_and_closed_but_serves_no_second_port() {
    let _turn = together();
    let mut port = Driver::<Iocp>::new(&small());
    let mut other = Driver::<Iocp>::new(&small());
    let (ours, theirs) = port.pair();
    let moved = port.port.release(ours).unwrap_or_else(|why| panic!("{why}"));
    let adopted = other.port.adopt(moved);
    let recv = other.submit(Op::Recv { socket: adopted });
    assert!(matches!(other.recv_ended(recv), Ended::Failed(_)));
    let end = other.submit(Op::Shutdown { socket: adopted, how: ShutdownHow::Both });
    assert!(matches!(other.last(end), Done::Shutdown(Ok(()))));
    other.close(adopted);
    let recv = port.submit(Op::Recv { socket: theirs });
    assert_eq!(port.recv_ended(recv), Ended::Closed);
    port.close(theirs);
    assert_eq!((port.finish().handles, other.finish().handles), (0, 0));
}
