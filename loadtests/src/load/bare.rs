//! The bare server: reads HTTP, parses the Inform with the same codec, and answers fixed bytes.
//! It keeps nothing and authenticates nobody; what it costs is the least that an ACS built of the
//! same parts could cost.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use hearth_cwmp::{
    AcsResponse, CpeRequest, DecodeOptions, EncodeError, Envelope, InformResponse, Message,
    Namespace, Receiver, decode, encode,
};
use http::header::{CONTENT_TYPE, SET_COOKIE};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::{LoadError, io};

/// A bare server that listens.
pub struct Bare {
    listener: TcpListener,
    response: Bytes,
    tls: Option<TlsAcceptor>,
}

impl Bare {
    /// Listens.
    ///
    /// # Errors
    /// The address can't be listened on.
    pub async fn bind(address: SocketAddr) -> Result<Self, LoadError> {
        let listener = TcpListener::bind(address).await;
        Ok(Self {
            listener: listener.map_err(io(format!("listening on {address}")))?,
            response: inform_response()?,
            tls: None,
        })
    }

    /// Speaks TLS, with this certificate and key (PEM).
    ///
    /// # Errors
    /// Files that can't be read or used.
    pub fn with_tls(mut self, certificate: &Path, key: &Path) -> Result<Self, LoadError> {
        let bad = |error: &dyn std::fmt::Display| {
            LoadError::Server(format!("{} can't be used: {error}", certificate.display()))
        };
        let chain = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect);
        let chain: Vec<_> = chain.map_err(|error| bad(&error))?;
        let key = PrivateKeyDer::from_pem_file(key).map_err(|error| bad(&error))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| bad(&error))?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|error| bad(&error))?;
        let ticketer = rustls::crypto::aws_lc_rs::Ticketer::new();
        config.ticketer = ticketer.map_err(|error| bad(&error))?;
        self.tls = Some(TlsAcceptor::from(Arc::new(config)));
        Ok(self)
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The system doesn't say.
    pub fn address(&self) -> Result<SocketAddr, LoadError> {
        self.listener
            .local_addr()
            .map_err(io("asking for the address"))
    }

    /// Serves until the future is dropped.
    pub async fn serve(self) {
        loop {
            // Out of descriptors: wait for some to come back.
            let Ok((stream, _)) = self.listener.accept().await else {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                continue;
            };
            stream.set_nodelay(true).ok();
            let response = self.response.clone();
            match self.tls.clone() {
                None => drop(tokio::spawn(connection(stream, response))),
                Some(tls) => drop(tokio::spawn(async move {
                    if let Ok(stream) = tls.accept(stream).await {
                        connection(stream, response).await;
                    }
                })),
            }
        }
    }
}

async fn connection<S>(stream: S, response: Bytes)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| answer(request, response.clone()));
    let server = hyper::server::conn::http1::Builder::new();
    let served = server.serve_connection(TokioIo::new(stream), service).await;
    // A peer that goes away is no concern here.
    served.ok();
}

fn inform_response() -> Result<Bytes, EncodeError> {
    let response = AcsResponse::Inform(InformResponse { max_envelopes: 1 });
    let mut envelope = Envelope::new(Message::AcsResponse(response));
    envelope.id = Some("1".to_owned());
    envelope.namespace = Namespace::V1_2;
    encode(&envelope).map(Bytes::from)
}

async fn answer(
    request: Request<Incoming>,
    inform_response: Bytes,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::new(Full::new(Bytes::new()));
    let Ok(body) = request.into_body().collect().await else {
        *response.status_mut() = StatusCode::BAD_REQUEST;
        return Ok(response);
    };
    let body = body.to_bytes();
    if body.is_empty() {
        *response.status_mut() = StatusCode::NO_CONTENT;
        return Ok(response);
    }
    let decoded = decode(&body, &DecodeOptions::new(Receiver::Acs));
    match decoded.map(|decoded| decoded.envelope.message) {
        Ok(Message::CpeRequest(CpeRequest::Inform(inform))) => {
            // The parsed Inform must not be optimised away.
            std::hint::black_box(&inform);
            *response.body_mut() = Full::new(inform_response);
            let headers = response.headers_mut();
            headers.insert(
                CONTENT_TYPE,
                HeaderValue::from_static("text/xml; charset=utf-8"),
            );
            headers.insert(SET_COOKIE, HeaderValue::from_static("hs=bare; Path=/"));
        }
        _ => *response.status_mut() = StatusCode::BAD_REQUEST,
    }
    Ok(response)
}
