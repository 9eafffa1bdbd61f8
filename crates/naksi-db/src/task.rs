//! A job and where its answer is delivered.

use bytes::Bytes;
use std::sync::Arc;
use std::time::Instant;

use naksi::prelude::{Cx, Room, ServiceHandle, SessionId};

use crate::conn::Conn;
use crate::error::{Error, Result, SubmitError};
use crate::executor::Executor;
use crate::keyed_queue::{Key, Kind};

/// A type-erased job.
pub(crate) trait Task: Send {
    /// Runs it inside a transaction; called again if it is retried.
    fn attempt(&mut self, conn: &mut Conn<'_>) -> Result<()>;

    /// Delivers the answer: the value of the last attempt, or the error.
    fn answer(self: Box<Self>, outcome: Result<()>);
}

struct Typed<T, J, A> {
    job: J,
    value: Option<T>,
    answer: A,
}

impl<T, J, A> Task for Typed<T, J, A>
where
    T: Send,
    J: FnMut(&mut Conn<'_>) -> Result<T> + Send,
    A: FnOnce(Result<T>) + Send,
{
    fn attempt(&mut self, conn: &mut Conn<'_>) -> Result<()> {
        self.value = Some((self.job)(conn)?);
        Ok(())
    }

    fn answer(self: Box<Self>, outcome: Result<()>) {
        let Typed { value, answer, .. } = *self;
        answer(outcome.map(|()| value.expect("an attempt that went well has a value")));
    }
}

/// An accepted job.
pub(crate) struct Job {
    pub(crate) task: Box<dyn Task>,
    pub(crate) attempts: u32,
    /// The error of the last attempt.
    pub(crate) error: Option<Error>,
    pub(crate) asked: Instant,
}

/// A job that is not submitted yet: `then`, `send_to`, `then_in`, `then_for` or `forget` submits it and says where
/// its answer goes.
#[must_use = "the job is submitted by `then`, `send_to`, `then_in`, `then_for` or `forget`"]
pub struct JobRequest<'a, J> {
    pub(crate) executor: &'a Arc<Executor>,
    pub(crate) keys: Vec<Key>,
    pub(crate) kind: Kind,
    pub(crate) job: J,
}

impl<J> JobRequest<'_, J> {
    /// Submits the job. The callback gets the answer once, on a thread of the database; answers of one key come in the
    /// order of their jobs.
    ///
    /// # Errors
    /// The job was not taken; then the callback is not called.
    pub fn then<T>(self, answer: impl FnOnce(Result<T>) + Send + 'static) -> Result<(), SubmitError>
    where
        T: Send + 'static,
        J: FnMut(&mut Conn<'_>) -> Result<T> + Send + 'static,
    {
        let task = Box::new(Typed { job: self.job, value: None, answer });
        let job = Job { task, attempts: 0, error: None, asked: Instant::now() };
        self.executor.submit(self.keys, self.kind, job)
    }

    /// Submits the job. `packet` encodes the answer, which is sent to a session. If that session has ended, the packet
    /// is dropped and counted by the session's worker; no other session gets it (law 3).
    ///
    /// # Errors
    /// The job was not taken; then nothing is sent.
    pub fn send_to<T>(
        self,
        remote: &ServiceHandle,
        session: SessionId,
        packet: impl FnOnce(Result<T>) -> Bytes + Send + 'static,
    ) -> Result<(), SubmitError>
    where
        T: Send + 'static,
        J: FnMut(&mut Conn<'_>) -> Result<T> + Send + 'static,
    {
        let remote = remote.clone();
        self.then(move |answer| {
            if let Err(error) = remote.send(session, packet(answer)) {
                tracing::warn!(%session, %error, "a database answer could not be queued for its session");
            }
        })
    }

    /// Submits the job from a room. The answer is delivered inside the room, behind the events that the room already
    /// has; if the room has ended, it is dropped.
    ///
    /// # Errors
    /// The job was not taken; then the callback is not called.
    pub fn then_in<T, R>(
        self,
        cx: &Cx<'_, R>,
        answer: impl FnOnce(&mut R, &mut Cx<'_, R>, Result<T>) + Send + 'static,
    ) -> Result<(), SubmitError>
    where
        T: Send + 'static,
        R: Room,
        J: FnMut(&mut Conn<'_>) -> Result<T> + Send + 'static,
    {
        let room = cx.room().ok_or(SubmitError::RoomEnded)?;
        self.then(move |value| {
            if let Err(error) = room.call(move |room, cx| answer(room, cx, value)) {
                tracing::debug!(room = room.number(), %error, "a database answer was dropped: its room has ended");
            }
        })
    }

    /// As [`JobRequest::then_in`], for a member of the room: if the member has left by then, the answer is dropped and
    /// counted, and a member that took its slot does not get it (law 3).
    ///
    /// # Errors
    /// The job was not taken; then the callback is not called.
    pub fn then_for<T, R>(
        self,
        cx: &Cx<'_, R>,
        member: SessionId,
        answer: impl FnOnce(&mut R, &mut Cx<'_, R>, SessionId, Result<T>) + Send + 'static,
    ) -> Result<(), SubmitError>
    where
        T: Send + 'static,
        R: Room,
        J: FnMut(&mut Conn<'_>) -> Result<T> + Send + 'static,
    {
        let executor = Arc::clone(self.executor);
        self.then_in(cx, move |room, cx, value| match cx.contains(member) {
            true => answer(room, cx, member, value),
            false => executor.count_gone(),
        })
    }

    /// Submits the job, and logs an error if it fails.
    ///
    /// # Errors
    /// The job was not taken.
    pub fn forget<T>(self) -> Result<(), SubmitError>
    where
        T: Send + 'static,
        J: FnMut(&mut Conn<'_>) -> Result<T> + Send + 'static,
    {
        self.then(|answer: Result<T>| {
            if let Err(error) = answer {
                tracing::error!(%error, "a database job without a callback failed");
            }
        })
    }
}

impl<J> std::fmt::Debug for JobRequest<'_, J> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "JobRequest({:?}, {:?})", self.kind, self.keys)
    }
}
