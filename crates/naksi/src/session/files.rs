//! The files that sessions have open: their owners, the operations in flight, and which syncs wait for which writes.
//!
//! Reads and writes carry their own offset, so any number may be in flight on one file (lecture 002). A file belongs
//! to the session that opened it and is closed with it. `worker/files.rs` carries the requests out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;

use naksi_core::ended::OsError;
use naksi_core::id::{Handle, SessionId, Token};
use naksi_core::limits::Limits;
use naksi_core::table::Table;
use naksi_os::port::FileAccess;

/// Most files that one worker has open.
pub(crate) const FILES_MAX: usize = 65_536;
/// Most operations of one worker in flight. Closes are not counted, because they must not be refused.
pub(crate) const OPERATIONS_MAX: usize = 65_536;
/// Operations that a token can name.
pub(crate) const SLOTS_MAX: usize = SessionId::SLOTS_MAX as usize;

/// Most bytes of one read, 1 GiB, so that an unchecked number from a peer cannot use up all memory.
pub const READ_BYTES_MAX: usize = 1 << 30;

/// Identifies an open file of a session; stale once the file is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileId {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

/// What became of a file operation.
#[derive(Debug)]
pub enum FileDone<'a> {
    /// The file is open and has this many bytes.
    Opened {
        /// The number given with the file operation.
        tag: u32,
        /// Its name.
        file: FileId,
        /// Its size in bytes.
        bytes: u64,
    },
    /// The bytes read: fewer than requested at the file's end, none beyond it.
    Read {
        /// The number given with the file operation.
        tag: u32,
        /// Where it was read.
        offset: u64,
        /// What was read.
        data: &'a [u8],
    },
    /// This many bytes were written.
    Written {
        /// The number given with the file operation.
        tag: u32,
        /// Bytes written; fewer than requested if the disk is full.
        bytes: u32,
    },
    /// All writes submitted before the sync are on stable storage, except those that failed.
    Synced {
        /// The number given with the file operation.
        tag: u32,
    },
    /// It could not be done.
    Failed {
        /// The number given with the file operation.
        tag: u32,
        /// Why.
        error: OsError,
    },
}

/// An operation on a file, as a callback submits it.
#[derive(Debug)]
pub(crate) enum FileOp {
    Open {
        owner: SessionId,
        tag: u32,
        path: PathBuf,
        access: FileAccess,
    },
    Read {
        owner: SessionId,
        tag: u32,
        file: FileId,
        offset: u64,
        bytes: usize,
    },
    Write {
        owner: SessionId,
        tag: u32,
        file: FileId,
        offset: u64,
        bytes: Vec<u8>,
    },
    Sync {
        owner: SessionId,
        tag: u32,
        file: FileId,
    },
    Close {
        file: FileId,
    },
    /// An operation that its session's limits do not allow.
    Refuse {
        owner: SessionId,
        tag: u32,
    },
}

impl FileOp {
    /// The session to answer, its tag, and the bytes that the operation holds until then. A close has no answer.
    pub(crate) fn asks(&self) -> Option<(SessionId, u32, usize)> {
        match self {
            FileOp::Open { owner, tag, .. }
            | FileOp::Read { owner, tag, .. }
            | FileOp::Sync { owner, tag, .. } => Some((*owner, *tag, 0)),
            FileOp::Write { owner, tag, bytes, .. } => Some((*owner, *tag, bytes.capacity())),
            FileOp::Close { .. } | FileOp::Refuse { .. } => None,
        }
    }
}

/// A session's use of files; kept while it has any.
#[derive(Default)]
pub(crate) struct Owner {
    /// Its open files.
    pub(crate) files: BTreeSet<FileId>,
    /// Operations that it submitted and that have not been answered.
    pub(crate) operations: usize,
    /// Bytes of the reads and writes among them.
    pub(crate) bytes: usize,
}

pub(crate) struct OpenFile {
    pub(crate) handle: Handle,
    pub(crate) owner: SessionId,
    pub(crate) in_flight: u32,
    pub(crate) order: Order,
    /// Close as soon as nothing is in flight.
    pub(crate) closing: bool,
}

/// Which syncs of a file wait for which writes. No system orders a sync after writes that are in flight.
#[derive(Default)]
pub(crate) struct Order {
    /// Writes in flight that no waiting sync waits for.
    writes: u32,
    /// Waiting syncs, each with the number of writes since the sync before it.
    waiting: VecDeque<(u32, Token)>,
    /// The number of the first of them.
    first: u32,
}

impl Order {
    /// A write begins. Returns the number of the first sync that has to wait for it.
    pub(crate) fn write(&mut self) -> u32 {
        self.writes += 1;
        self.first.wrapping_add(self.waiting.len() as u32)
    }

    /// A sync is requested. Returns whether it has to wait.
    pub(crate) fn sync(&mut self, token: Token) -> bool {
        let waits = self.writes > 0 || !self.waiting.is_empty();
        if waits {
            self.waiting.push_back((std::mem::take(&mut self.writes), token));
        }
        waits
    }

    /// A write has ended.
    pub(crate) fn written(&mut self, number: u32) {
        match self.waiting.get_mut(number.wrapping_sub(self.first) as usize) {
            Some((writes, _)) => *writes -= 1,
            None => self.writes -= 1,
        }
    }

    /// The next sync whose writes have all ended.
    pub(crate) fn next(&mut self) -> Option<Token> {
        let (_, token) = self.waiting.front().filter(|(writes, _)| *writes == 0).copied()?;
        self.waiting.pop_front();
        self.first = self.first.wrapping_add(1);
        Some(token)
    }
}

pub(crate) struct Operation {
    pub(crate) owner: SessionId,
    pub(crate) tag: u32,
    /// What it adds to its session's bytes.
    pub(crate) bytes: usize,
    /// `None`: a close, whose result is not needed.
    pub(crate) file: Option<FileId>,
    pub(crate) offset: u64,
    /// For a write: the number of the first sync that has to wait for it.
    pub(crate) sync: u32,
}

/// What an operation on an open file does.
pub(crate) enum Wanted {
    /// Read so many bytes.
    Read(usize),
    /// Write these.
    Write(Vec<u8>),
    Sync,
}

/// The open files of one worker and what is in flight on them.
pub(crate) struct Files {
    pub(crate) file_ops: VecDeque<FileOp>,
    pub(crate) open: Table<OpenFile>,
    pub(crate) operations: Table<Operation>,
    pub(crate) owners: BTreeMap<SessionId, Owner>,
}

impl Default for Files {
    fn default() -> Self {
        Self {
            file_ops: VecDeque::new(),
            open: Table::new(FILES_MAX),
            operations: Table::new(SLOTS_MAX),
            owners: BTreeMap::new(),
        }
    }
}

impl Files {
    /// Accepts a file operation. Returns whether its session's limits allow it; if not, the answer is a refusal.
    pub(crate) fn submit(&mut self, file_op: FileOp, limits: &Limits) -> bool {
        let Some((owner, tag, bytes)) = file_op.asks() else {
            self.file_ops.push_back(file_op);
            return true;
        };
        let of_owner = self.owners.entry(owner).or_default();
        let fits = of_owner.operations < limits.file_operations_max
            && of_owner.bytes.saturating_add(bytes) <= limits.file_bytes_max;
        if fits {
            of_owner.operations += 1;
            of_owner.bytes += bytes;
        }
        self.file_ops.push_back(if fits { file_op } else { FileOp::Refuse { owner, tag } });
        self.forget_if_empty(owner);
        fits
    }

    /// An operation of the session has ended: releases its charge.
    pub(crate) fn settle(&mut self, owner: SessionId, bytes: usize) {
        let of_owner = self.owners.get_mut(&owner).expect("a session with an operation is known");
        of_owner.operations -= 1;
        of_owner.bytes -= bytes;
        self.forget_if_empty(owner);
    }

    /// Charges a read's bytes to the session, if its limit allows.
    pub(crate) fn charge(&mut self, owner: SessionId, bytes: usize, limits: &Limits) -> bool {
        let of_owner = self.owners.get_mut(&owner).expect("a session with an operation is known");
        let fits = of_owner.bytes.saturating_add(bytes) <= limits.file_bytes_max;
        if fits {
            of_owner.bytes += bytes;
        }
        fits
    }

    pub(crate) fn forget_if_empty(&mut self, owner: SessionId) {
        let empty = |of_owner: &Owner| of_owner.files.is_empty() && of_owner.operations == 0;
        if self.owners.get(&owner).is_some_and(empty) {
            self.owners.remove(&owner);
        }
    }

    pub(crate) fn files_of(&self, owner: SessionId) -> usize {
        self.owners.get(&owner).map_or(0, |of_owner| of_owner.files.len())
    }

    pub(crate) fn has_file_ops(&self) -> bool {
        !self.file_ops.is_empty()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty() && self.operations.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sync_waits_for_the_writes_before_it_and_for_no_other() {
        let token = |number| Token::new(19, number, 0);
        let mut order = Order { first: u32::MAX, ..Order::default() };
        assert!(!order.sync(token(0)), "nothing is in flight");
        let (one, two) = (order.write(), order.write());
        assert!(order.sync(token(1)));
        assert!(order.sync(token(2)), "syncs keep their order");
        let three = order.write();
        assert!(order.sync(token(3)));
        let four = order.write();
        order.written(three);
        order.written(two);
        assert_eq!(order.next(), None, "the first write is still in flight");
        order.written(one);
        let ready: Vec<_> = std::iter::from_fn(|| order.next()).collect();
        assert_eq!(ready, [token(1), token(2), token(3)]);
        assert!(order.sync(token(4)), "the last write is in flight");
        order.written(four);
        assert_eq!((order.next(), order.next()), (Some(token(4)), None));
    }
}
