//! Limits the nesting of brackets, because parsers of Protobuf recurse for each level and the stack is finite.

use crate::error::Error;
use crate::source::Source;

/// Brackets in brackets, at most: what Protobuf's own compiler takes.
pub(super) const DEPTH_MAX: usize = 100;

/// Refuses a `.proto` file that is nested deeper.
pub(super) fn check(source: &Source) -> Result<(), Error> {
    match too_deep(&source.text) {
        Some(at) => {
            let message = format!("brackets stand in brackets more than {DEPTH_MAX} deep");
            Err(source.wrong(&message, at..at + 1, "name the inner types on their own"))
        }
        None => Ok(()),
    }
}

/// The byte of the first bracket that is too deep.
fn too_deep(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut at, mut depth) = (0, 0_usize);
    while at < bytes.len() {
        match (bytes[at], bytes.get(at + 1)) {
            (b'/', Some(b'/')) => at = end_of_line(bytes, at),
            (b'/', Some(b'*')) => at = text[at + 2..].find("*/").map_or(bytes.len(), |end| at + 2 + end + 1),
            (mark @ (b'"' | b'\''), _) => at = end_of_string(bytes, at, mark),
            (b'{' | b'[' | b'(' | b'<', _) => {
                depth += 1;
                if depth > DEPTH_MAX {
                    return Some(at);
                }
            }
            (b'}' | b']' | b')' | b'>', _) => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
    }
    None
}

fn end_of_line(bytes: &[u8], start: usize) -> usize {
    bytes[start..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |end| start + end)
}

/// The byte that ends the string that begins here: its quotation mark, or the end of its line.
fn end_of_string(bytes: &[u8], start: usize, mark: u8) -> usize {
    let mut at = start + 1;
    while at < bytes.len() && bytes[at] != mark && bytes[at] != b'\n' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_brackets_of_the_code_count_and_the_first_that_is_too_deep_is_named() {
        let deep = |count: usize| "{".repeat(count) + &"}".repeat(count);
        assert_eq!(too_deep(&deep(DEPTH_MAX)), None);
        assert_eq!(too_deep(&deep(DEPTH_MAX + 1)), Some(DEPTH_MAX));
        let deep = "([{<".repeat(50);
        for hidden in [
            format!("// {deep}"),
            format!("/* {deep}\n*/"),
            format!("a = \"{deep}\";"),
            format!("'\\'{deep}'"),
        ] {
            assert_eq!(too_deep(&hidden), None, "{hidden}");
        }
        for shown in [
            format!("// a\n{deep}"),
            format!("/**/{deep}"),
            format!("\"a\"{deep}"),
            format!("\"open\n{deep}"),
        ] {
            assert!(too_deep(&shown).is_some(), "{shown}");
        }
    }
}
