//! The simulated kernel under the contract: a port that has a world of its own and moves its time.
//!
//! A real wait sleeps until something happens; here something happens because the wait lets it. Knows no
//! case.

use std::net::SocketAddr;
use std::path::Path;

use naksi_core::completion::Completion;
use naksi_core::ended::OsError;
use naksi_core::id::{Handle, Token};
use naksi_core::op::Op;
use naksi_core::tick::Tick;
use naksi_os::port::{
    FileAccess, Ledger, ListenOptions, Port, PortError, PortOptions, Refusal, Refused, Tide,
};
use naksi_os::sim::port;
use naksi_os::sim::world::{World, WorldOptions};

/// The only port of its world.
pub(crate) struct Alone {
    world: World,
    inner: port::Port,
}

impl Alone {
    pub(crate) fn open(options: &PortOptions) -> Self {
        let world = World::new(WorldOptions::default());
        let inner = world.open_port(options);
        Self { world, inner }
    }

    /// The world asserts that a port that is dropped leaves no operation and no lease behind; what it had
    /// open can be counted afterwards.
    pub(crate) fn end(self) -> Ledger {
        let Self { world, inner } = self;
        drop(inner);
        Ledger { handles: world.descriptors(), ..Ledger::default() }
    }
}

impl Port for Alone {
    type Poster = port::Poster;
    type Socket = port::Socket;

    fn backend(&self) -> &'static str {
        self.inner.backend()
    }

    fn listen(
        &mut self,
        address: SocketAddr,
        options: &ListenOptions,
    ) -> Result<(Handle, SocketAddr), OsError> {
        self.inner.listen(address, options)
    }

    fn bind_datagram(&mut self, address: SocketAddr) -> Result<(Handle, SocketAddr), OsError> {
        self.inner.bind_datagram(address)
    }

    fn open_file(&mut self, path: &Path, access: FileAccess) -> Result<Handle, OsError> {
        self.inner.open_file(path, access)
    }

    fn file_bytes(&self, file: Handle) -> Result<u64, OsError> {
        self.inner.file_bytes(file)
    }

    fn release(&mut self, socket: Handle) -> Result<Self::Socket, Refusal> {
        self.inner.release(socket)
    }

    fn adopt(&mut self, socket: Self::Socket) -> Handle {
        self.inner.adopt(socket)
    }

    fn submit(&mut self, token: Token, op: Op) -> Result<(), Refused> {
        self.inner.submit(token, op)
    }

    fn cancel(&mut self, token: Token) {
        self.inner.cancel(token);
    }

    fn wait(&mut self, caught: &mut Vec<Completion>, until: Option<Tick>) -> Result<Tide, PortError> {
        let before = caught.len();
        loop {
            let tide = self.inner.wait(caught, until)?;
            if caught.len() > before || until.is_some_and(|until| self.now() >= until) {
                return Ok(tide);
            }
            assert!(self.world.advance(), "a wait without end, and nothing left to happen");
        }
    }

    fn now(&self) -> Tick {
        self.inner.now()
    }

    fn poster(&self) -> Self::Poster {
        self.inner.poster()
    }

    fn ledger(&self) -> Ledger {
        self.inner.ledger()
    }
}
