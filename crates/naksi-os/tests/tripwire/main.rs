//! Tests of a live kernel with memory that is unmapped when it is released.
//!
//! Every buffer of a port is on pages of its own, which are unmapped as soon as the port releases it. A kernel that
//! still writes there reports EFAULT, and the races assert that none ever does. The first test is the control: it
//! does what no port may do, and expects EFAULT.

#![cfg(target_os = "linux")]
// UNSAFETY: the control hands released memory to a system call.
#![expect(unsafe_code, reason = "the control hands released memory to a system call")]

mod pages;
mod races;

use std::io::Write as _;
use std::os::fd::AsRawFd;
use std::sync::{Mutex, PoisonError};

use naksi_os::{epoll, uring};

#[global_allocator]
static MEMORY: pages::OwnPages = pages::OwnPages::new();

/// Descriptors are counted by one test at a time.
static PROCESS: Mutex<()> = Mutex::new(());

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("/proc is mounted").count()
}

#[test]
fn a_late_write_of_the_kernel_meets_no_page() {
    // It has a file open, and the others count descriptors.
    let _alone = PROCESS.lock().unwrap_or_else(PoisonError::into_inner);
    let zeros = std::fs::File::open("/dev/zero").expect("every system has it");
    for length in [pages::OWN_PAGES_BYTES_MIN, 4096, 8192, 100_000] {
        let mut buffer = vec![1_u8; length];
        let address = buffer.as_mut_ptr();
        // SAFETY: read(2) into a buffer that is alive and as long as it says.
        let alive = unsafe { libc::read(zeros.as_raw_fd(), address.cast(), length) };
        assert_eq!(usize::try_from(alive), Ok(length));
        drop(buffer);
        // SAFETY: there is nothing that this could harm: no page is there, which is what is shown here.
        let late = unsafe { libc::read(zeros.as_raw_fd(), address.cast(), length) };
        assert_eq!((late, std::io::Error::last_os_error().raw_os_error()), (-1, Some(libc::EFAULT)));
    }
}

#[test]
fn ten_thousand_races_on_io_uring_end_once_and_leave_nothing() {
    let _alone = PROCESS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Err(error) = uring::port::Port::open(&races::options()) {
        // Behind the harness, which shows nothing of what passes.
        let line = format!("skipped: races on io_uring, which cannot be used here: {error}");
        writeln!(std::io::stderr(), "{line}").expect("stderr takes a line");
        return;
    }
    let before = descriptors();
    let open = || uring::port::Port::open(&races::options()).expect("io_uring works here");
    races::run(10_000, open, uring::port::Port::end);
    assert_eq!(descriptors(), before);
}

#[test]
fn ten_thousand_races_on_epoll_end_once_and_leave_nothing() {
    let _alone = PROCESS.lock().unwrap_or_else(PoisonError::into_inner);
    let before = descriptors();
    let open = || epoll::port::Port::open(&races::options()).expect("epoll works here");
    races::run(10_000, open, epoll::port::Port::end);
    assert_eq!(descriptors(), before);
}
