//! The select model: ask about all sockets, every time anew, and then look at each of them.
//!
//! One thread, one loop. It runs on every system, and it pays for all sockets whenever one of them is ready. A client
//! that finds no place in the set is turned away.
//!
//! ① Write the sets: the listener and every connection.
//! ② Call `select`, which waits and leaves only the ready ones in the sets.
//! ③ The listener is in the set: accept.
//! ④ Look at each connection: if it is in a set, receive and send.
//! ⑤ Again from ①.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use naksi_os::connection::Connection;
use naksi_os::select::{SocketSet, select};

use crate::reactor::{self, Next};
use crate::site::{Guest, Site};

struct Member {
    connection: Connection<Guest>,
    next: Next,
}

/// Serves until the site is stopped.
///
/// # Errors
/// `select` fails, or the listener is of no use any more.
pub fn serve(listener: TcpListener, site: &Arc<Site>) -> io::Result<()> {
    let _clock = site.tally.clock();
    listener.set_nonblocking(true)?;
    let mut members: Vec<Member> = Vec::new();
    while !site.is_stopping() {
        // ① The sets are written anew: the last call has left only the ready ones in them.
        //= lecture 001: Select 모델의 단점, 매번 등록 비용
        let mut read = SocketSet::with_places(site.sockets_max);
        let mut write = SocketSet::with_places(site.sockets_max);
        read.insert(&listener).map_err(io::Error::other)?;
        for member in &members {
            let set = if member.next == Next::Writable { &mut write } else { &mut read };
            set.insert(member.connection.socket()).map_err(io::Error::other)?;
        }

        // ② Wait. From here on the sets are the answer.
        select(&mut read, &mut write, None, &site.tally)?;

        // ③ New clients, as far as there are places.
        //= lecture 001: fd_set 의 최대 갯수 64개 제한
        if read.contains(&listener) {
            while let Some(connection) = site.accept(&listener)? {
                if site.is_stopping() {
                    break;
                }
                let place = read.has_place(connection.socket()) && members.len() + 1 < site.sockets_max;
                if place && connection.socket().set_nonblocking(true).is_ok() {
                    members.push(Member { connection, next: Next::Readable });
                } else {
                    site.turn_away(connection);
                }
            }
        }

        // ④ The answer names no socket: every one of them is looked at.
        let mut place = 0;
        while place < members.len() {
            let member = &mut members[place];
            let socket = member.connection.socket();
            if read.contains(socket) || write.contains(socket) {
                member.next = reactor::ready(&mut member.connection, false, site);
            }
            if member.next == Next::Gone {
                drop(members.swap_remove(place));
            } else {
                place += 1;
            }
        }
        // ⑤ And again, from the registration on.
    }
    Ok(())
}
