//! One connection: its TLS handshake, its requests, its end.

use std::any::Any;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::Request;
use http_body::Body;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use rustls::HandshakeKind;
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::handshake::Handshakes;
use super::options::HttpOptions;
use super::proxy::{Proxied, ProxiedBy};
use super::stats::{HttpStats, count};
use super::watch::{Activity, GuardedBody, Verdict, Watch, WatchedIo};
use crate::BoxError;

/// The peer's address, told by the proxy if there is one; an extension of every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerAddr(pub SocketAddr);

/// What TLS told about the peer; an extension of every request that came over TLS.
#[derive(Debug, Clone)]
pub struct TlsInfo(pub Arc<TlsDetails>);

/// The content of [`TlsInfo`].
#[derive(Debug, Clone)]
pub struct TlsDetails {
    /// The name the client asked for (SNI).
    pub server_name: Option<String>,
    /// The client's certificate chain as verified by rustls, leaf first; empty without one.
    pub peer_certificates: Vec<CertificateDer<'static>>,
    /// What the service has made of them, so that it reads them once for a connection.
    pub memo: OnceLock<Arc<dyn Any + Send + Sync>>,
    /// The session was resumed: the certificates were verified when it began, not now.
    pub resumed: bool,
}

/// Who is at the other end.
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    proxied: Option<Proxied>,
}

impl Peer {
    pub(super) fn direct(address: SocketAddr) -> Self {
        Self {
            address,
            proxied: None,
        }
    }

    /// Reads what the proxy at `proxy` tells; `None` if that can't be used.
    pub(super) async fn proxied<S>(
        shared: &Shared<S>,
        stream: &mut TcpStream,
        proxy: SocketAddr,
    ) -> Option<Self> {
        let options = shared.options.proxy.as_ref()?;
        match super::proxy::receive(stream, options.timeout).await {
            Ok(header) => Some(Self {
                address: header.source.unwrap_or(proxy),
                proxied: Some(Proxied(Arc::new(ProxiedBy { proxy, header }))),
            }),
            Err(error) => {
                count(&shared.stats.proxy_failures);
                tracing::debug!(server = shared.options.name, %proxy, %error, "PROXY header");
                None
            }
        }
    }
}

/// The service gave no response; the connection ends with it.
#[derive(Debug, thiserror::Error)]
#[error("the service failed")]
struct ServiceFailed(#[source] BoxError);

/// What all connections of a server share.
pub(super) struct Shared<S> {
    pub(super) service: S,
    pub(super) options: HttpOptions,
    pub(super) stats: Arc<HttpStats>,
    handshakes: Option<Handshakes>,
    pub(super) http1: hyper::server::conn::http1::Builder,
    pub(super) auto: hyper_util::server::conn::auto::Builder<TokioExecutor>,
    /// Stop taking requests.
    pub(super) stop: CancellationToken,
    /// Drop everything.
    pub(super) cut: CancellationToken,
}

impl<S> Shared<S> {
    pub(super) fn new(
        service: S,
        options: HttpOptions,
        stats: Arc<HttpStats>,
        stop: CancellationToken,
    ) -> Self {
        let buffer = options.max_header_bytes.max(8192);
        let mut http1 = hyper::server::conn::http1::Builder::new();
        // Timeouts are the watch's: hyper's own restarts a timer for each request.
        http1
            .header_read_timeout(None)
            .title_case_headers(options.title_case_headers)
            .max_headers(options.max_headers)
            .max_buf_size(buffer.max(64 * 1024))
            .max_header_size(buffer)
            .half_close(true);
        let mut auto = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
        auto.http1()
            .header_read_timeout(None)
            .title_case_headers(options.title_case_headers)
            .max_headers(options.max_headers)
            .max_buf_size(buffer)
            .half_close(true);
        let header_list = u32::try_from(buffer).unwrap_or(u32::MAX);
        auto.http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(Some(options.idle_timeout / 2))
            .max_header_list_size(header_list)
            .max_concurrent_streams(Some(1024));
        Self {
            handshakes: Handshakes::new(&options),
            service,
            options,
            stats,
            http1,
            auto,
            stop,
            cut: CancellationToken::new(),
        }
    }
}

/// Serves one accepted connection to its end.
pub(super) async fn serve<S, B>(shared: Arc<Shared<S>>, stream: TcpStream, peer: Peer)
where
    S: tower::Service<Request<Incoming>, Response = http::Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    let Some(handshakes) = &shared.handshakes else {
        return serve_stream(shared, stream, peer, None).await;
    };
    match handshakes.accept(stream).await {
        Ok((stream, kind)) => {
            let (_, session) = stream.get_ref();
            let resumed = kind == HandshakeKind::Resumed;
            count(match resumed {
                true => &shared.stats.handshakes_resumed,
                false => &shared.stats.handshakes_full,
            });
            let certificates = session.peer_certificates().unwrap_or_default();
            let details = TlsDetails {
                server_name: session.server_name().map(str::to_owned),
                peer_certificates: certificates.to_vec(),
                resumed,
                memo: OnceLock::new(),
            };
            serve_stream(shared, stream, peer, Some(TlsInfo(Arc::new(details)))).await;
        }
        Err(failed) => {
            shared.stats.handshake_failed(failed.reason);
            tracing::debug!(
                server = shared.options.name,
                peer = %peer.address,
                reason = failed.reason.label(),
                error = failed.error,
                "TLS handshake failed"
            );
        }
    }
}

async fn serve_stream<S, B, T>(shared: Arc<Shared<S>>, stream: T, peer: Peer, tls: Option<TlsInfo>)
where
    S: tower::Service<Request<Incoming>, Response = http::Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Peer {
        address: peer,
        proxied,
    } = peer;
    let activity = Arc::new(Activity::default());
    let io = TokioIo::new(WatchedIo {
        io: stream,
        activity: activity.clone(),
    });
    let service = {
        let (activity, service) = (activity.clone(), shared.service.clone());
        hyper::service::service_fn(move |mut request: Request<Incoming>| {
            let guard = activity.request(request.version() == http::Version::HTTP_2);
            request.extensions_mut().insert(PeerAddr(peer));
            if let Some(tls) = &tls {
                request.extensions_mut().insert(tls.clone());
            }
            if let Some(proxied) = &proxied {
                request.extensions_mut().insert(proxied.clone());
            }
            let call = service.clone().oneshot(request);
            async move {
                let response = call.await.map_err(|error| ServiceFailed(error.into()))?;
                Ok::<_, ServiceFailed>(response.map(|body| GuardedBody {
                    body,
                    _guard: guard,
                }))
            }
        })
    };
    if shared.options.http2 {
        let connection = shared.auto.serve_connection(io, service);
        drive(connection, &activity, &shared, peer).await;
    } else {
        drive(
            shared.http1.serve_connection(io, service),
            &activity,
            &shared,
            peer,
        )
        .await;
    }
}

/// Polls the connection to its end, under watch.
async fn drive<C, S>(connection: C, activity: &Activity, shared: &Shared<S>, peer: SocketAddr)
where
    C: GracefulConnection,
    C::Error: Into<BoxError>,
{
    let server = &shared.options.name;
    let mut watch = Watch::new(shared.options.header_timeout, shared.options.idle_timeout);
    let interval = watch.interval();
    let mut connection = pin!(connection);
    let mut tick = pin!(tokio::time::sleep(interval));
    // A token of its own: polling a shared one would take one lock from all connections.
    let stop = shared.stop.child_token();
    let mut stopping = false;
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    let error: BoxError = error.into();
                    count(&shared.stats.protocol_errors);
                    let http = error.downcast_ref::<hyper::Error>();
                    if http.is_some_and(hyper::Error::is_parse) {
                        count(&shared.stats.malformed);
                    }
                    tracing::debug!(server, %peer, %error, "connection ended by an error");
                }
                return;
            }
            () = tick.as_mut() => {
                let counter = match watch.look(activity) {
                    Verdict::Fine => {
                        tick.as_mut().reset(tokio::time::Instant::now() + interval);
                        continue;
                    }
                    Verdict::HeaderTimeout => &shared.stats.header_timeouts,
                    Verdict::Idle => &shared.stats.idle_timeouts,
                    Verdict::StalledWrite => &shared.stats.stalled_writes,
                };
                count(counter);
                return;
            }
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
            () = shared.cut.cancelled(), if stopping => {
                count(&shared.stats.cut_at_drain);
                return;
            }
        }
    }
}
