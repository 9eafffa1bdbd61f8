//! What a system tells of this process without being asked for by name: where there is no `/proc`, nothing.

use std::fs;

/// The unit of the kernel's processor times, by its promise to programs.
const TICKS_A_SECOND: f64 = 100.0;

/// Bytes of memory in use.
pub(crate) fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let kibibytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = kibibytes.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024)
}

/// Seconds of processor time that all threads have had.
pub(crate) fn processor_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the program stands in parentheses, and may hold any character.
    let (_, behind_name) = stat.rsplit_once(')')?;
    let mut times = behind_name.split_whitespace().skip(11);
    let mut ticks = || times.next()?.parse::<u64>().ok();
    Some((ticks()? + ticks()?) as f64 / TICKS_A_SECOND)
}
