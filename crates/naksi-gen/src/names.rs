//! Naming: in Protobuf, in Rust, and conversions between them.

use heck::{ToShoutySnakeCase as _, ToUpperCamelCase as _};
use prost_types::field_descriptor_proto::Type;

/// `.kinds.Outer.Inner` as `OuterInner`; what is of another package without its package.
pub(super) fn flat(full: &str, package: &str) -> String {
    let own = format!(".{package}.");
    let rest = match full.strip_prefix(&own) {
        Some(rest) => rest,
        // Packages are written small, types with a capital.
        None => {
            let mut starts = full.match_indices('.').map(|(at, _)| at + 1);
            starts.find(|at| full[*at..].starts_with(char::is_uppercase)).map_or(&full[1..], |at| &full[at..])
        }
    };
    rest.split('.').map(upper_camel).collect()
}

/// `my_word` and `MyWord` as `MyWord`, `PBThing` as `PbThing` and `C2S_Login` as `C2sLogin`: the same words as prost
/// finds.
pub(super) fn upper_camel(name: &str) -> String {
    name.to_upper_camel_case()
}

/// A type's name in prost: one capital per word, and no Rust keyword.
pub(super) fn rust_type(name: &str) -> String {
    match upper_camel(name).as_str() {
        "Self" => "Self_".to_owned(),
        camel => camel.to_owned(),
    }
}

/// Appends `Value` to a name until it is not taken.
pub(super) fn evade(mut name: String, is_taken: impl Fn(&str) -> bool) -> String {
    while is_taken(&name) {
        name += "Value";
    }
    name
}

/// `MyWord` as `MY_WORD`.
pub(super) fn upper_snake(name: &str) -> String {
    name.to_shouty_snake_case()
}

/// `my_word` as `myWord`: a field's name in Protobuf's JSON, unless its file sets another.
pub(super) fn field(name: &str) -> String {
    let mut parts = name.split('_').filter(|part| !part.is_empty());
    let mut camel = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let mut letters = part.chars();
        camel.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        camel.extend(letters);
    }
    camel
}

/// A scalar type by its name in Protobuf.
pub(super) fn scalar(of: Type) -> &'static str {
    match of {
        Type::Double => "double",
        Type::Float => "float",
        Type::Int64 => "int64",
        Type::Uint64 => "uint64",
        Type::Int32 => "int32",
        Type::Fixed64 => "fixed64",
        Type::Fixed32 => "fixed32",
        Type::Bool => "bool",
        Type::Uint32 => "uint32",
        Type::Sfixed32 => "sfixed32",
        Type::Sfixed64 => "sfixed64",
        Type::Sint32 => "sint32",
        Type::Sint64 => "sint64",
        Type::Bytes => "bytes",
        // A string; the other types were handled before.
        Type::String | Type::Group | Type::Message | Type::Enum => "string",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_into_words() {
        let camel =
            ["place", "my_word", "MyWord", "PBThing", "x", "HTTP2Server", "lower_CASE"].map(upper_camel);
        assert_eq!(camel, ["Place", "MyWord", "MyWord", "PbThing", "X", "Http2Server", "LowerCase"]);
        // A digit does not end a word.
        assert_eq!(["C2S_Login", "S2CLogin", "A1B"].map(upper_camel), ["C2sLogin", "S2cLogin", "A1b"]);
        assert_eq!(["text", "my_word", "x2_y", "Big"].map(field), ["text", "myWord", "x2Y", "Big"]);
        assert_eq!(["Mood", "MoodOfDay", "PBKind"].map(upper_snake), ["MOOD", "MOOD_OF_DAY", "PB_KIND"]);
        assert_eq!(flat(".kinds.Outer.Inner", "kinds"), "OuterInner");
        assert_eq!(flat(".google.protobuf.Timestamp", "kinds"), "Timestamp");
        assert_eq!(flat(".Place", ""), "Place");
    }
}
