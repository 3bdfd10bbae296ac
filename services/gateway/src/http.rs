//! HTTP as CPEs speak it: the ACS URL, bodies and their codings, answers.

use std::io::Read as _;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hearth_runtime::http::{BodyError, BodyLimits, read_body_limited};
use hearth_types::TenantId;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt as _, Full};

use crate::admission::{Admission, Taken};
use crate::config::GatewayConfig;
use crate::refusal::Refusal;

/// What goes back to a CPE: always in one piece, so that Content-Length is known.
pub(crate) type Reply = Response<Full<Bytes>>;

/// Bodies of requests that aren't authenticated yet are read away, so that the connection can be
/// used for the answer to the challenge, but only up to this.
const STRANGERS_BODY: usize = 2 << 20;
/// The room that a body takes before it comes; a larger one takes more as it arrives, since a
/// length that was only announced must not keep others out.
const USUAL_BODY: usize = 64 * 1024;
/// Above this, unpacking goes to a thread of its own.
const LARGE_PACKED: usize = 64 * 1024;
/// A body may always grow to this, whatever the ratio.
const SMALL_UNPACKED: usize = 256 * 1024;

/// The tenant of an ACS URL: `/` and `/acs` are the default one's, `/t/{tenant}` names it. Where the
/// server name (SNI) says whose it is, those two are that tenant's, and no other may be named.
pub(crate) fn tenant(
    parts: &Parts,
    default: &TenantId,
    named: Option<&TenantId>,
) -> Result<TenantId, Refusal> {
    if parts.method != Method::POST {
        return Err(Refusal::Method);
    }
    let path = parts.uri.path();
    match path.strip_suffix('/').unwrap_or(path) {
        "" | "/acs" => Ok(named.unwrap_or(default).clone()),
        path => {
            let tenant = path.strip_prefix("/t/").and_then(|name| name.parse().ok());
            let tenant: TenantId = tenant.ok_or(Refusal::Path)?;
            let ours = named.is_none_or(|named| *named == tenant);
            ours.then_some(tenant).ok_or(Refusal::Tenant)
        }
    }
}

/// The target as the CPE hashed it for Digest.
pub(crate) fn target(parts: &Parts) -> &str {
    parts
        .uri
        .path_and_query()
        .map_or("/", |target| target.as_str())
}

/// How a body is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    Plain,
    Gzip,
    Deflate,
}

fn coding(headers: &HeaderMap) -> Result<Coding, Refusal> {
    let mut found = Coding::Plain;
    for value in headers.get_all(header::CONTENT_ENCODING) {
        let value = value.to_str().map_err(|_| Refusal::Encoding)?;
        for name in value
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
        {
            let coding = match name.to_ascii_lowercase().as_str() {
                "identity" => continue,
                "gzip" | "x-gzip" => Coding::Gzip,
                "deflate" => Coding::Deflate,
                _ => return Err(Refusal::Encoding),
            };
            // Packed twice: nobody does it but to hide a bomb.
            if found != Coding::Plain {
                return Err(Refusal::Encoding);
            }
            found = coding;
        }
    }
    Ok(found)
}

/// Reads bodies within the limits.
#[derive(Debug)]
pub(crate) struct Bodies {
    limits: BodyLimits,
    ratio: usize,
}

/// A body, unpacked, and the room that it takes.
pub(crate) struct ReadBody<'a> {
    pub bytes: Bytes,
    /// Bytes as they came.
    pub received: usize,
    /// Given back when the turn is over.
    pub room: Option<Taken<'a>>,
}

impl Bodies {
    pub(crate) fn new(config: &GatewayConfig) -> Self {
        Self {
            limits: BodyLimits {
                grace: config.body_timeout.get(),
                ..BodyLimits::new(config.max_body.as_usize())
            },
            ratio: usize::try_from(config.max_decompression_ratio.max(1)).unwrap_or(usize::MAX),
        }
    }

    /// Reads the body of a request that is going to be challenged, and keeps nothing of it.
    /// `false` if it was too large, too slow or broken: then the connection can't be used again.
    pub(crate) async fn discard<B: Body<Data = Bytes>>(&self, body: B) -> bool {
        let most = STRANGERS_BODY.min(self.limits.max_bytes);
        let announced = body.size_hint().lower();
        if usize::try_from(announced).map_or(true, |announced| announced > most) {
            return false;
        }
        if body.is_end_stream() {
            return true;
        }
        let reading = async {
            let mut body = std::pin::pin!(body);
            let mut received = 0;
            while let Some(frame) = body.frame().await {
                let Ok(frame) = frame else { return false };
                received += frame.data_ref().map_or(0, Bytes::len);
                if received > most {
                    return false;
                }
            }
            true
        };
        let read = tokio::time::timeout(self.limits.grace, reading);
        read.await.unwrap_or(false)
    }

    /// Reads and unpacks the body of a CPE that is known.
    pub(crate) async fn read<'a, B: Body<Data = Bytes>>(
        &self,
        headers: &HeaderMap,
        body: B,
        admission: &'a Admission,
    ) -> Result<ReadBody<'a>, Refusal> {
        let coding = coding(headers)?;
        if body.is_end_stream() {
            return Ok(ReadBody {
                bytes: Bytes::new(),
                received: 0,
                room: None,
            });
        }
        let busy = |unread| Refusal::Busy {
            reason: "busy_bytes",
            unread,
        };
        let announced = body.size_hint().exact().map_or(USUAL_BODY, |exact| {
            usize::try_from(exact).unwrap_or(usize::MAX)
        });
        if announced > self.limits.max_bytes {
            return Err(Refusal::TooLarge);
        }
        let mut room = admission
            .bytes(announced.min(USUAL_BODY))
            .ok_or_else(|| busy(true))?;
        let mut full = false;
        let metered = Metered {
            body: std::pin::pin!(body),
            received: 0,
            admission,
            room: &mut room,
            full: &mut full,
        };
        let read = read_body_limited(metered, &self.limits).await;
        let mut bytes = read.map_err(|error| match error {
            _ if full => busy(true),
            BodyError::TooLarge { .. } => Refusal::TooLarge,
            BodyError::Timeout { .. } => Refusal::Timeout,
            BodyError::Disconnected { .. } => Refusal::Disconnected,
        })?;
        let received = bytes.len();
        if coding != Coding::Plain && received > 0 {
            bytes = self.unpack(coding, bytes).await?;
            if !admission.grow(&mut room, bytes.len()) {
                return Err(busy(false));
            }
        }
        Ok(ReadBody {
            bytes,
            received,
            room: Some(room),
        })
    }

    async fn unpack(&self, coding: Coding, packed: Bytes) -> Result<Bytes, Refusal> {
        let by_ratio = packed.len().saturating_mul(self.ratio).max(SMALL_UNPACKED);
        let most = by_ratio.min(self.limits.max_bytes);
        if packed.len() <= LARGE_PACKED {
            return unpack(coding, &packed, most);
        }
        let unpacked = tokio::task::spawn_blocking(move || unpack(coding, &packed, most));
        unpacked.await.unwrap_or(Err(Refusal::BadEncoding))
    }
}

/// A body that takes its room as it comes.
struct Metered<'a, 'm, B> {
    body: Pin<&'m mut B>,
    received: usize,
    admission: &'a Admission,
    room: &'m mut Taken<'a>,
    /// Set when there was no more room, which ends the body.
    full: &'m mut bool,
}

/// The body ended before its end.
struct Broken;

impl<B: Body<Data = Bytes>> Body for Metered<'_, '_, B> {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = &mut *self;
        let frame = match ready!(this.body.as_mut().poll_frame(cx)) {
            None => return Poll::Ready(None),
            Some(Err(_)) => return Poll::Ready(Some(Err(Broken))),
            Some(Ok(frame)) => frame,
        };
        this.received += frame.data_ref().map_or(0, Bytes::len);
        let more = this.received.saturating_sub(this.room.amount());
        if more > 0 && !this.admission.grow(this.room, more) {
            *this.full = true;
            return Poll::Ready(Some(Err(Broken)));
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Unpacks at most `most` bytes. `deflate` is zlib by the standard, and raw from some clients.
fn unpack(coding: Coding, packed: &[u8], most: usize) -> Result<Bytes, Refusal> {
    match coding {
        Coding::Plain => Ok(Bytes::copy_from_slice(packed)),
        Coding::Gzip => limited(
            flate2::read::MultiGzDecoder::new(packed),
            packed.len(),
            most,
        ),
        Coding::Deflate => {
            let zlib = limited(flate2::read::ZlibDecoder::new(packed), packed.len(), most);
            match zlib {
                Err(Refusal::BadEncoding) => limited(
                    flate2::read::DeflateDecoder::new(packed),
                    packed.len(),
                    most,
                ),
                read => read,
            }
        }
    }
}

fn limited(reader: impl std::io::Read, packed: usize, most: usize) -> Result<Bytes, Refusal> {
    let mut out = Vec::with_capacity(packed.saturating_mul(4).min(most).min(1 << 20));
    let past = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    reader
        .take(past)
        .read_to_end(&mut out)
        .map_err(|_| Refusal::BadEncoding)?;
    if out.len() > most {
        return Err(Refusal::TooLarge);
    }
    Ok(out.into())
}

/// The charset of a Content-Type, however it is written.
pub(crate) fn charset(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    value.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("charset")
            .then(|| value.trim().trim_matches(['"', '\'']))
    })
}

/// The host that a CPE reached the server by, without port, for `{host}` in transfer URLs; `None`
/// when its Host header holds anything but a host.
pub(crate) fn host(parts: &Parts) -> Option<&str> {
    let authority = match parts.uri.host() {
        Some(host) => return usable_host(host),
        None => parts.headers.get(header::HOST)?.to_str().ok()?.trim(),
    };
    let host = match authority.strip_prefix('[') {
        Some(rest) => &authority[..=rest.find(']')? + 1],
        None => authority.split(':').next()?,
    };
    usable_host(host)
}

fn usable_host(host: &str) -> Option<&str> {
    let inner = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let good = match inner {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            (1..=253).contains(&host.len())
                && host
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
        }
    };
    good.then_some(host)
}

/// An address as it stands in a URL.
pub(crate) fn host_of(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    }
}

const XML: HeaderValue = HeaderValue::from_static("text/xml; charset=utf-8");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// An envelope: HTTP 200, faults included (TR-069 3.4.1).
pub(crate) fn envelope(bytes: Vec<u8>, cookie: Option<HeaderValue>) -> Reply {
    let mut reply = Response::new(Full::new(Bytes::from(bytes)));
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, XML);
    if let Some(cookie) = cookie {
        headers.insert(header::SET_COOKIE, cookie);
    }
    reply
}

/// Nothing to say (TR-069 3.4.1).
pub(crate) fn no_content(cookie: Option<HeaderValue>) -> Reply {
    let mut reply = Response::new(Full::new(Bytes::new()));
    *reply.status_mut() = StatusCode::NO_CONTENT;
    if let Some(cookie) = cookie {
        reply.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    reply
}

/// Tells the peer that the connection ends.
pub(crate) fn close(reply: &mut Reply) {
    let close = HeaderValue::from_static("close");
    reply.headers_mut().insert(header::CONNECTION, close);
}

/// An HTTP error.
pub(crate) fn refuse(refusal: &Refusal, retry_after: u64, challenges: &[String]) -> Reply {
    let text = refusal.text();
    let mut reply = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *reply.status_mut() = refusal.status();
    let headers = reply.headers_mut();
    if !text.is_empty() {
        headers.insert(header::CONTENT_TYPE, TEXT);
    }
    if *refusal == Refusal::Method {
        headers.insert(header::ALLOW, HeaderValue::from_static("POST"));
    }
    if refusal.is_temporary() {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(retry_after));
    }
    for challenge in challenges {
        if let Ok(value) = HeaderValue::from_str(challenge) {
            headers.append(header::WWW_AUTHENTICATE, value);
        }
    }
    if refusal.closes() {
        close(&mut reply);
    }
    reply
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::Write as _;

    fn parts(method: &str, uri: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = http::Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn acs_urls() {
        let of = |method, uri| tenant(&parts(method, uri, &[]), &TenantId::default(), None);
        for uri in ["/", "/acs", "/acs/", "/?x=1", "http://acs.example:7547/"] {
            assert_eq!(of("POST", uri).unwrap().as_str(), "default", "{uri}");
        }
        assert_eq!(of("POST", "/t/isp-1").unwrap().as_str(), "isp-1");
        assert_eq!(of("POST", "/t/isp-1/").unwrap().as_str(), "isp-1");
        for uri in ["/x", "/t", "/t/", "/t/A", "/t/a/b", "/acs/x", "/t/a%2Fb"] {
            assert_eq!(of("POST", uri), Err(Refusal::Path), "{uri}");
        }
        for method in ["GET", "HEAD", "PUT", "OPTIONS", "FOO"] {
            assert_eq!(of(method, "/"), Err(Refusal::Method));
        }
    }

    #[test]
    fn hosts_are_hosts_only() {
        for (given, expected) in [
            ("acs.example:7547", Some("acs.example")),
            ("192.0.2.1", Some("192.0.2.1")),
            ("[2001:db8::1]:7547", Some("[2001:db8::1]")),
            ("[2001:db8::1]", Some("[2001:db8::1]")),
            ("[evil", None),
            ("[evil]", None),
            ("a/b", None),
            ("user@host", None),
            ("", None),
            ("a b", None),
        ] {
            let parts = parts("POST", "/", &[("host", given)]);
            assert_eq!(host(&parts), expected, "{given}");
        }
        let absolute = parts("POST", "http://acs.example:1/", &[("host", "other")]);
        assert_eq!(host(&absolute), Some("acs.example"));
        assert_eq!(host(&parts("POST", "/", &[])), None);
    }

    #[test]
    fn charsets_and_codings() {
        let of = |value| {
            let parts = parts("POST", "/", &[("content-type", value)]);
            charset(&parts.headers).map(str::to_owned)
        };
        assert_eq!(
            of("text/xml; charset=\"ISO-8859-1\"").unwrap(),
            "ISO-8859-1"
        );
        assert_eq!(of("text/xml;a=b; Charset = utf-16").unwrap(), "utf-16");
        assert_eq!(of("text/xml"), None);
        let coding_of = |value| {
            let parts = parts("POST", "/", &[("content-encoding", value)]);
            coding(&parts.headers)
        };
        assert_eq!(coding_of("GZIP"), Ok(Coding::Gzip));
        assert_eq!(coding_of("identity, deflate"), Ok(Coding::Deflate));
        assert_eq!(coding_of("gzip, gzip"), Err(Refusal::Encoding));
        assert_eq!(coding_of("br"), Err(Refusal::Encoding));
    }

    #[test]
    fn bombs_stop_at_the_limit() {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        packer.write_all(&vec![0; 4 << 20]).unwrap();
        let bomb = packer.finish().unwrap();
        assert_eq!(unpack(Coding::Gzip, &bomb, 1 << 20), Err(Refusal::TooLarge));
        assert_eq!(unpack(Coding::Gzip, &bomb, 4 << 20).unwrap().len(), 4 << 20);
        assert_eq!(
            unpack(Coding::Gzip, b"not gzip", 100),
            Err(Refusal::BadEncoding)
        );
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        zlib.write_all(b"abc").unwrap();
        let mut raw = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
        raw.write_all(b"abc").unwrap();
        for packed in [zlib.finish().unwrap(), raw.finish().unwrap()] {
            assert_eq!(unpack(Coding::Deflate, &packed, 100).unwrap(), "abc");
        }
    }
}
