//! A server without threads: its owner opens the ports and turns the workers. A simulation runs it on a simulated
//! kernel.

use core::net::SocketAddr;
use std::fmt;
use std::sync::Arc;

use naksi_os::port::{Port, PortOptions};

use super::launch::{Plan, check, stand};
use super::server::BoundServer;
use crate::config::{Error, Result};
use crate::group::{Group, Stepper};
use crate::session::Factory;
use crate::shared::core::ServiceCore;
use crate::worker::Worker;

/// A server whose workers are turned by their owner, as [`BoundServer::stepped`] opens it.
pub struct SteppedServer<P: Port, F: Factory> {
    /// What the workers share.
    pub service_core: Arc<ServiceCore<P>>,
    /// The workers, in order. They accept from their first turn on.
    pub workers: Vec<Worker<P, F>>,
    /// The addresses they listen on, with the port numbers that their kernel chose.
    pub addresses: Vec<SocketAddr>,
    /// The groups in the order of their declaration, and what runs their jobs.
    pub groups: Vec<(Group, Stepper)>,
}

impl<P: Port, F: Factory> fmt::Debug for SteppedServer<P, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SteppedServer({:?}, {} workers)", self.addresses, self.workers.len())
    }
}

impl<F: Factory> BoundServer<F> {
    /// Opens the server on ports from `open`, without threads; see [`crate::engine`]. The number of workers and the sizes of
    /// their ports are the caller's; limits, addresses, groups, and all that concerns sessions are as the server has
    /// them. Jobs of its groups run when their [`Stepper`] runs them.
    ///
    /// # Errors
    /// As for [`BoundServer::start`]. A recording is refused: it writes real files on real time.
    pub fn stepped<P: Port + 'static>(
        self,
        workers: usize,
        port: &PortOptions,
        mut open: impl FnMut(&PortOptions) -> Result<P>,
    ) -> Result<SteppedServer<P, F>> {
        let (plan, factory) = self.into_plan()?;
        if plan.record.is_some() {
            return Err(Error::Config("a server without threads cannot record".into()));
        }
        let plan = Plan { workers, port: PortOptions { direct_descriptors: None, ..port.clone() }, ..plan };
        check(&plan)?;
        let groups = plan.groups.iter().cloned().map(Group::stepped).collect::<Result<Vec<_>>>()?;
        let service_core = ServiceCore::<P>::new(workers, plan.limits.clone())
            .with_flush(plan.flush)
            .with_groups(groups.iter().map(|(group, _)| group.clone()).collect());
        let (service_core, factory) = (Arc::new(service_core), Arc::new(factory));
        let (mut turned, mut addresses) = (Vec::with_capacity(workers), Vec::new());
        for index in 0..workers {
            let opened = (open(&plan.port)?, None);
            let (worker, stood) =
                stand(index, &plan, Arc::clone(&service_core), Arc::clone(&factory), opened)?;
            turned.push(worker);
            addresses.extend(stood.addresses);
        }
        addresses.sort_by_key(|(place, _)| *place);
        let addresses = addresses.into_iter().map(|(_, address)| address).collect();
        service_core.begin();
        Ok(SteppedServer { service_core, workers: turned, addresses, groups })
    }
}
