//! The thread that reads and writes files for one port.
//!
//! A file is always "ready" to epoll and may still keep its caller waiting for a disk, and a sync does so
//! for as long as the disk likes; a worker with ten thousand sessions must not stand still for it. So the
//! port moves the work, buffer and all, to a thread of its own, made when the first file is used, and the
//! result comes home through the event that wakes the port. Knows no socket.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::mem;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use crate::in_flight::Key;
use crate::inbox::Inbox;
use crate::linux::waker::Waker;

/// What to do with a file; owns the buffer.
#[derive(Debug)]
pub(super) enum Work {
    Read { offset: u64, buffer: Vec<u8> },
    Write { offset: u64, bytes: Vec<u8> },
    Sync,
}

/// Work that is done: whose it is, the buffer, and a count or a negative number of the system.
pub(super) type Done = (Key, Work, i32);

struct Job {
    key: Key,
    file: Arc<File>,
    work: Work,
}

#[derive(Default)]
struct Papers {
    waiting: VecDeque<Job>,
    done: Vec<Done>,
    closed: bool,
}

struct Shared {
    papers: Mutex<Papers>,
    arrived: Condvar,
    inbox: Arc<Inbox<Waker>>,
}

/// The port's side of the desk.
pub(super) struct Desk {
    shared: Arc<Shared>,
    clerk: Option<JoinHandle<()>>,
    /// Work that has not come home.
    out: usize,
}

impl Desk {
    /// A desk without a clerk, who comes with the first work.
    pub(super) fn new(inbox: &Arc<Inbox<Waker>>) -> Self {
        let inbox = Arc::clone(inbox);
        let shared = Shared { papers: Mutex::default(), arrived: Condvar::new(), inbox };
        Self { shared: Arc::new(shared), clerk: None, out: 0 }
    }

    /// Hands work over.
    pub(super) fn hand_over(&mut self, key: Key, file: &Arc<File>, work: Work) {
        self.out += 1;
        let job = Job { key, file: Arc::clone(file), work };
        if self.clerk.is_none() {
            let shared = Arc::clone(&self.shared);
            let spawned = thread::Builder::new().name("naksi-files".to_owned()).spawn(move || shared.serve());
            match spawned {
                Ok(clerk) => self.clerk = Some(clerk),
                Err(error) => {
                    // Slow is better than never: the port waits for the disk itself.
                    tracing::warn!(%error, "no thread for files: the port reads and writes them itself");
                    let done = job.run();
                    self.shared.lock().done.push(done);
                    self.shared.inbox.nudge();
                    return;
                }
            }
        }
        self.shared.lock().waiting.push_back(job);
        self.shared.arrived.notify_one();
    }

    /// Removes work that has not begun.
    pub(super) fn withdraw(&mut self, key: Key) -> Option<Work> {
        let mut papers = self.shared.lock();
        let place = papers.waiting.iter().position(|job| job.key == key)?;
        let job = papers.waiting.remove(place)?;
        drop(papers);
        self.out -= 1;
        Some(job.work)
    }

    /// Whether any work is out.
    pub(super) fn is_busy(&self) -> bool {
        self.out > 0
    }

    /// Swaps what is done for an empty list, so that both keep their memory.
    pub(super) fn collect(&mut self, empty: &mut Vec<Done>) {
        assert!(empty.is_empty(), "work that came home before was not looked at");
        mem::swap(&mut self.shared.lock().done, empty);
        self.out -= empty.len();
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.arrived.notify_one();
        if self.is_busy() {
            // A disk that does not answer: the thread owns what it works on, and ends by itself.
            return;
        }
        if let Some(clerk) = self.clerk.take() {
            clerk.join().ok(); // a clerk that panicked has nothing of ours
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Papers> {
        // Ignores poisoning: the lists are valid between any two statements.
        self.papers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self) {
        let mut papers = self.lock();
        while !papers.closed {
            let Some(job) = papers.waiting.pop_front() else {
                papers = self.arrived.wait(papers).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            drop(papers);
            let done = job.run();
            papers = self.lock();
            papers.done.push(done);
            drop(papers);
            self.inbox.nudge();
            papers = self.lock();
        }
    }
}

impl Job {
    /// The file is released before the result is published, so that a close after it closes the file.
    fn run(self) -> Done {
        let Job { key, file, mut work } = self;
        let outcome = loop {
            let outcome = match &mut work {
                Work::Read { offset, buffer } => file.read_at(buffer, *offset),
                Work::Write { offset, bytes } => file.write_at(bytes, *offset),
                Work::Sync => file.sync_all().map(|()| 0),
            };
            match outcome {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => break outcome,
            }
        };
        let result = match outcome {
            // Linux moves at most 0x7ffff000 bytes a call (read(2), NOTES).
            Ok(count) => i32::try_from(count).unwrap_or(i32::MAX),
            Err(error) => -error.raw_os_error().unwrap_or(libc::EIO),
        };
        (key, work, result)
    }
}
