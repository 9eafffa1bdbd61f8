//! The simulated kernel under the contract: a port that has a world of its own and moves its time.
//!
//! A real wait sleeps until something happens; here something happens because the wait lets it. Knows no
//! case.

use naksi_core::completion::Completion;
use naksi_core::tick::Tick;
use naksi_os::port::{InFront, Ledger, PollStatus, Port as _, PortError, PortOptions};
use naksi_sim::kernel::port;
use naksi_sim::kernel::world::{World, WorldOptions};

/// The only port of its world.
pub(crate) struct Alone {
    world: World,
    inner: port::SimPort,
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

impl InFront for Alone {
    type Behind = port::SimPort;

    fn behind(&self) -> &port::SimPort {
        &self.inner
    }

    fn behind_mut(&mut self) -> &mut port::SimPort {
        &mut self.inner
    }

    fn wait(&mut self, caught: &mut Vec<Completion>, until: Option<Tick>) -> Result<PollStatus, PortError> {
        let before = caught.len();
        loop {
            let status = self.inner.wait(caught, until)?;
            if caught.len() > before || until.is_some_and(|until| self.now() >= until) {
                return Ok(status);
            }
            assert!(self.world.advance(), "a wait without end, and nothing left to happen");
        }
    }
}
