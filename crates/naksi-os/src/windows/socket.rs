//! Opens sockets and sets their options and addresses.
//!
//! Every stream is non-blocking, for the reads that follow a zero-byte receive; overlapped calls are not affected. A
//! socket is associated with a completion port by its first operation and not before, because it can never be
//! associated with a second one.

// UNSAFETY: bytes that are written already are lent to a call that wants them unwritten.
#![expect(unsafe_code, reason = "a buffer is lent as one that is not written yet")]

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr};
use std::os::windows::io::{AsRawHandle, AsRawSocket, OwnedSocket};
use std::ptr;
use std::time::Duration;

use naksi_core::ended::OsError;
use socket2::{Domain, Protocol, SockAddr, SockRef, Type};
use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::Networking::WinSock::{
    LPFN_WSARECVMSG, SIO_TCP_INITIAL_RTO, SIO_UDP_CONNRESET, SIO_UDP_NETRESET, SO_EXCLUSIVEADDRUSE,
    SO_REUSE_UNICASTPORT, SO_UPDATE_ACCEPT_CONTEXT, SO_UPDATE_CONNECT_CONTEXT, WSAEACCES, WSAEADDRINUSE,
    WSAEAFNOSUPPORT, WSAECONNREFUSED, WSAEINVAL,
};

use super::error;
use super::ext;
use super::kernel::Kernel;
use super::setup::{Setup, Winsock};
use crate::in_flight::Key;
use crate::port::ListenOptions;

/// Bytes of the largest address (`SOCKADDR_STORAGE`).
const ADDRESS_BYTES: usize = 128;

/// Room for one address in the buffer of an `AcceptEx`. Its manual: "This value must be at least 16 bytes
/// more than the maximum address length for the transport protocol in use."
pub(crate) const ACCEPT_ADDRESS_BYTES: usize = ADDRESS_BYTES + 16;

/// The most that `listen` takes as a plain number. It cuts what is above to this, unless it comes as a hint.
const PLAIN_BACKLOG_MAX: u32 = 200;
/// Between two tries to bind.
const BIND_PAUSE: Duration = Duration::from_millis(100);
/// How often a bind is tried: two seconds in all.
const BINDS_MAX: usize = 20;

/// A connected socket on its way from one port to another; dropping it closes it.
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
    /// What receives a datagram of this socket as a message.
    pub(crate) receive_message: LPFN_WSARECVMSG,
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

    pub(crate) fn datagram(owned: OwnedSocket) -> Self {
        let receive_message = ext::receive_message(&owned);
        Self { receive_message, ..Self::new(Resource::Socket(owned), false) }
    }

    pub(crate) fn file(file: File) -> Self {
        Self::new(Resource::File(file), false)
    }

    fn new(resource: Resource, associated: bool) -> Self {
        let (ended_write, ended_both) = (false, false);
        let receive_message = None;
        let (listen, parked) = (None, None);
        Self { resource, associated, listen, ended_write, ended_both, reset: false, receive_message, parked }
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
    listen_by(&Winsock, address, options)
}

fn listen_by(
    setup: &impl Setup,
    address: SocketAddr,
    options: &ListenOptions,
) -> Result<(OwnedSocket, SocketAddr), OsError> {
    let open = || -> io::Result<(OwnedSocket, SocketAddr)> {
        let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        // No other process can bind the port too.
        setup.option(&socket, SO_EXCLUSIVEADDRUSE, &1_i32.to_ne_bytes())?;
        if address.is_ipv6() {
            // Said either way: systems differ in what they take for granted.
            socket.set_only_v6(options.only_v6(address))?;
        }
        // Windows derives the advertised window from the listener's buffer, before there is a peer.
        if let Some(bytes) = options.kernel_recv_bytes {
            socket.set_recv_buffer_size(bytes as usize)?;
        }
        bind_exclusively(setup, &socket, address)?;
        setup.listen(&socket, backlog(options.backlog))?;
        let owned = OwnedSocket::from(socket);
        let local = local(&owned)?;
        Ok((owned, local))
    };
    open().map_err(|error| error::from_io(&error))
}

/// The backlog as `listen` wants it. Above 200 only `SOMAXCONN_HINT(N)` is heeded: "The backlog value will be adjusted to be
/// within the range (200, 65535)", and the macro is the number with its sign turned.
fn backlog(wanted: u32) -> i32 {
    let plain = wanted.min(u16::MAX.into()).cast_signed();
    if wanted <= PLAIN_BACKLOG_MAX { plain } else { -plain }
}

/// Binds a port that no other socket may bind, and tries again for a while if that is refused.
///
/// A restarted server is refused for as long as the system keeps a connection of the one before: "another socket cannot bind
/// to the same port as the first listening socket with the exclusive flag until the accepted connection is no longer
/// active". A free port is never refused, and not tried again.
fn bind_exclusively(setup: &impl Setup, socket: &socket2::Socket, address: SocketAddr) -> io::Result<()> {
    let address_of_system = SockAddr::from(address);
    for _ in 1..BINDS_MAX {
        match setup.bind(socket, &address_of_system) {
            Err(error)
                if address.port() != 0 && matches!(error.raw_os_error(), Some(WSAEADDRINUSE | WSAEACCES)) =>
            {
                setup.pause(BIND_PAUSE);
            }
            bound => return bound,
        }
    }
    setup.bind(socket, &address_of_system)
}

/// A datagram socket, and its address.
pub(crate) fn datagram(address: SocketAddr) -> Result<(OwnedSocket, SocketAddr), OsError> {
    datagram_by(&Winsock, address)
}

fn datagram_by(setup: &impl Setup, address: SocketAddr) -> Result<(OwnedSocket, SocketAddr), OsError> {
    let open = || -> io::Result<(OwnedSocket, SocketAddr)> {
        let socket = socket2::Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        // No other process can bind the port and take the datagrams.
        setup.option(&socket, SO_EXCLUSIVEADDRUSE, &1_i32.to_ne_bytes())?;
        ignore_unreachable_peers(setup, &socket);
        bind_exclusively(setup, &socket, address)?;
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

/// Where a connect to this address goes. Windows refuses the address that means all addresses of a machine
/// (WSAEADDRNOTAVAIL); elsewhere it means this machine.
pub(crate) fn destination(remote: SocketAddr) -> SocketAddr {
    let mut remote = remote;
    match remote.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => remote.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => remote.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    remote
}

/// A stream socket on its way to a remote: ConnectEx wants a socket that is bound already.
pub(crate) fn connecting(remote: SocketAddr) -> Result<OwnedSocket, i32> {
    connecting_by(&Winsock, remote)
}

fn connecting_by(setup: &impl Setup, remote: SocketAddr) -> Result<OwnedSocket, i32> {
    let any = match remote {
        SocketAddr::V4(_) => SocketAddr::from(([0, 0, 0, 0], 0)),
        SocketAddr::V6(_) => SocketAddr::from(([0; 16], 0)),
    };
    let socket = socket2::Socket::from(stream(Domain::for_address(remote))?);
    // "Allow ephemeral port reuse for Winsock API connection functions which require an explicit bind, such as
    // ConnectEx": else each connection keeps one of some 16,000 ports for itself. Older systems refuse it.
    setup.option(&socket, SO_REUSE_UNICASTPORT, &1_i32.to_ne_bytes()).ok();
    if remote.ip().to_canonical().is_loopback() {
        // A refused connect is tried again for two seconds; nothing is lost on the way to this machine. Windows before 8.1
        // does not know it.
        setup.control(&socket, SIO_TCP_INITIAL_RTO, &NO_SYN_RETRANSMISSIONS).ok();
    }
    setup.bind(&socket, &SockAddr::from(any)).map_err(|error| code(&error))?;
    Ok(socket.into())
}

/// `TCP_INITIAL_RTO_PARAMETERS`: the round-trip time that was never measured (`TCP_INITIAL_RTO_UNSPECIFIED_RTT`, 16 bits), no
/// retransmission of a SYN (`TCP_INITIAL_RTO_NO_SYN_RETRANSMISSIONS`, 8 bits), and the structure's padding.
const NO_SYN_RETRANSMISSIONS: [u8; 4] = [0xff, 0xff, 0xfe, 0];

/// Makes an accepted socket whole. An error says that the client has gone already.
pub(crate) fn settle_accepted(
    accepted: &OwnedSocket,
    listener: HANDLE,
    options: &ListenOptions,
) -> io::Result<()> {
    // Until then the socket has no address, cannot be shut down, and has none of the listener's options.
    let socket = SockRef::from(accepted);
    Winsock.option(&socket, SO_UPDATE_ACCEPT_CONTEXT, &listener.expose_provenance().to_ne_bytes())?;
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
    let socket = SockRef::from(connected);
    Winsock.option(&socket, SO_UPDATE_CONNECT_CONTEXT, &[])?;
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

/// Has the socket reset its connection when it is closed, instead of keeping it until the peer has heard the end.
pub(crate) fn reset_at_close(socket: &OwnedSocket) {
    // The only failure is that there is no connection any more.
    SockRef::from(socket).set_linger(Some(Duration::ZERO)).ok();
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

/// Without it, a datagram to an unbound port (`SIO_UDP_CONNRESET`) or one whose time to live ran out on the way
/// (`SIO_UDP_NETRESET`) makes the next receive fail. An older system that refuses one of them still has the other.
fn ignore_unreachable_peers(setup: &impl Setup, socket: &socket2::Socket) {
    for code in [SIO_UDP_CONNRESET, SIO_UDP_NETRESET] {
        if let Err(error) = setup.control(socket, code, &0_u32.to_ne_bytes()) {
            tracing::debug!(%error, code, "unreachable peers are reported on a datagram socket");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::setup::tests::{Call, Noted};
    use super::*;

    const EXCLUSIVE: Call = Call::Option(SO_EXCLUSIVEADDRUSE, Vec::new());

    /// The calls, without what an option is set to.
    fn names(noted: &Noted) -> Vec<Call> {
        let plain = |call| match call {
            Call::Option(option, _) => Call::Option(option, Vec::new()),
            call => call,
        };
        noted.calls().into_iter().map(plain).collect()
    }

    #[test]
    fn a_backlog_above_200_is_a_hint() {
        let asked = [0, 1, 200, 201, 4096, 65_535, 65_536, u32::MAX].map(backlog);
        assert_eq!(asked, [0, 1, 200, -201, -4096, -65_535, -65_535, -65_535]);
    }

    #[test]
    fn a_listener_is_exclusive_before_it_is_bound_and_tells_its_backlog_as_a_hint() {
        let noted = Noted::default();
        let options = ListenOptions { backlog: 4096, ..ListenOptions::default() };
        listen_by(&noted, SocketAddr::from(([127, 0, 0, 1], 0)), &options).expect("a free port");
        assert_eq!(names(&noted), [EXCLUSIVE, Call::Bind, Call::Listen(-4096)]);
    }

    #[test]
    fn a_port_that_connections_of_the_last_server_still_hold_is_asked_for_again() {
        let (free, _) = listen(SocketAddr::from(([127, 0, 0, 1], 0)), &ListenOptions::default())
            .map(|(owned, local)| (local, owned))
            .expect("a free port");
        let noted = Noted::refusing(&[WSAEACCES, WSAEADDRINUSE]);
        listen_by(&noted, free, &ListenOptions::default()).expect("the third bind succeeds");
        let binds = [Call::Bind, Call::Pause, Call::Bind, Call::Pause, Call::Bind];
        assert_eq!(names(&noted)[1..6], binds);

        let noted = Noted::refusing(&[WSAEACCES; BINDS_MAX]);
        let refused = listen_by(&noted, free, &ListenOptions::default()).expect_err("it stays refused");
        assert_eq!(refused.code, WSAEACCES);
        assert_eq!(names(&noted).iter().filter(|call| **call == Call::Bind).count(), BINDS_MAX);

        let noted = Noted::refusing(&[WSAEACCES]);
        listen_by(&noted, SocketAddr::from(([127, 0, 0, 1], 0)), &ListenOptions::default())
            .expect_err("a free port is not asked for again");
    }

    #[test]
    fn a_datagram_socket_is_exclusive_and_hears_of_no_unreachable_peer_before_it_is_bound() {
        let noted = Noted::default();
        datagram_by(&noted, SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
        let off = 0_u32.to_ne_bytes().to_vec();
        let controls = [SIO_UDP_CONNRESET, SIO_UDP_NETRESET].map(|code| Call::Control(code, off.clone()));
        let [connections, networks] = controls;
        assert_eq!(names(&noted), [EXCLUSIVE, connections, networks, Call::Bind]);
    }

    #[test]
    fn a_connect_to_this_machine_is_refused_at_once() {
        let rto = Call::Control(SIO_TCP_INITIAL_RTO, NO_SYN_RETRANSMISSIONS.to_vec());
        for (remote, is_loopback) in [
            ("127.0.0.1:9", true),
            ("127.1.2.3:9", true),
            ("[::1]:9", true),
            ("[::ffff:127.0.0.1]:9", true),
            ("192.0.2.1:9", false),
            ("[2001:db8::1]:9", false),
        ] {
            let noted = Noted::default();
            connecting_by(&noted, remote.parse().expect("an address")).expect("a socket");
            assert_eq!(noted.calls().contains(&rto), is_loopback, "{remote}");
            assert_eq!(noted.calls().last(), Some(&Call::Bind), "{remote}");
        }
    }

    #[test]
    fn the_address_of_all_addresses_is_this_machine() {
        let to = |address: &str| destination(address.parse().expect("an address")).to_string();
        assert_eq!(to("0.0.0.0:7777"), "127.0.0.1:7777");
        assert_eq!(to("[::]:7777"), "[::1]:7777");
        assert_eq!(to("192.0.2.7:7777"), "192.0.2.7:7777");
    }

    #[test]
    fn a_socket_that_shall_reset_waits_for_nothing_when_it_is_closed() {
        let owned = stream(Domain::IPV4).expect("a socket");
        reset_at_close(&owned);
        assert_eq!(SockRef::from(&owned).linger().expect("an option"), Some(Duration::ZERO));
    }

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
