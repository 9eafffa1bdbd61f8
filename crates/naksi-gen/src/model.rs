//! The model of what is generated, for every language: the packets of a table, and every message and enum that they
//! reach.
//!
//! Constructs that no client supports are refused here, with their place.

use std::collections::{BTreeMap, VecDeque};

use naksi_core::nearest::nearest;
use naksi_core::packet_version::Version;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto};

use crate::error::Error;
use crate::names;
use crate::schema::{Schema, Site};
use crate::scope::Scope;
use crate::table::{Line, Table};

/// A client to be.
pub(super) struct Model {
    /// The table's name.
    pub(super) table: String,
    /// The table's version, as the server has it.
    pub(super) version: u64,
    /// The package of the first file.
    pub(super) package: String,
    pub(super) provenance: String,
    /// In the order of the table.
    pub(super) packets: Vec<Packet>,
    /// Messages that packets reach, including the packets, in the order of their files.
    pub(super) messages: Vec<Message>,
    /// Enums that packets reach, in the order of their files.
    pub(super) enums: Vec<Enum>,
}

/// How a language calls things.
pub(super) struct Spelling {
    /// The language, for people.
    pub(super) language: &'static str,
    /// Names that a message or an enum cannot have, because the generated file uses them.
    pub(super) reserved: &'static [&'static str],
    /// A field of a message of this name.
    pub(super) field: fn(field: &str, message: &str) -> String,
    /// The name of an enum's value, without the enum's name if every value begins with it.
    pub(super) value: fn(&str) -> String,
    /// What is wrong with a package of this name, and how to fix it.
    pub(super) package_fault: fn(&str) -> Option<(&'static str, &'static str)>,
}

/// One line of the table.
pub(super) struct Packet {
    pub(super) id: u16,
    /// The name of its message.
    pub(super) name: String,
}

/// One message.
pub(super) struct Message {
    pub(super) name: String,
    pub(super) doc: Vec<String>,
    pub(super) fields: Vec<Field>,
    /// Its id, if it is a packet.
    pub(super) id: Option<u16>,
    site: Site,
}

/// One field.
pub(super) struct Field {
    /// Its name as the language spells it.
    pub(super) name: String,
    pub(super) number: i32,
    pub(super) kind: Kind,
    pub(super) label: Many,
    pub(super) doc: Vec<String>,
    /// The other fields of its `oneof`: setting one of them unsets the rest.
    pub(super) rivals: Vec<String>,
}

/// How many of a field there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Many {
    /// One; its default is not sent.
    One,
    /// One or none, which are different things.
    Maybe,
    /// Any number, sent one by one.
    Some,
    /// Any number, sent together.
    Packed,
}

/// What a field is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A number, a text, a flag: its name in Protobuf.
    Scalar(&'static str),
    /// An enum of this name.
    Enum(String),
    /// A message of this name.
    Message(String),
}

impl Field {
    /// The wire type of its values: 0 a varint, 1 eight bytes, 2 a length and that many bytes, 5 four bytes.
    pub(super) fn wire(&self) -> u32 {
        match &self.kind {
            Kind::Scalar("double" | "fixed64" | "sfixed64") => 1,
            Kind::Scalar("float" | "fixed32" | "sfixed32") => 5,
            Kind::Scalar("string" | "bytes") | Kind::Message(_) => 2,
            Kind::Scalar(_) | Kind::Enum(_) => 0,
        }
    }

    /// The number and the mark together, as they are sent.
    pub(super) fn key(&self, wire: u32) -> u32 {
        (self.number as u32) << 3 | wire
    }

    /// Whether its values can be sent together.
    pub(super) fn can_be_packed(&self) -> bool {
        self.wire() != 2
    }
}

/// One enum.
pub(super) struct Enum {
    pub(super) name: String,
    pub(super) doc: Vec<String>,
    pub(super) values: Vec<Value>,
    site: Site,
}

/// One value of an enum.
pub(super) struct Value {
    /// Its name as the language spells it.
    pub(super) name: String,
    pub(super) number: i32,
    pub(super) doc: Vec<String>,
}

impl Model {
    /// Builds the model of a table and its files, if a client can support it.
    pub(super) fn build(table: &Table, schema: &Schema, spelling: &Spelling) -> Result<Self, Error> {
        if let Some(name) = schema.unnamed() {
            let message = format!("{name} is imported, and its changes would not change the table's version");
            let help = "name it in `prost(…)` too, behind the others";
            return Err(table.source.wrong(&message, table.span.clone(), help));
        }
        let index = Index::new(schema, spelling);
        if let Some((fault, help)) = (spelling.package_fault)(&index.package) {
            let site = schema.package_site();
            return Err(schema.refuse(&site, &format!("package `{}` {fault}", index.package), help));
        }
        let mut reached = VecDeque::new();
        for line in &table.lines {
            reached.push_back(index.packet(table, line)?.to_owned());
        }
        let packets = table.lines.iter().zip(&reached);
        let packets: Vec<_> = packets
            .map(|(line, full)| Packet { id: line.id, name: names::flat(full, &index.package) })
            .collect();
        let mut messages = BTreeMap::new();
        let mut enums = BTreeMap::new();
        while let Some(full) = reached.pop_front() {
            let Some(place) = index.messages.get(&full).filter(|place| !messages.contains_key(&place.order))
            else {
                continue;
            };
            let message = index.message(place, &packets)?;
            for field in &place.of.field {
                match field.r#type() {
                    Type::Message => reached.push_back(field.type_name().to_owned()),
                    Type::Enum => {
                        if let Some(place) = index.enums.get(field.type_name()) {
                            enums.insert(place.order, index.list(place)?);
                        }
                    }
                    _ => {}
                }
            }
            messages.insert(place.order, message);
        }
        let (messages, enums): (Vec<_>, Vec<_>) =
            (messages.into_values().collect(), enums.into_values().collect());
        check_names(&messages, &enums, schema, spelling)?;
        let lines = table.lines.iter().fold(Version::NONE, |version, line| version.id(line.id, &line.name));
        Ok(Self {
            table: table.name.clone(),
            version: schema.texts().fold(lines, Version::proto).number(),
            package: index.package,
            provenance: schema.provenance(),
            packets,
            messages,
            enums,
        })
    }
}

/// Refuses names that the generated file uses itself, and two types with the same name.
fn check_names(
    messages: &[Message],
    enums: &[Enum],
    schema: &Schema,
    spelling: &Spelling,
) -> Result<(), Error> {
    let mut scope = Scope::new(schema, spelling.language);
    let messages = messages.iter().map(|message| (&message.name, "message", &message.site));
    let enums = enums.iter().map(|list| (&list.name, "enum", &list.site));
    for (name, sort, site) in messages.chain(enums) {
        let what = format!("{sort} `{}`", schema.name_at(site));
        if spelling.reserved.contains(&name.as_str()) {
            let message = format!("{what} would be called `{name}`, which the written file needs for itself");
            return Err(schema.refuse(site, &message, "name it otherwise"));
        }
        scope.take(name, what, site)?;
    }
    Ok(())
}

/// Where a type stands.
struct Place<'a, T> {
    of: &'a T,
    site: Site,
    /// Whether its file is of the syntax that is written here.
    is_proto3: bool,
    name: String,
    /// Its place among all of its sort.
    order: usize,
}

/// All types of all files, by their full names.
struct Index<'a> {
    schema: &'a Schema,
    spelling: &'a Spelling,
    package: String,
    messages: BTreeMap<String, Place<'a, DescriptorProto>>,
    enums: BTreeMap<String, Place<'a, EnumDescriptorProto>>,
}

impl<'a> Index<'a> {
    fn new(schema: &'a Schema, spelling: &'a Spelling) -> Self {
        let package = schema.named().next().map_or("", |file| file.package()).to_owned();
        let mut index = Self { schema, spelling, package, messages: BTreeMap::new(), enums: BTreeMap::new() };
        for file in schema.files() {
            let scope = match file.package() {
                "" => String::new(),
                package => format!(".{package}"),
            };
            for (place, of) in file.message_type.iter().enumerate() {
                index.add(file, of, &scope, vec![4, place as i32]);
            }
            for (place, of) in file.enum_type.iter().enumerate() {
                index.add_enum(file, of, &scope, vec![5, place as i32]);
            }
        }
        index
    }

    fn add(&mut self, file: &'a FileDescriptorProto, of: &'a DescriptorProto, scope: &str, path: Vec<i32>) {
        let full = format!("{scope}.{}", of.name());
        for (place, inner) in of.nested_type.iter().enumerate() {
            self.add(file, inner, &full, [&path[..], &[3, place as i32]].concat());
        }
        for (place, inner) in of.enum_type.iter().enumerate() {
            self.add_enum(file, inner, &full, [&path[..], &[4, place as i32]].concat());
        }
        let order = self.messages.len();
        let place = self.place(file, of, &full, path, order);
        self.messages.insert(full, place);
    }

    fn add_enum(
        &mut self,
        file: &'a FileDescriptorProto,
        of: &'a EnumDescriptorProto,
        scope: &str,
        path: Vec<i32>,
    ) {
        let full = format!("{scope}.{}", of.name());
        let order = self.enums.len();
        let place = self.place(file, of, &full, path, order);
        self.enums.insert(full, place);
    }

    fn place<T>(
        &self,
        file: &FileDescriptorProto,
        of: &'a T,
        full: &str,
        path: Vec<i32>,
        order: usize,
    ) -> Place<'a, T> {
        let site = Site { file: file.name().to_owned(), path };
        let (name, is_proto3) = (names::flat(full, &self.package), file.syntax() == "proto3");
        Place { of, site, is_proto3, name, order }
    }

    /// The full name of a line's message.
    fn packet(&self, table: &Table, line: &Line) -> Result<&str, Error> {
        let named = |place: &Place<'_, DescriptorProto>| {
            place.site.path.len() == 2 && self.schema.named().any(|file| file.name() == place.site.file)
        };
        let is_it = |place: &Place<'_, DescriptorProto>| names::rust_type(place.of.name()) == line.name;
        let mut found = self.messages.iter().filter(|(_, place)| named(place) && is_it(place));
        match (found.next(), found.next()) {
            (Some((full, _)), None) => return Ok(full),
            (Some((one, _)), Some((other, _))) => {
                let message = format!("packet {} could be `{}` or `{}`", line.id, &one[1..], &other[1..]);
                return Err(table.source.wrong(&message, line.span.clone(), "rename one of the messages"));
            }
            (None, _) => {}
        }
        let known = self.messages.values().filter(|place| named(place));
        let known: Vec<_> = known.map(|place| names::rust_type(place.of.name())).collect();
        let message = format!("packet {} has no message `{}`", line.id, line.name);
        let help = match nearest(&line.name, known.iter().map(String::as_str)) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("the .proto files have {}", known.join(", ")),
        };
        Err(table.source.wrong(&message, line.span.clone(), &help))
    }

    fn message(&self, place: &Place<'_, DescriptorProto>, packets: &[Packet]) -> Result<Message, Error> {
        let mut scope = Scope::new(self.schema, self.spelling.language);
        let mut fields = Vec::new();
        for (at, of) in place.of.field.iter().enumerate() {
            let site = place.site.inner(2, at);
            let field = self.field(place, &site, of)?;
            scope.take(&field.name, format!("field `{}` of `{}`", of.name(), place.of.name()), &site)?;
            fields.push(field);
        }
        let id = packets.iter().find(|packet| packet.name == place.name).map(|packet| packet.id);
        let doc = self.schema.doc(&place.site);
        Ok(Message { name: place.name.clone(), doc, fields, id, site: place.site.clone() })
    }

    fn field(
        &self,
        place: &Place<'_, DescriptorProto>,
        site: &Site,
        field: &FieldDescriptorProto,
    ) -> Result<Field, Error> {
        let refuse = |what: &str, instead: &str| {
            let message = format!("field `{}` of `{}` is {what}", field.name(), place.of.name());
            Err(self.schema.refuse(site, &message, instead))
        };
        if !place.is_proto3 {
            return refuse("of another syntax than proto3", "begin the file with `syntax = \"proto3\";`");
        }
        if !field.name().starts_with(|first: char| first.is_ascii_alphabetic()) {
            return refuse("called by no word", "begin its name with a letter");
        }
        let kind = match field.r#type() {
            Type::Group => return refuse("a group", "make it a message of its own"),
            Type::Message => match self.messages.get(field.type_name()) {
                Some(found) if found.of.options.as_ref().is_some_and(|options| options.map_entry()) => {
                    return refuse("a map", "make it `repeated` of a message with a key and a value");
                }
                Some(found) => Kind::Message(found.name.clone()),
                None => return refuse("of a type that is nowhere", "import its file"),
            },
            Type::Enum => match self.enums.get(field.type_name()) {
                Some(found) => Kind::Enum(found.name.clone()),
                None => return refuse("of a type that is nowhere", "import its file"),
            },
            scalar => Kind::Scalar(names::scalar(scalar)),
        };
        let is_alone = field.oneof_index.is_some() || matches!(kind, Kind::Message(_));
        let spelled = |name: &str| (self.spelling.field)(name, &place.name);
        let (name, doc) = (spelled(field.name()), self.schema.doc(site));
        let rivals = rivals(place.of, field).map(spelled).collect();
        let mut made = Field { name, number: field.number(), kind, label: Many::One, doc, rivals };
        made.label = match field.label() {
            Label::Repeated => {
                let packed = field.options.as_ref().and_then(|options| options.packed).unwrap_or(true);
                if packed && made.can_be_packed() { Many::Packed } else { Many::Some }
            }
            _ if is_alone => Many::Maybe,
            _ => Many::One,
        };
        Ok(made)
    }

    fn list(&self, place: &Place<'_, EnumDescriptorProto>) -> Result<Enum, Error> {
        let prefix = names::upper_snake(place.of.name()) + "_";
        let all = place.of.value.iter().all(|value| {
            let rest = value.name().strip_prefix(&prefix);
            rest.is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_alphabetic()))
        });
        let mut scope = Scope::new(self.schema, self.spelling.language);
        let mut values = Vec::new();
        for (at, value) in place.of.value.iter().enumerate() {
            let site = place.site.inner(2, at);
            let name = (self.spelling.value)(&value.name()[if all { prefix.len() } else { 0 }..]);
            scope.take(&name, format!("value `{}` of `{}`", value.name(), place.of.name()), &site)?;
            values.push(Value { name, number: value.number(), doc: self.schema.doc(&site) });
        }
        let doc = self.schema.doc(&place.site);
        Ok(Enum { name: place.name.clone(), doc, values, site: place.site.clone() })
    }
}

/// The other fields of a field's `oneof`.
fn rivals<'a>(of: &'a DescriptorProto, field: &'a FieldDescriptorProto) -> impl Iterator<Item = &'a str> {
    let others = of.field.iter().filter(|other| {
        field.oneof_index.is_some()
            && other.oneof_index == field.oneof_index
            && other.number() != field.number()
    });
    others.map(|other| other.name())
}
