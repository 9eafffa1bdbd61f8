//! The completion port model: the call is made first, and its packet goes to whichever worker comes next.
//!
//! Like the queue of routines, but not bound to a thread: any worker may take any packet, and the port sees to it
//! that only so many of them run at once. The packet carries the connection with its session, so that no worker
//! needs a lock to serve it.
//!
//! 1. Create the completion port (CreateIoCompletionPort).
//! 2. Start workers in proportion to the processors; all of them wait for packets (GetQueuedCompletionStatus).
//! 3. Associate each new socket with the port (CreateIoCompletionPort again).
//! 4. Start an operation (WSARecv, WSASend, AcceptEx); it is pending.
//! 5. It is done: the port wakes one worker, which uses the result.
//! 6. Again: from 3 for a new socket, else from 4.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;

use naksi_os::completion_port::{CompletionPort, Packet};
use naksi_os::connection::{Connection, Verb};

use crate::proactor;
use crate::site::{Guest, Site};

/// Accepts that are asked for before anybody comes.
const ACCEPTS: usize = 32;
/// The name of the packet that ends a worker.
const QUIT: usize = usize::MAX;

/// Serves until the site is stopped.
///
/// # Errors
/// The port fails, or the listener is of no use any more.
pub fn serve(listener: TcpListener, site: &Arc<Site>) -> io::Result<()> {
    // 1. The concurrency value: so many workers run at once, and not more.
    //= lecture 002: 최대 쓰레드 숫자를 정해버리고 그것을 지키면서 쓰레드를 처리하는 거죠
    let port: CompletionPort<Guest> = CompletionPort::create(site.workers, &site.tally)?;
    let listener = Arc::new(listener);

    // 4. The first operations: accepts.
    for _ in 0..ACCEPTS {
        port.accept(&listener)?;
    }

    // 2. The workers, of which this thread is none.
    //= lecture 003: CPU 개수에 비례하여 작업자 스레드를 생성
    thread::scope(|scope| {
        let worker = || {
            let result = work(&port, &listener, site);
            // One packet ends one worker: who ends passes it on.
            port.post(QUIT);
            result
        };
        let workers: Vec<_> = (0..site.workers).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("a worker does not panic"))
    })
    // What is in flight is called off and awaited when the port is dropped.
}

/// 5. A worker: one packet after the other, for any session.
fn work(port: &CompletionPort<Guest>, listener: &Arc<TcpListener>, site: &Arc<Site>) -> io::Result<()> {
    let _clock = site.tally.clock();
    loop {
        //= lecture 003: 모든 작업자 스레드는 GetQueuedCompletionStatus() 함수를 호출해 입출력 완료 포트를 감시
        match port.next(None)? {
            //= lecture 002: IOCP 는 Inter-Thread Communication에도 쓰인다
            Some(Packet::Posted { key: QUIT }) => return Ok(()),
            Some(Packet::Posted { .. }) | None => {}
            Some(Packet::Accepted(_)) if site.is_stopping() => return Ok(()),
            Some(Packet::Accepted(accepted)) => {
                // The place of this accept is taken again first, so that the chain never ends.
                port.accept(listener)?;
                match accepted {
                    Ok((socket, peer)) => begin(port, site.welcome(socket, peer)),
                    Err(error) => site.accept_failed(&error)?,
                }
            }
            Some(Packet::Done { associated, verb, result }) => {
                // 6. The same socket: from 4. An operation that cannot be started ends this client alone.
                if let Some(verb) = proactor::next(associated.connection(), verb, &result, site) {
                    port.start(associated, verb).ok();
                }
            }
        }
    }
}

/// 3. A new socket belongs to the port, and 4. its first operation. A failure ends this client alone.
//= lecture 003: CreateIoCompletionPort() 함수를 호출해 소켓과 입출력 완료 포트를 연결해야 함
fn begin(port: &CompletionPort<Guest>, connection: Connection<Guest>) {
    let key = usize::from(connection.session.peer.port());
    port.associate(connection, key).and_then(|associated| port.start(associated, Verb::Recv)).ok();
}
