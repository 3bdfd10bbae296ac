//! HTTPS connection requests: self-signed and verified certificates, and the habits of C-03 over
//! TLS.

use crate::support::{World, by_url, loopback};
use hearth_proto::wakeup::v1::WakeOutcome;
use hearth_wakeup::{BasicPolicy, HttpsPolicy, WakeupConfig};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, crypto::aws_lc_rs};
use std::io::Write as _;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// How a server ends.
#[derive(Clone, Copy, PartialEq)]
enum End {
    /// As TLS wants it.
    Proper,
    /// The connection is cut without close_notify, as small servers do.
    Cut,
}

/// An HTTPS server with a certificate of its own for `name`; the n-th connection gets the n-th
/// text. `CHECK` answers 200 to whoever has an Authorization.
async fn server(name: &str, answers: &'static [&'static str], end: End) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![name.to_owned()])
        .unwrap()
        .self_signed(&key)
        .unwrap();
    let pem = certificate.pem();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/cr", listener.local_addr().unwrap());
    tokio::spawn(async move {
        for n in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut request = vec![0; 4096];
            let length = stream.read(&mut request).await.unwrap();
            let request = String::from_utf8_lossy(&request[..length]).into_owned();
            let answer = match answers[n.min(answers.len() - 1)] {
                "CHECK" if request.contains("\r\nAuthorization: ") => "HTTP/1.1 200 OK\n",
                other => other,
            };
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.flush().await;
            if end == End::Proper {
                let _ = stream.shutdown().await;
            }
        }
    });
    (url, pem)
}

const BROKEN: &str =
    "HTTP/1.1 401 Unauthorized\nWWW-Authenticate: Digest realm=\"cpe\",\n\tnonce=\"abc\"";
const WITH_QOP: &str = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Digest realm=\"cpe\", nonce=\"abc\", qop=\"auth\"\r\n\r\n";
const BASIC: &str = "HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm=\"x\"\r\n\r\n";

/// C-01, C-02, C-03: https URLs occur; bare line feeds, a folded header, no length, no blank line
/// at the end, no close_notify.
#[tokio::test]
async fn self_signed_and_broken_servers_are_asked() {
    for end in [End::Proper, End::Cut] {
        for challenge in [&[BROKEN, "CHECK"], &[WITH_QOP, "CHECK"]] {
            let (url, _) = server("cpe.invalid", challenge, end).await;
            let response = World::new(by_url(&url), loopback()).wake().await;
            assert_eq!(
                response.outcome(),
                WakeOutcome::Accepted,
                "{}",
                response.detail
            );
        }
    }
    let (url, _) = server("cpe.invalid", &["HTTP/1.0 204"], End::Cut).await;
    let response = World::new(by_url(&url), loopback()).wake().await;
    assert_eq!(
        response.outcome(),
        WakeOutcome::Accepted,
        "{}",
        response.detail
    );
}

#[tokio::test]
async fn certificates_are_verified_where_it_is_wanted() {
    let (url, pem) = server("127.0.0.1", &["HTTP/1.1 200 OK\r\n\r\n"], End::Proper).await;
    let (other, _) = server("127.0.0.1", &["HTTP/1.1 200 OK\r\n\r\n"], End::Proper).await;
    let (misnamed, misnamed_pem) =
        server("10.1.2.3", &["HTTP/1.1 200 OK\r\n\r\n"], End::Proper).await;
    let mut file = tempfile::NamedTempFile::new().unwrap();
    write!(file, "{pem}{misnamed_pem}").unwrap();
    let config = WakeupConfig {
        https: HttpsPolicy::Verify,
        https_ca: Some(file.path().to_owned()),
        ..loopback()
    };
    for (url, outcome) in [
        (&url, WakeOutcome::Accepted),
        (&other, WakeOutcome::Unreachable),
        (&misnamed, WakeOutcome::Unreachable),
    ] {
        let response = World::new(by_url(url), config.clone()).wake().await;
        assert_eq!(response.outcome(), outcome, "{}", response.detail);
    }
}

#[tokio::test]
async fn basic_on_https_is_a_policy_of_its_own() {
    for (basic, outcome) in [
        (BasicPolicy::Never, WakeOutcome::Credentials),
        (BasicPolicy::Https, WakeOutcome::Accepted),
    ] {
        let (url, _) = server("cpe.invalid", &[BASIC, "CHECK"], End::Proper).await;
        let config = WakeupConfig {
            basic,
            ..loopback()
        };
        let response = World::new(by_url(&url), config).wake().await;
        assert_eq!(response.outcome(), outcome, "{}", response.detail);
    }
}

/// C-05: the guard is before TLS, too.
#[tokio::test]
async fn the_guard_holds_for_https() {
    let (url, _) = server("127.0.0.1", &["HTTP/1.1 200 OK\r\n\r\n"], End::Proper).await;
    let port = url.rsplit(':').next().unwrap();
    for host in ["127.0.0.1", "[::ffff:127.0.0.1]", "localhost", "[::1]"] {
        let url = format!("https://{host}:{port}");
        let response = World::new(by_url(&url), WakeupConfig::default())
            .wake()
            .await;
        assert_eq!(
            response.outcome(),
            WakeOutcome::Forbidden,
            "{host}: {}",
            response.detail
        );
    }
    // Plain HTTP at an HTTPS port and the other way round: no panic, no hang.
    let response = World::new(by_url(&url.replace("https", "http")), loopback())
        .wake()
        .await;
    assert_eq!(
        response.outcome(),
        WakeOutcome::Unreachable,
        "{}",
        response.detail
    );
}
