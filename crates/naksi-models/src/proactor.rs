//! What the three proactors have in common: an operation is done, and what shall be asked for next.
//!
//! How a model learns that an operation is done is its own affair and not known here.

use std::io;

use naksi_os::connection::{Connection, Verb};

use crate::site::{Guest, Site};

/// What follows the end of an operation; `None` ends the connection.
//= lecture 001: a proactor calls WSARecv and WSASend beforehand and learns later that they are done
pub fn next(
    connection: &Connection<Guest>,
    verb: Verb,
    result: &io::Result<usize>,
    site: &Site,
) -> Option<Verb> {
    let next = match (verb, result) {
        //= lecture 003: 통신 상대가 접속을 종료하면 값은 0이 됨
        (Verb::Recv, Ok(0)) | (_, Err(_)) => None,
        (Verb::Recv, Ok(_)) => {
            site.received(connection);
            Some(Verb::Send)
        }
        // A send may take less than it was given; the rest goes first.
        (Verb::Send, Ok(_)) if !connection.unsent().is_empty() => Some(Verb::Send),
        (Verb::Send, Ok(_)) => Some(Verb::Recv),
    };
    site.asks(connection);
    next
}
