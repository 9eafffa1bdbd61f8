//! Escapes text from a peer or a file for display: it cannot control a terminal or start a line of its own.

use std::fmt;

/// Whether a character controls a terminal or the order of a line instead of being shown: C0, DEL and C1 controls,
/// line and paragraph separators, and the marks, embeddings, overrides and isolates of bidirectional text.
pub fn is_control(letter: char) -> bool {
    letter.is_control()
        || matches!(
            letter,
            '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{206f}' | '\u{feff}'
        )
}

/// A text with its control characters escaped, like `\n` and `\u{1b}`.
#[derive(Debug)]
pub struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_escaped(f, self.0, |_| false)
    }
}

/// Lines with their control characters escaped; only the line breaks stay.
pub fn lines(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    write_escaped(&mut escaped, text, |letter| letter == '\n').expect("a string takes everything");
    escaped
}

/// The same for a text with colours, whose sequences (`ESC [ digits m`) stay too.
pub fn coloured_lines(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("\u{1b}[") {
        let (before, sequence) = rest.split_at(start);
        escaped += &lines(before);
        let parameters = &sequence[2..];
        let end = parameters.find(|letter: char| !letter.is_ascii_digit() && letter != ';');
        let length = match end {
            Some(end) if parameters[end..].starts_with('m') => 2 + end + 1,
            _ => 0,
        };
        escaped += &sequence[..length];
        if length == 0 {
            escaped += &lines("\u{1b}");
        }
        rest = &sequence[length.max(1)..];
    }
    escaped + &lines(rest)
}

/// A text without control characters; those that part words become spaces.
pub fn stripped(text: &str) -> String {
    let keep = |letter: char| match letter {
        '\t' | '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}' => Some(' '),
        _ if is_control(letter) => None,
        _ => Some(letter),
    };
    text.chars().filter_map(keep).collect()
}

/// A writer that escapes control characters.
#[derive(Debug)]
pub struct Escaping<W>(pub W);

impl<W: fmt::Write> fmt::Write for Escaping<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        write_escaped(&mut self.0, text, |_| false)
    }
}

fn write_escaped(out: &mut impl fmt::Write, text: &str, stays: impl Fn(char) -> bool) -> fmt::Result {
    let mut plain = 0;
    for (at, letter) in text.char_indices().filter(|(_, letter)| is_control(*letter) && !stays(*letter)) {
        out.write_str(&text[plain..at])?;
        match letter {
            '\t' | '\n' | '\r' => write!(out, "{}", letter.escape_default())?,
            _ => write!(out, "{}", letter.escape_unicode())?,
        }
        plain = at + letter.len_utf8();
    }
    out.write_str(&text[plain..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_control_character_is_written_out_and_no_other_one() {
        let text = "a\u{0}\n\r\t\u{7}\u{1b}[2J\u{7f}\u{9b}31m\u{2028}\u{2029}\u{202e}\u{2066}\u{200f}가😀\\";
        let escaped = Escaped(text).to_string();
        assert_eq!(
            escaped,
            "a\\u{0}\\n\\r\\t\\u{7}\\u{1b}[2J\\u{7f}\\u{9b}31m\\u{2028}\\u{2029}\\u{202e}\\u{2066}\\u{200f}가😀\\"
        );
        for letter in (0..=0x10_ffff).filter_map(char::from_u32) {
            let is_written_out = Escaped(letter.encode_utf8(&mut [0; 4])).to_string() != letter.to_string();
            assert_eq!(is_written_out, is_control(letter), "{letter:?}");
        }
        assert_eq!(lines("one\ntwo\u{1b}[2J\n"), "one\ntwo\\u{1b}[2J\n");
    }

    #[test]
    fn colours_stay_and_other_sequences_do_not() {
        assert_eq!(
            coloured_lines("\u{1b}[1;31mred\u{1b}[0m \u{1b}[2J \u{1b}]0;owned\u{7}\n\u{1b}["),
            "\u{1b}[1;31mred\u{1b}[0m \\u{1b}[2J \\u{1b}]0;owned\\u{7}\n\\u{1b}["
        );
    }

    #[test]
    fn stripped_text_is_one_line_of_what_can_be_seen() {
        assert_eq!(stripped("bob\n* anna left\u{1b}]0;x\u{7}\u{202e}"), "bob * anna left]0;x");
        assert_eq!(stripped("안녕 😀"), "안녕 😀");
    }
}
