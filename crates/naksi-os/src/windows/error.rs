//! Error numbers of Windows: one table for failures, and one function for each kind of operation.
//!
//! Our own cancellation is checked first: whatever number Windows reports for an operation that we cancelled, or
//! whose socket we closed, the outcome is [`Ended::Aborted`]. That matters more here than on Linux, because an
//! operation of a closed socket can fail with several numbers: 995 (cancelled), 64 (the network name was deleted),
//! 1236 (aborted by the local system) and 676 (the handle was closed). The numbers are those of `winerror.h`:
//! Winsock's own begin at 10,000, and a completion port reports the older ones. Nothing here calls Windows, so all of
//! it is tested on every system.

use std::io;

use naksi_core::ended::{Ended, Failure, OsError};

const INVALID_FUNCTION: i32 = 1;
const FILE_NOT_FOUND: i32 = 2;
const PATH_NOT_FOUND: i32 = 3;
const TOO_MANY_OPEN_FILES: i32 = 4;
const ACCESS_DENIED: i32 = 5;
const INVALID_HANDLE: i32 = 6;
const NOT_ENOUGH_MEMORY: i32 = 8;
const OUT_OF_MEMORY: i32 = 14;
const WRITE_PROTECT: i32 = 19;
const SHARING_VIOLATION: i32 = 32;
const HANDLE_END_OF_FILE: i32 = 38;
const HANDLE_DISK_FULL: i32 = 39;
/// The request is not supported.
pub const NOT_SUPPORTED: i32 = 50;
const REMOTE_NOT_LISTENING: i32 = 51;
const DUPLICATE_NAME: i32 = 52;
const BAD_NETWORK_PATH: i32 = 53;
const UNEXPECTED_NETWORK_ERROR: i32 = 59;
const NETWORK_NAME_DELETED: i32 = 64;
const TOO_MANY_NAMES: i32 = 68;
const INVALID_PARAMETER: i32 = 87;
const DISK_FULL: i32 = 112;
const SEMAPHORE_TIMEOUT: i32 = 121;
const PIPE_NOT_CONNECTED: i32 = 233;
const MORE_DATA: i32 = 234;
const HANDLES_CLOSED: i32 = 676;
const OPERATION_ABORTED: i32 = 995;
const INVALID_NETWORK_NAME: i32 = 1214;
const CONNECTION_REFUSED: i32 = 1225;
const GRACEFUL_DISCONNECT: i32 = 1226;
const ADDRESS_ALREADY_ASSOCIATED: i32 = 1227;
const NETWORK_UNREACHABLE: i32 = 1231;
const HOST_UNREACHABLE: i32 = 1232;
const PROTOCOL_UNREACHABLE: i32 = 1233;
const PORT_UNREACHABLE: i32 = 1234;
const REQUEST_ABORTED: i32 = 1235;
const CONNECTION_ABORTED: i32 = 1236;
const HOST_DOWN: i32 = 1256;
const NO_SYSTEM_RESOURCES: i32 = 1450;
const WORKING_SET_QUOTA: i32 = 1453;
const PAGE_FILE_QUOTA: i32 = 1454;
const COMMITMENT_LIMIT: i32 = 1455;
const INVALID_USER_BUFFER: i32 = 1784;
const NOT_ENOUGH_QUOTA: i32 = 1816;
const WSAEBADF: i32 = 10009;
const WSAEACCES: i32 = 10013;
const WSAEFAULT: i32 = 10014;
const WSAEINVAL: i32 = 10022;
const WSAEMFILE: i32 = 10024;
const WSAENOTSOCK: i32 = 10038;
const WSAEMSGSIZE: i32 = 10040;
const WSAEPROTONOSUPPORT: i32 = 10043;
const WSAEOPNOTSUPP: i32 = 10045;
const WSAEAFNOSUPPORT: i32 = 10047;
const WSAEADDRINUSE: i32 = 10048;
const WSAEADDRNOTAVAIL: i32 = 10049;
const WSAENETDOWN: i32 = 10050;
const WSAENETUNREACH: i32 = 10051;
const WSAENETRESET: i32 = 10052;
const WSAECONNABORTED: i32 = 10053;
const WSAECONNRESET: i32 = 10054;
const WSAENOBUFS: i32 = 10055;
const WSAENOTCONN: i32 = 10057;
const WSAESHUTDOWN: i32 = 10058;
const WSAETIMEDOUT: i32 = 10060;
const WSAECONNREFUSED: i32 = 10061;
const WSAEHOSTDOWN: i32 = 10064;
const WSAEHOSTUNREACH: i32 = 10065;

/// What a failed accept means to the chain of accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptEnded {
    /// One peer was lost while connecting; accept the next one (law 6).
    NextPeer,
    /// Accepting is over until the next accept is submitted.
    Over(Ended),
}

/// What a number means to an engine.
pub fn failure(code: i32) -> Failure {
    match code {
        TOO_MANY_OPEN_FILES | WSAEMFILE => Failure::DescriptorsExhausted,
        NOT_ENOUGH_MEMORY | OUT_OF_MEMORY | TOO_MANY_NAMES | NO_SYSTEM_RESOURCES | WORKING_SET_QUOTA
        | PAGE_FILE_QUOTA | COMMITMENT_LIMIT | NOT_ENOUGH_QUOTA | WSAENOBUFS => Failure::MemoryExhausted,
        REMOTE_NOT_LISTENING | CONNECTION_REFUSED | WSAECONNREFUSED => Failure::Refused,
        BAD_NETWORK_PATH | NETWORK_UNREACHABLE | HOST_UNREACHABLE | PROTOCOL_UNREACHABLE
        | PORT_UNREACHABLE | HOST_DOWN | WSAENETDOWN | WSAENETUNREACH | WSAEHOSTDOWN | WSAEHOSTUNREACH => {
            Failure::Unreachable
        }
        SEMAPHORE_TIMEOUT | WSAETIMEDOUT => Failure::TimedOut,
        CONNECTION_ABORTED | WSAECONNABORTED => Failure::PeerGone,
        DUPLICATE_NAME | ADDRESS_ALREADY_ASSOCIATED | WSAEADDRINUSE => Failure::AddressInUse,
        INVALID_NETWORK_NAME | WSAEADDRNOTAVAIL => Failure::AddressNotOurs,
        ACCESS_DENIED | WRITE_PROTECT | SHARING_VIOLATION | WSAEACCES => Failure::Denied,
        FILE_NOT_FOUND | PATH_NOT_FOUND => Failure::NotFound,
        NOT_SUPPORTED | WSAEPROTONOSUPPORT | WSAEOPNOTSUPP | WSAEAFNOSUPPORT => Failure::Unsupported,
        INVALID_FUNCTION | INVALID_HANDLE | INVALID_PARAMETER | INVALID_USER_BUFFER | WSAEBADF
        | WSAEFAULT | WSAEINVAL | WSAENOTSOCK | WSAEMSGSIZE | MORE_DATA => Failure::Invalid,
        HANDLE_DISK_FULL | DISK_FULL => Failure::StorageFull,
        _ => Failure::Other,
    }
}

/// What may help when a listener is refused with this error: a clause that begins with `; `, or nothing.
pub fn listen_hint(error: OsError) -> &'static str {
    match (error.kind, error.code) {
        (_, WSAEACCES) => {
            "; another program holds the port for itself, or Windows has reserved it (see `netsh int ipv4 show \
             excludedportrange protocol=tcp`); choose another port, or port 0 for any free one"
        }
        (Failure::AddressInUse, _) => "; choose another port, or port 0 for any free one",
        (Failure::AddressNotOurs, _) => "; use an address of this machine, 0.0.0.0 or [::]",
        _ => "",
    }
}

/// A failure with its number.
pub fn os_error(code: i32) -> OsError {
    OsError::new(failure(code), code)
}

/// Converts the standard library's error. One without a number is an invalid argument.
pub fn from_io(error: &io::Error) -> OsError {
    error.raw_os_error().map_or(OsError::new(Failure::Invalid, 0), os_error)
}

/// `AcceptEx`: a peer that was gone before we accepted it is reported in many ways, none of which concerns the
/// listener. Only a shortage, or an invalid listener, ends the chain (law 6).
pub fn accept(code: i32, ours: bool) -> AcceptEnded {
    if ours {
        return AcceptEnded::Over(Ended::Aborted);
    }
    match failure(code) {
        Failure::DescriptorsExhausted
        | Failure::MemoryExhausted
        | Failure::Unsupported
        | Failure::Invalid => AcceptEnded::Over(plain(code)),
        _ if is_closing(code) => AcceptEnded::Over(Ended::Aborted),
        _ => AcceptEnded::NextPeer,
    }
}

/// `ConnectEx`: a refusal or a timeout is a failure, a reset is a reset.
pub fn connect(code: i32, ours: bool) -> Ended {
    stream(code, ours)
}

/// `WSARecv`: a reset, or a socket that is no longer connected, was caused by the peer.
pub fn recv(code: i32, ours: bool) -> Ended {
    match code {
        // The peer has closed in order; what it had sent was delivered before.
        GRACEFUL_DISCONNECT if !ours => Ended::Closed,
        _ => stream(code, ours),
    }
}

/// `WSASend` and `TransmitFile`: the direction is shut down; if we did not do it, the peer did.
pub fn send(code: i32, ours: bool) -> Ended {
    stream(code, ours)
}

/// `shutdown` and `DisconnectEx`: a socket whose connection was reset, or is gone for another reason, is shut down already.
///
/// # Errors
/// Any other error of the system.
pub fn shutdown(code: i32, ours: bool) -> Result<(), Ended> {
    match code {
        WSAENOTCONN | WSAECONNRESET | WSAECONNABORTED | WSAENETRESET | WSAESHUTDOWN => Ok(()),
        NETWORK_NAME_DELETED | CONNECTION_ABORTED | PIPE_NOT_CONNECTED => Ok(()),
        _ if ours => Err(Ended::Aborted),
        _ => Err(plain(code)),
    }
}

/// `ReadFile`: reading at the end of a file is an error here, not a read of zero bytes.
pub fn read_at(code: i32, ours: bool) -> Ended {
    match code {
        HANDLE_END_OF_FILE if !ours => Ended::Closed,
        _ => other(code, ours),
    }
}

/// `WriteFile`: write access is checked when a file is opened, so a later refusal means that it was opened for
/// reading.
pub fn write_at(code: i32, ours: bool) -> Ended {
    match code {
        ACCESS_DENIED if !ours => Ended::Failed(OsError::new(Failure::Invalid, code)),
        _ => other(code, ours),
    }
}

/// Whether a datagram was longer than its buffer: what fits is there, the rest is lost.
pub fn is_cut(code: i32) -> bool {
    code == MORE_DATA || code == WSAEMSGSIZE
}

/// `FlushFileBuffers`, `WSASendTo` and `WSARecvFrom`.
pub fn other(code: i32, ours: bool) -> Ended {
    if ours { Ended::Aborted } else { plain(code) }
}

//= lecture 004: HandleError meets WSAECONNRESET and WSAECONNABORTED with a disconnect
fn stream(code: i32, ours: bool) -> Ended {
    if ours {
        return Ended::Aborted;
    }
    match code {
        NETWORK_NAME_DELETED | CONNECTION_ABORTED | UNEXPECTED_NETWORK_ERROR => Ended::Reset,
        PIPE_NOT_CONNECTED | REQUEST_ABORTED => Ended::Reset,
        WSAENETRESET | WSAECONNABORTED | WSAECONNRESET | WSAENOTCONN | WSAESHUTDOWN => Ended::Reset,
        _ => plain(code),
    }
}

/// A cancellation that we did not request still counts as one: Windows cancels the operations of a handle when it is
/// closed.
fn plain(code: i32) -> Ended {
    if is_closing(code) { Ended::Aborted } else { Ended::Failed(os_error(code)) }
}

fn is_closing(code: i32) -> bool {
    code == OPERATION_ABORTED || code == HANDLES_CLOSED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_cancellation_is_looked_at_first() {
        for code in (1..2000).chain(10_000..10_120) {
            assert_eq!(accept(code, true), AcceptEnded::Over(Ended::Aborted));
            for verb in [connect, recv, send, read_at, write_at, other] {
                assert_eq!(verb(code, true), Ended::Aborted, "{code}");
            }
        }
    }

    #[test]
    fn every_number_of_a_closed_socket_is_one_ending_when_we_closed_it() {
        for code in [OPERATION_ABORTED, NETWORK_NAME_DELETED, CONNECTION_ABORTED, HANDLES_CLOSED] {
            assert_eq!((recv(code, true), send(code, true)), (Ended::Aborted, Ended::Aborted));
        }
        assert_eq!(recv(OPERATION_ABORTED, false), Ended::Aborted);
        assert_eq!(recv(HANDLES_CLOSED, false), Ended::Aborted);
    }

    #[test]
    fn a_reset_is_told_by_either_half_of_the_table() {
        for code in [NETWORK_NAME_DELETED, CONNECTION_ABORTED, WSAECONNRESET, WSAECONNABORTED, WSAENETRESET] {
            assert_eq!((recv(code, false), send(code, false)), (Ended::Reset, Ended::Reset), "{code}");
        }
        for code in [PIPE_NOT_CONNECTED, REQUEST_ABORTED] {
            assert_eq!((recv(code, false), send(code, false)), (Ended::Reset, Ended::Reset), "{code}");
        }
    }

    /// What a network driver's status becomes on its way through `RtlNtStatusToDosError`, beside what Winsock calls the same.
    #[test]
    fn a_status_of_a_driver_means_what_winsocks_number_for_it_means() {
        for (translated, winsock) in [
            (REMOTE_NOT_LISTENING, WSAECONNREFUSED),
            (DUPLICATE_NAME, WSAEADDRINUSE),
            (BAD_NETWORK_PATH, WSAENETUNREACH),
            (TOO_MANY_NAMES, WSAENOBUFS),
            (INVALID_NETWORK_NAME, WSAEADDRNOTAVAIL),
            (HOST_DOWN, WSAEHOSTDOWN),
            (PAGE_FILE_QUOTA, WSAENOBUFS),
            (INVALID_USER_BUFFER, WSAEMSGSIZE),
        ] {
            assert_eq!(failure(translated), failure(winsock), "{translated}");
            assert_ne!(failure(translated), Failure::Other, "{translated}");
        }
    }

    #[test]
    fn a_connection_that_was_reset_is_shut_down_already() {
        for code in [WSAENOTCONN, WSAECONNRESET, WSAECONNABORTED, WSAENETRESET, NETWORK_NAME_DELETED] {
            assert_eq!((shutdown(code, false), shutdown(code, true)), (Ok(()), Ok(())), "{code}");
        }
        assert_eq!(shutdown(WSAENOTSOCK, false), Err(Ended::Failed(os_error(WSAENOTSOCK))));
    }

    #[test]
    fn only_a_receive_and_a_read_can_meet_an_orderly_end() {
        assert_eq!(recv(GRACEFUL_DISCONNECT, false), Ended::Closed);
        assert_eq!(read_at(HANDLE_END_OF_FILE, false), Ended::Closed);
        for code in (1..2000).chain(10_000..10_120) {
            for verb in [connect, send, other] {
                assert_ne!(verb(code, false), Ended::Closed, "{code}");
            }
        }
    }

    #[test]
    fn a_lost_peer_does_not_break_the_accept_chain_and_a_lack_of_means_is_told() {
        for code in [NETWORK_NAME_DELETED, UNEXPECTED_NETWORK_ERROR, WSAECONNRESET, CONNECTION_ABORTED] {
            assert_eq!(accept(code, false), AcceptEnded::NextPeer, "{code}");
        }
        let full = OsError::new(Failure::DescriptorsExhausted, WSAEMFILE);
        assert_eq!(accept(WSAEMFILE, false), AcceptEnded::Over(Ended::Failed(full)));
        assert_eq!(accept(OPERATION_ABORTED, false), AcceptEnded::Over(Ended::Aborted));
    }

    #[test]
    fn a_refused_listener_is_told_what_windows_means_by_it() {
        let hint = |code| listen_hint(os_error(code));
        assert!(hint(WSAEACCES).contains("excludedportrange") && !hint(WSAEACCES).contains("privilege"));
        assert!(hint(WSAEADDRINUSE).contains("another port"));
        assert!(hint(WSAEADDRNOTAVAIL).contains("0.0.0.0"));
        assert_eq!(hint(WSAENOBUFS), "");
    }

    #[test]
    fn what_a_peer_does_is_told_from_what_the_system_cannot() {
        assert_eq!(connect(CONNECTION_REFUSED, false), Ended::Failed(os_error(CONNECTION_REFUSED)));
        assert_eq!(failure(CONNECTION_REFUSED), Failure::Refused);
        assert_eq!(failure(SEMAPHORE_TIMEOUT), Failure::TimedOut);
        assert_eq!(shutdown(WSAENOTCONN, true), Ok(()));
        assert!(is_cut(MORE_DATA) && is_cut(WSAEMSGSIZE) && !is_cut(0));
    }
}
