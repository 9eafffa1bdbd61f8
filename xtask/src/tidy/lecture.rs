//! Rules about the links between the lectures and the code: `docs/lecture.md` links to items that exist, and comments
//! cite lectures that exist.

use super::Finding;
use super::source::whole_words;
use super::tree::Tree;

const LECTURE: &str = "docs/lecture.md";

/// Every link ``[`item`](../path.rs)`` leads to a file whose code contains the item as a whole word.
pub(super) fn links_lead_to_the_code(tree: &Tree) -> Vec<Finding> {
    let Some(lecture) = tree.file(LECTURE) else {
        return vec![Finding::new(LECTURE, 0, "is missing: the road from the lectures to the code")];
    };
    let mut findings = Vec::new();
    for (index, line) in lecture.text.lines().enumerate() {
        for (label, target) in links(line).filter(|(_, target)| !target.contains("://")) {
            let text = match target.strip_prefix("../").map(|path| (path, tree.file(path))) {
                None => format!("`{target}`: links start at the root, with `../`"),
                Some((path, None)) => format!("{path} does not exist"),
                Some((path, Some(file))) => {
                    let code = file.rust.as_ref().map_or(file.text.as_str(), |rust| rust.code.as_str());
                    let absent = items(label).find(|item| whole_words(code, item).next().is_none());
                    let Some(item) = absent else { continue };
                    format!("{path} holds no `{item}`")
                }
            };
            findings.push(Finding::new(LECTURE, index + 1, text));
        }
    }
    findings
}

/// The parts of the names in backticks in a link's label: `` `Session::process` `` is `Session` and `process`.
fn items(label: &str) -> impl Iterator<Item = &str> {
    let in_backticks = label.split('`').skip(1).step_by(2);
    in_backticks
        .flat_map(|name| name.split(|c: char| !c.is_alphanumeric() && c != '_'))
        .filter(|part| !part.is_empty())
}

/// The links of a line: label and target.
fn links(line: &str) -> impl Iterator<Item = (&str, &str)> {
    line.match_indices("](").filter_map(|(middle, _)| {
        let label = &line[line[..middle].rfind('[')? + 1..middle];
        let target = &line[middle + 2..];
        Some((label, &target[..target.find(')')?]))
    })
}

/// A comment that cites `lecture NNN` cites a lecture that `docs/lecture.md` lists.
pub(super) fn citations_lead_to_the_lecture(tree: &Tree) -> Vec<Finding> {
    let known = tree.file(LECTURE).map_or("", |lecture| lecture.text.as_str());
    let mut findings = Vec::new();
    for (file, source) in tree.rust() {
        for comment in &source.comments {
            let unknown = citations(&comment.text).find(|number| whole_words(known, number).next().is_none());
            let text = |number| format!("lecture {number} is not in {LECTURE}");
            findings.extend(unknown.map(|number| Finding::new(&file.path, comment.line, text(number))));
        }
    }
    findings
}

/// The numbers after the word `lecture`; the word alone is prose.
fn citations(comment: &str) -> impl Iterator<Item = &str> {
    whole_words(comment, "lecture").filter_map(|start| {
        let rest = comment[start + "lecture".len()..].trim_start();
        let number = &rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())];
        (!number.is_empty()).then_some(number)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_to_nothing_is_red() {
        let document = "| a | [`Session::process`](../crates/s.rs) | 004 |\n\
                        | b | [`Session::gone`](../crates/s.rs) | 004 |\n\
                        | c | [`Session`](../crates/gone.rs) | 004 |\n\
                        | d | [`Session`](crates/s.rs) | 004 |\n\
                        | e | [page](https://example.org) | 004 |\n";
        let code = "//! gone\nstruct Session;\nfn process() {}\n";
        let found = links_lead_to_the_code(&Tree::sample(&[(LECTURE, document), ("crates/s.rs", code)]));
        assert_eq!(
            found,
            [
                Finding::new(LECTURE, 2, "crates/s.rs holds no `gone`"),
                Finding::new(LECTURE, 3, "crates/gone.rs does not exist"),
                Finding::new(LECTURE, 4, "`crates/s.rs`: links start at the root, with `../`")
            ]
        );
        assert_eq!(links_lead_to_the_code(&Tree::sample(&[])).len(), 1);
    }

    #[test]
    fn a_citation_of_no_lecture_is_red() {
        let code = "//! x\n//= lecture 004: the line is cast again\n//= lecture 009: nothing\n// as the lecture says\n";
        let found = citations_lead_to_the_lecture(&Tree::sample(&[(LECTURE, "| a | 004 |"), ("a.rs", code)]));
        assert_eq!(found, [Finding::new("a.rs", 3, "lecture 009 is not in docs/lecture.md")]);
    }
}
