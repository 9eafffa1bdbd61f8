//! TLS (cargo feature `tls`): what a listener or a client needs for it, read from files, and the calls that use it.
//!
//! ```no_run
//! use naksi::prelude::*;
//! use naksi::tls::{Certificates, ServerOptions, identity_from_files};
//! # struct Lobby;
//! # impl Session for Lobby { const FRAMING: Framing = Framing::Packets; }
//!
//! let files = || identity_from_files("play.example.pem", "play.example.key");
//! let certificates = Certificates::new(vec![files()?])?;
//! let server = Server::new().listen_tls("0.0.0.0:7443", ServerOptions::new(certificates.clone()));
//! let service = server.session(|| Lobby).start()?;
//! // When the certificate was renewed: sessions stay, and the old one stays if the new one cannot be read.
//! certificates.replace(vec![files()?])?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::path::Path;
use std::sync::Arc;

pub use naksi_tls::{
    Certificates, ClientCertificates, ClientOptions, Identity, Roots, ServerOptions, TlsError,
};

use naksi_core::wire::MakeWire;
#[cfg(feature = "ws")]
use naksi_core::wire::StackedWires;

use crate::config::address::ToAddresses;
use crate::{Client, Error, Result, Server};

/// What stands before an address of a WebSocket over TLS.
#[cfg(feature = "ws")]
const WSS: &str = "wss://";

/// Reads a certificate chain and its private key from PEM files; they may be one file.
///
/// # Errors
/// [`Error::Config`] with the file and what is wrong with it.
pub fn identity_from_files(chain: impl AsRef<Path>, key: impl AsRef<Path>) -> Result<Identity> {
    let (chain, key) = (chain.as_ref(), key.as_ref());
    let both = (read(chain)?, read(key)?);
    Identity::from_pem(&both.0, &both.1).map_err(|error| match error {
        TlsError::Certificate(_) => in_file(chain, &error),
        _ => in_file(key, &error),
    })
}

/// Reads root certificates to trust from a PEM file.
///
/// # Errors
/// [`Error::Config`] with the file and what is wrong with it.
pub fn roots_from_file(file: impl AsRef<Path>) -> Result<Roots> {
    let file = file.as_ref();
    Roots::from_pem(&read(file)?).map_err(|error| in_file(file, &error))
}

/// The root certificates that this system trusts.
///
/// # Errors
/// [`Error::Config`] if there is none.
pub fn system_roots() -> Result<Roots> {
    let found = rustls_native_certs::load_native_certs();
    Roots::from_der(found.certs.iter().map(|root| root.as_ref())).map_err(|error| {
        let why: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
        Error::Config(
            format!("this system trusts no certificate: {error} {}", why.join("; ")).trim_end().to_owned(),
        )
    })
}

fn read(file: &Path) -> Result<Vec<u8>> {
    std::fs::read(file).map_err(|error| Error::Config(format!("cannot read {}: {error}", file.display())))
}

fn in_file(file: &Path, error: &TlsError) -> Error {
    Error::Config(format!("{}: {error}", file.display()))
}

impl From<TlsError> for Error {
    fn from(error: TlsError) -> Self {
        Error::Config(error.to_string())
    }
}

fn server_wires(options: ServerOptions) -> Result<Arc<dyn MakeWire>> {
    Ok(Arc::new(options.wires()?))
}

fn client_wires(options: ClientOptions) -> Result<Arc<dyn MakeWire>> {
    Ok(Arc::new(options.wires()?))
}

impl Server {
    /// Listens for TLS on an address too, in the same way as [`Server::listen`]. Sessions are told of a connection when its
    /// handshake is done; what is wrong with the options is an error of the start.
    #[must_use]
    pub fn listen_tls(self, address: impl ToAddresses + std::fmt::Debug, options: ServerOptions) -> Self {
        self.listen_over(address, server_wires(options))
    }

    /// Listens for WebSocket over TLS on an address too (`wss://`; cargo features `ws` and `tls`).
    #[cfg(feature = "ws")]
    #[must_use]
    pub fn listen_wss(
        self,
        address: impl ToAddresses + std::fmt::Debug,
        websocket: naksi_ws::ServerOptions,
        options: ServerOptions,
    ) -> Self {
        let wires = server_wires(options)
            .map(|lower| Arc::new(StackedWires::new(WSS, lower, Arc::new(websocket))) as Arc<dyn MakeWire>);
        self.listen_over(address, wires)
    }
}

impl Client {
    /// Connects over TLS. Sessions are told of a connection when its handshake is done; a name that is none is an error of the
    /// start.
    #[must_use]
    pub fn over_tls(self, options: ClientOptions) -> Self {
        self.dial_over(client_wires(options))
    }

    /// Connects over WebSocket over TLS (`wss://`; cargo features `ws` and `tls`).
    #[cfg(feature = "ws")]
    #[must_use]
    pub fn over_wss(self, websocket: naksi_ws::ClientOptions, options: ClientOptions) -> Self {
        let wires = client_wires(options)
            .map(|lower| Arc::new(StackedWires::new(WSS, lower, Arc::new(websocket))) as Arc<dyn MakeWire>);
        self.dial_over(wires)
    }
}
