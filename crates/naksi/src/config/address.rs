//! Textual addresses: `127.0.0.1:7777`, `[::1]:7777`, `localhost:7777`, `[fe80::1%eth0]:7777`. A name stands for all
//! of its addresses.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::io;
use std::net::{ToSocketAddrs, UdpSocket};

/// A value that resolves to socket addresses: a text, an address, or a list of them.
///
/// Accepts what [`ToSocketAddrs`] accepts. In texts it also accepts the zone of a link-local address, by the name of
/// its interface (`[fe80::1%eth0]:7777`) or by its number (`[fe80::1%2]:7777`).
pub trait ToAddresses {
    /// All addresses, in the system's order, each once. Asks the system's resolver, which may take seconds.
    ///
    /// # Errors
    /// The text is not an address, or the system does not know the name.
    fn to_addresses(&self) -> io::Result<Vec<SocketAddr>>;
}

impl ToAddresses for str {
    fn to_addresses(&self) -> io::Result<Vec<SocketAddr>> {
        let text = self.trim();
        if let Ok(address) = text.parse() {
            return Ok(vec![address]);
        }
        let (host, port) =
            text.rsplit_once(':').filter(|_| !text.ends_with(']')).ok_or(wrong("it has no port"))?;
        let port: u16 = port.parse().map_err(|_| wrong("its port is no number from 0 to 65535"))?;
        let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(host) if host.contains(':') => host,
            Some(_) => return Err(wrong("only an IPv6 address stands in brackets")),
            None if host.contains(':') => return Err(wrong("an IPv6 address stands in brackets")),
            None if host.is_empty() => return Err(wrong("it has no host")),
            None => host,
        };
        once((host, port).to_socket_addrs()).map_err(|error| match host.split_once('%') {
            Some((_, zone)) => {
                wrong(&format!("this system has no interface `{zone}`, or the address is none"))
            }
            None => error,
        })
    }
}

impl ToAddresses for String {
    fn to_addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.as_str().to_addresses()
    }
}

impl ToAddresses for [SocketAddr] {
    fn to_addresses(&self) -> io::Result<Vec<SocketAddr>> {
        once(Ok(self.iter().copied()))
    }
}

impl<const COUNT: usize> ToAddresses for [SocketAddr; COUNT] {
    fn to_addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self[..].to_addresses()
    }
}

impl ToAddresses for Vec<SocketAddr> {
    fn to_addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self[..].to_addresses()
    }
}

impl<A: ToAddresses + ?Sized> ToAddresses for &A {
    fn to_addresses(&self) -> io::Result<Vec<SocketAddr>> {
        (**self).to_addresses()
    }
}

/// Implements the trait for the types of the standard library that are not texts.
macro_rules! as_the_standard_library {
    ($($kind:ty),*) => {
        $(impl ToAddresses for $kind {
            fn to_addresses(&self) -> io::Result<Vec<SocketAddr>> {
                once(self.to_socket_addrs())
            }
        })*
    };
}

as_the_standard_library!(
    SocketAddr,
    SocketAddrV4,
    SocketAddrV6,
    (IpAddr, u16),
    (Ipv4Addr, u16),
    (Ipv6Addr, u16),
    (&str, u16),
    (String, u16)
);

/// Turns an address to listen on into one to connect to: `0.0.0.0` and `[::]` become the loopback address of the same
/// family, because systems disagree about what connecting to them means.
pub fn to_connect(address: SocketAddr) -> SocketAddr {
    let loopback = match address.ip().to_canonical() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        _ => return address,
    };
    SocketAddr::new(loopback, address.port())
}

/// The IPv4 address of a peer that a dual-stack listener reports as IPv6 (`::ffff:10.0.0.1`).
pub(crate) fn unmapped(peer: SocketAddr) -> SocketAddr {
    match peer {
        SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
            Some(ip) => SocketAddr::from((ip, v6.port())),
            None => peer,
        },
        SocketAddr::V4(_) => peer,
    }
}

/// Keeps those of a name's addresses that this machine has. A system without IPv6 often lists `::1 localhost` in its
/// hosts file. A single address, or a list without any local address, is returned unchanged: listening on it then
/// reports the system's error.
pub(crate) fn to_listen(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    // Port 0 always works, so only the address can be refused.
    let is_here = |address: &SocketAddr| {
        let mut any_port = *address;
        any_port.set_port(0);
        UdpSocket::bind(any_port).is_ok()
    };
    let here: Vec<SocketAddr> = match addresses.len() {
        0 | 1 => return addresses,
        _ => addresses.iter().copied().filter(is_here).collect(),
    };
    if here.is_empty() { addresses } else { here }
}

fn once(found: io::Result<impl IntoIterator<Item = SocketAddr>>) -> io::Result<Vec<SocketAddr>> {
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in found? {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() { Err(wrong("it stands for no address")) } else { Ok(addresses) }
}

fn wrong(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_read_and_what_is_wrong_is_said() {
        for text in ["127.0.0.1:7777", "[::1]:7777", " 127.0.0.1:7777 ", "[fe80::1%3]:65535"] {
            assert_eq!(text.to_addresses().expect(text), [text.trim().parse().expect(text)]);
        }
        for (text, why) in [
            ("127.0.0.1", "no port"),
            ("[::1]", "no port"),
            ("::1:7777", "stands in brackets"),
            ("[localhost]:7777", "only an IPv6 address"),
            ("localhost:port", "no number"),
            ("localhost:65536", "no number"),
            (":7777", "no host"),
        ] {
            let said = text.to_addresses().expect_err(text).to_string();
            assert!(said.contains(why), "{text}: {said}");
        }
    }

    #[test]
    fn a_zone_may_be_the_name_of_an_interface() {
        // Where the system tells the index of its loopback interface.
        if let Ok(number) = std::fs::read_to_string("/sys/class/net/lo/ifindex") {
            let numbered = format!("[fe80::1%{}]:7777", number.trim());
            let named = "[fe80::1%lo]:7777".to_addresses().expect("an interface that is here");
            assert_eq!(named, numbered.to_addresses().expect("the same address"));
        }
        let said = "[fe80::1%nowhere]:7777".to_addresses().expect_err("no such interface").to_string();
        assert!(said.contains("interface `nowhere`"), "{said}");
    }

    #[test]
    fn several_addresses_stay_several_and_each_comes_once() {
        let [one, other] =
            ["127.0.0.1:1", "[::1]:1"].map(|text| text.parse::<SocketAddr>().expect("an address"));
        assert_eq!([one, other, one].to_addresses().expect("addresses"), [one, other]);
        assert!(Vec::<SocketAddr>::new().to_addresses().is_err());
        assert_eq!((Ipv4Addr::LOCALHOST, 1).to_addresses().expect("an address"), [one]);
    }

    #[test]
    fn an_address_to_listen_on_is_connected_to_at_loopback() {
        for (listened, connected) in [
            ("0.0.0.0:7777", "127.0.0.1:7777"),
            ("[::]:7777", "[::1]:7777"),
            ("[::ffff:0.0.0.0]:7777", "127.0.0.1:7777"),
            ("10.0.0.1:7777", "10.0.0.1:7777"),
            ("[fe80::1%3]:7777", "[fe80::1%3]:7777"),
        ] {
            let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
            assert_eq!(to_connect(address(listened)), address(connected));
        }
    }

    #[test]
    fn a_mapped_peer_is_its_ipv4_address_and_a_zone_is_kept() {
        for (shown, meant) in [
            ("[::ffff:10.0.0.1]:7", "10.0.0.1:7"),
            ("[fe80::1%3]:7", "[fe80::1%3]:7"),
            ("[::1]:7", "[::1]:7"),
            ("10.0.0.1:7", "10.0.0.1:7"),
        ] {
            let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
            assert_eq!(unmapped(address(shown)), address(meant));
        }
    }

    #[test]
    fn of_several_addresses_those_are_listened_on_that_this_machine_has() {
        // Reserved for documentation (RFC 5737): no machine has it.
        let [here, nowhere] =
            ["127.0.0.1:0", "192.0.2.1:0"].map(|text| text.parse::<SocketAddr>().expect("an address"));
        assert_eq!(to_listen(vec![nowhere, here]), [here]);
        assert_eq!(to_listen(vec![nowhere]), [nowhere]);
        assert_eq!(to_listen(vec![nowhere, nowhere]), [nowhere, nowhere]);
    }
}
