//! A recorder: what a live server receives, session by session, with its times, in files that can be read and replayed.
//!
//! Each worker appends to a file of its own through its own port, so nobody waits for a disk: what comes while the disk is
//! busy is gathered, and what does not fit there any more is dropped and counted. Nothing here knows what packets mean.
//!
//! ```
//! use naksi::record::{Entry, Header, Reader};
//! let mut file = Header { worker: 0, framed: true, table_version: 7, epoch_unix_us: 0 }.to_bytes().to_vec();
//! Entry::Received { at_us: 5, session: 1, bytes: &[4, 0, 9, 0] }.append(&mut file);
//! file.extend(b"the end of a file after a crash");
//! let mut reader = Reader::new(&file[..])?;
//! assert_eq!(reader.header().table_version, 7);
//! assert_eq!(reader.next_entry()?.map(|entry| entry.session()), Some(Some(1)));
//! assert!(reader.next_entry()?.is_none() && reader.is_torn());
//! # Ok::<(), naksi::record::Unreadable>(())
//! ```

mod format;
mod recorder;

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

pub use format::{ENTRY_BYTES_MAX, Entry, HEADER_BYTES, Header, MAGIC, Reader, Unreadable, VERSION};
pub(crate) use recorder::Recorder;

use crate::config::{Error, Result};

/// How the names of recordings end.
pub const EXTENSION: &str = "nrec";

/// Where and how a server records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordOptions {
    pub(crate) directory: PathBuf,
    pub(crate) buffer_bytes_max: usize,
    pub(crate) table_version: u64,
}

impl RecordOptions {
    /// Into this folder, which is made if it is not there: a file for each worker, `SECONDS-PROCESS-WORKER.nrec`, never one
    /// that was there before.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into(), buffer_bytes_max: 4 << 20, table_version: 0 }
    }

    /// Bytes that each worker gathers while its disk is busy with as many, 128 KiB at least; 4 MiB by default.
    #[must_use]
    pub fn buffer_bytes_max(self, bytes: usize) -> Self {
        Self { buffer_bytes_max: bytes.max(2 * ENTRY_BYTES_MAX), ..self }
    }

    /// The version of the packets' table, for whoever replays; 0 by default.
    #[must_use]
    pub fn table_version(self, version: u64) -> Self {
        Self { table_version: version, ..self }
    }

    /// The folder made, and what the names of this run's files begin with.
    pub(crate) fn prepare(&self) -> Result<PathBuf> {
        std::fs::create_dir_all(&self.directory).map_err(|error| {
            Error::System(format!("cannot record in {}: {error}", self.directory.display()))
        })?;
        let seconds = unix_us() / 1_000_000;
        Ok(self.directory.join(format!("{seconds}-{}", std::process::id())))
    }
}

/// Microseconds since 1970, by the system's calendar.
pub(crate) fn unix_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}
