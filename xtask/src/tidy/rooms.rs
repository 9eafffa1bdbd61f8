//! Rules about the places in the tree for platform code, unsafe code and dependencies.

use std::collections::BTreeSet;

use super::Finding;
use super::tree::{File, Tree};

/// The only files that may use `cfg` for a system: path, reason.
const SYSTEM_SWITCHES: &[(&str, &str)] = &[
    ("crates/naksi-os/src/lib.rs", "the one switch between the twin rooms"),
    ("crates/naksi-cli/src/platform.rs", "what a terminal and a process can do differs by system"),
];

/// Groups of folders that have the same file names.
const TWIN_ROOMS: &[&[&str]] = &[
    &["crates/naksi-os/src/linux/", "crates/naksi-os/src/windows/"],
    &["crates/naksi-os/src/uring/", "crates/naksi-os/src/epoll/", "crates/naksi-os/src/iocp/"],
];

/// Files that not every folder of a group has: path below `naksi-os/src`, reason.
const EXTRA_DOORS: &[(&str, &str)] = &[
    ("linux/choice.rs", "Linux has two ports and picks one; Windows has one"),
    ("linux/limiter.rs", "Windows' kernel itself says which of a port's threads may run"),
    (
        "linux/limiter/watch.rs",
        "Windows sees by itself which of a queue's threads blocks; on Linux a thread has to look",
    ),
    (
        "linux/sandbox.rs",
        "only on Linux can a container take the better port away, which a trial must be able to repeat",
    ),
    ("windows/kernel.rs", "a completion port is made of raw calls; a ring has a library for them"),
    ("windows/ext.rs", "only Winsock has functions that have to be asked for"),
    ("windows/handle_count.rs", "tests count handles; on Linux the file system tells their number"),
    ("uring/ext.rs", "io_uring differs from kernel to kernel and is probed; the other two do not"),
    ("uring/buffers.rs", "only io_uring takes receive buffers from a ring that we fill"),
    ("uring/direct.rs", "only a ring has a table of descriptors that the process is not charged for"),
    ("uring/parked.rs", "only a multishot receive has to be asked for again after it has brought much"),
    ("uring/op_block.rs", "what a kernel is pointed at; epoll points it at nothing between two calls"),
    ("iocp/op_block.rs", "what a kernel is pointed at; epoll points it at nothing between two calls"),
    ("iocp/call.rs", "Windows has a call for each operation; a ring has entries, which op.rs writes"),
    ("iocp/accept.rs", "Windows accepts one client for each AcceptEx, so a chain of them is kept"),
    ("windows/setup.rs", "socket options have a safe door on Linux, and their order is free there"),
    ("iocp/extra.rs", "TransmitFile, DisconnectEx and their like have no twin among a ring's operations"),
    ("epoll/serve.rs", "readiness is turned into calls here; the other kernels carry operations out"),
    ("epoll/socket_state.rs", "what a socket is ready for; the other kernels keep that to themselves"),
    ("epoll/poll.rs", "epoll is made of raw calls; a ring has a library for them"),
    ("epoll/file_thread.rs", "a file is always ready to epoll, so a thread waits for the disk"),
    ("epoll/timers.rs", "epoll knows no deadlines as operations"),
];

/// Folders that may contain `unsafe`: the ports, platform code, the test that takes released memory away from a
/// kernel, and the hand-written ring of the benchmark.
const ROOMS_OF_DANGER: [&str; 7] = [
    "crates/naksi-os/src/uring/",
    "crates/naksi-os/src/epoll/",
    "crates/naksi-os/src/iocp/",
    "crates/naksi-os/src/linux/",
    "crates/naksi-os/src/windows/",
    "crates/naksi-os/tests/tripwire/",
    "bench/peers/uring/",
];

/// The workspace crates that each crate may depend on.
const EDGES: &[(&str, &[&str])] = &[
    ("naksi-core", &[]),
    ("naksi-os", &["naksi-core"]),
    ("naksi-models", &["naksi-os"]),
    ("naksi-ws", &["naksi-core"]),
    ("naksi-tls", &["naksi-core"]),
    ("naksi", &["naksi-os", "naksi-core", "naksi-ws", "naksi-tls"]),
    ("naksi-db", &["naksi", "naksi-core"]),
    ("naksi-admin", &["naksi", "naksi-core"]),
    ("naksi-sim", &["naksi", "naksi-os", "naksi-core"]),
    ("naksi-gen", &["naksi-core"]),
    ("naksi-cli", &["naksi", "naksi-admin", "naksi-db", "naksi-sim", "naksi-models", "naksi-gen"]),
    ("xtask", &[]),
];

/// Top-level folders with settings of tools, which need no README.
const FOLDERS_OF_TOOLS: &[&str] = &[".cargo", ".config", ".github"];

/// `cfg` for a system is used in one place; everywhere else a type or a trait distinguishes.
pub(super) fn systems_are_told_apart_in_one_place(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, source) in tree.rust().filter(|(file, _)| is_crate_source(file)) {
        if SYSTEM_SWITCHES.iter().any(|(path, _)| *path == file.path) {
            continue;
        }
        let conditions = ["cfg", "cfg_attr", "cfg_select"].into_iter().flat_map(|word| {
            source.words(word).filter_map(move |start| {
                let after = source.code[start + word.len()..].trim_start_matches('!').trim_start();
                after.starts_with(['(', '{']).then_some((start, source.code.len() - after.len()))
            })
        });
        for (start, open) in conditions {
            let words = ["windows", "unix", "target_os", "target_family", "target_env"];
            let asks = words
                .iter()
                .any(|word| super::source::whole_words(source.inside(open), word).next().is_some());
            if asks {
                let text =
                    "only naksi-os/src/lib.rs asks for the system: put the difference into the twin rooms";
                findings.push(Finding::new(&file.path, source.line(start), text));
            }
        }
    }
    findings
}

fn is_crate_source(file: &File) -> bool {
    file.path.starts_with("crates/") && file.path.contains("/src/")
}

/// `cargo fmt` ignores modules that a macro declares.
pub(super) fn the_formatter_finds_every_module(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, source) in tree.rust() {
        for (number, line) in source.code.lines().enumerate() {
            let declares = line.contains("mod ") && line.trim_end().ends_with(';');
            if declares && line.starts_with(' ') {
                let text = "a module that is declared in here is never formatted: declare it outside";
                findings.push(Finding::new(&file.path, number + 1, text));
            }
        }
    }
    findings
}

/// The folders of a group have the same file names, so that a reader who knows one finds the way in the others.
pub(super) fn twin_rooms_have_the_same_doors(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for rooms in TWIN_ROOMS {
        let doors: Vec<BTreeSet<&str>> = rooms
            .iter()
            .map(|room| tree.files.iter().filter_map(|file| file.path.strip_prefix(room)).collect())
            .collect();
        for (room, mine) in rooms.iter().zip(&doors) {
            let lacks = |door: &&str| rooms.iter().zip(&doors).find(|(_, others)| !others.contains(*door));
            for door in mine {
                let path = format!("{room}{door}");
                let known =
                    EXTRA_DOORS.iter().any(|(extra, _)| path == format!("crates/naksi-os/src/{extra}"));
                if let Some((other, _)) = lacks(door).filter(|_| !known) {
                    findings.push(Finding::new(&path, 0, format!("has no twin at {other}{door}")));
                }
            }
        }
    }
    findings
}

/// `unsafe` occurs only in the folders that call a kernel, in files that give the reason; every other crate forbids
/// it.
pub(super) fn unsafe_stays_in_its_rooms(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, source) in tree.rust() {
        if let Some(first) = source.words("unsafe").next() {
            let line = source.line(first);
            if !ROOMS_OF_DANGER.iter().any(|room| file.path.starts_with(room)) {
                let text = "`unsafe` lives only in naksi-os/src: uring, epoll, iocp, linux and windows";
                findings.push(Finding::new(&file.path, line, text));
            } else if !file.text.lines().any(|line| line.starts_with("// UNSAFETY:")) {
                let text = "say at the top, after `// UNSAFETY:`, what is unsafe here and why it holds";
                findings.push(Finding::new(&file.path, line, text));
            }
        }
        if is_crate_root(file) && !source.code.contains("#![forbid(unsafe_code)]") {
            findings.push(Finding::new(&file.path, 0, "add `#![forbid(unsafe_code)]`"));
        }
    }
    findings
}

/// The root of every crate except the one with the platform folders.
fn is_crate_root(file: &File) -> bool {
    let parts: Vec<&str> = file.path.split('/').collect();
    match parts.as_slice() {
        ["crates", name, "src", "lib.rs" | "main.rs"] => *name != "naksi-os",
        ["xtask", "src", "main.rs"] => true,
        _ => false,
    }
}

/// Dependencies between the crates of the workspace point one way.
pub(super) fn crates_depend_downwards(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, file) in members(tree) {
        let Some((_, allowed)) = EDGES.iter().find(|(crate_name, _)| *crate_name == name) else {
            findings.push(Finding::new(&file.path, 0, "a new crate: say in EDGES what it may depend on"));
            continue;
        };
        for (line, dependency) in dependencies(&file.text) {
            let ours = EDGES.iter().any(|(crate_name, _)| *crate_name == dependency);
            if ours && !allowed.contains(&dependency) && dependency != name {
                let text = format!("{name} may not depend on {dependency} (only on {allowed:?})");
                findings.push(Finding::new(&file.path, line, text));
            }
        }
    }
    findings
}

/// The crates of the workspace: folder, which is the name of the crate, and manifest.
fn members(tree: &Tree) -> impl Iterator<Item = (&str, &File)> {
    tree.files.iter().filter_map(|file| {
        let parts: Vec<&str> = file.path.split('/').collect();
        match parts.as_slice() {
            ["crates", name, "Cargo.toml"] | [name @ "xtask", "Cargo.toml"] => Some((*name, file)),
            _ => None,
        }
    })
}

/// Names in the dependency tables of a manifest, of all three kinds and for every system, with their lines.
fn dependencies(manifest: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut in_table = false;
    for (index, line) in manifest.lines().enumerate() {
        let line = line.trim();
        if let Some(header) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            in_table = header.ends_with("dependencies");
            if let Some((_, name)) = header.rsplit_once("dependencies.") {
                found.push((index + 1, name));
            }
        } else if in_table && let Some((key, _)) = line.split_once('=') {
            let key = key.trim().split('.').next().unwrap_or_default().trim_matches('"');
            found.push((index + 1, key));
        }
    }
    found
}

/// ARCHITECTURE.md names every crate and every top-level folder.
pub(super) fn the_map_names_every_room(tree: &Tree) -> Vec<Finding> {
    let Some(map) = tree.file("ARCHITECTURE.md") else {
        return vec![Finding::new("ARCHITECTURE.md", 0, "is missing: the map of the house")];
    };
    let folders = tree.files.iter().filter_map(|file| file.path.split_once('/')).map(|(folder, _)| folder);
    let rooms: BTreeSet<&str> = members(tree).map(|(name, _)| name).chain(folders).collect();
    let unnamed = rooms.into_iter().filter(|room| {
        !FOLDERS_OF_TOOLS.contains(room) && super::source::whole_words(&map.text, room).next().is_none()
    });
    unnamed.map(|room| Finding::new("ARCHITECTURE.md", 0, format!("does not name `{room}`"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asking_for_the_system_elsewhere_is_red() {
        let asks = "//! x\n#[cfg(any(\n    test,\n    windows,\n))]\nfn a() {}\nfn b() { cfg!(target_os = \"linux\"); }\n";
        let quiet =
            "//! cfg(windows)\n#[cfg(test)]\nmod tests {}\n#[cfg(feature = \"windows\")]\nfn a() {}\n";
        let tree = Tree::sample(&[
            ("crates/naksi/src/worker.rs", asks),
            ("crates/naksi/src/quiet.rs", quiet),
            ("crates/naksi-os/src/lib.rs", "//! x\nstd::cfg_select! { windows => {} }\n"),
            ("crates/naksi-os/src/port.rs", "//! x\nstd::cfg_select! { windows => {} }\n"),
        ]);
        let found = systems_are_told_apart_in_one_place(&tree);
        let places: Vec<_> = found.iter().map(|finding| (finding.path.as_str(), finding.line)).collect();
        assert_eq!(
            places,
            [
                ("crates/naksi/src/worker.rs", 2),
                ("crates/naksi/src/worker.rs", 7),
                ("crates/naksi-os/src/port.rs", 2)
            ]
        );
    }

    #[test]
    fn a_module_out_of_the_formatters_sight_is_red() {
        let hidden =
            "//! x\npub mod seen;\nstd::cfg_select! {\n    windows => {\n        pub mod hidden;\n    }\n}\n";
        let quiet = "//! x\n// A word: mod it;\nmod a;\nmod b {\n    fn c() {}\n}\n";
        let tree = Tree::sample(&[("crates/a/src/lib.rs", hidden), ("crates/b/src/lib.rs", quiet)]);
        let found = the_formatter_finds_every_module(&tree);
        let places: Vec<_> = found.iter().map(|finding| (finding.path.as_str(), finding.line)).collect();
        assert_eq!(places, [("crates/a/src/lib.rs", 5)]);
    }

    #[test]
    fn a_door_without_its_twin_is_red() {
        let tree = Tree::sample(&[
            ("crates/naksi-os/src/linux/error.rs", ""),
            ("crates/naksi-os/src/linux/choice.rs", ""),
            ("crates/naksi-os/src/windows/error.rs", ""),
            ("crates/naksi-os/src/windows/file.rs", ""),
            ("crates/naksi-os/src/uring/port.rs", ""),
            ("crates/naksi-os/src/uring/reap.rs", ""),
            ("crates/naksi-os/src/epoll/port.rs", ""),
            ("crates/naksi-os/src/epoll/reap.rs", ""),
            ("crates/naksi-os/src/iocp/port.rs", ""),
        ]);
        let found = twin_rooms_have_the_same_doors(&tree);
        let paths: Vec<_> = found.iter().map(|finding| finding.path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "crates/naksi-os/src/windows/file.rs",
                "crates/naksi-os/src/uring/reap.rs",
                "crates/naksi-os/src/epoll/reap.rs"
            ]
        );
    }

    #[test]
    fn danger_outside_its_rooms_or_without_its_reason_is_red() {
        let forbids = "//! x\n#![forbid(unsafe_code)]\n";
        let tree = Tree::sample(&[
            ("crates/naksi/src/lib.rs", forbids),
            ("crates/naksi-core/src/lib.rs", "//! x\n"),
            ("crates/naksi/src/worker.rs", "//! unsafe\nfn a() { unsafe { b() } }\n"),
            ("crates/naksi-os/src/uring/port.rs", "//! x\n// UNSAFETY: rings.\nfn a() { unsafe { b() } }\n"),
            ("crates/naksi-os/src/linux/file.rs", "//! x\nfn a() { unsafe { b() } }\n"),
        ]);
        let found: Vec<String> =
            unsafe_stays_in_its_rooms(&tree).into_iter().map(|finding| finding.path).collect();
        assert_eq!(
            found,
            [
                "crates/naksi-core/src/lib.rs",
                "crates/naksi/src/worker.rs",
                "crates/naksi-os/src/linux/file.rs"
            ]
        );
    }

    #[test]
    fn an_edge_that_points_up_is_red() {
        let tree = Tree::sample(&[
            (
                "crates/naksi-core/Cargo.toml",
                "[dependencies]\nbytes = \"1\"\n[dev-dependencies]\nnaksi.workspace = true\n",
            ),
            (
                "crates/naksi-os/Cargo.toml",
                "[target.'cfg(windows)'.dependencies]\nnaksi-core = { path = \"x\" }\n",
            ),
            ("crates/naksi-cli/Cargo.toml", "[dependencies.naksi-os]\nworkspace = true\n"),
            ("crates/stranger/Cargo.toml", ""),
        ]);
        let found = crates_depend_downwards(&tree);
        let places: Vec<_> = found.iter().map(|finding| (finding.path.as_str(), finding.line)).collect();
        assert_eq!(
            places,
            [
                ("crates/naksi-core/Cargo.toml", 4),
                ("crates/naksi-cli/Cargo.toml", 1),
                ("crates/stranger/Cargo.toml", 0)
            ]
        );
    }

    #[test]
    fn a_room_that_the_map_forgets_is_red() {
        let files = [("crates/naksi-os/Cargo.toml", ""), ("docs/a.md", ""), (".cargo/config.toml", "")];
        let missing = Tree::sample(&files);
        assert_eq!(the_map_names_every_room(&missing).len(), 1);
        let drawn = [&files[..], &[("ARCHITECTURE.md", "`crates/`: naksi-os")]].concat();
        let found = the_map_names_every_room(&Tree::sample(&drawn));
        assert_eq!(found, [Finding::new("ARCHITECTURE.md", 0, "does not name `docs`")]);
    }
}
