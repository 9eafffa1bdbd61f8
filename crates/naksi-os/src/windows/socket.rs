//! Opens sockets and sets their options and addresses.
//!
//! Every stream is non-blocking, for the reads that follow a zero-byte receive; overlapped calls are not affected. A
//! socket is associated with a completion port by its first operation and not before, because it can never be
//! associated with a second one.

// UNSAFETY: the socket2 crate lacks three options, which are set by raw calls.
#![expect(unsafe_code, reason = "three options are set by raw calls")]

use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::net::{Shutdown, SocketAddr};
use std::os::windows::io::{AsRawHandle, AsRawSocket, OwnedSocket};
use std::ptr;

use naksi_core::ended::OsError;
use socket2::{Domain, Protocol, SockAddr, SockRef, Type};
use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::Networking::WinSock::{
    SIO_UDP_CONNRESET, SO_EXCLUSIVEADDRUSE, SO_REUSE_UNICASTPORT, SO_UPDATE_ACCEPT_CONTEXT,
    SO_UPDATE_CONNECT_CONTEXT, SOCKET, SOL_SOCKET, WSAEAFNOSUPPORT, WSAECONNREFUSED, WSAEINVAL, WSAIoctl,
    setsockopt,
};

use super::error;
use super::kernel::{Kernel, last_error};
use crate::in_flight::Key;
use crate::port::ListenOptions;

/// Bytes of the largest address (`SOCKADDR_STORAGE`).
const ADDRESS_BYTES: usize = 128;

/// Room for one address in the buffer of an `AcceptEx`. Its manual: "This value must be at least 16 bytes
/// more than the maximum address length for the transport protocol in use."
pub(crate) const ACCEPT_ADDRESS_BYTES: usize = ADDRESS_BYTES + 16;

/// A connected socket in transfer from one port to another; dropping it closes it.
///
/// A socket that was used on its first port stays associated with that port for ever: another port can adopt and
/// close it, but every operation there fails with `Unsupported`.
#[derive(Debug)]
pub struct Socket(pub(crate) Descriptor);

/// What is behind a handle.
#[derive(Debug)]
pub(crate) enum Resource {
    Socket(OwnedSocket),
    File(File),
}

/// The state of an open handle: the resource, and the state of its stream.
#[derive(Debug)]
pub(crate) struct Descriptor {
    resource: Resource,
    /// Whether the resource is associated with a completion port, which is permanent.
    associated: bool,
    /// What accepted sockets of this listener are to be like.
    pub(crate) listen: Option<(Domain, ListenOptions)>,
    /// We shut down our own direction: a send that fails now was aborted by us.
    pub(crate) ended_write: bool,
    /// We shut down both directions: a receive that ends now was aborted by us.
    pub(crate) ended_both: bool,
    /// A send met the peer's reset. The system reports a reset only once and may then report an orderly end of zero
    /// bytes; the receive must still report the reset.
    pub(crate) reset: bool,
    /// The receive that waits inside the port for a free lease.
    pub(crate) parked: Option<Key>,
}

impl Descriptor {
    pub(crate) fn socket(owned: OwnedSocket) -> Self {
        Self::new(Resource::Socket(owned), false)
    }

    /// A socket whose connecting was its first operation on this port.
    pub(crate) fn connected(owned: OwnedSocket) -> Self {
        Self::new(Resource::Socket(owned), true)
    }

    pub(crate) fn listener(owned: OwnedSocket, address: SocketAddr, options: &ListenOptions) -> Self {
        let mut descriptor = Self::new(Resource::Socket(owned), false);
        descriptor.listen = Some((Domain::for_address(address), options.clone()));
        descriptor
    }

    pub(crate) fn file(file: File) -> Self {
        Self::new(Resource::File(file), false)
    }

    fn new(resource: Resource, associated: bool) -> Self {
        let (ended_write, ended_both) = (false, false);
        Self { resource, associated, listen: None, ended_write, ended_both, reset: false, parked: None }
    }

    pub(crate) fn resource(&self) -> &Resource {
        &self.resource
    }

    pub(crate) fn raw(&self) -> HANDLE {
        match &self.resource {
            Resource::Socket(owned) => raw(owned),
            Resource::File(file) => file.as_raw_handle(),
        }
    }

    /// Associates the resource with this port. Only the first call has an effect.
    pub(crate) fn associate(&mut self, kernel: &Kernel) -> Result<(), i32> {
        if self.associated {
            return Ok(());
        }
        kernel.associate(self.raw())?;
        self.associated = true;
        Ok(())
    }

    /// The association with another port, if any, is permanent: the system will refuse the new one.
    pub(crate) fn moved(mut self) -> Self {
        self.associated = false;
        self
    }
}

/// A socket as the handle that it is.
pub(crate) fn raw(socket: &impl AsRawSocket) -> HANDLE {
    ptr::with_exposed_provenance_mut(socket.as_raw_socket() as usize)
}

/// A listener, and its address.
pub(crate) fn listen(
    address: SocketAddr,
    options: &ListenOptions,
) -> Result<(OwnedSocket, SocketAddr), OsError> {
    let open = || -> io::Result<(OwnedSocket, SocketAddr)> {
        let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        // No other process can bind the port too; TIME_WAIT does not prevent a restart.
        set_option(&socket, SO_EXCLUSIVEADDRUSE, &1_i32.to_ne_bytes())?;
        if address.is_ipv6() {
            // Said either way: systems differ in what they take for granted.
            socket.set_only_v6(options.only_v6(address))?;
        }
        // Windows derives the advertised window from the listener's buffer, before there is a peer.
        if let Some(bytes) = options.kernel_recv_bytes {
            socket.set_recv_buffer_size(bytes as usize)?;
        }
        socket.bind(&SockAddr::from(address))?;
        socket.listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))?;
        let owned = OwnedSocket::from(socket);
        let local = local(&owned)?;
        Ok((owned, local))
    };
    open().map_err(|error| error::from_io(&error))
}

/// A datagram socket, and its address.
pub(crate) fn datagram(address: SocketAddr) -> Result<(OwnedSocket, SocketAddr), OsError> {
    let open = || -> io::Result<(OwnedSocket, SocketAddr)> {
        let socket = socket2::Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        forget_unreachable_ports(&socket);
        socket.bind(&SockAddr::from(address))?;
        let owned = OwnedSocket::from(socket);
        let local = local(&owned)?;
        Ok((owned, local))
    };
    open().map_err(|error| error::from_io(&error))
}

/// A stream socket that is not connected yet. The error is the system's number.
pub(crate) fn stream(domain: Domain) -> Result<OwnedSocket, i32> {
    let socket =
        socket2::Socket::new(domain, Type::STREAM, Some(Protocol::TCP)).map_err(|error| code(&error))?;
    Ok(OwnedSocket::from(socket))
}

/// A stream socket for connecting to a remote: ConnectEx requires a bound socket.
pub(crate) fn connecting(remote: SocketAddr) -> Result<OwnedSocket, i32> {
    let any = match remote {
        SocketAddr::V4(_) => SocketAddr::from(([0, 0, 0, 0], 0)),
        SocketAddr::V6(_) => SocketAddr::from(([0; 16], 0)),
    };
    let owned = stream(Domain::for_address(remote))?;
    // "Allow ephemeral port reuse for Winsock API connection functions which require an explicit bind, such as
    // ConnectEx": else each connection keeps one of some 16,000 ports for itself. Older systems refuse it.
    set_option(&owned, SO_REUSE_UNICASTPORT, &1_i32.to_ne_bytes()).ok();
    SockRef::from(&owned).bind(&SockAddr::from(any)).map_err(|error| code(&error))?;
    Ok(owned)
}

/// Completes an accepted socket. An error means that the client has gone already.
pub(crate) fn settle_accepted(
    accepted: &OwnedSocket,
    listener: HANDLE,
    options: &ListenOptions,
) -> io::Result<()> {
    // Until this call the socket has no address, cannot be shut down, and lacks the listener's options.
    set_option(accepted, SO_UPDATE_ACCEPT_CONTEXT, &listener.expose_provenance().to_ne_bytes())?;
    let socket = SockRef::from(accepted);
    socket.set_nonblocking(true)?;
    // Set after the accept: not every system keeps options set before it.
    socket.set_tcp_nodelay(options.no_delay)?;
    if let Some(bytes) = options.kernel_send_bytes {
        socket.set_send_buffer_size(bytes as usize)?;
    }
    if let Some(bytes) = options.kernel_recv_bytes {
        socket.set_recv_buffer_size(bytes as usize)?;
    }
    Ok(())
}

/// Completes a connected socket, and returns its local address. A socket that connected to itself is refused.
pub(crate) fn settle_connected(connected: &OwnedSocket) -> io::Result<SocketAddr> {
    set_option(connected, SO_UPDATE_CONNECT_CONTEXT, &[])?;
    let socket = SockRef::from(connected);
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    let local = local(connected)?;
    // A socket that is bound before it connects may get the very port that it connects to, and then connects to
    // itself if no socket listens there. A peer that has gone again is another case.
    if socket.peer_addr().is_ok_and(|peer| peer.as_socket() == Some(local)) {
        return Err(io::Error::from_raw_os_error(WSAECONNREFUSED));
    }
    Ok(local)
}

/// Reads what has arrived. `None` if nothing has; zero bytes are the peer's end.
pub(crate) fn read(socket: &OwnedSocket, buffer: &mut [u8]) -> Result<Option<u32>, i32> {
    let length = buffer.len();
    // SAFETY: the bytes are written already, so they may stand where bytes need not be; `recv` writes no
    // byte that is not one.
    let room =
        unsafe { std::slice::from_raw_parts_mut(buffer.as_mut_ptr().cast::<MaybeUninit<u8>>(), length) };
    match SockRef::from(socket).recv(room) {
        Ok(bytes) => Ok(Some(bytes as u32)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(code(&error)),
    }
}

/// Ends our direction, or both.
pub(crate) fn shutdown(socket: &OwnedSocket, how: Shutdown) -> Result<(), i32> {
    SockRef::from(socket).shutdown(how).map_err(|error| code(&error))
}

/// An address as the system wrote it.
pub(crate) fn inet(address: &SockAddr) -> Result<SocketAddr, i32> {
    address.as_socket().ok_or(WSAEAFNOSUPPORT)
}

fn local(socket: &OwnedSocket) -> io::Result<SocketAddr> {
    inet(&SockRef::from(socket).local_addr()?).map_err(io::Error::from_raw_os_error)
}

fn code(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(WSAEINVAL)
}

fn set_option(socket: &impl AsRawSocket, option: i32, value: &[u8]) -> io::Result<()> {
    let pointer = if value.is_empty() { ptr::null() } else { value.as_ptr() };
    let raw = socket.as_raw_socket() as SOCKET;
    // SAFETY: setsockopt reads `value.len()` bytes before it returns, and there are so many.
    let result = unsafe { setsockopt(raw, SOL_SOCKET, option, pointer, value.len() as i32) };
    if result == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(last_error())) }
}

/// Without it, a datagram to an unbound port makes the next receive fail (`SIO_UDP_CONNRESET`).
fn forget_unreachable_ports(socket: &impl AsRawSocket) {
    let (off, mut returned) = (0_u32, 0_u32);
    let raw = socket.as_raw_socket() as SOCKET;
    let input: *const c_void = (&raw const off).cast();
    // SAFETY: WSAIoctl reads the four bytes of `off` and writes those of `returned` before it returns.
    let result = unsafe {
        WSAIoctl(
            raw,
            SIO_UDP_CONNRESET,
            input,
            4,
            ptr::null_mut(),
            0,
            &raw mut returned,
            ptr::null_mut(),
            None,
        )
    };
    if result != 0 {
        tracing::debug!(code = last_error(), "unreachable ports are reported on a datagram socket");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_met_itself_was_refused() {
        let owned = stream(Domain::IPV4).expect("a socket");
        let socket = SockRef::from(&owned);
        socket.bind(&SockAddr::from(SocketAddr::from(([127, 0, 0, 1], 0)))).expect("a free port");
        let itself = socket.local_addr().expect("it is bound");
        socket.set_nonblocking(false).expect("an option");
        socket.connect(&itself).expect("who listens nowhere meets itself");
        let refused = settle_connected(&owned).expect_err("no socket listens there");
        assert_eq!(refused.raw_os_error(), Some(WSAECONNREFUSED));
    }
}
