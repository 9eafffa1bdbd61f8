//! A system that refuses io_uring: the whole contract once more, in a process that may not have a ring.
//!
//! The refusal is a seccomp filter as containers have one, laid on a thread that then starts this test
//! program again: filters outlive `execve(2)`. Knows no case.

use std::process::Command;
use std::thread;

use naksi_os::OsPort;
use naksi_os::linux::sandbox::refuse_io_uring;
use naksi_os::port::{Port, PortOptions};
use naksi_os::uring::port;

use crate::driver::together;

/// What the process inside is told: a word that the reason must hold.
const REFUSED: &str = "NAKSI_TEST_REFUSED";

/// Opens the port that this system allows, and looks whether it is the one that should have been chosen.
pub(crate) fn open(options: &PortOptions) -> OsPort {
    let port = OsPort::open(options).expect("a port can be opened");
    match std::env::var(REFUSED) {
        Ok(word) => {
            assert_eq!(port.backend(), "epoll");
            let reason = port.fallback_reason().expect("a reason is told");
            assert!(reason.contains(&word) && reason.contains("kernel.io_uring_disabled="), "{reason}");
            assert!(!reason.contains('\n'), "{reason}");
            let error = OsPort::open_backend(options, "uring").expect_err("it is refused");
            assert!(reason.starts_with(&error.text), "{reason}: {error}");
        }
        Err(_) => assert_eq!((port.backend(), port.fallback_reason()), ("uring", None)),
    }
    port
}

/// Cases that the contract had when this was written: none of them may be missing inside.
const CASES_MIN: usize = 29;

/// Starts this program again with io_uring refused, for the cases of `chosen`.
fn runs_inside(errno: i32, word: &'static str) {
    let _turn = together();
    let started = thread::spawn(move || {
        refuse_io_uring(errno).expect("this kernel knows seccomp filters");
        port::Port::open(&PortOptions::default()).expect_err("io_uring is refused in this thread");
        let this = std::env::current_exe().expect("this program has a path");
        Command::new(this).arg("chosen::").env(REFUSED, word).output().expect("this program starts again")
    });
    let output = started.join().expect("the thread with the filter is content");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.matches("... ok").count() >= CASES_MIN, "{said}");
}

#[test]
fn the_contract_holds_where_a_profile_forbids_io_uring() {
    runs_inside(libc::EPERM, "seccomp");
}

#[test]
fn the_contract_holds_where_a_profile_hides_io_uring() {
    runs_inside(libc::ENOSYS, "ENOSYS");
}
