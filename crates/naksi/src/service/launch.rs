//! Launches a service from a plan: threads, ports, listeners, and the signal to begin.
//!
//! Every worker opens its own port on its own thread. No worker accepts or connects before all of them have opened;
//! if one fails, the others return and the error is reported.

use core::net::SocketAddr;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Duration;

use naksi_core::flush::Flush;
use naksi_core::id::SessionId;
use naksi_core::limits::Limits;
use naksi_core::unwind::{Panicked, catch_panic};
use naksi_os::OsPort;
use naksi_os::port::{ListenOptions, Port, PortError, PortOptions, Share};

use crate::config::{Backend, Error, Result, Retry};
use crate::group::{Group, GroupOptions};
use crate::record::{RecordOptions, Run};
use crate::service::{Event, Service};
use crate::session::Factory;
use crate::shared::core::ServiceCore;
use crate::shared::handle::ServiceInner;
use crate::shared::mailbox::Wires;
use crate::worker::{Turn, Worker};

/// A longer spin would be a thread that never sleeps.
const SPIN_MAX: Duration = Duration::from_millis(1);

/// As many as io_uring takes.
const SUBMISSION_ENTRIES_MAX: u32 = 1 << 15;
const COMPLETION_ENTRIES_MAX: u32 = 1 << 16;
const DIRECT_DESCRIPTORS_MAX: u32 = 1 << 20;
/// The receive buffers of one worker.
const POOL_BYTES_MAX: u64 = 4 << 30;
/// Most completions of one wait; more only make a turn longer.
const CATCH_MAX: usize = 1 << 16;

/// An address to listen on, and the transport of its connections.
#[derive(Clone, Debug)]
pub(crate) struct Listen {
    pub(crate) address: SocketAddr,
    pub(crate) wires: Wires,
    /// Whether it takes IPv4 too; as the options of all listeners say without.
    pub(crate) dual_stack: Option<bool>,
}

impl Listen {
    /// The URL scheme of the address.
    fn scheme(&self) -> &'static str {
        self.wires.as_ref().map_or("", |wires| wires.scheme())
    }
}

/// The plan of a service.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) workers: usize,
    pub(crate) backend: Backend,
    pub(crate) limits: Limits,
    pub(crate) flush: Flush,
    pub(crate) spin: Duration,
    pub(crate) port: PortOptions,
    pub(crate) listener: ListenOptions,
    pub(crate) listen: Vec<Listen>,
    pub(crate) dial: Option<Dial>,
    pub(crate) drain_within: Duration,
    pub(crate) groups: Vec<GroupOptions>,
    /// The recording's options, and its files once they have been created.
    pub(crate) record: Option<(RecordOptions, Run)>,
}

impl Plan {
    /// Whether every worker listens on every address and keeps what it accepts: a direct descriptor of one port
    /// cannot be used by another port.
    fn shares_addresses(&self) -> bool {
        self.port.direct_descriptors.is_some()
    }

    /// How a worker opens the listener with this index, if it does.
    fn share(&self, place: usize, index: usize) -> Option<Share> {
        match index {
            0 if self.shares_addresses() => Some(Share::Open),
            _ if self.shares_addresses() => Some(Share::Join),
            // Each listener belongs to one worker; accepted connections go to the least loaded one.
            _ => (place % self.workers == index).then_some(Share::Alone),
        }
    }
}

/// The connections of a client.
#[derive(Clone, Debug)]
pub(crate) struct Dial {
    /// Tried in turn; at least one.
    pub(crate) remotes: Arc<[SocketAddr]>,
    pub(crate) connections: u32,
    pub(crate) rate: Option<u32>,
    pub(crate) retry: Retry,
    /// How long one attempt may take.
    pub(crate) within: Duration,
    /// When each connection is made for the first time; by the rate if absent.
    pub(crate) schedule: Option<Arc<[Duration]>>,
    /// What the connections travel over.
    pub(crate) wires: Wires,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            workers: thread::available_parallelism().map_or(1, |count| count.get().min(256)),
            backend: Backend::Auto,
            limits: Limits::default(),
            flush: Flush::AtOnce,
            spin: Duration::ZERO,
            port: PortOptions::default(),
            listener: ListenOptions::default(),
            listen: Vec::new(),
            dial: None,
            drain_within: Duration::from_secs(4),
            groups: Vec::new(),
            record: None,
        }
    }
}

/// Opens a worker's port. Returns it with the reason if it is not the preferred backend.
type Open<P> = fn(&PortOptions, Backend) -> Result<(P, Option<String>)>;

/// A worker's report when it has opened.
#[derive(Default)]
pub(super) struct Standing {
    pub(super) addresses: Vec<(usize, SocketAddr)>,
    backend: &'static str,
    fallback: Option<String>,
}

impl Standing {
    fn add(&mut self, other: Standing) {
        self.addresses.extend(other.addresses);
        self.backend = other.backend;
        self.fallback = self.fallback.take().or(other.fallback);
    }

    /// The addresses in the order in which they were given.
    fn in_order(&self) -> Vec<SocketAddr> {
        let mut addresses = self.addresses.clone();
        addresses.sort_by_key(|(place, _)| *place);
        addresses.into_iter().map(|(_, address)| address).collect()
    }
}

/// Starts a service on the system's own port.
pub(crate) fn launch<F: Factory>(mut plan: Plan, factory: F) -> Result<Service> {
    check(&plan)?;
    plan.port.lease_bytes = lease_bytes(&plan);
    if let Some((options, run)) = &mut plan.record {
        *run = options.prepare(plan.workers)?;
    }
    let (record, workers) = (plan.record.clone(), plan.workers);
    launch_on(plan, factory, open_system_port).inspect_err(|_| {
        // No session was served, so these files are not recordings.
        record.iter().for_each(|(_, run)| run.remove(workers));
    })
}

/// The size of a receive buffer. Bytes beyond a session's rate are copied and kept, so a session with a low rate is
/// read in small portions: a sixteenth of a second's worth, and at least a page.
fn lease_bytes(plan: &Plan) -> usize {
    const PAGE_BYTES: usize = 4096;
    let portion = match plan.limits.recv_bytes_per_second_max {
        _ if plan.dial.is_some() => usize::MAX,
        0 => usize::MAX,
        most => (most / 16).clamp(PAGE_BYTES, 1 << 20).next_power_of_two(),
    };
    plan.port.lease_bytes.min(portion)
}

/// Listener options: kernel buffers are bounded by the session's limits, unless the options set them.
fn listen_options(plan: &Plan) -> ListenOptions {
    let bound = |bytes: usize| u32::try_from(bytes).ok().filter(|bytes| *bytes > 0);
    let (given, limits) = (plan.listener.clone(), &plan.limits);
    ListenOptions {
        kernel_send_bytes: given.kernel_send_bytes.or(bound(limits.kernel_send_bytes_max)),
        kernel_recv_bytes: given.kernel_recv_bytes.or(bound(limits.kernel_recv_bytes_max)),
        ..given
    }
}

pub(super) fn check(plan: &Plan) -> Result<()> {
    plan.limits.check().map_err(Error::Config)?;
    plan.flush.check().map_err(Error::Config)?;
    if plan.spin > SPIN_MAX {
        return Err(Error::Config(format!("a worker may spin for at most 1 ms, not {:?}", plan.spin)));
    }
    if !(1..=256).contains(&plan.workers) {
        return Err(Error::Config(format!("workers must be 1 to 256, not {}", plan.workers)));
    }
    check_port(&plan.port)?;
    for (place, Listen { address, .. }) in plan.listen.iter().enumerate() {
        if address.port() != 0 && plan.listen[..place].iter().any(|other| other.address == *address) {
            return Err(Error::Config(format!("two listeners have the address {address}")));
        }
    }
    if let Some(dial) = &plan.dial {
        check_dial(dial)?;
    }
    if plan.record.as_ref().is_some_and(|(record, _)| record.directory.as_os_str().is_empty()) {
        return Err(Error::Config("the folder to record in must have a name".into()));
    }
    for (place, group) in plan.groups.iter().enumerate() {
        if plan.groups[..place].iter().any(|other| other.name() == group.name()) {
            return Err(Error::Config(format!("two groups are named `{}`", group.name())));
        }
    }
    Ok(())
}

/// Checks the port's sizes before their memory is allocated.
fn check_port(port: &PortOptions) -> Result<()> {
    let pool_bytes = (port.lease_bytes as u64).saturating_mul(port.lease_count.into());
    let rules = [
        (
            port.submission_entries.is_power_of_two() && port.submission_entries <= SUBMISSION_ENTRIES_MAX,
            "submission_entries must be a power of two up to 32,768",
        ),
        (
            port.completion_entries.is_power_of_two() && port.completion_entries <= COMPLETION_ENTRIES_MAX,
            "completion_entries must be a power of two up to 65,536",
        ),
        (
            port.lease_count.is_power_of_two() && port.lease_bytes > 0,
            "lease_count must be a power of two, lease_bytes not 0",
        ),
        (pool_bytes <= POOL_BYTES_MAX, "lease_count times lease_bytes must be at most 4 GiB"),
        ((1..=CATCH_MAX).contains(&port.catch_max), "catch_max must be 1 to 65,536"),
        (
            port.direct_descriptors.is_none_or(|entries| (1..=DIRECT_DESCRIPTORS_MAX).contains(&entries)),
            "direct_descriptors must be 1 to 1,048,576",
        ),
    ];
    match rules.iter().find(|(holds, _)| !holds) {
        Some((_, rule)) => Err(Error::Config((*rule).to_owned())),
        None => Ok(()),
    }
}

fn check_dial(dial: &Dial) -> Result<()> {
    if !(1..=SessionId::SLOTS_MAX).contains(&dial.connections) {
        let most = SessionId::SLOTS_MAX;
        return Err(Error::Config(format!(
            "a client makes 1 to {most} connections, not {}",
            dial.connections
        )));
    }
    if dial.rate == Some(0) {
        return Err(Error::Config("a client's connect_rate must be at least 1 a second".into()));
    }
    Ok(())
}

fn open_system_port(options: &PortOptions, backend: Backend) -> Result<(OsPort, Option<String>)> {
    let port = match backend {
        Backend::Auto => OsPort::open(options)?,
        Backend::Uring => OsPort::open_backend(options, "uring")?,
        Backend::Epoll => OsPort::open_backend(options, "epoll")?,
        Backend::Iocp => OsPort::open_backend(options, "iocp")?,
    };
    let fallback = port.fallback_reason().map(str::to_owned);
    Ok((port, fallback))
}

fn launch_on<P: Port + 'static, F: Factory>(plan: Plan, factory: F, open: Open<P>) -> Result<Service> {
    let groups = plan.groups.iter().cloned().map(Group::open).collect::<Result<Vec<_>>>()?;
    let service_core =
        ServiceCore::<P>::new(plan.workers, plan.limits.clone()).with_flush(plan.flush).with_spin(plan.spin);
    let wires = plan.listen.iter().filter_map(|listen| listen.wires.clone()).collect();
    let service_core = service_core.with_wires(wires);
    let service_core = Arc::new(service_core.with_groups(groups.clone()));
    let (mut plan, factory) = (Arc::new(plan), Arc::new(factory));
    let (standing, stands) = mpsc::channel();
    let (events, happened) = mpsc::channel();
    let mut threads = Vec::with_capacity(plan.workers);
    let mut stood = Vec::with_capacity(plan.workers);
    let mut failed = None;
    for index in 0..plan.workers {
        let (service_core, plan_of_it, factory) =
            (Arc::clone(&service_core), Arc::clone(&plan), Arc::clone(&factory));
        let (standing, events) = (standing.clone(), events.clone());
        let work = move || live(index, &plan_of_it, service_core, factory, open, standing, &events);
        match thread::Builder::new().name(format!("naksi-io-{index}")).spawn(work) {
            Ok(thread) => threads.push(thread),
            Err(error) => {
                failed = Some(Error::System(format!("no thread for a worker: {error}")));
                break;
            }
        }
        if index == 0 && plan.shares_addresses() {
            let Ok(first) = stands.recv() else { break };
            // The others bind the addresses that the first one got, so that port 0 is the same port for all.
            if let Ok(first) = &first {
                let listen = &mut Arc::make_mut(&mut plan).listen;
                listen.iter_mut().zip(first.in_order()).for_each(|(one, address)| one.address = address);
            }
            stood.push(first);
            if stood.iter().any(Result::is_err) {
                break;
            }
        }
    }
    // The channel ends when every worker has reported whether it opened.
    drop(standing);
    stood.extend(stands);
    let mut all = Standing::default();
    for stood in stood {
        match stood {
            Ok(stood) => all.add(stood),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    let service: Arc<dyn ServiceInner> = Arc::clone(&service_core) as Arc<dyn ServiceInner>;
    let service = Service::new(service, threads, happened, all.in_order(), (all.backend, all.fallback))
        .with_schemes(plan.listen.iter().map(Listen::scheme).collect())
        .with_groups(groups);
    match failed {
        None => {
            let service = service.started();
            service_core.begin();
            Ok(service)
        }
        Some(error) => {
            service.stop(Duration::ZERO);
            Err(error)
        }
    }
}

/// The main function of a worker's thread: it opens, serves, and reports its end in every case.
fn live<P: Port + 'static, F: Factory>(
    index: usize,
    plan: &Plan,
    service_core: Arc<ServiceCore<P>>,
    factory: Arc<F>,
    open: Open<P>,
    standing: Sender<Result<Standing>>,
    events: &Sender<Event>,
) {
    let opened = || open(&plan.port, plan.backend);
    let life = || match opened().and_then(|opened| stand(index, plan, service_core, factory, opened)) {
        Ok((worker, stood)) => {
            standing.send(Ok(stood)).ok(); // A launch that has given up tells the worker to drain.
            drop(standing);
            serve(worker)
        }
        Err(error) => {
            standing.send(Err(error)).ok(); // As above.
            Ok(())
        }
    };
    let ended = catch_panic(life);
    let panicked = |panic: &Panicked| Err(PortError { text: format!("it panicked: {panic}"), code: 0 });
    let told = ended.as_ref().map_or_else(panicked, Clone::clone);
    if let Err(error) = &told {
        // Logged now and not only when the service stops: the operator has no other source.
        tracing::error!(worker = index, %error, "a worker broke: its sessions are lost, and the others go on without it");
    }
    events.send(Event::WorkerEnded(index, told)).ok(); // The service may be gone already.
    if let Err(panic) = ended {
        resume_unwind(Box::new(panic));
    }
}

/// Opens a worker on its port, its share of the listeners, and its share of the connections.
pub(super) fn stand<P: Port + 'static, F: Factory>(
    index: usize,
    plan: &Plan,
    service_core: Arc<ServiceCore<P>>,
    factory: Arc<F>,
    (mut port, fallback): (P, Option<String>),
) -> Result<(Worker<P, F>, Standing)> {
    let mut stood = Standing { addresses: Vec::new(), backend: port.backend(), fallback };
    let mut listeners = Vec::new();
    for (place, Listen { address, wires, dual_stack }) in plan.listen.iter().enumerate() {
        let Some(share) = plan.share(place, index) else { continue };
        let given = listen_options(plan);
        let dual_stack = dual_stack.unwrap_or(given.dual_stack);
        let (handle, bound) = port
            .listen(*address, &ListenOptions { share, dual_stack, ..given })
            .map_err(|error| Error::Listen { address: *address, error })?;
        listeners.push((handle, wires.clone()));
        if share != Share::Join {
            stood.addresses.push((place, bound));
        }
    }
    let mut worker = Worker::new(index, port, service_core, factory);
    if plan.shares_addresses() {
        worker.keep_accepted();
    }
    for (listener, wires) in listeners {
        match wires {
            Some(wires) => worker.add_wired_listener(listener, wires),
            None => worker.add_listener(listener),
        }
    }
    if let Some((options, run)) = &plan.record {
        worker.record(options, run)?;
    }
    if let Some(Dial { remotes, connections, rate, retry, within, schedule, wires }) = &plan.dial {
        worker.dial(Arc::clone(remotes), *retry, *connections, *rate, plan.workers);
        worker.dial_within(*within);
        worker.dial_over(wires.clone());
        if let Some(schedule) = schedule {
            worker.dial_at(Arc::clone(schedule));
        }
    }
    Ok((worker, stood))
}

fn serve<P: Port + 'static, F: Factory>(mut worker: Worker<P, F>) -> Result<(), PortError> {
    crate::watchdog::enlist();
    while worker.turn()? == Turn::Going {}
    Ok(())
}
