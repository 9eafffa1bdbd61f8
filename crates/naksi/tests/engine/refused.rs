//! Tests with a system that refuses io_uring: the engine's tests again, in a process that may not create a ring.
//!
//! The refusal is a seccomp filter as containers have it, installed on a thread that then starts this test program
//! again: filters survive `execve(2)`.

use std::process::Command;
use std::thread;

use naksi::prelude::*;
use naksi_os::linux::sandbox::refuse_io_uring;

use super::{Echo, connect, read, write};

/// The number of engine tests when this was written: none of them may be missing inside.
const TESTS_MIN: usize = 15;

/// `EPERM` and `ENOSYS`: a profile that forbids, and one that hides.
const REFUSALS: [(i32, &str); 2] = [(1, "seccomp"), (38, "ENOSYS")];

#[test]
fn the_engine_serves_where_io_uring_is_refused() {
    for (errno, word) in REFUSALS {
        let started = thread::spawn(move || {
            refuse_io_uring(errno).expect("this kernel knows seccomp filters");
            says_why(word);
            let this = std::env::current_exe().expect("this program has a path");
            Command::new(this).arg("auto::").output().expect("this program starts again")
        });
        let output = started.join().expect("the thread with the filter is content");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
        assert!(said.matches("... ok").count() >= TESTS_MIN, "{said}");
    }
}

/// A service that is started in this thread runs on epoll and reports the reason.
fn says_why(word: &str) {
    let service = Server::new().listen("127.0.0.1:0").session(|| Echo).start().expect("a server");
    assert_eq!(service.backend(), "epoll");
    let reason = service.fallback_reason().expect("it is told why");
    assert!(reason.contains(word) && reason.contains("kernel.io_uring_disabled="), "{reason}");
    let mut client = connect(service.addresses()[0]);
    write(&mut client, b"hello");
    assert_eq!(read(&mut client, 5), b"hello");
    let error = Server::new().backend(Backend::Uring).listen("127.0.0.1:0").session(|| Echo).start();
    assert!(error.expect_err("it is refused").to_string().contains(word));
}
