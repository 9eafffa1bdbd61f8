//! The tests of the engine, for the backend that this module is named after.

#![expect(clippy::duplicate_mod, reason = "every backend has the same tests, and a name of its own for each")]

mod clients;
mod files;
mod flush;
mod hello;
mod inside;
mod topics;
mod lifetime;
mod limits;
mod remote;
mod shutdown;
mod extremes;
mod payloads;
mod unhandled;

use naksi_os::OsPort;
use naksi_os::port::PortOptions;

use crate::*;

/// The backend under test.
fn backend() -> Backend {
    let (_, name) = module_path!().rsplit_once("::").expect("a module in a program");
    name.parse().expect("the module is named after a backend")
}

fn open_port() -> OsPort {
    let options = PortOptions::default();
    match backend() {
        Backend::Auto => OsPort::open(&options),
        named => OsPort::open_backend(&options, &named.to_string()),
    }
    .expect("a port")
}

fn server() -> Server {
    Server::new().backend(backend()).listen("127.0.0.1:0")
}
