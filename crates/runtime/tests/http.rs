//! The HTTP server on real sockets, spoken to byte by byte.
#![allow(clippy::unwrap_used, missing_docs)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::Extension;
use axum::http::StatusCode;
use axum::routing::{get, post};
use hearth_runtime::CancellationToken;
use hearth_runtime::http::{
    BodyError, BodyLimits, HttpOptions, HttpServer, HttpStats, PeerAddr, bind, read_body_limited,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

const LIMITS: BodyLimits = BodyLimits {
    max_bytes: 1000,
    grace: Duration::from_millis(800),
    min_bytes_per_sec: 1000,
};

struct Server {
    addr: SocketAddr,
    stats: Arc<HttpStats>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

fn app() -> Router {
    Router::new()
        .route("/", get(|Extension(PeerAddr(peer)): Extension<PeerAddr>| async move {
            peer.ip().to_string()
        }))
        .route("/echo", post(|body: Body| async move {
            match read_body_limited(body, &LIMITS).await {
                Ok(bytes) => (StatusCode::OK, bytes),
                Err(BodyError::TooLarge { .. }) => (StatusCode::PAYLOAD_TOO_LARGE, "".into()),
                Err(BodyError::Timeout { .. }) => (StatusCode::REQUEST_TIMEOUT, "".into()),
                Err(BodyError::Disconnected { .. }) => (StatusCode::BAD_REQUEST, "".into()),
            }
        }))
        .route("/slow", get(|| async {
            tokio::time::sleep(Duration::from_millis(700)).await;
            "slow"
        }))
        .route("/forever", get(|| async {
            std::future::pending::<()>().await;
        }))
        .route("/big", get(|| async { vec![b'x'; 64 << 20] }))
}

fn serve(change: impl FnOnce(&mut HttpOptions)) -> Server {
    let mut options = HttpOptions::new("test");
    options.header_timeout = Duration::from_millis(400);
    options.idle_timeout = Duration::from_millis(900);
    options.drain_timeout = Duration::from_millis(1500);
    change(&mut options);
    let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let server = HttpServer::new(listener, app(), options);
    let (addr, stats) = (server.local_addr().unwrap(), server.stats());
    let stop = CancellationToken::new();
    let task = tokio::spawn(server.run(stop.clone()));
    Server {
        addr,
        stats,
        stop,
        task,
    }
}

impl Server {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addr).await.unwrap()
    }

    async fn send(&self, text: &str) -> TcpStream {
        let mut stream = self.connect().await;
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }
}

/// Everything until the server closes.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut bytes))
        .await
        .expect("the server should have closed");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// One chunk of what comes.
async fn some(stream: &mut TcpStream) -> String {
    let mut bytes = vec![0; 4096];
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut bytes));
    let count = read.await.expect("an answer").unwrap();
    String::from_utf8_lossy(&bytes[..count]).into_owned()
}

const GET: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

#[tokio::test]
async fn keep_alive_title_case_and_the_peer() {
    let server = serve(|options| options.title_case_headers = true);
    let mut stream = server.send(GET).await;
    let first = some(&mut stream).await;
    assert!(first.starts_with("HTTP/1.1 200 OK\r\n"), "{first}");
    assert!(first.contains("\r\nContent-Length: 9\r\n"), "{first}");
    assert!(first.ends_with("127.0.0.1"), "{first}");
    stream.write_all(GET.as_bytes()).await.unwrap();
    assert!(some(&mut stream).await.ends_with("127.0.0.1"));
    assert_eq!(
        (
            server.stats.snapshot().accepted,
            server.stats.snapshot().open
        ),
        (1, 1)
    );
    drop(stream);
    let start = Instant::now();
    while server.stats.snapshot().open > 0 && start.elapsed() < Duration::from_secs(5) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let stats = server.stats.snapshot();
    assert_eq!(
        (stats.open, stats.idle_timeouts),
        (0, 0),
        "closed by the client, not by a timeout"
    );
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = serve(|_| {});
    let mut stream = server
        .send(&format!(
            "{GET}GET /none HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        ))
        .await;
    let text = rest(&mut stream).await;
    let (first, second) = (
        text.find("200 OK").unwrap(),
        text.find("404 Not Found").unwrap(),
    );
    assert!(first < second, "{text}");
}

#[tokio::test]
async fn slow_headers_are_cut_off() {
    let server = serve(|_| {});
    let start = Instant::now();
    let silent = server.connect().await;
    let mut trickle = server.send("GET / HTTP/1.1\r\nHost: x\r\n").await;
    let (reader, mut writer) = trickle.split();
    let write = async {
        for n in 0.. {
            tokio::time::sleep(Duration::from_millis(50)).await;
            if writer
                .write_all(format!("X-{n}: y\r\n").as_bytes())
                .await
                .is_err()
            {
                break;
            }
        }
    };
    let mut reader = reader;
    let mut buffer = [0; 16];
    tokio::select! {
        () = write => {}
        read = reader.read(&mut buffer) => assert!(matches!(read, Ok(0) | Err(_))),
    }
    let took = start.elapsed();
    assert!(
        took >= Duration::from_millis(350) && took < Duration::from_secs(3),
        "{took:?}"
    );
    let mut silent = silent;
    assert_eq!(rest(&mut silent).await, "");
    assert_eq!(server.stats.snapshot().header_timeouts, 2);
    assert_eq!(server.stats.snapshot().open, 0);
}

#[tokio::test]
async fn slow_bodies_and_large_ones_are_refused() {
    let server = serve(|_| {});
    let mut slow = server
        .send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nab")
        .await;
    assert!(some(&mut slow).await.starts_with("HTTP/1.1 408"));
    let mut announced = server
        .send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n")
        .await;
    assert!(some(&mut announced).await.starts_with("HTTP/1.1 413"));
    let chunk = format!("{:x}\r\n{}\r\n", 600, "x".repeat(600));
    let head = "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut chunked = server.send(&format!("{head}{chunk}{chunk}0\r\n\r\n")).await;
    assert!(some(&mut chunked).await.starts_with("HTTP/1.1 413"));
    let mut fine = server.send(&format!("{head}3\r\nabc\r\n0\r\n\r\n")).await;
    assert!(some(&mut fine).await.ends_with("abc"));
}

#[tokio::test]
async fn expect_100_continue_is_answered_when_the_body_is_wanted() {
    let server = serve(|_| {});
    let head =
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n";
    let mut stream = server.send(head).await;
    assert_eq!(some(&mut stream).await, "HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"abc").await.unwrap();
    assert!(some(&mut stream).await.ends_with("abc"));
    let unwanted = head.replace("Content-Length: 3", "Content-Length: 3000");
    let mut stream = server.send(&unwanted).await;
    assert!(
        some(&mut stream).await.starts_with("HTTP/1.1 413"),
        "no 100 for what is refused"
    );
}

#[tokio::test]
async fn idle_connections_are_closed_and_busy_ones_are_not() {
    let server = serve(|_| {});
    let mut busy = server.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(
        some(&mut busy).await.ends_with("slow"),
        "longer than a header may take"
    );
    let start = Instant::now();
    assert_eq!(rest(&mut busy).await, "");
    assert!(
        start.elapsed() >= Duration::from_millis(500),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(server.stats.snapshot().idle_timeouts, 1);
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_cut_off() {
    let server = serve(|_| {});
    let stream = server.send("GET /big HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let start = Instant::now();
    while server.stats.snapshot().stalled_writes == 0 && start.elapsed() < Duration::from_secs(10) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(server.stats.snapshot().stalled_writes, 1);
    drop(stream);
}

#[tokio::test]
async fn too_many_connections_get_503_and_the_others_go_on() {
    let server = serve(|options| options.max_connections = 2);
    let mut kept = server.send(GET).await;
    some(&mut kept).await;
    let second = server.connect().await;
    let mut third = server.send(GET).await;
    let refused = rest(&mut third).await;
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    assert!(refused.contains("Retry-After: 30\r\n"), "{refused}");
    kept.write_all(GET.as_bytes()).await.unwrap();
    assert!(some(&mut kept).await.contains("200 OK"));
    drop(second);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut fourth = server.send(GET).await;
    assert!(
        some(&mut fourth).await.contains("200 OK"),
        "the place is free again"
    );
    assert_eq!(server.stats.snapshot().refused_total, 1);
}

#[tokio::test]
async fn one_peer_can_not_take_all_places() {
    let server = serve(|options| options.max_connections_per_peer = Some(1));
    let mut kept = server.send(GET).await;
    some(&mut kept).await;
    let mut second = server.send(GET).await;
    assert!(rest(&mut second).await.starts_with("HTTP/1.1 503 "));
    assert_eq!(server.stats.snapshot().refused_peer, 1);
}

#[tokio::test]
async fn large_headers_are_refused() {
    let server = serve(|options| options.max_header_bytes = 8192);
    let head = format!(
        "GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n",
        "y".repeat(9000)
    );
    let mut stream = server.send(&head).await;
    assert!(some(&mut stream).await.starts_with("HTTP/1.1 431 "));
    let many: String = (0..101).map(|n| format!("X-{n}: y\r\n")).collect();
    let mut stream = server.send(&format!("GET / HTTP/1.1\r\n{many}\r\n")).await;
    assert!(some(&mut stream).await.starts_with("HTTP/1.1 431 "));
    let mut stream = server.send("\u{0}\u{1}nonsense\r\n\r\n").await;
    assert!(some(&mut stream).await.starts_with("HTTP/1.1 400 "));
    assert!(server.stats.snapshot().protocol_errors >= 3);
}

#[tokio::test]
async fn draining_ends_idle_finishes_open_and_cuts_stuck_connections() {
    let server = serve(|options| options.header_timeout = Duration::from_secs(30));
    let mut idle = server.send(GET).await;
    some(&mut idle).await;
    let mut fresh = server.connect().await;
    let mut open = server.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let mut stuck = server
        .send("GET /forever HTTP/1.1\r\nHost: x\r\n\r\n")
        .await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let start = Instant::now();
    server.stop.cancel();
    assert_eq!(rest(&mut idle).await, "");
    assert_eq!(rest(&mut fresh).await, "");
    assert!(
        start.elapsed() < Duration::from_millis(1200),
        "idle ones at once"
    );
    assert!(
        TcpStream::connect(server.addr).await.is_err(),
        "nothing new"
    );
    let last = rest(&mut open).await;
    assert!(
        last.ends_with("slow") && last.contains("connection: close"),
        "{last}"
    );
    assert_eq!(rest(&mut stuck).await, "");
    server.task.await.unwrap();
    let took = start.elapsed();
    assert!(
        took >= Duration::from_millis(1400) && took < Duration::from_secs(4),
        "{took:?}"
    );
    let stats = server.stats.snapshot();
    assert_eq!((stats.cut_at_drain, stats.open), (1, 0));
}

#[tokio::test]
async fn http2_and_http1_on_one_port() {
    use http_body_util::{BodyExt, Empty};
    use hyper_util::rt::{TokioExecutor, TokioIo};
    let server = serve(|options| options.http2 = true);
    let mut plain = server.send(GET).await;
    assert!(some(&mut plain).await.contains("200 OK"));
    let io = TokioIo::new(server.connect().await);
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    for _ in 0..3 {
        let request = http::Request::get("http://x/")
            .body(Empty::<bytes::Bytes>::new())
            .unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.version(), http::Version::HTTP_2);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "127.0.0.1");
        tokio::time::sleep(Duration::from_millis(600)).await;
        assert!(
            !connection.is_finished(),
            "pings keep it open beyond the header timeout"
        );
    }
    server.stop.cancel();
    server.task.await.unwrap();
}
