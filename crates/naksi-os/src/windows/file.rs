//! Opens files for overlapped reading and writing at offsets, and creates new ones.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::windows::fs::OpenOptionsExt as _;
use std::path::Path;

use naksi_core::ended::OsError;
use windows_sys::Win32::Storage::FileSystem::FILE_FLAG_OVERLAPPED;

use super::error;
use super::kernel::Answer;
use crate::port::FileAccess;

/// Opens a file with a blocking `CreateFileW`, because opens are rare.
pub(crate) fn open(path: &Path, access: FileAccess) -> Result<File, OsError> {
    let mut options = OpenOptions::new();
    match access {
        FileAccess::Read => options.read(true),
        FileAccess::ReadWrite => options.read(true).write(true).create(true).truncate(false),
        FileAccess::Create => options.read(true).write(true).create(true).truncate(true),
    };
    // Operations on the file may pend, and each carries its own offset.
    options.custom_flags(FILE_FLAG_OVERLAPPED).open(path).map_err(|refusal| error::from_io(&refusal))
}

/// Creates an empty file. Its folder's inherited permissions apply.
///
/// # Errors
/// The system's error, also if the path exists already, whatever it is.
pub fn make_new(path: &Path) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).open(path).map(drop)
}

/// The size of an open file in bytes.
pub(crate) fn size_bytes(file: &File) -> Result<u64, OsError> {
    file.metadata().map(|facts| facts.len()).map_err(|refusal| error::from_io(&refusal))
}

/// Flushes everything written to the file to stable storage (`FlushFileBuffers`). There is no overlapped form of it,
/// so the thread blocks on the disk.
pub(crate) fn sync(file: &File) -> Answer {
    match file.sync_all() {
        Ok(()) => Answer::done(0),
        Err(refusal) => Answer::failed(refusal.raw_os_error().unwrap_or(0)),
    }
}
