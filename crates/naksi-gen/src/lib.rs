//! Code from a table of packets: a client's source file from a `packets!` table and its `.proto` files, or Rust types for a
//! server.
//!
//! What is written needs nothing beside it: messages, ids, the table's version, frames, named errors, and in TypeScript a
//! connection. Nothing here knows a socket or a terminal.

#![forbid(unsafe_code)]

mod csharp;
mod error;
mod files;
mod model;
mod names;
mod nesting;
mod rust;
mod rust_names;
mod schema;
mod scope;
mod source;
mod table;
mod typescript;

use std::path::PathBuf;
use std::thread;

pub use error::{Error, Place, Refused};
use model::{Model, Spelling};
use schema::Schema;
use table::Table;

/// What can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Language {
    /// Types for prost.
    Rust,
    /// A client for Unity, Godot and .NET.
    Csharp,
    /// A client for browsers, Node, Deno and Bun.
    Typescript,
}

/// What is to be written, and from which files.
#[derive(Clone, Debug)]
pub struct Request {
    language: Language,
    packets: Option<PathBuf>,
    table: Option<String>,
    protos: Vec<PathBuf>,
}

impl Request {
    /// A request without files: name at least one with [`packets`](Self::packets) or [`proto`](Self::proto).
    pub fn new(language: Language) -> Self {
        Self { language, packets: None, table: None, protos: Vec::new() }
    }

    /// The Rust file with the `packets!` table. A client needs one, because the table has the ids.
    pub fn packets(mut self, file: impl Into<PathBuf>) -> Self {
        self.packets = Some(file.into());
        self
    }

    /// Which table, if there are several in the file; by default there must be one.
    pub fn table(mut self, name: impl Into<String>) -> Self {
        self.table = Some(name.into());
        self
    }

    /// A `.proto` file in place of those that the table names. May be called several times.
    pub fn proto(mut self, file: impl Into<PathBuf>) -> Self {
        self.protos.push(file.into());
        self
    }
}

/// Stack of the thread that reads files, in bytes, because parsers recurse for nested elements.
const STACK_BYTES: usize = 64 << 20;

/// Returns the text of the requested file. It reads files, on a thread with a large stack, and writes none.
///
/// # Errors
///
/// [`Error::Usage`] if a file cannot be read or the request lacks one, [`Error::Place`] and [`Error::Refused`] if a
/// file cannot be used as it is, [`Error::Failed`] if the thread cannot start or the generator itself fails.
pub fn generate(request: &Request) -> Result<String, Error> {
    thread::scope(|scope| {
        let writer = thread::Builder::new().stack_size(STACK_BYTES);
        let writer = writer.spawn_scoped(scope, || write(request));
        let writer = writer.map_err(|error| Error::failed(format!("cannot start a thread: {error}")))?;
        let panicked = || Error::failed("the generator panicked, which is a bug of naksi: please report it");
        writer.join().unwrap_or_else(|_| Err(panicked()))
    })
}

fn write(request: &Request) -> Result<String, Error> {
    let table = match &request.packets {
        Some(path) => Some(table::read(path, request.table.as_deref())?),
        None => None,
    };
    let protos = match (&table, request.protos.is_empty()) {
        (Some(table), true) => table.proto_paths(),
        _ => request.protos.clone(),
    };
    let schema = Schema::compile(&protos)?;
    Ok(match request.language {
        Language::Rust => rust::write(&schema)?,
        Language::Csharp => csharp::write(&model(table, &schema, &csharp::SPELLING)?),
        Language::Typescript => typescript::write(&model(table, &schema, &typescript::SPELLING)?),
    })
}

fn model(table: Option<Table>, schema: &Schema, spelling: &Spelling) -> Result<Model, Error> {
    match table {
        Some(table) => Model::build(&table, schema, spelling),
        None => Err(Error::usage("a client needs ids, which stand in a `packets!` table: name its file")),
    }
}
