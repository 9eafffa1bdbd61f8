//! What is written, whatever the language: the packets of a table, and every message and enum that they reach.
//!
//! What no client can have is refused here, with its place. Nothing here knows how a language spells a thing.

use std::collections::{BTreeMap, VecDeque};

use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto};

use naksi::packets::Version;

use super::names;
use super::schema::Schema;
use super::table::{Line, Table};
use crate::outcome::Problem;

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
    /// Messages that packets reach, packets among them, in the order of their files.
    pub(super) messages: Vec<Message>,
    /// Enums that packets reach, in the order of their files.
    pub(super) enums: Vec<Enum>,
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
}

/// One field.
pub(super) struct Field {
    /// Its name in lower camel case.
    pub(super) name: String,
    pub(super) number: i32,
    pub(super) kind: Kind,
    pub(super) label: Many,
    pub(super) doc: Vec<String>,
    /// The other fields of its `oneof`: whoever sets one of them unsets the rest.
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
    /// How its values are marked on the wire: 0 a number of any length, 1 eight bytes, 2 a length and so many bytes, 5 four
    /// bytes.
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
}

/// One value of an enum.
pub(super) struct Value {
    /// Without the enum's name, if every value begins with it.
    pub(super) name: String,
    pub(super) number: i32,
    pub(super) doc: Vec<String>,
}

impl Model {
    /// What a table and its files say, if a client can have it.
    pub(super) fn build(table: &Table, schema: &Schema, reserved: &[&str]) -> Result<Self, Problem> {
        if let Some(name) = schema.unnamed() {
            let message = format!("{name} is imported, and its changes would not change the table's version");
            let help = "name it in `prost(…)` too, behind the others";
            return Err(table.source.wrong(&message, table.span.clone(), help));
        }
        let index = Index::new(schema);
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
                    Type::Enum => drop(index.enums.get(field.type_name()).map(|place| {
                        enums.insert(place.order, (field.type_name().to_owned(), index.list(place)));
                    })),
                    _ => {}
                }
            }
            messages.insert(place.order, (full, message));
        }
        check_names(&messages, &enums, reserved)?;
        let lines = table.lines.iter().fold(Version::NONE, |version, line| version.id(line.id, &line.name));
        Ok(Self {
            table: table.name.clone(),
            version: schema.texts().fold(lines, Version::proto).number(),
            package: index.package,
            provenance: schema.provenance(),
            packets,
            messages: messages.into_values().map(|(_, message)| message).collect(),
            enums: enums.into_values().map(|(_, list)| list).collect(),
        })
    }
}

/// Names that a client's own file needs, and two types that would have one name.
fn check_names(
    messages: &BTreeMap<usize, (String, Message)>,
    enums: &BTreeMap<usize, (String, Enum)>,
    reserved: &[&str],
) -> Result<(), Problem> {
    let mut known: BTreeMap<&str, &str> = BTreeMap::new();
    let messages = messages.values().map(|(full, message)| (message.name.as_str(), full.as_str()));
    let enums = enums.values().map(|(full, list)| (list.name.as_str(), full.as_str()));
    for (name, full) in messages.chain(enums) {
        if reserved.contains(&name) {
            let line = format!(
                "`{}` would be called `{name}`, which the written file needs for itself: name it otherwise",
                &full[1..]
            );
            return Err(Problem::usage(line));
        }
        if let Some(other) = known.insert(name, full) {
            let line = format!("`{}` and `{}` would both be called `{name}`", &other[1..], &full[1..]);
            return Err(Problem::usage(line));
        }
    }
    Ok(())
}

/// Where a type stands.
struct Place<'a, T> {
    of: &'a T,
    file: &'a FileDescriptorProto,
    /// The way to it in its file's descriptor.
    path: Vec<i32>,
    name: String,
    /// Its place among all of its sort.
    order: usize,
}

/// All types of all files, by their full names.
struct Index<'a> {
    schema: &'a Schema,
    package: String,
    messages: BTreeMap<String, Place<'a, DescriptorProto>>,
    enums: BTreeMap<String, Place<'a, EnumDescriptorProto>>,
}

impl<'a> Index<'a> {
    fn new(schema: &'a Schema) -> Self {
        let package = schema.named().next().map_or("", |file| file.package()).to_owned();
        let mut index = Self { schema, package, messages: BTreeMap::new(), enums: BTreeMap::new() };
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
        let (name, order) = (names::flat(&full, &self.package), self.messages.len());
        self.messages.insert(full, Place { of, file, path, name, order });
    }

    fn add_enum(
        &mut self,
        file: &'a FileDescriptorProto,
        of: &'a EnumDescriptorProto,
        scope: &str,
        path: Vec<i32>,
    ) {
        let full = format!("{scope}.{}", of.name());
        let (name, order) = (names::flat(&full, &self.package), self.enums.len());
        self.enums.insert(full, Place { of, file, path, name, order });
    }

    /// The full name of a line's message.
    fn packet(&self, table: &Table, line: &Line) -> Result<&str, Problem> {
        // Rust calls it as prost does, with one capital for each word.
        let is_it = |place: &Place<'_, DescriptorProto>| {
            place.path.len() == 2 && names::upper_camel(place.of.name()) == line.name
        };
        let named = |place: &Place<'_, DescriptorProto>| {
            self.schema.named().any(|file| file.name() == place.file.name())
        };
        if let Some((full, _)) = self.messages.iter().find(|(_, place)| named(place) && is_it(place)) {
            return Ok(full);
        }
        let known = self.messages.values().filter(|place| named(place) && place.path.len() == 2);
        let known: Vec<_> = known.map(|place| place.of.name()).collect();
        let message = format!("packet {} has no message `{}`", line.id, line.name);
        let help = match naksi::config::nearest(&line.name, known.iter().copied()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("the .proto files have {}", known.join(", ")),
        };
        Err(table.source.wrong(&message, line.span.clone(), &help))
    }

    fn message(&self, place: &Place<'_, DescriptorProto>, packets: &[Packet]) -> Result<Message, Problem> {
        let fields = place.of.field.iter().enumerate();
        let fields = fields.map(|(at, field)| self.field(place, at, field)).collect::<Result<Vec<_>, _>>()?;
        let id = packets.iter().find(|packet| packet.name == place.name).map(|packet| packet.id);
        let doc = self.schema.doc(place.file, &place.path);
        Ok(Message { name: place.name.clone(), doc, fields, id })
    }

    fn field(
        &self,
        place: &Place<'_, DescriptorProto>,
        at: usize,
        field: &FieldDescriptorProto,
    ) -> Result<Field, Problem> {
        let path = [&place.path[..], &[2, at as i32]].concat();
        let refuse = |what: &str, instead: &str| {
            let message = format!("field `{}` of `{}` is {what}", field.name(), place.of.name());
            Err(self.schema.wrong(place.file.name(), &path, &message, instead))
        };
        if place.file.syntax() != "proto3" {
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
        let (name, doc) = (names::field(field.name()), self.schema.doc(place.file, &path));
        let number = field.number();
        let mut made = Field { name, number, kind, label: Many::One, doc, rivals: rivals(place.of, field) };
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

    fn list(&self, place: &Place<'_, EnumDescriptorProto>) -> Enum {
        let prefix = names::upper_snake(place.of.name()) + "_";
        let all = place.of.value.iter().all(|value| {
            let rest = value.name().strip_prefix(&prefix);
            rest.is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_alphabetic()))
        });
        let shown = |name: &str| if all { name[prefix.len()..].to_owned() } else { name.to_owned() };
        let values = place.of.value.iter().enumerate().map(|(at, value)| {
            let path = [&place.path[..], &[2, at as i32]].concat();
            let doc = self.schema.doc(place.file, &path);
            Value { name: shown(value.name()), number: value.number(), doc }
        });
        let doc = self.schema.doc(place.file, &place.path);
        Enum { name: place.name.clone(), doc, values: values.collect() }
    }
}

/// The other fields of a field's `oneof`.
fn rivals(of: &DescriptorProto, field: &FieldDescriptorProto) -> Vec<String> {
    let others = of.field.iter().filter(|other| {
        field.oneof_index.is_some()
            && other.oneof_index == field.oneof_index
            && other.number() != field.number()
    });
    others.map(|other| names::field(other.name())).collect()
}
