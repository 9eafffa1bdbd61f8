//! The version of a packet table: a hash of everything that affects its wire format, computed alike by the compiler
//! and by `naksi gen`.

/// The hash in progress: FNV-1a over the table's lines and, if its types come from `.proto` files, over these without
/// comments and blanks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version(u64);

impl Version {
    /// That of a table without lines.
    pub const NONE: Version = Version(0xCBF2_9CE4_8422_2325);

    /// Adds a line: an id, a name, and the names and types of the fields.
    pub const fn line(self, id: u16, name: &str, fields: &[(&str, &str)]) -> Self {
        let mut version = self.packet(id, name);
        let mut field = 0;
        while field < fields.len() {
            let (name, of_type) = fields[field];
            version = version.mix(b",").mix(name.as_bytes()).mix(b":").mix(of_type.as_bytes());
            field += 1;
        }
        version.mix(b";")
    }

    /// Adds a line whose fields are in a `.proto` file.
    pub const fn id(self, id: u16, name: &str) -> Self {
        self.packet(id, name).mix(b";")
    }

    /// Adds the text of a `.proto` file, without a byte order mark.
    pub const fn proto(self, text: &str) -> Self {
        let (bytes, mut version) = (text.as_bytes(), self);
        let mut at = behind_byte_order_mark(bytes);
        // The quotation mark of the string around `at`, if any; comment markers do not count inside a string.
        let mut quote = None;
        while at < bytes.len() {
            let byte = bytes[at];
            let next = if at + 1 < bytes.len() { bytes[at + 1] } else { 0 };
            match (quote, byte, next) {
                (None, b'/', b'/' | b'*') => {
                    at = behind_comment(bytes, at);
                    continue;
                }
                (None, b'"' | b'\'', _) => quote = Some(byte),
                (Some(_), b'\\', _) => {
                    version = version.byte(byte).byte(next);
                    at += 2;
                    continue;
                }
                (Some(mark), _, _) if mark == byte => quote = None,
                _ => {}
            }
            version = version.byte(byte);
            at += 1;
        }
        version.mix(b";")
    }

    /// The number.
    pub const fn number(self) -> u64 {
        self.0
    }

    const fn packet(self, id: u16, name: &str) -> Self {
        let [low, high] = id.to_le_bytes();
        // An id's bytes always count, also those that are blanks in a text.
        self.fold(low).fold(high).mix(name.as_bytes())
    }

    const fn mix(self, bytes: &[u8]) -> Self {
        let (mut version, mut at) = (self, 0);
        while at < bytes.len() {
            version = version.byte(bytes[at]);
            at += 1;
        }
        version
    }

    /// Blanks do not count, because compilers print types with different spacing.
    const fn byte(self, byte: u8) -> Self {
        if byte.is_ascii_whitespace() { self } else { self.fold(byte) }
    }

    const fn fold(self, byte: u8) -> Self {
        Self((self.0 ^ byte as u64).wrapping_mul(0x0100_0000_01B3))
    }
}

/// The start of the text after the byte order mark that some Windows editors write.
const fn behind_byte_order_mark(bytes: &[u8]) -> usize {
    match bytes {
        [0xEF, 0xBB, 0xBF, ..] => 3,
        _ => 0,
    }
}

/// The place behind the comment that begins here.
const fn behind_comment(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 2;
    let of_a_line = bytes[start + 1] == b'/';
    while at < bytes.len() {
        if of_a_line && bytes[at] == b'\n' {
            return at;
        }
        if !of_a_line && bytes[at] == b'/' && bytes[at - 1] == b'*' && at > start + 2 {
            return at + 1;
        }
        at += 1;
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> u64 {
        Version::NONE.proto(text).number()
    }

    #[test]
    fn comments_and_blanks_do_not_count_and_everything_else_does() {
        let plain = of("message A { string b = 1; }");
        assert_eq!(plain, of("// a\nmessage A {\n\tstring b = 1; /* b // * */\n}\n// the end"));
        assert_eq!(plain, of("\u{FEFF}message A { string b = 1; }"), "a byte order mark is a blank");
        assert_eq!(plain, of("/**/message A { string b = 1; } /* never closed"));
        for other in
            ["message A { string b = 2; }", "message A { bytes b = 1; }", "message B { string b = 1; }"]
        {
            assert_ne!(plain, of(other), "{other}");
        }
        assert_ne!(of("option a = \"x//y\";"), of("option a = \"x//z\";"), "in a string there is no comment");
        assert_ne!(of(r#"a = "\"//y";"#), of(r#"a = "\"//z";"#), "nor behind an escaped quotation mark");
        assert_eq!(of(r#"a = 'x"'; // y"#), of(r#"a = 'x"'; // z"#));
    }

    /// FNV-1a over these bytes, as it is published.
    fn fnv(bytes: &[u8]) -> u64 {
        bytes.iter().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3)
        })
    }

    #[test]
    fn a_line_is_the_hash_of_its_id_its_name_and_its_fields() {
        assert_eq!(Version::NONE.number(), fnv(b""));
        assert_eq!(Version::NONE.id(0x0A20, "Move").number(), fnv(b"\x20\x0AMove;"));
        assert_eq!(Version::NONE.line(1, "Quit", &[]).number(), fnv(b"\x01\0Quit;"));
        let fields = [("x", "i32"), ("path", "Vec < Point >")];
        assert_eq!(Version::NONE.line(1, "Go", &fields).number(), fnv(b"\x01\0Go,x:i32,path:Vec<Point>;"));
        let two = Version::NONE.id(1, "A").line(2, "B", &fields[..1]);
        assert_eq!(two.number(), fnv(b"\x01\0A;\x02\0B,x:i32;"));
    }

    #[test]
    fn what_counts_of_a_text_is_what_is_left_without_comments_and_blanks() {
        for (text, left) in [
            ("", ""),
            ("a b\tc\r\nd", "abcd"),
            ("a // b\nc", "ac"),
            ("a //", "a"),
            ("//\n//x\ny", "y"),
            ("a /* b\n// */ c", "ac"),
            ("a /*/ b */ c", "ac"),
            ("a /***/ c", "ac"),
            ("/* * / */c", "c"),
            ("a /* b", "a"),
            ("a /*", "a"),
            ("a / b * c /", "a/b*c/"),
            ("\u{FEFF}a", "a"),
            (r#""/* a */" // b"#, r#""/*a*/""#),
            (r#""\"//" x"#, r#""\"//"x"#),
            (r#"'"//' /* b */ "'""#, r#"'"//'"'""#),
            (r#"a \ // b"#, r"a\"),
            ("\"a\\", "\"a\\\0"),
        ] {
            assert_eq!(of(text), fnv(format!("{left};").as_bytes()), "{text:?}");
        }
    }

    #[test]
    fn an_id_counts_whatever_its_bytes_are() {
        let ids: Vec<_> = (0..u16::MAX).map(|id| Version::NONE.id(id, "A").number()).collect();
        let different: std::collections::BTreeSet<_> = ids.iter().collect();
        assert_eq!(different.len(), ids.len());
    }
}
