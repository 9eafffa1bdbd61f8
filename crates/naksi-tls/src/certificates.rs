//! The certificates of a listener: which one a client is shown, and how they are exchanged while the listener serves.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::client::verify_server_name;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use x509_cert::der::Decode as _;

use crate::error::TlsError;

/// A certificate chain and its private key.
#[derive(Clone, Debug)]
pub struct Identity {
    pub(crate) key: Arc<CertifiedKey>,
    not_after: Option<Duration>,
}

impl Identity {
    /// Reads a chain, the server's own certificate first, and its unencrypted private key (PKCS#8, PKCS#1 or SEC1), both as
    /// PEM. A certificate that has expired is accepted; [`Identity::not_after`] tells.
    ///
    /// # Errors
    /// No certificate, no key, a key of another certificate or of a kind that is not supported.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let chain = certificates(chain).map_err(TlsError::Certificate)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| TlsError::Key(error.to_string()))?;
        let not_after = chain.first().and_then(not_after);
        let key = CertifiedKey::from_der(chain, key, &default_provider())
            .map_err(|error| TlsError::KeyRefused(error.to_string()))?;
        Ok(Self { key: Arc::new(key), not_after })
    }

    /// When its own certificate expires, since 1970; `None` if its dates cannot be read.
    pub fn not_after(&self) -> Option<Duration> {
        self.not_after
    }

    fn is_for(&self, name: &ServerName<'_>) -> bool {
        let parsed = self.key.cert.first().map(ParsedCertificate::try_from);
        matches!(parsed, Some(Ok(parsed)) if verify_server_name(&parsed, name).is_ok())
    }
}

/// The certificates in a PEM; at least one.
pub(crate) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if found.is_empty() => Err("there is no certificate in it".to_owned()),
        Ok(found) => Ok(found),
        Err(error) => Err(error.to_string()),
    }
}

fn not_after(certificate: &CertificateDer<'_>) -> Option<Duration> {
    let certificate = x509_cert::Certificate::from_der(certificate).ok()?;
    Some(certificate.tbs_certificate.validity.not_after.to_unix_duration())
}

/// The certificates of a listener. A handle: its clones exchange the same ones.
#[derive(Clone, Debug)]
pub struct Certificates(Arc<RwLock<Arc<[Identity]>>>);

impl Certificates {
    /// A client is shown the first certificate that is valid for the name that it asks for (SNI), and the first of all if it
    /// names none, or one that none of them is for.
    ///
    /// # Errors
    /// There is none.
    pub fn new(identities: Vec<Identity>) -> Result<Self, TlsError> {
        Ok(Self(Arc::new(RwLock::new(some(identities)?))))
    }

    /// Exchanges them. Handshakes that begin from now on see the new ones; connections that stand are not touched.
    ///
    /// # Errors
    /// There is none: the old ones stay.
    pub fn replace(&self, identities: Vec<Identity>) -> Result<(), TlsError> {
        let identities = some(identities)?;
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = identities;
        Ok(())
    }

    /// When the first of them expires, since 1970; `None` if no date could be read.
    pub fn not_after(&self) -> Option<Duration> {
        self.now().iter().filter_map(Identity::not_after).min()
    }

    fn now(&self) -> Arc<[Identity]> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn some(identities: Vec<Identity>) -> Result<Arc<[Identity]>, TlsError> {
    if identities.is_empty() { Err(TlsError::NoCertificate) } else { Ok(identities.into()) }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let identities = self.now();
        let name = hello.server_name().and_then(|name| ServerName::try_from(name).ok());
        let named = name.and_then(|name| identities.iter().find(|identity| identity.is_for(&name)));
        Some(Arc::clone(&named.or(identities.first())?.key))
    }
}
