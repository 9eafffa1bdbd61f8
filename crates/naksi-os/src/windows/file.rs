//! Opens files for overlapped reading and writing at offsets. Knows no port.

use std::fs::{File, OpenOptions};
use std::os::windows::fs::OpenOptionsExt as _;
use std::path::Path;

use naksi_core::ended::OsError;

use super::error;
use crate::port::FileAccess;

/// `FILE_FLAG_OVERLAPPED`: operations on the file may pend, and each carries its own offset.
const OVERLAPPED: u32 = 0x4000_0000;

/// Opens a file (`CreateFileW`, made here and now, because it is rare).
///
/// # Errors
/// Not found, not allowed, in use by somebody who shares it with nobody, or no handle left.
pub fn open(path: &Path, access: FileAccess) -> Result<File, OsError> {
    let mut options = OpenOptions::new();
    match access {
        FileAccess::Read => options.read(true),
        FileAccess::ReadWrite => options.read(true).write(true).create(true).truncate(false),
        FileAccess::Create => options.read(true).write(true).create(true).truncate(true),
    };
    options.custom_flags(OVERLAPPED).open(path).map_err(|refusal| error::from_io(&refusal))
}

/// The size of an open file in bytes.
///
/// # Errors
/// The system's refusal.
pub fn size_bytes(file: &File) -> Result<u64, OsError> {
    file.metadata().map(|facts| facts.len()).map_err(|refusal| error::from_io(&refusal))
}
