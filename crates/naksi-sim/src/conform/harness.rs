//! Where the ports of a scenario come from, and how time goes on when none of them has anything to say.
//!
//! A backend is a [`Harness`]: it opens ports, and lets time pass. Scenarios see it through object-safe
//! twins, so that one script of plain functions runs on all of them. Nothing here knows a scenario.

use std::any::Any;
use std::net::SocketAddr;
use std::path::Path;

use crate::kernel::port;
use crate::kernel::world::{World, WorldOptions};
use naksi_core::completion::Completion;
use naksi_core::ended::OsError;
use naksi_core::id::{Handle, Token};
use naksi_core::op::Op;
use naksi_core::tick::Tick;
use naksi_os::port::{
    FileAccess, Ledger, ListenOptions, PollStatus, Port, PortError, PortOptions, Poster, SubmitError,
    SubmitErrorKind,
};

/// One backend on trial: where its ports come from, and how its time goes on.
pub trait Harness: 'static {
    /// The ports of this backend.
    type Port: Port + 'static;

    /// Opens a port.
    ///
    /// # Errors
    /// The backend cannot be used here.
    fn open(&self, options: &PortOptions) -> Result<Self::Port, PortError>;

    /// A wait has come back with nothing. A simulated backend moves its time; a real one has slept already.
    fn let_time_pass(&self);

    /// Ends a port as dropping does, and returns its last ledger if the backend can tell.
    fn end(&self, port: Self::Port) -> Option<Ledger>;
}

/// A door to a port for any thread.
pub(super) type Post = Box<dyn Fn(Token, u64) -> bool + Send>;

/// A [`Port`] without its types: what a script holds.
pub(super) trait DynPort {
    fn listen(&mut self, at: SocketAddr, options: &ListenOptions) -> Result<(Handle, SocketAddr), OsError>;
    fn bind_datagram(&mut self, at: SocketAddr) -> Result<(Handle, SocketAddr), OsError>;
    fn open_file(&mut self, path: &Path, access: FileAccess) -> Result<Handle, OsError>;
    fn file_bytes(&self, file: Handle) -> Result<u64, OsError>;
    fn release(&mut self, socket: Handle) -> Result<Box<dyn Any + Send>, SubmitErrorKind>;
    fn adopt(&mut self, socket: Box<dyn Any + Send>) -> Handle;
    fn submit(&mut self, token: Token, op: Op) -> Result<(), SubmitError>;
    fn cancel(&mut self, token: Token);
    fn wait(&mut self, caught: &mut Vec<Completion>, until: Option<Tick>) -> Result<PollStatus, PortError>;
    fn now(&self) -> Tick;
    fn poster(&self) -> Post;
    fn ledger(&self) -> Ledger;
    fn into_any(self: Box<Self>) -> Box<dyn Any>;
}

impl<P: Port + 'static> DynPort for P {
    fn listen(&mut self, at: SocketAddr, options: &ListenOptions) -> Result<(Handle, SocketAddr), OsError> {
        Port::listen(self, at, options)
    }

    fn bind_datagram(&mut self, at: SocketAddr) -> Result<(Handle, SocketAddr), OsError> {
        Port::bind_datagram(self, at)
    }

    fn open_file(&mut self, path: &Path, access: FileAccess) -> Result<Handle, OsError> {
        Port::open_file(self, path, access)
    }

    fn file_bytes(&self, file: Handle) -> Result<u64, OsError> {
        Port::file_bytes(self, file)
    }

    fn release(&mut self, socket: Handle) -> Result<Box<dyn Any + Send>, SubmitErrorKind> {
        Port::release(self, socket).map(|socket| Box::new(socket) as Box<dyn Any + Send>)
    }

    fn adopt(&mut self, socket: Box<dyn Any + Send>) -> Handle {
        Port::adopt(self, *socket.downcast().expect("a socket moves between ports of one backend"))
    }

    fn submit(&mut self, token: Token, op: Op) -> Result<(), SubmitError> {
        Port::submit(self, token, op)
    }

    fn cancel(&mut self, token: Token) {
        Port::cancel(self, token);
    }

    fn wait(&mut self, caught: &mut Vec<Completion>, until: Option<Tick>) -> Result<PollStatus, PortError> {
        Port::wait(self, caught, until)
    }

    fn now(&self) -> Tick {
        Port::now(self)
    }

    fn poster(&self) -> Post {
        let poster = Port::poster(self);
        Box::new(move |token, value| poster.post(token, value))
    }

    fn ledger(&self) -> Ledger {
        Port::ledger(self)
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

/// A [`Harness`] without its types.
pub(super) trait DynHarness {
    fn open(&self, options: &PortOptions) -> Result<Box<dyn DynPort>, PortError>;
    fn let_time_pass(&self);
    fn end(&self, port: Box<dyn DynPort>) -> Option<Ledger>;
}

impl<H: Harness> DynHarness for H {
    fn open(&self, options: &PortOptions) -> Result<Box<dyn DynPort>, PortError> {
        Ok(Box::new(Harness::open(self, options)?))
    }

    fn let_time_pass(&self) {
        Harness::let_time_pass(self);
    }

    fn end(&self, port: Box<dyn DynPort>) -> Option<Ledger> {
        let port = port.into_any().downcast::<H::Port>().expect("a port ends where it was opened");
        Harness::end(self, *port)
    }
}

/// Ports of a real kernel. Any thread may open one, so these are plain functions.
pub struct Real<P> {
    /// Opens a port.
    pub open: fn(&PortOptions) -> Result<P, PortError>,
    /// Ends a port and tells what it left behind.
    pub end: fn(P) -> Ledger,
}

impl<P: Port + 'static> Harness for Real<P> {
    type Port = P;

    fn open(&self, options: &PortOptions) -> Result<P, PortError> {
        (self.open)(options)
    }

    fn let_time_pass(&self) {}

    fn end(&self, port: P) -> Option<Ledger> {
        Some((self.end)(port))
    }
}

/// Ports of one simulated world.
pub struct Simulated {
    world: World,
}

impl Simulated {
    /// A fresh world.
    pub fn new(options: WorldOptions) -> Self {
        Self { world: World::new(options) }
    }
}

impl Harness for Simulated {
    type Port = port::SimPort;

    fn open(&self, options: &PortOptions) -> Result<port::SimPort, PortError> {
        Ok(self.world.open_port(options))
    }

    fn let_time_pass(&self) {
        self.world.advance_until_runnable();
    }

    fn end(&self, port: port::SimPort) -> Option<Ledger> {
        drop(port);
        None
    }
}
