//! The overlapped model (I): the call is made first, and an event object tells when it is done.
//!
//! The kernel has the buffer while it works, so nothing is copied twice and there is no readiness check. The
//! event objects and their ceiling are those of the model before (`groups.rs`).
//!
//! 1. An event object for every connection (WSACreateEvent).
//! 2. Start the operation with it (WSARecv with hEvent): it is done at once, or pending.
//! 3. Wait until one of the events is set (WSAWaitForMultipleEvents).
//! 4. Ask how the operation ended (WSAGetOverlappedResult), and use the data.
//! 5. Again: from 1 for a new socket, else from 2.

use std::collections::HashMap;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use naksi_os::connection::{Completed, Connection, Verb};
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
    loop {
        // 3. Whatever is done has set its event, even if it was done at once.
        //= lecture 003: WSAWaitForMultipleEvents() 함수를 호출해 이벤트 객체가 신호 상태가 되기를 기다림
        set.clear();
        wait.wait(None, &mut set)?;

        for token in set.drain(..) {
            if token == DOOR {
                door.event.reset()?;
                if site.is_stopping() {
                    // What is in flight is called off and awaited when the requests are dropped.
                    return Ok(());
                }
                for connection in door.take() {
                    last += 1;
                    match join(&requests, connection, &mut wait, last, site) {
                        Ok(member) => drop(members.insert(last, member)),
                        Err(_) => door.left(),
                    }
                }
                continue;
            }

            // 4. The connection comes home with the answer.
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

            // 5. The same socket and the same event: from 2.
            let next = proactor::next(&connection, verb, &result, site);
            match next.map(|verb| requests.start(connection, verb, &event)) {
                Some(Ok(pending)) => drop(members.insert(token, Member { event, pending })),
                Some(Err(_)) | None => {
                    wait.remove(token);
                    door.left();
                }
            }
        }
    }
}

/// 1. and 2. for a new connection: its event object, and its first receive.
fn join(
    requests: &Requests<Guest>,
    connection: Connection<Guest>,
    wait: &mut WaitSet,
    token: usize,
    site: &Site,
) -> io::Result<Member> {
    //= lecture 003: WSACreateEvent() 함수를 호출하여 대응하는 이벤트 객체도 같이 생성
    let event = Event::create(&site.tally)?;
    wait.add(&event, token)?;
    //= lecture 003: WSAOVERLAPPED 구조체의 hEvent 변수에 이벤트 객체의 핸들 값을 넣어서 전달
    let pending = requests.start(connection, Verb::Recv, &event).inspect_err(|_| wait.remove(token))?;
    Ok(Member { event, pending })
}
