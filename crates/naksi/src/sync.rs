//! Synchronisation types under one path: the standard library's, or loom's under `--cfg loom`.
//!
//! loom explores every interleaving and every value that a weak load may return (`cargo xtask loom`; the models are
//! in `models.rs`). A normal build only re-exports.

#[cfg(not(loom))]
pub(crate) use std::sync::{
    Condvar, Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering},
};

#[cfg(not(loom))]
pub(crate) use crossbeam_queue::SegQueue;

#[cfg(loom)]
pub(crate) use loom::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering},
};

#[cfg(loom)]
pub(crate) use under_loom::{Condvar, SegQueue};

/// Stand-ins for what loom does not have.
#[cfg(loom)]
mod under_loom {
    use std::collections::VecDeque;
    use std::sync::{LockResult, PoisonError};
    use std::time::Duration;

    use loom::sync::{Mutex, MutexGuard};

    /// A replacement for the lock-free queue, which loom cannot instrument: a lock around a list has the same
    /// ordering.
    pub(crate) struct SegQueue<T>(Mutex<VecDeque<T>>);

    impl<T> SegQueue<T> {
        pub(crate) fn new() -> Self {
            Self(Mutex::new(VecDeque::new()))
        }

        pub(crate) fn push(&self, value: T) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push_back(value);
        }

        pub(crate) fn is_empty(&self) -> bool {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
        }

        pub(crate) fn pop(&self) -> Option<T> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
        }
    }

    /// A condition variable whose timeout never expires: code that relies on the timeout is a deadlock in the model.
    #[derive(Debug)]
    pub(crate) struct Condvar(loom::sync::Condvar);

    impl Condvar {
        pub(crate) fn new() -> Self {
            Self(loom::sync::Condvar::new())
        }

        pub(crate) fn notify_all(&self) {
            self.0.notify_all();
        }

        pub(crate) fn wait_timeout_while<'a, T>(
            &self,
            mut guard: MutexGuard<'a, T>,
            _never: Duration,
            mut waits: impl FnMut(&mut T) -> bool,
        ) -> LockResult<(MutexGuard<'a, T>, ())> {
            while waits(&mut guard) {
                guard = self.0.wait(guard).unwrap_or_else(PoisonError::into_inner);
            }
            Ok((guard, ()))
        }
    }
}
