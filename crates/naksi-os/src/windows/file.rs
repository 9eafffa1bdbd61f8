//! Opens files for overlapped reading and writing at offsets, and makes new ones. Knows no port.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::windows::fs::OpenOptionsExt as _;
use std::path::Path;

use naksi_core::ended::OsError;
use windows_sys::Win32::Storage::FileSystem::FILE_FLAG_OVERLAPPED;

use super::error;
use super::kernel::Answer;
use crate::port::FileAccess;

/// Opens a file (`CreateFileW`, made here and now, because it is rare).
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

/// Makes an empty file. Who may read it is what its folder says of new files.
///
/// # Errors
/// As the system says: among others that something is there already, whatever it is.
pub fn make_new(path: &Path) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).open(path).map(drop)
}

/// The size of an open file in bytes.
pub(crate) fn size_bytes(file: &File) -> Result<u64, OsError> {
    file.metadata().map(|facts| facts.len()).map_err(|refusal| error::from_io(&refusal))
}

/// Has everything written to the file on stable storage (`FlushFileBuffers`). There is no overlapped form
/// of it, so the thread waits for the disk.
pub(crate) fn sync(file: &File) -> Answer {
    match file.sync_all() {
        Ok(()) => Answer::done(0),
        Err(refusal) => Answer::failed(refusal.raw_os_error().unwrap_or(0)),
    }
}
