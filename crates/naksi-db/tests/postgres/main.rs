//! The same guarantees on a real PostgreSQL server, which this program creates, starts, stops and removes.
//!
//! Built with the feature `postgres` only; it needs Debian's `postgresql` package, which `.ci/run` installs. It never
//! uses an existing server.

#![cfg(all(feature = "postgres", unix))]

mod outage;
mod server;
mod work;
