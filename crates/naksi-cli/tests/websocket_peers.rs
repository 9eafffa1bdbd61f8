//! WebSocket peers of other makers at the program. A peer that is not installed is named, and its test skipped.

#![cfg(unix)] // The tests stop their servers with signals.

mod support;

use std::fs;
use std::process::Command;

use support::tools::skipped;
use support::{Server, naksi, scratch};

/// The first of these runtimes that has this library; says that a test is skipped if none has.
fn with<'a>(runtimes: &[&'a str], question: &[&str], library: &str) -> Option<&'a str> {
    let has_it = |runtime: &&&str| {
        let asked = Command::new(runtime).args(question).env("NODE_PATH", NODE_PATH).output();
        asked.is_ok_and(|output| output.status.success())
    };
    let found = runtimes.iter().find(has_it).copied();
    if found.is_none() {
        skipped(&format!("{library} is not installed"));
    }
    found
}

/// Where Debian keeps the libraries of node.
const NODE_PATH: &str = "/usr/share/nodejs:/usr/lib/nodejs";

/// Serves the echo app over WebSocket, and runs a peer's script with its address.
fn run(runtime: &str, name: &str, script: &str) {
    let mut command = naksi();
    command.args(["serve", "--app", "echo", "--workers", "2", "--addr", "ws://127.0.0.1:0"]);
    let (server, urls) = Server::listening(&mut command, 2, 1);
    let file = scratch(name);
    fs::write(&file, script).expect("written");
    let mut peer = Command::new("timeout");
    peer.args(["120", runtime]).arg(&file).arg(&urls[0]).env("NODE_PATH", NODE_PATH);
    let output = peer.output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{runtime}: {} {said}", output.status);
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "all came back", "{said}");
    server.stop();
}

/// Every kind and length, fragments with a ping between them, and a close with a code.
const PYTHON: &str = r#"
import asyncio, sys, websockets

async def main(url):
    async with websockets.connect(url + "/play", max_size=None) as peer:
        for length in [0, 1, 125, 126, 65535, 65536, 1 << 20]:
            for message in ["\ub09a" * (length // 3), bytes([7]) * length]:
                await peer.send(message)
                assert await peer.recv() == message, length
        await peer.send(["one ", "two ", "three"])
        assert await peer.recv() == "one two three"
        await asyncio.wait_for(await peer.ping(b"there?"), 60)
        await peer.close(code=4001, reason="enough")
        assert peer.close_code == 4001, peer.close_code
    async with websockets.connect(url, compression="deflate") as peer:
        await peer.send("not compressed")
        assert await peer.recv() == "not compressed"
    print("all came back")

asyncio.run(main(sys.argv[1]))
"#;

#[test]
fn python_websockets_gets_back_what_it_sends_and_its_close_code() {
    // A machine may have a Python of its own before that of its packages.
    let pythons = ["python3", "/usr/bin/python3"];
    if let Some(python) = with(&pythons, &["-c", "import websockets"], "python3-websockets") {
        run(python, "peer.py", PYTHON);
    }
}

const NODE: &str = r#"
const WebSocket = require("ws");
const assert = require("assert");
const url = process.argv[2];
const peer = new WebSocket(url + "/play");
const sent = [];
for (const length of [0, 1, 125, 126, 65535, 65536, 1 << 20]) {
  sent.push("\ub09a".repeat(length / 3), Buffer.alloc(length, 7));
}
let came = 0;
peer.on("open", () => {
  for (const message of sent) peer.send(message);
  peer.send("one ", { fin: false });
  peer.ping("there?");
  peer.send("two", { fin: true });
});
let pong = false;
peer.on("pong", (data) => { pong = data.toString() === "there?"; });
peer.on("message", (data, isBinary) => {
  if (came < sent.length) {
    const wanted = sent[came];
    assert.strictEqual(isBinary, typeof wanted !== "string");
    assert.ok(Buffer.from(wanted).equals(data), `message ${came}`);
  } else {
    assert.strictEqual(data.toString(), "one two");
    assert.ok(pong, "a ping is answered between two fragments");
    peer.close(4001, "enough");
  }
  came += 1;
});
peer.on("close", (code) => {
  assert.strictEqual(code, 4001);
  assert.strictEqual(came, sent.length + 1);
  console.log("all came back");
});
"#;

#[test]
fn node_ws_gets_back_what_it_sends_and_its_close_code() {
    if let Some(node) = with(&["node"], &["-e", "require('ws')"], "node-ws") {
        run(node, "peer.cjs", NODE);
    }
}
