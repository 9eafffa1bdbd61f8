//! `.proto` files, compiled by protox: their types and the place of each. No `protoc` is needed.

use std::path::PathBuf;

use prost_types::source_code_info::Location;
use prost_types::{FileDescriptorProto, FileDescriptorSet};

use crate::error::Error;
use crate::files::Files;

/// The compiled files.
pub(super) struct Schema {
    set: FileDescriptorSet,
    files: Files,
}

/// Where a type, a field or a value stands.
#[derive(Clone, Debug)]
pub(super) struct Site {
    /// The name of its file.
    pub(super) file: String,
    /// The way to it in its file's descriptor.
    pub(super) path: Vec<i32>,
}

impl Site {
    /// The place of an element in it: by the field of its descriptor, and the index there.
    pub(super) fn inner(&self, field: i32, at: usize) -> Self {
        Self { file: self.file.clone(), path: [&self.path[..], &[field, at as i32]].concat() }
    }
}

impl Schema {
    /// Compiles these files; imports are searched beside each of them.
    pub(super) fn compile(paths: &[PathBuf]) -> Result<Self, Error> {
        let files = Files::gather(paths)?;
        let mut compiler = protox::Compiler::with_file_resolver(files.resolver());
        compiler.include_imports(true).include_source_info(true);
        if let Err(error) = compiler.open_files(&files.named) {
            return Err(match error.file().and_then(|name| files.sources.get(name)) {
                Some(source) => source.refused(error),
                None => Error::usage(error.to_string()),
            });
        }
        let mut set = compiler.file_descriptor_set();
        set.file.iter_mut().for_each(plain_comments);
        Ok(Self { set, files })
    }

    /// The files that were named, in their order.
    pub(super) fn named(&self) -> impl Iterator<Item = &FileDescriptorProto> {
        self.files.named.iter().filter_map(|name| self.file(name))
    }

    /// Those and all that they import.
    pub(super) fn files(&self) -> &[FileDescriptorProto] {
        &self.set.file
    }

    /// A file that is imported and was not named. Files that come with Protobuf do not count, because they never
    /// change.
    pub(super) fn unnamed(&self) -> Option<&str> {
        let names = self.set.file.iter().map(|file| file.name());
        let mut unnamed = names.filter(|name| !self.files.named.iter().any(|named| named == name));
        unnamed.find(|name| !name.starts_with("google/protobuf/"))
    }

    /// Where the first file says its package.
    pub(super) fn package_site(&self) -> Site {
        Site { file: self.files.named.first().cloned().unwrap_or_default(), path: vec![2] }
    }

    /// Where a file is imported first.
    pub(super) fn import_site(&self, import: &str) -> Site {
        let place = |file: &FileDescriptorProto| file.dependency.iter().position(|name| name == import);
        let mut found = self.set.file.iter().filter_map(|file| Some((file.name(), place(file)?)));
        let (file, at) = found.next().unwrap_or((import, 0));
        Site { file: file.to_owned(), path: vec![3, at as i32] }
    }

    /// A type's name as its file writes it, with its enclosing types.
    pub(super) fn name_at(&self, site: &Site) -> String {
        let mut names = Vec::new();
        let Some(file) = self.file(&site.file) else { return String::new() };
        let mut messages = &file.message_type;
        let mut enums = &file.enum_type;
        for step in site.path.chunks_exact(2) {
            let at = step[1] as usize;
            // In a file's descriptor, messages are field 4 and enums 5; in a message's they are 3 and 4.
            let is_message = step[0] == if names.is_empty() { 4 } else { 3 };
            match messages.get(at).filter(|_| is_message) {
                Some(message) => {
                    names.push(message.name());
                    (messages, enums) = (&message.nested_type, &message.enum_type);
                }
                None => names.extend(enums.get(at).map(|list| list.name())),
            }
        }
        names.join(".")
    }

    fn location(&self, file: &str, path: &[i32]) -> Option<&Location> {
        let info = self.file(file)?.source_code_info.as_ref()?;
        info.location.iter().find(|location| location.path == path)
    }

    fn file(&self, name: &str) -> Option<&FileDescriptorProto> {
        self.set.file.iter().find(|file| file.name() == name)
    }

    /// The texts of the named files, in their order.
    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        self.files
            .named
            .iter()
            .filter_map(|name| self.files.sources.get(name))
            .map(|source| source.text.as_str())
    }

    /// The error for an element at this place, pointing at its name if it has one.
    pub(super) fn refuse(&self, site: &Site, message: &str, help: &str) -> Error {
        // A name is the first field of every descriptor.
        let name = self.location(&site.file, &[&site.path[..], &[1]].concat());
        let location = name.or_else(|| self.location(&site.file, &site.path));
        match (self.files.sources.get(&site.file), location.map(|location| location.span.as_slice())) {
            (Some(source), Some([line, column, end])) => {
                let start = source.token_at(*line as usize, *column as usize).start;
                source.wrong(message, start..start + (end - column) as usize, help)
            }
            (Some(source), Some([line, column, ..])) => {
                source.wrong(message, source.token_at(*line as usize, *column as usize), help)
            }
            _ => Error::usage(format!("{}: {message}: {help}", site.file)),
        }
    }

    /// What is said before what stands here, line by line.
    pub(super) fn doc(&self, site: &Site) -> Vec<String> {
        let place = self.location(&site.file, &site.path);
        let said = place.map_or("", |location| location.leading_comments());
        // A comment's end mark would end the comment of the generated file.
        said.trim().lines().map(|line| line.trim().replace("*/", "* /")).collect()
    }

    /// Who wrote what is written from it.
    pub(super) fn provenance(&self) -> String {
        let names = plain(&self.files.named.join(", ")).replace('\n', " ");
        format!("Written by `naksi gen` from {names}; not to be edited")
    }
}

/// Makes the comments of a file plain text in every language.
fn plain_comments(file: &mut FileDescriptorProto) {
    let locations = file.source_code_info.iter_mut().flat_map(|info| &mut info.location);
    for location in locations {
        let around = [&mut location.leading_comments, &mut location.trailing_comments];
        let around = around.into_iter().flatten();
        around.chain(&mut location.leading_detached_comments).for_each(|comment| *comment = plain(comment));
    }
}

/// Replaces invisible characters that end a line or change the direction of text by blanks.
fn plain(text: &str) -> String {
    let is_seen = |letter: char| {
        let turns =
            matches!(letter, '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}');
        let ends = matches!(letter, '\u{2028}' | '\u{2029}') || letter.is_control() && letter != '\n';
        !turns && !ends
    };
    text.chars().map(|letter| if is_seen(letter) { letter } else { ' ' }).collect()
}
