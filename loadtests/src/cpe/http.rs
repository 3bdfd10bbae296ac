//! The device's HTTP client: HTTP/1.1 over one connection or one for each request, Basic and
//! Digest, cookies, redirects, chunked and compressed bodies.

use std::convert::Infallible;
use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::read::{GzDecoder, ZlibDecoder};
use flate2::write::GzEncoder;
use hearth_auth::{BasicCredentials, Challenge, DigestChallenge, ExposeSecret, SecretString};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::http1::SendRequest;
use rustls::ClientConfig;

use super::behaviour::{AuthStyle, CookieStyle};
use super::connect::{connect, parse};
use super::meter::EdgeMeter;

/// A request's body.
pub(super) type Body = BoxBody<Bytes, Infallible>;

/// Why a request got no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The URL isn't one that can be asked.
    #[error("`{0}` is no URL that this device can ask")]
    Url(String),
    /// No connection.
    #[error("cannot connect to {to}")]
    Connect {
        /// Host and port.
        to: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The exchange broke.
    #[error("the connection broke")]
    Broken(#[from] hyper::Error),
    /// A header that can't be sent.
    #[error("a header can't be sent")]
    Header(#[from] http::Error),
    /// No answer in time.
    #[error("no answer in {0:?}")]
    Timeout(Duration),
    /// Redirected in circles.
    #[error("redirected too often")]
    Redirects,
    /// A body that can't be decompressed.
    #[error("the answer can't be decompressed")]
    Compression(#[source] std::io::Error),
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Body, decompressed.
    pub body: Bytes,
}

/// How requests are made.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// User and password; none if the user is empty.
    pub username: String,
    /// The password.
    pub password: SecretString,
    /// How they are used.
    pub authentication: AuthStyle,
    /// Whether each request has its own connection.
    pub connection_per_turn: bool,
    /// Whether bodies go out in chunks.
    pub chunked: bool,
    /// Whether bodies go out compressed.
    pub gzip: bool,
    /// How cookies go back.
    pub cookies: CookieStyle,
    /// Limit on each exchange.
    pub timeout: Duration,
    /// For `https`, which is refused without.
    pub tls: Option<Arc<ClientConfig>>,
    /// Counts what becomes of each request.
    pub meter: Option<Arc<EdgeMeter>>,
}

/// A client of one server (until it redirects).
pub struct Client {
    options: ClientOptions,
    url: Uri,
    sender: Option<SendRequest<Body>>,
    cookies: Vec<(String, String)>,
    challenge: Option<(DigestChallenge, u32)>,
    basic: bool,
}

impl Client {
    /// A client; connects with the first request.
    ///
    /// # Errors
    /// Neither an `http` URL with a host nor, with TLS, an `https` one.
    pub fn new(url: &str, options: ClientOptions) -> Result<Self, HttpError> {
        Ok(Self {
            basic: options.authentication == AuthStyle::Basic,
            url: parse(url, options.tls.is_some())?,
            options,
            sender: None,
            cookies: Vec::new(),
            challenge: None,
        })
    }

    /// The cookies held.
    pub fn cookies(&self) -> &[(String, String)] {
        &self.cookies
    }

    /// Starts with these cookies.
    pub fn set_cookies(&mut self, cookies: Vec<(String, String)>) {
        self.cookies = cookies;
    }

    /// Makes a request, answering a challenge and following redirects.
    ///
    /// # Errors
    /// No answer; any status is an answer.
    pub async fn request(
        &mut self,
        method: Method,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Answer, HttpError> {
        let mut challenged = false;
        for _ in 0..8 {
            let bare =
                self.options.authentication == AuthStyle::UnauthenticatedFirst && !challenged;
            let answer = self.once(&method, headers, body.clone(), bare).await?;
            match answer.status.as_u16() {
                401 if !challenged && self.learn(&answer.headers) => challenged = true,
                301 | 302 | 307 | 308 => {
                    let Some(to) = answer.headers.get(header::LOCATION) else {
                        return Ok(answer);
                    };
                    self.redirect(to.to_str().unwrap_or_default())?;
                    challenged = false;
                }
                _ => return Ok(answer),
            }
        }
        Err(HttpError::Redirects)
    }

    fn redirect(&mut self, to: &str) -> Result<(), HttpError> {
        let tls = self.options.tls.is_some();
        self.url = if to.starts_with('/') {
            let scheme = self.url.scheme_str().unwrap_or("http");
            let authority = self.url.authority().map_or("", |a| a.as_str());
            parse(&format!("{scheme}://{authority}{to}"), tls)?
        } else {
            parse(to, tls)?
        };
        self.sender = None;
        self.challenge = None;
        Ok(())
    }

    /// Takes in a 401's challenge; false if it can't be answered.
    fn learn(&mut self, headers: &HeaderMap) -> bool {
        if self.options.username.is_empty() || self.options.authentication == AuthStyle::None {
            return false;
        }
        let values = headers.get_all(header::WWW_AUTHENTICATE).iter();
        let all = Challenge::parse_all(values.filter_map(|v| v.to_str().ok()));
        if let Some(digest) = Challenge::first_digest(&all) {
            self.challenge = Some((digest.clone(), 0));
            self.basic = false;
            return true;
        }
        let asked = all.iter().any(|c| matches!(c, Challenge::Basic { .. }));
        // Refused although it was sent: once more is no use.
        let fresh = asked && !self.basic;
        self.basic = asked;
        fresh
    }

    fn authorization(&mut self, method: &Method) -> Option<String> {
        let (user, password) = (&self.options.username, &self.options.password);
        if let Some((challenge, counter)) = &mut self.challenge {
            *counter += 1;
            let target = self.url.path_and_query().map_or("/", |p| p.as_str());
            let password = password.expose_secret();
            return challenge
                .authorization(method.as_str(), target, user, password, *counter)
                .ok();
        }
        (self.basic && !user.is_empty()).then(|| {
            let basic = BasicCredentials {
                username: user.clone(),
                password: password.clone(),
            };
            basic.header().expose_secret().to_owned()
        })
    }

    async fn once(
        &mut self,
        method: &Method,
        headers: &HeaderMap,
        body: Bytes,
        bare: bool,
    ) -> Result<Answer, HttpError> {
        let limit = self.options.timeout;
        let exchange = self.exchange(method, headers, body, bare);
        let result = tokio::time::timeout(limit, exchange).await;
        let result = result.unwrap_or(Err(HttpError::Timeout(limit)));
        if result.is_err() {
            self.sender = None;
        }
        if let Some(meter) = &self.options.meter {
            meter.count(&result);
        }
        result
    }

    async fn exchange(
        &mut self,
        method: &Method,
        headers: &HeaderMap,
        body: Bytes,
        bare: bool,
    ) -> Result<Answer, HttpError> {
        let mut request = Request::builder()
            .method(method)
            .uri(self.url.path_and_query().map_or("/", |p| p.as_str()))
            .header(
                header::HOST,
                self.url.authority().map_or("", |a| a.as_str()),
            )
            .header(header::USER_AGENT, "hearth-sim");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        if let Some(value) = (!bare).then(|| self.authorization(method)).flatten() {
            request = request.header(header::AUTHORIZATION, value);
        }
        if !self.cookies.is_empty() {
            request = request.header(header::COOKIE, self.cookie_header());
        }
        if self.options.connection_per_turn {
            request = request.header(header::CONNECTION, "close");
        }
        let compress = self.options.gzip && !body.is_empty();
        if compress {
            request = request.header(header::CONTENT_ENCODING, "gzip");
        }
        let body = if compress { gzip(&body) } else { body };
        let request = request.body(framed(body, self.options.chunked))?;
        let answer = self.send(request).await?;
        let (parts, body) = answer.into_parts();
        let body = body.collect().await?.to_bytes();
        if self.options.connection_per_turn {
            self.sender = None;
        }
        self.keep_cookies(&parts.headers);
        let body = decompress(&parts.headers, body)?;
        Ok(Answer {
            status: parts.status,
            headers: parts.headers,
            body,
        })
    }

    async fn send(
        &mut self,
        request: Request<Body>,
    ) -> Result<http::Response<hyper::body::Incoming>, HttpError> {
        let mut kept = self.sender.take();
        if let Some(sender) = &mut kept
            && sender.ready().await.is_err()
        {
            kept = None;
        }
        let mut sender = match kept {
            Some(sender) => sender,
            None => connect(&self.url, self.options.tls.as_ref()).await?,
        };
        let answer = sender.send_request(request).await?;
        self.sender = Some(sender);
        Ok(answer)
    }

    fn cookie_header(&self) -> String {
        let (mut out, between) = match self.options.cookies {
            CookieStyle::Plain => (String::new(), "; "),
            CookieStyle::Old => ("$Version=\"1\"; ".to_owned(), ", "),
        };
        for (at, (name, value)) in self.cookies.iter().enumerate() {
            if at > 0 {
                out.push_str(between);
            }
            match self.options.cookies {
                CookieStyle::Plain => out.push_str(&format!("{name}={value}")),
                CookieStyle::Old => out.push_str(&format!("{name}=\"{value}\"; $Path=\"/\"")),
            }
        }
        out
    }

    fn keep_cookies(&mut self, headers: &HeaderMap) {
        for value in headers.get_all(header::SET_COOKIE) {
            let text = value.to_str().unwrap_or_default();
            let pair = text.split(';').next().unwrap_or_default();
            let Some((name, value)) = pair.split_once('=') else {
                continue;
            };
            let (name, value) = (name.trim(), value.trim());
            self.cookies.retain(|(known, _)| known != name);
            if !value.is_empty() && !text.to_ascii_lowercase().contains("max-age=0") {
                self.cookies.push((name.to_owned(), value.to_owned()));
            }
        }
    }
}

/// A body with Content-Length, or in chunks of a kilobyte.
fn framed(body: Bytes, chunked: bool) -> Body {
    if !chunked || body.is_empty() {
        return Full::new(body).boxed();
    }
    let mut chunks = Vec::new();
    let mut rest = body;
    while !rest.is_empty() {
        let chunk = rest.split_to(rest.len().min(1024));
        chunks.push(Ok(Frame::data(chunk)));
    }
    BodyExt::boxed(StreamBody::new(futures::stream::iter(chunks)))
}

fn gzip(body: &Bytes) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    // Writing to memory can't fail.
    let written = encoder.write_all(body).and_then(|()| encoder.finish());
    written.map_or_else(|_| body.clone(), Bytes::from)
}

fn decompress(headers: &HeaderMap, body: Bytes) -> Result<Bytes, HttpError> {
    let encoding = headers
        .get(header::CONTENT_ENCODING)
        .map_or(&b""[..], HeaderValue::as_bytes);
    let mut out = Vec::new();
    match encoding {
        b"gzip" => GzDecoder::new(&body[..]).read_to_end(&mut out),
        b"deflate" => ZlibDecoder::new(&body[..]).read_to_end(&mut out),
        _ => return Ok(body),
    }
    .map_err(HttpError::Compression)?;
    Ok(Bytes::from(out))
}
