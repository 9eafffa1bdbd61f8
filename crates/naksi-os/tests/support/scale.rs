//! How large a load-like test is. The Windows tests under Wine make them smaller: under Wine, every call is a message
//! to a server process, and what a larger run would show is shown on Linux. Knows no test.

/// So many, or fewer if `NAKSI_TEST_SCALE_DOWN` says by which number to divide; never none.
pub(crate) fn scaled(count: u64) -> u64 {
    let down = std::env::var("NAKSI_TEST_SCALE_DOWN").ok().and_then(|number| number.parse().ok());
    (count / down.unwrap_or(1).max(1)).max(1)
}
