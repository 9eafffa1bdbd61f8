//! Generates the Rust types of a `.proto` file with prost, for a server that uses them in a `packets!` table.

use prost_build::{Config, Module};
use prost_types::FileDescriptorProto;

use crate::error::Error;
use crate::rust_names;
use crate::schema::{Schema, Site};

/// The head of the file, below its first line.
const HEAD: &str = "\
//!
//! Put `mod` before it as any other module; `packets!` gives its types their ids. Nothing here knows them.
";

/// All types of the named files, and of those that they import.
pub(super) fn write(schema: &Schema) -> Result<String, Error> {
    let files = schema.files();
    let package = schema.named().next().map_or("", |file| file.package());
    let is_brought = |file: &&FileDescriptorProto| file.name().starts_with("google/protobuf/");
    if let Some(other) = files.iter().find(|file| file.package() != package && !is_brought(file)) {
        let site = Site { file: other.name().to_owned(), path: vec![2] };
        let message = format!(
            "one file of Rust holds one package, and {} is of `{}`, not of `{package}`",
            other.name(),
            other.package()
        );
        return Err(schema.refuse(&site, &message, "have prost-build write several"));
    }
    if let Some(brought) = files.iter().find(is_brought) {
        let message = format!(
            "{} is brought by Protobuf itself, and its types in Rust stand in the crate prost-types, which naksi does not \
             bring",
            brought.name(),
        );
        let help = "write a message of your own for it, or have prost-build write the types";
        return Err(schema.refuse(&schema.import_site(brought.name()), &message, help));
    }
    rust_names::check(schema)?;
    let module = Module::from_protobuf_package_name(package);
    let requests = files.iter().map(|file| (module.clone(), file.clone())).collect();
    // naksi re-exports the matching prost.
    let written = Config::new().prost_path("::naksi::prost").generate(requests);
    let mut written = written.map_err(|error| Error::failed(error.to_string()))?;
    let body = written.remove(&module).unwrap_or_default();
    // The first line is prost-build's note that the file was generated.
    let body = body.split_once('\n').map_or("", |(_, rest)| rest);
    Ok(format!(
        "//! {}.\n{HEAD}\n#![allow(missing_docs, unreachable_pub, reason = \"written by a program\")]\n\n{body}",
        schema.provenance()
    ))
}
