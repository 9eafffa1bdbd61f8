//! Error numbers of Linux: one table for failures, and one function for each kind of operation.
//!
//! Our own cancellation is checked first: whatever number the kernel reports for an operation that we cancelled, or
//! whose socket we shut down, the outcome is [`Ended::Aborted`]. The numbers are those of `errno(3)` and of the
//! ERRORS sections of `accept(2)`, `connect(2)`, `recv(2)`, `send(2)` and `tcp(7)`.

use std::io;

use naksi_core::ended::{Ended, Failure, OsError};

/// What may help when a listener is refused with this error: a clause that begins with `; `, or nothing.
pub fn listen_hint(error: OsError) -> &'static str {
    match error.kind {
        Failure::AddressInUse => "; choose another port, or port 0 for any free one",
        Failure::AddressNotOurs => "; use an address of this machine, 0.0.0.0 or [::]",
        Failure::Denied => "; ports below 1024 need a privilege",
        Failure::DescriptorsExhausted => "; raise the descriptor limit (ulimit -n)",
        _ => "",
    }
}

/// What a failed accept means to the chain of accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AcceptEnded {
    /// One peer was lost while connecting; accept the next one (law 6).
    NextPeer,
    /// Accepting is over until the next accept is submitted.
    Over(Ended),
}

/// What a number means to an engine.
pub(crate) fn failure(errno: i32) -> Failure {
    match errno {
        libc::EMFILE | libc::ENFILE => Failure::DescriptorsExhausted,
        libc::ENOMEM | libc::ENOBUFS => Failure::MemoryExhausted,
        libc::ECONNREFUSED => Failure::Refused,
        libc::EHOSTUNREACH | libc::ENETUNREACH | libc::EHOSTDOWN | libc::ENETDOWN | libc::ENONET => {
            Failure::Unreachable
        }
        libc::ETIMEDOUT => Failure::TimedOut,
        libc::ECONNABORTED => Failure::PeerGone,
        libc::EADDRINUSE => Failure::AddressInUse,
        libc::EADDRNOTAVAIL => Failure::AddressNotOurs,
        libc::EACCES | libc::EPERM | libc::EROFS => Failure::Denied,
        libc::ENOENT | libc::ENOTDIR => Failure::NotFound,
        libc::EOPNOTSUPP | libc::ENOSYS | libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT => Failure::Unsupported,
        libc::EINVAL | libc::EBADF | libc::EISDIR | libc::EMSGSIZE | libc::EFAULT | libc::ENOTSOCK => {
            Failure::Invalid
        }
        libc::ENOSPC | libc::EDQUOT | libc::EFBIG => Failure::StorageFull,
        _ => Failure::Other,
    }
}

/// A failure with its number.
pub(crate) fn os_error(errno: i32) -> OsError {
    OsError::new(failure(errno), errno)
}

/// Converts the standard library's error. One without a number is an invalid argument.
pub(crate) fn from_io(error: &io::Error) -> OsError {
    error.raw_os_error().map_or(OsError::new(Failure::Invalid, 0), os_error)
}

/// `accept(2)`: "Linux accept() passes already-pending network errors on the new socket as an error code
/// from accept() … For reliable operation the application should detect the network errors defined for the
/// protocol after accept() and treat them like EAGAIN by retrying."
pub(crate) fn accept(errno: i32, ours: bool) -> AcceptEnded {
    if ours {
        return AcceptEnded::Over(Ended::Aborted);
    }
    match errno {
        libc::ECONNABORTED
        | libc::EPROTO
        | libc::EPERM
        | libc::ENETDOWN
        | libc::ENOPROTOOPT
        | libc::EHOSTDOWN
        | libc::ENONET
        | libc::EHOSTUNREACH
        | libc::ENETUNREACH
        | libc::ETIMEDOUT
        | libc::ECONNRESET
        | libc::EAGAIN
        | libc::EINTR => AcceptEnded::NextPeer,
        _ => AcceptEnded::Over(plain(errno)),
    }
}

/// `connect(2)`: a refusal or a timeout is a failure, a reset is a reset.
pub(crate) fn connect(errno: i32, ours: bool) -> Ended {
    stream(errno, ours)
}

/// `recv(2)`: a reset, or a socket that is no longer connected, was caused by the peer.
pub(crate) fn recv(errno: i32, ours: bool) -> Ended {
    stream(errno, ours)
}

/// `send(2)`: EPIPE means that the direction is shut down; if we did not do it, the peer did.
pub(crate) fn send(errno: i32, ours: bool) -> Ended {
    stream(errno, ours)
}

/// `shutdown(2)`: a socket that is no longer connected is shut down already.
pub(crate) fn shutdown(errno: i32, ours: bool) -> Result<(), Ended> {
    match errno {
        libc::ENOTCONN => Ok(()),
        _ if ours => Err(Ended::Aborted),
        _ => Err(plain(errno)),
    }
}

/// `read(2)`, `write(2)`, `fsync(2)`, `recvmsg(2)` and `sendmsg(2)` on a datagram socket.
pub(crate) fn other(errno: i32, ours: bool) -> Ended {
    if ours { Ended::Aborted } else { plain(errno) }
}

/// `io_uring_enter(2)`, IORING_OP_TIMEOUT: "If the timeout specified occurred, the request completes with -ETIME",
/// which is the success of a timer.
pub(crate) fn timeout(errno: i32, ours: bool) -> Result<(), Ended> {
    match errno {
        0 | libc::ETIME => Ok(()),
        _ => Err(other(errno, ours)),
    }
}

fn stream(errno: i32, ours: bool) -> Ended {
    if ours {
        return Ended::Aborted;
    }
    match errno {
        libc::ECONNRESET | libc::EPIPE | libc::ENOTCONN | libc::ECONNABORTED => Ended::Reset,
        _ => plain(errno),
    }
}

/// A cancellation that we did not request still counts as one: a ring cancels its operations when its owner ends.
fn plain(errno: i32) -> Ended {
    if errno == libc::ECANCELED { Ended::Aborted } else { Ended::Failed(os_error(errno)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_cancellation_is_looked_at_first() {
        for errno in 1..=133 {
            assert_eq!(accept(errno, true), AcceptEnded::Over(Ended::Aborted));
            for ended in [connect(errno, true), recv(errno, true), send(errno, true), other(errno, true)] {
                assert_eq!(ended, Ended::Aborted);
            }
        }
    }

    #[test]
    fn no_number_of_this_system_is_an_orderly_end() {
        for errno in 1..=133 {
            for ended in [connect(errno, false), recv(errno, false), send(errno, false), other(errno, false)]
            {
                assert_ne!(ended, Ended::Closed);
            }
        }
    }

    #[test]
    fn a_lost_peer_does_not_break_the_accept_chain_and_a_lack_of_descriptors_is_told() {
        assert_eq!(accept(libc::ECONNABORTED, false), AcceptEnded::NextPeer);
        assert_eq!(accept(libc::EPROTO, false), AcceptEnded::NextPeer);
        let full = OsError::new(Failure::DescriptorsExhausted, libc::EMFILE);
        assert_eq!(accept(libc::EMFILE, false), AcceptEnded::Over(Ended::Failed(full)));
    }

    #[test]
    fn what_a_peer_does_is_told_from_what_the_system_cannot() {
        assert_eq!(send(libc::EPIPE, false), Ended::Reset);
        assert_eq!(recv(libc::ECONNRESET, false), Ended::Reset);
        assert_eq!(recv(libc::ETIMEDOUT, false), Ended::Failed(os_error(libc::ETIMEDOUT)));
        assert_eq!(connect(libc::ECONNREFUSED, false), Ended::Failed(os_error(libc::ECONNREFUSED)));
        assert_eq!(failure(libc::ECONNREFUSED), Failure::Refused);
        assert_eq!(shutdown(libc::ENOTCONN, false), Ok(()));
        assert_eq!(timeout(libc::ETIME, true), Ok(()));
    }
}
