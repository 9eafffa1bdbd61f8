//! `naksi gen`: a `packets!` table and its `.proto` files as a client's source file, or as Rust types for a server.
//!
//! What is written needs nothing beside it: messages, ids, the table's version, frames, named errors. Nothing here knows
//! a socket.

mod csharp;
mod files;
mod model;
mod names;
mod nesting;
mod rust;
mod rust_names;
mod schema;
mod scope;
mod table;
mod typescript;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::thread;

use miette::Diagnostic as _;

use crate::config;
use crate::outcome::{Outcome, Problem};
use crate::output_file::OutputFile;
use crate::picture::{self, Place};
use crate::results::print;
use crate::text;
use model::{Model, Spelling};
use schema::Schema;
use table::Table;

/// Options of `naksi gen`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// What to write: a client for one of the languages, or Rust types for the server's own table.
    #[arg(long, value_enum)]
    lang: Language,
    /// The source file with the `packets!` table; its `prost("…")` names the .proto files.
    #[arg(long, value_name = "FILE", required_unless_present = "protos")]
    packets: Option<PathBuf>,
    /// Which table, if there are several in the file.
    #[arg(long, value_name = "NAME", requires = "packets")]
    table: Option<String>,
    /// A .proto file, in place of those that the table names. May be given several times.
    #[arg(long = "proto", value_name = "FILE")]
    protos: Vec<PathBuf>,
    /// Where to write it; standard output by default.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// What can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Language {
    /// Types for prost.
    Rust,
    /// A client for Unity, Godot and .NET.
    Csharp,
    /// A client for browsers, Node, Deno and Bun.
    Typescript,
}

/// Bytes of the stack on which files are read: parsers call themselves for what stands in something else.
const STACK_BYTES: usize = 64 << 20;

/// Writes the file.
pub(crate) fn run(options: Options) -> Result<Outcome, Problem> {
    let text = thread::scope(|scope| {
        let writer = thread::Builder::new().stack_size(STACK_BYTES);
        let writer = writer.spawn_scoped(scope, || write(&options));
        let writer = writer.map_err(|error| Problem::failed(format!("cannot start a thread: {error}")))?;
        let panicked =
            || Problem::failed("the generator panicked, which is a bug of naksi: please report it");
        writer.join().unwrap_or_else(|_| Err(panicked()))
    })?;
    put(options.out.as_deref(), &text)
}

fn write(options: &Options) -> Result<String, Problem> {
    let table = match &options.packets {
        Some(path) => Some(table::read(path, options.table.as_deref())?),
        None => None,
    };
    let protos = match (&table, options.protos.is_empty()) {
        (Some(table), true) => table.proto_paths(),
        _ => options.protos.clone(),
    };
    let schema = Schema::compile(&protos)?;
    Ok(match options.lang {
        Language::Rust => rust::write(&schema)?,
        Language::Csharp => csharp::write(&model(table, &schema, &csharp::SPELLING)?),
        Language::Typescript => typescript::write(&model(table, &schema, &typescript::SPELLING)?),
    })
}

fn model(table: Option<Table>, schema: &Schema, spelling: &Spelling) -> Result<Model, Problem> {
    match table {
        Some(table) => Model::build(&table, schema, spelling),
        None => {
            Err(Problem::usage("a client needs ids: name the file of the `packets!` table with --packets"))
        }
    }
}

fn put(out: Option<&Path>, text: &str) -> Result<Outcome, Problem> {
    match out {
        Some(path) => OutputFile::open(path)?.write(text)?,
        None => print(text)?,
    }
    Ok(Outcome::Fine)
}

/// A file that was read.
struct Source {
    name: String,
    text: String,
}

impl Source {
    fn read(path: &Path) -> Result<Self, Problem> {
        let name = path.display().to_string();
        let refused = |error: &std::io::Error| format!("cannot read {name}: {}", config::plain(error));
        let text = text::read(path).map_err(|error| Problem::usage(refused(&error)))?;
        Ok(Self { name, text })
    }

    /// A refusal that points at a place.
    fn wrong(&self, message: &str, span: Range<usize>, help: &str) -> Problem {
        picture::of(message, message, Place { name: &self.name, text: &self.text, span, label: "here", help })
    }

    /// What a compiler of Protobuf says of this file.
    fn refused(&self, error: &protox::Error) -> Problem {
        let mut labels = error.labels().into_iter().flatten();
        match (labels.next(), picture::draw(error)) {
            (Some(label), Some(picture)) => {
                let line = picture::line(&self.name, &self.text, label.offset(), &error.to_string());
                Problem::Pictured { line, picture }
            }
            _ => Problem::usage(format!("{}: {error}", self.name)),
        }
    }

    /// The bytes from this line and column (in bytes), both from 0, to the end of the line or of the declaration.
    fn token_at(&self, line: usize, column: usize) -> Range<usize> {
        let before: usize = self.text.split_inclusive('\n').take(line).map(str::len).sum();
        let rest = self.text[before..].lines().next().unwrap_or("");
        let start = (column..=rest.len()).find(|at| rest.is_char_boundary(*at)).unwrap_or(rest.len());
        let length = rest[start..].find([';', '{']).unwrap_or(rest.len() - start);
        before + start..before + start + rest[start..start + length].trim_end().len()
    }
}
