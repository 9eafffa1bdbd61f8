//! What a client asks for; it makes the wires of a client's connections.

use std::sync::Arc;

use naksi_core::limits::Limits;
use naksi_core::wire::{MakeWire, Wire};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::default_provider;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, Connection, DigitallySignedStruct, RootCertStore, SignatureScheme,
};

use crate::certificates::{Identity, certificates};
use crate::error::TlsError;
use crate::wire::Tls;

/// Which certificates are trusted.
#[derive(Clone, Debug)]
pub struct Roots(Trusted);

#[derive(Clone, Debug)]
enum Trusted {
    Signed(Arc<RootCertStore>),
    Anything,
}

impl Roots {
    /// Certificates that are signed by one of these, or are one of these, as PEM.
    ///
    /// # Errors
    /// No certificate is in it, or one that is none.
    pub fn from_pem(pem: &[u8]) -> Result<Self, TlsError> {
        let roots = certificates(pem).map_err(TlsError::Roots)?;
        let mut store = RootCertStore::empty();
        for root in roots {
            store.add(root).map_err(|error| TlsError::Roots(error.to_string()))?;
        }
        Ok(Self(Trusted::Signed(Arc::new(store))))
    }

    /// Certificates that are signed by one of these, as DER, the way in which the stores of systems hold them. Those that
    /// cannot be read are left out: such stores have some.
    ///
    /// # Errors
    /// None of them can be read.
    pub fn from_der<'a>(roots: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, TlsError> {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(
            roots.into_iter().map(|root| CertificateDer::from_slice(root).into_owned()),
        );
        if store.is_empty() {
            return Err(TlsError::Roots("none of the certificates can be read".to_owned()));
        }
        Ok(Self(Trusted::Signed(Arc::new(store))))
    }

    /// Any certificate, also one of another server: for tests. Anyone on the way can read and change what is sent.
    pub fn anything() -> Self {
        Self(Trusted::Anything)
    }

    /// The roots, where there must be some.
    pub(crate) fn store(&self) -> Result<RootCertStore, TlsError> {
        match &self.0 {
            Trusted::Signed(store) => Ok(RootCertStore::clone(store)),
            Trusted::Anything => Err(TlsError::Roots("any certificate would do".to_owned())),
        }
    }
}

/// What a client asks for.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    name: String,
    roots: Roots,
    protocols: Vec<Vec<u8>>,
    identity: Option<Identity>,
}

impl ClientOptions {
    /// The server's name, a DNS name or an IP address without a port: its certificate must be valid for it, and signed by one
    /// of these roots.
    pub fn new(name: impl Into<String>, roots: Roots) -> Self {
        Self { name: name.into(), roots, protocols: Vec::new(), identity: None }
    }

    /// A protocol to offer (ALPN), in order of preference.
    #[must_use]
    pub fn protocol(mut self, name: impl Into<Vec<u8>>) -> Self {
        self.protocols.push(name.into());
        self
    }

    /// The certificate that is shown to a server that asks for one.
    #[must_use]
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// What makes the wires of a client's connections.
    ///
    /// # Errors
    /// A name that is none.
    pub fn wires(self) -> Result<ClientWires, TlsError> {
        let refused = |error: rustls::Error| TlsError::Refused(error.to_string());
        let name = ServerName::try_from(self.name.clone()).map_err(|_| TlsError::ServerName(self.name))?;
        let provider = Arc::new(default_provider());
        let verifier: Arc<dyn ServerCertVerifier> = match self.roots.0 {
            Trusted::Signed(store) => {
                WebPkiServerVerifier::builder_with_provider(store, Arc::clone(&provider))
                    .build()
                    .map_err(|error| TlsError::Roots(error.to_string()))?
            }
            Trusted::Anything => Arc::new(Anything(Arc::clone(&provider))),
        };
        let config = ClientConfig::builder_with_provider(provider);
        let config = config.with_safe_default_protocol_versions().map_err(refused)?;
        let config = config.dangerous().with_custom_certificate_verifier(verifier);
        let mut config = match self.identity {
            None => config.with_no_client_auth(),
            Some(identity) => {
                config.with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(identity.key)))
            }
        };
        config.alpn_protocols = self.protocols;
        Ok(ClientWires { config: Arc::new(config), name })
    }
}

/// Makes the wires of a client's connections.
#[derive(Debug)]
pub struct ClientWires {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl MakeWire for ClientWires {
    fn scheme(&self) -> &'static str {
        crate::wire::SCHEME
    }

    fn make(self: Arc<Self>, _: bool, _: &Limits) -> Box<dyn Wire> {
        let connection = ClientConnection::new(Arc::clone(&self.config), self.name.clone());
        Box::new(Tls::new(Connection::Client(connection.expect("the configuration was accepted before"))))
    }
}

/// Accepts any certificate, as long as the server has its key.
#[derive(Debug)]
struct Anything(Arc<CryptoProvider>);

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
