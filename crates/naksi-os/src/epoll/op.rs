//! One operation in flight, and its result.
//!
//! An [`InFlightOp`] is what the in-flight table keeps for an operation: the request, with everything it owns, and
//! its progress. The kernel has no pointer to any of it between two calls. Nothing here makes a system call except to
//! ask for an address.

use std::net::SocketAddr;
use std::os::fd::AsFd;

use bytes::Bytes;
use naksi_core::batch::SendBatch;
use naksi_core::completion::{Connected, Datagram, Done};
use naksi_core::ended::Ended;
use naksi_core::id::Handle;
use naksi_core::op::ShutdownHow;
use socket2::SockRef;

use super::file_thread::Work;
use super::socket_state::Resource;
use crate::handles::{Direction, HandleTable};
use crate::linux::{error, socket};
use crate::uring::op::{recv_ended, send_ended};

/// One operation in flight.
#[derive(Debug)]
pub(super) struct InFlightOp {
    pub(super) kind: OpKind,
    /// Cancelled or ended: its result waits to be delivered.
    pub(super) over: bool,
    /// It stands in the queue of what is ready.
    pub(super) queued: bool,
}

/// What was asked for, with everything it owns.
#[derive(Debug)]
pub(super) enum OpKind {
    Accept {
        listener: Handle,
    },
    /// The socket is made when the port comes to it.
    Connect {
        remote: SocketAddr,
        socket: Option<Handle>,
    },
    Recv {
        socket: Handle,
    },
    /// `sent` bytes of the batch are with the kernel.
    Send {
        socket: Handle,
        batch: SendBatch,
        sent: usize,
    },
    Shutdown {
        socket: Handle,
        how: ShutdownHow,
    },
    Close {
        resource: Resource,
    },
    /// `None` while the file thread has the work.
    File {
        file: Handle,
        work: Option<Work>,
    },
    /// The datagram that came, if one did.
    RecvFrom {
        socket: Handle,
        buffer: Vec<u8>,
        datagram: Option<Datagram>,
    },
    SendTo {
        socket: Handle,
        remote: SocketAddr,
        bytes: Bytes,
    },
    Timeout,
}

impl InFlightOp {
    pub(super) fn new(kind: OpKind) -> Self {
        Self { kind, over: false, queued: false }
    }

    /// The direction of the handle that this operation occupies; it is freed with the last completion.
    pub(super) fn direction(&self) -> Option<(Handle, Direction)> {
        match self.kind {
            OpKind::Accept { listener } => Some((listener, Direction::In)),
            OpKind::Recv { socket } | OpKind::RecvFrom { socket, .. } => Some((socket, Direction::In)),
            OpKind::Send { socket, .. } | OpKind::SendTo { socket, .. } => Some((socket, Direction::Out)),
            OpKind::Connect { socket, .. } => socket.map(|socket| (socket, Direction::Out)),
            OpKind::Shutdown { socket, .. } => Some((socket, Direction::Control)),
            OpKind::File { file, .. } => Some((file, Direction::Shared)),
            OpKind::Close { .. } | OpKind::Timeout => None,
        }
    }

    /// The result of an operation that ends early: bytes that the kernel took are still reported.
    pub(super) fn early_result(&self, errno: i32) -> i32 {
        match self.kind {
            OpKind::Send { sent, .. } if sent > 0 => count(sent),
            _ => -errno,
        }
    }

    /// The last result, from a count or a negative error number. The direction is free already.
    pub(super) fn conclude(self, result: i32, handles: &mut HandleTable<Resource>) -> Done {
        let ours = self.over;
        let count = u32::try_from(result).map_err(|_| error::other(-result, ours));
        match self.kind {
            OpKind::Accept { .. } => Done::Accept(Err(match error::accept(-result, ours) {
                error::AcceptEnded::Over(ended) => ended,
                error::AcceptEnded::NextPeer => Ended::Aborted,
            })),
            OpKind::Connect { socket, .. } => Done::Connect(connected(socket, result, ours, handles)),
            OpKind::Recv { socket } => {
                let socket_state = handles.any_mut(socket).and_then(Resource::pier_mut);
                Done::Recv(Err(recv_ended(
                    socket_state.map(|socket_state| &mut socket_state.descriptor),
                    result,
                    ours,
                )))
            }
            OpKind::Send { socket, batch, .. } => {
                let socket_state = handles.any_mut(socket).and_then(Resource::pier_mut);
                let descriptor = socket_state.map(|socket_state| &mut socket_state.descriptor);
                let sent = count.ok().filter(|sent| *sent > 0);
                Done::Send(batch, sent.ok_or_else(|| send_ended(descriptor, result, ours)))
            }
            OpKind::Shutdown { .. } => {
                Done::Shutdown(if result == 0 { Ok(()) } else { error::shutdown(-result, ours) })
            }
            OpKind::Close { resource } => {
                drop(resource); // this is the close
                Done::Close
            }
            OpKind::File { work: Some(Work::Read { buffer, .. }), .. } => Done::ReadAt(
                buffer,
                count.and_then(|count| if count == 0 { Err(Ended::Closed) } else { Ok(count) }),
            ),
            OpKind::File { work: Some(Work::Write { bytes, .. }), .. } => Done::WriteAt(bytes, count),
            OpKind::File { work: Some(Work::Sync), .. } => Done::Sync(count.map(|_| ())),
            OpKind::File { work: None, .. } => unreachable!("work that is on the file_thread has no result"),
            OpKind::RecvFrom { buffer, datagram, .. } => {
                Done::RecvFrom(buffer, datagram.ok_or_else(|| error::other(-result, ours)))
            }
            OpKind::SendTo { bytes, .. } => Done::SendTo(bytes, count),
            OpKind::Timeout => Done::Timeout(error::timeout(-result, ours)),
        }
    }
}

/// A count of bytes as a result.
pub(super) fn count(bytes: usize) -> i32 {
    i32::try_from(bytes).unwrap_or(i32::MAX)
}

/// A socket that could not be connected is closed here.
fn connected(
    socket: Option<Handle>,
    result: i32,
    ours: bool,
    handles: &mut HandleTable<Resource>,
) -> Result<Connected, Ended> {
    let handle = socket.ok_or_else(|| error::connect(-result, ours))?;
    let outcome = if result == 0 { settled(handle, handles) } else { Err(error::connect(-result, ours)) };
    if outcome.is_err() {
        handles.remove(handle).expect("a socket that is being connected has one operation in flight");
    }
    outcome
}

/// Makes a connected socket blocking again, as all sockets in `linux/` are, so that a port of the other kind can
/// adopt it; this port requests non-blocking behaviour in every call.
fn settled(socket: Handle, handles: &HandleTable<Resource>) -> Result<Connected, Ended> {
    let socket_state = handles
        .any(socket)
        .and_then(Resource::socket_state)
        .expect("a socket that is being connected is open");
    let owned = socket_state.descriptor.owned();
    let local = SockRef::from(&owned.as_fd()).set_nonblocking(false).and_then(|()| socket::local(owned));
    local.map(|local| Connected { socket, local }).map_err(|error| Ended::Failed(error::from_io(&error)))
}
