//! Client certificates as identity (TR-069 3.4.4).

use hearth_gateway::{CertificateRule, ClientAuth, ModelCertificate, TrustAnchor};
use rcgen::{SerialNumber, date_time_ymd};

use super::pki::{Pki, cpe_to, device, tls_to};
use crate::support::client::basic;
use crate::support::house_with;
use crate::support::xml::{DEVICE, inform, inform_of};

fn failed(reason: &str) -> String {
    format!("hearth_gateway_tls_handshake_failures_total{{reason=\"{reason}\"}}")
}

#[tokio::test]
async fn a_devices_certificate_needs_no_password() {
    let pki = Pki::new();
    let house = house_with(pki.config(ClientAuth::Optional)).await;
    let tls = house.addresses.tls.unwrap();
    let own = pki.client(Some(&pki.device(DEVICE)));
    let other = pki.client(Some(&pki.device("0000CA-Router-0002")));
    let mut cpe = cpe_to(tls, "acs.example", &own).await;
    let answer = cpe.post("", inform()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let cookie = answer.cookie();
    // It is this device's certificate and no other's, with a password too.
    for headers in [String::new(), basic()] {
        let refused = cpe.post(&headers, inform_of("0002", &["2 PERIODIC"])).await;
        assert_eq!(refused.status, 403);
    }
    // A wrong password beside it is still wrong.
    let wrong = "Authorization: Basic Y3BlOndyb25n\r\n";
    assert_eq!(cpe.post(wrong, inform()).await.status, 401);
    let without = &pki.client(None);
    let mut stranger = cpe_to(tls, "acs.example", without).await;
    assert_eq!(stranger.post("", inform()).await.status, 401);
    // Turns: the cookie proves the session, also where no certificate is shown; another device's
    // certificate contradicts it.
    let mut cpe = cpe_to(tls, "acs.example", &other).await;
    assert_eq!(cpe.turn(&cookie, "").await.status, 403);
    let mut cpe = cpe_to(tls, "acs.example", without).await;
    assert_eq!(cpe.turn(&cookie, "").await.status, 204);
    let reason = "hearth_gateway_auth_failures_total{reason=\"other_user\"}";
    assert_eq!(house.metric(reason), 1.0);
}

#[tokio::test]
async fn every_turn_needs_it_where_every_turn_needs_proof() {
    let pki = Pki::new();
    let mut config = pki.config(ClientAuth::Optional);
    config.reauthenticate_every_turn = true;
    let house = house_with(config).await;
    let tls = house.addresses.tls.unwrap();
    let own = pki.client(Some(&pki.device(DEVICE)));
    let mut cpe = cpe_to(tls, "acs.example", &own).await;
    let cookie = cpe.post("", inform()).await.cookie();
    let mut bare = cpe_to(tls, "acs.example", &pki.client(None)).await;
    assert_eq!(bare.turn(&cookie, "").await.status, 401);
    assert_eq!(cpe.turn(&cookie, "").await.status, 204);
}

#[tokio::test]
async fn both_where_both_are_required() {
    let pki = Pki::new();
    let mut config = pki.config(ClientAuth::Optional);
    config.tls.client_certificate = CertificateRule::RequiredBeside;
    let house = house_with(config).await;
    let tls = house.addresses.tls.unwrap();
    for (pair, with, without) in [
        (Some(pki.device(DEVICE)), 200, 401),
        (Some(pki.device("acme.example")), 403, 401),
        (None, 403, 401),
    ] {
        let client = pki.client(pair.as_ref());
        let mut cpe = cpe_to(tls, "acs.example", &client).await;
        assert_eq!(cpe.post("", inform()).await.status, without);
        assert_eq!(cpe.post(&basic(), inform()).await.status, with);
    }
}

#[tokio::test]
async fn a_models_certificate_proves_the_model_only() {
    let pki = Pki::new();
    let mut config = pki.config(ClientAuth::Required);
    config.tls.model_certificates = vec![ModelCertificate {
        fingerprint: None,
        subject: Some("Acme Router".to_owned()),
        issuer: Some("Acme Devices".to_owned()),
        oui: "0000ca".to_owned(),
        product_class: "Router".to_owned(),
    }];
    let house = house_with(config).await;
    let tls = house.addresses.tls.unwrap();
    let shared = pki.client(Some(&pki.device("Acme Router")));
    let mut cpe = cpe_to(tls, "acs.example", &shared).await;
    assert_eq!(cpe.post("", inform()).await.status, 401);
    assert_eq!(cpe.post(&basic(), inform()).await.status, 200);
    let body = crate::support::xml::inform_body("0000CA", "Switch", "0001", &["2 PERIODIC"]);
    let of_another = crate::support::xml::envelope("1", &body);
    assert_eq!(cpe.post(&basic(), of_another).await.status, 403);
}

#[tokio::test]
async fn bad_certificates_end_the_handshake_and_are_counted() {
    let pki = Pki::new();
    let mut config = pki.config(ClientAuth::Required);
    pki.revoke(&[77]);
    config.tls.crls = vec![pki.path("crl.pem")];
    let house = house_with(config).await;
    let tls = house.addresses.tls.unwrap();
    let mut expired = device(DEVICE);
    expired.not_after = date_time_ymd(2026, 12, 31);
    let mut revoked = device(DEVICE);
    revoked.serial_number = Some(SerialNumber::from(77u64));
    let mut of_a_server = device(DEVICE);
    of_a_server.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    for (pair, reason) in [
        (None, "client_certificate_missing"),
        (
            Some(Pki::named("Another").device(DEVICE)),
            "client_certificate_unknown_issuer",
        ),
        (Some(pki.sign(expired)), "client_certificate_expired"),
        (Some(pki.sign(revoked)), "client_certificate_revoked"),
        (Some(pki.sign(of_a_server)), "client_certificate_invalid"),
    ] {
        let client = pki.client(pair.as_ref());
        let _ = tls_to(tls, "acs.example", &client).await;
        house.until(&failed(reason), 1.0).await;
    }
    let good = pki.client(Some(&pki.device(DEVICE)));
    let mut cpe = cpe_to(tls, "acs.example", &good).await;
    assert_eq!(cpe.post("", inform()).await.status, 200);
}

#[tokio::test]
async fn a_trust_anchor_signs_for_its_own_ouis() {
    let (acme, other) = (Pki::new(), Pki::new());
    let mut config = acme.config(ClientAuth::Required);
    config.tls.trust_anchors = vec![
        TrustAnchor {
            file: acme.path("ca.pem"),
            ouis: vec!["0000ca".to_owned()],
        },
        TrustAnchor {
            file: other.path("ca.pem"),
            ouis: vec!["0000CB".to_owned()],
        },
    ];
    let house = house_with(config).await;
    let tls = house.addresses.tls.unwrap();
    for (pair, status) in [(acme.device(DEVICE), 200), (other.device(DEVICE), 403)] {
        let client = acme.client(Some(&pair));
        let mut cpe = cpe_to(tls, "acs.example", &client).await;
        assert_eq!(cpe.post("", inform()).await.status, status);
    }
    let reason = "hearth_gateway_auth_failures_total{reason=\"client_certificate\"}";
    assert_eq!(house.metric(reason), 1.0);
}

#[tokio::test]
async fn a_revocation_ends_resumed_sessions_too() {
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let pki = Pki::new();
        let mut config = pki.config(ClientAuth::Optional);
        pki.revoke(&[]);
        config.tls.crls = vec![pki.path("crl.pem")];
        let house = house_with(config).await;
        let tls = house.addresses.tls.unwrap();
        let mut params = device(DEVICE);
        params.serial_number = Some(SerialNumber::from(7u64));
        let client = pki.client_of(Some(&pki.sign(params)), &[version]);
        let mut cpe = cpe_to(tls, "acs.example", &client).await;
        assert_eq!(cpe.post("", inform()).await.status, 200);
        let mut cpe = cpe_to(tls, "acs.example", &client).await;
        assert_eq!(cpe.post("", inform()).await.status, 200);
        let resumed = "hearth_gateway_tls_handshakes_total{kind=\"resumed\"}";
        assert_eq!(house.metric(resumed), 1.0);
        pki.revoke(&[7]);
        house
            .until("hearth_gateway_tls_reloads_total{result=\"changed\"}", 1.0)
            .await;
        let mut cpe = cpe_to(tls, "acs.example", &client).await;
        assert_eq!(cpe.post("", inform()).await.status, 403);
        assert_eq!(house.metric(resumed), 2.0, "its ticket is still good");
    }
}
