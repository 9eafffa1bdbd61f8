//! One completion port that several workers share: the I/O completion port of Windows itself.
//!
//! Any worker may take any packet; the kernel decides how many run at once and which is woken first (Wine lets all of
//! them run, and wakes the first).

// UNSAFETY: operations are known to the kernel by their addresses.
#![expect(unsafe_code, reason = "operations are handed over and found again by address")]

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::windows::io::{AsRawHandle as _, FromRawHandle as _, OwnedHandle, OwnedSocket};
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use socket2::Domain;
use windows_sys::Win32::Foundation::{INVALID_HANDLE_VALUE, WAIT_TIMEOUT};
use windows_sys::Win32::Networking::WinSock::{
    SO_UPDATE_ACCEPT_CONTEXT, SOCKET, SOL_SOCKET, WSA_IO_PENDING, WSAECONNRESET, setsockopt,
};
use windows_sys::Win32::System::IO::{
    CancelIoEx, CreateIoCompletionPort, GetQueuedCompletionStatus, OVERLAPPED, PostQueuedCompletionStatus,
};
use windows_sys::Win32::System::LibraryLoader::{GetModuleHandleW, GetProcAddress};
use windows_sys::core::{s, w};

use super::ext::Extensions;
use super::in_flight_op::{self, InFlightOp, last_error, milliseconds, raw_socket};
use super::socket;
use crate::connection::{Completed, Connection, Verb};
use crate::syscall_counter::SyscallCounter;

/// AcceptEx needs room for both addresses, each with 16 bytes to spare; an IPv6 address has 28.
const ADDRESS_BYTES: usize = 28 + 16;
/// How often an accept is submitted again when the system reports that its client was gone already.
const OFFERS_MAX: usize = 64;
/// How long the end of a port waits for one more packet before it leaks what is left.
const END_SPAN_MAX: Duration = Duration::from_secs(5);

/// Whether this system is Wine, which does not keep all of a completion port's laws.
pub fn is_wine() -> bool {
    // SAFETY: both texts are constants; a module that every process has is only looked up.
    let module = unsafe { GetModuleHandleW(w!("ntdll.dll")) };
    // SAFETY: the module stays loaded for as long as the process runs; the function is not called.
    !module.is_null() && unsafe { GetProcAddress(module, s!("wine_get_version")) }.is_some()
}

/// What a worker takes from the port: a completion packet.
#[derive(Debug)]
pub enum Packet<S> {
    /// A receive or a send is done.
    Done {
        /// The returned connection, with its CompletionKey, ready for its next operation.
        associated: Associated<S>,
        /// What was asked for.
        verb: Verb,
        /// How many bytes it moved; a receive of zero bytes is the peer's orderly end.
        result: io::Result<usize>,
    },
    /// A client connected (AcceptEx), or one accept failed.
    Accepted(io::Result<(TcpStream, SocketAddr)>),
    /// Another thread sent this (PostQueuedCompletionStatus).
    Posted {
        /// Whatever the sender meant by it.
        key: usize,
    },
}

enum Held<S> {
    Connection { key: usize, connection: Connection<S>, verb: Verb },
    Accept { listener: Arc<TcpListener>, socket: OwnedSocket, _addresses: Box<[u8; 2 * ADDRESS_BYTES]> },
}

/// A completion port for several workers. Clones are the same port.
pub struct CompletionPort<S: Send + 'static>(Arc<Shared<S>>);

struct Shared<S> {
    port: OwnedHandle,
    /// Operations that the kernel has: the address of each, and its socket.
    operations: Mutex<HashMap<usize, SOCKET>>,
    /// Listeners that are bound to the port. Not their numbers: the system gives the number of a closed one to the next socket.
    listeners: Mutex<Vec<(Weak<TcpListener>, Extensions)>>,
    waiting: AtomicUsize,
    counter: SyscallCounter,
    holds: PhantomData<fn(S) -> S>,
}

impl<S: Send + 'static> Clone for CompletionPort<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// A connection bound to a port: only such a one can start an operation.
#[derive(Debug)]
pub struct Associated<S> {
    key: usize,
    connection: Connection<S>,
}

impl<S> Associated<S> {
    /// The name that it was associated under.
    pub fn key(&self) -> usize {
        self.key
    }

    /// The connection, to be filled before an operation has it.
    pub fn connection_mut(&mut self) -> &mut Connection<S> {
        &mut self.connection
    }

    /// The connection, while no operation has it.
    pub fn connection(&self) -> &Connection<S> {
        &self.connection
    }
}

impl<S: Send + 'static> CompletionPort<S> {
    /// A port on which at most `concurrency` workers run at once (CreateIoCompletionPort); 0 is as many as there are
    /// processors.
    ///
    /// # Errors
    /// The system has no memory for it.
    pub fn create(concurrency: usize, counter: &SyscallCounter) -> io::Result<Self> {
        let threads = concurrency.try_into().unwrap_or(u32::MAX);
        // SAFETY: without a file handle the call only creates a new port.
        let handle = unsafe { CreateIoCompletionPort(INVALID_HANDLE_VALUE, ptr::null_mut(), 0, threads) };
        if handle.is_null() {
            return Err(io::Error::last_os_error());
        }
        Ok(Self(Arc::new(Shared {
            // SAFETY: the handle is new, and has no other owner.
            port: unsafe { OwnedHandle::from_raw_handle(handle) },
            operations: Mutex::default(),
            listeners: Mutex::default(),
            waiting: AtomicUsize::new(0),
            counter: counter.clone(),
            holds: PhantomData,
        })))
    }

    /// Binds a connection to this port with a key (CreateIoCompletionPort with a socket).
    ///
    /// # Errors
    /// The socket belongs to a port already.
    pub fn associate(&self, connection: Connection<S>, key: usize) -> io::Result<Associated<S>> {
        self.0.bind(raw_socket(connection.socket()), key)?;
        Ok(Associated { key, connection })
    }

    /// Starts a receive or a send; its packet goes to any worker (WSARecv, WSASend).
    ///
    /// # Errors
    /// The system refuses the operation; the connection is closed then.
    pub fn start(&self, associated: Associated<S>, verb: Verb) -> io::Result<()> {
        let Associated { key, connection } = associated;
        let socket = raw_socket(connection.socket());
        let operation = InFlightOp::new(Held::Connection { key, connection, verb }, ptr::null_mut());
        self.0.fly(operation, socket, |overlapped| {
            let inside: fn(&mut Held<S>) -> &mut Connection<S> = |held| match held {
                Held::Connection { connection, .. } => connection,
                Held::Accept { .. } => unreachable!("this operation has a connection"),
            };
            // SAFETY: the operation has just been launched and holds a `Held<S>`.
            unsafe { in_flight_op::start(overlapped, inside, verb, None) }.map(drop)
        })
    }

    /// Submits an accept before a client connects (AcceptEx).
    ///
    /// # Errors
    /// The system refuses the operation.
    pub fn accept(&self, listener: &Arc<TcpListener>) -> io::Result<()> {
        let mut offers = 0;
        loop {
            offers += 1;
            match self.offer(listener) {
                // "WSAECONNRESET: An incoming connection was indicated, but was subsequently terminated by the
                // remote peer prior to accepting the call."
                Err(error) if error.raw_os_error() == Some(WSAECONNRESET) && offers < OFFERS_MAX => {}
                offered => return offered,
            }
        }
    }

    fn offer(&self, listener: &Arc<TcpListener>) -> io::Result<()> {
        let listening = raw_socket(listener);
        let extensions = self.0.extensions(listener)?;
        let missing = || io::Error::new(io::ErrorKind::Unsupported, "this system has no AcceptEx");
        let accept = extensions.accept.ok_or_else(missing)?;
        let client = socket::stream(Domain::for_address(listener.local_addr()?))
            .map_err(io::Error::from_raw_os_error)?;
        let accepting = raw_socket(&client);
        let mut addresses = Box::new([0; 2 * ADDRESS_BYTES]);
        let area = addresses.as_mut_ptr();
        let held = Held::Accept { listener: Arc::clone(listener), socket: client, _addresses: addresses };
        let room = ADDRESS_BYTES as u32;
        self.0.fly(InFlightOp::new(held, ptr::null_mut()), listening, |overlapped| {
            let mut received = 0;
            // SAFETY: the operation owns both sockets, the room for the addresses and the OVERLAPPED until it lands.
            let done = unsafe {
                accept(listening, accepting, area.cast(), 0, room, room, &raw mut received, overlapped)
            };
            match last_error() {
                error if done == 0 && error.raw_os_error() != Some(WSA_IO_PENDING) => Err(error),
                _ => Ok(()),
            }
        })
    }

    /// Sends a packet to whichever worker comes next (PostQueuedCompletionStatus).
    pub fn post(&self, key: usize) {
        self.0.counter.call();
        // SAFETY: the port is open, and no OVERLAPPED goes with the packet.
        let posted = unsafe { PostQueuedCompletionStatus(self.0.port.as_raw_handle(), 0, key, ptr::null()) };
        assert!(posted != 0, "the system has no memory for one packet");
    }

    /// Waits for the next packet (GetQueuedCompletionStatus).
    ///
    /// # Errors
    /// The system fails.
    pub fn next(&self, timeout: Option<Duration>) -> io::Result<Option<Packet<S>>> {
        self.0.waiting.fetch_add(1, Ordering::SeqCst);
        self.0.counter.call();
        let taken = self.0.take(milliseconds(timeout));
        self.0.counter.wakeup();
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
        let (key, result, held) = match taken {
            Ok((key, result, held)) => (key, result, held),
            Err(error) if error.raw_os_error() == Some(WAIT_TIMEOUT.cast_signed()) => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(Some(match held {
            None => Packet::Posted { key },
            Some(Held::Connection { key, connection, verb }) => {
                let Completed { connection, verb, result } =
                    in_flight_op::completed(connection, verb, result);
                Packet::Done { associated: Associated { key, connection }, verb, result }
            }
            Some(Held::Accept { listener, socket, .. }) => {
                Packet::Accepted(result.and_then(|_| self.0.settle(&listener, socket)))
            }
        }))
    }

    /// Runs a blocking call. Windows detects that it blocks, and releases another worker.
    pub fn blocking<T>(&self, work: impl FnOnce() -> T) -> T {
        work()
    }

    /// How many threads wait for a packet; a snapshot.
    pub fn waiting(&self) -> usize {
        self.0.waiting.load(Ordering::SeqCst)
    }
}

impl<S> Shared<S> {
    fn bind(&self, socket: SOCKET, key: usize) -> io::Result<()> {
        let handle = ptr::with_exposed_provenance_mut(socket);
        self.counter.call();
        // SAFETY: socket and port are open; the call touches no memory of ours.
        let bound = unsafe { CreateIoCompletionPort(handle, self.port.as_raw_handle(), key, 0) };
        if bound.is_null() { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// The extension functions of a listener, which is bound to the port when it is first seen.
    fn extensions(&self, listener: &Arc<TcpListener>) -> io::Result<Extensions> {
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.retain(|(known, _)| known.strong_count() > 0);
        let is_known = |known: &Weak<TcpListener>| ptr::eq(known.as_ptr(), Arc::as_ptr(listener));
        if let Some((_, extensions)) = listeners.iter().find(|(known, _)| is_known(known)) {
            return Ok(*extensions);
        }
        self.bind(raw_socket(listener), 0)?;
        let extensions = Extensions::of(listener.as_ref());
        listeners.push((Arc::downgrade(listener), extensions));
        Ok(extensions)
    }

    /// Submits an operation. It is on the list before a worker can take its packet.
    fn fly(
        &self,
        operation: Box<InFlightOp<Held<S>>>,
        socket: SOCKET,
        start: impl FnOnce(*mut OVERLAPPED) -> io::Result<()>,
    ) -> io::Result<()> {
        let overlapped = InFlightOp::into_raw(operation);
        self.operations().insert(overlapped.addr(), socket);
        self.counter.call();
        start(overlapped).inspect_err(|_| {
            self.operations().remove(&overlapped.addr());
            // SAFETY: launched above, and the kernel has refused it.
            drop(unsafe { InFlightOp::<Held<S>>::from_raw(overlapped) });
        })
    }

    /// One packet: its key, its result and its operation. An error means that there is none.
    fn take(&self, span: u32) -> io::Result<(usize, io::Result<usize>, Option<Held<S>>)> {
        let (mut count, mut key, mut overlapped) = (0, 0, ptr::null_mut());
        let port = self.port.as_raw_handle();
        // SAFETY: the port is open, and the three places live until the call returns.
        let done = unsafe {
            GetQueuedCompletionStatus(port, &raw mut count, &raw mut key, &raw mut overlapped, span)
        };
        let result = if done != 0 { Ok(count as usize) } else { Err(io::Error::last_os_error()) };
        if overlapped.is_null() {
            return result.map(|count| (key, Ok(count), None));
        }
        self.operations().remove(&overlapped.addr());
        // SAFETY: only operations of this port are started on its sockets, and each has one packet.
        let held = unsafe { InFlightOp::<Held<S>>::from_raw(overlapped) }.held;
        Ok((key, result, Some(held)))
    }

    /// Completes an accepted socket: it has no address and no options before it is linked to its listener.
    fn settle(&self, listener: &TcpListener, accepted: OwnedSocket) -> io::Result<(TcpStream, SocketAddr)> {
        let whose = raw_socket(listener).to_ne_bytes();
        let (bytes, length) = (whose.as_ptr(), whose.len() as i32);
        self.counter.calls(3);
        // SAFETY: setsockopt reads `length` bytes, which live until it returns.
        let result =
            unsafe { setsockopt(raw_socket(&accepted), SOL_SOCKET, SO_UPDATE_ACCEPT_CONTEXT, bytes, length) };
        if result != 0 {
            return Err(last_error());
        }
        let stream = TcpStream::from(accepted);
        stream.set_nodelay(true).ok(); // A peer that is gone already refuses it; the next call tells.
        stream.peer_addr().map(|peer| (stream, peer))
    }

    fn operations(&self) -> MutexGuard<'_, HashMap<usize, SOCKET>> {
        // The list is valid between any two statements, so a poisoned lock is safe to use.
        self.operations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> Drop for Shared<S> {
    fn drop(&mut self) {
        for (address, socket) in self.operations().iter() {
            let overlapped = ptr::without_provenance(*address);
            // SAFETY: the socket is open, because its operation has not landed; the address is only compared.
            unsafe { CancelIoEx(ptr::with_exposed_provenance_mut(*socket), overlapped) };
        }
        while !self.operations().is_empty() {
            if self.take(milliseconds(Some(END_SPAN_MAX))).is_err() {
                // The kernel does not answer any more: memory that it may still touch is leaked rather than freed.
                return;
            }
        }
    }
}

impl<S: Send + 'static> fmt::Debug for CompletionPort<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompletionPort")
            .field("in_flight", &self.0.operations().len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Accepts one client of this listener through the port.
    fn serve(port: &CompletionPort<()>, listener: &Arc<TcpListener>) {
        port.accept(listener).expect("it starts");
        let _client = TcpStream::connect(listener.local_addr().expect("its address")).expect("it listens");
        let packet = port.next(Some(END_SPAN_MAX)).expect("it wakes");
        assert!(matches!(packet, Some(Packet::Accepted(Ok(_)))), "{packet:?}");
    }

    #[test]
    fn a_listener_with_the_number_of_a_closed_one_is_bound_to_the_port_too() {
        const TRIES: usize = 1000;
        let port = CompletionPort::create(1, &SyscallCounter::default()).expect("a port");
        let listen = || Arc::new(TcpListener::bind(("127.0.0.1", 0)).expect("a free port"));
        let first = listen();
        let number = raw_socket(&first);
        serve(&port, &first);
        drop(first);
        for _ in 0..TRIES {
            let next = listen();
            if raw_socket(&next) == number {
                return serve(&port, &next);
            }
        }
        eprintln!("skipped: this system gave no second listener the number of the first one");
    }
}
