//! The database against what it promises, on SQLite in a folder of its own. Nothing here waits to be lucky: what is
//! to happen is waited for, and what must not is made possible first.

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
