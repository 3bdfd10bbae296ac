//! A CPE's HTTP, byte by byte: what is sent is exactly what a test says.
#![allow(dead_code, clippy::unwrap_used)]

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{PASSWORD, USER};

/// What a CPE speaks HTTP over.
pub trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

/// One connection of a CPE.
pub struct Cpe {
    stream: Box<dyn Wire>,
    received: Vec<u8>,
    pub host: String,
}

/// An answer as it came.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    /// The header block, as it came.
    pub head: String,
    pub body: String,
}

impl Answer {
    /// The values of a header.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let pairs = self
            .head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(": "));
        pairs
            .filter(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
            .collect()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }

    /// The session cookie, as the CPE sends it back.
    pub fn cookie(&self) -> String {
        let set = self.header("Set-Cookie").expect("a cookie");
        set.split(';').next().unwrap().to_owned()
    }

    pub fn closes(&self) -> bool {
        self.header("Connection") == Some("close")
    }

    /// The text of an element in the body.
    pub fn text(&self, element: &str) -> Option<&str> {
        let start = self.body.find(&format!("<{element}"))?;
        let rest = &self.body[start..];
        let rest = &rest[rest.find('>')? + 1..];
        Some(&rest[..rest.find('<')?])
    }
}

pub fn basic() -> String {
    basic_of(USER, PASSWORD)
}

/// Credentials of somebody.
pub fn basic_of(user: &str, password: &str) -> String {
    use base64::Engine as _;
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    format!("Authorization: Basic {pair}\r\n")
}

impl Cpe {
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        Self::over(stream, &format!("acs.example:{}", address.port()))
    }

    /// A CPE on a connection that is made already.
    pub fn over(stream: impl Wire + 'static, host: &str) -> Self {
        Self {
            stream: Box::new(stream),
            received: Vec::new(),
            host: host.to_owned(),
        }
    }

    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// POSTs a body with these header lines (each with its line end).
    pub async fn post(&mut self, headers: &str, body: impl AsRef<[u8]>) -> Answer {
        self.post_to("/", headers, body).await
    }

    pub async fn post_to(&mut self, path: &str, headers: &str, body: impl AsRef<[u8]>) -> Answer {
        self.send_to(path, headers, body).await;
        self.answer().await
    }

    /// POSTs without waiting for the answer.
    pub async fn send(&mut self, headers: &str, body: impl AsRef<[u8]>) {
        self.send_to("/", headers, body).await;
    }

    async fn send_to(&mut self, path: &str, headers: &str, body: impl AsRef<[u8]>) {
        let body = body.as_ref();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\n{headers}Content-Length: {}\r\n\r\n",
            self.host,
            body.len()
        );
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(body);
        self.write(bytes).await;
    }

    /// POSTs in a session, with its cookie.
    pub async fn turn(&mut self, cookie: &str, body: impl AsRef<[u8]>) -> Answer {
        self.post(&format!("Cookie: {cookie}\r\n"), body).await
    }

    /// Reads an answer by its Content-Length.
    pub async fn answer(&mut self) -> Answer {
        let reading = async {
            let end = loop {
                if let Some(at) = find(&self.received, b"\r\n\r\n") {
                    break at + 4;
                }
                assert!(self.fill().await > 0, "closed before an answer");
            };
            let head = String::from_utf8(self.received.drain(..end).collect()).unwrap();
            let status = head.split(' ').nth(1).unwrap().parse().unwrap();
            let mut answer = Answer {
                status,
                head,
                body: String::new(),
            };
            if status != 204 && status >= 200 {
                let length = answer
                    .header("content-length")
                    .unwrap_or("0")
                    .parse()
                    .unwrap();
                while self.received.len() < length {
                    assert!(self.fill().await > 0, "closed within a body");
                }
                answer.body = String::from_utf8(self.received.drain(..length).collect()).unwrap();
            }
            answer
        };
        tokio::time::timeout(Duration::from_secs(20), reading)
            .await
            .expect("an answer in time")
    }

    /// Whether the server ends the connection now, without another byte.
    pub async fn is_closed(&mut self) -> bool {
        let read = tokio::time::timeout(Duration::from_secs(10), self.fill());
        read.await.expect("the end in time") == 0
    }

    async fn fill(&mut self) -> usize {
        let mut buffer = vec![0; 16 * 1024];
        // A reset is an end, too.
        let read = self.stream.read(&mut buffer).await.unwrap_or(0);
        self.received.extend_from_slice(&buffer[..read]);
        read
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
