//! The WSAEventSelect model: every socket has an event object, and one wait looks at all of them.
//!
//! Registered once, not for every call; and the wait says who is ready. But one wait of Windows takes 64 events,
//! so that more clients need more threads (`groups.rs`).
//!
//! 1. Create an event object for every socket (WSACreateEvent).
//! 2. Bind it to the socket's network events (WSAEventSelect).
//! 3. Wait until one of the events is set (WSAWaitForMultipleEvents).
//! 4. Ask what happened, which resets the event (WSAEnumNetworkEvents).
//! 5. Receive and send.
//! 6. Again from 3; from 1 for a new socket.

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
    loop {
        // 3. The ceiling is in this call: it takes so many events, and no more.
        //= lecture 001: WSAEventSelect 모델의 단점, 최대 64개 제한
        set.clear();
        wait.wait(None, &mut set)?;

        for token in set.drain(..) {
            if token == DOOR {
                door.event.reset()?;
                if site.is_stopping() {
                    return Ok(());
                }
                for connection in door.take() {
                    // 1. One socket, one event object.
                    let event = Event::create(&site.tally)?;
                    // 2. Bound once; the socket no longer blocks.
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
                continue;
            }

            // 4. What happened? The answer resets the event.
            let Some(member) = members.get_mut(&token) else { continue };
            let events = enumerate_network_events(member.connection.socket(), &member.event)?;

            // 5. Now the calls are made.
            if reactor::ready(&mut member.connection, events.close, site) == Next::Gone {
                wait.remove(token);
                door.left();
                members.remove(&token);
            }
        }
        // 6. And again.
    }
}
