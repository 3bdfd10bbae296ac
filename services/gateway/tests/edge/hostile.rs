//! What hostile and broken clients send: each is refused with the right status, by the right counter,
//! and nothing of it is accepted. The table in `docs/bad-input.md` names these tests.

use std::sync::atomic::Ordering;
use std::time::Duration;

use digest_auth::{AuthContext, HttpMethod};
use hearth_auth::SecretKeys;
use hearth_gateway::GatewayConfig;
use hearth_proto::workflow::v1 as wf;
use wf::request::Rpc;

use crate::support::client::{Answer, basic};
use crate::support::doubles::REQUEST;
use crate::support::xml::{DEVICE, envelope, inform, inform_body, inform_of, value};
use crate::support::{Cpe, House, PASSWORD, USER, house, house_with, house_with_keys};

/// The count of a reason in this house's metrics.
fn counted(house: &House, metric: &str, labels: &str) -> f64 {
    house.metric(&format!("hearth_gateway_{metric}_total{labels}"))
}

/// An Inform with these parameters.
fn with_parameters(parameters: &str) -> String {
    inform().replace("</ParameterList>", &format!("{parameters}</ParameterList>"))
}

#[tokio::test]
async fn hostile_xml_is_refused_at_its_first_excess() {
    let house = house().await;
    let envelope_of =
        |inside: &str| inform().replace("<cwmp:Inform>", &format!("<cwmp:Inform>{inside}"));
    let doctype =
        |of: &str| inform().replace("<SOAP-ENV:Envelope", &format!("{of}<SOAP-ENV:Envelope"));
    let laughs = (0..10).fold("<!DOCTYPE a [<!ENTITY a0 \"ha\">".to_owned(), |text, n| {
        text + &format!("<!ENTITY a{} \"{}\">", n + 1, format!("&a{n};").repeat(10))
    });
    let cases = [
        ("a document type", doctype("<!DOCTYPE a>"), 400),
        ("a billion laughs", doctype(&format!("{laughs}]>")), 400),
        (
            "an external entity",
            doctype("<!DOCTYPE a [<!ENTITY b SYSTEM \"file:///etc/passwd\">]>"),
            400,
        ),
        (
            "an external document type",
            doctype("<!DOCTYPE a SYSTEM \"http://192.0.2.1/x.dtd\">"),
            400,
        ),
        ("depth", envelope_of(&"<a>".repeat(100_000)), 400),
        (
            "depth that ends well",
            envelope_of(&format!("{}{}", "<a>".repeat(40), "</a>".repeat(40))),
            400,
        ),
        ("width", envelope_of(&"<a/>".repeat(1_000_001)), 400),
        (
            "items",
            with_parameters(
                &value("A", "")
                    .replace("<Value xsi:type=\"xsd:string\"></Value>", "")
                    .repeat(250_001),
            ),
            400,
        ),
        (
            "one long text",
            with_parameters(&value("A", &"x".repeat((1 << 20) + 1))),
            400,
        ),
    ];
    for (what, body, status) in cases {
        let before = counted(&house, "refused", "{reason=\"undecodable\",status=\"400\"}");
        let mut cpe = house.connect().await;
        let answer = cpe.post(&basic(), body).await;
        assert_eq!(answer.status, status, "{what}");
        assert!(answer.closes() && cpe.is_closed().await, "{what}");
        assert!(!answer.body.contains("root:"), "{what}");
        let after = counted(&house, "refused", "{reason=\"undecodable\",status=\"400\"}");
        assert_eq!(after, before + 1.0, "{what}");
    }
    assert!(house.bus.published.lock().is_empty());
}

/// What XML forbids and devices write is mended and counted; what doesn't matter isn't kept.
#[tokio::test]
async fn broken_text_is_mended_and_giant_attributes_are_skipped() {
    let house = house().await;
    let body = with_parameters(&value("Device.X", "a\u{1}b&nbsp;c & d"));
    assert_eq!(house.connect().await.post(&basic(), body).await.status, 200);
    let giant = inform().replace(
        "<cwmp:Inform>",
        &format!("<cwmp:Inform a=\"{}\">", "x".repeat(4 << 20)),
    );
    assert_eq!(
        house.connect().await.post(&basic(), giant).await.status,
        200
    );
    let name = "n".repeat(2 << 20);
    let long = inform().replace("<cwmp:Inform>", &format!("<cwmp:Inform><{name}></{name}>"));
    assert_eq!(house.connect().await.post(&basic(), long).await.status, 200);
    let many: String = (0..10_000).map(|n| format!(" a{n}=\"\"")).collect();
    let many = inform().replace("<cwmp:Inform>", &format!("<cwmp:Inform{many}>"));
    assert_eq!(house.connect().await.post(&basic(), many).await.status, 200);
    let mut bytes = with_parameters(&value("Device.Y", "\u{1a}")).into_bytes();
    for byte in bytes.iter_mut().filter(|byte| **byte == 0x1a) {
        *byte = 0xff;
    }
    assert_eq!(
        house.connect().await.post(&basic(), bytes).await.status,
        200
    );
    for kind in [
        "control_characters",
        "bare_ampersands",
        "bad_references",
        "invalid_bytes",
    ] {
        let labels = format!("{{kind=\"{kind}\"}}");
        assert_eq!(counted(&house, "repairs", &labels), 1.0, "{kind}");
    }
}

fn digest(challenged: &Answer, count: u32) -> String {
    let challenge = challenged
        .all("WWW-Authenticate")
        .into_iter()
        .find(|value| value.starts_with("Digest"));
    let mut prompt = digest_auth::parse(challenge.unwrap()).unwrap();
    let context =
        AuthContext::new_with_method(USER, PASSWORD, "/", None::<&[u8]>, HttpMethod::POST);
    let mut response = prompt.respond(&context).unwrap();
    for _ in 1..count {
        response = prompt.respond(&context).unwrap();
    }
    format!("Authorization: {response}\r\n")
}

#[tokio::test]
async fn a_nonce_is_good_once_in_its_time_and_here_only() {
    let house = house().await;
    let mut cpe = house.connect().await;
    let challenged = cpe.post("", inform()).await;
    let proof = digest(&challenged, 1);
    assert_eq!(cpe.post(&proof, inform()).await.status, 200);
    let stale = |number: f64| {
        let counted = counted(&house, "auth_failures", "{reason=\"stale_nonce\"}");
        assert_eq!(counted, number);
    };
    // The very same response, on this connection and on another.
    for number in [1.0, 2.0] {
        let mut other = house.connect().await;
        let answer = other.post(&proof, inform()).await;
        assert!(
            answer.status == 401 && answer.head.contains("stale=true"),
            "{answer:?}"
        );
        stale(number);
    }
    // Another count of the same nonce is no replay, until its time is over.
    assert_eq!(
        cpe.post(&digest(&challenged, 2), inform()).await.status,
        200
    );
    house.clock.advance(Duration::from_secs(301));
    assert_eq!(
        cpe.post(&digest(&challenged, 3), inform()).await.status,
        401
    );
    stale(3.0);
    // Right in all but that another server made it.
    let elsewhere = house_with_keys(GatewayConfig::default(), SecretKeys::from_seed([8; 32])).await;
    let foreign = elsewhere.connect().await.post("", inform()).await;
    assert_eq!(cpe.post(&digest(&foreign, 1), inform()).await.status, 401);
    stale(4.0);
    assert_eq!(house.bus.published.lock().len(), 2);
}

/// A cookie is good for its session alone: not for another device's Inform, another tenant, a
/// user that may not be the device, a newer epoch, nor later.
#[tokio::test]
async fn a_cookie_serves_its_own_session_only() {
    let house = house().await;
    house
        .device_state
        .allow("neighbour", "Arthur", Some("0000CA-Router-0002"));
    house
        .workflow
        .will_send(REQUEST, Rpc::FactoryReset(wf::Empty {}));
    let mut cpe = house.connect().await;
    let cookie = cpe.post(&basic(), inform()).await.cookie();
    // Another tenant's, and counted so.
    let headers = format!("Cookie: {cookie}\r\n");
    assert_eq!(cpe.post_to("/t/other", &headers, "").await.status, 401);
    assert_eq!(
        counted(&house, "cookies_ignored", "{reason=\"unreadable\"}"),
        1.0
    );
    // Of this device, with the credentials of another.
    let pair = "bmVpZ2hib3VyOkFydGh1cg==";
    let other = format!("{headers}Authorization: Basic {pair}\r\n");
    assert_eq!(cpe.post(&other, "").await.status, 403);
    // It proves no Inform, of its own device or of another.
    for serial in ["0001", "0002"] {
        assert_eq!(cpe.turn(&cookie, inform_of(serial, &[])).await.status, 401);
    }
    assert!(
        house.workflow.asked.lock().is_empty(),
        "nothing was handed out"
    );
    // An answer in the name of a task of nobody: what it says isn't asked again.
    let answered = cpe.turn(&cookie, "").await;
    assert_eq!(answered.text("cwmp:ID"), Some(REQUEST));
    // A newer session has begun: the older cookie is of another epoch.
    let newer = house
        .connect()
        .await
        .post(&basic(), inform())
        .await
        .cookie();
    for old in [&cookie, &answered.cookie()] {
        let answer = house
            .connect()
            .await
            .turn(old, envelope(REQUEST, "<cwmp:FactoryResetResponse/>"))
            .await;
        assert_eq!(answer.status, 400);
    }
    assert_eq!(
        counted(&house, "refused", "{reason=\"superseded\",status=\"400\"}"),
        2.0
    );
    assert_eq!(counted(&house, "sessions", "{event=\"superseded\"}"), 2.0);
    // Silent for too long.
    house.clock.advance(Duration::from_secs(31));
    assert_eq!(house.connect().await.turn(&newer, "").await.status, 401);
    assert_eq!(counted(&house, "cookies_ignored", "{reason=\"over\"}"), 1.0);
    assert_eq!(house.workflow.script.lock().len(), 1, "no answer was taken");
}

/// Every turn of a session again, in any order, with the cookies of then: requests are repeated,
/// and no second one leaves.
#[tokio::test]
async fn replayed_cookies_start_nothing_new() {
    let house = house().await;
    house
        .workflow
        .will_send(REQUEST, Rpc::FactoryReset(wf::Empty {}));
    let mut cpe = house.connect().await;
    let first = cpe.post(&basic(), inform()).await.cookie();
    let second = cpe.turn(&first, "").await.cookie();
    let done = envelope(REQUEST, "<cwmp:FactoryResetResponse/>");
    assert_eq!(cpe.turn(&second, &done).await.status, 204);
    for (cookie, body) in [
        (&second, done.as_str()),
        (&first, ""),
        (&second, ""),
        (&first, &done),
    ] {
        let answer = house.connect().await.turn(cookie, body).await;
        assert_eq!(answer.status, 204, "{}", answer.body);
    }
    assert!(house.workflow.script.lock().is_empty());
}

/// What a device calls itself and its parameters stays out of headers, and the host it names
/// stays out of URLs unless it is a host.
#[tokio::test]
async fn names_and_values_stay_where_they_belong() {
    let house = house().await;
    let evil = "x&#13;&#10;Set-Cookie: evil=1&#13;&#10;&#13;&#10;HTTP/1.1 200 OK";
    let body = envelope(evil, &inform_body("0000CA", evil, "1", &[evil]))
        .replace("Device.DeviceInfo.SoftwareVersion", evil);
    let mut cpe = house.connect().await;
    let answer = cpe.post(&basic(), body).await;
    assert_eq!(answer.status, 200);
    assert!(
        !answer.head.contains("evil") && answer.all("Set-Cookie").len() == 1,
        "{}",
        answer.head
    );
    // The id comes back within its element, and as text.
    assert!(!answer.body.contains("\r\nSet-Cookie"), "{}", answer.body);

    let download = wf::DownloadRpc {
        command_key: "k".to_owned(),
        url: "http://{host}/f".to_owned(),
        ..wf::DownloadRpc::default()
    };
    house.workflow.will_send(REQUEST, Rpc::Download(download));
    for host in ["evil@192.0.2.1", "a/b", "a b", "a\"b", "a?b#c", "<x>"] {
        let mut cpe = Cpe::connect(house.address).await;
        cpe.host = host.to_owned();
        let cookie = cpe.post(&basic(), inform()).await.cookie();
        let asked = cpe.turn(&cookie, "").await;
        let url = asked
            .text("URL")
            .unwrap_or_else(|| panic!("{host}: {}", asked.body));
        assert_eq!(url, "http://127.0.0.1/f", "{host}");
    }
}

/// Old CPEs whose HTTP client never remembers that it was challenged.
#[tokio::test]
async fn unauthenticated_first_on_every_request() {
    let house = house_with(GatewayConfig {
        reauthenticate_every_turn: true,
        ..GatewayConfig::default()
    })
    .await;
    house
        .workflow
        .will_send(REQUEST, Rpc::FactoryReset(wf::Empty {}));
    let mut cpe = house.connect().await;
    let mut cookie = String::new();
    let done = envelope(REQUEST, "<cwmp:FactoryResetResponse/>");
    for (body, status) in [(inform().as_str(), 200), ("", 200), (done.as_str(), 204)] {
        let headers = match cookie.as_str() {
            "" => String::new(),
            cookie => format!("Cookie: {cookie}\r\n"),
        };
        // First without, and begun anew with nc=00000001 and a cnonce of its own.
        let challenged = cpe.post(&headers, body).await;
        assert_eq!(challenged.status, 401);
        assert!(challenged.header("Set-Cookie").is_none() && !challenged.closes());
        let proof = digest(&challenged, 1);
        assert!(proof.contains("nc=00000001"), "{proof}");
        let answer = cpe.post(&format!("{headers}{proof}"), body).await;
        assert_eq!(answer.status, status, "{answer:?}");
        if status == 200 {
            cookie = answer.cookie();
        }
    }
    assert_eq!(house.workflow.outcomes().len(), 1);
    assert_eq!(house.device_state.checked.lock()[0].device, DEVICE);
    assert!(!house.workflow.down.load(Ordering::SeqCst));
}
