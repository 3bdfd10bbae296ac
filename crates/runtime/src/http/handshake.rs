//! The TLS handshake of one connection: bounded in time and in how many there are at once, and its
//! failures by reason.

use std::io;
use std::sync::Arc;

use rustls::{AlertDescription, CertificateError, Error as TlsError, HandshakeKind, ServerConfig};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::options::HttpOptions;

/// Why a handshake failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandshakeFailure {
    /// It took too long.
    Timeout,
    /// Too many were going on.
    Busy,
    /// The connection ended.
    Disconnected,
    /// What came is not TLS, or breaks it.
    Garbled,
    /// No version, cipher suite or signature in common.
    Incompatible,
    /// The client doesn't accept the server's certificate.
    ServerCertificateRefused,
    /// The client ended it by another alert.
    Alert,
    /// No client certificate came, and one is required.
    ClientCertificateMissing,
    /// The client's certificate is of no known trust anchor.
    ClientCertificateUnknownIssuer,
    /// The client's certificate is over, or not yet valid.
    ClientCertificateExpired,
    /// The client's certificate was revoked.
    ClientCertificateRevoked,
    /// The client's certificate can't be used for another reason.
    ClientCertificateInvalid,
    /// Anything else.
    Other,
}

impl HandshakeFailure {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Timeout,
        Self::Busy,
        Self::Disconnected,
        Self::Garbled,
        Self::Incompatible,
        Self::ServerCertificateRefused,
        Self::Alert,
        Self::ClientCertificateMissing,
        Self::ClientCertificateUnknownIssuer,
        Self::ClientCertificateExpired,
        Self::ClientCertificateRevoked,
        Self::ClientCertificateInvalid,
        Self::Other,
    ];

    /// The label in metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Busy => "busy",
            Self::Disconnected => "disconnected",
            Self::Garbled => "not_tls",
            Self::Incompatible => "incompatible",
            Self::ServerCertificateRefused => "server_certificate_refused",
            Self::Alert => "alert",
            Self::ClientCertificateMissing => "client_certificate_missing",
            Self::ClientCertificateUnknownIssuer => "client_certificate_unknown_issuer",
            Self::ClientCertificateExpired => "client_certificate_expired",
            Self::ClientCertificateRevoked => "client_certificate_revoked",
            Self::ClientCertificateInvalid => "client_certificate_invalid",
            Self::Other => "other",
        }
    }

    /// What a refused client certificate is called.
    pub fn of_certificate(error: &CertificateError) -> Self {
        match error {
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => Self::ClientCertificateExpired,
            CertificateError::Revoked => Self::ClientCertificateRevoked,
            CertificateError::UnknownIssuer => Self::ClientCertificateUnknownIssuer,
            _ => Self::ClientCertificateInvalid,
        }
    }

    fn of(error: &io::Error) -> Self {
        let inner = error.get_ref();
        match inner.and_then(|error| error.downcast_ref::<TlsError>()) {
            None => Self::Disconnected,
            Some(TlsError::NoCertificatesPresented) => Self::ClientCertificateMissing,
            Some(TlsError::InvalidCertificate(error)) => Self::of_certificate(error),
            Some(TlsError::PeerIncompatible(_) | TlsError::NoApplicationProtocol) => {
                Self::Incompatible
            }
            Some(TlsError::AlertReceived(alert)) => match alert {
                AlertDescription::BadCertificate
                | AlertDescription::UnsupportedCertificate
                | AlertDescription::CertificateRevoked
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateUnknown
                | AlertDescription::UnknownCA => Self::ServerCertificateRefused,
                AlertDescription::ProtocolVersion | AlertDescription::HandshakeFailure => {
                    Self::Incompatible
                }
                _ => Self::Alert,
            },
            Some(
                TlsError::InvalidMessage(_)
                | TlsError::InappropriateMessage { .. }
                | TlsError::InappropriateHandshakeMessage { .. }
                | TlsError::PeerMisbehaved(_)
                | TlsError::PeerSentOversizedRecord
                | TlsError::DecryptError,
            ) => Self::Garbled,
            Some(_) => Self::Other,
        }
    }
}

/// A failure and the text for the log.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) reason: HandshakeFailure,
    pub(super) error: String,
}

fn failed(reason: HandshakeFailure) -> Failed {
    Failed {
        reason,
        error: String::new(),
    }
}

/// What a listener needs for its handshakes.
pub(super) struct Handshakes {
    config: Box<dyn Fn() -> Arc<ServerConfig> + Send + Sync>,
    /// Places for those that have said what they want: only they cost computing.
    places: Semaphore,
    timeout: std::time::Duration,
}

impl Handshakes {
    /// `None` without TLS.
    pub(super) fn new(options: &HttpOptions) -> Option<Self> {
        let config: Box<dyn Fn() -> Arc<ServerConfig> + Send + Sync> =
            match (&options.tls_source, &options.tls) {
                (Some(source), _) => {
                    let source = source.clone();
                    Box::new(move || source())
                }
                (None, Some(fixed)) => {
                    let fixed = fixed.clone();
                    Box::new(move || fixed.clone())
                }
                (None, None) => return None,
            };
        Some(Self {
            config,
            places: Semaphore::new(options.max_tls_handshakes.clamp(1, Semaphore::MAX_PERMITS)),
            timeout: options.tls_handshake_timeout,
        })
    }

    /// Shakes hands on one connection.
    pub(super) async fn accept(
        &self,
        stream: TcpStream,
    ) -> Result<(TlsStream<TcpStream>, HandshakeKind), Failed> {
        let deadline = Instant::now() + self.timeout;
        let of = |error: io::Error| Failed {
            reason: HandshakeFailure::of(&error),
            error: error.to_string(),
        };
        // Who says nothing takes no place.
        let hello = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream);
        let hello = timeout_at(deadline, hello).await;
        let hello = hello
            .map_err(|_| failed(HandshakeFailure::Timeout))?
            .map_err(of)?;
        let place = timeout_at(deadline, self.places.acquire()).await;
        let Ok(Ok(_place)) = place else {
            return Err(failed(HandshakeFailure::Busy));
        };
        let stream = timeout_at(deadline, hello.into_stream((self.config)())).await;
        let stream = stream
            .map_err(|_| failed(HandshakeFailure::Timeout))?
            .map_err(of)?;
        let kind = stream.get_ref().1.handshake_kind();
        Ok((stream, kind.unwrap_or(HandshakeKind::Full)))
    }
}
