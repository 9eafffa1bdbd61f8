//! The overlapped model (I): the call is made first, and an event object tells when it is done.
//!
//! The kernel has the buffer while it works, so nothing is copied twice and no call asks whether a socket is ready. The
//! event objects and their limit are those of the model before (`groups.rs`). The steps are the slide's:
//!
//! ① Make a socket that supports overlapped calls, and an event object for it (WSACreateEvent).
//! ② Call an overlapped function with the event in hEvent (WSARecv): it is done at once, or pending.
//! ③ Wait until one of the events is set (WSAWaitForMultipleEvents).
//! ④ Ask how the operation ended (WSAGetOverlappedResult), and use the data.
//! ⑤ For a new socket again from ①, else from ②.

use std::collections::HashMap;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use naksi_os::connection::{Completed, Verb};
use naksi_os::event::{Event, WaitSet};
use naksi_os::overlapped::{Overlapped, Pending, Requests};

use crate::groups::{self, DOOR, Door};
use crate::proactor;
use crate::site::{Guest, Site};

/// What stays here while the connection is in its operation.
struct Member {
    event: Event,
    pending: Pending,
}

/// Serves until the site is stopped.
///
/// # Errors
/// A wait fails, or the listener is of no use any more.
pub fn serve(listener: TcpListener, site: &Arc<Site>) -> io::Result<()> {
    groups::serve(&listener, site, group)
}

/// One thread, one wait, and as many operations as it takes.
fn group(door: &Door, site: &Arc<Site>) -> io::Result<()> {
    let _clock = site.tally.clock();
    let requests: Requests<Guest> = Requests::open(&site.tally)?;
    let mut members: HashMap<usize, Member> = HashMap::new();
    let mut last = DOOR;
    let mut wait = WaitSet::open(site.events_max, &site.tally)?;
    wait.add(&door.event, DOOR)?;
    let mut set = Vec::new();
    // What is in flight at the end is called off and awaited when the requests are dropped.
    while !site.is_stopping() {
        for connection in door.take() {
            // ① The socket is there; an event object for it, and a place in the wait.
            //= lecture 003: WSACreateEvent() 함수를 호출하여 대응하는 이벤트 객체도 같이 생성
            last += 1;
            let event = Event::create(&site.tally);
            let event = event.and_then(|event| wait.add(&event, last).map(|()| event));

            // ② The connection moves into the operation. A failure ends this client alone.
            //= lecture 003: WSAOVERLAPPED 구조체의 hEvent 변수에 이벤트 객체의 핸들 값을 넣어서 전달
            let start = |event: Event| {
                let pending = requests.start(connection, Verb::Recv, &event)?;
                Ok(Member { event, pending })
            };
            match event.and_then(start) {
                Ok(member) => drop(members.insert(last, member)),
                Err(_) => {
                    wait.remove(last);
                    door.left();
                }
            }
        }

        // ③ Whatever is done has set its event, even if it was done at once.
        //= lecture 003: WSAWaitForMultipleEvents() 함수를 호출해 이벤트 객체가 신호 상태가 되기를 기다림
        set.clear();
        wait.wait(None, &mut set)?;

        for token in set.drain(..) {
            if token == DOOR {
                // New sockets, or the end: the loop looks at both.
                door.event.reset()?;
                continue;
            }

            // ④ The connection comes back with the answer.
            //= lecture 003: WSAGetOverlappedResult() 함수를 호출해 비동기 입출력 결과를 확인하고 데이터를 처리
            let Some(Member { event, pending }) = members.remove(&token) else { continue };
            event.reset()?;
            let Completed { connection, verb, result } = match requests.result(pending) {
                Overlapped::Complete(completed) => completed,
                Overlapped::Incomplete(pending) => {
                    members.insert(token, Member { event, pending });
                    continue;
                }
            };
            let next = proactor::next(&connection, verb, &result, site);

            // ⑤ The same socket and the same event: from ②. New sockets are next, from ①.
            //= lecture 003: 새로운 소켓을 생성하면 ①~④를, 그렇지 않으면 ②~④를 반복
            match next.map(|verb| requests.start(connection, verb, &event)) {
                Some(Ok(pending)) => drop(members.insert(token, Member { event, pending })),
                Some(Err(_)) | None => {
                    wait.remove(token);
                    door.left();
                }
            }
        }
    }
    Ok(())
}
