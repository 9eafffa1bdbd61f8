//! The file format of a recording: a header of 32 bytes, then entries, each preceded by its length and a checksum.
//!
//! | bytes | header |
//! |---|---|
//! | 8 | `NAKSIREC` |
//! | 2 | version of this format, u16 LE: 1 |
//! | 2 | flags, u16 LE: 1 if sessions are cut into frames |
//! | 2 | the worker, u16 LE |
//! | 2 | 0 |
//! | 8 | version of the packets' table, u64 LE; 0 if unknown |
//! | 8 | microseconds from 1970 to the time 0 of the entries, u64 LE |
//!
//! An entry is `[u32 LE length][u32 LE FNV-1a of the payload][payload]`; the payload is an [`Entry`] in postcard.
//! After a crash a file may end anywhere, or in bytes that were never written: it is read up to the last whole entry.

use core::net::SocketAddr;
use std::io::{self, Read};

use serde::{Deserialize, Serialize, Serializer};

/// What every recording begins with.
pub const MAGIC: [u8; 8] = *b"NAKSIREC";
/// The version of the format that this crate writes.
pub const VERSION: u16 = 1;
/// Bytes of a recording's header.
pub const HEADER_BYTES: usize = 32;
/// Maximum length of an entry in bytes, without its length and checksum.
pub const ENTRY_BYTES_MAX: usize = 65_535 + 64;

/// Bytes before each entry.
const PREFIX_BYTES: usize = 8;
/// Set if sessions are cut into frames.
const FRAMED: u16 = 1;

/// What holds for all entries of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Which worker wrote it.
    pub worker: u16,
    /// Whether each entry is a whole frame; otherwise it is a piece of a stream.
    pub framed: bool,
    /// The version of the packets' table; 0 if unknown.
    pub table_version: u64,
    /// Microseconds from 1970 to time 0 of the entries; the same in all recordings of one run.
    pub epoch_unix_us: u64,
}

impl Header {
    /// Encodes it as in a file.
    pub fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
        bytes[10..12].copy_from_slice(&u16::from(self.framed).to_le_bytes());
        bytes[12..14].copy_from_slice(&self.worker.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.table_version.to_le_bytes());
        bytes[24..].copy_from_slice(&self.epoch_unix_us.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8; HEADER_BYTES]) -> Result<Self, Unreadable> {
        if bytes[..8] != MAGIC {
            return Err(Unreadable::NoRecording);
        }
        let short = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let long =
            |at: usize| bytes[at..at + 8].iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        if short(8) != VERSION {
            return Err(Unreadable::Version(short(8)));
        }
        let framed = short(10) & FRAMED != 0;
        Ok(Self { worker: short(12), framed, table_version: long(16), epoch_unix_us: long(24) })
    }
}

/// An event, at a time in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry<'a> {
    /// A session began.
    Opened {
        /// When.
        at_us: u64,
        /// Its name, as a number.
        session: u64,
        /// The other side.
        peer: SocketAddr,
    },
    /// The session received a frame or a piece of a stream.
    Received {
        /// When.
        at_us: u64,
        /// Whose it is.
        session: u64,
        /// All of it, header included.
        #[serde(serialize_with = "as_bytes")]
        bytes: &'a [u8],
    },
    /// It ended.
    Ended {
        /// When.
        at_us: u64,
        /// Whose end it is.
        session: u64,
        /// Why, by the name of its reason.
        reason: &'a str,
    },
    /// The disk did not keep up: this much was dropped before the next entry.
    Lost {
        /// When it was noticed last.
        at_us: u64,
        /// Entries that are missing.
        entries: u64,
        /// Received bytes in the dropped entries.
        bytes: u64,
    },
}

/// Serialises as one byte string and not as a list of numbers.
fn as_bytes<S: Serializer>(bytes: &&[u8], to: S) -> Result<S::Ok, S::Error> {
    to.serialize_bytes(bytes)
}

impl Entry<'_> {
    /// When it happened.
    pub fn at_us(&self) -> u64 {
        match *self {
            Entry::Opened { at_us, .. }
            | Entry::Received { at_us, .. }
            | Entry::Ended { at_us, .. }
            | Entry::Lost { at_us, .. } => at_us,
        }
    }

    /// The session that it concerns.
    pub fn session(&self) -> Option<u64> {
        match *self {
            Entry::Opened { session, .. }
            | Entry::Received { session, .. }
            | Entry::Ended { session, .. } => Some(session),
            Entry::Lost { .. } => None,
        }
    }

    /// Appends the entry. Returns whether it could be written: an entry has at most [`ENTRY_BYTES_MAX`] bytes.
    pub fn append(&self, file: &mut Vec<u8>) -> bool {
        let start = file.len();
        file.extend([0; PREFIX_BYTES]);
        // Postcard has a flavor that extends a vector, but it takes the vector by value and returns another one.
        let Ok(mut written) = postcard::to_extend(self, std::mem::take(file)) else {
            unreachable!("a vector takes everything")
        };
        let payload_bytes = written.len() - start - PREFIX_BYTES;
        if payload_bytes <= ENTRY_BYTES_MAX {
            let (prefix, payload) = written[start..].split_at_mut(PREFIX_BYTES);
            prefix[..4].copy_from_slice(&(payload_bytes as u32).to_le_bytes());
            prefix[4..].copy_from_slice(&checksum(payload).to_le_bytes());
        } else {
            written.truncate(start);
        }
        *file = written;
        file.len() > start
    }
}

/// FNV-1a of 32 bits. It detects a torn write and is no protection against tampering.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811C_9DC5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// Why a file cannot be read as a recording.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// It does not start with a recording's header.
    #[error("this is no recording of a server: it does not begin with NAKSIREC")]
    NoRecording,
    /// It was written by another Naksi.
    #[error("this recording has version {0}, and only version {VERSION} can be read here")]
    Version(u16),
    /// The system could not read the file.
    #[error("{0}")]
    System(#[from] io::Error),
}

/// Reads the entries of a recording, up to the last whole one.
#[derive(Debug)]
pub struct Reader<R> {
    from: R,
    header: Header,
    entry: Vec<u8>,
    whole_bytes: u64,
    torn: bool,
}

impl<R: Read> Reader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// It is not a recording, it has another version, or it cannot be read.
    pub fn new(mut from: R) -> Result<Self, Unreadable> {
        let mut bytes = [0; HEADER_BYTES];
        if fill(&mut from, &mut bytes)? < HEADER_BYTES {
            return Err(Unreadable::NoRecording);
        }
        let header = Header::from_bytes(&bytes)?;
        Ok(Self { from, header, entry: Vec::new(), whole_bytes: HEADER_BYTES as u64, torn: false })
    }

    /// The recording's header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The next entry; `None` after the last whole one.
    ///
    /// # Errors
    /// The system could not read the file.
    pub fn next_entry(&mut self) -> Result<Option<Entry<'_>>, Unreadable> {
        let mut prefix = [0; PREFIX_BYTES];
        let prefix_bytes = if self.torn { 0 } else { fill(&mut self.from, &mut prefix)? };
        if prefix_bytes == 0 {
            return Ok(None);
        }
        let [a, b, c, d, sum @ ..] = prefix;
        let payload_bytes = u32::from_le_bytes([a, b, c, d]) as usize;
        // The entry counts as torn until it has been read in full.
        self.torn = true;
        if prefix_bytes < PREFIX_BYTES || payload_bytes > ENTRY_BYTES_MAX {
            return Ok(None);
        }
        self.entry.resize(payload_bytes, 0);
        let read = fill(&mut self.from, &mut self.entry)?;
        if read < payload_bytes || checksum(&self.entry) != u32::from_le_bytes(sum) {
            return Ok(None);
        }
        let Ok((entry, [])) = postcard::take_from_bytes(&self.entry) else { return Ok(None) };
        self.torn = false;
        self.whole_bytes += (PREFIX_BYTES + payload_bytes) as u64;
        Ok(Some(entry))
    }

    /// Bytes up to the end of the last whole entry that was read.
    pub fn whole_bytes(&self) -> u64 {
        self.whole_bytes
    }

    /// Whether a torn entry follows the last whole one.
    pub fn is_torn(&self) -> bool {
        self.torn
    }
}

/// Reads until the buffer is full or the input ends; returns the number of bytes.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
