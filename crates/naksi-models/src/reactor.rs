//! What the three reactors have in common: the socket is ready, and only now the calls are made.
//!
//! How a model learns that a socket is ready is its own affair and not known here.

use std::io;

use naksi_os::connection::Connection;

use crate::site::{Guest, Site};

/// What a connection waits for next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// For bytes from the peer.
    Readable,
    /// For a peer that takes its bytes: it is slow, and until then nothing more is received from it.
    Writable,
    /// For nothing: it is over.
    Gone,
}

/// The socket is ready: first what the peer is still owed, then what it sent, until one of the two would block.
//= lecture 001: a reactor looks at the state of the socket and calls recv and send late
pub fn ready(connection: &mut Connection<Guest>, closing: bool, site: &Site) -> Next {
    // While it waited to send, news of arrived bytes may have come and gone.
    let resumed = !connection.unsent().is_empty();
    loop {
        while !connection.unsent().is_empty() {
            match connection.send_now(&site.tally) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Next::Writable,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Next::Gone,
            }
        }
        // A receive that did not fill the buffer has emptied the socket: asking again would only be told so.
        // After a FIN it is asked once more, because the FIN brings no further news.
        let emptied = !connection.received().is_empty() && !connection.is_full();
        if emptied && !closing && !resumed {
            connection.forget_received();
            return Next::Readable;
        }
        match connection.recv_now(&site.tally) {
            Ok(0) => return Next::Gone,
            Ok(_) => site.received(connection),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Next::Readable,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Next::Gone,
        }
    }
}
