//! Rules about the form of a file: its first line, its length, its functions, its comments.

use super::Finding;
use super::source::{Comment, CommentKind, Source};
use super::tree::Tree;

const FILE_LINES_MAX: usize = 700;
const FUNCTION_LINES_MAX: usize = 70;

/// Functions that may be longer: path, name, reason. An entry that is not needed is a finding too.
const LONG_FUNCTIONS: &[(&str, &str, &str)] = &[];

/// The first line tells what the file does.
pub(super) fn every_file_says_what_it_does(tree: &Tree) -> Vec<Finding> {
    let silent = tree.rust().filter(|(file, _)| !file.text.starts_with("//!"));
    let text = "open the file with `//!`: what it does, and what it does not know";
    silent.map(|(file, _)| Finding::new(&file.path, 1, text)).collect()
}

/// A file is one idea.
pub(super) fn files_are_short(tree: &Tree) -> Vec<Finding> {
    let long = tree.rust().filter_map(|(file, _)| {
        let lines = file.text.lines().count();
        let text = format!("{lines} lines, {FILE_LINES_MAX} is the most: which part is an idea of its own?");
        (lines > FILE_LINES_MAX).then(|| Finding::new(&file.path, 0, text))
    });
    long.collect()
}

/// A function fits on one screen.
pub(super) fn functions_are_short(tree: &Tree) -> Vec<Finding> {
    long_functions(tree, LONG_FUNCTIONS)
}

fn long_functions(tree: &Tree, allowed: &[(&str, &str, &str)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut needed = vec![false; allowed.len()];
    for (file, source) in tree.rust() {
        for function in functions(source).into_iter().filter(|function| function.lines > FUNCTION_LINES_MAX) {
            if let Some(entry) =
                allowed.iter().position(|(path, name, _)| *path == file.path && *name == function.name)
            {
                needed[entry] = true;
                continue;
            }
            let text =
                format!("`{}` has {} lines, {FUNCTION_LINES_MAX} is the most", function.name, function.lines);
            findings.push(Finding::new(&file.path, function.line, text));
        }
    }
    for ((path, name, _), _) in allowed.iter().zip(needed).filter(|(_, needed)| !needed) {
        findings.push(Finding::new(
            path,
            0,
            format!("`{name}` is short again: take it out of LONG_FUNCTIONS"),
        ));
    }
    findings
}

struct Function<'a> {
    name: &'a str,
    line: usize,
    lines: usize,
}

/// Every function with a body, from its `fn` to its closing brace.
fn functions(source: &Source) -> Vec<Function<'_>> {
    let found = source.words("fn").filter_map(|start| {
        let rest = source.code[start + 2..].trim_start();
        let name = &rest[..rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())];
        let body = if name.is_empty() { None } else { body(source, start) }?;
        let (line, last) = (source.line(start), source.line(source.closing(body).min(source.code.len())));
        Some(Function { name, line, lines: last - line + 1 })
    });
    found.collect()
}

/// The offset of the brace that opens the body; a function that ends in `;` has none.
fn body(source: &Source, start: usize) -> Option<usize> {
    let mut at = start;
    loop {
        match source.code.as_bytes().get(at)? {
            b'(' | b'[' => at = source.closing(at),
            b'{' => return Some(at),
            b';' => return None,
            _ => {}
        }
        at += 1;
    }
}

/// A doc comment ends as a sentence does.
pub(super) fn documentation_is_made_of_sentences(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, source) in tree.rust() {
        let outer: Vec<&Comment> =
            source.comments.iter().filter(|comment| comment.kind == CommentKind::Outer).collect();
        for (index, comment) in outer.iter().enumerate() {
            let goes_on = outer.get(index + 1).is_some_and(|next| next.line == comment.line + 1);
            if !goes_on && !ends_as_a_sentence(&comment.text) {
                findings.push(Finding::new(&file.path, comment.line, "end the sentence with a full stop"));
            }
        }
    }
    findings
}

fn ends_as_a_sentence(line: &str) -> bool {
    let text = line.trim();
    let listed = text.starts_with("- ") || text.starts_with("* ") || text.starts_with('|');
    let numbered = text.split_once(". ").is_some_and(|(number, _)| number.parse::<u32>().is_ok());
    let code = line.starts_with("     ") || text.ends_with("```");
    let closed = text.trim_end_matches([')', '`', '*', '"', '”']);
    listed || numbered || code || closed.ends_with(['.', ':', '?', '!', '…'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_file_is_red() {
        let tree = Tree::sample(&[("a.rs", "//! Says it.\n"), ("b.rs", "use std::fmt;\n"), ("c.md", "text")]);
        let findings = every_file_says_what_it_does(&tree);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].path, "b.rs");
    }

    #[test]
    fn the_701st_line_is_red() {
        let (fits, long) = ("x\n".repeat(700), "x\n".repeat(701));
        let findings = files_are_short(&Tree::sample(&[("fits.rs", &fits), ("long.rs", &long)]));
        assert_eq!(findings.iter().map(|finding| finding.path.as_str()).collect::<Vec<_>>(), ["long.rs"]);
    }

    fn function_of(lines: usize) -> String {
        format!("trait T {{ fn none(a: [u8; 2]); }}\nfn named() {{\n{}}}\n", "    \"}\";\n".repeat(lines - 2))
    }

    #[test]
    fn the_71st_line_of_a_function_is_red_unless_a_reason_is_listed() {
        let tree = Tree::sample(&[("a.rs", &function_of(70)), ("b.rs", &function_of(71))]);
        let findings = long_functions(&tree, &[]);
        assert_eq!(findings, [Finding::new("b.rs", 2, "`named` has 71 lines, 70 is the most")]);
        assert_eq!(long_functions(&tree, &[("b.rs", "named", "a table")]), []);
    }

    #[test]
    fn a_listed_function_that_became_short_is_red() {
        let tree = Tree::sample(&[("a.rs", &function_of(70))]);
        assert_eq!(long_functions(&tree, &[("a.rs", "named", "was long")]).len(), 1);
    }

    #[test]
    fn a_doc_comment_that_stops_half_way_is_red() {
        let tree =
            Tree::sample(&[("a.rs", "/// Run the\nfn a() {}\n/// One line\n/// and its end.\nfn b() {}\n")]);
        assert_eq!(
            documentation_is_made_of_sentences(&tree),
            [Finding::new("a.rs", 1, "end the sentence with a full stop")]
        );
        for fine in
            [" Is it?", " ```", " - a list", " | a | table |", " 2. a step", " (As here.)", " As here:"]
        {
            assert!(ends_as_a_sentence(fine), "{fine}");
        }
    }
}
