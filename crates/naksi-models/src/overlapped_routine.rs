//! The overlapped model (II): the call is made first, and a completion routine is called when it is done.
//!
//! The routine runs in the thread that made the call, and only while that thread waits alertably, so it never
//! bursts into anything. There are no event objects and no ceiling of 64; but all the work stays with one thread.
//!
//! 1. A socket for overlapped calls; an event object for the listener alone, because accept takes no routine.
//! 2. Start the operation and name its routine (the last argument of WSARecv).
//! 3. Wait alertably (SleepEx, or a wait for events with its last argument TRUE).
//! 4. The kernel's queue is emptied: every routine runs, looks at the result and starts what follows.
//! 5. The wait returns, and new clients are accepted.
//! 6. Again from 3.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use naksi_os::connection::{Completed, Verb};
use naksi_os::event::{Event, enumerate_network_events, event_select};
use naksi_os::network_events::NetworkEvents;
use naksi_os::routine::{Alertable, Routines};

use crate::proactor;
use crate::site::{Guest, Site};

/// Serves until the site is stopped.
///
/// # Errors
/// A wait fails, or the listener is of no use any more.
pub fn serve(listener: TcpListener, site: &Arc<Site>) -> io::Result<()> {
    let _clock = site.tally.clock();

    // 1. An event reports new connections; routines report everything after that.
    //= lecture 001: 모든 비동기 소켓 함수에서 사용가능하진 않음 (ex. accept)
    let event = Event::create(&site.tally)?;
    event_select(&listener, &event, NetworkEvents::LISTENER)?;
    let routines: Routines<Guest> = Routines::open(&site.tally)?;
    routines.watch(&event);

    while !site.is_stopping() {
        // 3. Ready for routines: here, and nowhere else, they may run.
        //= lecture 001: 비동기 IO 함수를 호출한 쓰레드를 Alertable Wait 상태로 만든다
        //= lecture 003: 모든 완료 루틴 호출이 끝나면 스레드는 alertable wait 상태에서 빠져나옴
        let woken = routines.wait(None, Alertable::Yes)?;

        // 5. The routines have run; accept the connections that wait.
        if woken.event {
            enumerate_network_events(&listener, &event)?;
            if let Some(connection) = site.accept(&listener)? {
                // 2. The first operation of a new socket. A failure ends this client alone.
                routines.start(connection, Verb::Recv, on_done).ok();
            }
        }
        // 6. And again.
    }
    // What is in flight is called off and awaited when the routines are dropped.
    Ok(())
}

/// 4. The completion routine. Its arguments are the operation itself, and the session came along in it.
//= lecture 001: overlapped 를 Session* 로 캐스팅하면 다시 session에 담겨있던 데이터들을 다시 활용할 수 있다
fn on_done(routines: &Routines<Guest>, Completed { connection, verb, result }: Completed<Guest>) {
    let site = Arc::clone(&connection.session.site);
    if let Some(verb) = proactor::next(&connection, verb, &result, &site) {
        // 2. What follows has the same routine. A failure ends this client alone.
        routines.start(connection, verb, on_done).ok();
    }
}
