//! Writes a file as a whole: a reader finds the old content or the new, and never a part of it.
//!
//! The content goes to a temporary file in the same folder, is synchronised with the disk and renamed over the
//! target. If that fails, the temporary file is removed and the target stays as it was. A symbolic link stays a link:
//! the file that it points to is replaced. The permissions of an existing file are kept. Standard output, pipes and
//! devices are written to directly.

use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile};

use crate::config::plain;
use crate::outcome::Problem;

/// Most links that are followed to a file that does not exist yet; the same as in Linux.
const LINKS_MAX: usize = 40;

/// A file that will be written as a whole. It was writable when it was opened.
#[derive(Debug)]
pub(crate) struct OutputFile {
    path: PathBuf,
    way: Way,
}

#[derive(Debug)]
enum Way {
    /// Replaces what is at this path, if there is something.
    Replace { target: PathBuf, permissions: Option<Permissions> },
    /// Makes a file where none is.
    Create,
    /// A pipe, a device or a descriptor of this process: it cannot be replaced.
    Stream(File),
}

impl OutputFile {
    /// Checks that the file can be written, before there is any content.
    pub(crate) fn open(path: &Path) -> Result<Self, Problem> {
        Self::find(path).map_err(|error| cannot_write(path, &error))
    }

    /// As [`OutputFile::open`], for a file that must not exist yet.
    ///
    /// # Errors
    /// Also if the path exists already, whatever it is.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        if fs::symlink_metadata(path).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        drop(temporary_beside(path)?);
        Ok(Self { path: path.to_owned(), way: Way::Create })
    }

    fn find(path: &Path) -> io::Result<Self> {
        let way = match fs::metadata(path) {
            Ok(found) if found.is_file() && !is_descriptor(path) => {
                // Whether this user may write to it: replacing it would need only the folder's permission.
                drop(OpenOptions::new().write(true).open(path)?);
                Self::replacing(fs::canonicalize(path)?, Some(&found))?
            }
            // Appended, because the descriptor may be the log that standard output is appended to.
            Ok(found) if found.is_file() => Way::Stream(OpenOptions::new().append(true).open(path)?),
            Ok(_) => Way::Stream(OpenOptions::new().write(true).open(path)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Self::replacing(behind_links(path)?, None)?
            }
            Err(error) => return Err(error),
        };
        Ok(Self { path: path.to_owned(), way })
    }

    fn replacing(target: PathBuf, found: Option<&Metadata>) -> io::Result<Way> {
        // Whether the folder takes a file.
        drop(temporary_beside(&target)?);
        Ok(Way::Replace { target, permissions: found.map(Metadata::permissions) })
    }

    /// Writes the whole content, replacing the previous one.
    pub(crate) fn write(self, text: &str) -> Result<(), Problem> {
        let path = self.path.clone();
        self.put(text).map_err(|error| cannot_write(&path, &error))
    }

    /// As [`OutputFile::write`], with the system's error.
    pub(crate) fn put(self, text: &str) -> io::Result<()> {
        match self.way {
            Way::Stream(mut file) => file.write_all(text.as_bytes()).and_then(|()| file.flush()),
            Way::Create => {
                let written = written_beside(&self.path, text)?;
                written.persist_noclobber(&self.path).map(drop).map_err(|refused| refused.error)
            }
            Way::Replace { target, permissions } => {
                let written = written_beside(&target, text)?;
                if let Some(permissions) = permissions {
                    fs::set_permissions(written.path(), permissions)?;
                }
                written.persist(&target).map(drop).map_err(|refused| refused.error)
            }
        }
    }
}

/// A temporary file with this content, on the disk.
fn written_beside(target: &Path, text: &str) -> io::Result<NamedTempFile<File>> {
    let mut file = temporary_beside(target)?;
    file.as_file_mut().write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    Ok(file)
}

/// An empty file in the folder of the target, with the permissions of any new file; removed when it is dropped.
fn temporary_beside(target: &Path) -> io::Result<NamedTempFile<File>> {
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let new = |path: &Path| OpenOptions::new().write(true).create_new(true).open(path);
    Builder::new().prefix(".naksi-").suffix(".tmp").make_in(folder, new)
}

/// Whether a path refers to an open descriptor of a process, as `/dev/stdout` does.
fn is_descriptor(path: &Path) -> bool {
    let is_of_process = |path: &Path| path.starts_with("/proc") || path.starts_with("/dev/fd");
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        if is_of_process(&path) {
            return true;
        }
        let Ok(next) = fs::read_link(&path) else { return false };
        path = path.parent().unwrap_or(Path::new("")).join(next);
    }
    false
}

/// The path at which a missing file will be created, after following its links.
fn behind_links(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        let Ok(next) = fs::read_link(&path) else { return Ok(path) };
        path = path.parent().unwrap_or(Path::new("")).join(next);
    }
    Err(io::Error::other("too many symbolic links"))
}

fn cannot_write(path: &Path, error: &io::Error) -> Problem {
    Problem::failed(format!("cannot write {}: {}", path.display(), plain(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .expect("a folder")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_run_without_a_result_leaves_files_as_they_were() {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let (old, new) = (folder.path().join("old"), folder.path().join("new"));
        fs::write(&old, "a long result of yesterday").expect("a scratch file");
        for path in [&old, &new] {
            drop(OutputFile::open(path).expect("it can be written"));
        }
        assert_eq!(fs::read_to_string(&old).expect("it is still there"), "a long result of yesterday");
        assert_eq!(names(folder.path()), ["old"], "an empty file looks like a result");
        for path in [&old, &new] {
            OutputFile::open(path).and_then(|file| file.write("today's")).expect("it can be written");
            assert_eq!(fs::read_to_string(path).expect("it was written"), "today's");
        }
        assert_eq!(names(folder.path()), ["new", "old"], "no temporary file stays");
        let refused = OutputFile::open(&folder.path().join("nowhere").join("x")).expect_err("no such folder");
        assert!(refused.to_string().starts_with("cannot write "), "{refused}");
        let refused = OutputFile::open(folder.path()).expect_err("a folder is no file");
        assert!(refused.to_string().starts_with("cannot write "), "{refused}");
    }

    #[test]
    fn a_write_that_fails_leaves_the_old_content_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let path = folder.path().join("kept");
        fs::write(&path, "the old content").expect("a scratch file");
        let file = OutputFile::open(&path).expect("it can be written");
        // A folder cannot be replaced by a file; this fails as a full disk would.
        fs::remove_file(&path).expect("it was there");
        fs::create_dir(&path).expect("a folder in its place");
        file.write("the new content").expect_err("the place is taken");
        assert_eq!(names(folder.path()), ["kept"]);
        let path = folder.path().join("new");
        let file = OutputFile::create(&path).expect("it can be made");
        fs::write(&path, "of another program").expect("a scratch file");
        let error = file.put("ours").expect_err("it is there meanwhile");
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).expect("it is there"), "of another program");
        assert_eq!(names(folder.path()), ["kept", "new"]);
    }

    #[test]
    fn a_file_that_may_not_be_written_is_refused_before_the_run() {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let path = folder.path().join("kept");
        fs::write(&path, "the old content").expect("a scratch file");
        let mut permissions = fs::metadata(&path).expect("it is there").permissions();
        permissions.set_readonly(true);
        fs::set_permissions(&path, permissions).expect("its owner may");
        let opened = OutputFile::open(&path);
        // The superuser may write to any file.
        let may = OpenOptions::new().write(true).open(&path).is_ok();
        assert_eq!(opened.is_ok(), may);
        if let Ok(file) = opened {
            file.write("the new content").expect("it may be written");
            assert!(
                fs::metadata(&path).expect("it is there").permissions().readonly(),
                "permissions are kept"
            );
        }
    }
}
