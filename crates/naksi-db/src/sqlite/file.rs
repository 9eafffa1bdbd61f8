//! The file behind a SQLite database: its path, and checks that it is a database and still the file that was opened.
//!
//! SQLite continues with a file that was deleted or replaced, without an error.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::SystemTime;

use file_id::get_file_id;
use rusqlite::{Connection, OpenFlags};

use crate::error::{Error, Result};

/// The identity of a file, independent of its path. The system may reuse a number after its file is deleted, so the
/// creation time is a part of it where the system has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileId(file_id::FileId, Option<SystemTime>);

impl FileId {
    fn of(path: &Path) -> io::Result<Self> {
        Ok(Self(get_file_id(path)?, fs::metadata(path)?.created().ok()))
    }
}

/// The beginning of what SQLite reads as a URI.
const URI: &str = "file:";

/// Where a database is, and which file was found there first.
#[derive(Clone, Debug)]
pub(crate) struct SqliteFile {
    path: PathBuf,
    is_uri: bool,
    /// Every later connection must find the same file at the same path.
    first: Arc<OnceLock<(PathBuf, FileId)>>,
    log: Arc<Mutex<Log>>,
}

/// The write-ahead log, which SQLite removes behind the last connection.
#[derive(Debug, Default)]
struct Log {
    connections: usize,
    /// Which file it is as long as there are connections.
    file: Option<FileId>,
}

fn lock(log: &Mutex<Log>) -> MutexGuard<'_, Log> {
    // Each change of it is one step.
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SqliteFile {
    /// Parses the text after `sqlite:`, or returns what is wrong with it.
    pub(crate) fn read(path: &str) -> Result<Self, String> {
        let small = path.trim().to_ascii_lowercase();
        if small.is_empty() || small == ":memory:" {
            return Err(NO_FILE.to_owned());
        }
        let is_uri = path.starts_with(URI);
        if !is_uri && small.starts_with(URI) {
            return Err(
                "SQLite reads a URI only if `file:` stands at its beginning in small letters".to_owned()
            );
        }
        // Later connections must not depend on the current folder.
        let absolute = || std::path::absolute(path).map_err(|error| error.to_string());
        let path = if is_uri { PathBuf::from(path) } else { absolute()? };
        Ok(Self { path, is_uri, first: Arc::default(), log: Arc::default() })
    }

    /// The path, or the URI as it was given.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the file. Only the first connection may create it.
    pub(super) fn connect(&self) -> Result<Connection> {
        let mut flags = OpenFlags::default();
        if let Some((path, first)) = self.first.get() {
            // A URI may request the creation of its file, but not what SQLite is not allowed to do.
            flags.set(OpenFlags::SQLITE_OPEN_CREATE, self.is_uri);
            // Before SQLite opens it, which would apply the old file's write-ahead log to another file.
            check(path, *first)?;
            lock(&self.log).file.map_or(Ok(()), |file| check(&log_of(path), file))?;
        }
        let connection = Connection::open_with_flags(&self.path, flags)
            .map_err(|error| Error::Down(self.why_not(&error)).about(&self.path))?;
        match connection.path().filter(|path| !path.is_empty()) {
            Some(path) if fs::metadata(path).is_ok() => Ok(connection),
            _ => Err(in_memory().about(&self.path)),
        }
    }

    /// Which files a connection has opened.
    pub(super) fn opened(&self, connection: &Connection) -> Result<Opened> {
        let path = connection.path().map_or_else(|| self.path.clone(), PathBuf::from);
        let unknown = |error: io::Error| Error::Down(error.to_string()).about(&path);
        let database = FileId::of(&path).map_err(unknown)?;
        let (_, first) = *self.first.get_or_init(|| (path.clone(), database));
        let log_path = log_of(&path);
        let of_log = {
            let mut log = lock(&self.log);
            log.connections += 1;
            if log.file.is_none() {
                // Absent, it is not looked for again.
                log.file = FileId::of(&log_path).ok();
            }
            log.file
        };
        let opened = Opened { path, database: first, log_path, of_log, log: Arc::clone(&self.log) };
        opened.check()?;
        Ok(opened)
    }

    /// Why a file cannot be opened, because SQLite reports only that it cannot.
    fn why_not(&self, error: &rusqlite::Error) -> String {
        if self.is_uri {
            return error.to_string();
        }
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        if let Some((folder, error)) = folder.and_then(|at| fs::metadata(at).err().map(|error| (at, error))) {
            return format!("its folder {}: {error}", folder.display());
        }
        match fs::metadata(&self.path) {
            Ok(found) if found.is_dir() => "it is a folder, and not a file".to_owned(),
            Err(other) if other.kind() != io::ErrorKind::NotFound => other.to_string(),
            Ok(_) => format!("{error} (may this user read and write it?)"),
            Err(_) => format!("{error} (may this user write to its folder?)"),
        }
    }
}

const NO_FILE: &str = "SQLite needs the path of a file, as in sqlite:game.db";

/// The error for an in-memory database: every thread would have its own, which ends with the thread.
pub(super) fn in_memory() -> Error {
    Error::Rejected(format!(
        "this is a database in memory, which each thread would have for itself: {NO_FILE}"
    ))
}

/// The name of a database's write-ahead log.
fn log_of(path: &Path) -> PathBuf {
    let mut log: OsString = path.into();
    log.push("-wal");
    log.into()
}

/// The files that a connection has open.
#[derive(Debug)]
pub(super) struct Opened {
    path: PathBuf,
    database: FileId,
    log_path: PathBuf,
    /// Unknown if SQLite made it later.
    of_log: Option<FileId>,
    log: Arc<Mutex<Log>>,
}

impl Drop for Opened {
    fn drop(&mut self) {
        let mut log = lock(&self.log);
        log.connections -= 1;
        if log.connections == 0 {
            log.file = None;
        }
    }
}

impl Opened {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The size of the write-ahead log.
    pub(super) fn log_bytes(&self) -> u64 {
        fs::metadata(&self.log_path).map_or(0, |log| log.len())
    }

    /// Whether both files still stand under their names.
    pub(super) fn check(&self) -> Result<()> {
        check(&self.path, self.database)?;
        self.of_log.map_or(Ok(()), |of_log| check(&self.log_path, of_log))
    }
}

fn check(path: &Path, expected: FileId) -> Result<()> {
    let what = match FileId::of(path) {
        Ok(found) if found == expected => return Ok(()),
        Ok(_) => "was replaced while it was open: stop the program before you replace it".to_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => "was deleted while it was open".to_owned(),
        Err(error) => format!("cannot be looked at: {error}"),
    };
    Err(Error::Down(format!("{} {what}", path.display())))
}
