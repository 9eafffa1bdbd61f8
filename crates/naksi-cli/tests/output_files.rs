//! Tests of files that the program writes: the old content or the new, and never a part of it, also on a full disk.

#![cfg(unix)] // A limit on file sizes stands for a full disk.

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use support::{Server, is_under_wine, naksi, output};

const TABLE: &str = "packets! { T: prost(\"m.proto\") { 1 => E } }";
const PROTO: &str = "syntax = \"proto3\";\nmessage E {}\n";

/// A folder with the table of a protocol.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("table.rs"), TABLE).expect("a table");
    fs::write(folder.path().join("m.proto"), PROTO).expect("a schema");
    folder
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("a name")).collect();
    names.sort();
    names
}

fn generate(folder: &Path, out: &Path) -> Command {
    let mut command = naksi();
    let packets = folder.join("table.rs");
    command.args(["gen", "--lang", "csharp"]).arg("--packets").arg(packets).arg("--out").arg(out);
    command
}

/// The same command where no file may have a single byte.
fn on_a_full_disk(command: &Command) -> Output {
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' XFSZ; ulimit -f 0; exec \"$0\" \"$@\""]);
    shell.arg(command.get_program()).args(command.get_args());
    output(&mut shell)
}

#[test]
fn on_a_full_disk_no_new_file_appears_and_an_old_one_stays_as_it_was() {
    if is_under_wine() {
        return; // It has neither this limit nor these files.
    }
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let server = Server::start(&[]);
    let address = server.address.to_string();
    let before = names(folder.path());
    let mut dummy = naksi();
    dummy.args(["dummy", &address, "--sessions", "2", "--secs", "0.2"]);
    dummy.arg("--json").arg(at("json")).arg("--html").arg(at("html"));
    let mut init = naksi();
    init.args(["config", "init"]).arg(at("toml"));
    for command in [&generate(folder.path(), &at("cs")), &dummy, &init] {
        let refused = on_a_full_disk(command);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(refused.status.code() == Some(1) && said.contains("cannot write "), "{said}");
    }
    assert_eq!(names(folder.path()), before);
    let written = output(&mut init);
    assert!(written.status.success(), "with room again it is made: {written:?}");
    for name in ["cs", "json", "html"] {
        fs::write(at(name), "the old content").expect("a file");
    }
    for command in [&generate(folder.path(), &at("cs")), &dummy] {
        assert_eq!(on_a_full_disk(command).status.code(), Some(1));
    }
    for name in ["cs", "json", "html"] {
        assert_eq!(fs::read_to_string(at(name)).expect("it is there"), "the old content", "{name}");
    }
    assert_eq!(names(folder.path()).len(), before.len() + 4, "no temporary file stays");
    server.stop();
}

#[test]
fn a_link_stays_a_link_and_its_file_keeps_its_permissions() {
    if is_under_wine() {
        return; // It has neither this limit nor these files.
    }
    let folder = folder();
    let (target, link) = (folder.path().join("target"), folder.path().join("link"));
    fs::write(&target, "the old content").expect("a file");
    fs::set_permissions(&target, fs::Permissions::from_mode(0o640)).expect("its owner may");
    symlink("target", &link).expect("a link");
    assert!(output(&mut generate(folder.path(), &link)).status.success());
    assert!(fs::symlink_metadata(&link).expect("it is there").is_symlink());
    assert!(fs::read_to_string(&target).expect("it is there").contains("class"));
    assert_eq!(fs::metadata(&target).expect("it is there").permissions().mode() & 0o777, 0o640);
    // A link to a file that is not there yet.
    let (target, link) = (folder.path().join("later"), folder.path().join("early"));
    symlink("later", &link).expect("a link");
    assert!(output(&mut generate(folder.path(), &link)).status.success());
    assert!(fs::symlink_metadata(&link).expect("it is there").is_symlink() && target.is_file());
}

#[test]
fn standard_output_and_devices_are_written_to_and_stay_what_they_are() {
    if is_under_wine() {
        return; // It has neither this limit nor these files.
    }
    let folder = folder();
    let printed = output(&mut generate(folder.path(), Path::new("/dev/stdout")));
    assert!(printed.status.success() && String::from_utf8_lossy(&printed.stdout).contains("class"));
    let null = output(&mut generate(folder.path(), Path::new("/dev/null")));
    assert!(null.status.success() && !fs::metadata("/dev/null").expect("a device").is_file());
    let full = PathBuf::from("/dev/full");
    if full.exists() {
        let refused = output(&mut generate(folder.path(), &full));
        assert_eq!(refused.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&refused.stderr).contains("cannot write /dev/full"));
        assert!(!fs::metadata(&full).expect("a device").is_file());
    }
    // A file that is standard output is appended to, because it may be a log.
    let log = folder.path().join("log");
    let kept = fs::File::create(&log).expect("a file");
    let mut command = generate(folder.path(), Path::new("/dev/stdout"));
    assert!(command.stdout(kept).status().expect("it runs").success());
    assert!(fs::read_to_string(&log).expect("it is there").contains("class"));
}
