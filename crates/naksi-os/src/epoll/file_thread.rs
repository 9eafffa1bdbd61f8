//! The thread that reads and writes files for one port.
//!
//! A file is always "ready" for epoll, but reading it may block on a disk, and a sync may block for long; a worker
//! with ten thousand sessions must not wait for it. So the port moves the work with its buffer to a thread of its
//! own, which is started when the first file is used, and the result returns through the event that wakes the port.

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

/// Finished work: its key, the work with its buffer, and a count or a negative error number.
pub(super) type Done = (Key, Work, i32);

struct Job {
    key: Key,
    file: Arc<File>,
    work: Work,
}

#[derive(Default)]
struct Jobs {
    waiting: VecDeque<Job>,
    done: Vec<Done>,
    closed: bool,
}

struct Shared {
    jobs: Mutex<Jobs>,
    arrived: Condvar,
    inbox: Arc<Inbox<Waker>>,
}

/// The port's handle of its file thread.
pub(super) struct FileThread {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    /// Jobs that were handed over and not collected yet.
    out: usize,
}

impl FileThread {
    /// The thread itself is started with the first job.
    pub(super) fn new(inbox: &Arc<Inbox<Waker>>) -> Self {
        let inbox = Arc::clone(inbox);
        let shared = Shared { jobs: Mutex::default(), arrived: Condvar::new(), inbox };
        Self { shared: Arc::new(shared), thread: None, out: 0 }
    }

    /// Hands work over.
    pub(super) fn hand_over(&mut self, key: Key, file: &Arc<File>, work: Work) {
        self.out += 1;
        let job = Job { key, file: Arc::clone(file), work };
        if self.thread.is_none() {
            let shared = Arc::clone(&self.shared);
            let spawned = thread::Builder::new().name("naksi-files".to_owned()).spawn(move || shared.serve());
            match spawned {
                Ok(thread) => self.thread = Some(thread),
                Err(error) => {
                    // Slow is better than not at all: the port waits for the disk itself.
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
        let mut jobs = self.shared.lock();
        let place = jobs.waiting.iter().position(|job| job.key == key)?;
        let job = jobs.waiting.remove(place)?;
        drop(jobs);
        self.out -= 1;
        Some(job.work)
    }

    /// Whether any work is out.
    pub(super) fn is_busy(&self) -> bool {
        self.out > 0
    }

    /// Swaps the finished work for an empty list, so that both keep their memory.
    pub(super) fn collect(&mut self, empty: &mut Vec<Done>) {
        assert!(empty.is_empty(), "work that came home before was not looked at");
        mem::swap(&mut self.shared.lock().done, empty);
        self.out -= empty.len();
    }
}

impl Drop for FileThread {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.arrived.notify_one();
        if self.is_busy() {
            // The disk does not answer: the thread owns what it works on, and ends by itself.
            return;
        }
        if let Some(thread) = self.thread.take() {
            thread.join().ok(); // a thread that panicked holds nothing of the port
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Jobs> {
        // Ignores poisoning: the lists are valid between any two statements.
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self) {
        let mut jobs = self.lock();
        while !jobs.closed {
            let Some(job) = jobs.waiting.pop_front() else {
                jobs = self.arrived.wait(jobs).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            drop(jobs);
            let done = job.run();
            jobs = self.lock();
            jobs.done.push(done);
            drop(jobs);
            self.inbox.nudge();
            jobs = self.lock();
        }
    }
}

impl Job {
    /// The file is released before the result is published, so that a later close closes the file.
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
