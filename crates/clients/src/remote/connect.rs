//! Makes the connections to one replica: TCP and mutual TLS within one time limit.

use crate::access::CertifiedRoles;
use crate::tls::Identity;
use futures::future::BoxFuture;
use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// There is no connection, so nothing that was to go over it was sent. It stays in the error's chain.
#[derive(Debug, thiserror::Error)]
#[error("no connection to {address}: {reason}")]
pub(crate) struct NotConnected {
    address: SocketAddr,
    reason: String,
}

/// Whether an error of this type is in the chain of a status.
pub(crate) fn is_cause<E: std::error::Error + 'static>(status: &tonic::Status) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if error.is::<E>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// A TCP or TLS connection.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Connects to one address.
#[derive(Clone)]
pub(crate) struct Connector {
    pub address: SocketAddr,
    /// Who this process is, and the name that the peer must have.
    pub tls: Option<(Identity, ServerName<'static>)>,
    /// The role that the peer's certificate must name.
    pub role: Option<&'static str>,
    pub timeout: Duration,
}

impl Connector {
    async fn connect(self) -> Result<TokioIo<Box<dyn Stream>>, NotConnected> {
        let address = self.address;
        let failed = |reason: String| NotConnected { address, reason };
        let connected = tokio::time::timeout(self.timeout, async {
            let stream = TcpStream::connect(address)
                .await
                .map_err(|error| error.to_string())?;
            let _ = stream.set_nodelay(true);
            let Some((identity, name)) = self.tls else {
                return Ok(Box::new(stream) as Box<dyn Stream>);
            };
            let config = identity
                .client_config()
                .map_err(|error| error.to_string())?;
            let connector = TlsConnector::from(config);
            let stream = connector.connect(name, stream).await;
            // The TLS part's reason is in the text: an unknown issuer, a name that doesn't fit.
            let stream = stream.map_err(|error| format!("TLS: {error}"))?;
            if let Some(role) = self.role {
                let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
                let roles = chain.first().map(CertifiedRoles::of).unwrap_or_default();
                if !roles.has(role) {
                    return Err(format!("its certificate is for {roles}, not for {role}"));
                }
            }
            Ok(Box::new(stream))
        });
        match connected.await {
            Ok(connected) => connected.map(TokioIo::new).map_err(failed),
            Err(_elapsed) => Err(failed(format!("not within {:?}", self.timeout))),
        }
    }
}

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<Box<dyn Stream>>;
    type Error = NotConnected;
    type Future = BoxFuture<'static, Result<Self::Response, NotConnected>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), NotConnected>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        Box::pin(self.clone().connect())
    }
}

/// Why a status says that there is no connection, for the log.
pub(crate) fn reason(status: &tonic::Status) -> String {
    let mut cause = std::error::Error::source(status);
    let mut last = status.message().to_owned();
    while let Some(error) = cause {
        last = error.to_string();
        if error.is::<NotConnected>() {
            break;
        }
        cause = error.source();
    }
    last
}
