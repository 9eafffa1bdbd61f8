//! The operator's view of a running server: a live page at `/`, `/metrics` for Prometheus, `/healthz` and `/readyz`, over
//! HTTP on an address of its own.
//!
//! One thread with one tokio runtime serves it, and it reads the counters that the workers write anyway: no worker does
//! anything for a scrape. On a loopback address it needs no token; on any other address it does not start without one.
//!
//! ```
//! use naksi::prelude::*;
//! # struct Echo;
//! # impl Session for Echo {
//! #     fn on_recv(&mut self, c: &mut Conn, data: &[u8]) -> usize { c.send(data); data.len() }
//! # }
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let service = Server::new().listen("127.0.0.1:0").session(|| Echo).start()?;
//! let admin = naksi_admin::Admin::bind("127.0.0.1:0").token("sixteen-letters-at-least").serve(service.handle())?;
//! println!("admin on http://{}", admin.address());
//! // Serve; the admin server ends when it is dropped, after the service.
//! service.stop(std::time::Duration::from_secs(1));
//! # Ok(())
//! # }
//! ```
//!
//! Bounds: 16 live pages and 64 connections at a time, more are closed at once; 5 s for the head of a request, of at most 8 KiB, and for each
//! write to a reader that takes nothing; 2 KiB of path and query.

#![forbid(unsafe_code)]

#[cfg(doctest)]
#[doc = include_str!("../../../docs/book/src/operating.md")]
mod operating {}

mod access;
mod health;
mod http;
mod live;
mod metrics;
mod process;
mod text;

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::path::Path;
use std::time::Duration;

use naksi::ServiceHandle;

use access::Access;
pub use http::AdminServer;

/// Minimum length of a token, in characters.
pub const TOKEN_LETTERS_MIN: usize = 16;

/// Why the admin server cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// The address is none, or its name stands for none.
    #[error("admin: `{address}` is no address to listen on: {error}")]
    Address {
        /// As it was given.
        address: String,
        /// The system's error.
        error: io::Error,
    },
    /// The address can be reached from other machines, and there is no token.
    #[error(
        "admin: {0} is no loopback address: give a token (--admin-token-file FILE, `admin.token_file`), or listen on 127.0.0.1"
    )]
    NeedsToken(SocketAddr),
    /// The token is too short, or a header could not carry it.
    #[error("admin: {0}")]
    Token(String),
    /// The address is taken, or not of this machine.
    #[error("admin: cannot listen on {address}: {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        error: io::Error,
    },
    /// The system has no thread for it, or refuses what a runtime needs.
    #[error("admin: the server does not start: {0}")]
    System(#[from] io::Error),
}

/// An admin server to be: where it listens, and to which requests it answers.
#[derive(Debug)]
pub struct Admin {
    address: String,
    token: Option<Result<String, AdminError>>,
    hosts: Vec<String>,
    turn_within: Duration,
}

impl Admin {
    /// An admin server on this address, as in `127.0.0.1:9090`; port 0 takes a free port. Of a name that stands for several
    /// addresses the first is taken.
    pub fn bind(address: impl fmt::Display) -> Self {
        Self {
            address: address.to_string(),
            token: None,
            hosts: Vec::new(),
            turn_within: Duration::from_secs(2),
        }
    }

    /// Requests must show this token, as `Authorization: Bearer TOKEN`; `/healthz` and `/readyz` and the empty live page are answered without. It has
    /// at least [`TOKEN_LETTERS_MIN`] printable ASCII characters and no space.
    #[must_use]
    pub fn token(self, token: impl Into<String>) -> Self {
        Self { token: Some(Ok(token.into())), ..self }
    }

    /// The same with the token that is in this file; white space around it does not count. It is read now, and not again.
    #[must_use]
    pub fn token_file(self, path: impl AsRef<Path>) -> Self {
        let path = path.as_ref();
        let read = std::fs::read_to_string(path).map(|text| text.trim().to_owned());
        let refused =
            |error| AdminError::Token(format!("cannot read the token file {}: {error}", path.display()));
        Self { token: Some(read.map_err(refused)), ..self }
    }

    /// Requests may call this server by this host name. IP addresses, `localhost` and the name given to [`Admin::bind`] are
    /// always taken; other names are refused, so that no foreign page reaches it under a name of its own (DNS rebinding).
    #[must_use]
    pub fn host(mut self, name: impl Into<String>) -> Self {
        self.hosts.push(name.into());
        self
    }

    /// `/healthz` fails when a worker has not turned for this long after it was asked to; 2 s by default. A callback that
    /// blocks keeps its worker from turning.
    #[must_use]
    pub fn turn_within(self, within: Duration) -> Self {
        Self { turn_within: within, ..self }
    }

    /// Whether [`Admin::listen`] would accept this, unless the address is taken.
    ///
    /// # Errors
    /// An address or token that makes no sense, and any address but a loopback one without a token.
    pub fn check(self) -> Result<(), AdminError> {
        self.resolve().map(drop)
    }

    /// Takes the address. Connections wait in the kernel until [`BoundAdmin::serve`].
    ///
    /// # Errors
    /// An address or token that makes no sense, an address that is taken, and any address but a loopback one without a
    /// token.
    pub fn listen(self) -> Result<BoundAdmin, AdminError> {
        let turn_within = self.turn_within;
        let (resolved, access) = self.resolve()?;
        let refused = |error| AdminError::Listen { address: resolved, error };
        let listener = TcpListener::bind(resolved).map_err(refused)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok(BoundAdmin { listener, address, access, turn_within })
    }

    /// The address, and the access rules.
    fn resolve(self) -> Result<(SocketAddr, Access), AdminError> {
        let Self { address, token, mut hosts, .. } = self;
        let token = token.transpose()?.map(checked).transpose()?;
        let resolved = address.to_socket_addrs().and_then(|mut addresses| {
            addresses.next().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address"))
        });
        let resolved = resolved.map_err(|error| AdminError::Address { address: address.clone(), error })?;
        if token.is_none() && !resolved.ip().to_canonical().is_loopback() {
            return Err(AdminError::NeedsToken(resolved));
        }
        hosts.extend(address.rsplit_once(':').map(|(name, _)| name.to_owned()));
        Ok((resolved, Access::new(token, hosts)))
    }

    /// Takes the address and serves what there is to see of this service, on a thread of its own.
    ///
    /// # Errors
    /// As for [`Admin::listen`], or no thread.
    pub fn serve(self, service: ServiceHandle) -> Result<AdminServer, AdminError> {
        self.listen()?.serve(service)
    }
}

/// A token that a header can carry and that is not guessed.
fn checked(token: String) -> Result<String, AdminError> {
    if token.len() < TOKEN_LETTERS_MIN {
        let letters = token.len();
        return Err(AdminError::Token(format!(
            "a token has at least {TOKEN_LETTERS_MIN} characters, and this one has {letters}"
        )));
    }
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(AdminError::Token(
            "a token has printable ASCII characters only, and no space".to_owned(),
        ));
    }
    Ok(token)
}

/// An admin server that has its address and does not answer yet.
#[derive(Debug)]
pub struct BoundAdmin {
    listener: TcpListener,
    address: SocketAddr,
    access: Access,
    turn_within: Duration,
}

impl BoundAdmin {
    /// Where it listens, with the port number that the system picked.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves what there is to see of this service, on a thread of its own.
    ///
    /// # Errors
    /// The system has no thread, or refuses what a runtime needs.
    pub fn serve(self, service: ServiceHandle) -> Result<AdminServer, AdminError> {
        let Self { listener, address, access, turn_within } = self;
        Ok(http::serve(listener, address, http::State::new(service, access, turn_within))?)
    }
}
