//! What `naksi gen` writes: it is what is committed, it talks with a server of Naksi, and what no client can have is
//! refused with its place. With `GOLDEN=write` the committed files are written anew.

mod support;

#[path = "../../naksi/tests/prost/chance.rs"]
mod chance;
#[path = "../../naksi/tests/prost/table.rs"]
mod table;

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use naksi::packets::{decode, encode};
use naksi::prelude::*;

use chance::Chance;
use support::tools::{STRICT, folder, tool};
use support::{naksi, scratch};
use table::KINDS;
use table::kinds::{Buffer, C2sLogin, Holds, Numbers, Order, Ping, Say, Tree};

/// A file of the workspace's crates.
fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// Runs `naksi gen` to its end: its exit code, and what it said.
fn generate(arguments: &[&str]) -> (Option<i32>, String) {
    let output = naksi().arg("gen").args(arguments).output().expect("the program runs");
    let said = String::from_utf8(output.stderr).expect("text");
    (output.status.code(), said)
}

fn plain(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

/// Expects what is written to be what is committed.
fn golden(language: &str, committed: &str) {
    let (table, proto) = (file("naksi/tests/prost/table.rs"), file("naksi/tests/prost/kinds.proto"));
    let input = if language == "rust" { ["--proto", plain(&proto)] } else { ["--packets", plain(&table)] };
    let written = scratch(committed.rsplit('/').next().unwrap_or(committed));
    let output = ["--lang", language, "--out", plain(&written)];
    assert_eq!(generate(&[&output[..], &input].concat()), (Some(0), String::new()));
    let committed = file(committed);
    if std::env::var_os("GOLDEN").is_some_and(|wish| wish == "write") {
        fs::copy(&written, &committed).expect("the committed file can be written");
    }
    let (new, old) = (fs::read_to_string(&written), fs::read_to_string(&committed));
    let (new, old) = (new.expect("it was written"), old.expect("it is committed"));
    if let Some(line) = (0..).zip(new.lines().zip(old.lines())).find(|(_, (new, old))| new != old) {
        panic!("{language}: line {} is `{}` and was `{}`", line.0 + 1, line.1.0, line.1.1);
    }
    assert_eq!(new, old, "{language}");
}

#[test]
fn what_is_written_is_what_is_committed() {
    golden("rust", "naksi/tests/prost/kinds.rs");
    golden("typescript", "naksi-cli/tests/codegen/kinds.ts");
    golden("csharp", "naksi-cli/tests/codegen/kinds.cs");
}

/// Says back what it is told, read and written anew, three things that are wrong, and things by chance, which it wants to
/// hear again as it said them.
#[derive(Default)]
struct Mirror {
    expected: VecDeque<Vec<u8>>,
}

impl Session for Mirror {
    const FRAMING: Framing = Framing::Packets;

    fn on_packet(&mut self, c: &mut Conn<'_>, packet: Packet<'_>) {
        if let Some(expected) = self.expected.pop_front() {
            if packet.frame != expected {
                c.close(DisconnectReason::Protocol);
            }
            return;
        }
        match packet.id {
            Say::ID => match decode::<Say>(packet.body).map(|say| say.text).as_deref() {
                Ok("the version, please") => {
                    c.send_message(&Say { text: KINDS.version().to_string(), to: None });
                }
                Ok("a stranger, please") => drop(c.send_packet(13, b"??")),
                Ok("something broken, please") => drop(c.send_packet(Say::ID, b"\x0A\x05ab")),
                Ok("a frame that is none, please") => drop(c.send(&[3, 0, 1, 0])),
                Ok("things by chance, please") => self.say_by_chance(c),
                _ => mirror::<Say>(c, packet),
            },
            Numbers::ID => mirror::<Numbers>(c, packet),
            Holds::ID => mirror::<Holds>(c, packet),
            Ping::ID => mirror::<Ping>(c, packet),
            Order::ID => mirror::<Order>(c, packet),
            Tree::ID => mirror::<Tree>(c, packet),
            Buffer::ID => mirror::<Buffer>(c, packet),
            C2sLogin::ID => mirror::<C2sLogin>(c, packet),
            _ => c.close(DisconnectReason::UnknownPacket),
        }
    }
}

impl Mirror {
    fn say_by_chance(&mut self, c: &mut Conn<'_>) {
        let mut chance = Chance(3);
        for _ in 0..50 {
            let (say, numbers, holds, order) =
                (chance.say(), chance.numbers(), chance.holds(), chance.order());
            let (tree, login, (odd, weights)) = (chance.tree(3), chance.login(), chance.odd_numbers());
            let frames = [encode(&say), encode(&numbers), encode(&holds), encode(&order), encode(&tree)];
            for frame in frames.into_iter().chain([encode(&login), encode(&odd), encode(&weights)]) {
                let frame = frame.expect("it fits a frame");
                c.send(&frame);
                self.expected.push_back(frame.to_vec());
            }
        }
    }
}

fn mirror<M: Message>(c: &mut Conn<'_>, packet: Packet<'_>) {
    match decode::<M>(packet.body) {
        // Both sides write what is the same as the same bytes.
        Ok(message) if encode(&message).is_some_and(|frame| *frame == *packet.frame) => {
            c.send_message(&message);
        }
        _ => c.close(DisconnectReason::Protocol),
    }
}

/// Runs a client against the mirror, and expects its last line.
fn talks(mut client: Command, last: &str) {
    let server =
        Server::new().listen("127.0.0.1:0").workers(1).session(Mirror::default).start().expect("it starts");
    client.arg(server.addresses()[0].to_string()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = client.output().expect("it starts");
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.ends_with(last), "{said}");
    let ended = server.stop(Duration::from_secs(1)).ended;
    assert_eq!(ended.get(DisconnectReason::Protocol.name()).copied().unwrap_or(0), 0, "{ended:?}");
}

#[test]
fn a_client_in_typescript_talks_with_a_server_of_naksi() {
    let (folder, source) = (folder("typescript"), file("naksi-cli/tests/codegen/kinds.ts"));
    fs::write(folder.join("package.json"), "{\"type\": \"module\"}").expect("a scratch file");
    if !tool(Command::new("node").arg("--version")) {
        return;
    }
    let mut compiler = Command::new("tsc");
    if !tool(compiler.args(STRICT.split_whitespace()).arg(&folder).arg(&source)) {
        return;
    }
    let mut client = Command::new("node");
    client.arg(file("naksi-cli/tests/codegen/client.mjs"));
    client.env("CLIENT", folder.join("kinds.js"));
    talks(client, "talked 17\n");
}

#[test]
fn a_client_in_csharp_talks_with_a_server_of_naksi() {
    let program = folder("csharp").join("client.exe");
    let sources = ["kinds.cs", "Client.cs"].map(|name| file("naksi-cli/tests/codegen").join(name));
    let mut compiler = Command::new("mcs");
    // A project may have arithmetic checked.
    compiler.args(["-warnaserror", "-checked+"]).arg(format!("-out:{}", plain(&program))).args(sources);
    if !tool(&mut compiler) || !tool(Command::new("mono").arg("--version")) {
        return;
    }
    let mut client = Command::new("mono");
    client.arg(program);
    talks(client, "talked 16\n");
}

/// Expects a refusal that says this, and points at a place of a text.
fn refused(table: &str, proto: &str, says: &str, caret: &str) {
    let folder = folder("refused");
    let packets = folder.join("table.rs");
    fs::write(&packets, table).expect("a scratch file");
    fs::write(folder.join("wire.proto"), proto).expect("a scratch file");
    let (code, said) = generate(&["--lang", "typescript", "--packets", plain(&packets)]);
    assert_eq!(code, Some(2), "{said}");
    let mut lines = said.lines();
    assert!(lines.next().is_some_and(|first| first.starts_with("naksi: ") && first.contains(says)), "{said}");
    let shows = |line: &str| line.contains(" | ") && line.contains(caret);
    let below: Vec<&str> = lines.skip_while(|line| !shows(line)).collect();
    // One character has a stroke below it, several have carets.
    assert!(below.len() > 1 && below[1].contains(['^', '|']), "no caret below `{caret}`: {said}");
}

#[test]
fn what_no_client_can_have_is_refused_with_its_place() {
    let proto =
        |inside: &str| format!("syntax = \"proto3\";\npackage wire;\nmessage Say {{\n  {inside}\n}}\n");
    let table =
        |lines: &str| format!("packets! {{\n  LOBBY: prost(\"wire.proto\") {{\n    {lines}\n  }}\n}}\n");
    let (sound, one) = (proto("string text = 1;"), table("1 => Say"));
    refused(&table("1 => Says"), &sound, "table.rs:3:10: packet 1 has no message `Says`", "1 => Says");
    refused(&table("1 => Say 1 => Told"), &sound, "packet id 1 is taken by `Say`", "1 => Told");
    refused(&table("1 => Say 2 => Say"), &sound, "`Say` has an id already", "2 => Say");
    refused(&table("70000 => Say"), &sound, "this is no table of packets", "70000");
    refused(&table("0xFFF0 => Say"), &sound, "packet id 65520 is the engine's", "=> Say");
    refused(&table("1 -> Say"), &sound, "this is no table of packets", "1 -> Say");
    refused("packets! { LOBBY { 1 => Say { text: String } } }", &sound, "postcard", "LOBBY");
    refused("fn broken(", &sound, "this file is no Rust", "fn broken(");
    refused(
        &one,
        &proto("map<string, int32> scores = 1;"),
        "wire.proto:4:22: field `scores` of `Say` is a map",
        "scores",
    );
    refused(&one, &proto("strin text = 1;"), "strin", "strin text");
    refused(&one, &proto("string _2nd = 1;"), "field `_2nd` of `Say` is called by no word", "_2nd");
    let old = "syntax = \"proto2\";\nmessage Say {\n  required string text = 1;\n}\n";
    refused(&one, old, "another syntax than proto3", "required string text");
}

#[test]
fn what_is_imported_counts_in_the_version_or_is_refused() {
    let folder = folder("imports");
    let write = |name: &str, text: &str| fs::write(folder.join(name), text).expect("a scratch file");
    let head = "syntax = \"proto3\";\n";
    write(
        "far.proto",
        &format!("{head}package far;\nmessage Point {{ message Axis {{ int32 out = 1; }} Axis x = 1; }}\n"),
    );
    let fields = "far.Point message = 1; optional google.protobuf.Timestamp out = 2; repeated Way ways = 3;";
    let imports = "import \"far.proto\";\nimport \"google/protobuf/timestamp.proto\";\n";
    write("near.proto", &format!("{head}package near;\n{imports}message Way {{ {fields} }}\n"));
    let packets = folder.join("table.rs");
    let generate = |language: &str, out: &str| {
        generate(&["--lang", language, "--packets", plain(&packets), "--out", plain(&folder.join(out))])
    };
    write("table.rs", "packets! { NEAR: prost(\"near.proto\") { 1 => Way } }");
    let (code, said) = generate("typescript", "near.ts");
    assert!(code == Some(2) && said.contains("table.rs:1:12: far.proto is imported"), "{said}");
    write("table.rs", "packets! { NEAR: prost(\"near.proto\", \"far.proto\") { 1 => Way } }");
    let (code, said) = generate("rust", "near.rs");
    assert!(code == Some(2) && said.contains("one file of Rust holds one package, and "), "{said}");
    write("time.proto", "syntax = \"proto3\";\nimport \"google/protobuf/timestamp.proto\";\n");
    let (code, said) = self::generate(&["--lang", "rust", "--proto", plain(&folder.join("time.proto"))]);
    assert!(code == Some(2) && said.contains("timestamp.proto is brought by Protobuf itself"), "{said}");
    for (language, out) in [("typescript", "near.ts"), ("csharp", "near.cs")] {
        assert_eq!(generate(language, out), (Some(0), String::new()));
    }
    // Fields may be called as the written code calls its own things.
    let mut compiler = Command::new("tsc");
    tool(compiler.args(STRICT.split_whitespace()).arg(&folder).arg(folder.join("near.ts")));
    let mut compiler = Command::new("mcs");
    tool(compiler.args(["-warnaserror", "-target:library"]).arg(folder.join("near.cs")));
}

#[test]
fn what_is_called_as_the_system_calls_its_own_is_written_all_the_same() {
    let folder = folder("names");
    let write = |name: &str, text: &str| fs::write(folder.join(name), text).expect("a scratch file");
    let names =
        ["Array", "Math", "Encoding", "ArgumentException", "Exception", "List", "BitConverter", "System"];
    let messages =
        names.map(|name| format!("message {name} {{ repeated int32 items = 1; double {name} = 2; }}\n"));
    let lines: Vec<String> = (1..).zip(names).map(|(id, name)| format!("{id} => {name}")).collect();
    write("names.proto", &format!("syntax = \"proto3\";\npackage buffer;\n{}", messages.concat()));
    write("names.rs", &format!("packets! {{ NAMES: prost(\"names.proto\") {{ {} }} }}", lines.join("\n")));
    // Another table in the file may be broken, or empty.
    write(
        "one.rs",
        "packets! { NONE: prost(\"names.proto\") {} } packets! { BROKEN: prost(\"names.proto\") { 1 -> } }",
    );
    for (table, name, lang, out) in [
        ("names.rs", "NAMES", "csharp", "names.cs"),
        ("one.rs", "NONE", "csharp", "none.cs"),
        ("one.rs", "NONE", "typescript", "none.ts"),
    ] {
        let (packets, out) = (folder.join(table), folder.join(out));
        let arguments = ["--packets", plain(&packets), "--table", name, "--lang", lang, "--out", plain(&out)];
        assert_eq!(generate(&arguments), (Some(0), String::new()), "{table}");
    }
    for source in ["names.cs", "none.cs"] {
        let mut compiler = Command::new("mcs");
        tool(compiler.args(["-warnaserror", "-checked+", "-target:library"]).arg(folder.join(source)));
    }
    let mut compiler = Command::new("tsc");
    tool(compiler.args(STRICT.split_whitespace()).arg(&folder).arg(folder.join("none.ts")));
}

/// Generates each language from this `.proto` text, whose table has one packet; the Rust types have no table.
fn each_language(folder: &Path, proto: &str, packet: &str) -> Vec<(&'static str, Option<i32>, String)> {
    let (wire, packets) = (folder.join("wire.proto"), folder.join("table.rs"));
    fs::write(&wire, format!("syntax = \"proto3\";\n{proto}\n")).expect("a scratch file");
    let table = format!("packets! {{ T: prost(\"wire.proto\") {{ 1 => {packet} }} }}");
    fs::write(&packets, table).expect("a scratch file");
    let languages = ["typescript", "csharp", "rust"].into_iter();
    let run = |language: &'static str| {
        let out = folder.join(language);
        let source = match language {
            "rust" => ["--proto", plain(&wire)],
            _ => ["--packets", plain(&packets)],
        };
        let (code, said) = generate(&[&["--lang", language, "--out", plain(&out)][..], &source].concat());
        (language, code, said)
    };
    languages.map(run).collect()
}

/// What a file says, its packet, the languages that refuse it (the others can have it), and what these say.
const COLLISIONS: [(&str, &str, &str, &str); 13] = [
    (
        "enum Stage { STAGE_1_1 = 0; STAGE_11 = 1; } message Go { Stage to = 1; }",
        "Go",
        "csharp rust",
        "wire.proto:2:29: value `STAGE_11` of `Stage` and value `STAGE_1_1` of `Stage` would both be called `Stage11`",
    ),
    (
        "enum Stage { STAGE_ON = 0; ON = 1; } message Go { Stage to = 1; }",
        "Go",
        "rust",
        "wire.proto:2:28: value `ON` of `Stage` and value `STAGE_ON` of `Stage` would both be called `On` in Rust",
    ),
    (
        "message Item { int32 item = 1; int32 item_value = 2; }",
        "Item",
        "csharp",
        "wire.proto:2:38: field `item_value` of `Item` and field `item` of `Item` would both be called `ItemValue` in C#",
    ),
    (
        "message Item { int32 to_string = 1; int32 to_string_value = 2; }",
        "Item",
        "typescript csharp",
        "wire.proto:2:43: field `to_string_value` of `Item` and field `to_string` of `Item`",
    ),
    (
        "message Say { int32 a1 = 1; int32 a_1 = 2; int32 b = 3; }",
        "Say",
        "typescript csharp rust",
        "wire.proto:2:",
    ),
    (
        "message Say { int32 x_y = 1 [json_name = \"q\"]; int32 xY = 2; }",
        "Say",
        "typescript csharp rust",
        "wire.proto:2:",
    ),
    (
        "message SayIt { PBThing a = 1; PbThing b = 2; } message PBThing {} message PbThing {}",
        "SayIt",
        "typescript csharp rust",
        "wire.proto:2:76: message `PbThing` and message `PBThing` would both be called `PbThing`",
    ),
    (
        "message Go { Out.In a = 1; OutIn b = 2; } message Out { message In {} } message OutIn {}",
        "Go",
        "typescript csharp",
        "wire.proto:2:81: message `OutIn` and message `Out.In` would both be called `OutIn`",
    ),
    (
        "message Go { __ a = 1; } message __ {}",
        "Go",
        "typescript csharp rust",
        "has no letter to begin its name with",
    ),
    (
        "enum E { A = 0; _1 = 1; } message Go { E e = 1; }",
        "Go",
        "csharp",
        "value `_1` of `E` has no letter to begin its name",
    ),
    (
        "message Go { oneof kind { int32 a_b = 1; int32 aB = 2; } int32 c = 3; }",
        "Go",
        "typescript csharp rust",
        "wire.proto:2:",
    ),
    (
        "message Go { oneof in { int32 a = 1; } message In {} message InOneOf {} }",
        "Go",
        "rust",
        "oneof `in` of `Go` and message `InOneOf` would both be called `InOneOf` in Rust",
    ),
    (
        "enum E { A = 0; } message Go { E mode = 1; E set_mode = 2; }",
        "Go",
        "rust",
        "a method of field `set_mode` of `Go` and a method of field `mode` of `Go` would both be called `set_mode`",
    ),
];

#[test]
fn two_things_that_would_have_one_name_are_refused_with_the_place_of_the_second() {
    let folder = folder("collisions");
    for (proto, packet, refusers, says) in COLLISIONS {
        for (language, code, said) in each_language(&folder, proto, packet) {
            if refusers.split(' ').any(|refuser| refuser == language) {
                assert!(code == Some(2) && said.contains(says), "{language}: {proto}: {code:?}: {said}");
            } else {
                assert_eq!((code, said.as_str()), (Some(0), ""), "{language}: {proto}");
            }
        }
    }
}

#[test]
fn names_of_the_written_file_are_refused_with_their_place_and_others_are_written() {
    let folder = folder("reserved");
    for (name, refuser) in [
        ("Packets", "csharp"),
        ("FrameReader", "csharp"),
        ("V_E_R_S_I_O_N", "typescript"),
        ("ToString", "csharp"),
    ] {
        let proto = format!("message Go {{ {name} a = 1; }}\nmessage {name} {{ int32 b = 1; }}");
        let said = each_language(&folder, &proto, "Go");
        let (_, code, line) = said.iter().find(|(language, ..)| *language == refuser).expect("it was run");
        let says = format!("wire.proto:3:9: message `{name}` would be called");
        assert!(*code == Some(2) && line.contains(&says), "{line}");
        assert_eq!(
            said.iter().find(|(language, ..)| *language == "rust").map(|(_, code, _)| *code),
            Some(Some(0))
        );
    }
    let said = each_language(&folder, "package system.net;\nmessage Go { int32 a = 1; }", "Go");
    let says = "wire.proto:2:1: package `system.net` would be a namespace of .NET itself";
    assert!(said[1].1 == Some(2) && said[1].2.contains(says), "{}", said[1].2);
    // What every object has is evaded; words of a language are no trouble.
    let fields =
        ["constructor", "to_string", "value_of", "equals", "get_type", "class", "self", "type", "then"];
    let fields: Vec<String> =
        (1..).zip(fields).map(|(number, name)| format!("string {name} = {number};")).collect();
    let proto = format!(
        "message Go {{ {} optional Self other = 20; Word word = 21; }}\nmessage Self {{}}\n\
         enum Word {{ __proto__ = 0; Self_ = 1; class = 2; to_string = 3; }}",
        fields.join(" ")
    );
    for (language, code, said) in each_language(&folder, &proto, "Go") {
        assert_eq!((code, said.as_str()), (Some(0), ""), "{language}");
    }
    fs::rename(folder.join("typescript"), folder.join("words.ts")).expect("it was written");
    fs::rename(folder.join("csharp"), folder.join("words.cs")).expect("it was written");
    let mut compiler = Command::new("tsc");
    tool(compiler.args(STRICT.split_whitespace()).arg(&folder).arg(folder.join("words.ts")));
    let mut compiler = Command::new("mcs");
    tool(compiler.args(["-warnaserror", "-target:library"]).arg(folder.join("words.cs")));
}

#[test]
fn comments_end_no_comment_of_the_written_file() {
    let folder = folder("comments");
    let comment = "// a\u{2028}b\u{2029}c\u{85}d\re\u{202E}f */ g <h>";
    let proto = format!("{comment}\nmessage Go {{\n{comment}\nint32 a = 1; }}");
    for (language, code, said) in each_language(&folder, &proto, "Go") {
        assert_eq!((code, said.as_str()), (Some(0), ""), "{language}");
        let written = fs::read_to_string(folder.join(language)).expect("it was written");
        let strange = ['\u{2028}', '\u{2029}', '\u{85}', '\r', '\u{202E}'];
        assert!(!written.contains(strange) && written.contains("a b c d e f"), "{language}");
    }
}

#[test]
fn files_of_one_name_in_two_folders_are_two_files() {
    let folder = folder("two_folders");
    let head = "syntax = \"proto3\";\n";
    for (path, text) in [
        ("x/msg.proto", "message Login { string name = 1; }"),
        ("y/msg.proto", "message Logout { int32 why = 1; }"),
        ("x/other.proto", "import \"msg.proto\"; message Other { Login login = 1; }"),
        ("all.proto", "import \"x/msg.proto\"; message All { Login login = 1; }"),
    ] {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().expect("it has a folder")).expect("a scratch folder");
        fs::write(path, format!("{head}{text}\n")).expect("a scratch file");
    }
    let generate = |paths: &[&str]| {
        let out = folder.join("out");
        let paths: Vec<PathBuf> = paths.iter().map(|path| folder.join(path)).collect();
        let protos = paths.iter().flat_map(|path| ["--proto", plain(path)]);
        let arguments: Vec<&str> =
            ["--lang", "rust", "--out", plain(&out)].into_iter().chain(protos).collect();
        let (code, said) = generate(&arguments);
        (code, said, fs::read_to_string(out).unwrap_or_default())
    };
    let (code, said, both) = generate(&["x/msg.proto", "y/msg.proto"]);
    assert_eq!((code, said.as_str()), (Some(0), ""));
    assert!(both.contains("pub struct Login") && both.contains("pub struct Logout"), "{both}");
    assert!(both.contains("from x/msg.proto, y/msg.proto"), "{}", both.lines().next().unwrap_or(""));
    // A file is one file, whatever it is imported as.
    let (code, said, all) = generate(&["all.proto", "x/msg.proto", "y/msg.proto"]);
    assert_eq!((code, said.as_str()), (Some(0), ""));
    assert_eq!(
        ["struct Login", "struct Logout", "struct All"].map(|name| all.matches(name).count()),
        [1, 2, 1].map(|_| 1)
    );
    // What could be either is neither.
    let (code, said, _) = generate(&["x/other.proto", "y/msg.proto"]);
    assert!(code == Some(2) && said.contains("other.proto:2:8: import `msg.proto` could be "), "{said}");
    // In a table, too.
    fs::write(
        folder.join("table.rs"),
        "packets! { T: prost(\"x/msg.proto\", \"y/msg.proto\") { 1 => Login 2 => Logout } }",
    )
    .expect("a scratch file");
    for language in ["csharp", "typescript"] {
        let (table, out) = (folder.join("table.rs"), folder.join(language));
        let said = self::generate(&["--lang", language, "--packets", plain(&table), "--out", plain(&out)]);
        assert_eq!(said, (Some(0), String::new()));
        assert!(fs::read_to_string(out).is_ok_and(|text| text.contains("Logout")), "{language}");
    }
}

#[test]
fn a_source_file_of_any_depth_is_read_and_a_deep_proto_file_is_refused() {
    let folder = folder("deep");
    let wire = "syntax = \"proto3\";\nmessage Top { int32 a = 1; }\n";
    let table = "packets! { T: prost(\"wire.proto\") { 1 => Top } }";
    let packets = folder.join("table.rs");
    let generate = || generate(&["--lang", "typescript", "--packets", plain(&packets), "--out", "/dev/null"]);
    fs::write(folder.join("wire.proto"), wire).expect("a scratch file");
    let many = 50_000;
    let nested = |open: &str, close: &str| {
        format!("const X: u8 = {}1{};\n{table}", open.repeat(many), close.repeat(many))
    };
    for source in [
        nested("(", ")"),
        nested("{[", "]}"),
        nested("!", ""),
        nested("-", ""),
        nested("1 + ", ""),
        nested("&", ""),
        nested("Vec<", ">"),
        format!("#[doc = {}1{}]\n{table}", "(".repeat(many), ")".repeat(many)),
        format!("mod m {{ fn f() {{ {}{table}{} }} }}", "{".repeat(many), "}".repeat(many)),
    ] {
        fs::write(&packets, &source).expect("a scratch file");
        assert_eq!(generate(), (Some(0), String::new()), "{}", &source[..40]);
    }
    fs::write(&packets, format!("packets! {{ T: prost({}{}) {{}} }}", "(".repeat(many), ")".repeat(many)))
        .expect("a scratch file");
    let (code, said) = generate();
    assert!(code == Some(2) && said.contains("table.rs:1:10: brackets stand in brackets"), "{said}");
    fs::write(&packets, table).expect("a scratch file");
    for deep in [
        format!("{}{}", "message A { ".repeat(many), "}".repeat(many)),
        format!("option (x) = {}{};", "{ a ".repeat(many), "}".repeat(many)),
        format!("option (x) = {{ a: {}{} }};", "[".repeat(many), "]".repeat(many)),
    ] {
        fs::write(folder.join("wire.proto"), format!("{wire}{deep}")).expect("a scratch file");
        let (code, said) = generate();
        let first = said.lines().next().unwrap_or("");
        assert!(code == Some(2) && first.contains("wire.proto:3:") && first.contains("100 deep"), "{first}");
    }
    // A chain of messages is not deep to read.
    let chain: String =
        (0..2_000).map(|place| format!("message M{place} {{ M{} next = 1; }}\n", place + 1)).collect();
    fs::write(folder.join("wire.proto"), format!("{wire}{chain}message M2000 {{}}\n"))
        .expect("a scratch file");
    assert_eq!(generate(), (Some(0), String::new()));
}

#[test]
fn a_byte_order_mark_is_no_part_of_a_text() {
    let folder = folder("mark");
    let written = |mark: &str| {
        let wire =
            format!("{mark}syntax = \"proto3\";\nimport \"far.proto\";\nmessage E {{ Far far = 1; }}\n");
        fs::write(folder.join("wire.proto"), wire).expect("a scratch file");
        fs::write(folder.join("far.proto"), format!("{mark}syntax = \"proto3\";\nmessage Far {{}}\n"))
            .expect("a scratch file");
        let table = format!("{mark}packets! {{ T: prost(\"wire.proto\", \"far.proto\") {{ 1 => E }} }}");
        fs::write(folder.join("table.rs"), table).expect("a scratch file");
        let (table, out) = (folder.join("table.rs"), folder.join("out.cs"));
        let said = generate(&["--lang", "csharp", "--packets", plain(&table), "--out", plain(&out)]);
        assert_eq!(said, (Some(0), String::new()));
        fs::read_to_string(out).expect("it was written")
    };
    assert_eq!(written("\u{FEFF}"), written(""), "with one version");
    let table = "\u{FEFF}packets! { T: prost(\"wire.proto\", \"far.proto\") { 1 => F } }";
    fs::write(folder.join("table.rs"), table).expect("a scratch file");
    let (_, said) = generate(&["--lang", "csharp", "--packets", plain(&folder.join("table.rs"))]);
    assert!(said.contains("table.rs:1:55: packet 1 has no message `F`"), "{said}");
}

#[test]
fn what_is_not_there_is_named() {
    let missing = generate(&["--lang", "csharp", "--packets", "nowhere.rs"]);
    assert!(missing.0 == Some(2) && missing.1.starts_with("naksi: cannot read nowhere.rs: "), "{missing:?}");
    let packets = file("naksi/tests/packets.rs");
    let several = generate(&["--lang", "csharp", "--packets", plain(&packets), "--table", "NOTHING"]);
    assert!(several.1.contains("there is no table `NOTHING`; there is `WORLD`"), "{several:?}");
    let proto = file("naksi/tests/prost/kinds.proto");
    let idless = generate(&["--lang", "csharp", "--proto", plain(&proto)]);
    assert!(idless.0 == Some(2) && idless.1.contains("--packets"), "{idless:?}");
}
