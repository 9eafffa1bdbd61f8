//! The page of the example `arena`, in a real browser, at the sample world over WebSocket.

#![cfg(unix)] // The tests stop their servers with signals.

mod support;

use std::path::Path;
use std::process::{Command, Stdio};

use support::tools::{folder, node, skipped, tool};
use support::{Server, naksi};

#[test]
fn two_players_in_a_browser_see_each_other_talk_and_walk_away() {
    let Some(mut player) = node() else { return };
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let has_it = |name: &&&str| Command::new(name).arg("--version").output().is_ok();
    let Some(browser) = names.iter().find(has_it) else {
        return skipped("no Chromium is installed");
    };
    assert!(tool(Command::new(browser).arg("--version")));
    let mut command = naksi();
    command.args(["serve", "--app", "world", "--workers", "2", "--addr", "ws://127.0.0.1:0"]);
    let (server, urls) = Server::listening(&mut command, 2, 1);
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    player.arg(crate_folder.join("tests/arena/two_players.mjs")).arg(browser);
    player.arg(crate_folder.join("examples/arena/index.html")).arg(urls[0].trim_start_matches("ws://"));
    player.arg(folder("arena_profile")).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = player.output().expect("it starts");
    let said = [&output.stdout[..], &output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && said.ends_with("played\n"), "{said}");
    server.stop();
}
