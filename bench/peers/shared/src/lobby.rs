//! Rooms for async servers whose tasks stay on one thread: the pending output of each connection, and the wakers of
//! the tasks that write it.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use crate::{BadFrame, Hall, OUTBOX_BYTES_MAX};

#[derive(Debug, Default)]
struct Inner {
    hall: Hall,
    wakers: Vec<Option<Waker>>,
    open: Vec<bool>,
    free: Vec<usize>,
}

/// The rooms of one thread.
#[derive(Clone, Debug, Default)]
pub struct Lobby(Rc<RefCell<Inner>>);

/// One connection's state, shared by its reader and its writer.
#[derive(Clone, Debug)]
pub struct Seat {
    lobby: Lobby,
    number: usize,
}

impl Lobby {
    /// A connection has come.
    pub fn enter(&self) -> Seat {
        let mut inner = self.0.borrow_mut();
        let number = inner.free.pop().unwrap_or(inner.open.len());
        if number == inner.open.len() {
            inner.open.push(false);
            inner.wakers.push(None);
        }
        inner.open[number] = true;
        inner.hall.enter(number);
        Seat { lobby: self.clone(), number }
    }
}

impl Seat {
    /// Handles received bytes and wakes the members that have something to send.
    ///
    /// # Errors
    /// Why the connection must end.
    pub fn receive(&self, bytes: &[u8]) -> Result<(), BadFrame> {
        let mut inner = self.lobby.0.borrow_mut();
        let received = inner.hall.receive(self.number, bytes);
        for number in inner.hall.take_dirty() {
            if inner.hall.outbox(number).len() > OUTBOX_BYTES_MAX {
                inner.open[number] = false; // It does not read.
            }
            if let Some(waker) = inner.wakers[number].take() {
                waker.wake();
            }
        }
        received
    }

    /// The data to send, in exchange for a buffer to reuse; `None` when the connection is over.
    pub async fn next(&self, mut spare: Vec<u8>) -> Option<Vec<u8>> {
        spare.clear();
        poll_fn(|context| {
            let mut inner = self.lobby.0.borrow_mut();
            if !inner.open[self.number] {
                return Poll::Ready(None);
            }
            if inner.hall.outbox(self.number).is_empty() {
                inner.wakers[self.number] = Some(context.waker().clone());
                return Poll::Pending;
            }
            let spare = std::mem::take(&mut spare);
            Poll::Ready(Some(std::mem::replace(inner.hall.outbox(self.number), spare)))
        })
        .await
    }

    /// The reader is done: the writer ends too.
    pub fn leave(&self) {
        let mut inner = self.lobby.0.borrow_mut();
        inner.open[self.number] = false;
        inner.hall.leave(self.number);
        if let Some(waker) = inner.wakers[self.number].take() {
            waker.wake();
        }
    }

    /// Both are done: the place is free again.
    pub fn free(self) {
        self.lobby.0.borrow_mut().free.push(self.number);
    }
}
