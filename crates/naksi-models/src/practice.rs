//! The practice of lectures 000 and 001: what a call to WSARecv returns, shown apart from what comes later by callback.
//!
//! The lines are the lecture's: `Pending`, `Data Recv Len = N` for what was done at once, and
//! `Data Recv Len Callback = N` from the completion routine. The routine of a call that was done at once runs as well,
//! in the next alertable wait: the lecture's program prints both lines then, and so does this one.

use std::cell::RefCell;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::rc::Rc;

use naksi_os::connection::{Completed, Connection, Started, Verb};
use naksi_os::event::Event;
use naksi_os::routine::{Alertable, Routines};
use naksi_os::syscall_counter::SyscallCounter;

/// The size of a receive buffer. The lectures call it `BUFSIZE`.
const BUFFER_BYTES: usize = 1000;

/// When the bytes of a receive come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataArrival {
    /// They are there before the call.
    BeforeTheCall,
    /// They come after it.
    AfterTheCall,
}

/// Takes the lines of the server's console.
pub type Console = Rc<dyn Fn(String)>;

/// The lecture's `Session`: it is found again by the operation that it travels with.
struct Session {
    console: Console,
    /// The connections that are home again.
    home: Rc<RefCell<Vec<Connection<Session>>>>,
}

/// The completion routine.
//= lecture 001: void CALLBACK RecvCallback(DWORD error, DWORD recvLen, LPWSAOVERLAPPED overlapped, DWORD flags)
fn recv_callback(_: &Routines<Session>, Completed { mut connection, result, .. }: Completed<Session>) {
    let recv_len = result.unwrap_or_default();
    (connection.session.console)(format!("Data Recv Len Callback = {recv_len}"));
    connection.forget_received();
    let home = Rc::clone(&connection.session.home);
    home.borrow_mut().push(connection);
}

/// Lecture 001: one client, and one receive after the other, each with its own alertable wait.
///
/// # Errors
/// The client does not come, or the system refuses a call.
pub fn one_after_the_other(
    listener: &TcpListener,
    receives: &[DataArrival],
    console: &Console,
) -> io::Result<()> {
    let home = Rc::default();
    let routines = Routines::open(&SyscallCounter::default())?;
    let mut connection = accept(listener, console, &home)?;
    for arrival in receives {
        if *arrival == DataArrival::BeforeTheCall {
            connection.socket().peek(&mut [0])?;
        }
        recv(&routines, connection, console)?;
        // Alertable wait: here, and nowhere else, the callback runs.
        //= lecture 001: SleepEx(INFINITE, TRUE)
        routines.wait(None, Alertable::Yes)?;
        let back = home.borrow_mut().pop();
        connection = back.ok_or_else(|| io::Error::other("the wait has returned before the callback ran"))?;
    }
    Ok(())
}

/// Lecture 000: so many clients with a receive each, and one alertable wait for all of them. Says how many callbacks
/// ran inside that wait; the clients are told to speak by `told`, when all receives are under way.
///
/// # Errors
/// A client does not come, or the system refuses a call.
//= lecture 000: 한 번만 진입을 하면은 여기 안에 있는 내용은 그냥 싸그리 한 번에 다 비워지고 나서야 탈출한다
pub fn all_in_one_wait(
    listener: &TcpListener,
    clients: usize,
    told: impl FnOnce() -> io::Result<()>,
    console: &Console,
) -> io::Result<usize> {
    let home = Rc::default();
    let routines = Routines::open(&SyscallCounter::default())?;
    let mut sockets: Vec<TcpStream> = Vec::new();
    for _ in 0..clients {
        let connection = accept(listener, console, &home)?;
        sockets.push(connection.socket().try_clone()?);
        recv(&routines, connection, console)?;
    }
    told()?;
    for socket in &sockets {
        // All bytes are there, but no callback has run: this thread has not been in an alertable wait.
        socket.peek(&mut [0])?;
    }
    Ok(routines.wait(None, Alertable::Yes)?.routines)
}

fn accept(
    listener: &TcpListener,
    console: &Console,
    home: &Rc<RefCell<Vec<Connection<Session>>>>,
) -> io::Result<Connection<Session>> {
    let (socket, _) = listener.accept()?;
    let session = Session { console: Rc::clone(console), home: Rc::clone(home) };
    Ok(Connection::new(socket, BUFFER_BYTES, session))
}

/// The call, with the event object of the lesson before and the routine. With a routine the event is ignored.
fn recv(routines: &Routines<Session>, connection: Connection<Session>, console: &Console) -> io::Result<()> {
    let event = Event::create(&SyscallCounter::default())?;
    match routines.call(connection, Verb::Recv, Some(&event), recv_callback)? {
        Started::AtOnce(recv_len) => console(format!("Data Recv Len = {recv_len}")),
        Started::Pending => console("Pending".to_owned()),
    }
    Ok(())
}
