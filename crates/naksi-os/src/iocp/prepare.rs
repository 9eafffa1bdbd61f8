//! From a wish to a flight: what is refused, what needs no kernel, and what is handed to it.
//!
//! A wish is checked against the handle table first, so that a refused one has changed nothing. Directions
//! are shut down here and now; what is in flight on a socket whose both directions end is called home in the
//! same step, because a shutdown alone is not heard by it. Nothing here waits or looks at a packet.

use naksi_core::id::{Handle, Token};
use naksi_core::op::{Op, ShutdownHow};
use std::net::SocketAddr;
use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::Networking::WinSock::WSAEMSGSIZE;

use super::accept::Accepting;
use super::call;
use super::op::{self, CANCELLED, Flight, Wish};
use super::parcel::Parcel;
use super::port::Port;
use crate::clock::now;
use crate::handles::Direction;
use crate::in_flight::Key;
use crate::port::SubmitErrorKind;
use crate::windows::file;
use crate::windows::kernel::{self, Answer};
use crate::windows::socket::{self, Descriptor, Resource};

impl Port {
    /// Checks a wish and takes its direction. Nothing has changed if it is refused.
    pub(super) fn reserve(&mut self, token: Token, op: &Op) -> Result<HANDLE, SubmitErrorKind> {
        self.core
            .reserve(token, op)
            .map(|descriptor| descriptor.map_or(std::ptr::null_mut(), Descriptor::raw))
    }

    /// Turns an accepted operation into what flies. The answer, if there is one, needs no kernel.
    pub(super) fn board(&mut self, op: Op, raw: HANDLE) -> (Flight, Option<Answer>) {
        let mut raw = raw;
        let mut early = None;
        let wish = match op {
            Op::Accept { listener } => {
                early = self.associate(listener);
                Wish::Accept(Accepting::new(listener, Parcel::new))
            }
            Op::Connect { remote } => {
                let mut parcel = self.parcel();
                parcel.set_remote(remote);
                let made = socket::connecting(remote).and_then(|socket| {
                    self.kernel.associate(socket::raw(&socket))?;
                    Ok(socket)
                });
                let socket = made.map_err(|code| early = Some(Answer::failed(code))).ok();
                raw = socket.as_ref().map_or(raw, socket::raw);
                Wish::Connect { socket, parcel }
            }
            Op::Recv { socket } => {
                early = self.ended(socket, Direction::In).or_else(|| self.associate(socket));
                Wish::Recv { socket, parcel: self.parcel(), reads: 0 }
            }
            Op::Send { socket, batch } => {
                early = self.ended(socket, Direction::Out).or_else(|| self.associate(socket));
                Wish::Send { socket, batch, parcel: self.parcel() }
            }
            Op::Shutdown { socket, how } => {
                early = Some(self.shut_down(socket, how));
                Wish::Shutdown { socket }
            }
            Op::Close { .. } => unreachable!("a close is boarded by `submit`"),
            Op::ReadAt { file, offset, buffer } => {
                early = self.associate(file);
                Wish::ReadAt { file, offset, buffer, parcel: self.parcel() }
            }
            Op::WriteAt { file, offset, bytes } => {
                early = self.associate(file);
                Wish::WriteAt { file, offset, bytes, parcel: self.parcel() }
            }
            Op::Sync { file } => {
                early = op::file_of(&self.core.handles, file).map(file::sync);
                Wish::Sync { file }
            }
            Op::RecvFrom { socket, buffer } => {
                early = self.associate(socket);
                Wish::RecvFrom { socket, buffer, parcel: self.parcel() }
            }
            Op::SendTo { socket, remote, bytes } => {
                early = too_long(&bytes, remote).or_else(|| self.associate(socket));
                let mut parcel = self.parcel();
                parcel.set_remote(remote);
                Wish::SendTo { socket, bytes, parcel }
            }
            Op::Timeout { at } => {
                // A point that has passed needs no timer.
                early = (at <= now()).then_some(Answer::done(0));
                Wish::Timeout { at }
            }
        };
        (Flight::new(raw, wish), early)
    }

    /// A handle reports to this port from its first operation on.
    pub(super) fn associate(&mut self, handle: Handle) -> Option<Answer> {
        let descriptor = self.core.handles.any_mut(handle).expect("its direction was just taken");
        descriptor.associate(&self.kernel).err().map(Answer::failed)
    }

    /// A direction that we shut down is not submitted: not every system answers at once.
    fn ended(&self, socket: Handle, direction: Direction) -> Option<Answer> {
        let descriptor = self.core.handles.any(socket)?;
        let is_over = if direction == Direction::In { descriptor.ended_both } else { descriptor.ended_write };
        is_over.then_some(Answer::failed(CANCELLED))
    }

    /// Ends directions of a stream, here and now. What is in flight comes home with both of them.
    fn shut_down(&mut self, socket: Handle, how: ShutdownHow) -> Answer {
        let descriptor = self.core.handles.any_mut(socket).expect("its direction was just taken");
        descriptor.ended_write = true;
        descriptor.ended_both |= how == ShutdownHow::Both;
        let Resource::Socket(owned) = descriptor.resource() else { return Answer::done(0) };
        let ended = socket::shutdown(owned, op::direction(how));
        if how == ShutdownHow::Both {
            // A shutdown alone is not heard by receives and sends that are pending already.
            kernel::cancel(socket::raw(owned), std::ptr::null());
            self.end_parked(socket);
        }
        ended.map_or_else(Answer::failed, |()| Answer::done(0))
    }

    pub(super) fn launch(&mut self, token: Token, flight: Flight, early: Option<Answer>) {
        let key = self.core.track(token, flight);
        let Some((_, flight)) = self.core.in_flight.running(key) else { return };
        match (early, &flight.wish) {
            (Some(answer), _) => self.core.local.push_back((key, answer)),
            (None, Wish::Accept(_)) => self.begin_accepts(key),
            (None, Wish::Timeout { at }) => {
                self.timers.insert((*at, key.to_u64()));
            }
            (None, _) => self.arm(key),
        }
    }

    /// Hands a flight to the kernel, or answers it if the kernel will not have it.
    pub(super) fn arm(&mut self, key: Key) {
        self.core.counters.enters_total += 1;
        let (_, flight) = self.core.in_flight.running(key).expect("only running flights are armed");
        flight.pending = true;
        if let Err(code) = call::start(flight, key, &self.extensions) {
            flight.pending = false;
            self.core.local.push_back((key, Answer::failed(code)));
        }
    }

    pub(super) fn parcel(&mut self) -> Parcel {
        self.spent.pop().unwrap_or_else(Parcel::new)
    }
}

/// A datagram that no network carries is not submitted: systems answer it differently.
fn too_long(bytes: &[u8], remote: SocketAddr) -> Option<Answer> {
    const UDP_HEADER: usize = 8;
    const IPV4_HEADER: usize = 20;
    let headers = if remote.is_ipv4() { UDP_HEADER + IPV4_HEADER } else { UDP_HEADER };
    (bytes.len() + headers > usize::from(u16::MAX)).then_some(Answer::failed(WSAEMSGSIZE))
}
