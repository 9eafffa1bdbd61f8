//! The epoll port: operations are stored, and carried out on this thread when their descriptors are ready.
//!
//! A descriptor is registered once, edge-triggered; its readiness is stored until a call finds nothing. So a message
//! costs one receive and one send, and shares its `epoll_wait(2)` with all others that arrived with it. `submit`
//! makes no system call.

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
use naksi_core::id::{Handle, Token};
use naksi_core::op::Op;
use naksi_core::tick::Tick;
use socket2::SockRef;

use super::file_thread::FileThread;
use super::op::{InFlightOp, OpKind};
use super::poll::{Epoll, Watch};
use super::serve::socket_state;
use super::socket_state::{Resource, SocketState, handle};
use super::timers::Timers;
use crate::clock::now;
use crate::handles::HandleKind;
use crate::in_flight::Key;
use crate::inbox::Poster;
use crate::linux::socket::{self, Socket};
use crate::linux::waker::Waker;
use crate::linux::{error, file};
use crate::port::{
    FileAccess, Ledger, ListenOptions, PollStatus, PortError, PortOptions, SubmitError, SubmitErrorKind,
    Trimmed,
};
use crate::port_core::{self, PortCore, SLEEP_SPAN_MAX};
use crate::uring::ext;

/// The word of the wake-up event; no handle is that large.
const WAKE: u64 = u64::MAX;

/// A completion port on epoll. Open it on the thread that owns it.
pub struct Port {
    pub(super) epoll: Epoll,
    pub(super) core: PortCore<InFlightOp, Resource, i32>,
    /// Operations whose descriptors are ready, the first to become so first.
    pub(super) ready: VecDeque<Key>,
    /// Receives that returned a lease and have more: they continue with the next wait.
    pub(super) later: Vec<Key>,
    /// Receives that found the pool empty, the first to return first.
    pub(super) parked: VecDeque<Key>,
    pub(super) timers: Timers,
    pub(super) file_thread: FileThread,
    pub(super) filed: Vec<super::file_thread::Done>,
    /// The last wait asked the kernel for events.
    looked: bool,
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Port")
            .field("backend", &"epoll")
            .field("counters", &self.core.counters)
            .finish_non_exhaustive()
    }
}

impl Port {
    /// Opens a port on the calling thread, which owns it.
    ///
    /// # Errors
    /// One line that names the cause: an invalid pool, or no descriptor left.
    pub fn open(options: &PortOptions) -> Result<Self, PortError> {
        port_core::check(options, libc::EINVAL)?;
        now();
        let epoll = Epoll::open(options.catch_max.clamp(16, 1024))
            .map_err(|error| ext::refusal("epoll cannot be set up", &error))?;
        let waker =
            Waker::open().map_err(|error| ext::refusal("no descriptor left for a port's event", &error))?;
        // Every write to the event is an edge, so the event's count is never read.
        epoll
            .watch(waker.descriptor(), WAKE, Watch::In)
            .map_err(|error| ext::refusal("epoll refuses an event", &error))?;
        let core = PortCore::new(options, waker);
        let file_thread = FileThread::new(&core.inbox);
        Ok(Self {
            epoll,
            core,
            ready: VecDeque::new(),
            later: Vec::new(),
            parked: VecDeque::new(),
            timers: Timers::default(),
            file_thread,
            filed: Vec::new(),
            looked: false,
        })
    }

    /// One system call: takes events, and waits for them at most until `until` if there is nothing else to do.
    fn look(&mut self, until: Option<Tick>) -> Result<(), PortError> {
        self.core.counters.enters_total += 1;
        let until = [until, self.timers.next()].into_iter().flatten().min();
        let sleeps = self.may_sleep() && self.core.inbox.fall_asleep();
        let span = if sleeps {
            until.map(|until| until.since(now()).min(SLEEP_SPAN_MAX))
        } else {
            Some(Duration::ZERO)
        };
        let outcome = self.epoll.wait(span);
        if sleeps {
            self.core.inbox.wake_up();
        }
        outcome.map_err(|error| ext::refusal("epoll cannot be waited on", &error))?;
        for index in 0..self.epoll.filled() {
            let (word, ready) = self.epoll.event(index);
            // Events of a socket closed meanwhile, and of the wake-up, have no operation.
            let Some(socket_state) = self.core.handles.any_mut(handle(word)).and_then(Resource::pier_mut)
            else {
                continue;
            };
            let parked = socket_state.descriptor.parked;
            for key in socket_state.told(ready).into_iter().flatten().filter(|key| Some(*key) != parked) {
                self.enqueue(key);
            }
        }
        Ok(())
    }

    fn may_sleep(&self) -> bool {
        let servable = !self.parked.is_empty() && self.core.pool.at_home() > 0;
        let idle = self.ready.is_empty() && self.later.is_empty() && self.core.local.is_empty();
        !servable && idle && !self.core.has_posts_left()
    }

    fn status(&self) -> PollStatus {
        let here =
            !self.may_sleep() || self.core.inbox.is_filled() || (self.looked && self.epoll.is_brimming());
        if here { PollStatus::More } else { PollStatus::Drained }
    }
}

impl crate::port::Port for Port {
    type Poster = Poster<Waker>;
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
        Ok(self.core.handles.insert(HandleKind::File, Resource::File(Arc::new(File::from(owned)))))
    }

    fn file_bytes(&self, file: Handle) -> Result<u64, OsError> {
        match self.core.handles.resource(file, HandleKind::File) {
            Ok(Resource::File(file)) => {
                file.metadata().map(|facts| facts.len()).map_err(|error| error::from_io(&error))
            }
            _ => Err(error::os_error(libc::EBADF)),
        }
    }

    fn release(&mut self, socket: Handle) -> Result<Socket, SubmitErrorKind> {
        self.core.handles.resource(socket, HandleKind::Stream)?;
        let Resource::Socket(socket_state) = self.core.handles.remove(socket)? else {
            unreachable!("a stream is a socket");
        };
        self.core.counters.enters_total += 1;
        self.epoll.forget(socket_state.descriptor.owned().as_raw_fd()).ok(); // one that was never watched has nothing to forget
        Ok(Socket(socket_state.descriptor))
    }

    fn adopt(&mut self, socket: Socket) -> Handle {
        self.admit(HandleKind::Stream, SocketState::new(socket.0))
    }

    fn submit(&mut self, token: Token, op: Op) -> Result<(), SubmitError> {
        if let Op::Close { handle } = op {
            let resource = match self.core.take_to_close(token, handle) {
                Ok(resource) => resource,
                Err(why) => return Err(SubmitError { op, why }),
            };
            let key = self.track(token, OpKind::Close { resource });
            self.core.local.push_back((key, 0));
            return Ok(());
        }
        if let Err(why) = self.core.reserve(token, &op) {
            return Err(SubmitError { op, why });
        }
        self.prepare(token, op);
        Ok(())
    }

    fn cancel(&mut self, token: Token) {
        let Some((key, operation)) = self.core.named(token) else { return };
        if operation.over {
            return;
        }
        let is_timer = matches!(operation.kind, OpKind::Timeout);
        match &mut operation.kind {
            // A close cannot be cancelled: the handle is stale already, and closing takes no time.
            OpKind::Close { .. } => return,
            // Finished work has its result already, and running work ends by itself.
            OpKind::File { work: Some(_), .. } => return,
            OpKind::File { work, .. } => {
                *work = self.file_thread.withdraw(key);
                if work.is_none() {
                    return;
                }
            }
            OpKind::Recv { socket } => {
                let socket = *socket;
                let descriptor = &mut socket_state(&mut self.core.handles, socket).descriptor;
                self.core.counters.starved -= usize::from(descriptor.parked.take().is_some());
            }
            _ => {}
        }
        self.end_early(key);
        if is_timer {
            let in_flight = &mut self.core.in_flight;
            self.timers
                .forget_one(|key| in_flight.running(key).is_some_and(|(_, operation)| !operation.over));
        }
    }

    fn wait(
        &mut self,
        completions: &mut Vec<Completion>,
        until: Option<Tick>,
    ) -> Result<PollStatus, PortError> {
        let start = completions.len();
        let full = start + self.core.catch_max;
        // Operations submitted since the last wait are carried out before the kernel is asked for more, so half of
        // all waits need not ask it. The other half must, so that busy sockets do not starve the others.
        let looked_before = mem::replace(&mut self.looked, false);
        self.ready.extend(self.later.drain(..));
        loop {
            self.fire_timers();
            self.poll_completions(completions, full);
            let some = completions.len() > start;
            if some && (self.looked || looked_before) {
                return Ok(self.status());
            }
            let passed = until.is_some_and(|until| now() >= until);
            if passed && self.looked {
                return Ok(self.status());
            }
            self.look(if some || passed { Some(Tick::ZERO) } else { until })?;
            self.looked = true;
        }
    }

    fn now(&self) -> Tick {
        now()
    }

    fn poster(&self) -> Poster<Waker> {
        self.core.poster()
    }

    fn ledger(&self) -> Ledger {
        self.core.ledger()
    }

    fn trim(&mut self) -> Trimmed {
        self.core.trim()
    }
}
