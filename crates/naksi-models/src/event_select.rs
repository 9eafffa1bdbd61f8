//! The WSAEventSelect model: every socket has an event object, and one wait looks at all of them.
//!
//! A socket is registered once, not for every call, and the wait says which one is ready. But one wait of Windows takes
//! 64 events, so that more clients need more threads (`groups.rs`).
//!
//! ① Create an event object for every socket (WSACreateEvent).
//! ② Bind it to the socket's network events (WSAEventSelect).
//! ③ Wait until one of the events is set (WSAWaitForMultipleEvents).
//! ④ Ask what happened, which resets the event (WSAEnumNetworkEvents).
//! ⑤ Receive and send.
//! ⑥ For a new socket again from ①, else from ③.

use std::collections::HashMap;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use naksi_os::connection::Connection;
use naksi_os::event::{Event, WaitSet, enumerate_network_events, event_select};
use naksi_os::network_events::NetworkEvents;

use crate::groups::{self, DOOR, Door};
use crate::reactor::{self, Next};
use crate::site::{Guest, Site};

struct Member {
    connection: Connection<Guest>,
    event: Event,
}

/// Serves until the site is stopped.
///
/// # Errors
/// A wait fails, or the listener is of no use any more.
pub fn serve(listener: TcpListener, site: &Arc<Site>) -> io::Result<()> {
    groups::serve(&listener, site, group)
}

/// One thread, one wait, and as many connections as it takes.
fn group(door: &Door, site: &Arc<Site>) -> io::Result<()> {
    let _clock = site.tally.clock();
    let mut members: HashMap<usize, Member> = HashMap::new();
    let mut last = DOOR;
    let mut wait = WaitSet::open(site.events_max, &site.tally)?;
    wait.add(&door.event, DOOR)?;
    let mut set = Vec::new();
    while !site.is_stopping() {
        for connection in door.take() {
            // ① One socket, one event object.
            let event = Event::create(&site.tally)?;

            // ② Bound once; the socket no longer blocks.
            last += 1;
            let bound = event_select(connection.socket(), &event, NetworkEvents::CONNECTION);
            match bound.and_then(|()| wait.add(&event, last)) {
                Ok(()) => drop(members.insert(last, Member { connection, event })),
                Err(_) => {
                    door.left();
                    site.turn_away(connection);
                }
            }
        }

        // ③ The limit is in this call: it takes so many events, and no more.
        //= lecture 001: WSAEventSelect 모델의 단점, 최대 64개 제한
        set.clear();
        wait.wait(None, &mut set)?;

        for token in set.drain(..) {
            if token == DOOR {
                // New sockets, or the end: the loop looks at both.
                door.event.reset()?;
                continue;
            }

            // ④ What happened? The answer resets the event.
            let Some(member) = members.get_mut(&token) else { continue };
            let events = enumerate_network_events(member.connection.socket(), &member.event)?;

            // ⑤ Now the calls are made.
            if reactor::ready(&mut member.connection, events.close, site) == Next::Gone {
                wait.remove(token);
                door.left();
                members.remove(&token);
            }
        }
        // ⑥ New sockets go through ① and ②, all others back to the wait.
    }
    Ok(())
}
