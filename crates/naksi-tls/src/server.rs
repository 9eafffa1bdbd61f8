//! What a server offers; it makes the wires of a listener's connections.

use std::sync::Arc;
use std::time::Duration;

use naksi_core::limits::Limits;
use naksi_core::wire::{MakeWire, Wire};
use rustls::crypto::ring::{Ticketer, default_provider};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{Connection, ServerConfig, ServerConnection};

use crate::certificates::Certificates;
use crate::client::Roots;
use crate::error::TlsError;
use crate::wire::Tls;

/// Whether clients show a certificate of their own.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum ClientCertificates {
    /// They are not asked for one; the default.
    #[default]
    Unasked,
    /// They may show one, which must then be signed by one of these roots.
    Optional(Roots),
    /// They must show one that is signed by one of these roots.
    Required(Roots),
}

/// What a server offers: TLS 1.3 and 1.2, session tickets whose keys rotate every six hours and are shared by all workers.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    certificates: Certificates,
    protocols: Vec<Vec<u8>>,
    clients: ClientCertificates,
}

impl ServerOptions {
    /// Serves with these certificates. Keep a clone of them to exchange them later.
    pub fn new(certificates: Certificates) -> Self {
        Self { certificates, protocols: Vec::new(), clients: ClientCertificates::default() }
    }

    /// A protocol that is spoken here (ALPN), like `naksi/1`, in order of preference. A client that offers protocols and none
    /// of these is refused; one that offers none is accepted. Without this call any client is accepted.
    #[must_use]
    pub fn protocol(mut self, name: impl Into<Vec<u8>>) -> Self {
        self.protocols.push(name.into());
        self
    }

    /// Whether clients show a certificate of their own.
    #[must_use]
    pub fn client_certificates(mut self, clients: ClientCertificates) -> Self {
        self.clients = clients;
        self
    }

    /// What makes the wires of a listener.
    ///
    /// # Errors
    /// Roots for clients among which there is no certificate; a system without random numbers.
    pub fn wires(self) -> Result<ServerWires, TlsError> {
        let refused = |error: rustls::Error| TlsError::Refused(error.to_string());
        let provider = Arc::new(default_provider());
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let config = config.with_safe_default_protocol_versions().map_err(refused)?;
        let verifier = |roots: &Roots| {
            let roots = Arc::new(roots.store()?);
            Ok(WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider)))
        };
        let no_roots = |error: rustls::server::VerifierBuilderError| TlsError::Roots(error.to_string());
        let clients = match &self.clients {
            ClientCertificates::Unasked => WebPkiClientVerifier::no_client_auth(),
            ClientCertificates::Optional(roots) => {
                verifier(roots)?.allow_unauthenticated().build().map_err(no_roots)?
            }
            ClientCertificates::Required(roots) => verifier(roots)?.build().map_err(no_roots)?,
        };
        let certificates = Arc::new(self.certificates.clone());
        let mut config = config.with_client_cert_verifier(clients).with_cert_resolver(certificates);
        config.alpn_protocols = self.protocols;
        config.ticketer = Ticketer::new().map_err(refused)?;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(ServerWires { config: Arc::new(config), certificates: self.certificates })
    }
}

/// Makes the wires of a listener's connections.
#[derive(Debug)]
pub struct ServerWires {
    config: Arc<ServerConfig>,
    certificates: Certificates,
}

impl ServerWires {
    /// The certificates that it shows.
    pub fn certificates(&self) -> &Certificates {
        &self.certificates
    }
}

impl MakeWire for ServerWires {
    fn scheme(&self) -> &'static str {
        crate::wire::SCHEME
    }

    fn not_after(&self) -> Option<Duration> {
        self.certificates.not_after()
    }

    fn make(self: Arc<Self>, _: bool, _: &Limits) -> Box<dyn Wire> {
        let connection = ServerConnection::new(Arc::clone(&self.config));
        Box::new(Tls::new(Connection::Server(connection.expect("the configuration was accepted before"))))
    }
}
