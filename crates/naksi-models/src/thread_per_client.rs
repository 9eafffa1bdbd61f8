//! One blocking thread for each client: the server that the lectures begin from.
//!
//! A call returns when its work is done, so there is nothing to wait for beside it, and the code of one client reads
//! like the protocol. But every client costs a thread, its stack and the switches between all of them.
//!
//! ① Accept, and wait in the call until a client comes.
//! ② Start a thread for it.
//! ③ Receive, and wait in the call until bytes are there.
//! ④ Send them back, and wait in the call until they are taken.
//! ⑤ Again from ③ until the client ends; the accepting thread again from ①.

use std::collections::HashMap;
use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use naksi_os::connection::Connection;

use crate::site::{Guest, Site};

/// Second handles of all sockets: to end a thread that waits in a call, its socket is shut down.
#[derive(Default)]
struct Sockets(Mutex<HashMap<u64, TcpStream>>);

impl Sockets {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, TcpStream>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves until the site is stopped.
///
/// # Errors
/// The listener is of no use any more.
//= lecture 002: 아주 많은 사용자를 받아들이는 상황이라면 1 user 1 thread가 안 좋다
pub fn serve(listener: TcpListener, site: &Arc<Site>) -> io::Result<()> {
    let _clock = site.tally.clock();
    listener.set_nonblocking(false)?;
    let sockets = Sockets::default();
    thread::scope(|scope| {
        let mut last = 0;
        let accepted = loop {
            // ① This thread does nothing else, and sleeps in the call.
            let connection = match site.accept(&listener) {
                Ok(Some(connection)) if !site.is_stopping() => connection,
                Ok(_) => break Ok(()),
                Err(error) => break Err(error),
            };
            site.tally.wakeup();

            // ② The limit: one more client is one more thread.
            last += 1;
            let number = last;
            let Ok(second) = connection.socket().try_clone() else {
                site.turn_away(connection);
                continue;
            };
            sockets.lock().insert(number, second);
            let sockets = &sockets;
            let talk = move || {
                let _clock = site.tally.clock();
                talk(connection, site);
                sockets.lock().remove(&number);
            };
            if thread::Builder::new().spawn_scoped(scope, talk).is_err() {
                sockets.lock().remove(&number);
                site.one_turned_away();
            }
        };
        for socket in sockets.lock().values() {
            socket.shutdown(Shutdown::Both).ok(); // A client that is gone needs no end.
        }
        accepted
    })
}

/// The thread of one client.
fn talk(mut connection: Connection<Guest>, site: &Site) {
    loop {
        // ③ Nothing is there yet: the thread waits, and cannot do anything else meanwhile.
        //= lecture 003: 결과값이 오기 전까지 블럭킹 상태가 되며, 블럭킹된 동안에는 다른 작업이 불가
        match connection.recv_now(&site.tally) {
            Ok(0) => return,
            Ok(_) => site.tally.wakeup(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return,
        }
        site.received(&connection);

        // ④ A client that does not read holds up its own thread and no other one.
        while !connection.unsent().is_empty() {
            match connection.send_now(&site.tally) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return,
                Ok(_) | Err(_) => {}
            }
        }
        // ⑤ And again.
    }
}
