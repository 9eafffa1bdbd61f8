//! A chain of accepts: a fixed number of `AcceptEx` posted, which together are one [`Op::Accept`].
//!
//! A credit is one posted AcceptEx with the socket for the client. Each completion posts its credit again, so their
//! number is constant (law 6): a client that has gone before it was accepted is skipped, and only a shortage or a
//! cancellation ends the chain. Then the posted credits are cancelled, those that succeeded meanwhile are delivered,
//! and the last one to return ends the operation.
//!
//! [`Op::Accept`]: naksi_core::op::Op::Accept

// UNSAFETY: AcceptEx writes addresses into our memory, and GetAcceptExSockaddrs points into it.
#![expect(unsafe_code, reason = "AcceptEx writes into our memory")]

use std::os::windows::io::{AsRawSocket, OwnedSocket};
use std::ptr;

use naksi_core::completion::{Accepted, Completion, Done};
use naksi_core::ended::Ended;
use naksi_core::id::{Handle, Token};
use socket2::{Domain, SockAddr, SockAddrStorage};
use windows_sys::Win32::Foundation::{ERROR_IO_PENDING, HANDLE};
use windows_sys::Win32::Networking::WinSock::{SOCKADDR, SOCKET, WSAEINVAL};

use super::op::OpKind;
use super::op_block::OpBlock;
use super::port::Port;
use crate::handles::HandleKind;
use crate::in_flight::Key;
use crate::port::ListenOptions;
use crate::windows::error::{self, AcceptEnded};
use crate::windows::ext::Extensions;
use crate::windows::kernel::{self, Answer};
use crate::windows::socket::{self, ACCEPT_ADDRESS_BYTES, Descriptor};

/// Accepts posted at a time. More clients than these wait in the system's backlog.
pub(super) const CREDITS: usize = 32;
/// How often a credit is posted again at once when the system reports that its client was gone already.
const OFFERS_MAX: usize = 64;

/// Where one AcceptEx writes both addresses.
type Addresses = [u8; 2 * ACCEPT_ADDRESS_BYTES];

/// All accepts of one listener.
#[derive(Debug)]
pub(super) struct Accepting {
    pub(super) listener: Handle,
    credits: Vec<Credit>,
    /// Credits whose packet the kernel owes.
    posted: usize,
    /// Set when the chain ends: the reason, reported as soon as nothing is posted.
    over: Option<Ended>,
}

#[derive(Debug)]
struct Credit {
    block: OpBlock,
    addresses: ptr::NonNull<Addresses>,
    /// The client's socket, while it is posted.
    socket: Option<OwnedSocket>,
}

impl Credit {
    fn new(block: OpBlock) -> Self {
        let addresses = ptr::NonNull::from(Box::leak(Box::new([0; 2 * ACCEPT_ADDRESS_BYTES])));
        Self { block, addresses, socket: None }
    }
}

impl Drop for Credit {
    fn drop(&mut self) {
        // SAFETY: law 2: the pointer came from a box in `new`, and a credit is dropped only with or after its
        // operation, when no kernel uses it.
        drop(unsafe { Box::from_raw(self.addresses.as_ptr()) });
    }
}

impl Accepting {
    pub(super) fn new(listener: Handle, mut block: impl FnMut() -> OpBlock) -> Self {
        let credits = (0..CREDITS).map(|_| Credit::new(block())).collect();
        Self { listener, credits, posted: 0, over: None }
    }

    /// Why the chain ended.
    pub(super) fn conclude(self) -> Ended {
        self.over.unwrap_or(Ended::Aborted)
    }

    /// Asks the kernel for the credits that are posted.
    fn cancel(&self, listener: HANDLE) {
        for credit in self.credits.iter().filter(|credit| credit.socket.is_some()) {
            kernel::cancel(listener, credit.block.overlapped());
        }
    }

    /// Offers one credit. The error is the system's number.
    fn post(
        &mut self,
        key: Key,
        number: usize,
        listener: HANDLE,
        domain: Domain,
        extensions: &Extensions,
    ) -> Result<(), i32> {
        let accept = extensions.accept.ok_or(WSAEINVAL)?;
        let socket = socket::stream(domain)?;
        let credit = &mut self.credits[number];
        credit.block.address(key, number);
        let overlapped = credit.block.overlapped();
        let room = ACCEPT_ADDRESS_BYTES as u32;
        let area = credit.addresses.as_ptr().cast();
        let mut received = 0_u32;
        let (listening, accepting) =
            (listener.expose_provenance() as SOCKET, socket.as_raw_socket() as SOCKET);
        // SAFETY: law 2: the credit owns the addresses, the OVERLAPPED and the socket until its packet comes.
        // "If dwReceiveDataLength is zero, accepting the connection will not result in a receive operation."
        let posted =
            unsafe { accept(listening, accepting, area, 0, room, room, &raw mut received, overlapped) };
        // A packet comes now or later; only other failures are reported here alone.
        let code = if posted == 0 { kernel::last_error() } else { 0 };
        if code != 0 && code != ERROR_IO_PENDING as i32 {
            return Err(code);
        }
        credit.socket = Some(socket);
        self.posted += 1;
        Ok(())
    }

    /// Who came, from what AcceptEx wrote.
    fn peer(&self, number: usize, extensions: &Extensions) -> Option<std::net::SocketAddr> {
        let find = extensions.accept_addresses?;
        let area = self.credits[number].addresses.as_ptr().cast();
        let room = ACCEPT_ADDRESS_BYTES as u32;
        let (mut local, mut local_bytes) = (ptr::null_mut::<SOCKADDR>(), 0_i32);
        let (mut remote, mut remote_bytes) = (ptr::null_mut::<SOCKADDR>(), 0_i32);
        // SAFETY: the packet came, so the area is as AcceptEx left it, and the lengths are those it was given.
        unsafe {
            find(
                area,
                0,
                room,
                room,
                &raw mut local,
                &raw mut local_bytes,
                &raw mut remote,
                &raw mut remote_bytes,
            );
        }
        let mut storage = SockAddrStorage::zeroed();
        let length = remote_bytes.clamp(0, storage.size_of());
        if remote.is_null() {
            return None;
        }
        // SAFETY: GetAcceptExSockaddrs points into the area at an address of that length; the storage holds the
        // largest there is, and the length was cut to it.
        unsafe {
            ptr::copy_nonoverlapping(remote.cast::<u8>(), (&raw mut storage).cast::<u8>(), length as usize);
        }
        // SAFETY: the first `length` bytes are an address, the rest is zero.
        let address = unsafe { SockAddr::new(storage, length) };
        socket::inet(&address).ok()
    }
}

impl Port {
    /// Posts every credit of a chain that begins.
    pub(super) fn begin_accepts(&mut self, key: Key) {
        for number in 0..CREDITS {
            if !self.post_credit(key, number) {
                return;
            }
        }
    }

    /// Posts a credit until it is accepted. Returns `false` if the chain is over.
    fn post_credit(&mut self, key: Key, number: usize) -> bool {
        let Some((listener, domain, _)) = self.listener_of(key) else { return false };
        for _ in 0..OFFERS_MAX {
            self.core.counters.enters_total += 1;
            let extensions = self.extensions;
            let Some(accepting) = self.accepting(key) else { return false };
            let Err(code) = accepting.post(key, number, listener, domain, &extensions) else { return true };
            match error::accept(code, false) {
                // "WSAECONNRESET: An incoming connection was indicated, but was subsequently terminated by the
                // remote peer prior to accepting the call."
                AcceptEnded::NextPeer => self.core.counters.rearmed_total += 1,
                AcceptEnded::Over(ended) => {
                    self.end_accepts(key, ended);
                    return false;
                }
            }
        }
        self.end_accepts(key, Ended::Failed(error::os_error(WSAEINVAL)));
        false
    }

    /// Ends the chain: posts no more credits and cancels those that are posted.
    pub(super) fn end_accepts(&mut self, key: Key, ended: Ended) {
        let Some((listener, ..)) = self.listener_of(key) else { return };
        let Some(accepting) = self.accepting(key) else { return };
        if accepting.over.is_some() {
            return;
        }
        accepting.over = Some(ended);
        accepting.cancel(listener);
        if accepting.posted == 0 {
            self.core.local.push_back((key, Answer::done(0)));
        }
    }

    /// One credit has returned.
    pub(super) fn accepted(
        &mut self,
        key: Key,
        number: usize,
        token: Token,
        answer: Answer,
        completions: &mut Vec<Completion>,
    ) {
        let Some((listener, _, options)) = self.listener_of(key) else { return };
        let extensions = self.extensions;
        let Some(accepting) = self.accepting(key) else { return };
        let Some(owned) = accepting.credits.get_mut(number).and_then(|credit| credit.socket.take()) else {
            debug_assert!(false, "a packet of a credit that was not posted: {number}");
            return;
        };
        accepting.posted -= 1;
        let over = accepting.over.is_some();
        if answer.code == 0 {
            let peer = accepting.peer(number, &extensions);
            self.take_in(token, owned, peer, (listener, &options), completions);
        } else {
            drop(owned);
            match error::accept(answer.code, over) {
                AcceptEnded::NextPeer => self.core.counters.rearmed_total += 1,
                AcceptEnded::Over(ended) => self.end_accepts(key, ended),
            }
        }
        let Some(accepting) = self.accepting(key) else { return };
        match (accepting.over.is_some(), accepting.posted) {
            (true, 0) if over => self.core.local.push_back((key, Answer::done(0))),
            (true, _) => {}
            (false, _) => {
                self.post_credit(key, number);
            }
        }
    }

    fn take_in(
        &mut self,
        token: Token,
        owned: OwnedSocket,
        peer: Option<std::net::SocketAddr>,
        (listener, options): (HANDLE, &ListenOptions),
        completions: &mut Vec<Completion>,
    ) {
        match (socket::settle_accepted(&owned, listener, options), peer) {
            (Ok(()), Some(peer)) => {
                let socket = self.core.handles.insert(HandleKind::Stream, Descriptor::socket(owned));
                self.core.hand_out(completions, token, Done::Accept(Ok(Accepted { socket, peer })), true);
            }
            (settled, _) => {
                tracing::debug!(?settled, "a client was gone before it was accepted");
            }
        }
    }

    fn accepting(&mut self, key: Key) -> Option<&mut Accepting> {
        match &mut self.core.in_flight.running(key)?.1.kind {
            OpKind::Accept(accepting) => Some(accepting),
            _ => None,
        }
    }

    fn listener_of(&mut self, key: Key) -> Option<(HANDLE, Domain, ListenOptions)> {
        let listener = self.accepting(key)?.listener;
        let descriptor = self.core.handles.any(listener)?;
        let (domain, options) = descriptor.listen.clone()?;
        Some((descriptor.raw(), domain, options))
    }
}
