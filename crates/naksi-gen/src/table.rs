//! A `packets!` table in a source file: which id is which type, and where the types are described.
//!
//! The file is split into Rust tokens and only the table is parsed, so everything has its place, and the rest of the
//! file may be of any size and depth.

use naksi_core::engine_message::FIRST_ID;
use std::ops::Range;
use std::path::{Path, PathBuf};

use proc_macro2::{Group, Spacing, TokenStream, TokenTree};
use syn::parse::{Parse, ParseStream, Parser as _};
use syn::{Ident, LitInt, LitStr, Token, Visibility};

use crate::error::Error;
use crate::nesting::DEPTH_MAX;
use crate::source::Source;

/// A table whose types stand in `.proto` files.
pub(super) struct Table {
    pub(super) source: Source,
    pub(super) name: String,
    /// Where its name stands.
    pub(super) span: Range<usize>,
    /// The files as the table names them, relative to the folder of its own file.
    pub(super) protos: Vec<String>,
    pub(super) lines: Vec<Line>,
}

impl Table {
    /// Where its `.proto` files are.
    pub(super) fn proto_paths(&self) -> Vec<PathBuf> {
        let folder = Path::new(&self.source.name).parent().unwrap_or(Path::new(""));
        self.protos.iter().map(|proto| folder.join(proto)).collect()
    }
}

/// One packet.
pub(super) struct Line {
    pub(super) id: u16,
    pub(super) name: String,
    /// Where its name stands.
    pub(super) span: Range<usize>,
}

/// Reads the table of a file; the one of this name, if there are several.
pub(super) fn read(path: &Path, name: Option<&str>) -> Result<Table, Error> {
    let source = Source::read(path)?;
    let tokens = match without_script_line(&source.text).parse::<TokenStream>() {
        Ok(tokens) => tokens,
        Err(error) => {
            let message =
                "this file is no Rust: a bracket, a string or a comment has no end, or no beginning";
            return Err(source.wrong(message, error.span().byte_range(), COMPILES));
        }
    };
    let mut tables = Vec::new();
    for group in tables_in(tokens) {
        if depth(&group) > DEPTH_MAX {
            let message = format!("brackets stand in brackets more than {DEPTH_MAX} deep in this table");
            return Err(source.wrong(&message, group.span_open().byte_range(), COMPILES));
        }
        let tokens = group.stream();
        let refused = |error| wrong(&source, &error, "this is no table of packets");
        match syn::parse2::<Parsed>(tokens.clone()) {
            Ok(table) => tables.push(table),
            // Errors in other tables do not matter.
            Err(_) if name.is_some_and(|name| name_of(tokens).is_none_or(|found| found != name)) => {}
            Err(error) => return Err(refused(error)),
        }
    }
    let parsed = choose(&source, tables, name)?;
    check(&source, &parsed)?;
    let (name, span) = (parsed.name.to_string(), parsed.name.span().byte_range());
    Ok(Table { source, name, span, protos: parsed.protos, lines: parsed.lines })
}

fn choose(source: &Source, mut tables: Vec<Parsed>, name: Option<&str>) -> Result<Parsed, Error> {
    let names: Vec<String> = tables.iter().map(|table| format!("`{}`", table.name)).collect();
    match name {
        _ if tables.is_empty() => {
            Err(Error::usage(format!("{}: there is no `packets!` table in this file", source.name)))
        }
        Some(name) => match tables.iter().position(|table| table.name == name) {
            Some(place) => Ok(tables.swap_remove(place)),
            None => Err(Error::usage(format!(
                "{}: there is no table `{name}`; there is {}",
                source.name,
                names.join(", ")
            ))),
        },
        None if tables.len() == 1 => Ok(tables.swap_remove(0)),
        None => Err(Error::usage(format!(
            "{}: there are several tables: say which with --table: {}",
            source.name,
            names.join(", ")
        ))),
    }
}

/// Refuses what would not compile, or what no client in another language supports.
fn check(source: &Source, table: &Parsed) -> Result<(), Error> {
    if table.protos.is_empty() {
        let help = "Rust peers need no generated code for it; for other languages name the types' file: \
                    `packets! { NAME: prost(\"file.proto\") { 1 => Type } }`";
        let span = table.name.span().byte_range();
        return Err(source.wrong(
            "the bodies of this table are postcard, which only Rust speaks",
            span,
            help,
        ));
    }
    for (place, line) in table.lines.iter().enumerate() {
        if line.id >= FIRST_ID {
            let message = format!("packet id {} is the engine's", line.id);
            return Err(source.wrong(&message, line.span.clone(), "choose one below 65520 (0xFFF0)"));
        }
        if let Some(before) = table.lines[..place].iter().find(|other| other.id == line.id) {
            let message = format!("packet id {} is taken by `{}`", line.id, before.name);
            return Err(source.wrong(&message, line.span.clone(), "give each packet an id of its own"));
        }
        if table.lines[..place].iter().any(|other| other.name == line.name) {
            let message = format!("`{}` has an id already", line.name);
            return Err(source.wrong(&message, line.span.clone(), "a type is one packet"));
        }
    }
    Ok(())
}

/// What to do about a file that is no Rust.
const COMPILES: &str = "what does not compile has no client";

fn wrong(source: &Source, error: &syn::Error, what: &str) -> Error {
    source.wrong(&format!("{what}: {error}"), error.span().byte_range(), COMPILES)
}

/// A file's text with a shebang line replaced by blanks.
fn without_script_line(text: &str) -> String {
    match text.lines().next() {
        Some(first) if first.starts_with("#!") && !first[2..].trim_start().starts_with('[') => {
            " ".repeat(first.len()) + &text[first.len()..]
        }
        _ => text.to_owned(),
    }
}

/// The previous tokens, which tell whether the next bracket belongs to a macro.
#[derive(Default)]
enum Before {
    /// An identifier: does the macro `packets` begin?
    Name(bool),
    /// A macro's name and its `!`, and perhaps the name of the macro that is defined.
    Called(bool),
    /// Anything else.
    #[default]
    Else,
}

/// The brackets of every `packets!` in a file, wherever it is, except in the bodies of other macros.
fn tables_in(tokens: TokenStream) -> Vec<Group> {
    let mut tables = Vec::new();
    let mut open = vec![(tokens.into_iter(), Before::default())];
    while let Some((tokens, before)) = open.last_mut() {
        let Some(token) = tokens.next() else {
            open.pop();
            continue;
        };
        match (std::mem::take(before), token) {
            // `macro_rules! name { … }`
            (Before::Called(_), TokenTree::Ident(_)) => *before = Before::Called(false),
            (_, TokenTree::Ident(name)) => *before = Before::Name(name == "packets"),
            (Before::Name(is_table), TokenTree::Punct(mark))
                if mark.as_char() == '!' && mark.spacing() == Spacing::Alone =>
            {
                *before = Before::Called(is_table);
            }
            (Before::Called(true), TokenTree::Group(group)) => tables.push(group),
            (Before::Called(false), TokenTree::Group(_)) => {}
            (_, TokenTree::Group(group)) => open.push((group.stream().into_iter(), Before::default())),
            _ => {}
        }
    }
    tables
}

/// How deep brackets stand in brackets.
fn depth(group: &Group) -> usize {
    let mut open = vec![group.stream().into_iter()];
    let mut deepest = 1;
    while let Some(tokens) = open.last_mut() {
        match tokens.next() {
            Some(TokenTree::Group(inner)) => open.push(inner.stream().into_iter()),
            Some(_) => {}
            None => drop(open.pop()),
        }
        deepest = deepest.max(open.len());
    }
    deepest
}

/// Passes over attributes, whatever stands in them.
fn attributes(input: ParseStream<'_>) -> syn::Result<()> {
    while input.parse::<Option<Token![#]>>()?.is_some() {
        let inside;
        syn::bracketed!(inside in input);
        inside.parse::<TokenStream>()?;
    }
    Ok(())
}

/// What a table is called, whatever else is wrong with it.
fn name_of(tokens: TokenStream) -> Option<Ident> {
    let named = |input: ParseStream<'_>| {
        attributes(input)?;
        input.parse::<Visibility>()?;
        let name = input.parse::<Ident>()?;
        input.parse::<TokenStream>()?;
        Ok(name)
    };
    named.parse2(tokens).ok()
}

/// The inside of a `packets!`.
struct Parsed {
    name: Ident,
    protos: Vec<String>,
    lines: Vec<Line>,
}

impl Parse for Parsed {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        attributes(input)?;
        input.parse::<Visibility>()?;
        let name = input.parse::<Ident>()?;
        let mut protos = Vec::new();
        if input.parse::<Option<Token![:]>>()?.is_some() {
            let encoding = input.parse::<Ident>()?;
            if encoding != "prost" {
                return Err(syn::Error::new(encoding.span(), "`prost` is the only encoding that is named"));
            }
            let inside;
            syn::parenthesized!(inside in input);
            let named = inside.parse_terminated(<LitStr as Parse>::parse, Token![,])?;
            protos.extend(named.iter().map(LitStr::value));
        }
        let inside;
        syn::braced!(inside in input);
        let mut lines = Vec::new();
        while !inside.is_empty() {
            lines.push(line(&inside)?);
        }
        Ok(Self { name, protos, lines })
    }
}

fn line(input: ParseStream<'_>) -> syn::Result<Line> {
    attributes(input)?;
    let id = input.parse::<LitInt>()?.base10_parse::<u16>()?;
    input.parse::<Token![=>]>()?;
    let name = input.parse::<Ident>()?;
    if input.peek(syn::token::Brace) {
        let fields;
        syn::braced!(fields in input);
        // The fields of a postcard table, which is refused as a whole.
        fields.parse::<TokenStream>()?;
    }
    Ok(Line { id, name: name.to_string(), span: name.span().byte_range() })
}
