//! Opens files for reading and writing at offsets, and creates new ones that only their owner may read.

// UNSAFETY: the standard library's size query needs an owned file; this one is borrowed.
#![expect(unsafe_code, reason = "a borrowed descriptor is shown to the standard library as a file")]

use std::fs::{File, OpenOptions};
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use naksi_core::ended::OsError;

use super::error;
use crate::port::FileAccess;

/// Opens a file with a blocking `open(2)`: opens are rare, and the ring would gain nothing.
pub(crate) fn open(path: &Path, access: FileAccess) -> Result<OwnedFd, OsError> {
    let mut options = OpenOptions::new();
    match access {
        FileAccess::Read => options.read(true),
        FileAccess::ReadWrite => options.read(true).write(true).create(true).truncate(false),
        FileAccess::Create => options.read(true).write(true).create(true).truncate(true),
    };
    options.open(path).map(OwnedFd::from).map_err(|error| error::from_io(&error))
}

/// Creates an empty file that only its owner may read and write.
///
/// # Errors
/// The system's error, also if the path exists already, whatever it is.
pub fn make_new(path: &Path) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map(drop)
}

/// The size of an open file in bytes (`fstat(2)`).
pub(crate) fn size_bytes(descriptor: &OwnedFd) -> Result<u64, OsError> {
    // SAFETY: law 2: the descriptor is borrowed, so it is open until the end of this call, and `ManuallyDrop` leaves
    // it open. Another descriptor for the same file would fail where none is left.
    let file = ManuallyDrop::new(unsafe { File::from_raw_fd(descriptor.as_raw_fd()) });
    file.metadata().map(|facts| facts.len()).map_err(|error| error::from_io(&error))
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_is_new_was_not_there_and_is_its_owners() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("new");
        make_new(&path).expect("the folder can be written");
        let mode = std::fs::metadata(&path).expect("it was made").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(make_new(&path).expect_err("it is there").kind(), ErrorKind::AlreadyExists);
    }
}
