//! Generates a client in TypeScript for browsers, Node, Deno and Bun, without dependencies. Type annotations are all
//! that is not JavaScript, so a runtime that strips types can run it.

use std::fmt::Write;

use crate::model::{Enum, Field, Kind, Many, Message, Model, Spelling};
use crate::names;

/// What every client needs: numbers and texts as Protobuf writes them, frames, named errors, a connection.
const RUNTIME: &str = concat!(include_str!("runtime.ts"), include_str!("transport.ts"));

/// How TypeScript calls things.
pub(super) const SPELLING: Spelling =
    Spelling { language: "TypeScript", reserved: RESERVED, field, value, package_fault: |_| None };

/// Properties of every object: a field of this name and another type would make `{}` an invalid message.
const OF_EVERY_OBJECT: &[&str] = &[
    "constructor",
    "hasOwnProperty",
    "isPrototypeOf",
    "propertyIsEnumerable",
    "toLocaleString",
    "toString",
    "valueOf",
];

/// Names that a message or an enum cannot have: those of the runtime, and those of the language that it uses.
const RESERVED: &[&str] = &[
    "BigInt",
    "DECODER",
    "DataView",
    "ENCODER",
    "Error",
    "Frame",
    "FrameReader",
    "FrameTooLong",
    "FrameTooShort",
    "Malformed",
    "MalformedPacket",
    "Math",
    "NaksiBody",
    "NaksiClient",
    "NaksiClosed",
    "NaksiError",
    "NaksiOptions",
    "NaksiPacket",
    "NaksiSocket",
    "NaksiState",
    "Number",
    "Object",
    "PACKETS",
    "Packet",
    "PacketReader",
    "Partial",
    "RangeError",
    "TextDecoder",
    "TextEncoder",
    "Uint8Array",
    "UnknownPacket",
    "VERSION",
    "WireReader",
    "WireWriter",
];

/// The whole file.
pub(super) fn write(model: &Model) -> String {
    let mut out = format!("// {}.\n", model.provenance);
    let (table, first) = (&model.table, model.packets.first().map_or("Packet", |packet| &packet.name));
    out += &format!(
        "//\n// Connect: const client = new NaksiClient(\"wss://…\"); client.connect();\n\
         // Send:    client.send({first}, {{ … }});\n\
         // Receive: client.on(\"{first}\", (body) => {{ … }});\n\
         // Over another transport, `{first}.frame` makes the bytes and `PacketReader` reads them.\n\n\
         /** The version of the table `{table}`: peers with one number understand each other. */\n\
         export const VERSION = 0x{:016x}n;\n\n",
        model.version,
    );
    model.enums.iter().for_each(|list| enumerate(&mut out, list));
    model.messages.iter().for_each(|message| interface(&mut out, message));
    model.messages.iter().for_each(|message| codec(&mut out, message));
    packets(&mut out, model);
    out += RUNTIME;
    out
}

/// Appends lines to a text that is only a text.
macro_rules! put {
    ($out:expr, $($line:tt)*) => {
        writeln!($out, $($line)*).expect("a text takes everything")
    };
}

fn comment(out: &mut String, indent: &str, doc: &[String]) {
    match doc {
        [] => {}
        [line] => put!(out, "{indent}/** {line} */"),
        lines => {
            put!(out, "{indent}/**");
            lines.iter().for_each(|line| put!(out, "{indent} * {line}"));
            put!(out, "{indent} */");
        }
    }
}

/// A field in lower camel case.
fn field(name: &str, _message: &str) -> String {
    names::evade(names::field(name), |name| OF_EVERY_OBJECT.contains(&name))
}

/// A value's name as in its file; `__proto__` would set the prototype instead.
fn value(name: &str) -> String {
    names::evade(name.to_owned(), |name| name == "__proto__")
}

fn enumerate(out: &mut String, list: &Enum) {
    let name = &list.name;
    comment(out, "", &list.doc);
    put!(out, "export type {name} = number;");
    put!(out, "/** The values of `{name}` that have a name; a newer peer may send others. */");
    put!(out, "export const {name} = {{");
    for value in &list.values {
        comment(out, "  ", &value.doc);
        put!(out, "  {}: {},", value.name, value.number);
    }
    put!(out, "}} as const;\n");
}

fn interface(out: &mut String, message: &Message) {
    comment(out, "", &message.doc);
    put!(out, "export interface {} {{", message.name);
    for field in &message.fields {
        comment(out, "  ", &field.doc);
        let (name, of) = (&field.name, of_one(&field.kind));
        match field.label {
            Many::One => put!(out, "  {name}: {of};"),
            Many::Maybe => put!(out, "  {name}?: {of} | undefined;"),
            Many::Some | Many::Packed => put!(out, "  {name}: {of}[];"),
        }
    }
    put!(out, "}}\n");
}

fn of_one(kind: &Kind) -> &str {
    match kind {
        Kind::Enum(name) | Kind::Message(name) => name,
        Kind::Scalar("bool") => "boolean",
        Kind::Scalar("string") => "string",
        Kind::Scalar("bytes") => "Uint8Array",
        Kind::Scalar(number) if number.ends_with("64") => "bigint",
        Kind::Scalar(_) => "number",
    }
}

fn default(field: &Field) -> &'static str {
    match (field.label, of_one(&field.kind)) {
        (Many::Maybe, _) => "undefined",
        (Many::Some | Many::Packed, _) => "[]",
        (Many::One, "boolean") => "false",
        (Many::One, "string") => "\"\"",
        (Many::One, "Uint8Array") => "new Uint8Array(0)",
        (Many::One, "bigint") => "0n",
        (Many::One, _) => "0",
    }
}

/// How a value is called where it is read and written.
fn verb(kind: &Kind) -> &str {
    match kind {
        Kind::Enum(_) => "int32",
        Kind::Scalar("bytes") => "blob",
        Kind::Scalar(name) => name,
        Kind::Message(_) => "message",
    }
}

fn codec(out: &mut String, message: &Message) {
    let name = &message.name;
    put!(out, "export const {name} = {{");
    if let Some(id) = message.id {
        put!(out, "  id: {id},\n");
    }
    put!(out, "  create(some: Partial<{name}> = {{}}): {name} {{");
    put!(out, "    return {{");
    message.fields.iter().for_each(|field| put!(out, "      {}: {},", field.name, default(field)));
    put!(out, "      ...some,\n    }};\n  }},\n");
    put!(out, "  encode(some: Partial<{name}>): Uint8Array {{");
    put!(out, "    const out = new WireWriter();");
    put!(out, "    {name}.write({name}.create(some), out);");
    put!(out, "    return out.finish();\n  }},\n");
    if message.id.is_some() {
        put!(out, "  /** The whole packet, ready to be sent. */");
        put!(out, "  frame(some: Partial<{name}> = {{}}): Uint8Array {{");
        put!(out, "    return frame({name}.id, {name}.encode(some));\n  }},\n");
    }
    put!(out, "  decode(bytes: Uint8Array): {name} {{");
    put!(out, "    return {name}.merge({name}.create(), new WireReader(bytes));\n  }},\n");
    writer(out, message);
    reader(out, message);
    put!(out, "}};\n");
}

fn writer(out: &mut String, message: &Message) {
    let unused = if message.fields.is_empty() { "_" } else { "" };
    put!(out, "  write({unused}message: {}, {unused}out: WireWriter): void {{", message.name);
    for field in &message.fields {
        let (name, verb) = (&field.name, verb(&field.kind));
        let key = field.key(field.wire());
        let one = |value: &str| match &field.kind {
            Kind::Message(of) => format!("out.key({key}).sub((out) => {of}.write({value}, out))"),
            _ => format!("out.key({key}).{verb}({value})"),
        };
        match field.label {
            Many::One => {
                let differs = match of_one(&field.kind) {
                    "boolean" => format!("message.{name}"),
                    "Uint8Array" => format!("message.{name}.length > 0"),
                    // Protobuf sends a zero with a sign.
                    _ if matches!(verb, "double" | "float") => format!("!Object.is(message.{name}, 0)"),
                    _ => format!("message.{name} !== {}", default(field)),
                };
                put!(out, "    if ({differs}) {};", one(&format!("message.{name}")));
            }
            Many::Maybe => {
                // A name that no field and nothing else has: fields' names do not end with an underscore.
                put!(out, "    const {name}_ = message.{name};");
                put!(out, "    if ({name}_ !== undefined) {};", one(&format!("{name}_")));
            }
            Many::Some => put!(out, "    for (const one of message.{name}) {};", one("one")),
            Many::Packed => {
                let key = field.key(2);
                put!(out, "    if (message.{name}.length > 0) {{");
                put!(out, "      out.key({key}).sub((out) => {{");
                put!(out, "        for (const one of message.{name}) out.{verb}(one);");
                put!(out, "      }});\n    }}");
            }
        }
    }
    put!(out, "  }},\n");
}

fn reader(out: &mut String, message: &Message) {
    put!(out, "  merge(message: {}, from: WireReader): {} {{", message.name, message.name);
    put!(out, "    for (let key = from.key(); key !== 0; key = from.key()) {{");
    put!(out, "      switch (key) {{");
    for field in &message.fields {
        let (name, verb) = (&field.name, verb(&field.kind));
        let (key, packed) = (field.key(field.wire()), field.key(2));
        let many = matches!(field.label, Many::Some | Many::Packed);
        let one = match &field.kind {
            Kind::Message(of) if many => format!("{of}.merge({of}.create(), from.sub())"),
            Kind::Message(of) => format!("{of}.merge(message.{name} ?? {of}.create(), from.sub())"),
            _ => format!("from.{verb}()"),
        };
        put!(out, "        case {key}: // {}", field.number);
        match many {
            true => put!(out, "          message.{name}.push({one});"),
            false => put!(out, "          message.{name} = {one};"),
        }
        field.rivals.iter().for_each(|rival| put!(out, "          message.{rival} = undefined;"));
        put!(out, "          break;");
        if many && field.can_be_packed() {
            put!(out, "        case {packed}: // {}, together", field.number);
            put!(out, "          from.packed(() => message.{name}.push({one}));\n          break;");
        }
    }
    put!(out, "        default:\n          from.skip(key);\n      }}\n    }}\n    return message;\n  }},");
}

fn packets(out: &mut String, model: &Model) {
    put!(
        out,
        "/** A packet that came: switch on its name. */\nexport type Packet ={}",
        if model.packets.is_empty() { " never;" } else { "" }
    );
    for (at, packet) in model.packets.iter().enumerate() {
        let end = if at + 1 == model.packets.len() { ";" } else { "" };
        let name = &packet.name;
        put!(out, "  | {{ id: {}; name: \"{name}\"; body: {name} }}{end}", packet.id);
    }
    put!(
        out,
        "\n/** Which id is which message. */\nexport const PACKETS: readonly {{ id: number; name: string }}[] = ["
    );
    for packet in &model.packets {
        put!(out, "  {{ id: {}, name: \"{}\" }},", packet.id, packet.name);
    }
    put!(out, "];\n");
    if model.packets.is_empty() {
        put!(out, "// Nothing is read, and compilers complain about an unused function.\nvoid whole;\n");
    }
    put!(out, "/** Reads a packet's body. Throws `UnknownPacket` or `MalformedPacket`. */");
    put!(out, "export function decodePacket(id: number, body: Uint8Array): Packet {{\n  switch (id) {{");
    for packet in &model.packets {
        let name = &packet.name;
        put!(out, "    case {}:", packet.id);
        put!(
            out,
            "      return {{ id, name: \"{name}\", body: whole(id, \"{name}\", body, {name}.decode) }};"
        );
    }
    put!(out, "    default:\n      throw new UnknownPacket(id, HEADER_BYTES + body.length);\n  }}\n}}\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_the_runtime_that_a_type_could_have_is_reserved() {
        let declared = |line: &str| {
            let mut words = line.split(|letter: char| !(letter.is_alphanumeric() || letter == '_'));
            let mut words = words.by_ref().filter(|word| !matches!(*word, "export" | "async" | "abstract"));
            let is_declared = matches!(
                words.next(),
                Some("class" | "interface" | "enum" | "type" | "const" | "let" | "function")
            );
            words.next().filter(|_| is_declared).map(str::to_owned)
        };
        let written = ["VERSION", "Packet", "PACKETS", "decodePacket"].map(str::to_owned);
        let names: Vec<String> = RUNTIME.lines().filter_map(declared).chain(written).collect();
        assert!(names.len() > 20, "{names:?}");
        // Types begin with a capital and have no underscore.
        let is_type = |name: &&String| name.starts_with(char::is_uppercase) && !name.contains('_');
        for name in names.iter().filter(is_type) {
            assert!(RESERVED.contains(&name.as_str()), "{name}");
        }
    }
}
