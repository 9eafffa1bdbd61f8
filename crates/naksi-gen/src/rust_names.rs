//! Prost's names for things in Rust: two equal ones are refused, with their place. prost-build itself would generate
//! code that does not compile, or panic.

use std::collections::BTreeSet;

use heck::ToSnakeCase as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto};

use crate::error::Error;
use crate::names;
use crate::schema::{Schema, Site};
use crate::scope::Scope;

/// The language, for people.
const LANGUAGE: &str = "Rust";

/// Refuses files whose types would not have names of their own.
pub(super) fn check(schema: &Schema) -> Result<(), Error> {
    let mut types = Scope::new(schema, LANGUAGE);
    for file in schema.files() {
        let site = Site { file: file.name().to_owned(), path: Vec::new() };
        for (at, message) in file.message_type.iter().enumerate() {
            check_message(schema, &mut types, message, &site.inner(4, at))?;
        }
        for (at, list) in file.enum_type.iter().enumerate() {
            check_enum(schema, &mut types, list, &site.inner(5, at))?;
        }
    }
    Ok(())
}

fn check_message(
    schema: &Schema,
    types: &mut Scope<'_>,
    message: &DescriptorProto,
    site: &Site,
) -> Result<(), Error> {
    types.take(&names::rust_type(message.name()), format!("message `{}`", message.name()), site)?;
    // Nested types stand in a module of the message.
    let mut nested = Scope::new(schema, LANGUAGE);
    let is_map = |inner: &DescriptorProto| inner.options.as_ref().is_some_and(|options| options.map_entry());
    for (at, inner) in message.nested_type.iter().enumerate().filter(|(_, inner)| !is_map(inner)) {
        check_message(schema, &mut nested, inner, &site.inner(3, at))?;
    }
    for (at, inner) in message.enum_type.iter().enumerate() {
        check_enum(schema, &mut nested, inner, &site.inner(4, at))?;
    }
    check_fields(schema, &mut nested, message, site)
}

/// A message's fields, including its `oneof`s, and the methods that prost adds for some of them.
fn check_fields(
    schema: &Schema,
    nested: &mut Scope<'_>,
    message: &DescriptorProto,
    site: &Site,
) -> Result<(), Error> {
    let mut fields = Scope::new(schema, LANGUAGE);
    let mut methods = Scope::new(schema, LANGUAGE);
    for (at, field) in message.field.iter().enumerate().filter(|(_, field)| oneof_of(field).is_none()) {
        let (what, site) = (format!("field `{}` of `{}`", field.name(), message.name()), site.inner(2, at));
        fields.take(&rust_field(field.name()), what.clone(), &site)?;
        for method in methods_of(message, field) {
            methods.take(&method, format!("a method of {what}"), &site)?;
        }
    }
    for (at, oneof) in message.oneof_decl.iter().enumerate() {
        let mut variants = Scope::new(schema, LANGUAGE);
        let inside = message.field.iter().enumerate().filter(|(_, field)| oneof_of(field) == Some(at));
        for (at, field) in inside.clone() {
            let what = format!("field `{}` of `{}`", field.name(), message.name());
            variants.take(&names::rust_type(field.name()), what, &site.inner(2, at))?;
        }
        if inside.count() > 0 {
            let what = format!("oneof `{}` of `{}`", oneof.name(), message.name());
            let site = site.inner(8, at);
            fields.take(&rust_field(oneof.name()), what.clone(), &site)?;
            nested.take(&oneof_type(message, oneof.name()), what, &site)?;
        }
    }
    Ok(())
}

/// The `oneof` of a field; the synthetic one of an `optional` field does not count.
fn oneof_of(field: &FieldDescriptorProto) -> Option<usize> {
    let index = field.oneof_index.filter(|_| !field.proto3_optional());
    index.and_then(|index| usize::try_from(index).ok())
}

/// The type name of a `oneof`, which avoids types in the same message.
fn oneof_type(message: &DescriptorProto, oneof: &str) -> String {
    let name = names::rust_type(oneof);
    let inner = message.nested_type.iter().map(|inner| inner.name());
    let mut inner = inner.chain(message.enum_type.iter().map(|inner| inner.name()));
    if inner.any(|inner| names::rust_type(inner) == name) { name + "OneOf" } else { name }
}

fn rust_field(name: &str) -> String {
    let name = name.to_snake_case();
    match name.as_str() {
        "self" | "super" | "crate" | "extern" => name + "_",
        _ if name.starts_with(|first: char| first.is_ascii_digit()) => format!("_{name}"),
        _ => name,
    }
}

/// Methods that prost derives for a field: those of enums, and the getter of an optional field.
fn methods_of(message: &DescriptorProto, field: &FieldDescriptorProto) -> Vec<String> {
    let name = rust_field(field.name());
    let entry = message.nested_type.iter().find(|inner| {
        inner.options.as_ref().is_some_and(|options| options.map_entry())
            && field.type_name().rsplit('.').next() == Some(inner.name())
    });
    if let Some(entry) = entry {
        let is_enum = entry.field.iter().any(|part| part.number() == 2 && part.r#type() == Type::Enum);
        let methods = [format!("get_{name}"), format!("insert_{name}")];
        return if is_enum { methods.into() } else { Vec::new() };
    }
    match (field.r#type(), field.label()) {
        (Type::Enum, Label::Repeated) => vec![format!("push_{name}"), name],
        (Type::Enum, _) => vec![format!("set_{name}"), name],
        (Type::Message | Type::Group, _) | (_, Label::Repeated) => Vec::new(),
        _ if field.proto3_optional() => vec![name],
        _ => Vec::new(),
    }
}

fn check_enum(
    schema: &Schema,
    types: &mut Scope<'_>,
    list: &EnumDescriptorProto,
    site: &Site,
) -> Result<(), Error> {
    let name = names::rust_type(list.name());
    types.take(&name, format!("enum `{}`", list.name()), site)?;
    let mut variants = Scope::new(schema, LANGUAGE);
    let mut numbers = BTreeSet::new();
    for (at, value) in list.value.iter().enumerate() {
        // The second name of a number is not written.
        if numbers.insert(value.number()) {
            let what = format!("value `{}` of `{}`", value.name(), list.name());
            variants.take(&variant(&name, value.name()), what, &site.inner(2, at))?;
        }
    }
    Ok(())
}

/// A value without its enum's name, if a word begins after it.
fn variant(list: &str, value: &str) -> String {
    let camel = names::rust_type(value);
    let rest = camel.strip_prefix(list).filter(|rest| rest.starts_with(char::is_uppercase));
    match rest {
        Some("Self") => "Self_".to_owned(),
        Some(rest) => rest.to_owned(),
        None if camel.starts_with(|first: char| first.is_ascii_digit()) => format!("_{camel}"),
        None => camel,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_prost() {
        let variants = ["STAGE_ONE", "STAGE_1", "STAGED", "STAGE_SELF", "other", "_2"];
        let named = variants.map(|value| variant("Stage", value));
        assert_eq!(named, ["One", "Stage1", "Staged", "Self_", "Other", "_2"]);
        assert_eq!(["fooBar", "self", "Foo", "_1st"].map(rust_field), ["foo_bar", "self_", "foo", "_1st"]);
    }
}
