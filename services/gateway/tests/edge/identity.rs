//! Who is let in besides by credentials: the operator's word, lines, a proxy's header.

use hearth_auth::seal::policy_place;
use hearth_auth::{SecretString, labels, line_header};
use hearth_proto::devicestate::v1 as ds;
use hearth_proto::types::v1::{EdgePolicy, IdentityProof, Line, LineHeader, TrustedNetwork};
use hearth_types::TenantId;

use crate::support::client::basic;
use crate::support::xml::{DEVICE, inform, inform_of};
use crate::support::{House, NOW, USER, house, keys};

const SECRET: &str = "0123456789abcdef";

fn refusal(code: &str) -> ds::CheckIdentityResponse {
    ds::CheckIdentityResponse {
        code: code.to_owned(),
        reason: format!("the device is {code} (stolen)"),
        ..ds::CheckIdentityResponse::default()
    }
}

fn policy(house: &House, proof: IdentityProof, change: impl FnOnce(&mut EdgePolicy)) {
    let mut policy = EdgePolicy::default();
    policy.set_identity_proof(proof);
    change(&mut policy);
    *house.device_state.policy.lock() = policy;
}

/// Everybody in the tests comes from there.
fn trust_loopback(policy: &mut EdgePolicy) {
    policy.trusted_networks = vec![TrustedNetwork {
        prefix: "127.0.0.0/8".to_owned(),
        line: "lab".to_owned(),
    }];
}

#[tokio::test]
async fn the_operators_word_keeps_a_device_out_before_its_inform_is_accepted() {
    for (code, status) in [
        ("blocked", 403),
        ("retired", 403),
        ("not_expected", 403),
        ("line", 403),
        ("identity", 403),
    ] {
        let house = house().await;
        let judged = &house.device_state.judged;
        judged.lock().insert(DEVICE.to_owned(), refusal(code));
        let answer = house.connect().await.post(&basic(), inform()).await;
        assert_eq!(answer.status, status, "{code}: {answer:?}");
        assert!(house.bus.published.lock().is_empty(), "{code}");
        assert!(house.workflow.opened.lock().is_empty(), "{code}");
        let line = format!("hearth_gateway_refused_total{{reason=\"{code}\",status=\"403\"}}");
        assert_eq!(house.metric(&line), 1.0, "{code}");
        // Another device is none the worse.
        let other = inform_of("0002", &["2 PERIODIC"]);
        let answer = house.connect().await.post(&basic(), other).await;
        assert_eq!(answer.status, 200, "{code}");
    }
}

#[tokio::test]
async fn a_rotation_is_handed_to_workflow_with_the_root() {
    let house = house().await;
    let answer = ds::CheckIdentityResponse {
        allowed: true,
        rotate: true,
        ..ds::CheckIdentityResponse::default()
    };
    let judged = &house.device_state.judged;
    judged.lock().insert(DEVICE.to_owned(), answer);
    let bootstrap = inform_of("0001", &["0 BOOTSTRAP"]);
    house.connect().await.post(&basic(), bootstrap).await;
    let opened = house.workflow.opened.lock();
    assert_eq!(
        (opened[0].rotate, opened[0].root.as_str()),
        (true, "Device.")
    );
    let asked = house.device_state.checked.lock();
    assert!(asked[0].bootstrapped && asked[0].username == USER);
}

#[tokio::test]
async fn a_trusted_network_stands_in_for_a_credential() {
    let house = house().await;
    policy(&house, IdentityProof::Either, trust_loopback);
    let judged = &house.device_state.judged;
    let allowed = ds::CheckIdentityResponse {
        allowed: true,
        ..ds::CheckIdentityResponse::default()
    };
    judged.lock().insert(DEVICE.to_owned(), allowed);
    let mut cpe = house.connect().await;
    let answer = cpe.post("", inform()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let done = cpe.turn(&answer.cookie(), "").await;
    assert_eq!(done.status, 204);
    let asked = house.device_state.checked.lock().clone();
    assert_eq!(
        (asked[0].line.as_str(), asked[0].username.as_str()),
        ("lab", "")
    );
    let published = house.bus.published.lock();
    let Some(hearth_proto::events::v1::event::Kind::Inform(told)) = &published[0].2.kind else {
        panic!("{published:?}");
    };
    assert_eq!((told.proof.as_str(), told.line.as_str()), ("line", "lab"));
}

#[tokio::test]
async fn a_line_beside_a_credential_is_told_to_the_judge_and_does_not_open_alone() {
    let house = house().await;
    policy(&house, IdentityProof::CredentialAndLine, |_| {});
    let line = Line {
        prefix: "127.0.0.1/32".to_owned(),
        circuit_id: "dslam7".to_owned(),
        remote_id: "r1".to_owned(),
        device: DEVICE.to_owned(),
        ..Line::default()
    };
    let lines = &house.device_state.lines;
    lines.lock().insert("127.0.0.1".to_owned(), line);
    assert_eq!(house.connect().await.post("", inform()).await.status, 401);
    assert_eq!(
        house.connect().await.post(&basic(), inform()).await.status,
        200
    );
    let asked = house.device_state.checked.lock();
    assert_eq!(asked[0].line, "dslam7 / r1");
    assert_eq!(asked[0].line_device, DEVICE);
}

#[tokio::test]
async fn where_a_line_alone_counts_an_unknown_one_is_refused_without_a_challenge() {
    let house = house().await;
    policy(&house, IdentityProof::Line, |_| {});
    let answer = house.connect().await.post(&basic(), inform()).await;
    assert_eq!(answer.status, 403);
    assert!(answer.all("WWW-Authenticate").is_empty());
}

#[tokio::test]
async fn a_proxys_header_counts_with_its_signature_in_its_window_and_tenant() {
    let house = house().await;
    let tenant = TenantId::default();
    let sealer = keys().sealer(labels::AT_REST).unwrap();
    let place = policy_place(&tenant, "line_header");
    let sealed_secret = sealer.seal(&place, SECRET.as_bytes()).unwrap();
    policy(&house, IdentityProof::Either, |policy| {
        policy.line_header = Some(LineHeader {
            name: "X-Line".to_owned(),
            window_seconds: 60,
            sealed_secret,
            ..LineHeader::default()
        });
    });
    let allowed = ds::CheckIdentityResponse {
        allowed: true,
        ..ds::CheckIdentityResponse::default()
    };
    let judged = &house.device_state.judged;
    judged.lock().insert(DEVICE.to_owned(), allowed);
    let secret = SecretString::from(SECRET.to_owned());
    let other: TenantId = "isp".parse().unwrap();
    let now = NOW / 1_000_000;
    let signed = |tenant: &TenantId, at| line_header::sign(&secret, tenant, "dslam7/1", at);
    let forged = signed(&tenant, now).replacen("dslam7", "dslam8", 1);
    for (value, status) in [
        (signed(&tenant, now), 200),
        (signed(&tenant, now - 60), 200),
        (signed(&tenant, now - 61), 403),
        (signed(&tenant, now + 61), 403),
        (signed(&other, now), 403),
        (forged, 403),
        ("dslam7/1".to_owned(), 403),
    ] {
        let header = format!("X-Line: {value}\r\n");
        let answer = house.connect().await.post(&header, inform()).await;
        assert_eq!(answer.status, status, "{value}");
    }
    let line = "hearth_gateway_refused_total{reason=\"line_header\",status=\"403\"}";
    assert_eq!(house.metric(line), 5.0);
    let asked = house.device_state.checked.lock().clone();
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[0].line, "dslam7/1");
    // Without the header: as anybody.
    assert_eq!(house.connect().await.post("", inform()).await.status, 401);
}
