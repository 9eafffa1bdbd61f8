//! An entry that a thread of a group takes from its completion queue.

/// What a thread has taken out of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// A piece of work.
    Work(u64),
    /// Nothing came in time.
    Nothing,
    /// The queue has ended for this thread: it takes no more.
    Quit,
}
