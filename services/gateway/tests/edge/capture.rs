//! Captured sessions: what leaves the gateway, and what never does.

use std::time::Duration;

use hearth_proto::devicestate::v1 as ds;
use hearth_proto::events::v1 as ev;
use hearth_proto::types::v1 as ty;
use hearth_proto::workflow::v1 as wf;
use wf::request::Rpc;

use crate::support::client::basic;
use crate::support::doubles::REQUEST;
use crate::support::xml::{DEVICE, envelope, inform, value};
use crate::support::{House, NOW, house};

const SECRET: &str = "Sesame-77&x";

fn capture(house: &House, change: impl FnOnce(&mut ds::ActiveCapture)) {
    let mut capture = ds::ActiveCapture {
        id: "01hzy3v7k2q4w6e8r0t2y4a6d8".into(),
        rule: Some(ty::CaptureRule {
            device: DEVICE.into(),
            ..ty::CaptureRule::default()
        }),
        start_us: NOW - 1_000_000,
        end_us: NOW + 3_600_000_000,
        sessions_left: 1,
    };
    change(&mut capture);
    house.device_state.captures.lock().push(capture);
}

fn parts(house: &House) -> Vec<ev::CapturePart> {
    let published = house.bus.published.lock();
    let parts = published
        .iter()
        .filter_map(|(_, _, event)| match &event.kind {
            Some(ev::event::Kind::CapturePart(part)) => Some(part.clone()),
            _ => None,
        });
    parts.collect()
}

async fn told(house: &House, count: usize) -> Vec<ev::CapturePart> {
    for _ in 0..100 {
        let mut parts = parts(house);
        if parts.len() >= count {
            parts.sort_by_key(|part| part.turn);
            return parts;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("not {count} parts: {:?}", parts(house));
}

/// A session in which a secret is set, and told back by a fault.
async fn session(house: &House) {
    house.workflow.will_send(
        REQUEST,
        Rpc::SetParameterValues(wf::SetParameterValuesRpc {
            values: vec![ty::ParameterValue {
                path: "Device.Users.User.1.Password".into(),
                value: SECRET.into(),
                ..ty::ParameterValue::default()
            }],
            ..wf::SetParameterValuesRpc::default()
        }),
    );
    let mut cpe = house.connect().await;
    let answer = cpe.post(&basic(), inform()).await;
    let answer = cpe.turn(&answer.cookie(), "").await;
    assert!(answer.body.contains("Sesame-77&amp;x"), "{answer:?}");
    let fault = "<SOAP-ENV:Fault><faultcode>SOAP-ENV:Client</faultcode><faultstring>CWMP fault</faultstring>\
        <detail><cwmp:Fault><FaultCode>9007</FaultCode><FaultString>not Sesame-77&amp;x</FaultString>\
        </cwmp:Fault></detail></SOAP-ENV:Fault>";
    let answer = cpe.turn(&answer.cookie(), envelope(REQUEST, fault)).await;
    assert_eq!(answer.status, 204, "{answer:?}");
}

#[tokio::test]
async fn a_captured_session_leaves_as_text_without_secrets() {
    let house = house().await;
    capture(&house, |_| {});
    session(&house).await;
    let parts = told(&house, 3).await;
    let text: String = parts.iter().map(|part| part.text.as_str()).collect();
    for secret in ["Sesame", "Zaphod", "hs=", "Basic "] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
    for kept in [
        "> POST / HTTP/1.1\n",
        "> authorization: ********\n",
        "> cookie: ********\n",
        "< set-cookie: ********\n",
        "Device.Users.User.1.Password",
        "not ********",
        "9007",
    ] {
        assert!(text.contains(kept), "{kept} not in {text}");
    }
    let steps = hearth_cwmp::replay::replay(&text).unwrap();
    let shown: Vec<_> = steps
        .iter()
        .map(|s| (&*s.received, &*s.sent, s.agrees))
        .collect();
    assert_eq!(
        shown,
        [
            ("Inform", "InformResponse", true),
            ("empty", "SetParameterValues", true),
            ("Fault", "empty", true)
        ]
    );
    // It takes one session, and has it.
    session(&house).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(self::parts(&house).len(), 3);
}

#[tokio::test]
async fn what_no_rule_fits_is_not_captured() {
    let house = house().await;
    capture(&house, |capture| {
        capture.rule = Some(ty::CaptureRule {
            oui: "ABCDEF".into(),
            ..ty::CaptureRule::default()
        });
    });
    capture(&house, |capture| capture.end_us = NOW - 1);
    capture(&house, |capture| capture.sessions_left = 0);
    session(&house).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(parts(&house).is_empty());
}

#[tokio::test]
async fn a_body_that_cant_be_read_leaves_its_size_alone() {
    let house = house().await;
    capture(&house, |capture| {
        capture.rule = Some(ty::CaptureRule {
            any: true,
            ..ty::CaptureRule::default()
        });
    });
    let reboot = Rpc::Reboot(wf::CommandKeyRpc::default());
    house.workflow.will_send(REQUEST, reboot);
    let mut cpe = house.connect().await;
    let answer = cpe.post(&basic(), inform()).await;
    let answer = cpe.turn(&answer.cookie(), "").await;
    let junk = format!("<a><Password>{SECRET}</b>");
    cpe.turn(&answer.cookie(), &junk).await;
    let parts = told(&house, 3).await;
    let last = &parts[2];
    assert!(last.cut && !last.text.contains("Sesame"), "{}", last.text);
    assert!(
        last.text
            .contains(&format!(">! {} bytes, SHA-256 ", junk.len()))
    );
}

#[tokio::test]
async fn personal_data_is_left_out_by_the_tenants_rule() {
    let house = house().await;
    capture(&house, |_| {});
    let paths = vec!["Device.Hosts.Host.*.HostName".to_owned()];
    house.device_state.policy.lock().redact_paths = paths;
    let read = Rpc::GetParameterValues(ty::GetParameterValues {
        paths: vec!["Device.".into()],
    });
    house.workflow.will_send(REQUEST, read);
    let mut cpe = house.connect().await;
    let answer = cpe.post(&basic(), inform()).await;
    let answer = cpe.turn(&answer.cookie(), "").await;
    let list = [
        value("Device.Hosts.Host.1.HostName", "annas-phone"),
        value("Device.X_00.Text", "it is annas-phone"),
        value("Device.WiFi.SSID.1.SSID", "Villa"),
    ];
    let values = format!(
        "<cwmp:GetParameterValuesResponse><ParameterList>{}</ParameterList></cwmp:GetParameterValuesResponse>",
        list.concat()
    );
    cpe.turn(&answer.cookie(), envelope(REQUEST, &values)).await;
    let parts = told(&house, 3).await;
    let text = &parts[2].text;
    assert!(
        text.contains("Villa") && !text.contains("annas-phone"),
        "{text}"
    );
}
