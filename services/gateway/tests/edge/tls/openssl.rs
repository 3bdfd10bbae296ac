//! A TLS client that nobody here wrote: openssl s_client, with sessions and client certificates.

use std::process::Stdio;
use std::time::Duration;

use hearth_gateway::ClientAuth;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::pki::Pki;
use crate::support::xml::{DEVICE, inform};
use crate::support::{House, house_with};

/// What s_client prints when it sends an Inform to a gateway; `None`: there is no such program.
async fn s_client(house: &House, pki: &Pki, more: &[&str]) -> Option<String> {
    let tls = house.addresses.tls.unwrap().to_string();
    let mut options = vec!["-connect".to_owned(), tls];
    options.extend(more.iter().map(|option| (*option).to_owned()));
    run(pki, &options, "", &inform()).await
}

/// What s_client prints when it POSTs a body with these options and header lines.
pub async fn run(pki: &Pki, options: &[String], headers: &str, body: &str) -> Option<String> {
    let child = Command::new("openssl")
        .args(["s_client", "-servername", "acs.example", "-ign_eof"])
        .args(["-CAfile", pki.path("ca.pem").to_str().unwrap()])
        .arg("-verify_return_error")
        .args(options)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let Ok(mut child) = child else {
        println!("SKIPPED: there is no openssl on this machine");
        return None;
    };
    let request = format!(
        "POST /acs HTTP/1.1\r\nHost: acs.example\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stdin = child.stdin.take().unwrap();
    // It may be gone before it reads: what it says counts.
    let _ = stdin.write_all(request.as_bytes()).await;
    let ended = tokio::time::timeout(Duration::from_secs(20), child.wait_with_output());
    let output = ended.await.expect("an end in time").unwrap();
    drop(stdin);
    let both = [output.stdout, output.stderr].concat();
    Some(String::from_utf8_lossy(&both).into_owned())
}

#[tokio::test]
async fn openssl_resumes_and_shows_a_certificate() {
    let pki = Pki::new();
    let config = pki.config(ClientAuth::Optional);
    let house = house_with(config.clone()).await;
    // The same keys: another replica.
    let replica = house_with(config).await;
    pki.save("device", &pki.device(DEVICE));
    let (cert, key) = (pki.path("device.pem"), pki.path("device.key"));
    let shown = [
        "-cert",
        cert.to_str().unwrap(),
        "-key",
        key.to_str().unwrap(),
    ];
    for version in ["-tls1_2", "-tls1_3"] {
        let session = pki.path(&format!("session{version}"));
        let session = session.to_str().unwrap();
        let out = [&[version, "-sess_out", session][..], &shown].concat();
        let Some(text) = s_client(&house, &pki, &out).await else {
            return;
        };
        assert!(text.contains("HTTP/1.1 200"), "{version}: {text}");
        assert!(text.contains("New, TLSv1"), "{version}: {text}");
        let back = [version, "-sess_in", session];
        let text = s_client(&replica, &pki, &back).await.unwrap();
        // The certificate is the session's: none is shown now.
        assert!(text.contains("Reused, TLSv1"), "{version}: {text}");
        assert!(text.contains("HTTP/1.1 200"), "{version}: {text}");
    }
    let text = s_client(&house, &pki, &[]).await.unwrap();
    assert!(text.contains("HTTP/1.1 401"), "{text}");
    let resumed = "hearth_gateway_tls_handshakes_total{kind=\"resumed\"}";
    assert_eq!(replica.metric(resumed), 2.0);
    // What rustls doesn't speak, and the page for operators says so.
    for old in [
        &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"][..],
        &["-tls1_2", "-cipher", "AES128-SHA:@SECLEVEL=0"],
        &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0"],
    ] {
        let text = s_client(&house, &pki, old).await.unwrap();
        assert!(!text.contains("HTTP/1.1"), "{old:?}: {text}");
    }
    let failed = "hearth_gateway_tls_handshake_failures_total{reason=\"incompatible\"}";
    house.until(failed, 3.0).await;
}
