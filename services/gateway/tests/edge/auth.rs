//! Who a CPE is: Digest, Basic, challenges, identities (TR-069 3.4.5).

use std::process::Stdio;

use digest_auth::{AuthContext, HttpMethod};
use hearth_gateway::{AuthSchemes, GatewayConfig};

use crate::support::client::{Answer, basic};
use crate::support::xml::{DEVICE, inform, inform_of};
use crate::support::{PASSWORD, USER, house, house_with};

/// The answer to a Digest challenge.
fn digest(challenged: &Answer, user: &str, password: &str) -> String {
    let challenge = challenged
        .all("WWW-Authenticate")
        .into_iter()
        .find(|value| value.starts_with("Digest"))
        .unwrap();
    let mut prompt = digest_auth::parse(challenge).unwrap();
    let context =
        AuthContext::new_with_method(user, password, "/", None::<&[u8]>, HttpMethod::POST);
    format!("Authorization: {}\r\n", prompt.respond(&context).unwrap())
}

#[tokio::test]
async fn digest_with_an_independent_client() {
    let house = house().await;
    let mut cpe = house.connect().await;
    let challenged = cpe.post("", inform()).await;
    assert_eq!(challenged.status, 401);
    let schemes = challenged.all("WWW-Authenticate");
    assert!(
        schemes[0].starts_with("Digest realm=\"hearth\""),
        "{schemes:?}"
    );
    assert_eq!(schemes[1], "Basic realm=\"hearth\"");
    let proof = digest(&challenged, USER, PASSWORD);
    // The nonce is good on any connection and any replica, but a response only once.
    let replica = house.replica().await;
    let answer = replica.connect().await.post(&proof, inform()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let again = replica.connect().await.post(&proof, inform()).await;
    assert_eq!(again.status, 401);
    assert!(again.head.contains("stale=true"), "{}", again.head);

    let challenged = cpe.post("", "").await;
    assert_eq!(challenged.status, 401, "a probe of zero length");
    for (user, password, reason) in [
        (USER, "wrong", "wrong_password"),
        ("nobody", PASSWORD, "unknown_user"),
    ] {
        let proof = digest(&challenged, user, password);
        assert_eq!(cpe.post(&proof, inform()).await.status, 401);
        let line = format!("hearth_gateway_auth_failures_total{{reason=\"{reason}\"}}");
        assert_eq!(house.metric(&line), 1.0, "{reason}");
    }
    assert_eq!(house.bus.published.lock().len(), 1);
}

#[tokio::test]
async fn curl_speaks_digest_with_it() {
    let house = house().await;
    for scheme in ["--digest", "--basic", "--anyauth"] {
        let command = tokio::process::Command::new("curl")
            .args(["-s", "-o", "/dev/null", "-w", "%{http_code}", scheme])
            .args(["-u", &format!("{USER}:{PASSWORD}"), "-H", "SOAPAction:"])
            .args(["-H", "Content-Type: text/xml", "--data-binary", &inform()])
            .arg(format!("http://{}/", house.address))
            .stdout(Stdio::piped())
            .output()
            .await;
        let Ok(output) = command else {
            println!("SKIPPED: there is no curl on this machine");
            return;
        };
        assert_eq!(String::from_utf8_lossy(&output.stdout), "200", "{scheme}");
    }
}

#[tokio::test]
async fn schemes_that_are_not_offered_are_not_taken() {
    let only = |auth| GatewayConfig {
        auth,
        ..GatewayConfig::default()
    };
    let house = house_with(only(AuthSchemes::Digest)).await;
    let answer = house.connect().await.post(&basic(), inform()).await;
    assert_eq!(answer.status, 401);
    assert_eq!(answer.all("WWW-Authenticate").len(), 1);
    let house = house_with(only(AuthSchemes::Basic)).await;
    let answer = house.connect().await.post("", inform()).await;
    assert_eq!(answer.all("WWW-Authenticate"), ["Basic realm=\"hearth\""]);
    assert_eq!(
        house.connect().await.post(&basic(), inform()).await.status,
        200
    );
}

#[tokio::test]
async fn digest_without_qop_is_taken_unless_qop_is_required() {
    for required in [false, true] {
        let house = house_with(GatewayConfig {
            digest_qop_required: required,
            ..GatewayConfig::default()
        })
        .await;
        let mut cpe = house.connect().await;
        let challenged = cpe.post("", inform()).await;
        let challenges = challenged.all("WWW-Authenticate");
        let challenge = challenges[0].replace(", qop=\"auth\"", "");
        // As an old CPE does, which doesn't know of qop.
        let mut prompt = digest_auth::parse(&challenge).unwrap();
        let context =
            AuthContext::new_with_method(USER, PASSWORD, "/", None::<&[u8]>, HttpMethod::POST);
        let response = prompt.respond(&context).unwrap().to_string();
        assert!(!response.contains("qop"), "{response}");
        let proof = format!("Authorization: {response}\r\n");
        let status = cpe.post(&proof, inform()).await.status;
        assert_eq!(status, if required { 401 } else { 200 });
        let line = "hearth_gateway_auth_failures_total{reason=\"qop\"}";
        assert_eq!(house.metric(line), if required { 1.0 } else { 0.0 });
    }
}

#[tokio::test]
async fn a_bootstrap_reopens_a_device_where_that_is_allowed() {
    for reopens in [true, false] {
        let house = house_with(GatewayConfig {
            bootstrap_reopens: reopens,
            ..GatewayConfig::default()
        })
        .await;
        for events in [["0 BOOTSTRAP"], ["2 PERIODIC"]] {
            let inform = inform_of("0001", &events);
            house.connect().await.post(&basic(), inform).await;
        }
        let asked = house.device_state.bootstraps.lock().clone();
        assert_eq!(asked, [reopens, false], "what decides is asked so");
    }
}

#[tokio::test]
async fn broken_authorizations_are_challenged() {
    let house = house().await;
    let long = format!("Digest username=\"{}\"", "u".repeat(5000));
    for value in [
        "",
        "Digest",
        "Bearer x",
        "Basic !!!",
        "Digest username=",
        &long,
    ] {
        let headers = format!("Authorization: {value}\r\n");
        let answer = house.connect().await.post(&headers, inform()).await;
        assert_eq!(answer.status, 401, "{value}");
    }
}

#[tokio::test]
async fn credentials_are_bound_to_their_device() {
    let house = house().await;
    house.device_state.allow(USER, PASSWORD, Some(DEVICE));
    let mut cpe = house.connect().await;
    let refused = cpe.post(&basic(), inform_of("0002", &[])).await;
    assert_eq!(refused.status, 403);
    assert!(
        !refused.body.contains("credential is another"),
        "nothing of the inside"
    );
    let line = "hearth_gateway_auth_failures_total{reason=\"identity\"}";
    assert_eq!(house.metric(line), 1.0);
    assert!(house.bus.published.lock().is_empty());
    assert_eq!(cpe.post(&basic(), inform()).await.status, 200);
}

#[tokio::test]
async fn a_401_in_mid_session_does_not_end_it() {
    let house = house().await;
    let mut cpe = house.connect().await;
    let challenged = cpe.post("", inform()).await;
    let answer = cpe
        .post(&digest(&challenged, USER, PASSWORD), inform())
        .await;
    let cookie = format!("Cookie: {}\r\n", answer.cookie());
    // Wrong credentials are refused although the cookie is good.
    let wrong = digest(&challenged, USER, "wrong");
    let refused = cpe.post(&format!("{cookie}{wrong}"), "").await;
    assert_eq!(refused.status, 401);
    assert!(refused.header("Set-Cookie").is_none());
    assert!(house.workflow.asked.lock().is_empty());
    let right = digest(&refused, USER, PASSWORD);
    assert_eq!(cpe.post(&format!("{cookie}{right}"), "").await.status, 204);
}

#[tokio::test]
async fn new_credentials_may_be_used_at_once_but_not_anothers() {
    let house = house().await;
    house.device_state.allow("own", "Ford", Some(DEVICE));
    house
        .device_state
        .allow("neighbour", "Arthur", Some("0000CA-Router-0002"));
    let mut cpe = house.connect().await;
    let challenged = cpe.post("", inform()).await;
    let answer = cpe
        .post(&digest(&challenged, USER, PASSWORD), inform())
        .await;
    let cookie = format!("Cookie: {}\r\n", answer.cookie());
    let neighbour = digest(&challenged, "neighbour", "Arthur");
    assert_eq!(
        cpe.post(&format!("{cookie}{neighbour}"), "").await.status,
        403
    );
    let own = digest(&challenged, "own", "Ford");
    assert_eq!(cpe.post(&format!("{cookie}{own}"), "").await.status, 204);
}

#[tokio::test]
async fn every_turn_may_have_to_prove_itself() {
    let house = house_with(GatewayConfig {
        reauthenticate_every_turn: true,
        ..GatewayConfig::default()
    })
    .await;
    let mut cpe = house.connect().await;
    let cookie = cpe.post(&basic(), inform()).await.cookie();
    assert_eq!(cpe.turn(&cookie, "").await.status, 401);
    let headers = format!("Cookie: {cookie}\r\n{}", basic());
    assert_eq!(cpe.post(&headers, "").await.status, 204);
}

#[tokio::test]
async fn without_device_state_nobody_comes_in() {
    let house = house().await;
    house
        .device_state
        .down
        .store(true, std::sync::atomic::Ordering::SeqCst);
    let answer = house.connect().await.post(&basic(), inform()).await;
    assert_eq!(answer.status, 503);
    assert!(answer.header("Retry-After").is_some());
}
