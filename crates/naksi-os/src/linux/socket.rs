//! Opens sockets and sets their options and addresses.

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use naksi_core::ended::OsError;
use socket2::{Domain, Protocol, SockAddr, SockRef, Type};

use super::error;
use crate::in_flight::Key;
use crate::port::{ListenOptions, Share};

/// A connected socket in transfer from one port to another; dropping it closes it.
#[derive(Debug)]
pub struct Socket(pub(crate) Descriptor);

/// Where an open file is kept.
#[derive(Debug)]
pub(crate) enum OpenFd {
    /// In the table of the process; dropping it closes it.
    Process(OwnedFd),
    /// An index in the table of one ring (a direct descriptor): only that ring can use and close it.
    Ring(u32),
}

impl OpenFd {
    /// The number that a submission entry uses.
    pub(crate) fn fd_kind(&self) -> FdKind {
        match self {
            OpenFd::Process(owned) => FdKind::Process(owned.as_raw_fd()),
            OpenFd::Ring(index) => FdKind::Ring(*index),
        }
    }
}

/// The number of an open file, and whose number it is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum FdKind {
    /// A descriptor of the process; -1 for an operation that has none.
    Process(RawFd),
    /// An index in the ring's own table.
    Ring(u32),
}

/// An [`FdKind`] in four bytes: every operation in flight has one, and most of them are idle receives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PackedFd(i32);

impl From<FdKind> for PackedFd {
    fn from(fd_kind: FdKind) -> Self {
        match fd_kind {
            FdKind::Process(raw) => Self(raw),
            // No table has 2^31 entries; -1 is in use, so they count down from -2.
            FdKind::Ring(index) => Self(-2 - index as i32),
        }
    }
}

impl PackedFd {
    /// The unpacked form.
    pub(crate) fn fd_kind(self) -> FdKind {
        if self.0 >= -1 { FdKind::Process(self.0) } else { FdKind::Ring((-2 - self.0) as u32) }
    }
}

/// The state of an open handle: the descriptor, and the state of its stream.
#[derive(Debug)]
pub(crate) struct Descriptor {
    place: OpenFd,
    /// We shut down our own direction: a send that fails now was aborted by us.
    pub(crate) ended_write: bool,
    /// We shut down both directions: a receive that ends now was aborted by us.
    pub(crate) ended_both: bool,
    /// A send met the peer's reset. The kernel reports a reset only once and then an orderly end of zero bytes; the
    /// receive must still report the reset.
    pub(crate) reset: bool,
    /// The receive that waits inside the port for the next wait, or for a free lease.
    pub(crate) parked: Option<Key>,
    /// It found the pool empty: its next receive takes one buffer only, so that others in the queue get one too.
    pub(crate) starved: bool,
    /// The receive that returned bytes last and may have missed an event directly after them.
    pub(crate) doubted: Option<Key>,
    /// That receive was called back to be asked again.
    pub(crate) recalled: bool,
    /// The kernel refused a receive with a byte limit here once (before Linux 6.17), and was asked again without.
    pub(crate) unlimited: bool,
}

impl Descriptor {
    pub(crate) fn new(owned: OwnedFd) -> Self {
        Self::at(OpenFd::Process(owned))
    }

    /// A stream in the ring's own table.
    pub(crate) fn direct(index: u32) -> Self {
        Self::at(OpenFd::Ring(index))
    }

    fn at(place: OpenFd) -> Self {
        Self {
            place,
            ended_write: false,
            ended_both: false,
            reset: false,
            parked: None,
            starved: false,
            doubted: None,
            recalled: false,
            unlimited: false,
        }
    }

    pub(crate) fn place(&self) -> &OpenFd {
        &self.place
    }

    pub(crate) fn into_place(self) -> OpenFd {
        self.place
    }

    pub(crate) fn fd_kind(&self) -> FdKind {
        self.place.fd_kind()
    }

    /// A descriptor owned by the process: a listener, a file, anything on epoll.
    pub(crate) fn owned(&self) -> &OwnedFd {
        match &self.place {
            OpenFd::Process(owned) => owned,
            OpenFd::Ring(_) => unreachable!("what is in a ring's table never leaves the ring"),
        }
    }
}

/// A listener, and its address.
pub(crate) fn listen(address: SocketAddr, options: &ListenOptions) -> Result<(OwnedFd, SocketAddr), OsError> {
    let open = || -> io::Result<(OwnedFd, SocketAddr)> {
        let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        // Without it a restart fails for as long as old connections are in TIME_WAIT (socket(7)).
        socket.set_reuse_address(true)?;
        if options.share == Share::Join {
            socket.set_reuse_port(true)?;
        }
        if address.is_ipv6() {
            // Said either way: systems differ in what they take for granted.
            socket.set_only_v6(options.only_v6(address))?;
        }
        // Accepted sockets inherit these three on Linux, which saves three calls for each of them.
        socket.set_tcp_nodelay(options.no_delay)?;
        if let Some(bytes) = options.kernel_send_bytes {
            socket.set_send_buffer_size(bytes as usize)?;
            tell_if_far_less(options, bytes, socket.send_buffer_size()?, "net.core.wmem_max");
        }
        if let Some(bytes) = options.kernel_recv_bytes {
            socket.set_recv_buffer_size(bytes as usize)?;
            tell_if_far_less(options, bytes, socket.recv_buffer_size()?, "net.core.rmem_max");
        }
        socket.bind(&SockAddr::from(address))?;
        if options.share == Share::Open {
            // After the bind: an address that another process shares still counts as in use.
            socket.set_reuse_port(true)?;
        }
        socket.listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))?;
        let owned = OwnedFd::from(socket);
        let local = local(&owned)?;
        Ok((owned, local))
    };
    open().map_err(|error| error::from_io(&error))
}

/// Warns when the system grants much less buffer than requested (`socket(7)`: SO_RCVBUF and SO_SNDBUF are silently
/// bounded by a setting of the system, and the kernel doubles the value). The defaults are slightly above what many
/// systems allow; that is not worth a warning. Only the first of several listeners that share an address warns.
fn tell_if_far_less(options: &ListenOptions, wanted_bytes: u32, doubled_bytes: usize, setting: &str) {
    let given_bytes = doubled_bytes / 2;
    if options.share != Share::Join && given_bytes < wanted_bytes as usize / 4 * 3 {
        tracing::warn!(
            wanted_bytes,
            given_bytes,
            "the system allows sessions less room in the kernel: see {setting}"
        );
    }
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

/// Shuts down both directions, for the end of a port. Errors of unconnected sockets do not matter.
pub(crate) fn end(socket: &OwnedFd) {
    SockRef::from(socket).shutdown(Shutdown::Both).ok(); // the only failure is that there is nothing to end
}

fn inet(address: &SockAddr) -> io::Result<SocketAddr> {
    address.as_socket().ok_or_else(|| io::Error::from_raw_os_error(libc::EAFNOSUPPORT))
}
