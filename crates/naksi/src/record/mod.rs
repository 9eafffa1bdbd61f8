//! The recorder: writes what a live server receives, by session and with times, to files that can be read and
//! replayed.
//!
//! Each worker appends to its own file through its own port, so no callback waits for a disk. What arrives while the
//! disk is busy is buffered; what no longer fits the buffer is dropped and counted.
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
pub(crate) mod recorder;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

pub use format::{ENTRY_BYTES_MAX, Entry, HEADER_BYTES, Header, MAGIC, Reader, Unreadable, VERSION};
pub(crate) use recorder::Recorder;

use crate::config::{Error, Result};

/// How the names of recordings end.
pub const EXTENSION: &str = "nrec";

/// Default limit of all recordings of one run together, in bytes: 64 GiB.
pub const RUN_BYTES_MAX_DEFAULT: u64 = 64 << 30;

/// Where and how a server records.
///
/// ```
/// use naksi::{RecordOptions, Server};
/// let server = Server::new().record(RecordOptions::new("recordings").run_bytes_max(1 << 30));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordOptions {
    pub(crate) directory: PathBuf,
    pub(crate) buffer_bytes_max: usize,
    pub(crate) run_bytes_max: u64,
    pub(crate) table_version: u64,
}

impl RecordOptions {
    /// Records into this folder, which is created if missing: one new file per worker,
    /// `SECONDS-PROCESS-RUN-WORKER.nrec`. Where the system has file permissions, only the owner may read it.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        let (buffer_bytes_max, run_bytes_max) = (4 << 20, RUN_BYTES_MAX_DEFAULT);
        Self { directory: directory.into(), buffer_bytes_max, run_bytes_max, table_version: 0 }
    }

    /// Limit of all files of a run together, in bytes; [`RUN_BYTES_MAX_DEFAULT`] by default. When the next write
    /// would exceed it, recording ends with one line in the log, further entries are counted as lost, and the service
    /// continues.
    #[must_use]
    pub fn run_bytes_max(self, bytes: u64) -> Self {
        Self { run_bytes_max: bytes, ..self }
    }

    /// Bytes that each worker buffers while its disk writes as many, at least 128 KiB; 4 MiB by default.
    #[must_use]
    pub fn buffer_bytes_max(self, bytes: usize) -> Self {
        Self { buffer_bytes_max: bytes.max(2 * ENTRY_BYTES_MAX), ..self }
    }

    /// The version of the packet table, for the replay; 0 by default.
    #[must_use]
    pub fn table_version(self, version: u64) -> Self {
        Self { table_version: version, ..self }
    }

    /// Creates the folder and one empty file per worker, all with new names.
    pub(crate) fn prepare(&self, workers: usize) -> Result<Run> {
        let refused = |what: &Path, error: &std::io::Error| {
            Error::System(format!("cannot record in {}: {error}", what.display()))
        };
        std::fs::create_dir_all(&self.directory).map_err(|error| refused(&self.directory, &error))?;
        let unix_us = unix_us();
        let epoch_unix_us = unix_us.saturating_sub(naksi_os::now().nanos() / 1000);
        let name = format!("{}-{}", unix_us / 1_000_000, std::process::id());
        // Another service of this process may have started in this second, or a process with this id in another
        // container.
        for number in 0_u32.. {
            let stem = self.directory.join(format!("{name}-{number}"));
            let run = Run { stem, epoch_unix_us, space: Arc::new(Space::new(self.run_bytes_max)) };
            let mut made = Vec::new();
            let taken = (0..workers).map(|worker| run.file(worker)).find_map(|path| {
                let error = naksi_os::make_new(&path).err();
                made.extend(error.is_none().then(|| path.clone()));
                error.map(|error| (path, error))
            });
            let Some((path, error)) = taken else { return Ok(run) };
            // The files are empty and were created here; one that cannot be removed does no harm.
            made.iter().for_each(|path| drop(std::fs::remove_file(path)));
            if error.kind() != ErrorKind::AlreadyExists {
                return Err(refused(&path, &error));
            }
        }
        Err(Error::System(format!("cannot record in {}: every name is taken", self.directory.display())))
    }
}

/// What the recordings of one run have in common.
#[derive(Clone, Debug, Default)]
pub(crate) struct Run {
    /// With what their names begin.
    stem: PathBuf,
    /// Microseconds from 1970 to time 0 of their entries.
    pub(crate) epoch_unix_us: u64,
    /// What they may still write.
    pub(crate) space: Arc<Space>,
}

/// The byte limit of the recordings of one run, and what is left of it.
#[derive(Debug, Default)]
pub(crate) struct Space {
    bytes_max: u64,
    left: AtomicU64,
    has_ended: AtomicBool,
}

impl Space {
    fn new(bytes_max: u64) -> Self {
        Self { bytes_max, left: AtomicU64::new(bytes_max), has_ended: AtomicBool::new(false) }
    }

    /// Takes bytes from the limit. If fewer are left, nothing stays available, so that all recordings end at the same
    /// time.
    fn claim(&self, bytes: u64) -> bool {
        let after = |left: u64| Some(left.saturating_sub(bytes));
        let before = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, after);
        before.is_ok_and(|left| left >= bytes)
    }

    /// Whether this is the first call.
    pub(crate) fn is_first_to_end(&self) -> bool {
        !self.has_ended.swap(true, Ordering::Relaxed)
    }

    pub(crate) fn bytes_max(&self) -> u64 {
        self.bytes_max
    }
}

impl Run {
    /// Takes its files away: nothing was recorded.
    pub(crate) fn remove(&self, workers: usize) {
        // A file that cannot be removed reads as a run in which nothing was received.
        (0..workers).for_each(|worker| drop(std::fs::remove_file(self.file(worker))));
    }

    /// The recording of one worker.
    pub(crate) fn file(&self, worker: usize) -> PathBuf {
        PathBuf::from(format!("{}-{worker:03}.{EXTENSION}", self.stem.display()))
    }
}

/// Microseconds since 1970, by the system's calendar.
fn unix_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}
