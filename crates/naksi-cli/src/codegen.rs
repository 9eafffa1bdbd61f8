//! `naksi gen`: the options of the crate `naksi-gen`, and the display of its errors.

use std::path::PathBuf;

use naksi_gen::{Error, Request, generate};

use crate::outcome::{Outcome, Problem};
use crate::output_file::OutputFile;
use crate::picture::{self, Place};
use crate::results::print;

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

/// Writes the file.
pub(crate) fn run(options: Options) -> Result<Outcome, Problem> {
    if options.packets.is_none() && options.lang != Language::Rust {
        return Err(Problem::usage(
            "a client needs ids: name the file of the `packets!` table with --packets",
        ));
    }
    let text = generate(&request(&options)).map_err(shown)?;
    match options.out {
        Some(path) => OutputFile::open(&path)?.write(&text)?,
        None => print(&text)?,
    }
    Ok(Outcome::Fine)
}

fn request(options: &Options) -> Request {
    let mut request = Request::new(match options.lang {
        Language::Rust => naksi_gen::Language::Rust,
        Language::Csharp => naksi_gen::Language::Csharp,
        Language::Typescript => naksi_gen::Language::Typescript,
    });
    if let Some(packets) = &options.packets {
        request = request.packets(packets);
    }
    if let Some(table) = &options.table {
        request = request.table(table);
    }
    options.protos.iter().fold(request, Request::proto)
}

/// An error as the program prints it: its place with the text around it.
fn shown(error: Error) -> Problem {
    match error {
        Error::Place(place) => {
            let (message, span) = (place.message.as_str(), place.span.clone());
            let (name, text, help) = (place.name.as_str(), place.text.as_str(), place.help.as_str());
            picture::of(message, message, Place { name, text, span, label: "here", help })
        }
        Error::Refused(refused) => match (refused.offset, picture::draw(&*refused.diagnostic)) {
            (Some(offset), Some(picture)) => {
                let message = refused.diagnostic.to_string();
                let line = picture::line(&refused.name, &refused.text, offset, &message);
                Problem::Pictured { line, picture }
            }
            _ => Problem::usage(Error::Refused(refused).to_string()),
        },
        Error::Failed(line) => Problem::failed(line),
        other => Problem::usage(other.to_string()),
    }
}
