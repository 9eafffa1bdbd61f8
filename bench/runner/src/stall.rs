//! Whether connections that were not read were really backed up, from the kernel's data about both their ends.
//!
//! Data in the kernel's buffers costs a server no memory; only what did not fit there stays with the server.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, bail, ensure};
use serde::Serialize;

/// What `/proc/net/tcp` calls a connection that both sides hold.
const ESTABLISHED: &str = "01";

/// What became of the connections that were not read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Stalled {
    /// Those that the server ended.
    pub(crate) ended: usize,
    /// Connections that are open while the server holds or has dropped more than half of what they were owed.
    pub(crate) held: usize,
    /// What the one that was owed least was owed, in bytes.
    pub(crate) owed_bytes: u64,
    /// By how much the server's own memory grew meanwhile, in bytes.
    pub(crate) memory_bytes: u64,
}

/// Examines connections of a server, each with its client's address and the bytes that it was owed, in the kernel's
/// table of sockets. Memory is checked by the caller.
///
/// # Errors
/// One of them was open, and the kernel kept half of what it was owed or more: it was no load on the server.
pub(crate) fn look(server: SocketAddr, owed: &[(SocketAddr, u64)], sockets: &str) -> Result<Stalled> {
    let owed_bytes = owed.iter().map(|(_, bytes)| *bytes).min().unwrap_or_default();
    let mut stalled = Stalled { owed_bytes, ..Stalled::default() };
    for (client, owed) in owed {
        let of_server = queues(sockets, server, *client)?;
        let of_client = queues(sockets, *client, server)?;
        let Some((unsent, _)) = of_server else {
            stalled.ended += 1;
            continue;
        };
        let kept = unsent + of_client.map_or(0, |(_, unread)| unread);
        ensure!(
            kept * 2 < *owed,
            "no client was stalled: of {owed} bytes owed to {client}, the kernel keeps {kept}"
        );
        stalled.held += 1;
    }
    Ok(stalled)
}

/// Bytes that one end has not sent or that are not acknowledged yet, and bytes that it has not read; `None` if this
/// end is no longer open.
fn queues(sockets: &str, local: SocketAddr, remote: SocketAddr) -> Result<Option<(u64, u64)>> {
    let (local, remote) = (in_table(local)?, in_table(remote)?);
    for line in sockets.lines() {
        let mut fields = line.split_whitespace().skip(1);
        if fields.next() != Some(&local) || fields.next() != Some(&remote) {
            continue;
        }
        if fields.next() != Some(ESTABLISHED) {
            return Ok(None);
        }
        let (unsent, unread) =
            fields.next().and_then(|queues| queues.split_once(':')).context("a socket has two queues")?;
        return Ok(Some((u64::from_str_radix(unsent, 16)?, u64::from_str_radix(unread, 16)?)));
    }
    Ok(None)
}

/// An address the way the kernel's table writes it.
fn in_table(address: SocketAddr) -> Result<String> {
    let SocketAddr::V4(address) = address else { bail!("{address} is not in the table of IPv4") };
    Ok(format!("{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A listener on port 0xE6B9, a client with 4,096 bytes unread, and the server's end of it in a state and with
    /// 0x5C000 bytes unsent.
    fn sockets(state: &str) -> String {
        format!(
            "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
             0: 0100007F:E6B9 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1\n   \
             2: 0100007F:E6B9 0100007F:881C {state} 0005C000:00000000 04:00000098 00000000     0        0 2 2\n   \
             3: 0100007F:881C 0100007F:E6B9 01 00000000:00001000 00:00000000 00000000     0        0 3 2\n"
        )
    }

    const KEPT: u64 = 0x5_C000 + 0x1000;

    fn look_at(owed: u64, sockets: &str) -> Result<Stalled> {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        look(at(0xE6B9), &[(at(0x881C), owed)], sockets)
    }

    #[test]
    fn whoever_is_owed_no_more_than_the_kernel_keeps_was_not_stalled() {
        let held = look_at(2 * KEPT + 1, &sockets("01")).expect("it is backed up");
        assert_eq!((held.ended, held.held, held.owed_bytes), (0, 1, 2 * KEPT + 1));
        let error = look_at(2 * KEPT, &sockets("01")).expect_err("the kernel keeps it").to_string();
        assert!(error.contains("no client was stalled"), "{error}");
    }

    #[test]
    fn whoever_the_server_has_ended_was_stalled_whatever_is_left_in_the_kernel() {
        for sockets in [sockets("04"), String::new()] {
            let ended = look_at(KEPT, &sockets).expect("it was ended");
            assert_eq!((ended.ended, ended.held), (1, 0));
        }
    }
}
