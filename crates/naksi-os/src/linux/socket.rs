//! Opens sockets and sets what is set once: options, addresses. Knows no ring and no operation.

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use naksi_core::ended::OsError;
use socket2::{Domain, Protocol, SockAddr, SockRef, Type};

use super::error;
use crate::in_flight::Key;
use crate::port::ListenOptions;

/// A connected socket on its way from one port to another; dropping it closes it.
#[derive(Debug)]
pub struct Socket(pub(crate) Descriptor);

/// What the port keeps for an open handle: the descriptor, and how its stream stands.
#[derive(Debug)]
pub(crate) struct Descriptor {
    owned: OwnedFd,
    /// We ended our own direction: a send that fails now fails by our own wish.
    pub(crate) ended_write: bool,
    /// We ended both directions: a receive that ends now ends by our own wish.
    pub(crate) ended_both: bool,
    /// A send met the peer's reset. The kernel reports a reset only once and calls what follows an orderly
    /// end of zero bytes; the receive shall hear the truth.
    pub(crate) reset: bool,
    /// The receive that waits inside the port for a lease to come home.
    pub(crate) parked: Option<Key>,
    /// The receive that brought bytes last and may have missed what came right behind them.
    pub(crate) doubted: Option<Key>,
    /// That receive was called back to be asked again.
    pub(crate) recalled: bool,
}

impl Descriptor {
    pub(crate) fn new(owned: OwnedFd) -> Self {
        let (parked, doubted) = (None, None);
        Self { owned, ended_write: false, ended_both: false, reset: false, parked, doubted, recalled: false }
    }

    pub(crate) fn owned(&self) -> &OwnedFd {
        &self.owned
    }

    pub(crate) fn into_owned(self) -> OwnedFd {
        self.owned
    }

    pub(crate) fn raw(&self) -> RawFd {
        self.owned.as_raw_fd()
    }
}

/// A listener, and its address.
pub(crate) fn listen(
    address: SocketAddr,
    options: &ListenOptions,
) -> Result<(OwnedFd, SocketAddr), OsError> {
    let open = || -> io::Result<(OwnedFd, SocketAddr)> {
        let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        // Without it a restart is refused for as long as old connections linger in TIME_WAIT (socket(7)).
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            // A listener on :: that also took IPv4 would report peers under mapped addresses.
            socket.set_only_v6(true)?;
        }
        // Accepted sockets inherit these three on Linux, which saves three calls for each of them.
        socket.set_tcp_nodelay(options.no_delay)?;
        if let Some(bytes) = options.kernel_send_bytes {
            socket.set_send_buffer_size(bytes as usize)?;
        }
        if let Some(bytes) = options.kernel_recv_bytes {
            socket.set_recv_buffer_size(bytes as usize)?;
        }
        socket.bind(&SockAddr::from(address))?;
        socket.listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))?;
        let owned = OwnedFd::from(socket);
        let local = local(&owned)?;
        Ok((owned, local))
    };
    open().map_err(|error| error::from_io(&error))
}

/// A datagram socket, and its address.
pub(crate) fn datagram(address: SocketAddr) -> Result<(OwnedFd, SocketAddr), OsError> {
    let open = || -> io::Result<(OwnedFd, SocketAddr)> {
        let socket = socket2::Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.bind(&SockAddr::from(address))?;
        let owned = OwnedFd::from(socket);
        let local = local(&owned)?;
        Ok((owned, local))
    };
    open().map_err(|error| error::from_io(&error))
}

/// A stream socket that is not connected yet. The error is the system's number.
pub(crate) fn stream(remote: SocketAddr) -> Result<OwnedFd, i32> {
    let open = || -> io::Result<OwnedFd> {
        let socket = socket2::Socket::new(Domain::for_address(remote), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_tcp_nodelay(true)?;
        Ok(OwnedFd::from(socket))
    };
    open().map_err(|error| error.raw_os_error().unwrap_or(libc::EINVAL))
}

/// Our own address on a socket (`getsockname(2)`).
pub(crate) fn local(socket: &OwnedFd) -> io::Result<SocketAddr> {
    inet(&SockRef::from(socket).local_addr()?)
}

/// The peer's address (`getpeername(2)`: "ENOTCONN: The socket is not connected", so the peer is gone).
pub(crate) fn peer(socket: &OwnedFd) -> io::Result<SocketAddr> {
    inet(&SockRef::from(socket).peer_addr()?)
}

/// Ends both directions at once, for the end of a port. A socket that is not connected needs it not.
pub(crate) fn end(socket: &OwnedFd) {
    SockRef::from(socket).shutdown(Shutdown::Both).ok(); // the only failure is that there is nothing to end
}

fn inet(address: &SockAddr) -> io::Result<SocketAddr> {
    address.as_socket().ok_or_else(|| io::Error::from_raw_os_error(libc::EAFNOSUPPORT))
}
