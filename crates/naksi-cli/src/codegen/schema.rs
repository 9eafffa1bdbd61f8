//! `.proto` files, compiled by protox: what types there are and where each of them stands. No `protoc` is needed.

use std::path::{Path, PathBuf};

use prost_types::{FileDescriptorProto, FileDescriptorSet};

use super::Source;
use crate::outcome::Problem;
use crate::picture;

/// The compiled files.
pub(super) struct Schema {
    set: FileDescriptorSet,
    /// The files that were named, as they are called in `set`; the others are imported by them.
    named: Vec<String>,
    sources: Vec<Source>,
}

impl Schema {
    /// Compiles these files; what they import is looked for beside each of them.
    pub(super) fn compile(paths: &[PathBuf]) -> Result<Self, Problem> {
        let sources = paths.iter().map(|path| Source::read(path)).collect::<Result<Vec<_>, _>>()?;
        let mut folders: Vec<&Path> = Vec::new();
        for path in paths {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            let folder = folder.unwrap_or(Path::new("."));
            if !folders.contains(&folder) {
                folders.push(folder);
            }
        }
        let names = paths.iter().filter_map(|path| path.file_name());
        let names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
        let set = protox::compile(&names, &folders).map_err(|error| refused(&error))?;
        Ok(Self { set, named: names, sources })
    }

    /// The files that were named, in their order.
    pub(super) fn named(&self) -> impl Iterator<Item = &FileDescriptorProto> {
        self.named.iter().filter_map(|name| self.file(name))
    }

    /// Those and all that they import.
    pub(super) fn files(&self) -> &[FileDescriptorProto] {
        &self.set.file
    }

    /// A file that is imported and was not named. What Protobuf itself brings never changes.
    pub(super) fn unnamed(&self) -> Option<&str> {
        let names = self.set.file.iter().map(|file| file.name());
        let mut unnamed = names.filter(|name| !self.named.iter().any(|named| named == name));
        unnamed.find(|name| !name.starts_with("google/protobuf/"))
    }

    fn file(&self, name: &str) -> Option<&FileDescriptorProto> {
        self.set.file.iter().find(|file| file.name() == name)
    }

    /// The texts of the named files, in their order.
    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        self.sources.iter().map(|source| source.text.as_str())
    }

    /// A refusal of what stands at this path of a file's descriptor.
    pub(super) fn wrong(&self, file: &str, path: &[i32], message: &str, help: &str) -> Problem {
        let source = self.named.iter().position(|name| name == file).map(|place| &self.sources[place]);
        let info = self.file(file).and_then(|file| file.source_code_info.as_ref());
        let span = info.and_then(|info| info.location.iter().find(|location| location.path == path));
        match (source, span.map(|location| location.span.as_slice())) {
            (Some(source), Some([line, column, ..])) => {
                source.wrong(message, source.token_at(*line as usize, *column as usize), help)
            }
            _ => Problem::usage(format!("{file}: {message}: {help}")),
        }
    }

    /// What is said before the thing at this path of a file's descriptor, line by line.
    pub(super) fn doc(&self, file: &FileDescriptorProto, path: &[i32]) -> Vec<String> {
        let info = file.source_code_info.as_ref();
        let place = info.and_then(|info| info.location.iter().find(|location| location.path == path));
        let said = place.map_or("", |location| location.leading_comments());
        // A comment that ends a comment would end that of the written file.
        said.trim().lines().map(|line| line.trim().replace("*/", "* /")).collect()
    }

    /// Who wrote what is written from it.
    pub(super) fn provenance(&self) -> String {
        format!("Written by `naksi gen` from {}; not to be edited", self.named.join(", "))
    }
}

fn refused(error: &protox::Error) -> Problem {
    let line = match error.file() {
        Some(file) => format!("{file}: {error}"),
        None => error.to_string(),
    };
    match picture::draw(error) {
        Some(picture) => Problem::Pictured { line, picture },
        None => Problem::usage(line),
    }
}
