//! Tests of recordings: they are read back up to the last whole entry, whatever happened to the file, and a server
//! records what its sessions received, on every port of this system.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use naksi::prelude::*;
use naksi::record::{ENTRY_BYTES_MAX, Entry, HEADER_BYTES, Header, Reader, Unreadable};

/// Chance from a seed.
struct Chance(u64);

impl Chance {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }

    fn entry<'a>(&mut self, bytes: &'a [u8]) -> Entry<'a> {
        let (at_us, session) = (self.next(1 << 31) << self.next(20), self.next(1 << 31) << self.next(33));
        match self.next(8) {
            0 => Entry::Opened {
                at_us,
                session,
                peer: SocketAddr::from(([127, 0, 0, 1], self.next(65_536) as u16)),
            },
            1 => Entry::Opened { at_us, session, peer: SocketAddr::from(([7; 16], 1)) },
            2 => Entry::Ended { at_us, session, reason: ["closed", "", "낚시"][self.next(3) as usize] },
            3 => Entry::Lost { at_us, entries: session, bytes: at_us },
            _ => Entry::Received { at_us, session, bytes: &bytes[..self.next(bytes.len() as u64) as usize] },
        }
    }
}

const HEADER: Header = Header { worker: 9, framed: true, table_version: u64::MAX - 5, epoch_unix_us: 77 };

/// A file with this many entries, the entries, and the offset at which each ends.
fn file<'a>(chance: &mut Chance, count: usize, bytes: &'a [u8]) -> (Vec<u8>, Vec<Entry<'a>>, Vec<usize>) {
    let mut file = HEADER.to_bytes().to_vec();
    let entries: Vec<_> = (0..count).map(|_| chance.entry(bytes)).collect();
    let ends = entries.iter().map(|entry| {
        assert!(entry.append(&mut file));
        file.len()
    });
    let ends = ends.collect();
    (file, entries, ends)
}

/// Expects these entries and nothing else; returns whether a torn entry follows.
fn read(file: &[u8], entries: &[Entry<'_>]) -> (bool, u64) {
    let mut reader = Reader::new(file).expect("a recording");
    assert_eq!(*reader.header(), HEADER);
    for entry in entries {
        assert_eq!(reader.next_entry().expect("readable").as_ref(), Some(entry));
    }
    assert_eq!(reader.next_entry().expect("readable"), None);
    assert_eq!(reader.next_entry().expect("readable"), None, "the end stays the end");
    (reader.is_torn(), reader.whole_bytes())
}

#[test]
fn a_file_cut_at_every_byte_is_read_up_to_its_last_whole_entry() {
    let (mut chance, bytes) = (Chance(1), [0xA5; 40]);
    for _ in 0..20 {
        let (file, entries, ends) = file(&mut chance, 20, &bytes);
        for cut in HEADER_BYTES..=file.len() {
            let whole = ends.iter().take_while(|end| **end <= cut).count();
            let end = if whole == 0 { HEADER_BYTES } else { ends[whole - 1] };
            assert_eq!(read(&file[..cut], &entries[..whole]), (cut > end, end as u64), "cut at {cut}");
        }
    }
}

#[test]
fn a_bit_that_fell_over_ends_a_recording_before_its_entry() {
    let (mut chance, bytes) = (Chance(2), [0xA5; 40]);
    let (file, entries, ends) = file(&mut chance, 30, &bytes);
    for place in HEADER_BYTES..file.len() {
        let mut wrong = file.clone();
        wrong[place] ^= 1 << chance.next(8);
        let whole = ends.iter().take_while(|end| **end <= place).count();
        assert!(read(&wrong, &entries[..whole]).0, "at {place}");
    }
}

#[test]
fn what_was_never_written_is_no_entry() {
    let (mut chance, bytes) = (Chance(3), [0xA5; 40]);
    for tail in 0..600 {
        let (mut file, entries, ends) = file(&mut chance, 5, &bytes);
        // A disk that has stored the length and not the bytes returns zeros; anything else is noise.
        let noise = |chance: &mut Chance| if tail % 2 == 0 { 0 } else { chance.next(256) as u8 };
        file.extend((0..tail + 1).map(|_| noise(&mut chance)));
        assert_eq!(read(&file, &entries), (true, ends[4] as u64));
    }
}

#[test]
fn what_is_no_recording_is_named() {
    let header = HEADER.to_bytes();
    let refused = |bytes: &[u8]| Reader::new(bytes).expect_err("refused").to_string();
    for bytes in [&b""[..], b"NAKSIREC", &header[..HEADER_BYTES - 1], &[b'x'; 100]] {
        assert!(refused(bytes).contains("no recording"));
    }
    let mut newer = header;
    newer[8] = 2;
    assert!(matches!(Reader::new(&newer[..]), Err(Unreadable::Version(2))));
    assert!(refused(&newer).contains("version 2"));
}

#[test]
fn the_longest_frame_fits_and_what_is_longer_is_not_written() {
    let bytes = vec![1; ENTRY_BYTES_MAX + 1];
    let mut file = HEADER.to_bytes().to_vec();
    let longest = Entry::Received { at_us: u64::MAX, session: u64::MAX, bytes: &bytes[..65_535] };
    assert!(longest.append(&mut file));
    let before = file.clone();
    assert!(!Entry::Received { at_us: 0, session: 0, bytes: &bytes }.append(&mut file));
    assert_eq!(file, before);
    assert!(!read(&file, &[longest]).0);
}

/// Echoes packets.
struct Mirror;

impl Session for Mirror {
    const FRAMING: Framing = Framing::Packets;

    fn on_packet(&mut self, c: &mut Conn<'_>, packet: Packet<'_>) {
        c.send(packet.frame);
    }
}

/// Takes two bytes at a time and says them back.
struct Pairs;

impl Session for Pairs {
    fn on_recv(&mut self, c: &mut Conn<'_>, data: &[u8]) -> usize {
        let taken = data.len() / 2 * 2;
        c.send(&data[..taken]);
        taken
    }
}

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{name}", std::process::id()));
    std::fs::remove_dir_all(&folder).ok(); // It is there only if an earlier process had this number.
    folder
}

/// Sends these pieces, and reads as much as `answer` has.
fn talk(address: SocketAddr, pieces: &[&[u8]], answer: &[u8]) {
    let mut stream = TcpStream::connect(address).expect("the server accepts");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket takes a time limit");
    pieces.iter().for_each(|piece| stream.write_all(piece).expect("the server reads"));
    let mut read = vec![0; answer.len()];
    stream.read_exact(&mut read).expect("the server answers");
    assert_eq!(read, answer);
}

/// Waits until everybody has gone, and stops the service.
fn stop(service: Service) -> Stats {
    let began = Instant::now();
    while service.stats().live > 0 {
        assert!(began.elapsed() < Duration::from_secs(20), "a session stays");
        std::thread::sleep(Duration::from_millis(2));
    }
    service.stop(Duration::from_secs(5))
}

/// The contents of a folder's recordings: each session's bytes, and how it ended, in the order in which they began.
fn recorded(folder: &Path, framed: bool) -> Vec<(Vec<u8>, String)> {
    let mut sessions: Vec<(u64, u64, Vec<u8>, String)> = Vec::new();
    for file in std::fs::read_dir(folder).expect("the folder is made") {
        let path = file.expect("readable").path();
        assert_eq!(path.extension().and_then(|end| end.to_str()), Some(naksi::record::EXTENSION));
        let mut reader = Reader::new(std::fs::File::open(&path).expect("readable")).expect("a recording");
        assert_eq!((reader.header().framed, reader.header().table_version), (framed, 77));
        let mut last_us = 0;
        while let Some(entry) = reader.next_entry().expect("readable") {
            assert!(entry.at_us() >= last_us, "time goes on");
            last_us = entry.at_us();
            let of = |sessions: &mut Vec<(u64, u64, Vec<u8>, String)>, wanted: u64| {
                sessions.iter().position(|(_, session, ..)| *session == wanted).expect("it has begun")
            };
            match entry {
                Entry::Opened { at_us, session, peer } => {
                    assert!(peer.ip().is_loopback());
                    sessions.push((at_us, session, Vec::new(), String::new()));
                }
                Entry::Received { session, bytes, .. } => {
                    let place = of(&mut sessions, session);
                    sessions[place].2.extend(bytes);
                }
                Entry::Ended { session, reason, .. } => {
                    let place = of(&mut sessions, session);
                    sessions[place].3 = reason.to_owned();
                }
                Entry::Lost { .. } => panic!("a disk that is not busy keeps up"),
            }
        }
        assert!(!reader.is_torn());
    }
    sessions.sort();
    sessions.into_iter().map(|(_, _, bytes, reason)| (bytes, reason)).collect()
}

/// The ports that there are here.
fn backends() -> &'static [Backend] {
    if cfg!(windows) { &[Backend::Iocp] } else { &[Backend::Auto, Backend::Epoll] }
}

fn server(folder: &Path, backend: Backend) -> Server {
    let record = RecordOptions::new(folder).table_version(77);
    Server::new().listen("127.0.0.1:0").workers(2).backend(backend).record(record)
}

#[test]
fn a_server_records_what_its_sessions_receive_frame_by_frame() {
    for backend in backends() {
        let folder = folder(&format!("frames-{backend}"));
        let service = server(&folder, *backend).session(|| Mirror).start().expect("it starts");
        let (one, two) = ([6, 0, 1, 0, b'a', b'b'], [4, 0, 2, 0]);
        let address = service.addresses()[0];
        talk(address, &[&one[..3], &one[3..], &two], &[&one[..], &two].concat());
        talk(address, &[&two], &two);
        let stats = stop(service);
        let ended = DisconnectReason::PeerClosed.name().to_owned();
        let wanted = [([&one[..], &two].concat(), ended.clone()), (two.to_vec(), ended)];
        assert_eq!(recorded(&folder, true), wanted);
        assert_eq!((stats.recorded_total, stats.record_lost_total), (2 * 2 + 3, 0));
        assert_eq!((stats.handles, stats.in_flight), (0, 0));
    }
}

#[test]
fn a_server_records_of_a_stream_what_was_taken_of_it() {
    for backend in backends() {
        let folder = folder(&format!("stream-{backend}"));
        let service = server(&folder, *backend).session(|| Pairs).start().expect("it starts");
        let long: Vec<u8> = (0..200_001).map(|number| number as u8).collect();
        let pieces: Vec<&[u8]> = long.chunks(7777).collect();
        talk(service.addresses()[0], &pieces, &long[..200_000]);
        let stats = stop(service);
        let found = recorded(&folder, false);
        assert_eq!((found.len(), found[0].0.len(), found[0].1.as_str()), (1, 200_000, "peer_closed"));
        assert!(found[0].0 == long[..200_000], "what was said is what stands there");
        assert_eq!((stats.handles, stats.in_flight), (0, 0));
    }
}

#[test]
fn services_that_record_into_one_folder_at_one_time_keep_apart() {
    let folder = folder("together");
    let frame = [6, 0, 1, 0, b'a', b'b'];
    let start = |_| server(&folder, Backend::Auto).session(|| Mirror).start().expect("it starts");
    // They begin in less than a second: one of them records before the others start.
    let first = start(0);
    talk(first.addresses()[0], &[&frame], &frame);
    let others: Vec<Service> = (1..4).map(start).collect();
    others.iter().for_each(|service| talk(service.addresses()[0], &[&frame], &frame));
    std::iter::once(first).chain(others).for_each(|service| drop(stop(service)));
    let files: Vec<_> = std::fs::read_dir(&folder)
        .expect("the folder is made")
        .map(|file| file.expect("readable").file_name().into_string().expect("a plain name"))
        .collect();
    // The file names up to the worker's number; a second may have begun between two of them.
    let runs: BTreeSet<&str> = files.iter().filter_map(|name| Some(name.rsplit_once('-')?.0)).collect();
    assert_eq!((runs.len(), files.len()), (4, 4 * 2), "{files:?}");
    // Sessions of different runs may have the same id, so each run is read separately.
    for run in runs {
        let alone = folder.with_extension(run);
        std::fs::create_dir_all(&alone).expect("a scratch folder");
        for name in files.iter().filter(|name| name.rsplit_once('-').is_some_and(|(begins, _)| begins == run))
        {
            std::fs::rename(folder.join(name), alone.join(name)).expect("it can be moved");
        }
        assert_eq!(
            recorded(&alone, true),
            [(frame.to_vec(), DisconnectReason::PeerClosed.name().to_owned())]
        );
    }
}

#[test]
fn recordings_that_have_as_many_bytes_as_they_may_end_and_the_service_goes_on() {
    let folder = folder("space");
    let record = RecordOptions::new(&folder).run_bytes_max(10_000);
    let server = Server::new().listen("127.0.0.1:0").workers(2).record(record);
    let service = server.session(|| Mirror).start().expect("it starts");
    let frame = [&[0xF8, 3, 1, 0][..], &[7; 1012]].concat();
    for _ in 0..10 {
        // What was echoed has been recorded, and is written before the next entry.
        talk(service.addresses()[0], &[&frame, &frame], &[&frame[..], &frame].concat());
    }
    let stats = stop(service);
    let (mut bytes, mut entries) = (0, 0);
    for file in std::fs::read_dir(&folder).expect("the folder is made") {
        let file = std::fs::read(file.expect("readable").path()).expect("readable");
        bytes += file.len();
        let mut reader = Reader::new(&file[..]).expect("a recording");
        while let Some(entry) = reader.next_entry().expect("readable") {
            entries += u64::from(!matches!(entry, Entry::Lost { .. }));
        }
        assert!(!reader.is_torn());
    }
    assert!(bytes > 0 && bytes <= 10_000, "{bytes} bytes");
    // Each of ten sessions began, echoed twice, and ended: each entry is in a file, or counted.
    assert_eq!((stats.recorded_total, entries + stats.record_lost_total), (entries, 40));
    assert_eq!((stats.handles, stats.in_flight), (0, 0));
}

#[test]
fn a_service_that_does_not_start_leaves_no_recording() {
    let folder = folder("unserved");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let record = RecordOptions::new(&folder);
    let address = taken.local_addr().expect("its address").to_string();
    let refused = Server::new().listen(address).workers(2).record(record).session(|| Mirror).start();
    assert!(refused.is_err());
    assert_eq!(std::fs::read_dir(&folder).expect("the folder is made").count(), 0);
}

#[test]
fn a_folder_that_cannot_be_is_named_before_anybody_is_served() {
    let folder = folder("taken");
    std::fs::write(&folder, "a file").expect("a scratch file");
    let refused = server(&folder, Backend::Auto).session(|| Mirror).start().expect_err("refused");
    assert!(refused.to_string().starts_with(&format!("cannot record in {}", folder.display())), "{refused}");
}
