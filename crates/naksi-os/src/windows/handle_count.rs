//! Counts the handles of this process, for tests that look for leaks.

// UNSAFETY: the count has no door in the standard library.
#![expect(unsafe_code, reason = "the count has no door in the standard library")]

use std::ptr;

use windows_sys::Win32::Foundation::GetHandleInformation;
use windows_sys::Win32::System::Threading::{GetCurrentProcess, GetProcessHandleCount};

/// After this many consecutive numbers that name no handle, the search ends.
const GAP_MAX: u32 = 4096;

/// Number of handles that this process has open, including threads and events. `None` if the system cannot tell.
pub fn handles_open() -> Option<u32> {
    // SAFETY: returns a number that is no handle to be closed.
    let process = unsafe { GetCurrentProcess() };
    let mut count = 0;
    // SAFETY: one number is written before the call returns.
    let told = unsafe { GetProcessHandleCount(process, &raw mut count) };
    match (told, count) {
        (0, _) => None,
        // A process has at least one: a system that reports 0 (Wine 8) does not count, so each number is probed.
        (_, 0) => Some(count_one_by_one()),
        (_, count) => Some(count),
    }
}

/// Handles are multiples of four, and the lowest free one is allocated first.
fn count_one_by_one() -> u32 {
    let (mut count, mut gap, mut number) = (0, 0, 0_u32);
    while gap < GAP_MAX {
        number += 4;
        let handle = ptr::without_provenance_mut(number as usize);
        let mut flags = 0;
        // SAFETY: asks about a number; flags are written before the call returns.
        let is_open = unsafe { GetHandleInformation(handle, &raw mut flags) } != 0;
        (count, gap) = if is_open { (count + 1, 0) } else { (count, gap + 1) };
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_file_is_counted_while_it_is_open() {
        let before = handles_open().expect("the system counts handles");
        let exe = std::env::current_exe().expect("a test has a path");
        let files: Vec<_> = (0..100).map(|_| std::fs::File::open(&exe).expect("it is there")).collect();
        let during = handles_open().expect("the system counts handles");
        drop(files);
        let after = handles_open().expect("the system counts handles");
        // Other tests open and close a few meanwhile.
        assert!(during >= before + 50 && after <= during - 50, "{before}, {during}, {after}");
    }
}
