//! Accepts connections until told to stop, and drains them.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::Request;
use http_body::Body;
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::conn::{Peer, Shared, serve};
use super::limits::Places;
use super::options::HttpOptions;
use super::stats::{HttpStats, count};
use crate::{Backoff, BoxError, Service, ServiceContext};

/// Refused connections that may linger to let their 503 be read.
const MAX_LINGERING: usize = 256;
/// How long one of them may.
const LINGER: Duration = Duration::from_secs(2);

/// An HTTP server on a listener that is already bound.
///
/// The service is cloned for each request, so its clone should be cheap. Requests carry
/// [`super::PeerAddr`] and, over TLS, [`super::TlsInfo`] as extensions, and [`super::Proxied`]
/// when they came through a proxy. A handler must bound its own
/// time: a client that half-closes after its request is still answered, so one that is gone does
/// not end its handler.
///
/// It is a [`Service`] under its options' name, or runs by itself with [`HttpServer::run`].
#[derive(Debug)]
pub struct HttpServer<S> {
    listener: TcpListener,
    service: S,
    options: HttpOptions,
    stats: Arc<HttpStats>,
}

impl<S, B> HttpServer<S>
where
    S: tower::Service<Request<Incoming>, Response = http::Response<B>>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    /// A server of `service` on `listener` (see [`super::bind`]).
    pub fn new(listener: TcpListener, service: S, options: HttpOptions) -> Self {
        Self {
            listener,
            service,
            options,
            stats: Arc::default(),
        }
    }

    /// The address listened on, with the real port.
    ///
    /// # Errors
    /// When the operating system doesn't tell.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// The server's counters.
    pub fn stats(&self) -> Arc<HttpStats> {
        self.stats.clone()
    }

    /// Serves until `stop` is cancelled; then takes no more connections, ends the idle ones, and
    /// gives open requests [`HttpOptions::drain_timeout`]. Failures to accept are waited out.
    pub async fn run(self, stop: CancellationToken) {
        let Self {
            listener,
            service,
            options,
            stats,
        } = self;
        let places = Places::new(
            options.max_connections,
            options.max_connections_per_peer,
            stats.clone(),
        );
        let shared = Arc::new(Shared::new(service, options, stats, stop.clone()));
        let connections = TaskTracker::new();
        let refusal = Arc::new(Refusal::new(&shared.options));
        let mut accepting = Accepting::default();
        loop {
            let accepted = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    count(&shared.stats.accept_errors);
                    accepting
                        .wait_after(&error, &shared.options.name, &stop)
                        .await;
                    continue;
                }
            };
            accepting = Accepting::default();
            let proxies = shared.options.proxy.as_ref();
            let by_proxy = proxies.is_some_and(|proxies| proxies.is_proxy(peer.ip()));
            if !by_proxy && proxies.is_some_and(|proxies| proxies.only) {
                count(&shared.stats.proxy_failures);
                tracing::debug!(server = shared.options.name, %peer, "not a proxy: closed");
                continue;
            }
            let Ok(mut place) = places.take((!by_proxy).then(|| peer.ip())) else {
                refusal.send(stream);
                continue;
            };
            // Requests and responses are small: waiting for more to send only costs time.
            let _ = stream.set_nodelay(true);
            let shared = shared.clone();
            let refusal = refusal.clone();
            connections.spawn(async move {
                let mut stream = stream;
                let peer = match by_proxy {
                    false => Peer::direct(peer),
                    true => match Peer::proxied(&shared, &mut stream, peer).await {
                        Some(peer) => peer,
                        None => return,
                    },
                };
                if by_proxy && place.of_peer(peer.address.ip()).is_err() {
                    return refusal.send(stream);
                }
                serve(shared, stream, peer).await;
                drop(place);
            });
        }
        drop(listener);
        connections.close();
        if tokio::time::timeout(shared.options.drain_timeout, connections.wait())
            .await
            .is_err()
        {
            tracing::warn!(
                server = shared.options.name,
                connections = connections.len(),
                "connections did not end within the drain time: cut"
            );
            shared.cut.cancel();
            connections.wait().await;
        }
    }
}

#[async_trait]
impl<S, B> Service for HttpServer<S>
where
    S: tower::Service<Request<Incoming>, Response = http::Response<B>>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    fn name(&self) -> &str {
        &self.options.name
    }

    async fn run(self: Box<Self>, ctx: ServiceContext) -> Result<(), BoxError> {
        // The listener is bound: connections queue from now on.
        ctx.readiness.ready();
        HttpServer::run(*self, ctx.stop).await;
        Ok(())
    }
}

/// How a connection beyond the limits is turned away.
struct Refusal {
    answer: Option<Bytes>,
    lingering: Arc<AtomicUsize>,
}

impl Refusal {
    fn new(options: &HttpOptions) -> Self {
        let answer = format!(
            "HTTP/1.1 503 Service Unavailable\r\nRetry-After: {}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            options.retry_after_secs
        );
        // Inside TLS it would cost a handshake, which is what the limit is to save.
        let answer = (!options.is_tls()).then(|| Bytes::from(answer));
        Self {
            answer,
            lingering: Arc::default(),
        }
    }

    /// Sends 503 and waits a little for the peer to close: closing first, with its request
    /// unread, would reset the connection and lose the answer.
    fn send(&self, mut stream: TcpStream) {
        let Some(answer) = self.answer.clone() else {
            return;
        };
        let lingering = self.lingering.clone();
        if lingering.fetch_add(1, Ordering::Relaxed) >= MAX_LINGERING {
            lingering.fetch_sub(1, Ordering::Relaxed);
            let _ = stream.try_write(&answer);
            return;
        }
        tokio::spawn(async move {
            let linger = async {
                stream.write_all(&answer).await?;
                stream.shutdown().await?;
                let mut scratch = [0u8; 1024];
                while stream.read(&mut scratch).await? > 0 {}
                io::Result::Ok(())
            };
            let _ = tokio::time::timeout(LINGER, linger).await;
            lingering.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

/// What became of accepting, while it fails.
#[derive(Debug)]
struct Accepting {
    failures: u32,
    backoff: Backoff,
}

impl Default for Accepting {
    fn default() -> Self {
        Self {
            failures: 0,
            backoff: Backoff::new(Duration::from_millis(10), Duration::from_secs(1)),
        }
    }
}

impl Accepting {
    async fn wait_after(&mut self, error: &io::Error, server: &str, stop: &CancellationToken) {
        // The peer's doing, and over with it.
        if matches!(
            error.kind(),
            io::ErrorKind::ConnectionAborted
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionRefused
                | io::ErrorKind::Interrupted
        ) {
            return;
        }
        if self.failures.is_multiple_of(16) {
            tracing::warn!(server, %error, "can't accept connections; going on trying");
        }
        self.failures = self.failures.wrapping_add(1);
        self.backoff.wait_unless(stop).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_lack_of_descriptors_is_waited_out_and_a_lost_peer_is_not() {
        let stop = CancellationToken::new();
        let mut accepting = Accepting::default();
        let start = tokio::time::Instant::now();
        let lost = io::Error::from(io::ErrorKind::ConnectionAborted);
        accepting.wait_after(&lost, "test", &stop).await;
        assert_eq!(start.elapsed(), Duration::ZERO);
        const EMFILE: i32 = 24;
        let full = io::Error::from_raw_os_error(EMFILE);
        for _ in 0..8 {
            accepting.wait_after(&full, "test", &stop).await;
        }
        let eight = start.elapsed();
        assert!(
            eight > Duration::from_secs(1) && eight < Duration::from_secs(3),
            "{eight:?}"
        );
        stop.cancel();
        accepting.wait_after(&full, "test", &stop).await;
        assert_eq!(start.elapsed(), eight, "a stop is not waited out");
    }
}
