//! The connection that a client in TypeScript has: compiled as a careful project compiles it, and run by Node at a server
//! of Naksi over WebSocket.

mod support;

#[path = "../../naksi/tests/prost/table.rs"]
#[allow(dead_code, reason = "another test uses the rest of the table")]
mod table;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use naksi::config::Limits;
use naksi::packets::{Table, decode};
use naksi::prelude::*;
use naksi::ws::ServerOptions;

use support::tools::{STRICT, folder, node, tool};
use table::KINDS;
use table::kinds::{Ping, Say};

/// A file of this crate's tests of generated code.
fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/codegen").join(name)
}

/// Sends back what it gets, and does what it is asked for.
struct Host;

/// Speaks another table.
struct Older;

impl Session for Older {
    const FRAMING: Framing = Framing::Packets;
    const PACKETS: Option<Table> = Some(Table::new(&[]));
}

impl Session for Host {
    const FRAMING: Framing = Framing::Packets;
    const PACKETS: Option<Table> = Some(KINDS);

    fn on_packet(&mut self, c: &mut Conn<'_>, packet: Packet<'_>) {
        let say = (packet.id == Say::ID).then(|| decode::<Say>(packet.body).expect("a message").text);
        match say.as_deref() {
            Some("many, please") => {
                c.send_message(&Ping {});
                for number in 0..300_u32 {
                    c.send_message(&Say { text: "x".repeat(number as usize * 4), to: Some(number) });
                    if number == 150 {
                        c.send_message(&Ping {});
                    }
                }
            }
            Some("a stranger, please") => drop(c.send_packet(13, b"??")),
            Some("something broken, please") => drop(c.send_packet(Say::ID, b"\x0A\x05ab")),
            Some("a frame that is none, please") => drop(c.send(&[3, 0, 1, 0])),
            Some("a cut, please") => c.abort(DisconnectReason::Kicked),
            Some("a ban, please") => c.close(DisconnectReason::custom(4001, "banned for 3 days")),
            _ => drop(c.send(packet.frame)),
        }
    }
}

/// Compiles the committed client, and what uses it; `None` without a compiler.
fn compiled(name: &str) -> Option<PathBuf> {
    let folder = folder(name);
    fs::write(folder.join("package.json"), "{\"type\": \"module\"}").expect("a scratch file");
    let mut compiler = Command::new("tsc");
    compiler.args(STRICT.split_whitespace()).arg(&folder).args([file("kinds.ts"), file("typed.ts")]);
    tool(&mut compiler).then(|| folder.join("kinds.js"))
}

#[test]
fn a_client_in_typescript_connects_is_called_back_and_comes_back_after_a_cut() {
    let (Some(mut client), Some(kinds)) = (node(), compiled("transport")) else { return };
    let listening = || Server::new().listen_ws("127.0.0.1:0", ServerOptions::new()).workers(1);
    let server = listening().session(|| Host).start().expect("it starts");
    let older = listening().session(|| Older).start().expect("it starts");
    let limits = Limits { idle_within: Duration::from_millis(900), ..Limits::default() };
    let quiet = listening().limits(limits).session(|| Host).start().expect("it starts");
    let urls = [&server, &older, &quiet].map(|server| format!("ws://{}", server.addresses()[0]));
    client.arg(file("transport.mjs")).args(urls).env("CLIENT", kinds);
    let output = client.stdout(Stdio::piped()).stderr(Stdio::piped()).output().expect("it starts");
    let said = [&output.stdout[..], &output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && said.ends_with("connected\n"), "{said}");
    for server in [server, older, quiet] {
        server.stop(Duration::from_secs(1));
    }
}
