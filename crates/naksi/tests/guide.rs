//! Tests that the guide's reference pages contain the code's names, and that links in the documents lead to existing
//! files.

use std::fs;
use std::path::{Path, PathBuf};

use naksi::config::ENVIRONMENT;
use naksi::prelude::{DisconnectReason, Stats};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn page(name: &str) -> String {
    fs::read_to_string(root().join("docs/book/src").join(name)).expect("the page exists")
}

/// The names in the first column of a page's tables.
fn rows(name: &str) -> Vec<String> {
    let page = page(name);
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    rows.map(|(name, _)| name.to_owned()).collect()
}

#[test]
fn every_disconnect_reason_is_on_its_page_in_order() {
    assert_eq!(rows("reasons.md"), DisconnectReason::NAMES);
}

#[test]
fn every_counter_is_on_its_page_in_order() {
    let printed = Stats::default().to_string();
    let counters: Vec<&str> = printed.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(rows("counters.md"), counters);
}

#[test]
fn every_variable_of_the_environment_is_on_the_page_of_settings() {
    let (mut listed, mut known) = (rows("settings.md"), Vec::new());
    known.extend(ENVIRONMENT.iter().map(|(name, _)| (*name).to_owned()));
    listed.sort();
    known.sort();
    assert_eq!(listed, known);
}

/// Every document of the project in Markdown, the lectures' ladder included.
fn documents(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the folder can be read") {
        let path = entry.expect("an entry").path();
        if path.is_dir() && !path.ends_with("target") && !path.ends_with(".git") {
            documents(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
}

/// The targets of the inline links of a document, outside its code blocks.
fn links(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for prose in text.split("```").step_by(2) {
        for (open, _) in prose.match_indices("](") {
            let target = &prose[open + 2..];
            found.extend(target.find([')', ' ']).map(|end| &target[..end]));
        }
    }
    found
}

#[test]
fn links_of_the_documents_lead_to_files() {
    let mut pages = Vec::new();
    for entry in fs::read_dir(root()).expect("the root can be read") {
        let path = entry.expect("an entry").path();
        pages.extend(path.extension().is_some_and(|extension| extension == "md").then_some(path));
    }
    documents(&root().join("docs"), &mut pages);
    let mut broken = Vec::new();
    for page in &pages {
        let text = fs::read_to_string(page).expect("a page is text");
        let targets = links(&text).into_iter().filter(|link| !link.contains("://") && !link.starts_with('#'));
        for target in targets {
            let file = target.split('#').next().expect("a split has a first part");
            if !page.parent().expect("a page has a folder").join(file).exists() {
                broken.push(format!("{}: {target}", page.display()));
            }
        }
    }
    assert!(pages.len() > 20, "the documents are there: {pages:?}");
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

#[test]
fn every_page_of_the_guide_is_in_its_summary() {
    let summary = page("SUMMARY.md");
    for entry in fs::read_dir(root().join("docs/book/src")).expect("the guide") {
        let name = entry.expect("a page").file_name().into_string().expect("a plain name");
        let listed = name == "SUMMARY.md" || !name.ends_with(".md") || summary.contains(&format!("({name})"));
        assert!(listed, "{name} is not in SUMMARY.md");
    }
}
