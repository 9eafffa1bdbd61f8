//! Validates UTF-8 that arrives in parts, up to the first invalid byte.

/// The beginning of a character that was cut.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Utf8 {
    begun: [u8; 4],
    length: u8,
}

impl Utf8 {
    /// Takes the next part. `false`: no text begins like this.
    pub(crate) fn take(&mut self, mut bytes: &[u8]) -> bool {
        while self.length > 0 {
            let Some((first, rest)) = bytes.split_first() else { return true };
            let length = usize::from(self.length);
            self.begun[length] = *first;
            match std::str::from_utf8(&self.begun[..=length]) {
                Ok(_) => self.length = 0,
                Err(error) if error.error_len().is_none() => self.length += 1,
                Err(_) => return false,
            }
            bytes = rest;
        }
        let Err(error) = std::str::from_utf8(bytes) else { return true };
        let begun = &bytes[error.valid_up_to()..];
        if error.error_len().is_some() {
            return false;
        }
        self.begun[..begun.len()].copy_from_slice(begun);
        self.length = begun.len() as u8;
        true
    }

    /// Whether a text may end here; the next one begins.
    pub(crate) fn finish(&mut self) -> bool {
        std::mem::take(&mut self.length) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_cut_at_every_byte_is_one_and_no_other_bytes_are() {
        let text = "κόσμε 낚시 🎣 é\u{10ffff}".as_bytes();
        for first in 0..=text.len() {
            for second in first..=text.len() {
                let mut utf8 = Utf8::default();
                let parts = [&text[..first], &text[first..second], &text[second..]];
                assert!(parts.iter().all(|part| utf8.take(part)) && utf8.finish());
            }
        }
        for wrong in
            [&b"\xed\xa0\x80"[..], b"\xf4\x90", b"\xc0", b"\xff", b"a\x80", b"\xce\xba\xe1\xbd\xb9\xcf\xc0"]
        {
            for cut in 0..=wrong.len() {
                let mut utf8 = Utf8::default();
                assert!(!(utf8.take(&wrong[..cut]) && utf8.take(&wrong[cut..])), "{wrong:x?} cut at {cut}");
            }
        }
        let mut utf8 = Utf8::default();
        assert!(utf8.take("낚".as_bytes().split_last().expect("three bytes").1) && !utf8.finish());
        assert!(utf8.take(b"next") && utf8.finish(), "what was cut is no part of the next text");
    }
}
