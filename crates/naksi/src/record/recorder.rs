//! One worker's recorder: two buffers, one that fills while the other one is written.
//!
//! Entries are appended as they happen. Once a turn the worker hands what was buffered to its port, one write at a
//! time, each after the one before.

use naksi_core::ended::Ended;
use naksi_core::id::Handle;
use naksi_core::op::Op;
use naksi_os::port::SubmitError;

use std::io::Read as _;
use std::sync::Arc;

use super::{Entry, Header, Reader, Space};

/// Capacity of a written buffer that is always kept for the next write.
const SPARE_BYTES_MIN: usize = 64 << 10;

/// What the file is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doing {
    Nothing,
    Writing,
    Closing,
    Closed,
}

/// One worker's recorder.
pub(crate) struct Recorder {
    file: Handle,
    pub(crate) doing: Doing,
    /// Where the next write goes.
    offset: u64,
    /// Entries that wait for the file.
    filling: Vec<u8>,
    /// The rest of a write that the disk took in part.
    rest: Vec<u8>,
    /// The part that the disk took, which may hold whole entries.
    begun: Vec<u8>,
    /// The buffer of the last write, reused for entries that arrive during the next one.
    spare: Vec<u8>,
    /// Entries that wait for the file.
    waiting: u64,
    /// Entries that are not completely in the file.
    leaving: u64,
    /// Entries that are completely in the file and not counted yet.
    kept: u64,
    bytes_max: usize,
    /// Entries and bytes that were dropped and not yet reported in the file.
    lost: (u64, u64),
    /// The disk refused a write, or the limit is reached: nothing more is written.
    broken: bool,
    /// The bytes that all recordings of the run may still write.
    pub(crate) space: Arc<Space>,
    /// The limit was reached by the last entry.
    pub(crate) out_of_space: bool,
}

impl Recorder {
    pub(crate) fn new(file: Handle, header: &Header, bytes_max: usize, space: Arc<Space>) -> Self {
        let (filling, rest) = (header.to_bytes().to_vec(), Vec::new());
        Self {
            file,
            doing: Doing::Nothing,
            offset: 0,
            filling,
            rest,
            begun: Vec::new(),
            spare: Vec::new(),
            waiting: 0,
            leaving: 0,
            kept: 0,
            bytes_max,
            lost: (0, 0),
            broken: false,
            space,
            out_of_space: false,
        }
    }

    /// Appends an entry. Returns whether there was room for it.
    pub(crate) fn note(&mut self, entry: &Entry<'_>) -> bool {
        let bytes = match entry {
            Entry::Received { bytes, .. } => bytes.len(),
            _ => 0,
        };
        // An entry that reports a loss, and the overhead before and in each entry.
        let room = bytes + 256;
        let is_open = matches!(self.doing, Doing::Nothing | Doing::Writing) && !self.broken;
        if is_open && self.filling.len() + room <= self.bytes_max {
            self.make_room(room);
            self.tell_of_losses(entry.at_us());
            if entry.append(&mut self.filling) {
                self.waiting += 1;
                return true;
            }
        }
        self.lost = (self.lost.0 + 1, self.lost.1 + bytes as u64);
        false
    }

    /// Grows the buffer for more bytes: doubles it, up to its limit.
    fn make_room(&mut self, room: usize) {
        let (filled, had) = (self.filling.len(), self.filling.capacity());
        if had - filled < room {
            let wanted = (2 * had).max(filled + room).min(self.bytes_max);
            self.filling.reserve_exact(wanted - filled);
        }
    }

    fn tell_of_losses(&mut self, at_us: u64) {
        let (entries, bytes) = std::mem::take(&mut self.lost);
        if entries > 0 {
            Entry::Lost { at_us, entries, bytes }.append(&mut self.filling);
        }
    }

    /// The next operation for the port, if any. `last`: no more entries follow.
    pub(crate) fn register(&mut self, last: bool, at_us: u64) -> Option<Op> {
        if self.doing != Doing::Nothing {
            return None;
        }
        if last && !self.broken {
            self.tell_of_losses(at_us);
        }
        let has_more = !self.rest.is_empty() || !self.filling.is_empty();
        if has_more && !self.broken && self.has_space() {
            let bytes = match self.rest.is_empty() {
                true => {
                    self.leaving = std::mem::take(&mut self.waiting);
                    std::mem::replace(&mut self.filling, std::mem::take(&mut self.spare))
                }
                false => std::mem::take(&mut self.rest),
            };
            self.doing = Doing::Writing;
            return Some(Op::WriteAt { file: self.file, offset: self.offset, bytes });
        }
        last.then(|| {
            self.doing = Doing::Closing;
            Op::Close { handle: self.file }
        })
    }

    /// Whether the next write fits the run's limit. The rest of a partial write was counted with the whole.
    fn has_space(&mut self) -> bool {
        let fits = !self.rest.is_empty() || self.space.claim(self.filling.len() as u64);
        (self.broken, self.out_of_space) = (!fits, !fits);
        fits
    }

    /// Handles the completion of a write. Returns the error if the disk refused it.
    pub(crate) fn written(&mut self, mut bytes: Vec<u8>, result: Result<u32, Ended>) -> Option<String> {
        self.doing = Doing::Nothing;
        match result {
            Ok(written) if written > 0 => {
                self.offset += u64::from(written);
                let written = (written as usize).min(bytes.len());
                if written == bytes.len() {
                    bytes.clear();
                    // Memory that a burst needed is not kept afterwards.
                    bytes.shrink_to((4 * written).max(SPARE_BYTES_MIN));
                    (self.spare, self.begun) = (bytes, Vec::new());
                    self.kept += std::mem::take(&mut self.leaving);
                } else {
                    self.begun.extend_from_slice(&bytes[..written]);
                    bytes.drain(..written);
                    self.rest = bytes;
                }
                None
            }
            refused => {
                self.broken = true;
                Some(refused.err().map_or_else(|| "the disk is full".to_owned(), |ended| ended.to_string()))
            }
        }
    }

    /// Handles an operation that the port refused. A port may be unable to write files here; it can always close
    /// them.
    pub(crate) fn refused(&mut self, refused: &SubmitError) {
        match refused.op {
            Op::WriteAt { .. } => (self.doing, self.broken) = (Doing::Nothing, true),
            _ => unreachable!("nothing is in flight on the recording: {}", refused.why),
        }
    }

    /// Ends the recording. Returns how many entries were appended and are not completely in the file.
    pub(crate) fn give_up(&mut self) -> u64 {
        self.broken = true;
        let whole = self.whole_of_begun().min(self.leaving);
        self.kept += whole;
        for buffer in [&mut self.filling, &mut self.rest, &mut self.begun, &mut self.spare] {
            *buffer = Vec::new();
        }
        std::mem::take(&mut self.waiting) + std::mem::take(&mut self.leaving) - whole
    }

    /// Entries that are complete in the part of a write that the disk took.
    fn whole_of_begun(&self) -> u64 {
        let is_first_write = self.offset == self.begun.len() as u64;
        let header = Header { worker: 0, framed: false, table_version: 0, epoch_unix_us: 0 }.to_bytes();
        let header = if is_first_write { &[][..] } else { &header[..] };
        let Ok(mut reader) = Reader::new(header.chain(&self.begun[..])) else { return 0 };
        let mut whole = 0;
        while let Ok(Some(entry)) = reader.next_entry() {
            whole += u64::from(!matches!(entry, Entry::Lost { .. }));
        }
        whole
    }

    /// How many entries became complete in the file since the last call.
    pub(crate) fn take_kept(&mut self) -> u64 {
        std::mem::take(&mut self.kept)
    }

    /// Whether entries are not yet in the file.
    pub(crate) fn has_more(&self) -> bool {
        self.waiting + self.leaving > 0
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.doing == Doing::Closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::ENTRY_BYTES_MAX;
    use naksi_core::ended::{Failure, OsError};
    use naksi_os::port::SubmitErrorKind;

    const HEADER: Header = Header { worker: 3, framed: true, table_version: 7, epoch_unix_us: 1 };

    fn recorder(bytes_max: usize) -> Recorder {
        Recorder::new(Handle::new(0, 1), &HEADER, bytes_max, Arc::new(Space::new(u64::MAX)))
    }

    /// A disk that takes a limited number of bytes of every write.
    fn write(recorder: &mut Recorder, disk: &mut Vec<u8>, last: bool, at_most: usize) -> bool {
        match recorder.register(last, 9) {
            Some(Op::WriteAt { offset, bytes, .. }) => {
                assert_eq!(offset, disk.len() as u64, "each write stands behind the one before");
                let taken = bytes.len().min(at_most);
                disk.extend(&bytes[..taken]);
                assert_eq!(recorder.written(bytes, Ok(taken as u32)), None);
                true
            }
            Some(Op::Close { .. }) => {
                recorder.doing = Doing::Closed;
                false
            }
            Some(other) => panic!("not asked of a file: {other:?}"),
            None => false,
        }
    }

    fn received(at_us: u64, bytes: &[u8]) -> Entry<'_> {
        Entry::Received { at_us, session: 5, bytes }
    }

    #[test]
    fn what_does_not_fit_beside_a_slow_disk_is_dropped_and_told_of() {
        let (mut recorder, mut disk) = (recorder(2 * ENTRY_BYTES_MAX), Vec::new());
        let frame = [7; 1000];
        assert!(recorder.note(&received(0, &frame)));
        let Some(Op::WriteAt { bytes, .. }) = recorder.register(false, 0) else {
            panic!("there is something")
        };
        let noted = (1..=1000).filter(|at_us| recorder.note(&received(*at_us, &frame))).count();
        assert!(recorder.filling.len() <= 2 * ENTRY_BYTES_MAX, "{} bytes wait", recorder.filling.len());
        assert!(noted > 100 && recorder.lost == (1000 - noted as u64, 1000 * (1000 - noted as u64)));
        assert!(recorder.register(false, 0).is_none(), "one write at a time");
        disk.extend(&bytes);
        recorder.written(bytes, Ok(disk.len() as u32));
        while write(&mut recorder, &mut disk, true, 999) {}
        assert!(recorder.is_closed() && !recorder.note(&received(0, &frame)));
        let mut reader = Reader::new(&disk[..]).expect("a recording");
        for at_us in 0..=noted as u64 {
            assert_eq!(reader.next_entry().expect("readable"), Some(received(at_us, &frame)));
        }
        let lost = 1000 - noted as u64;
        let told = Entry::Lost { at_us: 9, entries: lost, bytes: 1000 * lost };
        assert_eq!(reader.next_entry().expect("readable"), Some(told));
        assert!(reader.next_entry().expect("readable").is_none() && !reader.is_torn());
    }

    #[test]
    fn two_buffers_change_places_and_neither_grows_beyond_what_it_may_have() {
        let (mut recorder, frame) = (recorder(2 * ENTRY_BYTES_MAX), [7; 1000]);
        for at_us in 0..40 {
            while recorder.note(&received(at_us, &frame)) {}
            let Some(Op::WriteAt { bytes, .. }) = recorder.register(false, at_us) else { panic!("a write") };
            assert!(bytes.capacity() <= 2 * ENTRY_BYTES_MAX, "{} bytes", bytes.capacity());
            // An entry arrives while the disk is busy, as it does under load.
            assert!(recorder.note(&received(at_us, &frame)));
            let (memory, count) = (bytes.as_ptr(), bytes.len() as u32);
            recorder.written(bytes, Ok(count));
            let spare = &recorder.spare;
            assert!(
                spare.as_ptr() == memory && spare.capacity() > 1000,
                "what was written leaves its memory"
            );
        }
    }

    #[test]
    fn all_recordings_of_a_run_end_when_one_finds_no_space_left_and_none_is_beyond_it() {
        for bytes_max in (0..6000).step_by(37) {
            let space = Arc::new(Space::new(bytes_max));
            let recorder = || Recorder::new(Handle::new(0, 1), &HEADER, 1 << 20, Arc::clone(&space));
            let (mut both, mut disks) = ([recorder(), recorder()], [Vec::new(), Vec::new()]);
            let (mut noted, mut lost) = (0, 0);
            for at_us in 0..60 {
                // One records long entries, the other one short ones.
                let frames = [&[7; 200][..], &[7]];
                for ((recorder, disk), frame) in both.iter_mut().zip(&mut disks).zip(frames) {
                    match recorder.note(&received(at_us, frame)) {
                        true => noted += 1,
                        false => lost += 1,
                    }
                    while write(recorder, disk, false, 150) {}
                    if std::mem::take(&mut recorder.out_of_space) {
                        let dropped = recorder.give_up();
                        (noted, lost) = (noted - dropped, lost + dropped);
                    }
                }
            }
            let bytes: usize = disks.iter().map(Vec::len).sum();
            assert!(bytes as u64 <= bytes_max, "{bytes} of {bytes_max}");
            assert!(both.iter().all(|recorder| recorder.broken), "neither goes on without the other");
            assert_eq!(noted + lost, 120);
            let mut found = 0;
            for disk in disks.iter().filter(|disk| !disk.is_empty()) {
                let mut reader = Reader::new(&disk[..]).expect("a recording");
                while reader.next_entry().expect("readable").is_some() {
                    found += 1;
                }
                assert!(!reader.is_torn());
            }
            assert_eq!(found, noted);
            let ends =
                both.iter_mut().all(|recorder| matches!(recorder.register(true, 99), Some(Op::Close { .. })));
            assert!(ends, "their files can be closed");
        }
    }

    #[test]
    fn a_port_that_can_write_no_files_ends_the_recording_and_lets_it_be_closed() {
        let mut recorder = recorder(1 << 20);
        assert!(recorder.note(&received(0, b"a")));
        let op = recorder.register(true, 0).expect("a write");
        recorder.refused(&SubmitError { op, why: SubmitErrorKind::Unsupported });
        assert_eq!(recorder.give_up(), 1);
        assert!(!recorder.note(&received(1, b"b")));
        assert!(matches!(recorder.register(true, 1), Some(Op::Close { .. })));
    }

    #[test]
    fn of_a_write_that_a_full_disk_took_in_part_its_whole_entries_are_kept_and_the_others_lost() {
        for first in [0, 1] {
            for taken in 0..400 {
                let (mut recorder, mut disk) = (recorder(1 << 20), Vec::new());
                (0..first).for_each(|_| assert!(recorder.note(&received(0, b"a"))));
                assert!(first == 0 || write(&mut recorder, &mut disk, false, usize::MAX));
                (0..9).for_each(|at_us| assert!(recorder.note(&received(at_us, &[7; 20]))));
                if taken > 0 {
                    assert!(write(&mut recorder, &mut disk, false, taken));
                }
                if let Some(Op::WriteAt { bytes, .. }) = recorder.register(false, 9) {
                    assert!(recorder.written(bytes, Ok(0)).is_some());
                }
                let lost = recorder.give_up();
                let mut found = 0;
                if let Ok(mut reader) = Reader::new(&disk[..]) {
                    while reader.next_entry().expect("readable").is_some() {
                        found += 1;
                    }
                }
                assert_eq!((recorder.take_kept(), lost), (found, 9 + first - found), "{taken} bytes");
            }
        }
    }

    #[test]
    fn a_disk_that_refuses_ends_the_recording_and_nothing_else() {
        for refusal in [Ok(0), Err(Ended::Failed(OsError::new(Failure::Other, 28)))] {
            let mut recorder = recorder(1 << 20);
            assert!(recorder.note(&received(0, b"a")));
            let Some(Op::WriteAt { bytes, .. }) = recorder.register(false, 0) else { panic!("a write") };
            assert!(recorder.note(&received(1, b"b")));
            assert!(recorder.written(bytes, refusal).is_some());
            assert_eq!(recorder.give_up(), 2, "neither is in the file");
            assert!(!recorder.note(&received(2, b"c")) && recorder.register(false, 0).is_none());
            assert!(matches!(recorder.register(true, 0), Some(Op::Close { .. })));
        }
    }
}
