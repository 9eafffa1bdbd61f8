//! The code on the pages of the ladder is compiled: every snippet occurs in its file, line by line.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The snippets of a page: the file that each names, and its lines.
fn snippets(page: &str) -> Vec<(&str, Vec<&str>)> {
    let mut found = Vec::new();
    let mut lines = page.lines().peekable();
    let mut before = "";
    while let Some(line) = lines.next() {
        if line == "```rust" {
            let named = before.strip_prefix("<!-- from ").and_then(|rest| rest.strip_suffix(" -->"));
            let path = named.expect("a snippet of Rust stands under the name of its file");
            found.push((path, lines.by_ref().take_while(|line| *line != "```").map(str::trim).collect()));
        }
        before = line;
    }
    found
}

#[test]
fn every_snippet_is_taken_from_the_compiled_source() {
    let mut shown = 0;
    for entry in fs::read_dir(root().join("docs/ladder")).expect("the pages are there") {
        let path = entry.expect("a page").path();
        let page = fs::read_to_string(&path).expect("a page is text").replace('\r', "");
        for (source, snippet) in snippets(&page) {
            let code = fs::read_to_string(root().join(source)).expect("the file that the snippet names");
            let code: Vec<&str> = code.lines().map(str::trim).collect();
            let stands = code.windows(snippet.len()).any(|window| window == snippet);
            assert!(
                stands,
                "{}: {source} does not hold this any more:\n{}",
                path.display(),
                snippet.join("\n")
            );
            shown += 1;
        }
    }
    assert!(shown >= naksi_models::MODELS.len(), "every model shows some of its code: {shown}");
}

#[test]
fn every_model_has_its_page_and_at_most_250_lines() {
    let contents = fs::read_to_string(root().join("docs/ladder/README.md")).expect("the contents");
    for (number, model) in naksi_models::MODELS.iter().enumerate() {
        let page = format!("({number}-{}.md)", model.name.replace('_', "-"));
        assert!(contents.contains(&page), "{page}");
        let file = root().join("crates/naksi-models/src").join(model.name).with_extension("rs");
        let text = fs::read_to_string(file).expect("the model's file has the model's name");
        assert!(text.lines().count() <= 250, "{} is longer than a model may be", model.name);
        assert!(text.contains(&format!("lecture {}", model.lecture)), "{} cites its lecture", model.name);
        for word in ["cfg(", "unsafe {", "windows", "linux"] {
            assert!(!text.contains(word), "{} names a system: {word}", model.name);
        }
    }
}

/// The circled numbers at the beginning of lines that begin with this mark, as digits.
fn steps(text: &str, marks: &[&str]) -> Vec<usize> {
    let numbers = ["①", "②", "③", "④", "⑤", "⑥"];
    let step = |line: &str| {
        let rest = marks.iter().find_map(|mark| line.trim().strip_prefix(mark))?;
        numbers.iter().position(|number| rest.starts_with(number)).map(|place| place + 1)
    };
    text.lines().filter_map(step).collect()
}

#[test]
fn every_model_reads_from_top_to_bottom_in_its_steps() {
    for model in &naksi_models::MODELS {
        let file = root().join("crates/naksi-models/src").join(model.name).with_extension("rs");
        let text = fs::read_to_string(file).expect("the model's file has the model's name");
        let listed = steps(&text, &["//! "]);
        assert!(listed.len() >= 5 && listed.is_sorted(), "{} lists its steps: {listed:?}", model.name);
        assert_eq!(steps(&text, &["// ", "/// "]), listed, "{} has each step once and in order", model.name);
    }
}
