//! What is wrong with a certificate, a key or an option.

/// Why TLS could not be set up. The text says what to do, and names no file: the caller knows it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The certificate's PEM could not be read.
    #[error("the certificate is no PEM (`-----BEGIN CERTIFICATE-----`): {0}")]
    Certificate(String),
    /// The private key's PEM could not be read.
    #[error("the private key is no unencrypted PEM (PKCS#8, PKCS#1 or SEC1): {0}")]
    Key(String),
    /// The key is of a kind that is not supported, or belongs to another certificate.
    #[error("the private key does not fit: {0}")]
    KeyRefused(String),
    /// A listener needs at least one certificate.
    #[error("a TLS listener needs a certificate and its private key")]
    NoCertificate,
    /// The roots to trust could not be read, or there are none.
    #[error("there is no root certificate to trust: {0}")]
    Roots(String),
    /// What a server is called is neither a DNS name nor an IP address.
    #[error("`{0}` is neither a DNS name nor an IP address")]
    ServerName(String),
    /// rustls refuses the options.
    #[error("TLS cannot be set up: {0}")]
    Refused(String),
}
