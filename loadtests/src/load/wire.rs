//! A client connection that costs next to nothing: requests are bytes, of an answer only the
//! status, the length and the cookie are looked at.

use std::io;
use std::time::Duration;

use hearth_auth::{BasicCredentials, Challenge, DigestChallenge, ExposeSecret, SecretString};
use memchr::{memchr, memmem};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::LoadError;
use super::dial::{Dialer, Wire};

const PATIENCE: Duration = Duration::from_secs(30);

/// How the generated devices authenticate themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Auth {
    /// Not at all.
    None,
    /// Basic in every request, without having been asked.
    #[default]
    Basic,
    /// Digest: one challenge for each connection, its nonce used again.
    Digest,
}

/// Where requests go, and what stands in each.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    address: String,
    path: String,
    auth: Auth,
    username: String,
    password: SecretString,
    basic: String,
    dialer: Dialer,
}

impl Target {
    pub fn new(
        url: &str,
        auth: Auth,
        username: &str,
        password: &SecretString,
        dialer: Dialer,
    ) -> Result<Self, LoadError> {
        let bad = || LoadError::Url(url.to_owned());
        let uri: http::Uri = url.parse().map_err(|_| bad())?;
        let host = uri
            .host()
            .filter(|_| uri.scheme_str() == Some(dialer.scheme()));
        let basic = BasicCredentials {
            username: username.to_owned(),
            password: password.clone(),
        };
        Ok(Self {
            address: format!("{}:{}", host.ok_or_else(bad)?, port(&uri)),
            path: uri.path_and_query().map_or("/", |p| p.as_str()).to_owned(),
            auth,
            username: username.to_owned(),
            password: password.clone(),
            basic: format!("Authorization: {}\r\n", basic.header().expose_secret()),
            dialer,
        })
    }

    /// The same, over other connections.
    pub fn over(&self, dialer: Dialer) -> Self {
        Self {
            dialer,
            ..self.clone()
        }
    }
}

fn port(uri: &http::Uri) -> u16 {
    let usual = match uri.scheme_str() {
        Some("https") => 443,
        _ => 80,
    };
    uri.port_u16().unwrap_or(usual)
}

/// An answer's outline. Its body is in [`Connection::body`] until the next request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outline {
    pub status: u16,
    pub body_len: usize,
}

/// A keep-alive connection.
pub(crate) struct Connection {
    target: Target,
    stream: Option<Box<dyn Wire>>,
    digest: Option<(DigestChallenge, u32)>,
    request: Vec<u8>,
    answer: Vec<u8>,
    body_at: usize,
    /// `name=value` of the session's cookie.
    cookie: Vec<u8>,
    /// Connections opened.
    pub opened: u64,
    /// Retry-After of the last answer, in seconds.
    pub retry_after: Option<u32>,
}

impl Connection {
    pub fn new(target: Target) -> Self {
        Self {
            target,
            stream: None,
            digest: None,
            request: Vec::with_capacity(8 << 10),
            answer: Vec::with_capacity(8 << 10),
            body_at: 0,
            cookie: Vec::new(),
            opened: 0,
            retry_after: None,
        }
    }

    /// Another user from now on.
    pub fn authenticate(&mut self, username: &str, password: &SecretString) {
        let dialer = self.target.dialer.clone();
        let scheme = dialer.scheme();
        let url = format!("{scheme}://{}{}", self.target.address, self.target.path);
        if let Ok(target) = Target::new(&url, self.target.auth, username, password, dialer) {
            self.target = target;
            self.digest = None;
        }
    }

    /// The last answer's body.
    pub fn body(&self) -> &[u8] {
        self.answer.get(self.body_at..).unwrap_or_default()
    }

    /// Forgets the session's cookie, and its connection where each session has its own.
    pub fn new_session(&mut self) {
        self.cookie.clear();
        if self.target.dialer.each_session {
            self.stream = None;
            self.digest = None;
        }
    }

    /// Posts a body and reads the answer; answers a challenge if it is like that.
    pub async fn post(&mut self, body: &[u8]) -> io::Result<Outline> {
        let outline = self.exchange(body).await?;
        if outline.status == 401 && self.target.auth == Auth::Digest && self.learn() {
            return self.exchange(body).await;
        }
        Ok(outline)
    }

    async fn exchange(&mut self, body: &[u8]) -> io::Result<Outline> {
        self.build(body);
        let exchange = tokio::time::timeout(PATIENCE, self.send());
        let result = exchange
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        if result.is_err() {
            self.stream = None;
        }
        result
    }

    fn build(&mut self, body: &[u8]) {
        let authorization = self.authorization();
        let out = &mut self.request;
        out.clear();
        out.extend_from_slice(b"POST ");
        out.extend_from_slice(self.target.path.as_bytes());
        out.extend_from_slice(b" HTTP/1.1\r\nHost: ");
        out.extend_from_slice(self.target.address.as_bytes());
        out.extend_from_slice(b"\r\nUser-Agent: hearth-sim\r\n");
        match authorization {
            Some(digest) => out.extend_from_slice(digest.as_bytes()),
            None if self.target.auth == Auth::Basic => {
                out.extend_from_slice(self.target.basic.as_bytes());
            }
            None => {}
        }
        if !self.cookie.is_empty() {
            out.extend_from_slice(b"Cookie: ");
            out.extend_from_slice(&self.cookie);
            out.extend_from_slice(b"\r\n");
        }
        if body.is_empty() {
            out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
            return;
        }
        out.extend_from_slice(
            b"SOAPAction: \r\nContent-Type: text/xml; charset=utf-8\r\nContent-Length: ",
        );
        out.extend_from_slice(body.len().to_string().as_bytes());
        out.extend_from_slice(b"\r\n\r\n");
        out.extend_from_slice(body);
    }

    fn authorization(&mut self) -> Option<String> {
        let (challenge, counter) = self.digest.as_mut()?;
        *counter += 1;
        let target = &self.target;
        let password = target.password.expose_secret();
        let (path, user) = (&target.path, &target.username);
        let value = challenge.authorization("POST", path, user, password, *counter);
        value
            .ok()
            .map(|value| format!("Authorization: {value}\r\n"))
    }

    /// Takes in the challenge of the last answer.
    fn learn(&mut self) -> bool {
        let head = String::from_utf8_lossy(&self.answer[..self.body_at]).into_owned();
        let lines = head.lines().filter_map(|line| line.split_once(':'));
        let asked = lines.filter(|(name, _)| name.eq_ignore_ascii_case("www-authenticate"));
        let all = Challenge::parse_all(asked.map(|(_, value)| value.trim()));
        let found = Challenge::first_digest(&all).cloned();
        self.digest = found.map(|challenge| (challenge, 0));
        self.digest.is_some()
    }

    async fn send(&mut self) -> io::Result<Outline> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                self.opened += 1;
                self.target.dialer.dial(&self.target.address).await?
            }
        };
        stream.write_all(&self.request).await?;
        stream.flush().await?;
        self.answer.clear();
        let head = loop {
            if let Some(end) = memmem::find(&self.answer, b"\r\n\r\n") {
                break end + 4;
            }
            more(&mut stream, &mut self.answer).await?;
        };
        self.body_at = head;
        let seen = look(&self.answer[..head], &mut self.cookie)?;
        self.retry_after = seen.retry_after;
        match seen.length {
            Length::Known(length) => {
                while self.answer.len() < head + length {
                    more(&mut stream, &mut self.answer).await?;
                }
            }
            Length::Chunked => {
                while !self.answer[head..].ends_with(b"0\r\n\r\n") {
                    more(&mut stream, &mut self.answer).await?;
                }
            }
        }
        if !seen.close {
            self.stream = Some(stream);
        }
        let body_len = self.answer.len() - head;
        let empty = matches!(seen.length, Length::Chunked) && body_len == 5;
        Ok(Outline {
            status: seen.status,
            body_len: if empty { 0 } else { body_len },
        })
    }
}

async fn more(stream: &mut Box<dyn Wire>, into: &mut Vec<u8>) -> io::Result<()> {
    match stream.read_buf(into).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

enum Length {
    Known(usize),
    Chunked,
}

struct Head {
    status: u16,
    length: Length,
    close: bool,
    retry_after: Option<u32>,
}

/// Looks at an answer's head, and keeps the first cookie of it.
fn look(head: &[u8], cookie: &mut Vec<u8>) -> io::Result<Head> {
    let bad = || io::Error::from(io::ErrorKind::InvalidData);
    let status = head.get(9..12).and_then(digits).ok_or_else(bad)?;
    let mut seen = Head {
        status: u16::try_from(status).map_err(|_| bad())?,
        length: Length::Known(0),
        close: false,
        retry_after: None,
    };
    let mut rest = head;
    let mut fresh = true;
    while let Some(end) = memchr(b'\n', rest) {
        let line = rest[..end].trim_ascii_end();
        rest = &rest[end + 1..];
        let Some(colon) = memchr(b':', line) else {
            continue;
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        // The length tells most headers apart.
        match name.len() {
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                seen.length = Length::Known(digits(value).ok_or_else(bad)?);
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                seen.length = Length::Chunked;
            }
            10 if name.eq_ignore_ascii_case(b"connection") => {
                seen.close = value.eq_ignore_ascii_case(b"close");
            }
            11 if name.eq_ignore_ascii_case(b"retry-after") => {
                seen.retry_after = digits(value).and_then(|secs| u32::try_from(secs).ok());
            }
            10 if name.eq_ignore_ascii_case(b"set-cookie") && fresh => {
                fresh = false;
                cookie.clear();
                let end = memchr(b';', value).unwrap_or(value.len());
                cookie.extend_from_slice(&value[..end]);
            }
            _ => {}
        }
    }
    Ok(seen)
}

fn digits(text: &[u8]) -> Option<usize> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn of_a_head_only_what_counts() {
        let mut cookie = b"old=1".to_vec();
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\nset-cookie: hs=x-y; Path=/\r\n\r\n";
        let seen = look(head, &mut cookie).unwrap();
        assert_eq!((seen.status, seen.close), (200, false));
        assert!(matches!(seen.length, Length::Known(12)));
        assert_eq!(cookie, b"hs=x-y");
        let seen = look(
            b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n",
            &mut cookie,
        )
        .unwrap();
        assert_eq!((seen.status, seen.close), (204, true));
        assert_eq!(cookie, b"hs=x-y");
        assert!(look(b"nonsense\r\n\r\n", &mut cookie).is_err());
    }
}
