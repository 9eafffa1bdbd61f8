//! The extension functions of Winsock: their addresses, and which are available.
//!
//! No import library reliably contains them: `WSAIoctl(SIO_GET_EXTENSION_FUNCTION_POINTER)` returns each by its
//! identifier, for the provider of the given socket. A port needs the first three; the others are optional.

// UNSAFETY: a function arrives as an address.
#![expect(unsafe_code, reason = "functions arrive as addresses")]

use std::ffi::c_void;
use std::os::windows::io::AsRawSocket;
use std::{mem, ptr};

use windows_sys::Win32::Networking::WinSock::{
    LPFN_ACCEPTEX, LPFN_CONNECTEX, LPFN_DISCONNECTEX, LPFN_GETACCEPTEXSOCKADDRS, LPFN_TRANSMITFILE,
    LPFN_TRANSMITPACKETS, LPFN_WSARECVMSG, SIO_GET_EXTENSION_FUNCTION_POINTER, SOCKET, WSAID_ACCEPTEX,
    WSAID_CONNECTEX, WSAID_DISCONNECTEX, WSAID_GETACCEPTEXSOCKADDRS, WSAID_TRANSMITFILE,
    WSAID_TRANSMITPACKETS, WSAID_WSARECVMSG, WSAIoctl,
};
use windows_sys::core::GUID;

use super::kernel::last_error;

/// The extension functions of a socket's provider. `None` if it lacks one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extensions {
    pub(crate) accept: LPFN_ACCEPTEX,
    pub(crate) accept_addresses: LPFN_GETACCEPTEXSOCKADDRS,
    pub(crate) connect: LPFN_CONNECTEX,
    pub(crate) disconnect: LPFN_DISCONNECTEX,
    pub(crate) transmit_file: LPFN_TRANSMITFILE,
    pub(crate) transmit_packets: LPFN_TRANSMITPACKETS,
}

impl Extensions {
    /// Asks the provider of this socket for every function.
    pub(crate) fn of(socket: &impl AsRawSocket) -> Self {
        Self {
            accept: function(socket, "AcceptEx", WSAID_ACCEPTEX),
            accept_addresses: function(socket, "GetAcceptExSockaddrs", WSAID_GETACCEPTEXSOCKADDRS),
            connect: function(socket, "ConnectEx", WSAID_CONNECTEX),
            disconnect: function(socket, "DisconnectEx", WSAID_DISCONNECTEX),
            transmit_file: function(socket, "TransmitFile", WSAID_TRANSMITFILE),
            transmit_packets: function(socket, "TransmitPackets", WSAID_TRANSMITPACKETS),
        }
    }

    /// The name of a missing function that a port needs, if there is one.
    pub(crate) fn missing(&self) -> Option<&'static str> {
        if self.accept.is_none() {
            return Some("AcceptEx");
        }
        if self.accept_addresses.is_none() {
            return Some("GetAcceptExSockaddrs");
        }
        self.connect.is_none().then_some("ConnectEx")
    }
}

/// `WSARecvMsg` for this very socket: the provider hands it out for datagram sockets only, and for each family by itself.
pub(crate) fn receive_message(socket: &impl AsRawSocket) -> LPFN_WSARECVMSG {
    function(socket, "WSARecvMsg", WSAID_WSARECVMSG)
}

/// One function. `F` is the type that `mswsock.h` declares under the identifier.
fn function<F: Copy>(socket: &impl AsRawSocket, name: &str, id: GUID) -> F {
    const { assert!(size_of::<F>() == size_of::<*const c_void>(), "an optional function pointer") };
    let found = address(socket, name, id);
    // SAFETY: the address is null, which is the `None` of an optional function pointer, or that of the
    // function which the identifier names, and every caller above writes the two side by side.
    unsafe { mem::transmute_copy::<*const c_void, F>(&found) }
}

fn address(socket: &impl AsRawSocket, name: &str, id: GUID) -> *const c_void {
    let mut found: *const c_void = ptr::null();
    let mut returned = 0_u32;
    let (input, input_bytes) = ((&raw const id).cast(), size_of::<GUID>() as u32);
    let (output, output_bytes) = ((&raw mut found).cast(), size_of::<*const c_void>() as u32);
    let raw = socket.as_raw_socket() as SOCKET;
    // SAFETY: WSAIoctl reads the identifier and writes one pointer and one length before it returns.
    let result = unsafe {
        WSAIoctl(
            raw,
            SIO_GET_EXTENSION_FUNCTION_POINTER,
            input,
            input_bytes,
            output,
            output_bytes,
            &raw mut returned,
            ptr::null_mut(),
            None,
        )
    };
    if result != 0 {
        tracing::debug!(name, code = last_error(), "this system lacks an extension function");
        return ptr::null();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_port_needs_is_there_and_what_is_missing_is_named() {
        let socket = super::super::socket::stream(socket2::Domain::IPV4).expect("a socket");
        let mut extensions = Extensions::of(&socket);
        assert_eq!(extensions.missing(), None);
        assert!(extensions.disconnect.is_some() && extensions.transmit_file.is_some());
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let address = address.parse().expect("an address");
            let (datagrams, _) = super::super::socket::datagram(address).expect("a free port");
            assert!(receive_message(&datagrams).is_some(), "{address}");
        }
        extensions.connect = None;
        assert_eq!(extensions.missing(), Some("ConnectEx"));
    }
}
