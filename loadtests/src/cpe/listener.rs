//! The devices' connection-request server (TR-069 3.2.2): one listener for a fleet, and a random
//! path for each device that changes when it boots.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hearth_auth::digest::RequestTarget;
use hearth_auth::{Authorization, DigestOptions, DigestServer, Nonces, VerifyWith};
use hearth_types::Timestamp;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::behaviour::ListenerStyle;
use super::device::{Device, WeakDevice};

/// Connections served at once; more wait in the kernel's queue.
const CONNECTIONS: usize = 1024;
/// A request is this long at most.
const REQUEST: usize = 8 << 10;
const PATIENCE: Duration = Duration::from_secs(10);

/// Which device listens under which path.
pub(crate) struct Registry {
    address: SocketAddr,
    digest: DigestServer,
    nonces: Nonces,
    paths: Mutex<HashMap<String, WeakDevice>>,
}

impl Registry {
    pub(crate) fn new(address: SocketAddr, key: &[u8; 32]) -> Arc<Self> {
        let mut options = DigestOptions::new("hearth-sim");
        options.replay_capacity = 1 << 12;
        Arc::new(Self {
            address,
            digest: DigestServer::new(Nonces::new(key), options),
            nonces: Nonces::new(key),
            paths: Mutex::new(HashMap::new()),
        })
    }

    /// Puts a device under a new path and takes it from its old URL's.
    pub(super) fn register(&self, old: &str, token: &str, device: WeakDevice) -> String {
        let mut paths = self.paths.lock();
        if let Some((_, old)) = old.rsplit_once('/') {
            paths.remove(old);
        }
        paths.insert(token.to_owned(), device);
        format!("http://{}/{token}", self.address)
    }

    fn device(&self, path: &str) -> Option<Arc<Device>> {
        let token = path.split('?').next()?.strip_prefix('/')?;
        self.paths.lock().get(token)?.upgrade()
    }

    /// Serves until stopped.
    pub(crate) async fn serve(self: Arc<Self>, listener: TcpListener, stop: CancellationToken) {
        let slots = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let Ok(slot) = slots.clone().acquire_owned().await else {
                return;
            };
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            // Out of descriptors: wait for some to come back.
            let Ok((stream, _)) = accepted else {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            let (registry, stop) = (self.clone(), stop.clone());
            tokio::spawn(async move {
                let served = tokio::time::timeout(PATIENCE, registry.connection(stream));
                tokio::select! {
                    () = stop.cancelled() => {}
                    _ = served => {}
                }
                drop(slot);
            });
        }
    }

    /// Answers requests on a connection until one closes it.
    async fn connection(&self, mut stream: TcpStream) {
        let mut buffer = Vec::new();
        loop {
            let mut headers = [httparse::EMPTY_HEADER; 32];
            let mut request = httparse::Request::new(&mut headers);
            match request.parse(&buffer) {
                Ok(httparse::Status::Complete(used)) => {
                    let (answer, close) = self.answer(&request);
                    buffer.drain(..used);
                    if stream.write_all(answer.as_bytes()).await.is_err() || close {
                        return;
                    }
                    continue;
                }
                Ok(httparse::Status::Partial) if buffer.len() < REQUEST => {}
                _ => return,
            }
            match stream.read_buf(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }

    /// The answer to a request, and whether the connection is closed after it.
    fn answer(&self, request: &httparse::Request<'_, '_>) -> (String, bool) {
        let path = request.path.unwrap_or_default();
        let Some(device) = self.device(path) else {
            return (plain("404 Not Found"), false);
        };
        if request.method != Some("GET") {
            return (plain("405 Method Not Allowed"), false);
        }
        let (username, password, style) = {
            let state = device.state.lock();
            let value = |name: &str| state.tree.root_value(name).to_owned();
            (
                value("ManagementServer.ConnectionRequestUsername"),
                value("ManagementServer.ConnectionRequestPassword"),
                state.behaviour.listener,
            )
        };
        let find = |h: &&httparse::Header<'_>| h.name.eq_ignore_ascii_case("authorization");
        let header = request.headers.iter().find(find);
        let header = header.and_then(|h| std::str::from_utf8(h.value).ok());
        let now = now();
        let known = header.is_some_and(|text| match Authorization::parse(text) {
            Authorization::Digest(response) => {
                let target = RequestTarget {
                    method: "GET",
                    uri: path,
                };
                let stored = VerifyWith::Password(&password);
                let verified = self.digest.verify(target, &response, stored, now);
                response.username == username && verified.is_ok()
            }
            _ => false,
        });
        let broken = style == ListenerStyle::Broken;
        if !known {
            return (self.challenge(style, now), broken);
        }
        let status = if device.requested() {
            "200 OK"
        } else {
            "503 Service Unavailable"
        };
        match broken {
            // No Content-Length and no final blank line: the end of the connection ends it.
            true => (format!("HTTP/1.1 {status}\nConnection: close\n"), true),
            false => (plain(status), false),
        }
    }

    fn challenge(&self, style: ListenerStyle, now: Timestamp) -> String {
        let nonce = self.nonces.make(now).unwrap_or_default();
        let start = format!("Digest realm=\"{}\",", self.digest.realm());
        match style {
            ListenerStyle::Proper => format!(
                "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: {start} nonce=\"{nonce}\", \
                 algorithm=MD5, qop=\"auth\"\r\nContent-Length: 0\r\n\r\n"
            ),
            ListenerStyle::WithoutQop => format!(
                "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: {start} nonce=\"{nonce}\"\r\n\
                 Content-Length: 0\r\n\r\n"
            ),
            ListenerStyle::Broken => format!(
                "HTTP/1.1 401 Unauthorized\nWWW-Authenticate: {start}\n  nonce=\"{nonce}\",\n  \
                 qop=\"auth\"\n"
            ),
        }
    }
}

fn plain(status: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n")
}

fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
