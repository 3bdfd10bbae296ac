//! A TCP proxy that breaks what goes through it when it is told to: the network between two parts
//! of an installation. A part is given the proxy's address in place of the other's.
//!
//! * [`Proxy`] holds the routes; in this process they are set by [`Proxy::set`].
//! * [`control`] is the same by lines of text over TCP, for other programs.

pub mod control;
mod pump;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What a route does with bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// It passes them on.
    #[default]
    Open,
    /// Connections are reset, and new ones as soon as they are there.
    Cut,
    /// Connections stay and new ones are taken, but nothing comes through, in neither direction,
    /// until the mode changes: a network that loses every packet.
    Silent,
    /// Every piece comes so much later.
    Delay(Duration),
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Open => f.write_str("open"),
            Self::Cut => f.write_str("cut"),
            Self::Silent => f.write_str("silent"),
            Self::Delay(time) => write!(f, "delay {}", time.as_millis()),
        }
    }
}

/// One way through the proxy, written `NAME=LISTEN=TO`, as
/// `nats-1=127.0.0.1:14222=127.0.0.1:4222`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Its name. `nats-1` and `nats-2` can also be set together, as `nats`.
    pub name: String,
    /// Where connections are taken; port 0 takes any.
    pub listen: SocketAddr,
    /// Where they go.
    pub to: SocketAddr,
}

impl FromStr for Route {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no route: NAME=LISTEN=TO, both with a port");
        let parts: Vec<_> = text.split('=').collect();
        let [name, listen, to] = parts[..] else {
            return Err(wrong());
        };
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(wrong());
        }
        Ok(Self {
            name: name.to_owned(),
            listen: listen.parse().map_err(|_| wrong())?,
            to: to.parse().map_err(|_| wrong())?,
        })
    }
}

/// Why the proxy doesn't do what it is told.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// An address can't be listened on.
    #[error("cannot listen on {address} for {name}")]
    Listen {
        /// The route, or `control`.
        name: String,
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// No route has this name, nor do names of routes begin with it.
    #[error("there is no route `{0}`")]
    Unknown(String),
}

struct Way {
    listen: SocketAddr,
    to: SocketAddr,
    mode: watch::Sender<Mode>,
}

/// A running proxy. Cheap to clone; it ends when its last clone is dropped.
#[derive(Clone)]
pub struct Proxy {
    ways: Arc<BTreeMap<String, Way>>,
    _stop: Arc<tokio_util::sync::DropGuard>,
}

impl Proxy {
    /// Listens on every route; all are open.
    ///
    /// # Errors
    /// An address that can't be listened on.
    pub async fn start(routes: &[Route]) -> Result<Self, ProxyError> {
        let stop = CancellationToken::new();
        let mut ways = BTreeMap::new();
        for route in routes {
            let failed = |source| ProxyError::Listen {
                name: route.name.clone(),
                address: route.listen,
                source,
            };
            let listener = TcpListener::bind(route.listen).await.map_err(failed)?;
            let listen = listener.local_addr().map_err(failed)?;
            let (mode, seen) = watch::channel(Mode::Open);
            tokio::spawn(stop.clone().run_until_cancelled_owned(pump::serve(
                listener,
                route.to,
                seen,
                stop.clone(),
            )));
            let to = route.to;
            ways.insert(route.name.clone(), Way { listen, to, mode });
        }
        Ok(Self {
            ways: Arc::new(ways),
            _stop: Arc::new(stop.drop_guard()),
        })
    }

    /// Sets the mode of the route of this name, or of all routes named `NAME-…`; how many they
    /// were.
    ///
    /// # Errors
    /// No such route.
    pub fn set(&self, name: &str, mode: Mode) -> Result<usize, ProxyError> {
        let mut count = 0;
        for (_, way) in self.ways.iter().filter(|(route, _)| belongs(route, name)) {
            way.mode.send_replace(mode);
            count += 1;
        }
        match count {
            0 => Err(ProxyError::Unknown(name.to_owned())),
            count => Ok(count),
        }
    }

    /// Each route's name, where it listens, where it leads and its mode.
    pub fn routes(&self) -> impl Iterator<Item = (&str, SocketAddr, SocketAddr, Mode)> {
        let ways = self.ways.iter();
        ways.map(|(name, way)| (name.as_str(), way.listen, way.to, *way.mode.borrow()))
    }
}

/// Whether a route or member is meant by a name: its own, or its group's (`nats` for `nats-1`).
pub fn belongs(member: &str, name: &str) -> bool {
    let rest = member.strip_prefix(name);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;
    use tokio::time::timeout;

    const SHORT: Duration = Duration::from_millis(150);
    const LONG: Duration = Duration::from_secs(10);

    /// A server that sends back what it gets.
    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    tokio::io::copy(&mut read, &mut write).await.ok();
                });
            }
        });
        address
    }

    async fn proxy() -> (Proxy, SocketAddr) {
        let route = Route {
            name: "echo-1".to_owned(),
            listen: "127.0.0.1:0".parse().unwrap(),
            to: echo().await,
        };
        let proxy = Proxy::start(&[route]).await.unwrap();
        let listen = proxy.routes().next().unwrap().1;
        (proxy, listen)
    }

    async fn turn(stream: &mut TcpStream) -> std::io::Result<()> {
        stream.write_all(b"hello").await?;
        stream.read_exact(&mut [0; 5]).await?;
        Ok(())
    }

    #[tokio::test]
    async fn open_then_cut_then_open() {
        let (proxy, listen) = proxy().await;
        let mut stream = TcpStream::connect(listen).await.unwrap();
        turn(&mut stream).await.unwrap();
        assert_eq!(proxy.set("echo", Mode::Cut).unwrap(), 1);
        let after = timeout(LONG, turn(&mut stream)).await.unwrap();
        assert!(after.is_err());
        // The kernel takes the connection; then it is reset.
        let again = async { turn(&mut TcpStream::connect(listen).await?).await };
        assert!(timeout(LONG, again).await.unwrap().is_err());
        proxy.set("echo-1", Mode::Open).unwrap();
        turn(&mut TcpStream::connect(listen).await.unwrap())
            .await
            .unwrap();
        assert!(proxy.set("ech", Mode::Cut).is_err());
    }

    #[tokio::test]
    async fn silence_holds_bytes_back_and_loses_none() {
        let (proxy, listen) = proxy().await;
        let mut stream = TcpStream::connect(listen).await.unwrap();
        turn(&mut stream).await.unwrap();
        proxy.set("echo", Mode::Silent).unwrap();
        stream.write_all(b"later").await.unwrap();
        let mut answer = [0; 5];
        let early = timeout(SHORT, stream.read_exact(&mut answer)).await;
        assert!(early.is_err());
        proxy.set("echo", Mode::Open).unwrap();
        timeout(LONG, stream.read_exact(&mut answer))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(&answer, b"later");
    }

    #[tokio::test]
    async fn a_connection_made_in_silence_can_be_cut() {
        let (proxy, listen) = proxy().await;
        proxy.set("echo", Mode::Silent).unwrap();
        let mut stream = TcpStream::connect(listen).await.unwrap();
        assert!(timeout(SHORT, turn(&mut stream)).await.is_err());
        proxy.set("echo", Mode::Cut).unwrap();
        let read = timeout(LONG, stream.read_exact(&mut [0; 5])).await.unwrap();
        assert!(read.is_err());
    }

    #[tokio::test]
    async fn a_delay_makes_a_turn_longer() {
        let (proxy, listen) = proxy().await;
        proxy.set("echo", Mode::Delay(SHORT)).unwrap();
        let mut stream = TcpStream::connect(listen).await.unwrap();
        let start = std::time::Instant::now();
        turn(&mut stream).await.unwrap();
        assert!(start.elapsed() >= SHORT * 2);
        // Late is not narrow: a megabyte takes hardly longer than five bytes.
        let start = std::time::Instant::now();
        let (mut read, mut write) = stream.split();
        let (content, mut echo) = (vec![7; 1 << 20], vec![0; 1 << 20]);
        let both = async {
            tokio::try_join!(write.write_all(&content), read.read_exact(&mut echo)).map(drop)
        };
        timeout(LONG, both).await.unwrap().unwrap();
        assert_eq!(echo, content);
        assert!(start.elapsed() < SHORT * 30, "{:?}", start.elapsed());
    }

    #[test]
    fn routes_are_read() {
        let route: Route = "a-1=127.0.0.1:0=127.0.0.2:80".parse().unwrap();
        assert_eq!((route.name.as_str(), route.to.port()), ("a-1", 80));
        for wrong in ["a", "a=1=2", "=127.0.0.1:0=127.0.0.1:1", "a=127.0.0.1:0"] {
            assert!(wrong.parse::<Route>().is_err(), "{wrong}");
        }
        assert!(belongs("nats-1", "nats") && belongs("nats-1", "nats-1"));
        assert!(!belongs("nats-12", "nats-1"));
    }
}
