//! The same promises on a real PostgreSQL server, which this program makes, starts, stops and removes.
//!
//! Built with the feature `postgres` only; it needs Debian's `postgresql` package (`.ci/run` sees to
//! that). Nothing here uses a server that was there before.

#![cfg(all(feature = "postgres", unix))]

mod outage;
mod server;
mod work;
