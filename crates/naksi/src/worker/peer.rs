//! A compact peer address; a worker stores one per session.

use core::net::{SocketAddr, SocketAddrV4, SocketAddrV6};

/// An address in half the size of a `SocketAddr`; long ones are boxed.
#[derive(Debug)]
pub(crate) enum Peer {
    V4(SocketAddrV4),
    V6(Box<SocketAddrV6>),
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V4(address) => Self::V4(address),
            SocketAddr::V6(address) => Self::V6(Box::new(address)),
        }
    }
}

impl Peer {
    /// The address, as everybody else wants it.
    pub(crate) fn get(&self) -> SocketAddr {
        match self {
            Self::V4(address) => SocketAddr::V4(*address),
            Self::V6(address) => SocketAddr::V6(**address),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_either_kind_comes_back_whole_and_takes_half_the_room() {
        for text in ["127.0.0.1:7777", "[fe80::1%3]:65535", "[::1]:1"] {
            let address: SocketAddr = text.parse().expect("an address");
            assert_eq!(Peer::from(address).get(), address);
        }
        assert_eq!(2 * size_of::<Peer>(), size_of::<SocketAddr>());
    }
}
