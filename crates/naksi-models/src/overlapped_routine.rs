//! The overlapped model (II): the call is made first, and a completion routine is called when it is done.
//!
//! The routine runs in the thread that made the call, and only while that thread waits alertably, so it never
//! interrupts other code. There are no event objects and no limit of 64; but all the work stays with one thread. The
//! steps are the slide's:
//!
//! ① Make a socket that supports overlapped calls.
//! ② Call an overlapped function and name its routine (the last argument of WSARecv).
//! ③ Put the thread that made the call into an alertable wait (SleepEx, or a wait for events with its last argument TRUE).
//! ④ The operation is done: the system calls the routine, which looks at the result and does what follows.
//! ⑤ All routines have been called, and the thread leaves its alertable wait.
//! ⑥ For a new socket again from ①, else from ②.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use naksi_os::connection::{Completed, Verb};
use naksi_os::event::{Event, enumerate_network_events, event_select};
use naksi_os::network_events::NetworkEvents;
use naksi_os::routine::{Alertable, Routines, Woken};

use crate::proactor;
use crate::site::{Guest, Site};

/// A client has come, if the listener's event says so.
fn begin(
    listener: &TcpListener,
    event: &Event,
    routines: &Routines<Guest>,
    site: &Arc<Site>,
) -> io::Result<()> {
    // ① Accept takes no routine: new clients are told by an event, everything after that by routines.
    //= lecture 001: 모든 비동기 소켓 함수에서 사용가능하진 않음 (ex. accept)
    enumerate_network_events(listener, event)?;
    let Some(connection) = site.accept(listener)? else { return Ok(()) };

    // ② The first operation of a new socket. A failure ends this client alone.
    //= lecture 003: 완료 루틴의 시작 주소를 함수 인자로 전달
    routines.start(connection, Verb::Recv, on_done).ok();
    Ok(())
}

/// ③ Ready for routines: in this call, and nowhere else, they may run.
//= lecture 001: 비동기 IO 함수를 호출한 쓰레드를 Alertable Wait 상태로 만든다
fn wait(routines: &Routines<Guest>) -> io::Result<Woken> {
    routines.wait(None, Alertable::Yes)
}

/// ④ The completion routine. Its arguments are the operation itself, and the session came along in it.
//= lecture 001: overlapped 를 Session* 로 캐스팅하면 다시 session에 담겨있던 데이터들을 다시 활용할 수 있다
fn on_done(routines: &Routines<Guest>, Completed { connection, verb, result }: Completed<Guest>) {
    let site = Arc::clone(&connection.session.site);
    if let Some(verb) = proactor::next(&connection, verb, &result, &site) {
        // What follows is again ②, with the same routine. A failure ends this client alone.
        routines.start(connection, verb, on_done).ok();
    }
}

/// Serves until the site is stopped.
///
/// # Errors
/// A wait fails, or the listener is of no use any more.
pub fn serve(listener: TcpListener, site: &Arc<Site>) -> io::Result<()> {
    let _clock = site.tally.clock();
    let event = Event::create(&site.tally)?;
    event_select(&listener, &event, NetworkEvents::LISTENER)?;
    let routines: Routines<Guest> = Routines::open(&site.tally)?;
    routines.watch(&event);
    // What is in flight at the end is called off and awaited when the routines are dropped.
    while !site.is_stopping() {
        // ⑤ The wait returns when every routine that was due has run, or when a client has come.
        //= lecture 003: 완료 루틴 호출이 모두 끝나면 스레드는 alertable wait 상태에서 빠져나옴
        let woken = wait(&routines)?;

        // ⑥ A new socket goes through ① to ⑤. The routines of the others have done their ② already.
        //= lecture 003: 새로운 소켓을 생성하면 ①~⑤를, 그렇지 않으면 ②~⑤를 반복
        if woken.event {
            begin(&listener, &event, &routines, site)?;
        }
    }
    Ok(())
}
