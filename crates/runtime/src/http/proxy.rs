//! The PROXY protocol, versions 1 and 2: the peer's real address, told by a proxy in front.
//!
//! It is read from trusted networks only ([`ProxyOptions::from`]), and there it must come: what
//! anybody may send is not to be believed, and a connection of the proxy without a header would be
//! judged by the proxy's address. Within a header, lengths are bounded ([`MAX_V1`], [`MAX_V2`]) and
//! nothing is kept that isn't used.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Longest header of version 1, line end included.
pub const MAX_V1: usize = 107;
/// Longest header of version 2, its first 16 bytes included. The format would allow 64 KiB; what
/// HAProxy, nginx, Envoy and the clouds' balancers write is a tenth of this.
pub const MAX_V2: usize = 4096;
/// What version 2 begins with. Version 1 is never shorter.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// How a server treats connections of proxies.
#[derive(Debug, Clone)]
pub struct ProxyOptions {
    /// Networks of the proxies: connections from them must begin with a header, others never do.
    pub from: Vec<IpNet>,
    /// Time for the header.
    pub timeout: Duration,
    /// Close connections that come from elsewhere.
    pub only: bool,
}

impl ProxyOptions {
    /// Whether a connection from this address must begin with a header.
    pub fn is_proxy(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.from.iter().any(|network| network.contains(&address))
    }
}

/// What a header tells.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProxyHeader {
    /// The real peer; `None` when the proxy speaks for itself (LOCAL: its health checks) or doesn't
    /// know.
    pub source: Option<SocketAddr>,
    /// The server name that the client asked the proxy for (SNI; version 2, type 0x02).
    pub authority: Option<String>,
    /// What the proxy says about the client's TLS (version 2, type 0x20).
    pub tls: Option<ProxyTls>,
}

/// TLS between a client and the proxy, as the proxy tells it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProxyTls {
    /// The client showed a certificate on this connection or earlier in its session, and the
    /// proxy found it good.
    pub verified: bool,
    /// The common name of that certificate.
    pub common_name: Option<String>,
}

/// A connection that came through a proxy; an extension of its requests.
#[derive(Debug, Clone)]
pub struct Proxied(pub std::sync::Arc<ProxiedBy>);

/// The content of [`Proxied`].
#[derive(Debug, Clone)]
pub struct ProxiedBy {
    /// The proxy's own address.
    pub proxy: SocketAddr,
    /// What its header told.
    pub header: ProxyHeader,
}

/// A header can't be used; the connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// The connection doesn't begin with one.
    #[error("there is no PROXY header")]
    Missing,
    /// It breaks the format; what is wrong.
    #[error("the PROXY header is malformed: {0}")]
    Malformed(&'static str),
    /// It is longer than allowed.
    #[error("the PROXY header is too long")]
    TooLong,
    /// It didn't come in time.
    #[error("the PROXY header did not come in time")]
    Timeout,
    /// The connection ended within it.
    #[error("the connection ended within the PROXY header")]
    Disconnected,
}

/// Reads a header from the beginning of a connection, and not one byte more.
///
/// # Errors
/// See [`ProxyError`].
pub async fn receive(
    stream: &mut (impl AsyncRead + Unpin),
    timeout: Duration,
) -> Result<ProxyHeader, ProxyError> {
    let header = tokio::time::timeout(timeout, read(stream)).await;
    header.unwrap_or(Err(ProxyError::Timeout))
}

async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<ProxyHeader, ProxyError> {
    let gone = |_: std::io::Error| ProxyError::Disconnected;
    let mut bytes = vec![0; SIGNATURE.len()];
    stream.read_exact(&mut bytes).await.map_err(gone)?;
    loop {
        match parse(&bytes)? {
            Parsed::Done(header) => return Ok(header),
            Parsed::Needs(more) => {
                let had = bytes.len();
                bytes.resize(had + more, 0);
                stream.read_exact(&mut bytes[had..]).await.map_err(gone)?;
            }
        }
    }
}

/// What the first bytes of a connection are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parsed {
    /// A whole header, and nothing after it.
    Done(ProxyHeader),
    /// At least so many bytes (never 0) are missing; to read more would take what follows.
    Needs(usize),
}

/// Reads a header from the first bytes of a connection, as many as [`Parsed::Needs`] asked for.
///
/// # Errors
/// [`ProxyError::Missing`], [`ProxyError::Malformed`], [`ProxyError::TooLong`].
pub fn parse(bytes: &[u8]) -> Result<Parsed, ProxyError> {
    if bytes.len() < SIGNATURE.len() {
        return Ok(Parsed::Needs(SIGNATURE.len() - bytes.len()));
    }
    match bytes.strip_prefix(&SIGNATURE) {
        Some(rest) => parse_v2(rest),
        None if bytes.starts_with(b"PROXY ") => parse_v1(bytes),
        None => Err(ProxyError::Missing),
    }
}

fn parse_v1(bytes: &[u8]) -> Result<Parsed, ProxyError> {
    let bad = ProxyError::Malformed;
    let Some(line) = bytes.strip_suffix(b"\r\n") else {
        return match bytes.len() {
            MAX_V1.. => Err(ProxyError::TooLong),
            _ if bytes[..bytes.len() - 1].contains(&b'\n') => Err(bad("a line end within")),
            // Byte by byte towards the end, so that nothing after it is taken.
            _ if bytes.ends_with(b"\r") => Ok(Parsed::Needs(1)),
            _ => Ok(Parsed::Needs(2)),
        };
    };
    if bytes.len() > MAX_V1 {
        return Err(ProxyError::TooLong);
    }
    let line = std::str::from_utf8(line).map_err(|_| bad("not text"))?;
    let mut words = line.split(' ').skip(1);
    let four = match words.next() {
        // Whatever follows is to be ignored.
        Some("UNKNOWN") => return Ok(Parsed::Done(ProxyHeader::default())),
        Some("TCP4") => true,
        Some("TCP6") => false,
        _ => return Err(bad("the protocol is not TCP4, TCP6 or UNKNOWN")),
    };
    let mut address = || {
        let address: IpAddr = words.next()?.parse().ok()?;
        (address.is_ipv4() == four).then_some(address)
    };
    let (Some(source), Some(_destination)) = (address(), address()) else {
        return Err(bad("an address"));
    };
    let mut port = || -> Option<u16> {
        let text = words.next()?;
        let plain = text.bytes().all(|digit| digit.is_ascii_digit());
        plain.then(|| text.parse().ok())?
    };
    let (Some(port), Some(_)) = (port(), port()) else {
        return Err(bad("a port"));
    };
    if words.next().is_some() {
        return Err(bad("more after the ports"));
    }
    Ok(Parsed::Done(ProxyHeader {
        source: Some(SocketAddr::new(source, port)),
        ..ProxyHeader::default()
    }))
}

fn parse_v2(rest: &[u8]) -> Result<Parsed, ProxyError> {
    let bad = ProxyError::Malformed;
    let Some((&[command, family, high, low], payload)) = rest.split_first_chunk::<4>() else {
        return Ok(Parsed::Needs(4 - rest.len()));
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if SIGNATURE.len() + 4 + length > MAX_V2 {
        return Err(ProxyError::TooLong);
    }
    if payload.len() < length {
        return Ok(Parsed::Needs(length - payload.len()));
    }
    if payload.len() > length {
        return Err(bad("more than its length"));
    }
    match command {
        // LOCAL: the rest is to be skipped.
        0x20 => return Ok(Parsed::Done(ProxyHeader::default())),
        0x21 => {}
        _ => return Err(bad("the version or command")),
    }
    let (source, tlvs) = match family {
        0x11 => {
            let (block, tlvs) = payload.split_first_chunk::<12>().ok_or(bad("too short"))?;
            let [a, b, c, d, _, _, _, _, high, low, ..] = *block;
            let port = u16::from_be_bytes([high, low]);
            (
                Some(SocketAddr::from((Ipv4Addr::new(a, b, c, d), port))),
                tlvs,
            )
        }
        0x21 => {
            let (block, tlvs) = payload.split_first_chunk::<36>().ok_or(bad("too short"))?;
            let mut address = [0; 16];
            address.copy_from_slice(&block[..16]);
            let port = u16::from_be_bytes([block[32], block[33]]);
            (
                Some(SocketAddr::from((Ipv6Addr::from(address), port))),
                tlvs,
            )
        }
        // Unspecified: the receiver is to ignore the addresses, whose length isn't known.
        0x00 => return Ok(Parsed::Done(ProxyHeader::default())),
        _ => return Err(bad("the address family is not TCP over IPv4 or IPv6")),
    };
    let mut header = ProxyHeader {
        source,
        ..ProxyHeader::default()
    };
    for tlv in Tlvs(tlvs) {
        match tlv? {
            (0x02, name) => header.authority = text(name, 255)?,
            (0x20, tls) => header.tls = Some(parse_tls(tls)?),
            _ => {}
        }
    }
    Ok(Parsed::Done(header))
}

fn parse_tls(value: &[u8]) -> Result<ProxyTls, ProxyError> {
    let bad = ProxyError::Malformed;
    let (&[client, a, b, c, d], tlvs) = value
        .split_first_chunk::<5>()
        .ok_or(bad("the TLS part is too short"))?;
    const CERTIFICATE_ON_CONNECTION: u8 = 0x02;
    const CERTIFICATE_IN_SESSION: u8 = 0x04;
    let shown = client & (CERTIFICATE_ON_CONNECTION | CERTIFICATE_IN_SESSION) != 0;
    let mut tls = ProxyTls {
        // The result of the verification: zero is good.
        verified: shown && [a, b, c, d] == [0; 4],
        common_name: None,
    };
    for tlv in Tlvs(tlvs) {
        if let (0x22, name) = tlv? {
            tls.common_name = text(name, 255)?;
        }
    }
    Ok(tls)
}

/// A text of a proxy: UTF-8 without control characters.
fn text(bytes: &[u8], most: usize) -> Result<Option<String>, ProxyError> {
    let text = std::str::from_utf8(bytes).ok();
    let good = text.filter(|text| text.len() <= most && !text.chars().any(char::is_control));
    let text = good.ok_or(ProxyError::Malformed("a text"))?;
    Ok((!text.is_empty()).then(|| text.to_owned()))
}

/// Type, length, value, one after another.
struct Tlvs<'a>(&'a [u8]);

impl<'a> Iterator for Tlvs<'a> {
    type Item = Result<(u8, &'a [u8]), ProxyError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let cut = std::mem::take(&mut self.0);
        let read = cut.split_first_chunk::<3>().and_then(|(head, rest)| {
            let &[kind, high, low] = head;
            let length = usize::from(u16::from_be_bytes([high, low]));
            let (value, rest) = rest.split_at_checked(length)?;
            self.0 = rest;
            Some((kind, value))
        });
        Some(read.ok_or(ProxyError::Malformed("a part is cut off")))
    }
}

#[cfg(test)]
#[path = "proxy_tests.rs"]
mod tests;
