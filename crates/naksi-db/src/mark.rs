//! The hash that is stored in the database for the text of a migration, to detect changes of the text.
//!
//! Databases contain it, so this function must never change.

/// A 64-bit hash of the text, version 1.
pub(crate) fn mark_v1(text: &str) -> i64 {
    let mark = text.bytes().fold(0_u64, |mark, byte| {
        let mixed = (mark.rotate_left(5) ^ u64::from(byte)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        mixed ^ (mixed >> 29)
    });
    mark.cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases_that_were_written_are_read_for_ever() {
        assert_eq!(mark_v1(""), 0);
        assert_eq!(
            mark_v1("CREATE TABLE players (id BIGINT PRIMARY KEY, name TEXT NOT NULL)"),
            -8_390_116_374_776_829_979
        );
        assert_eq!(mark_v1("ALTER TABLE players ADD COLUMN gold BIGINT"), -3_900_769_074_762_397_192);
    }
}
