//! The size of load-like tests. The Windows tests under Wine are smaller, because there every call is a message to a
//! server process; larger runs are made on Linux.

/// The count, divided by `NAKSI_TEST_SCALE_DOWN` if it is set; at least 1.
pub(crate) fn scaled(count: u64) -> u64 {
    let down = std::env::var("NAKSI_TEST_SCALE_DOWN").ok().and_then(|number| number.parse().ok());
    (count / down.unwrap_or(1).max(1)).max(1)
}
