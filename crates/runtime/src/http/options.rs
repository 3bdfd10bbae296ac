//! How a server treats its connections.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::proxy::ProxyOptions;

/// Settings of an [`crate::http::HttpServer`].
#[derive(Clone)]
pub struct HttpOptions {
    /// The server's name in logs, e.g. `cwmp`.
    pub name: String,
    /// Also speak HTTP/2: by prior knowledge on plain TCP, by ALPN on TLS. gRPC needs it; CPEs
    /// don't (TR-069 section 3.4: HTTP/1.1).
    pub http2: bool,
    /// Write header names as `Content-Type`, not `content-type`: some CPEs compare bytes.
    pub title_case_headers: bool,
    /// Time from a connection's start, or from a request's first byte, to the end of its header.
    pub header_timeout: Duration,
    /// Time without a request, or without a byte moved while a response waits to be read, after
    /// which a connection is closed. An HTTP/2 connection without requests is kept instead, as
    /// long as its peer answers pings, sent twice in this time.
    pub idle_timeout: Duration,
    /// Bytes of a request's header, and of the read buffer; at least 8192.
    pub max_header_bytes: usize,
    /// Number of header fields in a request.
    pub max_headers: usize,
    /// Open connections; more are answered 503 and closed.
    pub max_connections: usize,
    /// Open connections from one IPv4 address or IPv6 /64; `None` for no limit (many CPEs may
    /// stand behind one carrier-grade NAT).
    pub max_connections_per_peer: Option<usize>,
    /// `Retry-After` of the 503 for a refused connection, in seconds.
    pub retry_after_secs: u32,
    /// Time for open requests to end after the stop; then their connections are cut.
    pub drain_timeout: Duration,
    /// TLS, when set. HTTP/2 needs `h2` in its ALPN protocols.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// As `tls`, and asked at every connection, so that certificates can change.
    pub tls_source: Option<TlsSource>,
    /// Time for a TLS handshake.
    pub tls_handshake_timeout: Duration,
    /// TLS handshakes worked on at once; more wait, within their time.
    pub max_tls_handshakes: usize,
    /// Connections of proxies, which tell the real peer; `None`: there are no such.
    pub proxy: Option<ProxyOptions>,
}

/// Answers what TLS is to be for a connection from now.
pub type TlsSource = Arc<dyn Fn() -> Arc<rustls::ServerConfig> + Send + Sync>;

impl HttpOptions {
    /// Whether it speaks TLS.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some() || self.tls_source.is_some()
    }

    /// Defaults for a server of this name: HTTP/1.1 without TLS, 10 s for a header, 60 s idle,
    /// 16 KiB of header, 100,000 connections.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            http2: false,
            title_case_headers: false,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            max_header_bytes: 16 * 1024,
            max_headers: 100,
            max_connections: 100_000,
            max_connections_per_peer: None,
            retry_after_secs: 30,
            drain_timeout: Duration::from_secs(10),
            tls: None,
            tls_source: None,
            tls_handshake_timeout: Duration::from_secs(10),
            max_tls_handshakes: 1024,
            proxy: None,
        }
    }
}

impl fmt::Debug for HttpOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not derived: a rustls configuration prints pages, and holds keys.
        f.debug_struct("HttpOptions")
            .field("name", &self.name)
            .field("http2", &self.http2)
            .field("tls", &self.is_tls())
            .field("proxy", &self.proxy)
            .field("max_connections", &self.max_connections)
            .field("max_connections_per_peer", &self.max_connections_per_peer)
            .finish_non_exhaustive()
    }
}
