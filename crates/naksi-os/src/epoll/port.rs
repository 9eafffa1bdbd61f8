//! The epoll port: wishes are kept, and carried out on this thread when their descriptors are ready.
//!
//! A descriptor is registered once, edge-triggered; what it is ready for is remembered until a call finds
//! nothing, so that a message costs one receive and one send and shares its `epoll_wait(2)` with all others
//! that came with it. `submit` makes no system call. Nothing here knows a session.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::mem;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use naksi_core::completion::Completion;
use naksi_core::ended::OsError;
use naksi_core::id::{Handle, Token, TokenMap};
use naksi_core::lease::LeasePool;
use naksi_core::op::Op;
use naksi_core::tick::Tick;
use socket2::SockRef;

use super::desk::Desk;
use super::op::{Flight, Wish};
use super::pier::{Pier, Resource, handle};
use super::poll::{Epoll, Watch};
use super::serve::pier;
use super::timers::Timers;
use crate::handles::{HandleKind, HandleTable};
use crate::in_flight::{InFlight, Key};
use crate::linux::poster::{Inbox, Poster};
use crate::linux::socket::{self, Socket};
use crate::linux::{error, file};
use crate::port::{
    FileAccess, Ledger, ListenOptions, PortError, PortOptions, Refusal, Refused, Tide, Trimmed,
};
use crate::uring::ext;
use crate::uring::port::now;

/// The word of the event that other threads wake the port with; no handle is that large.
const WAKE: u64 = u64::MAX;
/// Longest single sleep, so that no kernel has to add centuries to its clock; the caller's loop sleeps on.
const SLEEP_SPAN_MAX: Duration = Duration::from_secs(3600);

/// A completion port on epoll. Opened by the thread that will own it.
pub struct Port {
    pub(super) epoll: Epoll,
    catch_max: usize,
    pub(super) handles: HandleTable<Resource>,
    pub(super) flights: InFlight<Flight>,
    pub(super) tokens: TokenMap<Token, Key>,
    pub(super) pool: LeasePool,
    /// Operations whose descriptors are ready, the first to become so first.
    pub(super) ready: VecDeque<Key>,
    /// Receives that brought a lease and have more: they go on with the next wait.
    pub(super) later: Vec<Key>,
    /// Receives that found the pool empty, the first to come home first.
    pub(super) parked: VecDeque<Key>,
    /// Results that need no visit: of cancelled operations, closes, timers, files.
    pub(super) local: VecDeque<(Key, i32)>,
    pub(super) timers: Timers,
    pub(super) desk: Desk,
    pub(super) filed: Vec<super::desk::Done>,
    pub(super) inbox: Arc<Inbox>,
    pub(super) posts: Vec<(Token, u64)>,
    pub(super) posts_given: usize,
    /// The last wait asked the kernel for events.
    looked: bool,
    pub(super) counters: Ledger,
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Port")
            .field("backend", &"epoll")
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

impl Port {
    /// Opens a port on the thread that will own it.
    ///
    /// # Errors
    /// One line that names the cause: a pool that makes no sense, or no descriptor left.
    pub fn open(options: &PortOptions) -> Result<Self, PortError> {
        if options.lease_count == 0 || options.lease_count > 1 << 15 || options.lease_bytes == 0 {
            let text = "the receive pool needs 1 to 32768 buffers of at least one byte".to_owned();
            return Err(PortError { text, code: libc::EINVAL });
        }
        now();
        let catch_max = options.catch_max.max(1);
        let epoll = Epoll::open(catch_max.clamp(16, 1024))
            .map_err(|error| ext::refusal("epoll cannot be set up", &error))?;
        let inbox =
            Inbox::open().map_err(|error| ext::refusal("no descriptor left for a port's event", &error))?;
        // Every write to the event is an edge, so the event's count is never read.
        epoll
            .watch(inbox.event(), WAKE, Watch::In)
            .map_err(|error| ext::refusal("epoll refuses an event", &error))?;
        Ok(Self {
            epoll,
            catch_max,
            handles: HandleTable::default(),
            flights: InFlight::default(),
            tokens: TokenMap::default(),
            pool: LeasePool::new(options.lease_count, options.lease_bytes),
            ready: VecDeque::new(),
            later: Vec::new(),
            parked: VecDeque::new(),
            local: VecDeque::new(),
            timers: Timers::default(),
            desk: Desk::new(&inbox),
            filed: Vec::new(),
            inbox,
            posts: Vec::new(),
            posts_given: 0,
            looked: false,
            counters: Ledger::default(),
        })
    }

    /// One system call: takes events, and waits for them at most until `until` if nothing else is to do.
    fn look(&mut self, until: Option<Tick>) -> Result<(), PortError> {
        self.counters.enters_total += 1;
        let until = [until, self.timers.next()].into_iter().flatten().min();
        let sleeps = self.may_sleep() && self.inbox.fall_asleep();
        let span = if sleeps {
            until.map(|until| until.since(now()).min(SLEEP_SPAN_MAX))
        } else {
            Some(Duration::ZERO)
        };
        let outcome = self.epoll.wait(span);
        if sleeps {
            self.inbox.wake_up();
        }
        outcome.map_err(|error| ext::refusal("epoll cannot be waited on", &error))?;
        for index in 0..self.epoll.filled() {
            let (word, ready) = self.epoll.event(index);
            // An event of a socket that was closed meanwhile, or the event that woke the port, is nobody's.
            let Some(pier) = self.handles.any_mut(handle(word)).and_then(Resource::pier_mut) else {
                continue;
            };
            let parked = pier.descriptor.parked;
            for key in pier.told(ready).into_iter().flatten().filter(|key| Some(*key) != parked) {
                self.enqueue(key);
            }
        }
        Ok(())
    }

    fn may_sleep(&self) -> bool {
        let servable = !self.parked.is_empty() && self.pool.at_home() > 0;
        let idle = self.ready.is_empty() && self.later.is_empty() && self.local.is_empty();
        !servable && idle && self.posts_given >= self.posts.len()
    }

    fn tide(&self) -> Tide {
        let here = !self.may_sleep() || self.inbox.is_filled() || (self.looked && self.epoll.is_brimming());
        if here { Tide::More } else { Tide::Dry }
    }
}

impl crate::port::Port for Port {
    type Poster = Poster;
    type Socket = Socket;

    fn backend(&self) -> &'static str {
        "epoll"
    }

    fn listen(
        &mut self,
        address: SocketAddr,
        options: &ListenOptions,
    ) -> Result<(Handle, SocketAddr), OsError> {
        let (owned, local) = socket::listen(address, options)?;
        // accept(2) knows no MSG_DONTWAIT.
        SockRef::from(&owned).set_nonblocking(true).map_err(|error| error::from_io(&error))?;
        Ok((self.admit_watched(HandleKind::Listener, owned)?, local))
    }

    fn bind_datagram(&mut self, address: SocketAddr) -> Result<(Handle, SocketAddr), OsError> {
        let (owned, local) = socket::datagram(address)?;
        Ok((self.admit_watched(HandleKind::Datagram, owned)?, local))
    }

    fn open_file(&mut self, path: &Path, access: FileAccess) -> Result<Handle, OsError> {
        let owned = file::open(path, access)?;
        Ok(self.handles.insert(HandleKind::File, Resource::File(Arc::new(File::from(owned)))))
    }

    fn file_bytes(&self, file: Handle) -> Result<u64, OsError> {
        match self.handles.resource(file, HandleKind::File) {
            Ok(Resource::File(file)) => {
                file.metadata().map(|facts| facts.len()).map_err(|error| error::from_io(&error))
            }
            _ => Err(error::os_error(libc::EBADF)),
        }
    }

    fn release(&mut self, socket: Handle) -> Result<Socket, Refusal> {
        self.handles.resource(socket, HandleKind::Stream)?;
        let Resource::Socket(pier) = self.handles.remove(socket)? else {
            unreachable!("a stream is a socket");
        };
        self.counters.enters_total += 1;
        self.epoll.forget(pier.descriptor.owned().as_raw_fd()).ok(); // one that was never watched has nothing to forget
        Ok(Socket(pier.descriptor))
    }

    fn adopt(&mut self, socket: Socket) -> Handle {
        self.admit(HandleKind::Stream, Pier::new(socket.0))
    }

    fn submit(&mut self, token: Token, op: Op) -> Result<(), Refused> {
        if self.tokens.contains_key(&token) {
            return Err(Refused { op, why: Refusal::TokenInUse });
        }
        if let Op::Close { handle } = op {
            let resource = match self.handles.remove(handle) {
                Ok(resource) => resource,
                Err(why) => return Err(Refused { op, why }),
            };
            let key = self.launch(token, Wish::Close { resource });
            self.local.push_back((key, 0));
            return Ok(());
        }
        if let Err(why) = self.reserve(&op) {
            return Err(Refused { op, why });
        }
        self.board(token, op);
        Ok(())
    }

    fn cancel(&mut self, token: Token) {
        let Some(key) = self.tokens.get(&token).copied() else { return };
        let (_, flight) = self.flights.running(key).expect("every token in flight names a running flight");
        if flight.over {
            return;
        }
        match &mut flight.wish {
            // A close is never called off: the handle is gone already, and closing takes no time.
            Wish::Close { .. } => return,
            // Work that came home has its result already, and work that somebody has begun ends by itself.
            Wish::File { work: Some(_), .. } => return,
            Wish::File { work, .. } => {
                *work = self.desk.withdraw(key);
                if work.is_none() {
                    return;
                }
            }
            Wish::Recv { socket } => {
                let descriptor = &mut pier(&mut self.handles, *socket).descriptor;
                self.counters.starved -= usize::from(descriptor.parked.take().is_some());
            }
            _ => {}
        }
        let is_timer = matches!(flight.wish, Wish::Timeout);
        self.end_early(key);
        if is_timer {
            let flights = &mut self.flights;
            self.timers.forget_one(|key| flights.running(key).is_some_and(|(_, flight)| !flight.over));
        }
    }

    fn wait(&mut self, caught: &mut Vec<Completion>, until: Option<Tick>) -> Result<Tide, PortError> {
        let start = caught.len();
        let full = start + self.catch_max;
        // What was submitted since the last wait is carried out before the kernel is asked for more: half of
        // all waits need not ask it. The other half must, so that nobody is kept waiting by who is busy.
        let looked_before = mem::replace(&mut self.looked, false);
        self.ready.extend(self.later.drain(..));
        loop {
            self.fire_timers();
            self.catch(caught, full);
            let some = caught.len() > start;
            if some && (self.looked || looked_before) {
                return Ok(self.tide());
            }
            let passed = until.is_some_and(|until| now() >= until);
            if passed && self.looked {
                return Ok(self.tide());
            }
            self.look(if some || passed { Some(Tick::ZERO) } else { until })?;
            self.looked = true;
        }
    }

    fn now(&self) -> Tick {
        now()
    }

    fn poster(&self) -> Poster {
        Poster::new(&self.inbox)
    }

    fn ledger(&self) -> Ledger {
        Ledger {
            handles: self.handles.open(),
            in_flight: self.flights.len(),
            leases_out: self.pool.out(),
            lease_size: self.pool.size(),
            ..self.counters
        }
    }

    fn trim(&mut self) -> Trimmed {
        let trimmed = self.flights.trim();
        if trimmed == Trimmed::Freed {
            self.tokens.shrink_to(self.flights.len() * 5 / 4);
        }
        trimmed
    }
}
