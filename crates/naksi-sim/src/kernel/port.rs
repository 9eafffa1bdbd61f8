//! The simulated port: the contract of [`naksi_os::port`] over a world made of a seed.
//!
//! A port is a door into its world. What it is asked is checked against the handle table and the names in
//! flight, exactly as the real ports do, and then left to the kernel. Nothing here knows what an operation
//! does, or what time it is outside of the world.

use core::net::SocketAddr;
use std::cell::RefCell;
use std::fmt;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use naksi_core::completion::Completion;
use naksi_core::ended::{Failure, OsError};
use naksi_core::id::{Handle, Token};
use naksi_core::op::Op;
use naksi_core::tick::Tick;

use super::calendar::OpId;
use super::fault::FaultKind;
use super::net::{DatagramSocket, Listener, Owner, SocketId, place};
use super::ops::POISON;
use super::port_state::{Held, PortState, PostBox, Stage, Submission, Target};
use super::state::{Dropped, Kernel};
use naksi_os::backend::{Direction, HandleKind, needed};
use naksi_os::port::{
    FileAccess, Ledger, ListenOptions, PollStatus, PortError, PortOptions, SubmitError, SubmitErrorKind,
};

/// A completion port of a simulated world. Made by [`super::world::World::open_port`].
pub struct SimPort {
    kernel: Rc<RefCell<Kernel>>,
    number: u32,
}

impl fmt::Debug for SimPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sim::Port({})", self.number)
    }
}

/// A socket between two ports of one world; dropping it closes it at the world's next step.
pub struct SimSocket {
    id: SocketId,
    /// `None` once adopted.
    dropped: Option<Arc<Dropped>>,
}

impl fmt::Debug for SimSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sim::Socket({:?})", self.id)
    }
}

impl Drop for SimSocket {
    fn drop(&mut self) {
        if let Some(dropped) = &self.dropped {
            dropped.push(self.id);
        }
    }
}

/// Posts to a simulated port. Posting wakes no thread by itself: [`super::world::World::runnable`] sees it.
#[derive(Clone)]
pub struct SimPoster {
    posts: Arc<PostBox>,
}

impl fmt::Debug for SimPoster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sim::Poster")
    }
}

impl naksi_os::port::Poster for SimPoster {
    fn post(&self, token: Token, value: u64) -> bool {
        self.posts.post(token, value)
    }
}

/// Checks an operation and takes the direction of the handle that it needs.
fn admit(
    state: &mut PortState,
    token: Token,
    op: &Op,
) -> Result<(Option<(Handle, Direction)>, Target), SubmitErrorKind> {
    if state.names.contains_key(&token) {
        return Err(SubmitErrorKind::TokenInUse);
    }
    if let Some(why) = SubmitErrorKind::of_any_system(op) {
        return Err(why);
    }
    if let Op::Close { handle } = op {
        return Ok((None, state.handles.remove(*handle)?));
    }
    let Some((handle, kind, direction)) = needed(op) else { return Ok((None, Target::Nothing)) };
    let target = *state.handles.begin(handle, kind, direction)?;
    Ok((Some((handle, direction)), target))
}

impl SimPort {
    pub(super) fn open(kernel: &Rc<RefCell<Kernel>>, options: &PortOptions) -> Self {
        // Numbers are not used again: an event written down for a dropped port must not meet a new one.
        let world = &mut *kernel.borrow_mut();
        let number = world.ports.len() as u32;
        let mut state = PortState::new(options);
        state.single_shot = world.calendar.draw(FaultKind::FeatureMissing);
        world.ports.push(Some(state));
        Self { kernel: Rc::clone(kernel), number }
    }

    /// Whether a wait of this port would do something now, as [`super::world::World::runnable`] says of any.
    pub fn is_runnable(&self) -> bool {
        let mut kernel = self.kernel.borrow_mut();
        let now = kernel.calendar.now();
        kernel.port_state(self.number).runnable(now)
    }

    fn take_stream(&self, socket: Handle) -> Result<Target, SubmitErrorKind> {
        let mut kernel = self.kernel.borrow_mut();
        let state = kernel.port_state(self.number);
        state.handles.resource(socket, HandleKind::Stream)?;
        state.handles.remove(socket)
    }
}

/// An address that is free to be bound, with a port number picked for port 0.
fn bindable(kernel: &mut Kernel, address: SocketAddr, taken: bool) -> Result<SocketAddr, OsError> {
    if kernel.descriptors >= kernel.options.descriptors_max {
        return Err(OsError::new(Failure::DescriptorsExhausted, 24));
    }
    if address.port() == 0 {
        return Ok(kernel.fresh_address(address.ip()));
    }
    if taken { Err(OsError::new(Failure::AddressInUse, 98)) } else { Ok(address) }
}

impl naksi_os::port::Port for SimPort {
    type Poster = SimPoster;
    type Socket = SimSocket;

    fn backend(&self) -> &'static str {
        "sim"
    }

    fn listen(
        &mut self,
        address: SocketAddr,
        options: &ListenOptions,
    ) -> Result<(Handle, SocketAddr), OsError> {
        let kernel = &mut *self.kernel.borrow_mut();
        let taken = kernel.net.listener_at(address).is_some();
        let address = bindable(kernel, address, taken)?;
        let bytes = |wanted: Option<u32>, usual: usize| wanted.map_or(usual, |bytes| bytes.max(1) as usize);
        let listener = Listener {
            port: self.number,
            address,
            backlog: std::collections::VecDeque::new(),
            backlog_max: options.backlog.max(1) as usize,
            accept_op: None,
            credits: 0,
            buffers: (
                bytes(options.kernel_send_bytes, kernel.options.socket_send_bytes),
                bytes(options.kernel_recv_bytes, kernel.options.socket_recv_bytes),
            ),
        };
        let index = place(&mut kernel.net.listeners, listener);
        kernel.descriptors += 1;
        let handle =
            kernel.port_state(self.number).handles.insert(HandleKind::Listener, Target::Listener(index));
        Ok((handle, address))
    }

    fn bind_datagram(&mut self, address: SocketAddr) -> Result<(Handle, SocketAddr), OsError> {
        let kernel = &mut *self.kernel.borrow_mut();
        let taken = kernel.net.datagram_at(address).is_some();
        let address = bindable(kernel, address, taken)?;
        let queue = std::collections::VecDeque::new();
        let socket = DatagramSocket { port: self.number, address, queue, recv_op: None };
        let index = place(&mut kernel.net.datagrams, socket);
        kernel.descriptors += 1;
        let handle =
            kernel.port_state(self.number).handles.insert(HandleKind::Datagram, Target::Datagram(index));
        Ok((handle, address))
    }

    fn open_file(&mut self, path: &Path, access: FileAccess) -> Result<Handle, OsError> {
        let kernel = &mut *self.kernel.borrow_mut();
        if kernel.descriptors >= kernel.options.descriptors_max {
            return Err(OsError::new(Failure::DescriptorsExhausted, 24));
        }
        let index = match (kernel.file_names.get(path).copied(), access) {
            (None, FileAccess::Read) => return Err(OsError::new(Failure::NotFound, 2)),
            (Some(index), FileAccess::Create) => {
                kernel.files[index as usize].clear();
                index
            }
            (Some(index), _) => index,
            (None, _) => kernel.make_file(path, Vec::new()),
        };
        kernel.descriptors += 1;
        Ok(kernel
            .port_state(self.number)
            .handles
            .insert(HandleKind::File, Target::File(index, access != FileAccess::Read)))
    }

    fn file_bytes(&self, file: Handle) -> Result<u64, OsError> {
        let kernel = &mut *self.kernel.borrow_mut();
        match kernel.port_state(self.number).handles.resource(file, HandleKind::File).copied() {
            Ok(Target::File(index, _)) => Ok(kernel.files[index as usize].len() as u64),
            _ => Err(OsError::new(Failure::Invalid, 9)),
        }
    }

    fn release(&mut self, socket: Handle) -> Result<SimSocket, SubmitErrorKind> {
        let Target::Stream(id) = self.take_stream(socket)? else { return Err(SubmitErrorKind::WrongKind) };
        let mut kernel = self.kernel.borrow_mut();
        kernel.net.live(id).owner = Owner::Transit;
        Ok(SimSocket { id, dropped: Some(Arc::clone(&kernel.dropped)) })
    }

    fn adopt(&mut self, mut socket: SimSocket) -> Handle {
        let mut kernel = self.kernel.borrow_mut();
        let dropped = socket.dropped.take().expect("a socket is adopted once");
        assert!(Arc::ptr_eq(&dropped, &kernel.dropped), "a socket is adopted in its own world");
        kernel.net.live(socket.id).owner = Owner::Port(self.number);
        kernel.port_state(self.number).handles.insert(HandleKind::Stream, Target::Stream(socket.id))
    }

    fn submit(&mut self, token: Token, mut op: Op) -> Result<(), SubmitError> {
        let kernel = &mut *self.kernel.borrow_mut();
        let state = kernel.ports[self.number as usize].as_mut().expect("the port is open");
        let (direction, target) = match admit(state, token, &op) {
            Ok(admitted) => admitted,
            Err(why) => return Err(SubmitError { op, why }),
        };
        if let Op::ReadAt { buffer, .. } | Op::RecvFrom { buffer, .. } = &mut op {
            buffer.fill(POISON);
        }
        let held = Held {
            op,
            direction,
            target,
            stage: Stage::Queued,
            held_back: false,
            dying: false,
            cancelled: false,
            unfound: false,
            parked_as: 0,
            ready_at: Tick::ZERO,
        };
        let key = state.in_flight.start(token, held);
        state.names.insert(token, key);
        state.submissions.push_back(Submission::Start(key));
        let full = state.submissions.len() >= state.submission_entries;
        if kernel.calendar.strike(FaultKind::QueueFull) || full {
            kernel.flush(self.number);
        }
        Ok(())
    }

    fn cancel(&mut self, token: Token) {
        let kernel = &mut *self.kernel.borrow_mut();
        let state = kernel.ports[self.number as usize].as_mut().expect("the port is open");
        let Some(key) = state.names.get(&token).copied() else { return };
        let Some((_, held)) = state.in_flight.running(key) else { return };
        held.cancelled = true;
        if held.stage == Stage::Parked {
            kernel.abort(OpId { port: self.number, key });
        } else {
            state.submissions.push_back(Submission::Cancel(key));
        }
    }

    /// As the contract says, in virtual time: it never blocks. With nothing ready it notes `until` as the
    /// time at which this port wants to be woken, and returns with nothing; the world moves time there when
    /// nothing else happens before. A return with nothing before `until` is allowed and happens: a caller that
    /// waits looks at [`Port::now`](naksi_os::port::Port::now) and waits again.
    fn wait(&mut self, caught: &mut Vec<Completion>, until: Option<Tick>) -> Result<PollStatus, PortError> {
        Ok(self.kernel.borrow_mut().wait(self.number, caught, until))
    }

    fn now(&self) -> Tick {
        self.kernel.borrow().calendar.now()
    }

    fn poster(&self) -> SimPoster {
        SimPoster { posts: Arc::clone(&self.kernel.borrow_mut().port_state(self.number).posts) }
    }

    fn ledger(&self) -> Ledger {
        self.kernel.borrow_mut().port_state(self.number).ledger()
    }
}

impl Drop for SimPort {
    fn drop(&mut self) {
        // A test that fails inside the world unwinds with the world borrowed and its laws already broken.
        if !std::thread::panicking()
            && let Ok(mut kernel) = self.kernel.try_borrow_mut()
        {
            kernel.close_port(self.number);
        }
    }
}
