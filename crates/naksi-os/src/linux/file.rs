//! Opens files for reading and writing at offsets. Knows no ring.

use std::fs::{File, OpenOptions};
use std::os::fd::OwnedFd;
use std::path::Path;

use naksi_core::ended::OsError;

use super::error;
use crate::port::FileAccess;

/// Opens a file; `open(2)` is made here and now, because it is rare and the ring would gain nothing.
pub(crate) fn open(path: &Path, access: FileAccess) -> Result<OwnedFd, OsError> {
    let mut options = OpenOptions::new();
    match access {
        FileAccess::Read => options.read(true),
        FileAccess::ReadWrite => options.read(true).write(true).create(true).truncate(false),
        FileAccess::Create => options.read(true).write(true).create(true).truncate(true),
    };
    options.open(path).map(OwnedFd::from).map_err(|error| error::from_io(&error))
}

/// The size of an open file in bytes (`fstat(2)`).
pub(crate) fn size_bytes(descriptor: &OwnedFd) -> Result<u64, OsError> {
    let again = descriptor.try_clone().map_err(|error| error::from_io(&error))?;
    File::from(again).metadata().map(|facts| facts.len()).map_err(|error| error::from_io(&error))
}
