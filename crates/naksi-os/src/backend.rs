//! What you need to write a port of your own: a backend for another kernel, or a simulated one.
//!
//! A backend implements [`Port`](crate::port::Port) and [`Poster`](crate::port::Poster). The laws at the top of
//! [`crate::port`] are the same for all; this module holds the tables with which the ports of this crate keep
//! them, so that a new backend need not invent its own:
//!
//! * [`HandleTable`]: what is open, of which [`HandleKind`], and which [`Direction`] of it is busy (laws 2 to 4).
//!   [`needed`] says what an operation needs of it.
//! * [`InFlight`]: what the kernel may touch, under a [`Key`] that travels with the operation and is checked when its
//!   completion comes back (laws 1 to 3 and 10).
//! * [`LeasePool`] and [`Buffer`]: the buffers of received bytes (law 5).
//! * [`SubmitErrorKind::of_any_system`](crate::port::SubmitErrorKind::of_any_system): what no port accepts.
//!
//! Completions have no constructor: a [`Completion`] is a token, a [`Done`] and `more`, all of them public. A `Done`
//! carries the buffer of its operation, and the crate's convention is that `more` is `false` in the last one.
//!
//! `naksi-sim` is a backend that is written on this module alone, and its contract suite (`naksi_sim::conform`) checks
//! any other: implement its `Harness` for your port and run its scenarios.
//!
//! # Examples
//!
//! An operation from its submission to its last completion:
//!
//! ```
//! use naksi_core::id::Token;
//! use naksi_core::op::Op;
//! use naksi_os::backend::{Completion, Done, Finished, HandleKind, HandleTable, InFlight, needed};
//!
//! let mut handles = HandleTable::default();
//! let socket = handles.insert(HandleKind::Stream, "what the kernel calls it");
//!
//! let op = Op::Recv { socket };
//! let (handle, kind, direction) = needed(&op).expect("a receive needs a socket");
//! handles.begin(handle, kind, direction).expect("the direction is free");
//! let mut in_flight = InFlight::default();
//! let key = in_flight.start(Token::new(1, 7, 0), op);
//! assert!(handles.remove(socket).is_err(), "nothing is closed under an operation in flight");
//!
//! // The kernel has answered: the key came back with its completion.
//! let Finished::Wanted(token, _op) = in_flight.finish(key) else { unreachable!("a key of this table") };
//! handles.end(handle, direction);
//! let done = Done::Recv(Err(naksi_core::ended::Ended::Closed));
//! let _completion = Completion { token, done, more: false };
//! assert!(handles.remove(socket).is_ok());
//! ```

pub use naksi_core::completion::{Accepted, Completion, Connected, Datagram, Done};
pub use naksi_core::lease::{Buffer, LeasePool};

pub use crate::handles::{Direction, HandleKind, HandleTable, needed};
pub use crate::in_flight::{Finished, InFlight, Key};
