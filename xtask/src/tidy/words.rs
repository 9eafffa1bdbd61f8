//! Rules about words: unfinished work, discarded results, abbreviations, and machine-specific paths.
//!
//! The words are split in two here, so that this file follows its own rules.

use super::Finding;
use super::source::{CommentKind, whole_words};
use super::tree::Tree;

/// Marks of unfinished work, in code or in comments.
const UNFINISHED: &[&str] =
    &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), concat!("HA", "CK")];
/// Macros of unfinished work, in code.
const UNFINISHED_MACROS: &[&str] =
    &[concat!("to", "do!"), concat!("unimple", "mented!"), concat!("db", "g!")];

/// File and module names without a meaning, and what to do instead.
const EMPTY_NAMES: &[&str] = &["util", "utils", "helper", "helpers", "misc", "common", "manager", "stuff"];

/// Words in names, and what to write instead.
const REPLACED: &[(&str, &str)] = &[
    ("idx", "index"),
    ("cnt", "count"),
    ("tmp", "what it holds"),
    ("mgr", "what it does"),
    ("cfg", "config"),
    ("pkt", "packet"),
    ("sess", "session"),
    ("whitelist", "allowed"),
    ("blacklist", "denied"),
];

/// Folders of one machine, in any file.
const MACHINE_PATHS: &[&str] = &[concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/fa", "rm/")];
/// Folders that a document should not send its reader to.
const MACHINE_PATHS_IN_DOCUMENTS: &[&str] = &[concat!("/t", "mp/")];
/// Hosts of package registries, which a mirror must be able to replace.
const REGISTRY_HOSTS: &[&str] = &[
    concat!("deb.deb", "ian.org"),
    concat!("static.cra", "tes.io"),
    concat!("index.cra", "tes.io"),
    concat!("py", "pi.org"),
    concat!("files.python", "hosted.org"),
    concat!("registry.npm", "js.org"),
    concat!("proxy.gol", "ang.org"),
];

/// Retired names that have a standard term instead; they must not return in code.
const RETIRED_NAMES: &[(&str, &str)] = &[
    ("Tide", "PollStatus"),
    ("Refusal", "SubmitErrorKind"),
    ("HandOver", "SendError"),
    ("Lane", "Direction"),
    ("Lanes", "KeyedQueue"),
    ("Parcel", "OpBlock or RoomOutput"),
    ("Aim", "FdKind"),
    ("Pier", "SocketState"),
    ("Desk", "WorkerContext"),
    ("Papers", "Jobs"),
    ("clerk", "thread"),
    ("Wish", "OpKind"),
    ("Flight", "InFlightOp"),
    ("census", "handle_count"),
    ("doubts", "hangup_checks"),
    ("Outlet", "SessionOutput"),
    ("Voice", "Egress"),
    ("Murmur", "LogLimiter"),
    ("Dialer", "Connector"),
    ("Farewell", "DrainState"),
    ("Alarm", "WakeTimer"),
    ("Clockwork", "RoomTimers"),
    ("Spares", "BufferPool"),
    ("Bed", "ConcurrencyLimiter"),
    ("Sleeper", "Waiter"),
    ("Arrival", "ConnectionInfo"),
    ("RoomEnd", "RoomCloseReason"),
    ("OverRate", "RateLimitAction"),
    ("Waters", "Harness"),
    ("Angler", "Driver"),
];
/// Vague words for people in comments, where an operation, a session or a peer should be named.
const RETIRED_WORDS: &[&str] = &[concat!("who", "ever"), concat!("no", "body"), concat!("some", "body")];

/// Unfinished work belongs in an issue or a test, not in the code.
pub(super) fn nothing_is_left_unfinished(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, source) in tree.rust() {
        for word in UNFINISHED_MACROS {
            let name = word.trim_end_matches('!');
            let called =
                source.words(name).filter(|start| source.code[start + name.len()..].starts_with('!'));
            findings.extend(
                called.map(|start| Finding::new(&file.path, source.line(start), format!("`{word}`"))),
            );
        }
        for (index, line) in file.text.lines().enumerate() {
            let word = UNFINISHED.iter().find(|word| whole_words(line, word).next().is_some());
            findings
                .extend(word.map(|word| Finding::new(&file.path, index + 1, format!("`{word}`: finish it"))));
        }
    }
    findings
}

/// A result is used, or `.ok()` drops it with a comment that gives the reason. Clippy detects `let _ = f()` but not
/// `_ = f()`.
pub(super) fn no_result_is_thrown_away(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, source) in tree.rust() {
        let bare = source.words("_").filter(|start| {
            let before = source.code[..*start].trim_end();
            let after = source.code[start + 1..].trim_start();
            let statement =
                before.is_empty() || before.ends_with([';', '{', '}', ']']) || before.ends_with("=>");
            statement && after.starts_with('=') && !after.starts_with("=>") && !after.starts_with("==")
        });
        let text = "`_ =` throws a result away in silence: use it, or write `.ok(); // why`";
        findings.extend(bare.map(|start| Finding::new(&file.path, source.line(start), text)));
    }
    findings
}

/// Git remembers what the code was.
pub(super) fn no_code_sleeps_in_comments(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, source) in tree.rust() {
        let plain = source.comments.iter().filter(|comment| comment.kind == CommentKind::Plain);
        for comment in plain.filter(|comment| looks_like_code(comment.text.trim())) {
            findings.push(Finding::new(&file.path, comment.line, "code in a comment: git remembers it"));
        }
    }
    findings
}

/// Code and comments use the field's terms: no name of [`RETIRED_NAMES`], no word of [`RETIRED_WORDS`].
pub(super) fn retired_names_stay_retired(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, source) in tree.rust() {
        for (name, better) in RETIRED_NAMES {
            let used = source.words(name).map(|start| source.line(start));
            findings.extend(
                used.map(|line| Finding::new(&file.path, line, format!("`{name}` is called {better}"))),
            );
        }
        for (index, line) in file.text.lines().enumerate() {
            let lower = line.to_lowercase();
            let word = RETIRED_WORDS.iter().find(|word| whole_words(&lower, word).next().is_some());
            let text = |word: &&str| format!("`{word}`: name the session, peer or operation");
            findings.extend(word.map(|word| Finding::new(&file.path, index + 1, text(word))));
        }
    }
    findings
}

fn looks_like_code(text: &str) -> bool {
    // A bracket directly after a word is a call; in prose there is a space before it.
    let call = text.match_indices('(').any(|(open, _)| text[..open].ends_with(|c: char| c.is_alphanumeric()));
    let statement = text.ends_with(';') && (call || text.contains(" = ") || text.contains("::"));
    let block = text.ends_with(" {") || ["}", "});", "},"].contains(&text);
    let item = ["let ", "use ", "pub ", "fn ", "return "].iter().any(|word| text.starts_with(word));
    statement || block || (item && text.ends_with(';'))
}

/// Names are whole words, and a file is named after its contents.
pub(super) fn names_are_whole_words(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, source) in tree.rust() {
        for part in file.path.trim_end_matches(".rs").split('/').filter(|part| EMPTY_NAMES.contains(part)) {
            let text = format!("`{part}` says nothing: name it after what it holds");
            findings.push(Finding::new(&file.path, 0, text));
        }
        for start in source.words("fn") {
            let name = source.code[start + 2..].trim_start();
            if name.starts_with("get_") && !name.starts_with("get_mut") {
                findings.push(Finding::new(&file.path, source.line(start), "`get_` says nothing: drop it"));
            }
        }
        for (line, name) in bound_names(&source.code) {
            let word = REPLACED.iter().find(|(word, _)| name.split('_').any(|part| part == *word));
            let text = |(word, better): &(&str, &str)| format!("`{name}`: for `{word}` write {better}");
            findings.extend(word.map(|word| Finding::new(&file.path, line, text(word))));
        }
    }
    findings
}

/// Names that a line binds: after `let`, `mut`, `fn`, `struct` and the like, and before a `:`.
fn bound_names(code: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (index, line) in code.lines().enumerate() {
        let mut before = "";
        for word in line.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty()) {
            let rest = &line[word.as_ptr() as usize - line.as_ptr() as usize + word.len()..];
            let named = ["let", "mut", "fn", "mod", "const", "static", "for", "type"].contains(&before);
            let typed = rest.trim_start().starts_with(':') && !rest.trim_start().starts_with("::");
            if named || typed {
                found.push((index + 1, word));
            }
            before = word;
        }
    }
    found
}

/// No committed file names a path of one machine or the host of a registry.
pub(super) fn nothing_names_this_machine(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.files.iter().filter(|file| file.name() != "Cargo.lock") {
        let document_only = if file.name().ends_with(".md") { MACHINE_PATHS_IN_DOCUMENTS } else { &[] };
        for (index, line) in file.text.lines().enumerate() {
            let path = MACHINE_PATHS.iter().chain(document_only).find(|path| line.contains(**path));
            let host = REGISTRY_HOSTS.iter().find(|host| line.contains(**host));
            for (word, text) in path
                .map(|word| (word, "a path of one machine"))
                .into_iter()
                .chain(host.map(|word| (word, "a registry's host: the package manager knows it already")))
            {
                findings.push(Finding::new(&file.path, index + 1, format!("`{word}` is {text}")));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(findings: &[Finding]) -> Vec<usize> {
        findings.iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn unfinished_work_is_red() {
        let text =
            [concat!("// TO", "DO: later"), concat!("to", "do!()"), concat!("db", "g!(1)"), "todo_list()"];
        let tree = Tree::sample(&[("a.rs", &text.join("\n"))]);
        let mut found = lines(&nothing_is_left_unfinished(&tree));
        found.sort_unstable();
        assert_eq!(found, [1, 2, 3]);
    }

    #[test]
    fn a_bare_discard_is_red() {
        let text = "fn a() {\n    _ = b();\n    match c { 1 => _ = d(), _ => {} }\n    (_, x) = e();\n    let _guard = f();\n    x_ = 1;\n}";
        assert_eq!(lines(&no_result_is_thrown_away(&Tree::sample(&[("a.rs", text)]))), [2, 3]);
    }

    #[test]
    fn code_in_a_comment_is_red_and_prose_is_not() {
        let code = "// let a = b;\n// foo::bar();\n// if x {\n// }\n";
        let prose = "// It waits for both (see port.rs);\n// then it closes.\n/// let a = b;\n//= lecture 001 step 4: it drains.\n";
        let tree = Tree::sample(&[("a.rs", &[code, prose].concat())]);
        assert_eq!(lines(&no_code_sleeps_in_comments(&tree)), [1, 2, 3, 4]);
    }

    #[test]
    fn a_retired_name_is_red_in_code_and_a_retired_word_anywhere() {
        let comment = concat!("// No", "body reads it.");
        let text = format!("struct Tide;\n// The Tide of a port.\n{comment}\nstruct PollStatus;\n");
        assert_eq!(lines(&retired_names_stay_retired(&Tree::sample(&[("a.rs", &text)]))), [1, 3]);
    }

    #[test]
    fn half_words_are_red() {
        let text = "fn get_name() {}\nlet recv_cnt = 1;\nstruct A { idx: u32 }\nfn index(count: u32) {}\n#[cfg(test)]\nfn f() { tmp::x() }\n";
        let tree = Tree::sample(&[("a.rs", text), ("crates/a/src/utils.rs", "")]);
        assert_eq!(lines(&names_are_whole_words(&tree)), [1, 2, 3, 0]);
    }

    #[test]
    fn a_path_of_this_machine_is_red() {
        let (work, host) = (concat!("/wo", "rk/main"), concat!("https://static.cra", "tes.io"));
        let tree = Tree::sample(&[
            ("a.rs", work),
            ("b.toml", host),
            ("c.md", concat!("see /t", "mp/x")),
            ("d.rs", concat!("\"/t", "mp/x\"")),
            ("Cargo.lock", host),
        ]);
        let found: Vec<String> =
            nothing_names_this_machine(&tree).into_iter().map(|finding| finding.path).collect();
        assert_eq!(found, ["a.rs", "b.toml", "c.md"]);
    }
}
