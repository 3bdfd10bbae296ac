//! Where CPEs connect: without TLS, with it, and behind a proxy that ends it.

use std::net::SocketAddr;
use std::sync::Arc;

use hearth_runtime::http::{BindError, HttpOptions, ProxyOptions, TlsSource, bind};
use tokio::net::TcpListener;

use crate::config::GatewayConfig;
use crate::tls::source::Tls;

/// A gateway's sockets, bound; at least one.
#[derive(Debug, Default)]
pub struct Listeners {
    /// Without TLS.
    pub plain: Option<TcpListener>,
    /// With it.
    pub tls: Option<TcpListener>,
    /// For a proxy that ends TLS for old CPEs.
    pub legacy: Option<TcpListener>,
}

/// Where a gateway listens, with the real ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ListenAddresses {
    /// Without TLS.
    pub plain: Option<SocketAddr>,
    /// With it.
    pub tls: Option<SocketAddr>,
    /// For a proxy that ends TLS for old CPEs.
    pub legacy: Option<SocketAddr>,
}

impl Listeners {
    /// Binds what the settings ask for; `plain` is the address without TLS.
    ///
    /// # Errors
    /// [`BindError`].
    pub fn bind(plain: SocketAddr, config: &GatewayConfig) -> Result<Self, BindError> {
        Ok(Self {
            plain: config.plain.then(|| bind(plain)).transpose()?,
            tls: config.tls.listen.map(bind).transpose()?,
            legacy: config.legacy.listen.map(bind).transpose()?,
        })
    }

    /// Where they listen.
    ///
    /// # Errors
    /// The operating system doesn't tell.
    pub fn addresses(&self) -> std::io::Result<ListenAddresses> {
        let of =
            |socket: &Option<TcpListener>| socket.as_ref().map(TcpListener::local_addr).transpose();
        Ok(ListenAddresses {
            plain: of(&self.plain)?,
            tls: of(&self.tls)?,
            legacy: of(&self.legacy)?,
        })
    }
}

impl ListenAddresses {
    /// The first of them.
    pub fn any(&self) -> Option<SocketAddr> {
        self.plain.or(self.tls).or(self.legacy)
    }
}

/// What a listener is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Plain,
    Tls,
    Legacy,
}

/// How a listener of this kind treats its connections.
pub(crate) fn options(config: &GatewayConfig, kind: Kind, tls: Option<&Arc<Tls>>) -> HttpOptions {
    let per_peer = config.max_connections_per_peer;
    let networks = &config.proxy.networks.0;
    let proxy = ProxyOptions {
        from: networks.clone(),
        timeout: config.proxy.header_timeout.get(),
        only: kind == Kind::Legacy,
    };
    let name = match kind {
        Kind::Plain => "cwmp",
        Kind::Tls => "cwmp-tls",
        Kind::Legacy => "cwmp-legacy",
    };
    HttpOptions {
        title_case_headers: true,
        header_timeout: config.header_timeout.get(),
        idle_timeout: config.keep_alive.get(),
        max_connections: config.max_connections,
        max_connections_per_peer: (per_peer > 0).then_some(per_peer),
        retry_after_secs: u32::try_from(config.retry_after.get().as_secs()).unwrap_or(u32::MAX),
        drain_timeout: config.drain_timeout.get(),
        tls_source: tls.filter(|_| kind == Kind::Tls).and_then(source),
        tls_handshake_timeout: config.tls.handshake_timeout.get(),
        max_tls_handshakes: config.tls.max_handshakes,
        proxy: (!networks.is_empty()).then_some(proxy),
        ..HttpOptions::new(name)
    }
}

/// What TLS is to be, asked at each connection.
fn source(tls: &Arc<Tls>) -> Option<TlsSource> {
    // Once there is a certificate there always is: a reload without one fails.
    let first = tls.server_config()?;
    let tls = tls.clone();
    Some(Arc::new(move || {
        tls.server_config().unwrap_or_else(|| first.clone())
    }))
}
