//! Tests of the database's guarantees, on SQLite in a temporary folder. No test relies on timing: expected events are
//! awaited, and unexpected ones are given a chance to happen.

mod closing;
#[cfg(unix)] // By a signal.
mod example;
mod extremes;
mod file;
mod order;
mod outage;
mod relog;
mod rooms;
mod schema;
mod sessions;
mod support;
#[cfg(unix)] // By a signal.
mod told_to_stop;
mod whole;
