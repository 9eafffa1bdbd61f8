//! Scenarios about files. Nothing here knows a backend.

use naksi_core::completion::Done;
use naksi_core::op::Op;
use naksi_os::port::{FileAccess, PortOptions};

use crate::conform::Scenario;
use crate::conform::script::{OpRef, Script, small};
use crate::conform::verbs::pattern;

pub(super) const ALL: &[Scenario] = &[
    Scenario::new(
        "file",
        "normal",
        |s| {
            let file = s.file();
            let tail = s.write(file, 6, b"world");
            s.last(tail);
            let head = s.write(file, 0, b"hello ");
            s.last(head);
            let sync = s.submit("sync", 0, Op::Sync { file: file.handle });
            s.last(sync);
            size(s, file.handle);
            let read = s.read(file, 4, 32);
            s.content(read);
            s.close(file);
        },
        &[
            "write 5 bytes",
            "write 6 bytes",
            "sync ok",
            "the file holds 11 bytes",
            "read 7 bytes",
            "it says \"o world\"",
            "close ok",
        ],
    ),
    Scenario::new(
        "file",
        "read at the end and behind it",
        |s| {
            let file = s.file();
            let write = s.write(file, 0, b"abc");
            s.last(write);
            for offset in [2, 3, 4000] {
                let read = s.read(file, offset, 8);
                s.last(read);
            }
        },
        &["write 3 bytes", "read 1 bytes", "read ended closed", "read ended closed"],
    ),
    Scenario::new(
        "file",
        "a hole reads as zeros",
        |s| {
            let file = s.file();
            let write = s.write(file, 4, b"x");
            s.last(write);
            let read = s.read(file, 0, 8);
            s.content(read);
        },
        &["write 1 bytes", "read 5 bytes", "it says \"\\0\\0\\0\\0x\""],
    ),
    Scenario::new(
        "file",
        "an offset that no file has",
        |s| {
            let file = s.file();
            let write = s.write(file, 0, b"abc");
            s.last(write);
            for offset in [u64::MAX, 1 << 63] {
                s.refused(0, Op::WriteAt { file: file.handle, offset, bytes: vec![b'X'] });
                s.refused(0, Op::ReadAt { file: file.handle, offset, buffer: vec![0; 8] });
            }
            let read = s.read(file, 0, 8);
            s.content(read);
        },
        &[
            "write 3 bytes",
            "write refused offset",
            "read refused offset",
            "write refused offset",
            "read refused offset",
            "read 3 bytes",
            "it says \"abc\"",
        ],
    ),
    Scenario::new(
        "file",
        "queue full",
        |s| {
            s.open(&PortOptions { submission_entries: 8, completion_entries: 16, catch_max: 5, ..small() });
            let file = s.file();
            let whole = pattern(2000);
            let writes: Vec<OpRef> =
                whole.chunks(10).enumerate().map(|(n, piece)| s.write(file, n as u64 * 10, piece)).collect();
            s.count("writes", &writes);
            let read = s.read(file, 0, 4000);
            match s.next_completion(read).done {
                Done::ReadAt(buffer, Ok(2000)) if buffer[..2000] == whole => s.note("all in place"),
                other => s.note(format!("something else: {other:?}")),
            }
        },
        &["writes: 200 times 10 bytes", "all in place"],
    ),
    Scenario::new(
        "file",
        "cancel before start",
        |s| {
            let file = s.file();
            let write = s.write(file, 0, b"maybe");
            s.cancel(write);
            let won = s.won(write);
            s.settle();
            let held = s.port(0).file_bytes(file.handle).unwrap_or(99);
            let exact = held == if won { 5 } else { 0 };
            s.note(if exact { "the file holds what it says" } else { "the file holds something else" });
        },
        &["write over once", "the file holds what it says"],
    ),
    Scenario::new(
        "file",
        "cancel in flight",
        |s| {
            let file = s.file();
            let write = s.write(file, 0, &pattern(100_000));
            s.last(write);
            let reads: Vec<OpRef> = (0..64).map(|n| s.read(file, n * 1000, 1000)).collect();
            s.pass(std::time::Duration::from_micros(10));
            reads.iter().for_each(|read| s.cancel(*read));
            let ended = reads.iter().filter(|read| !s.next_completion(**read).more).count();
            s.note(format!("{ended} reads over once"));
        },
        &["write 100000 bytes", "64 reads over once"],
    ),
    Scenario::new(
        "file",
        "cancel after done",
        |s| {
            let file = s.file();
            let write = s.write(file, 0, b"done");
            s.last(write);
            s.cancel(write);
            let read = s.read(file, 0, 8);
            s.cancel(write);
            s.content(read);
        },
        &["write 4 bytes", "read 4 bytes", "it says \"done\""],
    ),
    Scenario::new(
        "file",
        "close while pending",
        |s| {
            let file = s.file();
            let write = s.write(file, 0, b"first");
            s.refused(0, Op::Close { handle: file.handle });
            s.last(write);
            s.close(file);
        },
        &["close refused busy", "write 5 bytes", "close ok"],
    ),
    Scenario::new(
        "file",
        "pool empty",
        |s| {
            s.open(&PortOptions { lease_count: 1, ..small() });
            let (near, far) = s.pair();
            let recv = s.recv_as("", far);
            s.sent(near, b"bait");
            let kept = s.next_completion(recv);
            let file = s.file();
            let write = s.write(file, 0, b"own buffer");
            s.last(write);
            let read = s.read(file, 0, 16);
            s.content(read);
            drop(kept);
            s.collected(recv);
        },
        &["write 10 bytes", "read 10 bytes", "it says \"own buffer\""],
    ),
    Scenario::new(
        "file",
        "port closed",
        |s| {
            let other = s.another();
            let path = s.path();
            let result = s.port(other).open_file(&path, FileAccess::Create);
            let file = s.opened("a file", result);
            for offset in 0..32 {
                s.submit("write", other, Op::WriteAt { file, offset: offset * 512, bytes: vec![7; 512] });
            }
            s.drop_port(other);
        },
        &["port dropped"],
    ),
    Scenario::new(
        "file",
        "stale handle",
        |s| {
            let file = s.file();
            s.close(file);
            s.refused(0, Op::ReadAt { file: file.handle, offset: 0, buffer: vec![0; 4] });
            s.refused(0, Op::WriteAt { file: file.handle, offset: 0, bytes: vec![0; 4] });
            s.refused(0, Op::Sync { file: file.handle });
            let size = s.port(0).file_bytes(file.handle);
            s.note(if size.is_err() { "no size" } else { "a size" });
        },
        &[
            "close ok",
            "read refused stale handle",
            "write refused stale handle",
            "sync refused stale handle",
            "no size",
        ],
    ),
    Scenario::new(
        "file",
        "token in use",
        |s| {
            let file = s.file();
            let write = s.write(file, 0, b"mine");
            let offered = Op::WriteAt { file: file.handle, offset: 0, bytes: b"other".to_vec() };
            s.refused_under(write.token, 0, offered);
            s.last(write);
        },
        &["write refused token in use", "write 4 bytes"],
    ),
    Scenario::new(
        "file",
        "nothing to read or write",
        |s| {
            let file = s.file();
            s.refused(0, Op::ReadAt { file: file.handle, offset: 0, buffer: Vec::new() });
            s.refused(0, Op::WriteAt { file: file.handle, offset: 0, bytes: Vec::new() });
        },
        &["read refused empty", "write refused empty"],
    ),
    Scenario::new(
        "file",
        "wrong kind",
        |s| {
            let (near, _) = s.pair();
            s.refused(0, Op::ReadAt { file: near.handle, offset: 0, buffer: vec![0; 4] });
            s.refused(0, Op::Sync { file: near.handle });
        },
        &["read refused wrong kind", "sync refused wrong kind"],
    ),
    Scenario::new(
        "file",
        "not there, kept, emptied",
        |s| {
            let path = s.path();
            match s.port(0).open_file(&path, FileAccess::Read) {
                Ok(_) => s.note("opened"),
                Err(error) => s.note(error.kind.text()),
            }
            for access in [FileAccess::ReadWrite, FileAccess::ReadWrite, FileAccess::Create] {
                let file = s.open_file(&path, access);
                size(s, file.handle);
                let write = s.write(file, 0, b"kept");
                s.last(write);
                s.closed(file);
            }
        },
        &[
            "no such file",
            "the file holds 0 bytes",
            "write 4 bytes",
            "the file holds 4 bytes",
            "write 4 bytes",
            "the file holds 0 bytes",
            "write 4 bytes",
        ],
    ),
    Scenario::new(
        "file",
        "write to one opened for reading",
        |s| {
            let path = s.path();
            let file = s.open_file(&path, FileAccess::Create);
            s.closed(file);
            let file = s.open_file(&path, FileAccess::Read);
            let write = s.write(file, 0, b"no");
            s.last(write);
            size(s, file.handle);
        },
        &["write failed: invalid request", "the file holds 0 bytes"],
    ),
];

fn size(s: &mut Script, file: naksi_core::id::Handle) {
    match s.port(0).file_bytes(file) {
        Ok(bytes) => s.note(format!("the file holds {bytes} bytes")),
        Err(error) => s.note(format!("no size: {}", error.kind.text())),
    }
}
