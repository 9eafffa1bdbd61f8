//! The WSAAsyncSelect model: what happens to sockets arrives as messages in one thread's queue.
//!
//! The loop is the message loop of every window, and a server's sockets stand in line with everything else that
//! a window is told. One message tells of one change of one socket, once.
//!
//! ① Open the queue of this thread (a message-only window on Windows).
//! ② Register the listener.
//! ③ Take the next message, and wait for it.
//! ④ FD_ACCEPT: accept, and register the new socket.
//! ⑤ FD_READ, FD_WRITE, FD_CLOSE: receive and send; the call itself asks for the next message.
//! ⑥ Again from ③.

use std::collections::HashMap;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use naksi_os::connection::Connection;
use naksi_os::message::MessageQueue;
use naksi_os::network_events::NetworkEvents;

use crate::reactor::{self, Next};
use crate::site::{Guest, Site};

/// The listener's name in its messages.
const LISTENER: usize = 0;

/// Serves until the site is stopped.
///
/// # Errors
/// The queue fails, or the listener is of no use any more.
pub fn serve(listener: TcpListener, site: &Arc<Site>) -> io::Result<()> {
    let _clock = site.tally.clock();
    let mut members: HashMap<usize, Connection<Guest>> = HashMap::new();
    let mut last = LISTENER;

    // ① The queue of this thread.
    //= lecture 001: WSAAsyncSelect 모델 = 소켓 이벤트를 윈도우 메세지 형태로 처리
    let mut queue = MessageQueue::open(&site.tally)?;

    // ② From now on the listener's events come to this thread, and to no other.
    queue.async_select(&listener, LISTENER, NetworkEvents::LISTENER)?;

    while !site.is_stopping() {
        // ③ One message, one turn of the loop, whatever else may be waiting.
        let message = queue.take()?;

        // ④ A new client. One message tells of one, and the accept itself asks for the next message.
        if message.events.accept {
            if let Some(connection) = site.accept(&listener)? {
                last += 1;
                match queue.async_select(connection.socket(), last, NetworkEvents::CONNECTION) {
                    Ok(()) => drop(members.insert(last, connection)),
                    Err(_) => site.turn_away(connection),
                }
            }
            continue;
        }

        // ⑤ A message may be older than the socket's end, and then it is dropped.
        let Some(connection) = members.get_mut(&message.token) else { continue };
        // A connection that waits to send is not received from: the message about that has not come yet.
        let waits_for_room =
            !connection.unsent().is_empty() && !message.events.write && !message.events.close;
        if waits_for_room {
            continue;
        }
        if reactor::ready(connection, message.events.close, site) == Next::Gone {
            queue.cancel(connection.socket());
            members.remove(&message.token);
        }
        // ⑥ And again.
    }
    queue.cancel(&listener);
    Ok(())
}
