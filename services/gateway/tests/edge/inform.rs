//! Informs: what is kept, what is answered, what is refused (TR-069 3.7.1).

use std::sync::atomic::Ordering;

use hearth_auth::labels;
use hearth_bus::Stream;
use hearth_proto::events::v1 as ev;
use hearth_proto::types::v1::ValueType;

use crate::support::client::basic;
use crate::support::xml::{DEVICE, envelope, inform, inform_body, inform_of};
use crate::support::{NOW, house, keys};

#[tokio::test]
async fn an_inform_is_on_the_bus_before_it_is_answered() {
    let house = house().await;
    let answer = house.connect().await.post(&basic(), inform()).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.text("MaxEnvelopes"), Some("1"));
    assert_eq!(answer.text("cwmp:ID"), Some("1"));
    assert!(answer.body.contains("urn:dslforum-org:cwmp-1-2"));
    assert!(!answer.body.contains("UseCWMPVersion"));
    assert!(!answer.body.starts_with("<?xml"));
    let set = answer.header("Set-Cookie").unwrap();
    assert!(set.ends_with("; Path=/; HttpOnly"), "{set}");
    assert!(answer.cookie().len() <= 256);

    let (stream, _, event) = house.bus.last();
    assert_eq!(stream, Stream::Inform);
    assert_eq!(
        (event.tenant.as_str(), event.device.as_str()),
        ("default", DEVICE)
    );
    assert_eq!(event.time_us, NOW);
    let Some(ev::event::Kind::Inform(inform)) = event.kind else {
        panic!("an Inform")
    };
    assert_eq!(inform.manufacturer, "Acme");
    assert_eq!(inform.events[0].code, "2 PERIODIC");
    assert_eq!(inform.remote_address, "127.0.0.1");
    assert_eq!(inform.cwmp_namespace, "urn:dslforum-org:cwmp-1-2");
    assert_eq!(inform.parameters[0].value, "1.0");
    assert_eq!(inform.parameters[0].r#type(), ValueType::String);
    // The secret is sealed, for its place only.
    let secret = &inform.parameters[2];
    assert_eq!(secret.value, "");
    let sealer = keys().sealer(labels::AT_REST).unwrap();
    let place = format!("default/{DEVICE}/{}", secret.path);
    assert_eq!(
        sealer.open(place.as_bytes(), &secret.sealed).unwrap(),
        b"Trillian"
    );

    let opened = house.workflow.opened.lock()[0].clone();
    assert_eq!(opened.session, event.session);
    assert_eq!(opened.session.len(), 26);
    assert_eq!(opened.parameter_key, "key-1");
    assert_eq!(opened.idle_timeout_ms, 30_000);
    assert_eq!(
        house.metric("hearth_gateway_informs_total{class=\"periodic\"}"),
        1.0
    );
}

#[tokio::test]
async fn without_a_durable_bus_nothing_is_accepted() {
    let house = house().await;
    house.bus.full.store(true, Ordering::SeqCst);
    let mut cpe = house.connect().await;
    let answer = cpe.post(&basic(), inform()).await;
    assert_eq!(answer.status, 503);
    assert!(answer.header("Retry-After").is_some());
    assert!(answer.header("Set-Cookie").is_none());
    house.bus.full.store(false, Ordering::SeqCst);
    house.workflow.down.store(true, Ordering::SeqCst);
    assert_eq!(cpe.post(&basic(), inform()).await.status, 503);
    house.workflow.down.store(false, Ordering::SeqCst);
    assert_eq!(cpe.post(&basic(), inform()).await.status, 200);
}

#[tokio::test]
async fn ids_versions_and_namespaces_are_answered_in_kind() {
    let house = house().await;
    let mut cpe = house.connect().await;
    let odd = inform()
        .replace("cwmp-1-2", "cwmp-1-4")
        .replace(">1</cwmp:ID>", "> a&lt;b \"c\" </cwmp:ID>");
    let answer = cpe.post(&basic(), odd).await;
    assert!(answer.body.contains("urn:dslforum-org:cwmp-1-4"));
    assert_eq!(answer.text("cwmp:ID"), Some(" a&lt;b \"c\" "));
    let header = |versions: &str| {
        let header = format!(
            "<cwmp:SupportedCWMPVersions>{versions}</cwmp:SupportedCWMPVersions></SOAP-ENV:Header>"
        );
        inform().replace("</SOAP-ENV:Header>", &header)
    };
    let answer = cpe.post(&basic(), header("1.0, 1.2 ,1.1")).await;
    assert_eq!(answer.text("cwmp:UseCWMPVersion"), Some("1.2"));
    let answer = cpe.post(&basic(), header("2.0")).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.text("FaultCode"), Some("8006"));
    assert!(answer.header("Set-Cookie").is_none());
    let without = inform().replace("<cwmp:ID SOAP-ENV:mustUnderstand=\"1\">1</cwmp:ID>", "");
    let answer = cpe.post(&basic(), without).await;
    assert_eq!(answer.status, 200);
    assert!(!answer.body.contains("cwmp:ID"));
}

#[tokio::test]
async fn bad_content_is_fault_8003_and_says_what() {
    let house = house().await;
    let long = "9".repeat(65);
    for (oui, class, serial, says) in [
        ("XYZ", "Router", "1", "OUI"),
        ("0000CA", "Router", long.as_str(), "SerialNumber"),
        ("0000CA", &"/".repeat(64), &"/".repeat(64), "270 bytes"),
    ] {
        let body = envelope("7", &inform_body(oui, class, serial, &[]));
        let answer = house.connect().await.post(&basic(), body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.text("FaultCode"), Some("8003"));
        assert_eq!(answer.text("cwmp:ID"), Some("7"));
        assert!(
            answer.text("FaultString").unwrap().contains(says),
            "{}",
            answer.body
        );
        assert!(answer.header("Set-Cookie").is_none());
    }
    let missing = envelope("7", "<cwmp:Inform><Event/></cwmp:Inform>");
    let answer = house.connect().await.post(&basic(), missing).await;
    assert_eq!(answer.text("FaultCode"), Some("8003"));
    assert!(house.bus.published.lock().is_empty());
}

#[tokio::test]
async fn ids_cannot_break_out_of_headers_or_logs() {
    let house = house().await;
    let body = envelope(
        "1&#13;&#10;Set-Cookie: evil=1",
        &inform_body("0000CA", "a&#13;&#10;Set-Cookie: b=c", "0001&#10;X: y", &[]),
    );
    let answer = house.connect().await.post(&basic(), body).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.all("Set-Cookie").len(), 1);
    assert!(
        !answer.head.contains("evil") && !answer.head.contains("X: y"),
        "{}",
        answer.head
    );
    let device = house.bus.last().2.device;
    assert!(device.contains("%0A") && !device.contains('\n'), "{device}");
}

#[tokio::test]
async fn a_long_id_makes_a_longer_cookie_that_still_works() {
    let house = house().await;
    let serial = "s".repeat(64);
    let body = envelope("1", &inform_body("0000CA", &"c".repeat(64), &serial, &[]));
    let mut cpe = house.connect().await;
    let cookie = cpe.post(&basic(), body).await.cookie();
    assert!(
        cookie.len() > 256 && cookie.len() <= 512,
        "{}",
        cookie.len()
    );
    assert_eq!(cpe.turn(&cookie, "").await.status, 204);
}

#[tokio::test]
async fn a_session_timeout_is_clamped() {
    let house = house().await;
    for (asked, ms) in [
        ("60", 60_000),
        ("1", 5_000),
        ("99999", 300_000),
        ("0", 30_000),
    ] {
        let header =
            format!("<cwmp:SessionTimeout>{asked}</cwmp:SessionTimeout></SOAP-ENV:Header>");
        let body = inform().replace("</SOAP-ENV:Header>", &header);
        assert_eq!(house.connect().await.post(&basic(), body).await.status, 200);
        let opened = house.workflow.opened.lock().last().cloned().unwrap();
        assert_eq!(opened.idle_timeout_ms, ms, "{asked}");
    }
}

#[tokio::test]
async fn stale_cookies_on_an_inform_are_ignored() {
    let house = house().await;
    let mut cpe = house.connect().await;
    let first = cpe.post(&basic(), inform()).await.cookie();
    for stale in [
        first.as_str(),
        "hs=garbage",
        "hs=",
        &format!("hs={}", "A".repeat(4000)),
    ] {
        let headers = format!("Cookie: {stale}; other=1\r\n{}", basic());
        assert_eq!(cpe.post(&headers, inform()).await.status, 200, "{stale}");
    }
    // A live cookie doesn't prove an Inform.
    assert_eq!(cpe.turn(&first, inform_of("0002", &[])).await.status, 401);
    assert!(house.metric("hearth_gateway_cookies_ignored_total{reason=\"unreadable\"}") >= 3.0);
}
