//! Test patterns: a stream is a walk through one table, so that lost, duplicated or reordered data is detected.
//!
//! The table's length is prime, so no message size divides it.

/// Prime, so that a whole number of messages of any size is never a whole number of tables.
const PERIOD: usize = 65_521;
/// The longest run that can be looked at in one piece.
const RUN_BYTES_MAX: usize = 512 * 1024;

/// The table, as often behind itself as the longest run needs.
pub(super) struct Pattern(Vec<u8>);

impl Pattern {
    pub(super) fn new() -> Self {
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let mut once = Vec::with_capacity(PERIOD);
        for _ in 0..PERIOD {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            once.push((state >> 32) as u8);
        }
        let mut table = Vec::with_capacity(PERIOD + RUN_BYTES_MAX);
        while table.len() < PERIOD + RUN_BYTES_MAX {
            let more = once.len().min(PERIOD + RUN_BYTES_MAX - table.len());
            table.extend_from_slice(&once[..more]);
        }
        Self(table)
    }

    /// The bytes of a stream from `position` on, at most `bytes`.
    pub(super) fn run(&self, stream: u64, position: u64, bytes: usize) -> &[u8] {
        let start = ((stream.wrapping_mul(7919) % PERIOD as u64 + position) % PERIOD as u64) as usize;
        &self.0[start..start + bytes.min(RUN_BYTES_MAX)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_a_doubled_and_a_swapped_message_are_all_seen() {
        let pattern = Pattern::new();
        for bytes in [1_usize, 16, 64, 512, 4096, 16_384] {
            for stream in [0_u64, 1, 49, 999] {
                let first = pattern.run(stream, 0, 3 * bytes).to_vec();
                let lost = pattern.run(stream, bytes as u64, bytes);
                if bytes > 8 {
                    assert_ne!(&first[..bytes], lost, "{bytes}: a lost message looks like the first");
                }
                let other = pattern.run(stream + 1, 0, 3 * bytes);
                assert!(bytes <= 8 || first != other, "{bytes}: two streams look alike");
            }
        }
    }

    #[test]
    fn runs_go_on_where_the_last_one_ended() {
        let pattern = Pattern::new();
        let whole = pattern.run(3, 65_000, 2_000).to_vec();
        let parts = [pattern.run(3, 65_000, 777), pattern.run(3, 65_777, 1_223)].concat();
        assert_eq!(whole, parts);
    }
}
