//! A Rust file as the rules need it: code without comments and strings, and comments without code.
//!
//! This is a scanner, not a parser: it finds strings, characters and comments, and ignores the grammar. The code view
//! has the same bytes at the same places as the file, blanked where they are not code, so that an offset in one is an
//! offset in the other.

/// Which of the three kinds of line comment a comment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CommentKind {
    /// `//`, or a block comment.
    Plain,
    /// `///`: documents what follows.
    Outer,
    /// `//!`: documents what it stands in.
    Inner,
}

/// One comment; a line comment never spans lines, so a paragraph is several of these.
#[derive(Debug)]
pub(super) struct Comment {
    /// Counted from 1.
    pub(super) line: usize,
    pub(super) kind: CommentKind,
    /// What follows the marker, trimmed at its end.
    pub(super) text: String,
}

/// The two views of a Rust file.
pub(super) struct Source {
    /// The file with comments, strings and characters blanked.
    pub(super) code: String,
    pub(super) comments: Vec<Comment>,
}

impl Source {
    /// Scans a file.
    pub(super) fn new(text: &str) -> Self {
        let mut scanner = Scanner { bytes: text.as_bytes(), at: 0, code: text.as_bytes().to_vec() };
        let mut comments = Vec::new();
        while scanner.at < scanner.bytes.len() {
            let start = scanner.at;
            if scanner.sees(b"//") || scanner.sees(b"/*") {
                scanner.skip_comment();
                comments.push(comment(text, start, scanner.at));
                scanner.blank(start);
            } else if scanner.skip_literal() {
                scanner.blank(start);
            } else {
                scanner.skip_word_or_byte();
            }
        }
        let code = String::from_utf8(scanner.code).expect("blanks replace whole characters");
        Self { code, comments }
    }

    /// The line of an offset, counted from 1.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.code.as_bytes()[..offset].iter().filter(|byte| **byte == b'\n').count() + 1
    }

    /// Offsets at which a whole word stands in the code.
    pub(super) fn words<'a>(&'a self, word: &'a str) -> impl Iterator<Item = usize> + 'a {
        whole_words(&self.code, word)
    }

    /// The text between the bracket at `open` and its closing bracket, across lines.
    pub(super) fn inside(&self, open: usize) -> &str {
        &self.code[open + 1..self.closing(open)]
    }

    /// The offset of the bracket that closes the one at `open`, or the end of the file.
    pub(super) fn closing(&self, open: usize) -> usize {
        let mut depth = 0_usize;
        for (offset, byte) in self.code.bytes().enumerate().skip(open) {
            match byte {
                b'(' | b'[' | b'{' => depth += 1,
                b')' | b']' | b'}' => depth = depth.saturating_sub(1),
                _ => continue,
            }
            if depth == 0 {
                return offset;
            }
        }
        self.code.len()
    }
}

/// Offsets of `word` in `text` with no word character on either side.
pub(super) fn whole_words<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).map(|(offset, _)| offset).filter(move |offset| {
        !text[..*offset].ends_with(part_of_word) && !text[offset + word.len()..].starts_with(part_of_word)
    })
}

fn comment(text: &str, start: usize, end: usize) -> Comment {
    let raw = &text[start..end];
    let (kind, marker) = if raw.starts_with("///") && !raw.starts_with("////") {
        (CommentKind::Outer, 3)
    } else if raw.starts_with("//!") {
        (CommentKind::Inner, 3)
    } else {
        (CommentKind::Plain, 2)
    };
    let line = text[..start].matches('\n').count() + 1;
    Comment { line, kind, text: raw[marker..].trim_end().to_owned() }
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    code: Vec<u8>,
}

impl Scanner<'_> {
    fn sees(&self, wanted: &[u8]) -> bool {
        self.bytes[self.at..].starts_with(wanted)
    }

    fn peek(&self, ahead: usize) -> u8 {
        self.bytes.get(self.at + ahead).copied().unwrap_or(0)
    }

    /// Blanks what was skipped; line ends stay, so that line numbers do not change.
    fn blank(&mut self, start: usize) {
        for byte in &mut self.code[start..self.at] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
    }

    fn skip_comment(&mut self) {
        if self.sees(b"//") {
            while self.at < self.bytes.len() && self.peek(0) != b'\n' {
                self.at += 1;
            }
            return;
        }
        let mut depth = 0_usize;
        while self.at < self.bytes.len() {
            if self.sees(b"/*") {
                depth += 1;
                self.at += 2;
            } else if self.sees(b"*/") {
                depth -= 1;
                self.at += 2;
                if depth == 0 {
                    return;
                }
            } else {
                self.at += 1;
            }
        }
    }

    /// A string, a raw string or a character, if one begins here.
    fn skip_literal(&mut self) -> bool {
        let prefix = [&b"br"[..], b"cr", b"b", b"c", b"r"].into_iter().find(|prefix| self.sees(prefix));
        let prefix_bytes = prefix.map_or(0, <[u8]>::len);
        let raw = prefix.is_some_and(|prefix| prefix.ends_with(b"r"));
        let hashes = if raw { self.count_hashes(prefix_bytes) } else { 0 };
        match self.peek(prefix_bytes + hashes) {
            b'"' => {
                self.at += prefix_bytes + hashes + 1;
                self.skip_to_quote(raw, hashes);
                true
            }
            b'\'' if prefix_bytes == 0 || prefix == Some(b"b") => self.skip_character(prefix_bytes),
            _ => false,
        }
    }

    fn count_hashes(&self, from: usize) -> usize {
        self.bytes[self.at + from..].iter().take_while(|byte| **byte == b'#').count()
    }

    fn skip_to_quote(&mut self, raw: bool, hashes: usize) {
        while self.at < self.bytes.len() {
            match self.peek(0) {
                b'\\' if !raw => self.at += 2,
                b'"' if self.count_hashes(1) >= hashes => {
                    self.at += 1 + hashes;
                    return;
                }
                _ => self.at += 1,
            }
        }
        self.at = self.bytes.len();
    }

    /// A character literal has its closing quote nearby; without one this is a lifetime, which is code.
    fn skip_character(&mut self, prefix_bytes: usize) -> bool {
        let body = self.at + prefix_bytes + 1;
        let from = if self.bytes.get(body) == Some(&b'\\') { body + 2 } else { body + 1 };
        // The longest body is an escape such as '\u{10ffff}', or one character of four bytes.
        let reach = if from == body + 2 { 9 } else { 4 };
        let end = self.bytes.len().min(from + reach);
        let closing =
            self.bytes.get(from..end).and_then(|bytes| bytes.iter().position(|byte| *byte == b'\''));
        let Some(closing) = closing else { return false };
        let inner = &self.bytes[body..from + closing];
        // `'a, 'b` are two lifetimes: a plain character is one character long.
        if inner[0] != b'\\' && std::str::from_utf8(inner).map_or(0, |inner| inner.chars().count()) != 1 {
            return false;
        }
        self.at = from + closing + 1;
        true
    }

    /// Words are skipped whole, so that the `r` of `for` never opens a raw string.
    fn skip_word_or_byte(&mut self) {
        self.at += 1;
        let part_of_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80;
        if part_of_word(self.bytes[self.at - 1]) {
            while self.at < self.bytes.len() && part_of_word(self.peek(0)) {
                self.at += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_characters_and_comments_are_not_code() {
        let text = "let a = \"un/*safe\"; // bait\nlet b = r#\"x \" y\"#; /* a /* b */ c */ let c = '\"'; let d = 'e';";
        let source = Source::new(text);
        assert_eq!(source.code.len(), text.len());
        let words: Vec<&str> = source.code.split_whitespace().collect();
        assert_eq!(words.join(" "), "let a = ; let b = ; let c = ; let d = ;");
        assert_eq!((source.comments[0].line, source.comments[0].text.as_str()), (1, " bait"));
    }

    #[test]
    fn lifetimes_and_escapes_do_not_swallow_code() {
        let text =
            "fn f<'a, 'b>(x: &'a str) { '\\''; b'\\n'; '\\u{1f41f}'; '한'; unsafe_word(\"\\\"\") } // 끝";
        let source = Source::new(text);
        assert!(source.code.contains("fn f<'a, 'b>(x: &'a str)"));
        assert!(source.code.contains("unsafe_word("));
        assert!(!source.code.contains('한'));
        assert_eq!(source.comments.len(), 1);
    }

    #[test]
    fn brackets_are_matched_across_lines() {
        let source = Source::new("cfg(any(\n  windows,\n  unix\n)) x");
        assert_eq!(source.inside(3), "any(\n  windows,\n  unix\n)");
    }

    #[test]
    fn a_word_is_not_found_inside_another() {
        assert_eq!(whole_words("unsafe_code unsafe {", "unsafe").collect::<Vec<_>>(), [12]);
    }
}
