//! TLS 1.3 and 1.2 as a [`Wire`](naksi_core::wire::Wire), for servers and clients.
//!
//! rustls with ring does the protocol. Here are the two verbs of a wire on top of it, the certificates of a listener, which
//! may be exchanged while it serves, and the reasons for which a connection ends. Early data (0-RTT) is off: it can be replayed.
//! What several sessions are sent is encrypted for each of them: a broadcast costs a copy per member, unlike with plain TCP.
//!
//! Nothing here knows a socket, a file or the engine.

#![forbid(unsafe_code)]

mod certificates;
mod client;
mod error;
mod records;
mod server;
mod wire;

pub use certificates::{Certificates, Identity};
pub use client::{ClientOptions, ClientWires, Roots};
pub use error::TlsError;
pub use server::{ClientCertificates, ServerOptions, ServerWires};
pub use wire::Tls;
