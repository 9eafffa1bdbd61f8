//! A job and who is told of its answer. Nothing here knows when it runs.

use bytes::Bytes;
use std::sync::Arc;
use std::time::Instant;

use naksi::prelude::{Cx, Remote, Room, SessionId};

use crate::conn::Conn;
use crate::crew::Crew;
use crate::error::{Error, Refused, Result};
use crate::lanes::{Key, Kind};

/// A job with its types forgotten.
pub(crate) trait Task: Send {
    /// Runs it, inside a transaction. It may be run again if the transaction failed.
    fn attempt(&mut self, conn: &mut Conn<'_>) -> Result<()>;

    /// Tells the answer: that of the last attempt if that went well.
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

/// A job on its way.
pub(crate) struct Job {
    pub(crate) task: Box<dyn Task>,
    pub(crate) attempts: u32,
    /// What the last attempt failed of.
    pub(crate) error: Option<Error>,
    pub(crate) asked: Instant,
}

/// A job that has been described. Nothing happens before it is said where its answer goes.
#[must_use = "nothing runs before `then`, `send_to` or `forget` says where the answer goes"]
pub struct Asked<'a, J> {
    pub(crate) crew: &'a Arc<Crew>,
    pub(crate) keys: Vec<Key>,
    pub(crate) kind: Kind,
    pub(crate) job: J,
}

impl<J> Asked<'_, J> {
    /// Hands the job over. Its answer is given to this callback on a thread of the database, once; answers of one
    /// key come in the order of their jobs.
    ///
    /// # Errors
    /// The job was not taken; then the callback is not called.
    pub fn then<T>(self, answer: impl FnOnce(Result<T>) + Send + 'static) -> Result<(), Refused>
    where
        T: Send + 'static,
        J: FnMut(&mut Conn<'_>) -> Result<T> + Send + 'static,
    {
        let task = Box::new(Typed { job: self.job, value: None, answer });
        let job = Job { task, attempts: 0, error: None, asked: Instant::now() };
        self.crew.put_in(self.keys, self.kind, job)
    }

    /// Hands the job over. What `packet` makes of its answer is sent to a session. If that session has gone by then,
    /// it is dropped and counted by the session's worker, and no other session gets it (law 3).
    ///
    /// # Errors
    /// The job was not taken; then nothing is sent.
    pub fn send_to<T>(
        self,
        remote: &Remote,
        session: SessionId,
        packet: impl FnOnce(Result<T>) -> Bytes + Send + 'static,
    ) -> Result<(), Refused>
    where
        T: Send + 'static,
        J: FnMut(&mut Conn<'_>) -> Result<T> + Send + 'static,
    {
        let remote = remote.clone();
        self.then(move |answer| {
            if let Err(error) = remote.send(session, packet(answer)) {
                tracing::warn!(%session, %error, "an answer of the database could not be handed over");
            }
        })
    }

    /// Hands the job over from a room. Its answer comes home to the room, as a call behind what the room was brought
    /// before; a room that has ended by then does not hear it.
    ///
    /// # Errors
    /// The job was not taken; then the callback is not called.
    pub fn then_in<T, R>(
        self,
        cx: &Cx<'_, R>,
        answer: impl FnOnce(&mut R, &mut Cx<'_, R>, Result<T>) + Send + 'static,
    ) -> Result<(), Refused>
    where
        T: Send + 'static,
        R: Room,
        J: FnMut(&mut Conn<'_>) -> Result<T> + Send + 'static,
    {
        let room = cx.room().ok_or(Refused::RoomEnded)?;
        self.then(move |value| {
            if let Err(error) = room.call(move |room, cx| answer(room, cx, value)) {
                tracing::debug!(room = room.number(), %error, "an answer of the database came too late");
            }
        })
    }

    /// As [`Asked::then_in`], for a member of the room: an answer for a member that has gone by then is dropped and
    /// counted, and whoever took its place does not hear of it (law 3).
    ///
    /// # Errors
    /// The job was not taken; then the callback is not called.
    pub fn then_for<T, R>(
        self,
        cx: &Cx<'_, R>,
        member: SessionId,
        answer: impl FnOnce(&mut R, &mut Cx<'_, R>, SessionId, Result<T>) + Send + 'static,
    ) -> Result<(), Refused>
    where
        T: Send + 'static,
        R: Room,
        J: FnMut(&mut Conn<'_>) -> Result<T> + Send + 'static,
    {
        let crew = Arc::clone(self.crew);
        self.then_in(cx, move |room, cx, value| match cx.contains(member) {
            true => answer(room, cx, member, value),
            false => crew.count_gone(),
        })
    }

    /// Hands the job over and logs it if it fails.
    ///
    /// # Errors
    /// The job was not taken.
    pub fn forget<T>(self) -> Result<(), Refused>
    where
        T: Send + 'static,
        J: FnMut(&mut Conn<'_>) -> Result<T> + Send + 'static,
    {
        self.then(|answer: Result<T>| {
            if let Err(error) = answer {
                tracing::error!(%error, "a job of the database failed, and nobody waits for it");
            }
        })
    }
}

impl<J> std::fmt::Debug for Asked<'_, J> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Asked({:?}, {:?})", self.kind, self.keys)
    }
}
