//! Finds the ends of records in a TLS stream, which rustls does not report.

/// Bytes of a record's header: its kind, a version, and the length of what follows.
const HEADER_BYTES: usize = 5;

/// Follows the records of one direction.
#[derive(Debug, Default)]
pub(crate) struct Records {
    header: [u8; HEADER_BYTES],
    /// Bytes of the header that have come.
    have: u8,
    /// Bytes that the record still lacks.
    left: u16,
    /// Bytes of the record that have come.
    came: u32,
    /// The kind of the first record.
    pub(crate) first: Option<u8>,
}

impl Records {
    /// Takes the next bytes. Returns how many records became whole.
    pub(crate) fn take(&mut self, mut bytes: &[u8]) -> usize {
        let mut whole = 0;
        while let Some(first) = bytes.first() {
            self.first.get_or_insert(*first);
            let have = usize::from(self.have);
            if have < HEADER_BYTES {
                let count = bytes.len().min(HEADER_BYTES - have);
                self.header[have..have + count].copy_from_slice(&bytes[..count]);
                self.have += count as u8;
                self.came += count as u32;
                bytes = &bytes[count..];
                if usize::from(self.have) < HEADER_BYTES {
                    return whole;
                }
                self.left = u16::from_be_bytes([self.header[3], self.header[4]]);
            }
            let count = bytes.len().min(usize::from(self.left));
            self.left -= count as u16;
            self.came += count as u32;
            bytes = &bytes[count..];
            if self.left == 0 {
                (self.have, self.came, whole) = (0, 0, whole + 1);
            }
        }
        whole
    }

    /// Whether a record has begun that is not whole.
    pub(crate) fn is_cut(&self) -> bool {
        self.have > 0
    }

    /// Bytes that have come of a record that is not whole.
    pub(crate) fn cut_bytes(&self) -> usize {
        self.came as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_counted_however_the_bytes_are_cut() {
        let stream = [22, 3, 1, 0, 2, 7, 7, 23, 3, 3, 0, 0, 21, 3, 3, 0, 1, 9];
        for cut in 0..=stream.len() {
            let mut records = Records::default();
            let whole = records.take(&stream[..cut]) + records.take(&stream[cut..]);
            assert_eq!((whole, records.is_cut(), records.first), (3, false, Some(22)), "cut at {cut}");
        }
        let mut records = Records::default();
        assert_eq!((records.take(&stream[..3]), records.is_cut(), records.cut_bytes()), (0, true, 3));
        assert_eq!((records.take(&stream[3..6]), records.is_cut(), records.cut_bytes()), (0, true, 6));
        assert_eq!((records.take(&stream[6..7]), records.is_cut(), records.cut_bytes()), (1, false, 0));
    }
}
