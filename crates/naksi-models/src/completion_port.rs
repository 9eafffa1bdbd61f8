//! The completion port model: the call is made first, and its packet goes to whichever worker comes next.
//!
//! Like the queue of routines, but it belongs to no thread: any worker may take any packet, and the port sees to it
//! that only so many of them run at once. The packet carries the connection with its session, so that no worker
//! needs a lock to serve it. The steps are the slide's:
//!
//! ① Create the completion port (CreateIoCompletionPort).
//! ② Start workers in proportion to the processors; all of them wait for packets (GetQueuedCompletionStatus).
//! ③ Make a socket, and associate it with the port (CreateIoCompletionPort again).
//! ④ Call an overlapped function (WSARecv, WSASend); it is pending.
//! ⑤ The operation is done: the port wakes one worker, which handles the result.
//! ⑥ For a new socket again from ③, else from ④.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;

use naksi_os::completion_port::{CompletionPort, Packet};
use naksi_os::connection::{Connection, Verb};

use crate::proactor;
use crate::site::{Guest, Site};

/// Accepts that are asked for before a client comes.
const ACCEPTS: usize = 32;
/// The key of the packet that ends a worker.
const QUIT: usize = usize::MAX;

/// Serves until the site is stopped.
///
/// # Errors
/// The port fails, or the listener is of no use any more.
pub fn serve(listener: TcpListener, site: &Arc<Site>) -> io::Result<()> {
    // ① Zero: as many workers as there are processors run at once, and not more.
    //= lecture 002: 최대 쓰레드 숫자를 정해버리고 그것을 지키면서 쓰레드를 처리하는 거죠
    //= lecture 003: 0을 입력하면 시스템 CPU 수와 일치하게 됨
    let port: CompletionPort<Guest> = CompletionPort::create(0, &site.tally)?;
    let listener = Arc::new(listener);

    // ② The workers, of which this thread is none.
    //= lecture 003: CPU 개수에 비례하여 작업자 스레드를 생성
    thread::scope(|scope| {
        let worker = || {
            let result = work(&port, &listener, site);
            // One packet ends one worker, which passes it on.
            port.post(QUIT);
            result
        };
        let workers: Vec<_> = (0..site.workers).map(|_| scope.spawn(worker)).collect();
        // New sockets come from AcceptEx, an overlapped call that has a packet too: from there on they go through ③.
        let asked = (0..ACCEPTS).try_for_each(|_| port.accept(&listener));
        if asked.is_err() {
            port.post(QUIT);
        }
        workers.into_iter().try_for_each(|worker| worker.join().expect("a worker does not panic")).and(asked)
    })
    // What is in flight is called off and awaited when the port is dropped.
}

/// The beginning of a connection.
fn begin(port: &CompletionPort<Guest>, connection: Connection<Guest>) -> io::Result<()> {
    // ③ From now on the results of this socket come to the port, under this key.
    //= lecture 003: CreateIoCompletionPort() 함수를 호출해 소켓과 입출력 완료 포트를 연결해야 함
    let key = usize::from(connection.session.peer.port());
    let associated = port.associate(connection, key)?;

    // ④ The first operation; it is done later, and its packet comes to any worker.
    //= lecture 003: 비동기 입출력 작업이 곧바로 완료되지 않으면 … 오류 코드는 WSA_IO_PENDING으로 설정됨
    port.start(associated, Verb::Recv)
}

/// A worker: one packet after the other, of any connection.
fn work(port: &CompletionPort<Guest>, listener: &Arc<TcpListener>, site: &Arc<Site>) -> io::Result<()> {
    let _clock = site.tally.clock();
    loop {
        // ⑤ The port wakes this worker, and it handles the result.
        //= lecture 003: 모든 작업자 스레드는 GetQueuedCompletionStatus() 함수를 호출해 입출력 완료 포트를 감시
        let (associated, next) = match port.next(None)? {
            Some(Packet::Done { associated, verb, result }) => {
                let handle = || proactor::next(associated.connection(), verb, &result, site);
                // While a handler blocks, the port lets another worker run.
                let next = if site.blocks.is_zero() { handle() } else { port.blocking(handle) };
                (associated, next)
            }
            Some(Packet::Accepted(_)) if site.is_stopping() => return Ok(()),
            Some(Packet::Accepted(accepted)) => {
                // The place of this accept is taken again first, so that there are always as many.
                port.accept(listener)?;
                match accepted {
                    // A failure ends this client alone.
                    Ok((socket, peer)) => drop(begin(port, site.welcome(socket, peer)).ok()),
                    Err(error) => site.accept_failed(&error)?,
                }
                continue;
            }
            //= lecture 002: IOCP 는 Inter-Thread Communication에도 쓰인다
            Some(Packet::Posted { key: QUIT }) => return Ok(()),
            Some(Packet::Posted { .. }) | None => continue,
        };

        // ⑥ A new socket went through ③ and ④ above; the same socket goes on with ④. A failure ends this client alone.
        //= lecture 003: 새로운 소켓을 생성하면 ③~⑤를, 그렇지 않으면 ④~⑤를 반복
        if let Some(verb) = next {
            port.start(associated, verb).ok();
        }
    }
}
