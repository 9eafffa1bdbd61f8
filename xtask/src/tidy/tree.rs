//! The files of the workspace, read once for all rules.

use anyhow::{Context as _, Result, ensure};
use std::fs;
use std::path::Path;

use super::source::Source;

/// Folders without files written by people; `.git` is a file in a linked worktree.
const SKIPPED: &[&str] = &[".git", "target", "node_modules", "__pycache__", ".venv"];
/// A file above this is data, and is not judged.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Far more than the project has; a larger folder is reported, not read.
const FILES_MAX: usize = 20_000;

/// One text file, with its path from the root of the workspace and `/` between the parts.
pub(super) struct File {
    pub(super) path: String,
    pub(super) text: String,
    /// The Rust view of it; other files have none.
    pub(super) rust: Option<Source>,
}

impl File {
    fn new(path: String, text: String) -> Self {
        let rust = path.ends_with(".rs").then(|| Source::new(&text));
        Self { path, text, rust }
    }

    /// The last part of the path.
    pub(super) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }
}

/// All text files of the workspace, sorted by path.
pub(super) struct Tree {
    pub(super) files: Vec<File>,
}

impl Tree {
    /// Reads the workspace.
    pub(super) fn load(root: &Path) -> Result<Self> {
        let mut files = Vec::new();
        let mut folders = vec![root.to_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
                let entry = entry?;
                let kind = entry.file_type()?;
                let name = entry.file_name();
                if SKIPPED.iter().any(|skipped| name == **skipped) {
                    continue;
                }
                if kind.is_dir() {
                    folders.push(entry.path());
                }
                if kind.is_file() && entry.metadata()?.len() <= FILE_BYTES_MAX {
                    files.extend(read(root, &entry.path())?);
                }
            }
            ensure!(files.len() <= FILES_MAX, "more than {FILES_MAX} files under {}", root.display());
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Self { files })
    }

    /// A tree for the test of a rule.
    #[cfg(test)]
    pub(super) fn sample(files: &[(&str, &str)]) -> Self {
        let files = files.iter().map(|(path, text)| File::new((*path).to_owned(), (*text).to_owned()));
        Self { files: files.collect() }
    }

    /// The file at exactly this path.
    pub(super) fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    /// Every Rust file with its Rust view.
    pub(super) fn rust(&self) -> impl Iterator<Item = (&File, &Source)> {
        self.files.iter().filter_map(|file| Some((file, file.rust.as_ref()?)))
    }
}

/// A text file, or nothing where the bytes are no text.
fn read(root: &Path, path: &Path) -> Result<Option<File>> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let Ok(text) = String::from_utf8(bytes) else { return Ok(None) };
    let parts: Vec<_> = path.strip_prefix(root)?.iter().map(|part| part.to_string_lossy()).collect();
    Ok(Some(File::new(parts.join("/"), text)))
}
