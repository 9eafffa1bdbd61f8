//! The set of `.proto` files and their names: a file is identified by its path, never by its last part alone.
//!
//! A file that others import has the name of the import; any other has its file name, with as many of its folders as
//! are needed to distinguish it.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use protox::file::{File, FileResolver, GoogleFileResolver};

use crate::nesting;
use crate::source::{Source, unreadable};

use crate::error::Error;

/// All files that a compilation needs, except those that come with Protobuf.
#[derive(Default)]
pub(super) struct Files {
    /// The files that were asked for, in their order.
    pub(super) named: Vec<String>,
    /// All of them by their names, imported ones among them.
    pub(super) sources: BTreeMap<String, Source>,
}

/// A file that was read.
struct Opened {
    /// The one path of the file, whatever it is called.
    real: PathBuf,
    source: Source,
    /// What others call it.
    imported_as: Option<String>,
}

impl Files {
    /// Reads these files and everything that they import, searched beside each of them.
    pub(super) fn gather(paths: &[PathBuf]) -> Result<Self, Error> {
        let mut gathered = Gathered { folders: folders(paths), ..Gathered::default() };
        let mut named = Vec::new();
        for path in paths {
            named.push(gathered.open(path)?);
        }
        while let Some(place) = gathered.unread.pop_front() {
            gathered.follow(place)?;
        }
        let names = gathered.names();
        Ok(Self {
            named: named.iter().map(|place| names[*place].clone()).collect(),
            sources: names.into_iter().zip(gathered.files.into_iter().map(|file| file.source)).collect(),
        })
    }

    /// Resolves a path to its file for the compiler.
    pub(super) fn resolver(&self) -> impl FileResolver + 'static {
        let texts = self.sources.iter().map(|(name, source)| (name.clone(), plain_lines(&source.text)));
        Resolver { texts: texts.collect(), google: GoogleFileResolver::new() }
    }
}

/// The folders of these files, each once.
fn folders(paths: &[PathBuf]) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = Vec::new();
    for path in paths {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        if !folders.iter().any(|known| known == folder) {
            folders.push(folder.to_owned());
        }
    }
    folders
}

/// Files on the way to be named.
#[derive(Default)]
struct Gathered {
    folders: Vec<PathBuf>,
    files: Vec<Opened>,
    /// Files whose imports were not yet looked at.
    unread: VecDeque<usize>,
}

impl Gathered {
    /// Reads a file, if it was not read before.
    fn open(&mut self, path: &Path) -> Result<usize, Error> {
        let real = real(path)?;
        if let Some(place) = self.files.iter().position(|file| file.real == real) {
            return Ok(place);
        }
        let source = Source::read(path)?;
        nesting::check(&source)?;
        self.files.push(Opened { real, source, imported_as: None });
        self.unread.push_back(self.files.len() - 1);
        Ok(self.files.len() - 1)
    }

    /// Opens what a file imports.
    fn follow(&mut self, place: usize) -> Result<(), Error> {
        let source = &self.files[place].source;
        let parsed = File::from_source(&source.name, &plain_lines(&source.text));
        let parsed = parsed.map_err(|error| source.refused(error))?;
        for import in &parsed.file_descriptor_proto().dependency {
            let mut found: Vec<PathBuf> = Vec::new();
            for path in self.folders.iter().map(|folder| folder.join(import)).filter(|path| path.is_file()) {
                let path_real = real(&path)?;
                if !found.iter().any(|known| real(known).is_ok_and(|known| known == path_real)) {
                    found.push(path);
                }
            }
            match found.as_slice() {
                // One that Protobuf brings, or none: the compiler says which.
                [] => {}
                [path] => self.import(place, import, path)?,
                [one, other, ..] => {
                    let message =
                        format!("import `{import}` could be {} or {}", one.display(), other.display());
                    let help = "name the folder in the import, so that only one file is meant";
                    return Err(self.wrong_import(place, import, &message, help));
                }
            }
        }
        Ok(())
    }

    fn import(&mut self, importer: usize, import: &str, path: &Path) -> Result<(), Error> {
        let place = self.open(path)?;
        match self.files[place].imported_as.replace(import.to_owned()) {
            Some(before) if before != import => {
                let message =
                    format!("{} is imported as `{before}` elsewhere and as `{import}` here", path.display());
                let help = "import it by one name everywhere: its types would be declared twice";
                Err(self.wrong_import(importer, import, &message, help))
            }
            _ => Ok(()),
        }
    }

    fn wrong_import(&self, importer: usize, import: &str, message: &str, help: &str) -> Error {
        let source = &self.files[importer].source;
        source.wrong(message, import_span(&source.text, import), help)
    }

    /// What each file is called.
    fn names(&self) -> Vec<String> {
        let mut names: Vec<Option<String>> = self.files.iter().map(|file| file.imported_as.clone()).collect();
        for (place, file) in self.files.iter().enumerate().filter(|(_, file)| file.imported_as.is_none()) {
            let own = Path::new(&file.source.name);
            let is_free = |name: &str, count: usize| {
                let mut others = self.files.iter().enumerate().filter(|(other, _)| *other != place);
                others.all(|(_, other)| match &other.imported_as {
                    Some(import) => import != name,
                    None => last_parts(Path::new(&other.source.name), count) != name,
                })
            };
            let mut names_of_it = (1..=own.components().count()).map(|count| (count, last_parts(own, count)));
            let short = names_of_it.find(|(count, name)| is_free(name, *count)).map(|(_, name)| name);
            names[place] = Some(short.unwrap_or_else(|| file.real.display().to_string()));
        }
        names.into_iter().flatten().collect()
    }
}

/// The one path of a file.
fn real(path: &Path) -> Result<PathBuf, Error> {
    fs::canonicalize(path).map_err(|error| unreadable(path, &error))
}

/// The last parts of a path, as imports spell them.
fn last_parts(path: &Path, count: usize) -> String {
    let parts: Vec<_> = path.components().map(|part| part.as_os_str().to_string_lossy()).collect();
    parts[parts.len().saturating_sub(count)..].join("/")
}

/// Where a file says that it imports this.
fn import_span(text: &str, import: &str) -> Range<usize> {
    let quoted = ['"', '\''].iter().find_map(|mark| text.find(&format!("{mark}{import}{mark}")));
    quoted.map_or(0..0, |at| at..at + import.len() + 2)
}

/// A lone carriage return is a blank for Protobuf, and would end a comment in the generated file.
fn plain_lines(text: &str) -> String {
    text.replace('\r', " ")
}

/// Gives the compiler what was read.
struct Resolver {
    texts: BTreeMap<String, String>,
    google: GoogleFileResolver,
}

impl FileResolver for Resolver {
    fn resolve_path(&self, path: &Path) -> Option<String> {
        path.to_str().map(str::to_owned)
    }

    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        match self.texts.get(name) {
            Some(text) => File::from_source(name, text),
            None => self.google.open_file(name),
        }
    }
}
