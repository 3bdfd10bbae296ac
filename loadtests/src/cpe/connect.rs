//! Connections of the device's HTTP client, with TLS where the URL asks for it.

use std::sync::Arc;

use http::Uri;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::http::{Body, HttpError};

/// Reads a URL: `http`, or `https` where there is a TLS configuration.
pub(super) fn parse(url: &str, tls: bool) -> Result<Uri, HttpError> {
    let uri: Uri = url.parse().map_err(|_| HttpError::Url(url.to_owned()))?;
    match (uri.scheme_str(), uri.host()) {
        (Some("http"), Some(_)) => Ok(uri),
        (Some("https"), Some(_)) if tls => Ok(uri),
        _ => Err(HttpError::Url(url.to_owned())),
    }
}

/// Connects.
pub(super) async fn connect(
    url: &Uri,
    tls: Option<&Arc<ClientConfig>>,
) -> Result<SendRequest<Body>, HttpError> {
    let secure = tls.filter(|_| url.scheme_str() == Some("https"));
    let host = url.host().unwrap_or_default();
    let port = url
        .port_u16()
        .unwrap_or(if secure.is_some() { 443 } else { 80 });
    let to = format!("{host}:{port}");
    let failed = |source| HttpError::Connect {
        to: to.clone(),
        source,
    };
    let stream = TcpStream::connect(&to).await.map_err(failed)?;
    // Small messages in turns are what Nagle's algorithm delays.
    stream.set_nodelay(true).ok();
    let Some(config) = secure else {
        return handshake(stream).await;
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(bare.to_owned());
    let name = name.map_err(|_| HttpError::Url(url.to_string()))?;
    let connector = tokio_rustls::TlsConnector::from(config.clone());
    let stream = connector.connect(name, stream).await.map_err(failed)?;
    handshake(stream).await
}

async fn handshake<S>(stream: S) -> Result<SendRequest<Body>, HttpError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::Builder::new()
        .title_case_headers(true)
        .handshake(TokioIo::new(stream))
        .await?;
    // Ends when the sender is dropped or the server closes.
    tokio::spawn(connection);
    Ok(sender)
}
