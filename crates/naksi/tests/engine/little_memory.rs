//! Tests of a process with limited memory: a size chosen by a peer does not end the process.

use std::process::Command;

/// The memory that the process may map, in KiB: enough for a service, and less than one read may request.
const MAPPED_KIB_MAX: usize = naksi::session::READ_BYTES_MAX / 1024;

#[test]
fn a_read_of_more_than_there_is_memory_for_ends_no_process() {
    let this = std::env::current_exe().expect("this program has a path");
    let test = "auto::files::a_read_of_all_that_may_be_asked_for_brings_what_the_file_holds";
    let limited = format!("ulimit -v {MAPPED_KIB_MAX} && exec \"$0\" --exact {test}");
    let output = Command::new("sh").args(["-c", &limited]).arg(this).output().expect("there is a shell");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("1 passed"), "{said}");
}
