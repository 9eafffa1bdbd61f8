//! Test patterns: bytes that are a function of sender, message and position, so that they can be checked without
//! being stored. A stream of them is compared byte by byte, however it is split.

/// A good mix of a word: neighbours in, strangers out.
pub(crate) fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

/// What the bytes of one message grow from.
pub(crate) fn key(seed: u64, sender: u32, sequence: u32) -> u64 {
    mix(seed ^ mix(u64::from(sender) << 32 | u64::from(sequence)))
}

/// The first word of every message identifies it, so that a mismatch can be recognised in a capture.
fn word(key: u64, name: u64, index: usize) -> [u8; 8] {
    match index {
        0 => name.to_le_bytes(),
        _ => mix(key.wrapping_add(index as u64)).to_le_bytes(),
    }
}

/// One message of an echo stream: sender, sequence number, and a pattern derived from both and the seed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message {
    key: u64,
    name: u64,
}

impl Message {
    pub(crate) fn new(seed: u64, sender: u32, sequence: u32) -> Self {
        Self { key: key(seed, sender, sequence), name: u64::from(sequence) << 32 | u64::from(sender) }
    }

    /// Appends a whole message of this many bytes to the buffer.
    pub(crate) fn append(self, size: usize, out: &mut Vec<u8>) {
        let end = out.len() + size;
        for index in 0..size.div_ceil(8) {
            out.extend_from_slice(&word(self.key, self.name, index));
        }
        out.truncate(end);
    }

    /// Whether these are the message's bytes from `offset` on.
    pub(crate) fn matches(self, mut offset: usize, mut data: &[u8]) -> bool {
        while !data.is_empty() {
            let word = word(self.key, self.name, offset / 8);
            let expected = &word[offset % 8..];
            let count = expected.len().min(data.len());
            if data[..count] != expected[..count] {
                return false;
            }
            offset += count;
            data = &data[count..];
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_matches_itself_however_it_is_cut() {
        for size in [1, 7, 8, 9, 64, 1000] {
            let (message, mut bytes) = (Message::new(1, 2, 3), vec![0xAA]);
            message.append(size, &mut bytes);
            assert_eq!(bytes.len(), size + 1);
            for cut in 0..=size {
                assert!(message.matches(0, &bytes[1..][..cut]));
                assert!(message.matches(cut, &bytes[1..][cut..]));
            }
        }
    }

    #[test]
    fn one_wrong_byte_is_seen_wherever_it_is() {
        let (message, mut bytes) = (Message::new(1, 2, 3), Vec::new());
        message.append(40, &mut bytes);
        for index in 0..40 {
            let mut wrong = bytes.clone();
            wrong[index] ^= 1;
            assert!(!message.matches(0, &wrong), "byte {index}");
        }
        assert!(!Message::new(1, 2, 4).matches(0, &bytes) && !Message::new(2, 2, 3).matches(0, &bytes));
    }
}
