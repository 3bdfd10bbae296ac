//! A small scripted ACS: it asks what a test wants asked, and keeps what came.
#![allow(clippy::unwrap_used, dead_code)]

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hearth_auth::digest::RequestTarget;
use hearth_auth::{Authorization, DigestOptions, DigestServer, Nonces, VerifyWith};
use hearth_cwmp::{
    AcsRequest, AcsResponse, CpeRequest, DecodeOptions, Envelope, Fault, FaultCode, Inform,
    InformResponse, KickedResponse, Message, Receiver, TransferComplete, decode, encode,
};
use hearth_sim::{Fleet, FleetOptions, Keep, Kind};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// How the ACS asks for credentials.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ask {
    #[default]
    Nothing,
    Basic,
    Digest,
}

pub struct Seen {
    pub informs: Vec<Inform>,
    pub transfers: Vec<TransferComplete>,
    /// The device's other requests.
    pub requests: Vec<CpeRequest>,
    pub headers: Vec<http::HeaderMap>,
    pub uploads: Vec<Bytes>,
    /// HTTP requests without a valid Authorization.
    pub refused: usize,
    pub connections: usize,
}

pub struct Acs {
    pub address: SocketAddr,
    pub ask: Mutex<Ask>,
    pub seen: Mutex<Seen>,
    pub files: Mutex<HashMap<String, Bytes>>,
    queue: Mutex<VecDeque<(AcsRequest, oneshot::Sender<Message>)>>,
    in_flight: Mutex<Option<oneshot::Sender<Message>>>,
    /// Answers to the next requests, before anything else.
    pub failures: Mutex<VecDeque<u16>>,
    /// Requests for another path than this are sent there with 307.
    pub moved_to: Mutex<Option<String>>,
    /// CWMP faults for the device's next requests.
    pub faults: Mutex<VecDeque<FaultCode>>,
    digest: DigestServer,
}

pub const USER: &str = "sim";
pub const PASSWORD: &str = "let me in";

impl Acs {
    pub async fn start() -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let acs = Arc::new(Self {
            address: listener.local_addr().unwrap(),
            ask: Mutex::default(),
            seen: Mutex::new(Seen {
                informs: Vec::new(),
                transfers: Vec::new(),
                requests: Vec::new(),
                headers: Vec::new(),
                uploads: Vec::new(),
                refused: 0,
                connections: 0,
            }),
            files: Mutex::default(),
            queue: Mutex::default(),
            in_flight: Mutex::default(),
            failures: Mutex::default(),
            moved_to: Mutex::default(),
            faults: Mutex::default(),
            digest: DigestServer::new(Nonces::new(&[7; 32]), DigestOptions::new("acs")),
        });
        let serving = acs.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                serving.seen.lock().connections += 1;
                let acs = serving.clone();
                let service = service_fn(move |request| acs.clone().serve(request));
                let io = TokioIo::new(stream);
                let server = hyper::server::conn::http1::Builder::new();
                tokio::spawn(async move { server.serve_connection(io, service).await });
            }
        });
        acs
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// One router that keeps its ledger, with time running a hundred times as fast.
    pub fn options(&self) -> FleetOptions {
        let mut options = FleetOptions::new(self.url("/acs"));
        options.count = 1;
        options.kinds = vec![Kind::Router];
        options.username = USER.to_owned();
        options.password = PASSWORD.into();
        options.keep = Keep::Everything;
        options.keep_files = true;
        options.periodic = None;
        options.time_scale = 0.01;
        options
    }

    /// Asks the fleet's only device, in the next session, which it begins.
    pub async fn ask(&self, fleet: &Fleet, request: AcsRequest) -> Message {
        let answer = self.enqueue(request);
        fleet.devices()[0].trigger("6 CONNECTION REQUEST", "");
        tokio::time::timeout(Duration::from_secs(20), answer)
            .await
            .expect("an answer in time")
            .expect("an answer")
    }

    pub fn enqueue(&self, request: AcsRequest) -> oneshot::Receiver<Message> {
        let (sender, receiver) = oneshot::channel();
        self.queue.lock().push_back((request, sender));
        receiver
    }

    pub fn informs(&self) -> Vec<Inform> {
        self.seen.lock().informs.clone()
    }

    async fn serve(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        let (parts, body) = request.into_parts();
        let Ok(body) = body.collect().await else {
            return Ok(Response::default());
        };
        let body = body.to_bytes();
        let path = parts.uri.path().to_owned();
        self.seen.lock().headers.push(parts.headers.clone());
        if let Some(status) = self.failures.lock().pop_front() {
            return Ok(answer(status, Bytes::new()));
        }
        let moved = self.moved_to.lock().clone().filter(|to| *to != path);
        if let Some(to) = moved {
            let mut answer = answer(307, Bytes::new());
            answer
                .headers_mut()
                .insert(header::LOCATION, to.parse().unwrap());
            return Ok(answer);
        }
        if !self.authorized(&parts) {
            self.seen.lock().refused += 1;
            return Ok(self.challenge());
        }
        if parts.method == Method::PUT {
            self.seen.lock().uploads.push(body);
            return Ok(answer(201, Bytes::new()));
        }
        if parts.method == Method::GET {
            let file = self.files.lock().get(&path).cloned();
            return Ok(file.map_or_else(|| answer(404, Bytes::new()), |file| answer(200, file)));
        }
        let body = match parts.headers.get(header::CONTENT_ENCODING) {
            Some(encoding) if encoding == "gzip" => {
                let mut out = Vec::new();
                flate2::read::GzDecoder::new(&body[..])
                    .read_to_end(&mut out)
                    .unwrap();
                Bytes::from(out)
            }
            _ => body,
        };
        Ok(self.cwmp(&body))
    }

    fn authorized(&self, parts: &http::request::Parts) -> bool {
        let ask = *self.ask.lock();
        let header = parts.headers.get(header::AUTHORIZATION);
        let text = header.map_or("", |h| h.to_str().unwrap());
        let target = RequestTarget {
            method: parts.method.as_str(),
            uri: parts.uri.path(),
        };
        match (ask, Authorization::parse(text)) {
            (Ask::Nothing, _) => true,
            (Ask::Basic, Authorization::Basic(basic)) => {
                basic.username == USER && basic.verify("", VerifyWith::Password(PASSWORD))
            }
            (Ask::Digest, Authorization::Digest(response)) => {
                let with = VerifyWith::Password(PASSWORD);
                self.digest.verify(target, &response, with, now()).is_ok()
            }
            _ => false,
        }
    }

    fn challenge(&self) -> Response<Full<Bytes>> {
        let mut refusal = answer(401, Bytes::new());
        let value = match *self.ask.lock() {
            Ask::Digest => self.digest.challenges(now(), false).unwrap().remove(0),
            _ => "Basic realm=\"acs\"".to_owned(),
        };
        refusal
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, value.parse().unwrap());
        refusal
    }

    fn cwmp(&self, body: &[u8]) -> Response<Full<Bytes>> {
        if body.is_empty() {
            return self.next();
        }
        let envelope = decode(body, &DecodeOptions::new(Receiver::Acs))
            .unwrap()
            .envelope;
        if matches!(envelope.message, Message::CpeRequest(_))
            && let Some(code) = self.faults.lock().pop_front()
        {
            let reply = envelope.answer(Message::Fault(Fault::new(code)));
            return answer(200, encode(&reply).unwrap().into());
        }
        let reply = match &envelope.message {
            Message::CpeRequest(CpeRequest::Inform(inform)) => {
                self.seen.lock().informs.push(inform.clone());
                AcsResponse::Inform(InformResponse { max_envelopes: 1 })
            }
            Message::CpeRequest(CpeRequest::TransferComplete(complete)) => {
                self.seen.lock().transfers.push(complete.clone());
                AcsResponse::TransferComplete
            }
            Message::CpeRequest(other) => {
                self.seen.lock().requests.push(other.clone());
                match other {
                    CpeRequest::Kicked(kicked) => AcsResponse::Kicked(KickedResponse {
                        next_url: kicked.next.clone(),
                    }),
                    CpeRequest::RequestDownload(_) => AcsResponse::RequestDownload,
                    CpeRequest::DuStateChangeComplete(_) => AcsResponse::DuStateChangeComplete,
                    CpeRequest::AutonomousDuStateChangeComplete(_) => {
                        AcsResponse::AutonomousDuStateChangeComplete
                    }
                    _ => AcsResponse::AutonomousTransferComplete,
                }
            }
            _ => {
                if let Some(waiting) = self.in_flight.lock().take() {
                    waiting.send(envelope.message).ok();
                }
                return self.next();
            }
        };
        let is_inform = matches!(reply, AcsResponse::Inform(_));
        let reply = envelope.answer(Message::AcsResponse(reply));
        let mut response = answer(200, encode(&reply).unwrap().into());
        if is_inform {
            let cookies = response.headers_mut();
            cookies.append(header::SET_COOKIE, "hs=abc-1; Path=/".parse().unwrap());
            cookies.append(header::SET_COOKIE, "other=2; Path=/".parse().unwrap());
        }
        response
    }

    fn next(&self) -> Response<Full<Bytes>> {
        let Some((request, sender)) = self.queue.lock().pop_front() else {
            return answer(204, Bytes::new());
        };
        *self.in_flight.lock() = Some(sender);
        let mut envelope = Envelope::new(Message::AcsRequest(request));
        envelope.id = Some("task9.1.0".to_owned());
        answer(200, encode(&envelope).unwrap().into())
    }
}

fn answer(status: u16, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

fn now() -> hearth_types::Timestamp {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    hearth_types::Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap())
}

/// Waits until something is so, for at most ten seconds.
pub async fn until(what: &str, mut so: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not in time: {what}");
}

/// The codes of an Inform's events.
pub fn codes(inform: &Inform) -> Vec<&str> {
    inform.event.iter().map(|e| e.event_code.as_str()).collect()
}
