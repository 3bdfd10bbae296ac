//! TLS sessions resumed at another replica, and over a rotation of the keys.

use hearth_auth::{SecretKeys, keyring};
use hearth_gateway::ClientAuth;
use rustls::HandshakeKind;

use super::pki::{Pki, cpe_to, tls_to};
use crate::support::xml::inform;
use crate::support::{House, house_with_keys};

#[tokio::test]
async fn a_session_is_resumed_at_a_replica_and_after_a_rotation() {
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let pki = Pki::new();
        let ring = pki.path("ring");
        keyring::create(&ring).unwrap();
        let replica = async || -> House {
            let keys = SecretKeys::load(&ring).unwrap();
            house_with_keys(pki.config(ClientAuth::None), keys).await
        };
        let client = pki.client_of(None, &[version]);
        let kind = async |house: &House| {
            let tls = house.addresses.tls.unwrap();
            // A ticket of TLS 1.3 comes with the first answer.
            let mut cpe = cpe_to(tls, "acs.example", &client).await;
            assert_eq!(cpe.post("", inform()).await.status, 401);
            let full = house.metric("hearth_gateway_tls_handshakes_total{kind=\"full\"}");
            let resumed = house.metric("hearth_gateway_tls_handshakes_total{kind=\"resumed\"}");
            (full, resumed)
        };
        let first = replica().await;
        assert_eq!(kind(&first).await, (1.0, 0.0));
        let second = replica().await;
        assert_eq!(kind(&second).await, (0.0, 1.0), "{version:?}");
        keyring::stage(&ring).unwrap();
        let staged = replica().await;
        assert_eq!(kind(&staged).await, (0.0, 1.0));
        keyring::promote(&ring).unwrap();
        let rotated = replica().await;
        assert_eq!(kind(&rotated).await, (0.0, 1.0));
        // Back to one that knows the new key and uses the old one.
        assert_eq!(kind(&staged).await, (0.0, 2.0));
        keyring::retire(&ring, 1).unwrap();
        let retired = replica().await;
        assert_eq!(kind(&retired).await, (1.0, 0.0), "its key is gone");
    }
}

#[tokio::test]
async fn without_tickets_nothing_is_resumed() {
    let pki = Pki::new();
    let mut config = pki.config(ClientAuth::None);
    config.tls.session_tickets = false;
    let house = crate::support::house_with(config).await;
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let client = pki.client_of(None, &[version]);
        for _ in 0..2 {
            let tls = house.addresses.tls.unwrap();
            let stream = tls_to(tls, "acs.example", &client).await.unwrap();
            assert_eq!(
                stream.get_ref().1.handshake_kind(),
                Some(HandshakeKind::Full)
            );
            let mut cpe = crate::support::Cpe::over(stream, "acs.example");
            assert_eq!(cpe.post("", inform()).await.status, 401);
        }
    }
}
