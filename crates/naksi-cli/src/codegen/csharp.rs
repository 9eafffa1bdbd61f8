//! A client in C# 6: for Unity, Godot and .NET, one file with nothing to install.

use std::fmt::Write;

use super::model::{Enum, Field, Kind, Many, Message, Model};
use super::names;

/// What every client needs: numbers and texts as Protobuf writes them, frames, named errors.
const RUNTIME: &str = include_str!("runtime.cs");

/// Names that a message or an enum cannot have.
pub(super) const RESERVED: &[&str] = &[
    "BitConverter",
    "Dictionary",
    "Exception",
    "Frame",
    "FrameReader",
    "FrameTooLongException",
    "FrameTooShortException",
    "IMessage",
    "IPacket",
    "List",
    "MalformedException",
    "MalformedPacketException",
    "NaksiException",
    "PacketId",
    "PacketReader",
    "Packets",
    "UnknownPacketException",
    "WireReader",
    "WireWriter",
];

/// Appends lines to a text that is only a text.
macro_rules! put {
    ($out:expr, $($line:tt)*) => {
        writeln!($out, $($line)*).expect("a text takes everything")
    };
}

/// The whole file.
pub(super) fn write(model: &Model) -> String {
    let mut out = String::new();
    let first = model.packets.first().map_or("Packet", |packet| &packet.name);
    put!(out, "// {}.\n//", model.provenance);
    put!(out, "// Send:    stream.Write(bytes = Packets.Frame(new {first} {{ … }}), 0, bytes.Length);");
    put!(
        out,
        "// Receive: reader.Push(buffer, 0, count); while ((packet = reader.Next()) != null) {{ … }}\n"
    );
    put!(out, "using System;\nusing System.Collections.Generic;\nusing System.Text;\n");
    put!(out, "namespace {}\n{{", namespace(&model.package));
    model.enums.iter().for_each(|list| enumerate(&mut out, list));
    model.messages.iter().for_each(|message| class(&mut out, message));
    packets(&mut out, model);
    out += RUNTIME;
    put!(out, "}}");
    out
}

/// `my.game` as `My.Game`.
fn namespace(package: &str) -> String {
    match package {
        "" => "Naksi.Client".to_owned(),
        package => package.split('.').map(names::upper_camel).collect::<Vec<_>>().join("."),
    }
}

fn comment(out: &mut String, indent: &str, doc: &[String]) {
    let plain = |line: &String| line.replace('&', "&amp;").replace('<', "&lt;");
    match doc {
        [] => {}
        [line] => put!(out, "{indent}/// <summary>{}</summary>", plain(line)),
        lines => {
            put!(out, "{indent}/// <summary>");
            lines.iter().for_each(|line| put!(out, "{indent}/// {}", plain(line)));
            put!(out, "{indent}/// </summary>");
        }
    }
}

fn enumerate(out: &mut String, list: &Enum) {
    comment(out, "    ", &list.doc);
    put!(out, "    public enum {}\n    {{", list.name);
    for value in &list.values {
        comment(out, "        ", &value.doc);
        put!(out, "        {} = {},", names::upper_camel(&value.name), value.number);
    }
    put!(out, "    }}\n");
}

/// A field's property: a class may not have a member of its own name.
fn property(name: &str, message: &Message) -> String {
    let name = names::upper_camel(name);
    if name == message.name { format!("{name}Value") } else { name }
}

fn of_one(kind: &Kind) -> &str {
    match kind {
        Kind::Enum(name) | Kind::Message(name) => name,
        Kind::Scalar("double") => "double",
        Kind::Scalar("float") => "float",
        Kind::Scalar("int32" | "sint32" | "sfixed32") => "int",
        Kind::Scalar("int64" | "sint64" | "sfixed64") => "long",
        Kind::Scalar("uint32" | "fixed32") => "uint",
        Kind::Scalar("uint64" | "fixed64") => "ulong",
        Kind::Scalar("bool") => "bool",
        Kind::Scalar("bytes") => "byte[]",
        Kind::Scalar(_) => "string",
    }
}

/// Whether `null` is one of its values already.
fn is_reference(kind: &Kind) -> bool {
    matches!(kind, Kind::Message(_) | Kind::Scalar("string" | "bytes"))
}

fn declaration(field: &Field, message: &Message) -> String {
    let (name, of) = (property(&field.name, message), of_one(&field.kind));
    match (field.label, &field.kind) {
        (Many::Some | Many::Packed, _) => format!("public List<{of}> {name} {{ get; }} = new List<{of}>();"),
        (Many::Maybe, kind) if !is_reference(kind) => format!("public {of}? {name} {{ get; set; }}"),
        (Many::One, Kind::Scalar("string")) => format!("public string {name} {{ get; set; }} = \"\";"),
        (Many::One, Kind::Scalar("bytes")) => format!("public byte[] {name} {{ get; set; }} = new byte[0];"),
        (Many::One | Many::Maybe, _) => format!("public {of} {name} {{ get; set; }}"),
    }
}

fn class(out: &mut String, message: &Message) {
    let name = &message.name;
    comment(out, "    ", &message.doc);
    let base = if message.id.is_some() { "IPacket" } else { "IMessage" };
    put!(out, "    public sealed class {name} : {base}\n    {{");
    for field in &message.fields {
        comment(out, "        ", &field.doc);
        put!(out, "        {}", declaration(field, message));
    }
    if let Some(id) = message.id {
        put!(out, "\n        ushort IPacket.Id {{ get {{ return {id}; }} }}");
    }
    put!(out, "\n        void IMessage.WriteTo(WireWriter output)\n        {{");
    message.fields.iter().for_each(|field| writer(out, field, message));
    put!(out, "        }}\n\n        void IMessage.MergeFrom(WireReader input)\n        {{");
    put!(out, "            for (uint key = input.Key(); key != 0; key = input.Key())\n            {{");
    put!(out, "                switch (key)\n                {{");
    message.fields.iter().for_each(|field| reader(out, field, message));
    put!(out, "                    default:\n                        input.Skip(key, 0);");
    put!(out, "                        break;\n                }}\n            }}\n        }}\n    }}\n");
}

/// How a value is called where it is read and written.
fn verb(kind: &Kind) -> String {
    match kind {
        Kind::Enum(_) => "Int32".to_owned(),
        Kind::Message(_) => "Sub".to_owned(),
        Kind::Scalar(name) => names::upper_camel(name),
    }
}

fn writer(out: &mut String, field: &Field, message: &Message) {
    let (name, verb) = (property(&field.name, message), verb(&field.kind));
    let key = field.key(field.wire());
    let value = |value: &str| match &field.kind {
        Kind::Enum(_) => format!("(int){value}"),
        _ => value.to_owned(),
    };
    let one = |text: &str| format!("output.Key({key}).{verb}({});", value(text));
    match field.label {
        Many::One => {
            let differs = match &field.kind {
                Kind::Scalar("string" | "bytes") => format!("{name} != null && {name}.Length > 0"),
                Kind::Scalar("bool") => name.clone(),
                // Protobuf sends a zero with a sign.
                Kind::Scalar("double") => format!("BitConverter.DoubleToInt64Bits({name}) != 0"),
                Kind::Scalar("float") => format!("BitConverter.DoubleToInt64Bits((double){name}) != 0"),
                _ => format!("{} != 0", value(&name)),
            };
            put!(out, "            if ({differs}) {}", one(&name));
        }
        Many::Maybe => {
            let inside = if is_reference(&field.kind) { name.clone() } else { format!("{name}.Value") };
            put!(out, "            if ({name} != null) {}", one(&inside));
        }
        Many::Some => put!(out, "            foreach (var one in {name}) {}", one("one")),
        Many::Packed => {
            put!(out, "            if ({name}.Count > 0)\n            {{");
            put!(out, "                var together = new WireWriter();");
            put!(out, "                foreach (var one in {name}) together.{verb}({});", value("one"));
            put!(
                out,
                "                output.Key({}).Bytes(together.Finish());\n            }}",
                field.key(2)
            );
        }
    }
}

fn reader(out: &mut String, field: &Field, message: &Message) {
    let (name, verb) = (property(&field.name, message), verb(&field.kind));
    let many = matches!(field.label, Many::Some | Many::Packed);
    let one = match &field.kind {
        Kind::Message(of) if many => format!("input.Sub(new {of}())"),
        Kind::Message(of) => format!("input.Sub({name} ?? new {of}())"),
        Kind::Enum(of) => format!("({of})input.Int32()"),
        Kind::Scalar(_) => format!("input.{verb}()"),
    };
    put!(out, "                    case {}: // {}", field.key(field.wire()), field.number);
    match many {
        true => put!(out, "                        {name}.Add({one});"),
        false => put!(out, "                        {name} = {one};"),
    }
    for rival in &field.rivals {
        put!(out, "                        {} = null;", property(rival, message));
    }
    put!(out, "                        break;");
    if many && field.can_be_packed() {
        put!(out, "                    case {}: // {}, together", field.key(2), field.number);
        put!(
            out,
            "                        for (int end = input.End(); input.IsBefore(end);) {name}.Add({one});"
        );
        put!(out, "                        break;");
    }
}

fn packets(out: &mut String, model: &Model) {
    put!(out, "    /// <summary>The ids of the packets.</summary>\n    public static class PacketId\n    {{");
    for packet in &model.packets {
        put!(out, "        public const ushort {} = {};", packet.name, packet.id);
    }
    put!(
        out,
        "    }}\n\n    /// <summary>The table of packets.</summary>\n    public static partial class Packets\n    {{"
    );
    let (table, version) = (&model.table, model.version);
    put!(
        out,
        "        /// <summary>The version of the table `{table}`: peers with one number understand each other.</summary>"
    );
    put!(out, "        public const ulong Version = 0x{version:016x}UL;\n");
    put!(out, "        private static readonly KeyValuePair<ushort, string>[] Known =\n        {{");
    for packet in &model.packets {
        put!(out, "            new KeyValuePair<ushort, string>({}, \"{}\"),", packet.id, packet.name);
    }
    put!(out, "        }};\n\n        private static IPacket Make(ushort id)\n        {{");
    put!(out, "            switch (id)\n            {{");
    for packet in &model.packets {
        put!(out, "                case {}: return new {}();", packet.id, packet.name);
    }
    put!(out, "                default: return null;\n            }}\n        }}\n    }}\n");
}
