//! The bare server: reads HTTP, parses the Inform with the same codec, and answers fixed bytes.
//! It keeps nothing and authenticates nobody; what it costs is the least that an ACS built of the
//! same parts could cost.

use std::convert::Infallible;
use std::net::SocketAddr;

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
use tokio::net::TcpListener;

use super::{LoadError, io};

/// A bare server that listens.
pub struct Bare {
    listener: TcpListener,
    response: Bytes,
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
        })
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
            let service = service_fn(move |request| answer(request, response.clone()));
            let server = hyper::server::conn::http1::Builder::new();
            let connection = server.serve_connection(TokioIo::new(stream), service);
            tokio::spawn(async move { connection.await.ok() });
        }
    }
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
