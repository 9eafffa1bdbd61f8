//! The practice of lectures 000 and 001: the server's console, and the clients that make the system answer in each way.
//!
//! A client speaks when the server has printed that its receive is under way, or before the server receives at all, so
//! that which line comes is no matter of time. What the server does is in `naksi_models::practice`.

use std::cell::RefCell;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::mpsc;
use std::thread;

use naksi_models::practice::{self, Console, DataArrival};

use super::lab::PATIENCE;

/// What the clients send.
//= lecture 000: 헬로월드도 잘 들어가 있고
const HELLO: &[u8] = b"Hello World";
/// How many callbacks wait for one alertable wait.
//= lecture 000: 5개가 있다고 해가지고 우리가 Alertable Wait 상태를 5번 진입해야 되는 건 아닙니다
const RECEIVES: usize = 5;

/// Lecture 001: two receives that are pending, and one that finds its bytes there.
pub(super) fn one_after_the_other() -> io::Result<String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut client = TcpStream::connect_timeout(&listener.local_addr()?, PATIENCE)?;
    client.set_nodelay(true)?;
    let (printed, prints) = mpsc::channel::<String>();
    // The client's next words, each for a line of the server; the last ones are there before they are asked for.
    let speaker = thread::spawn(move || -> io::Result<()> {
        let mut pending = 0;
        while let Ok(line) = prints.recv() {
            pending += usize::from(line == "Pending");
            let answered_both = pending == 2 && line != "Pending";
            if line == "Pending" || answered_both {
                client.write_all(HELLO)?;
            }
            if answered_both {
                break;
            }
        }
        // The connection stays open until the server has read everything.
        while prints.recv().is_ok() {}
        Ok(())
    });
    let receives = [DataArrival::AfterTheCall, DataArrival::AfterTheCall, DataArrival::BeforeTheCall];
    let lines = Rc::new(RefCell::new(Vec::new()));
    let (seen, tell) = (Rc::clone(&lines), printed);
    let console: Console = Rc::new(move |line: String| {
        seen.borrow_mut().push(line.clone());
        tell.send(line).ok(); // A client that has failed hears nothing, and says why when it is joined.
    });
    let served = practice::one_after_the_other(&listener, &receives, &console);
    drop(console);
    speaker.join().expect("the client does not panic")?;
    served?;
    let shown = lines.borrow().join("\n");
    Ok(shown + "\n")
}

/// Lecture 000: all receives are pending, all clients speak, and one alertable wait runs every callback.
pub(super) fn all_in_one_wait() -> io::Result<String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let mut clients = Vec::new();
    for _ in 0..RECEIVES {
        clients.push(TcpStream::connect_timeout(&address, PATIENCE)?);
    }
    let lines = Rc::new(RefCell::new(Vec::new()));
    let seen = Rc::clone(&lines);
    let console: Console = Rc::new(move |line| seen.borrow_mut().push(line));
    let speak = || clients.iter_mut().try_for_each(|client| client.write_all(HELLO));
    let ran = practice::all_in_one_wait(&listener, RECEIVES, speak, &console)?;
    if ran != RECEIVES {
        return Err(io::Error::other(format!("one wait ran {ran} of {RECEIVES} callbacks")));
    }
    let shown = lines.borrow().join("\n");
    Ok(shown + "\n")
}
