//! Refuses io_uring to the calling thread, as a container's seccomp profile does.
//!
//! For tests of a service on a system that refuses io_uring. The filter cannot be removed; threads and programs that
//! the thread starts inherit it.

// UNSAFETY: the standard library has no wrapper for seccomp(2) and prctl(2).
#![expect(unsafe_code, reason = "seccomp(2) is a raw system call")]

use std::io;

use libc::{BPF_ABS, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W};

/// Makes `io_uring_setup(2)` fail with this number, permanently, in this thread and its descendants.
///
/// # Errors
/// The kernel has no seccomp filters, or forbids them.
pub fn refuse_io_uring(errno: i32) -> io::Result<()> {
    let statement = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let refuse = libc::SECCOMP_RET_ERRNO | (errno as u32 & libc::SECCOMP_RET_DATA);
    let skip_unless_setup =
        libc::sock_filter { jf: 1, ..statement(BPF_JMP | BPF_JEQ | BPF_K, libc::SYS_io_uring_setup as u32) };
    let mut filter = [
        statement(BPF_LD | BPF_W | BPF_ABS, 0), // the number of the call: the first word of seccomp_data
        skip_unless_setup,
        statement(BPF_RET | BPF_K, refuse),
        statement(BPF_RET | BPF_K, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: prctl(2), PR_SET_NO_NEW_PRIVS takes numbers and touches no memory of ours.
    let unprivileged = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    if unprivileged != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: seccomp(2) reads a program of as many statements as it says; both live until it returns.
    let filtered =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) };
    if filtered == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
