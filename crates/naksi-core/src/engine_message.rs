//! Messages of the engine itself, in frames with ids from 0xFFF0: versions at the start, heartbeats, the reason of an end.
//!
//! They are exchanged only with a peer whose first frame is HELLO. Any other peer gets none of them, and all ids are the
//! application's. All numbers are little-endian; bytes behind the fields named here are ignored, so that later versions can
//! add fields.

use crate::reason::{Cause, DisconnectReason};

/// The first id of the engine; a packet table has none from here on.
pub const FIRST_ID: u16 = 0xFFF0;
/// From the client, its first frame: [`Hello`].
pub const HELLO: u16 = 0xFFF0;
/// The server's answer to HELLO: [`Welcome`].
pub const WELCOME: u16 = 0xFFF1;
/// One byte: [`ASK`] or [`ANSWER`]. Either side may ask.
pub const HEARTBEAT: u16 = 0xFFF2;
/// Why the connection ends, the last frame of its sender: see [`close`].
pub const CLOSE: u16 = 0xFFF3;

/// A heartbeat that wants an answer.
pub const ASK: u8 = 0;
/// A heartbeat that answers one.
pub const ANSWER: u8 = 1;

/// The version of these messages.
pub const PROTOCOL: u16 = 1;

/// The first bytes of a HELLO. Without them a frame with its id is a packet of the application.
const MAGIC: [u8; 4] = *b"NKSI";

/// A client's first message: `"NKSI"`, `u16` protocol, `u64` packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The version of these messages that the client knows; 1 today.
    pub protocol: u16,
    /// The version of the client's packet table; 0 if it has none.
    pub packets: u64,
}

impl Hello {
    /// The HELLO in a body, if it is one.
    pub fn parse(body: &[u8]) -> Option<Self> {
        let rest = body.strip_prefix(&MAGIC)?;
        let (protocol, rest) = rest.split_first_chunk()?;
        let packets = rest.first_chunk()?;
        Some(Self { protocol: u16::from_le_bytes(*protocol), packets: u64::from_le_bytes(*packets) })
    }

    /// Its body.
    pub fn body(&self) -> Vec<u8> {
        [&MAGIC[..], &self.protocol.to_le_bytes(), &self.packets.to_le_bytes()].concat()
    }
}

/// What a server answers: `u16` protocol, `u64` packets, `u32` idle_ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The version of these messages that both sides know.
    pub protocol: u16,
    /// The version of the server's packet table; 0 if it has none.
    pub packets: u64,
    /// The server ends a session that sends nothing for so many milliseconds.
    pub idle_ms: u32,
}

impl Welcome {
    /// The WELCOME in a body, if it is one.
    pub fn parse(body: &[u8]) -> Option<Self> {
        let (protocol, rest) = body.split_first_chunk()?;
        let (packets, rest) = rest.split_first_chunk()?;
        let idle_ms = rest.first_chunk()?;
        let (protocol, packets) = (u16::from_le_bytes(*protocol), u64::from_le_bytes(*packets));
        Some(Self { protocol, packets, idle_ms: u32::from_le_bytes(*idle_ms) })
    }

    /// Its body.
    pub fn body(&self) -> Vec<u8> {
        [&self.protocol.to_le_bytes()[..], &self.packets.to_le_bytes(), &self.idle_ms.to_le_bytes()].concat()
    }
}

/// The body of a CLOSE: `u32` the application's own code or 0, `u8` length of the name, the reason's name, and to the end a
/// text for people: the application's own, or `detail`.
pub fn close(reason: &DisconnectReason, detail: &str) -> Vec<u8> {
    let (code, text) = reason.cause().map_or((0, detail), |cause| (cause.code(), cause.text()));
    let text = &text[..text.floor_char_boundary(Cause::TEXT_BYTES_MAX)];
    // Names of reasons are a few words.
    let length = reason.name().len() as u8;
    [&code.to_le_bytes()[..], &[length], reason.name().as_bytes(), text.as_bytes()].concat()
}

/// What a client is told whose packet table is not the server's.
pub fn version_mismatch(client: u64, server: u64) -> String {
    format!("the client has packet table {client:016x}, the server {server:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hello_and_welcome_are_read_as_they_were_written_and_cut_ones_are_none() {
        let hello = Hello { protocol: PROTOCOL, packets: 0x0123_4567_89AB_CDEF };
        let body = hello.body();
        assert_eq!(body, b"NKSI\x01\0\xEF\xCD\xAB\x89\x67\x45\x23\x01");
        let welcome = Welcome { protocol: 1, packets: 2, idle_ms: 60_000 };
        let answer = welcome.body();
        assert_eq!(answer, b"\x01\0\x02\0\0\0\0\0\0\0\x60\xEA\0\0");
        for cut in 0..14 {
            assert_eq!((Hello::parse(&body[..cut]), Welcome::parse(&answer[..cut])), (None, None), "{cut}");
        }
        for more in [&[][..], &[7], &[0; 100]] {
            assert_eq!(Hello::parse(&[&body, more].concat()), Some(hello));
            assert_eq!(Welcome::parse(&[&answer, more].concat()), Some(welcome));
        }
        assert_eq!(Hello::parse(&[b"NKSJ", &body[4..]].concat()), None, "another application's");
    }

    #[test]
    fn a_close_has_the_reasons_name_and_the_applications_code_and_text() {
        assert_eq!(close(&DisconnectReason::Idle, ""), b"\0\0\0\0\x04idle");
        assert_eq!(
            close(&DisconnectReason::custom(4001, "banned"), "not said"),
            b"\xA1\x0F\0\0\x06custombanned"
        );
        let detail = version_mismatch(1, u64::MAX);
        assert_eq!(detail, "the client has packet table 0000000000000001, the server ffffffffffffffff");
        assert!(detail.len() <= Cause::TEXT_BYTES_MAX);
        assert!(close(&DisconnectReason::VersionRefused, &detail).ends_with(detail.as_bytes()));
    }
}
