//! Scenarios about taking connections. Nothing here knows a backend.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;

use naksi_core::op::Op;
use naksi_os::port::{ListenOptions, PortOptions};

use crate::conform::Scenario;
use crate::conform::script::{Script, small};

pub(super) const ALL: &[Scenario] = &[
    Scenario::new(
        "accept",
        "normal",
        |s| {
            let (listener, address) = s.listen();
            let accept = s.accept(listener);
            for _ in 0..3 {
                let connect = s.connect(address);
                s.connected(connect);
                s.accepted(accept);
            }
            s.handles();
            s.cancelled(accept);
        },
        &[
            "connect ok",
            "accept a connection more",
            "connect ok",
            "accept a connection more",
            "connect ok",
            "accept a connection more",
            "7 handles open",
            "accept ended aborted",
        ],
    ),
    Scenario::new(
        "accept",
        "cancel before start",
        |s| {
            let (listener, _) = s.listen();
            let accept = s.accept(listener);
            s.cancelled(accept);
        },
        &["accept ended aborted"],
    ),
    Scenario::new(
        "accept",
        "cancel in flight",
        |s| {
            let (listener, _) = s.listen();
            let accept = s.accept(listener);
            s.waits(accept);
            s.cancelled(accept);
        },
        &["accept waits", "accept ended aborted"],
    ),
    Scenario::new(
        "accept",
        "cancel after done",
        |s| {
            let (listener, address) = s.listen();
            let accept = s.accept(listener);
            s.cancelled(accept);
            s.cancel(accept);
            let again = s.accept(listener);
            s.cancel(accept);
            let connect = s.connect(address);
            s.connected(connect);
            s.accepted(again);
            s.cancelled(again);
        },
        &["accept ended aborted", "connect ok", "accept a connection more", "accept ended aborted"],
    ),
    Scenario::new(
        "accept",
        "close while pending",
        |s| {
            let (listener, address) = s.listen();
            let accept = s.accept(listener);
            s.refused(0, Op::Close { handle: listener.handle });
            let connect = s.connect(address);
            s.connected(connect);
            s.accepted(accept);
            s.cancel(accept);
            // The end is on its way, but not delivered yet.
            s.refused(0, Op::Close { handle: listener.handle });
            s.last(accept);
            s.close(listener);
        },
        &[
            "close refused busy",
            "connect ok",
            "accept a connection more",
            "close refused busy",
            "accept ended aborted",
            "close ok",
        ],
    ),
    Scenario::new(
        "accept",
        "peer FIN before it is taken",
        |s| {
            let (listener, address) = s.listen();
            let connect = s.connect(address);
            let peer = s.connected(connect);
            s.close(peer);
            s.settle();
            let accept = s.accept(listener);
            let socket = s.accepted(accept);
            let recv = s.recv(socket);
            s.last(recv);
            s.cancelled(accept);
        },
        &["connect ok", "close ok", "accept a connection more", "recv ended closed", "accept ended aborted"],
    ),
    Scenario::new(
        "accept",
        "peer RST before it is taken",
        |s| {
            let (listener, address) = s.listen();
            let Ok(peer) = TcpStream::connect(address) else { s.stop("no foreign peer") };
            let linger = socket2::SockRef::from(&peer).set_linger(Some(std::time::Duration::ZERO));
            if linger.is_err() {
                s.stop("a peer cannot be made to reset");
            }
            drop(peer);
            // Kernels differ in whether such a connection is handed out; the chain goes on in any case.
            let accept = s.submit("", 0, Op::Accept { listener: listener.handle });
            let connect = s.connect(address);
            s.connected(connect);
            s.settle();
            s.collected(accept);
            s.note("the chain went on");
        },
        &["connect ok", "the chain went on"],
    )
    .real_ports_only("a reset before the accept needs a foreign peer with SO_LINGER"),
    Scenario::new(
        "accept",
        "deadline",
        |s| {
            let (listener, _) = s.listen();
            let accept = s.accept(listener);
            s.deadline(accept);
            s.close(listener);
        },
        &["timeout ok", "accept ended aborted", "close ok"],
    ),
    Scenario::new("accept", "queue full", queue_full, &["100 connections taken", "accept ended aborted"]),
    Scenario::new(
        "accept",
        "pool empty",
        |s| {
            s.open(&PortOptions { lease_count: 1, ..small() });
            let (near, far) = s.pair();
            let recv = s.submit("", 0, Op::Recv { socket: far.handle });
            s.sent(near, b"bait");
            let kept = s.next_completion(recv);
            let (listener, address) = s.listen();
            let accept = s.accept(listener);
            let connect = s.connect(address);
            s.connected(connect);
            s.accepted(accept);
            drop(kept);
            s.collected(recv);
            s.cancelled(accept);
        },
        &["connect ok", "accept a connection more", "accept ended aborted"],
    ),
    Scenario::new(
        "accept",
        "port closed",
        |s| {
            let server = s.another();
            let (listener, address) = s.listen_on(server, &ListenOptions::default());
            s.accept(listener);
            s.settle();
            s.drop_port(server);
            let connect = s.connect(address);
            s.last(connect);
        },
        &["port dropped", "connect failed: connection refused"],
    ),
    Scenario::new(
        "accept",
        "listener closed over waiting connections",
        |s| {
            let (listener, address) = s.listen();
            let connect = s.connect(address);
            let peer = s.connected(connect);
            let recv = s.recv(peer);
            s.waits(recv);
            s.close(listener);
            s.last(recv);
        },
        &["connect ok", "recv waits", "close ok", "recv ended reset"],
    ),
    Scenario::new(
        "accept",
        "stale handle",
        |s| {
            let (listener, _) = s.listen();
            s.close(listener);
            s.refused(0, Op::Accept { listener: listener.handle });
            s.refused(0, Op::Close { handle: listener.handle });
        },
        &["close ok", "accept refused stale handle", "close refused stale handle"],
    ),
    Scenario::new(
        "accept",
        "token in use",
        |s| {
            let (one, _) = s.listen();
            let (other, _) = s.listen();
            let accept = s.accept(one);
            s.refused_under(accept.token, 0, Op::Accept { listener: other.handle });
            s.cancelled(accept);
        },
        &["accept refused token in use", "accept ended aborted"],
    ),
    Scenario::new(
        "accept",
        "twice on one listener",
        |s| {
            let (listener, _) = s.listen();
            let accept = s.accept(listener);
            s.refused(0, Op::Accept { listener: listener.handle });
            s.cancelled(accept);
        },
        &["accept refused busy", "accept ended aborted"],
    ),
    Scenario::new(
        "accept",
        "wrong kind",
        |s| {
            let (near, _) = s.pair();
            let file = s.file();
            s.refused(0, Op::Accept { listener: near.handle });
            s.refused(0, Op::Accept { listener: file.handle });
        },
        &["accept refused wrong kind", "accept refused wrong kind"],
    ),
    Scenario::new(
        "accept",
        "address in use",
        |s| {
            let (_, address) = s.listen();
            match s.port(0).listen(address, &ListenOptions::default()) {
                Ok(_) => s.note("listen ok"),
                Err(error) => s.note(format!("listen failed: {}", error.kind.text())),
            }
        },
        &["listen failed: address already in use"],
    ),
    Scenario::new("accept", "from another thread", from_threads, &["8 foreign peers served"])
        .real_ports_only("foreign peers in threads of their own cannot reach a simulated world"),
];

/// A hundred connections over a completion queue of sixteen.
fn queue_full(s: &mut Script) {
    s.open(&PortOptions { submission_entries: 8, completion_entries: 16, catch_max: 5, ..small() });
    let (listener, address) = s.listen();
    let accept = s.submit("", 0, Op::Accept { listener: listener.handle });
    let connects: Vec<_> = (0..100).map(|_| s.submit("", 0, Op::Connect { remote: address })).collect();
    for connect in connects {
        s.connected(connect);
        s.accepted(accept);
    }
    s.note("100 connections taken");
    s.cancel(accept);
    match s.next_completion(accept).done {
        naksi_core::completion::Done::Accept(Err(why)) => {
            s.note(format!("accept {}", crate::conform::trace::ended(why)));
        }
        _ => s.stop("one connection too many"),
    }
}

/// Eight threads with foreign peers, each of which is echoed once.
fn from_threads(s: &mut Script) {
    let (listener, address) = s.listen();
    let accept = s.submit("", 0, Op::Accept { listener: listener.handle });
    let peers: Vec<_> = (0..8_u8)
        .map(|number| {
            thread::spawn(move || -> std::io::Result<bool> {
                let mut peer = TcpStream::connect(address)?;
                peer.write_all(&[number])?;
                let mut back = [0];
                peer.read_exact(&mut back)?;
                Ok(back == [number])
            })
        })
        .collect();
    let mut served = 0;
    for _ in &peers {
        let socket = s.accepted(accept);
        let recv = s.submit("", 0, Op::Recv { socket: socket.handle });
        if let naksi_core::completion::Done::Recv(Ok(lease)) = s.next_completion(recv).done {
            s.sent(socket, &lease);
        }
        s.next_completion(recv);
    }
    for peer in peers {
        served += usize::from(matches!(peer.join(), Ok(Ok(true))));
    }
    s.collected(accept);
    s.note(format!("{served} foreign peers served"));
}
