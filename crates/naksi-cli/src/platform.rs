//! What the system tells about a process: its memory, its processor time, its descriptors, its port.
//!
//! All values are optional: without `/proc`, or for another user's process, there are none, and the summary leaves
//! them out. This is the only file of the program that differs between systems.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// Ticks of `/proc/<pid>/stat` per second. Linux has used 100 in user space on every machine for decades.
const TICKS_PER_SECOND: u64 = 100;

/// Whether `/proc` belongs to this system. Under Wine, a Windows program sees that of the Linux beneath it, with
/// other process ids; and reading the descriptors of Wine's server makes the server lose the lock that keeps a second
/// one from starting.
const HAS_PROC: bool = cfg!(target_os = "linux");

/// A process at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProcessSample {
    /// Memory that is resident, in bytes.
    pub(crate) resident: u64,
    /// The part that is anonymous memory, not backed by a file.
    pub(crate) anonymous: u64,
    /// Processor time spent so far, in user mode and in the kernel.
    pub(crate) processor: Duration,
}

/// Looks at a process.
pub(crate) fn sample(pid: u32) -> Option<ProcessSample> {
    if !HAS_PROC {
        return None;
    }
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = |name: &str| -> Option<u64> {
        let line = status.lines().find(|line| line.starts_with(name))?;
        Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
    };
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The process name may contain spaces and parentheses; the numbers begin after the last one.
    let numbers: Vec<&str> = stat.get(stat.rfind(')')? + 1..)?.split_whitespace().collect();
    let ticks = numbers.get(11)?.parse::<u64>().ok()? + numbers.get(12)?.parse::<u64>().ok()?;
    Some(ProcessSample {
        resident: field("VmRSS:")?,
        anonymous: field("RssAnon:")?,
        processor: Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND),
    })
}

/// The kernel's release.
pub(crate) fn kernel() -> Option<String> {
    if !HAS_PROC {
        return None;
    }
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
    Some(format!("Linux {}", release.trim()))
}

/// The process that listens on this address, if it is on this machine and accessible.
pub(crate) fn listening_process(address: SocketAddr) -> Option<u32> {
    if !HAS_PROC {
        return None;
    }
    let wanted = listening_socket(address)?;
    let wanted = format!("socket:[{wanted}]");
    let processes = fs::read_dir("/proc").ok()?;
    processes.flatten().find_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let mut descriptors = fs::read_dir(entry.path().join("fd")).ok()?.flatten();
        descriptors
            .any(|descriptor| {
                fs::read_link(descriptor.path()).is_ok_and(|link| link.to_str() == Some(wanted.as_str()))
            })
            .then_some(pid)
    })
}

/// The inode of the socket that listens on this address.
fn listening_socket(address: SocketAddr) -> Option<String> {
    const LISTEN: &str = "0A";
    ["/proc/net/tcp", "/proc/net/tcp6"].iter().find_map(|table| {
        let table = fs::read_to_string(table).ok()?;
        table.lines().skip(1).find_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
            let (ip, port) = local.split_once(':')?;
            let port = u16::from_str_radix(port, 16).ok()?;
            let ip = parse_ip(ip)?.to_canonical();
            let here = ip.is_unspecified() || ip == address.ip().to_canonical();
            (*state == LISTEN && port == address.port() && here).then(|| (*inode).to_owned())
        })
    })
}

/// An address of `/proc/net/tcp`: words in the byte order of the machine, in hexadecimal.
fn parse_ip(text: &str) -> Option<IpAddr> {
    let mut bytes = Vec::with_capacity(16);
    for word in text.as_bytes().chunks(8) {
        let word = u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok()?;
        bytes.extend_from_slice(&word.to_ne_bytes());
    }
    match bytes.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into()),
        16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into()),
        _ => None,
    }
}

/// Raises the limit of descriptors of this process to its hard limit, and returns it.
#[cfg(unix)]
pub(crate) fn raise_descriptor_limit() -> Option<u64> {
    let (_, hard) = rlimit::Resource::NOFILE.get().ok()?;
    match rlimit::Resource::NOFILE.set(hard, hard) {
        Ok(()) => Some(hard),
        Err(_) => rlimit::Resource::NOFILE.get().ok().map(|(soft, _)| soft),
    }
}

/// Blocks hang-up signals in this thread and those that it starts, for [`wait_for_hangup`].
#[cfg(unix)]
pub(crate) fn hold_hangups() {
    hangup().thread_block().ok(); // Refused, a hang-up ends the server as it does without settings to reload.
}

/// Waits for the next hang-up; `false` if there will never be one.
#[cfg(unix)]
pub(crate) fn wait_for_hangup() -> bool {
    hangup().wait().is_ok()
}

#[cfg(unix)]
fn hangup() -> nix::sys::signal::SigSet {
    nix::sys::signal::SigSet::from(nix::sys::signal::Signal::SIGHUP)
}

/// Windows has no hang-ups; closing its console ends the server.
#[cfg(not(unix))]
pub(crate) fn hold_hangups() {}

/// Windows has no hang-ups.
#[cfg(not(unix))]
pub(crate) fn wait_for_hangup() -> bool {
    false
}

/// Windows gives every process as many handles as it has memory for.
#[cfg(not(unix))]
pub(crate) fn raise_descriptor_limit() -> Option<u64> {
    None
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn this_process_is_found_by_a_port_it_listens_on() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address");
        assert_eq!(listening_process(address), Some(std::process::id()));
    }

    #[test]
    fn this_process_uses_memory() {
        let sample = sample(std::process::id()).expect("a sample of this process");
        assert!(sample.resident >= sample.anonymous && sample.anonymous > 0);
    }

    #[test]
    fn addresses_of_proc_are_read() {
        let word = |bytes: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(bytes));
        assert_eq!(parse_ip(&word([127, 0, 0, 1])), Some(Ipv4Addr::LOCALHOST.into()));
        let six = [word([0; 4]), word([0; 4]), word([0; 4]), word([0, 0, 0, 1])].concat();
        assert_eq!(parse_ip(&six), Some(Ipv6Addr::LOCALHOST.into()));
    }
}
