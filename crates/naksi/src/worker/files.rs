//! Carries out the sessions' file operations on the worker's port; results go to `on_file`.

use std::path::PathBuf;

use naksi_core::completion::Done;
use naksi_core::ended::{Ended, Failure, OsError};
use naksi_core::id::{Handle, SessionId, Token};
use naksi_core::op::Op;
use naksi_os::port::{FileAccess, Port};

use super::Worker;
use super::dispatch::KIND_FILE;
use crate::session::files::{
    FileDone, FileId, FileOp, OPERATIONS_MAX, OpenFile, Operation, Order, READ_BYTES_MAX, Wanted,
};
use crate::session::{Factory, Session};

/// A read of up to this size does not ask for the file's size. Not 0, because the system does not know the size of
/// some files, and because a read beyond the end is valid.
const READ_BYTES_UNSEEN: usize = 64 * 1024;

impl<P: Port + 'static, F: Factory> Worker<P, F> {
    pub(crate) fn carry_out_file_wishes(&mut self) {
        // Operations submitted by these callbacks wait for the next turn, so a session that retries without end does
        // not delay others.
        for _ in 0..self.context.files.file_ops.len() {
            let Some(file_op) = self.context.files.file_ops.pop_front() else { return };
            let bytes_held = file_op.asks().map_or(0, |(_, _, bytes)| bytes);
            match file_op {
                FileOp::Open { owner, tag, path, access } => {
                    let opened = self.open_file(owner, path, access);
                    self.context.files.settle(owner, 0);
                    match opened {
                        Ok((file, bytes)) => self.tell(owner, FileDone::Opened { tag, file, bytes }),
                        Err(error) => self.tell(owner, FileDone::Failed { tag, error }),
                    }
                }
                FileOp::Read { owner, tag, file, offset, bytes } => {
                    self.start((owner, tag, 0), file, offset, |port, handle| {
                        let bytes = read_bytes(bytes, offset, || port.file_bytes(handle))?;
                        Ok(Wanted::Read(bytes))
                    });
                }
                FileOp::Write { owner, tag, file, offset, bytes } => {
                    self.start((owner, tag, bytes_held), file, offset, |_, _| Ok(Wanted::Write(bytes)));
                }
                FileOp::Sync { owner, tag, file } => {
                    self.start((owner, tag, 0), file, 0, |_, _| Ok(Wanted::Sync));
                }
                FileOp::Close { file } => self.close_file(file),
                FileOp::Refuse { owner, tag } => self.refuse(owner, tag),
            }
        }
    }

    /// Tells a session that it has exceeded a limit.
    fn refuse(&mut self, owner: SessionId, tag: u32) {
        self.context.counters.file_refused_total.add(1);
        self.tell(owner, FileDone::Failed { tag, error: OsError::new(Failure::OverLimit, 0) });
    }

    fn open_file(
        &mut self,
        owner: SessionId,
        path: PathBuf,
        access: FileAccess,
    ) -> Result<(FileId, u64), OsError> {
        if self.context.files.files_of(owner) >= self.service_core.limits.files_max {
            self.context.counters.file_refused_total.add(1);
            return Err(OsError::new(Failure::OverLimit, 0));
        }
        let handle = self.port.open_file(&path, access)?;
        let entry = OpenFile { handle, owner, in_flight: 0, order: Order::default(), closing: false };
        let Ok((slot, generation)) = self.context.files.open.insert(entry) else {
            self.close_handle(handle, owner);
            return Err(OsError::new(Failure::DescriptorsExhausted, 0));
        };
        let file = FileId { slot, generation };
        self.context.files.owners.entry(owner).or_default().files.insert(file);
        let known = self.sessions.get(owner.slot(), owner.generation()).is_some();
        let size = self.port.file_bytes(handle);
        if size.is_err() || !known {
            self.close_file(file);
        }
        size.map(|bytes| (file, bytes))
    }

    /// Starts an operation that its session has been charged for.
    fn start(
        &mut self,
        (owner, tag, mut bytes_held): (SessionId, u32, usize),
        file: FileId,
        offset: u64,
        wanted: impl FnOnce(&P, Handle) -> Result<Wanted, OsError>,
    ) {
        let started = self.prepare(owner, &mut bytes_held, file, offset, wanted);
        let Err(error) = started.and_then(|op| self.launch((owner, tag, bytes_held), file, offset, op))
        else {
            return;
        };
        self.context.files.settle(owner, bytes_held);
        if error.kind == Failure::OverLimit {
            self.refuse(owner, tag)
        } else {
            self.tell(owner, FileDone::Failed { tag, error })
        }
    }

    /// Builds the operation, with a buffer for a read; or returns why it cannot.
    fn prepare(
        &mut self,
        owner: SessionId,
        bytes_held: &mut usize,
        file: FileId,
        offset: u64,
        wanted: impl FnOnce(&P, Handle) -> Result<Wanted, OsError>,
    ) -> Result<Op, OsError> {
        let files = &mut self.context.files;
        let usable = |open: &&mut OpenFile| !open.closing && open.owner == owner;
        let open = files.open.get_mut(file.slot, file.generation).filter(usable);
        let handle = open.ok_or(OsError::new(Failure::Invalid, 0))?.handle;
        if files.operations.len() >= OPERATIONS_MAX {
            return Err(OsError::new(Failure::MemoryExhausted, 0));
        }
        Ok(match wanted(&self.port, handle)? {
            Wanted::Read(bytes) if !files.charge(owner, bytes, &self.service_core.limits) => {
                return Err(OsError::new(Failure::OverLimit, 0));
            }
            Wanted::Read(bytes) => {
                *bytes_held += bytes;
                Op::ReadAt { file: handle, offset, buffer: read_buffer(bytes)? }
            }
            Wanted::Write(bytes) => Op::WriteAt { file: handle, offset, bytes },
            Wanted::Sync => Op::Sync { file: handle },
        })
    }

    /// Submits an operation to the port, or keeps a sync until its writes have ended.
    fn launch(
        &mut self,
        (owner, tag, bytes): (SessionId, u32, usize),
        file: FileId,
        offset: u64,
        op: Op,
    ) -> Result<(), OsError> {
        let files = &mut self.context.files;
        let Some(open) = files.open.get_mut(file.slot, file.generation) else {
            unreachable!("the file was open when the operation was made");
        };
        let is_write = matches!(op, Op::WriteAt { .. });
        let sync = if is_write { open.order.write() } else { 0 };
        let operation = Operation { owner, tag, bytes, file: Some(file), offset, sync };
        let Ok((slot, generation)) = files.operations.insert(operation) else {
            unreachable!("there are fewer operations than slots");
        };
        open.in_flight += 1;
        let token = Token::new(KIND_FILE, slot, generation);
        if matches!(op, Op::Sync { .. }) && open.order.sync(token) {
            return Ok(());
        }
        if let Err(refused) = self.port.submit(token, op) {
            tracing::debug!(why = %refused.why, "a file operation was refused");
            open.in_flight -= 1;
            if is_write {
                open.order.written(sync);
            }
            files.operations.remove(slot, generation);
            return Err(OsError::new(Failure::Invalid, 0));
        }
        Ok(())
    }

    /// A write has ended, with or without an error: starts the syncs that waited for it.
    fn written(&mut self, file: FileId, sync: u32) {
        let Some(open) = self.context.files.open.get_mut(file.slot, file.generation) else {
            unreachable!("a file is open while something is in flight on it");
        };
        open.order.written(sync);
        while let Some(token) = open.order.next() {
            if let Err(refused) = self.port.submit(token, Op::Sync { file: open.handle }) {
                unreachable!("a file that is open is synced: {}", refused.why);
            }
        }
    }

    pub(crate) fn process_file(&mut self, token: Token, done: Done) {
        let files = &mut self.context.files;
        let Some(operation) = files.operations.remove(token.slot(), token.generation()) else {
            unreachable!("a file operation ends once");
        };
        let Operation { owner, tag, bytes: held, file: Some(file), offset, sync } = operation else { return };
        files.settle(owner, held);
        if matches!(done, Done::WriteAt(..)) {
            self.written(file, sync);
        }
        let failed = |ended| FileDone::Failed { tag, error: os_error(ended) };
        match done {
            Done::ReadAt(buffer, Ok(bytes)) => {
                self.tell(owner, FileDone::Read { tag, offset, data: &buffer[..bytes as usize] });
            }
            Done::ReadAt(_, Err(Ended::Closed)) => {
                self.tell(owner, FileDone::Read { tag, offset, data: &[] })
            }
            Done::WriteAt(_, Ok(bytes)) => self.tell(owner, FileDone::Written { tag, bytes }),
            Done::Sync(Ok(())) => self.tell(owner, FileDone::Synced { tag }),
            Done::ReadAt(_, Err(ended)) | Done::WriteAt(_, Err(ended)) | Done::Sync(Err(ended)) => {
                self.tell(owner, failed(ended));
            }
            other => unreachable!("no file operation ends with {other:?}"),
        }
        if let Some(open) = self.context.files.open.get_mut(file.slot, file.generation) {
            open.in_flight -= 1;
            if open.closing {
                self.close_file(file);
            }
        }
    }

    /// The session has ended: closes its files as soon as nothing is in flight on them.
    pub(crate) fn abandon_files_of(&mut self, owner: SessionId) {
        let Some(of_owner) = self.context.files.owners.get_mut(&owner) else { return };
        for file in std::mem::take(&mut of_owner.files) {
            self.close_file(file);
        }
        self.context.files.forget_if_empty(owner);
    }

    fn close_file(&mut self, file: FileId) {
        let files = &mut self.context.files;
        let Some(open) = files.open.get_mut(file.slot, file.generation) else { return };
        open.closing = true;
        if open.in_flight > 0 {
            return;
        }
        let (handle, owner) = (open.handle, open.owner);
        files.open.remove(file.slot, file.generation);
        if let Some(of_owner) = files.owners.get_mut(&owner) {
            of_owner.files.remove(&file);
            files.forget_if_empty(owner);
        }
        self.close_handle(handle, owner);
    }

    fn close_handle(&mut self, handle: Handle, owner: SessionId) {
        let operation = Operation { owner, tag: 0, bytes: 0, file: None, offset: 0, sync: 0 };
        let Ok((slot, generation)) = self.context.files.operations.insert(operation) else {
            unreachable!("there are not so many files to close");
        };
        let token = Token::new(KIND_FILE, slot, generation);
        if let Err(refused) = self.port.submit(token, Op::Close { handle }) {
            unreachable!("nothing is in flight on this file: {}", refused.why);
        }
    }

    fn tell(&mut self, owner: SessionId, done: FileDone<'_>) {
        self.with_session(owner.slot(), owner.generation(), |session, cx, callbacks| {
            if session.is_live() {
                session.with_output(cx, callbacks, |callbacks, output| {
                    callbacks.play(output, (), |user, conn| user.on_file(conn, done));
                });
            }
        });
    }
}

/// How many bytes a read can return, because a peer may have chosen the number.
fn read_bytes(
    bytes: usize,
    offset: u64,
    file_bytes: impl FnOnce() -> Result<u64, OsError>,
) -> Result<usize, OsError> {
    if bytes <= READ_BYTES_UNSEEN {
        return Ok(bytes);
    }
    if bytes > READ_BYTES_MAX {
        return Err(OsError::new(Failure::Invalid, 0));
    }
    // If the size is unknown, a handler can still read a little at a time.
    let rest = file_bytes().unwrap_or(0).saturating_sub(offset);
    let rest = usize::try_from(rest).unwrap_or(usize::MAX);
    Ok(bytes.min(rest.max(READ_BYTES_UNSEEN)))
}

/// A buffer of this many bytes, or the error that there is no memory.
fn read_buffer(bytes: usize) -> Result<Vec<u8>, OsError> {
    let mut buffer = Vec::new();
    buffer.try_reserve_exact(bytes).map_err(|_| OsError::new(Failure::MemoryExhausted, 0))?;
    buffer.resize(bytes, 0);
    Ok(buffer)
}

fn os_error(ended: Ended) -> OsError {
    match ended {
        Ended::Failed(error) => error,
        Ended::Closed | Ended::Reset | Ended::Aborted => OsError::new(Failure::Other, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_has_room_for_what_its_file_holds_and_not_for_what_was_asked_for() {
        let (most, little) = (READ_BYTES_MAX, READ_BYTES_UNSEEN);
        let long = 3 * little as u64;
        for (bytes, offset, file_bytes, room) in [
            (most, 0, 4, little),
            (most, 0, long, 3 * little),
            (most, little as u64, long, 2 * little),
            (most, long, long, little),
            (most, u64::MAX, long, little),
            (2 * little, 0, long, 2 * little),
            (little, 0, long, little),
            (3, 0, long, 3),
            (0, 0, long, 0),
        ] {
            let wanted = read_bytes(bytes, offset, || Ok(file_bytes));
            assert_eq!(wanted, Ok(room), "{bytes} at {offset} of {file_bytes}");
            let buffer = read_buffer(room).expect("there is so much memory");
            assert_eq!((buffer.len(), buffer.capacity()), (room, room));
        }
    }

    #[test]
    fn a_read_without_memory_is_an_answer_and_one_of_an_unknown_size_is_made() {
        let none = OsError::new(Failure::MemoryExhausted, 0);
        assert_eq!(read_buffer(usize::MAX), Err(none));
        let invalid = OsError::new(Failure::Invalid, 0);
        assert_eq!(read_bytes(READ_BYTES_MAX + 1, 0, || Ok(u64::MAX)), Err(invalid));
        let unknown = || Err(OsError::new(Failure::DescriptorsExhausted, 24));
        let long = 2 * READ_BYTES_UNSEEN;
        assert_eq!(read_bytes(long, 0, unknown), Ok(READ_BYTES_UNSEEN));
    }
}
