//! Tests of overlapped files: written, synced and read back on the worker's own port.

use std::path::PathBuf;

use naksi::session::READ_BYTES_MAX;

use super::*;

/// Writes what it receives to a file, reads it back in two pieces and sends that.
struct Filing {
    path: PathBuf,
    file: Option<FileId>,
    content: Vec<u8>,
    pieces: Vec<(u64, Vec<u8>)>,
}

impl Session for Filing {
    fn on_recv(&mut self, c: &mut Conn<'_>, data: &[u8]) -> usize {
        self.content = data.to_vec();
        c.open_file(&self.path, FileAccess::Create, 1);
        data.len()
    }

    fn on_file(&mut self, c: &mut Conn<'_>, done: FileDone<'_>) {
        match done {
            FileDone::Opened { tag: 1, file, bytes } => {
                assert_eq!(bytes, 0);
                self.file = Some(file);
                c.write_at(file, 0, self.content.clone(), 2);
            }
            FileDone::Written { tag: 2, bytes } => {
                assert_eq!(bytes as usize, self.content.len());
                c.sync_file(self.file.expect("open"), 3);
            }
            FileDone::Synced { tag: 3 } => {
                let half = self.content.len() / 2;
                let file = self.file.expect("open");
                c.read_at(file, half as u64, 1 << 16, 4);
                c.read_at(file, 0, half, 5);
                c.read_at(file, 1 << 20, 10, 6);
            }
            FileDone::Read { tag: 6, data, .. } => {
                assert!(data.is_empty(), "nothing is behind the end");
                self.pieces.push((u64::MAX, Vec::new()));
            }
            FileDone::Read { offset, data, .. } => self.pieces.push((offset, data.to_vec())),
            other => panic!("unexpected {other:?}"),
        }
        if self.pieces.len() == 3 {
            self.pieces.sort();
            let whole = self.pieces.iter().flat_map(|(_, bytes)| bytes.clone()).collect::<Vec<_>>();
            c.send(&whole);
            c.close(DisconnectReason::Handler);
        }
    }
}

#[test]
fn what_is_written_is_read_back_and_the_file_closes_with_its_session() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("file");
    let there = path.clone();
    let service = server()
        .workers(1)
        .session(move || Filing { path: there.clone(), file: None, content: Vec::new(), pieces: Vec::new() })
        .start()
        .expect("a server");
    let mut client = connect(service.addresses()[0]);
    let handles = service.stats().handles;
    write(&mut client, b"a catch of twenty-six fish");
    assert_eq!(read_to_end(&mut client), b"a catch of twenty-six fish");
    drop(client);
    until("session and file are closed", || {
        let stats = service.stats();
        stats.live == 0 && stats.handles <= handles.max(1)
    });
    let stats = service.stop(Duration::from_secs(5));
    assert_eq!((stats.handles, stats.in_flight), (0, 0));
    assert_eq!(std::fs::read(&path).expect("the file is there"), b"a catch of twenty-six fish");
}

/// Submits many writes and a sync at once, repeatedly, and reports the completions in order.
struct Hasty {
    path: PathBuf,
    rounds: u32,
    file: Option<FileId>,
    written: u32,
}

impl Hasty {
    const WRITES: u32 = 24;
    const WRITE_BYTES: usize = 1 << 20;

    fn write(&mut self, c: &mut Conn<'_>, file: FileId) {
        self.written = 0;
        for number in 0..Self::WRITES {
            let offset = u64::from(number) * Self::WRITE_BYTES as u64;
            c.write_at(file, offset, vec![self.rounds as u8; Self::WRITE_BYTES], 0);
        }
        c.sync_file(file, 1);
    }
}

impl Session for Hasty {
    fn on_connected(&mut self, c: &mut Conn<'_>) {
        c.open_file(&self.path, FileAccess::Create, 0);
    }

    fn on_file(&mut self, c: &mut Conn<'_>, done: FileDone<'_>) {
        match done {
            FileDone::Opened { file, .. } => {
                self.file = Some(file);
                self.write(c, file);
            }
            FileDone::Written { bytes, .. } => {
                assert_eq!(bytes as usize, Self::WRITE_BYTES);
                self.written += 1;
            }
            FileDone::Synced { .. } if self.written < Self::WRITES => {
                c.send(format!("synced after {} writes of {}", self.written, Self::WRITES).as_bytes());
                c.close(DisconnectReason::Handler);
            }
            FileDone::Synced { .. } if self.rounds == 0 => {
                c.send(b"in order");
                c.close(DisconnectReason::Handler);
            }
            FileDone::Synced { .. } => {
                self.rounds -= 1;
                self.write(c, self.file.expect("open"));
            }
            other => panic!("unexpected {other:?}"),
        }
    }
}

#[test]
fn a_sync_has_what_was_written_before_it_also_what_is_still_being_written() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let there = folder.path().join("file");
    let hasty = move || Hasty { path: there.clone(), rounds: 12, file: None, written: 0 };
    // Its writes of one round hold 24 MiB.
    let limits = Limits { file_bytes_max: 32 << 20, ..Limits::default() };
    let service = server().workers(1).limits(limits).session(hasty).start().expect("a server");
    let said = read_to_end(&mut connect(service.addresses()[0]));
    assert_eq!(String::from_utf8_lossy(&said), "in order");
}

/// Asks for a file that is not there.
struct Missing;

impl Session for Missing {
    fn on_connected(&mut self, c: &mut Conn<'_>) {
        c.open_file(std::path::Path::new("no/such/file"), FileAccess::Read, 7);
    }

    fn on_file(&mut self, c: &mut Conn<'_>, done: FileDone<'_>) {
        if let FileDone::Failed { tag: 7, error } = done {
            c.send(error.to_string().as_bytes());
        }
        c.close(DisconnectReason::Handler);
    }
}

#[test]
fn a_file_that_is_not_there_is_said_to_be() {
    let service = server().session(|| Missing).start().expect("a server");
    let said = read_to_end(&mut connect(service.addresses()[0]));
    assert!(String::from_utf8_lossy(&said).starts_with("no such file"), "{said:?}");
}

/// Requests a read larger than any memory, and then one of the file's size.
struct Greedy(PathBuf);

impl Session for Greedy {
    fn on_connected(&mut self, c: &mut Conn<'_>) {
        c.open_file(&self.0, FileAccess::Read, 0);
    }

    fn on_file(&mut self, c: &mut Conn<'_>, done: FileDone<'_>) {
        match done {
            FileDone::Opened { file, .. } => {
                for (tag, bytes) in [(1, usize::MAX), (2, usize::MAX / 2), (3, (1 << 30) + 1), (4, 3)] {
                    c.read_at(file, 0, bytes, tag);
                }
            }
            FileDone::Failed { tag, error } => drop(c.send(format!("{tag}: {error}\n").as_bytes())),
            FileDone::Read { tag: 4, data, .. } => {
                c.send(data);
                c.close(DisconnectReason::Handler);
            }
            other => panic!("unexpected {other:?}"),
        }
    }
}

#[test]
fn a_read_of_more_than_any_memory_is_refused_and_the_next_one_is_not() {
    let said = said_of_fish("greedy", |path| Greedy(path.clone()));
    let refused: String = (1..=3).map(|tag| format!("{tag}: invalid request\n")).collect();
    assert_eq!(String::from_utf8_lossy(&said), refused + "fis");
}

/// What a session sends that has a file with the word `fish` in it.
fn said_of_fish<S: Session>(name: &str, make: impl Fn(&PathBuf) -> S + Send + Sync + 'static) -> Vec<u8> {
    let folder = tempfile::Builder::new().prefix(name).tempdir().expect("a temporary folder");
    let there = folder.path().join("file");
    std::fs::write(&there, b"fish").expect("a scratch file");
    let service = server().workers(1).session(move || make(&there)).start().expect("a server");
    let said = read_to_end(&mut connect(service.addresses()[0]));
    service.stop(Duration::from_secs(5));
    said
}

/// Requests the largest allowed read of a short file.
struct Hopeful(PathBuf, Option<FileId>);

impl Session for Hopeful {
    fn on_connected(&mut self, c: &mut Conn<'_>) {
        c.open_file(&self.0, FileAccess::Read, 0);
    }

    fn on_file(&mut self, c: &mut Conn<'_>, done: FileDone<'_>) {
        match done {
            FileDone::Opened { file, .. } => {
                self.1 = Some(file);
                c.read_at(file, 1, READ_BYTES_MAX, 1);
            }
            FileDone::Read { tag: tag @ 1..3, data, .. } => {
                c.send(data);
                c.read_at(self.1.expect("open"), [4, 1 << 40][tag as usize - 1], READ_BYTES_MAX, tag + 1);
            }
            FileDone::Read { tag: 3, data, .. } => {
                c.send(data);
                c.close(DisconnectReason::Handler);
            }
            other => panic!("unexpected {other:?}"),
        }
    }
}

#[test]
fn a_read_of_all_that_may_be_asked_for_brings_what_the_file_holds() {
    let said = said_of_fish("hopeful", |path| Hopeful(path.clone(), None));
    assert_eq!(said, b"ish", "and nothing is behind the end");
}

/// Asks again and again for a file that is not there.
struct Stubborn;

impl Session for Stubborn {
    fn on_recv(&mut self, c: &mut Conn<'_>, data: &[u8]) -> usize {
        if data == b"ask" {
            c.open_file(std::path::Path::new("no/such/file"), FileAccess::Read, 7);
        } else {
            c.send(data);
        }
        data.len()
    }

    fn on_file(&mut self, c: &mut Conn<'_>, _: FileDone<'_>) {
        c.open_file(std::path::Path::new("no/such/file"), FileAccess::Read, 7);
    }
}

#[test]
fn whoever_asks_for_a_file_again_and_again_holds_up_nobody() {
    let service = server().workers(1).session(|| Stubborn).start().expect("a server");
    let mut stubborn = connect(service.addresses()[0]);
    let mut other = connect(service.addresses()[0]);
    write(&mut stubborn, b"ask");
    for _ in 0..10 {
        write(&mut other, b"x");
        assert_eq!(read(&mut other, 1), b"x");
    }
    drop((stubborn, other));
    assert_eq!(service.stop(Duration::from_secs(5)).live, 0);
}

/// Runs commands on its own file: a number of reads of a size, or of further opens, all at once; and reports the
/// results.
struct Asker {
    path: PathBuf,
    file: Option<FileId>,
    waits_for: u32,
    done: u32,
    refused: u32,
}

impl Asker {
    fn told(&mut self, c: &mut Conn<'_>, is_done: bool) {
        if is_done {
            self.done += 1;
        } else {
            self.refused += 1;
        }
        if self.done + self.refused == self.waits_for {
            c.send(format!("{} {}\n", self.done, self.refused).as_bytes());
        }
    }
}

impl Session for Asker {
    fn on_connected(&mut self, c: &mut Conn<'_>) {
        c.open_file(&self.path, FileAccess::Read, 0);
    }

    fn on_recv(&mut self, c: &mut Conn<'_>, data: &[u8]) -> usize {
        if data.len() < 9 {
            return 0;
        }
        let number = |at: usize| u32::from_le_bytes(data[at..at + 4].try_into().expect("four bytes"));
        let (verb, count, bytes) = (data[0], number(1), number(5) as usize);
        (self.waits_for, self.done, self.refused) = (count, 0, 0);
        let file = self.file.expect("it is asked when it has said that its file is open");
        for tag in 0..count {
            match verb {
                b'r' => c.read_at(file, 0, bytes, tag),
                b'w' => c.write_at(file, 0, vec![7; bytes], tag),
                _ => c.open_file(&self.path, FileAccess::Read, 1),
            }
        }
        9
    }

    fn on_file(&mut self, c: &mut Conn<'_>, done: FileDone<'_>) {
        match done {
            FileDone::Opened { tag: 0, file, .. } => {
                self.file = Some(file);
                c.send(b"open\n");
            }
            FileDone::Failed { error, .. } if error.kind == Failure::OverLimit => self.told(c, false),
            // The file is open for reading: a write that reaches the disk fails there.
            _ => self.told(c, true),
        }
    }
}

/// The results of these requests, one after the other, of a session with these limits and a file of 64 KiB; and how
/// many were refused in total.
fn asked(name: &str, limits: Limits, wishes: &[(u8, u32, u32)]) -> (Vec<String>, u64) {
    let path = std::env::temp_dir().join(format!("naksi-{name}-test-{}", std::process::id()));
    std::fs::write(&path, vec![7; 64 * 1024]).expect("a scratch file");
    let there = path.clone();
    let make = move || Asker { path: there.clone(), file: None, waits_for: 0, done: 0, refused: 0 };
    let service = server().workers(1).limits(limits).session(make).start().expect("a server");
    let mut stream = std::io::BufReader::new(connect(service.addresses()[0]));
    let mut said = Vec::new();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut stream, &mut line).expect("it opens its file");
    for (verb, count, bytes) in wishes {
        let mut wish = vec![*verb];
        wish.extend(count.to_le_bytes());
        wish.extend(bytes.to_le_bytes());
        write(stream.get_mut(), &wish);
        line.clear();
        std::io::BufRead::read_line(&mut stream, &mut line).expect("it says what became of it");
        said.push(line.trim_end().to_owned());
    }
    drop(stream);
    until("it is over", || service.stats().live == 0);
    let stats = service.stop(Duration::from_secs(5));
    assert_eq!((stats.handles, stats.in_flight), (0, 0));
    std::fs::remove_file(path).expect("the file can be removed");
    (said, stats.file_refused_total)
}

#[test]
fn a_session_may_have_so_many_file_operations_under_way_and_the_rest_is_refused_and_counted() {
    let limits = Limits { file_operations_max: 10, ..Limits::default() };
    let wishes = [(b'r', 1000, 8), (b'r', 10, 8), (b'r', 11, 8), (b'o', 11, 0)];
    let (said, refused) = asked("operations", limits, &wishes);
    assert_eq!(said, ["10 990", "10 0", "10 1", "10 1"]);
    assert_eq!(refused, 992);
}

#[test]
fn a_session_may_have_so_many_bytes_in_its_reads_and_writes_and_the_rest_is_refused_and_counted() {
    let limits = Limits { file_bytes_max: 100_000, ..Limits::default() };
    // A read counts by the file's size, not by the requested size.
    let wishes =
        [(b'r', 4, 30_000), (b'r', 2, 1 << 30), (b'w', 4, 40_000), (b'w', 1, 100_001), (b'r', 3, 30_000)];
    let (said, refused) = asked("bytes", limits, &wishes);
    assert_eq!(said, ["3 1", "1 1", "2 2", "0 1", "3 0"]);
    assert_eq!(refused, 5);
}

#[test]
fn a_session_may_have_so_many_files_open_and_another_one_has_its_own() {
    let limits = Limits { files_max: 5, ..Limits::default() };
    let (said, refused) = asked("files", limits, &[(b'o', 10, 0), (b'r', 1, 8)]);
    assert_eq!((said, refused), (vec!["4 6".to_owned(), "1 0".to_owned()], 6));
}
