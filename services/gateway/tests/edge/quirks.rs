//! Quirk profiles at the gateway: what a device's Inform brings, and what goes to it then.

use hearth_cwmp::{AcsRequest, DecodeOptions, Message, Receiver, decode};
use hearth_proto::devicestate::v1 as ds;
use hearth_proto::types::v1::{self as ty, BooleanForm, Quirks};
use hearth_proto::workflow::v1 as wf;
use std::sync::atomic::Ordering;
use wf::request::Rpc;
use wf::request_outcome::Kind;

use crate::support::client::{Answer, basic};
use crate::support::doubles::REQUEST;
use crate::support::xml::{DEVICE, envelope, inform};
use crate::support::{Cpe, House, house};

const DECLARATION: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<soap";
const ENDED: &str = "hearth_gateway_sessions_total{event=\"ended\"}";
const DONE: &str = "<cwmp:SetParameterValuesResponse><Status>0</Status>\
                    </cwmp:SetParameterValuesResponse>";

fn of(serial: &str) -> ds::CheckIdentityResponse {
    ds::CheckIdentityResponse {
        allowed: true,
        profile: format!("{serial}@1"),
        ..ds::CheckIdentityResponse::default()
    }
}

/// A device whose profile says this, informed.
async fn informed(quirks: Quirks, house: &House) -> (Cpe, Answer) {
    let answer = ds::CheckIdentityResponse {
        quirks: Some(quirks),
        ..of("acme")
    };
    let judged = &house.device_state.judged;
    judged.lock().insert(DEVICE.to_owned(), answer);
    let mut cpe = house.connect().await;
    let answer = cpe.post(&basic(), inform()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    (cpe, answer)
}

fn request(answer: &Answer) -> AcsRequest {
    let read = decode(answer.body.as_bytes(), &DecodeOptions::new(Receiver::Cpe)).unwrap();
    match read.envelope.message {
        Message::AcsRequest(request) => request,
        _ => panic!("a request: {}", answer.body),
    }
}

fn set(value: &str, kind: ty::ValueType) -> wf::SetParameterValuesRpc {
    wf::SetParameterValuesRpc {
        values: vec![ty::ParameterValue {
            path: "Device.X".to_owned(),
            value: value.to_owned(),
            r#type: kind.into(),
            sealed: Vec::new(),
        }],
        parameter_key: "task.1".to_owned(),
        ..wf::SetParameterValuesRpc::default()
    }
}

/// What goes out for one SetParameterValues: value and key.
async fn sent(quirks: Quirks, set: wf::SetParameterValuesRpc) -> (String, String) {
    let house = house().await;
    house
        .workflow
        .will_send(REQUEST, Rpc::SetParameterValues(set));
    let (mut cpe, answer) = informed(quirks, &house).await;
    let answer = cpe.turn(&answer.cookie(), "").await;
    match request(&answer) {
        AcsRequest::SetParameterValues(set) => {
            (set.parameter_list[0].value.clone(), set.parameter_key)
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_the_inform_says_chooses_the_profile() {
    let house = house().await;
    informed(Quirks::default(), &house).await;
    let checked = house.device_state.checked.lock();
    assert_eq!(checked[0].manufacturer, "Acme");
    assert_eq!(checked[0].software_version, "1.0");
}

#[tokio::test]
async fn an_old_session_ends_by_two_empty_exchanges() {
    for (idle, with_work) in [(true, false), (false, false), (false, true)] {
        let house = house().await;
        house.workflow.idle.store(idle, Ordering::SeqCst);
        if with_work {
            let set = set("1", ty::ValueType::Int);
            house
                .workflow
                .will_send(REQUEST, Rpc::SetParameterValues(set));
        }
        let quirks = Quirks {
            triple_empty_end: true,
            ..Quirks::default()
        };
        let (mut cpe, answer) = informed(quirks, &house).await;
        let mut answer = cpe.turn(&answer.cookie(), "").await;
        if with_work {
            answer = cpe.turn(&answer.cookie(), envelope(REQUEST, DONE)).await;
        }
        assert_eq!(answer.status, 204);
        assert_eq!(house.metric(ENDED), 0.0);
        // The session lives on: the cookie is set again, and the second exchange ends it.
        let answer = cpe.turn(&answer.cookie(), "").await;
        assert_eq!((answer.status, answer.header("set-cookie")), (204, None));
        assert_eq!(house.metric(ENDED), 1.0);
    }
    // Without the quirk the first one does.
    let house = house().await;
    let (mut cpe, answer) = informed(Quirks::default(), &house).await;
    let answer = cpe.turn(&answer.cookie(), "").await;
    assert_eq!((answer.status, answer.header("set-cookie")), (204, None));
}

#[tokio::test]
async fn a_profile_that_is_gone_is_not_followed_any_more() {
    let house = house().await;
    let quirks = Quirks {
        triple_empty_end: true,
        xml_declaration: true,
        ..Quirks::default()
    };
    let (mut cpe, answer) = informed(quirks, &house).await;
    let judged = &house.device_state.judged;
    judged.lock().insert(DEVICE.to_owned(), of("none"));
    // A new Inform with the old session's cookie.
    let headers = format!("{}Cookie: {}\r\n", basic(), answer.cookie());
    let answer = cpe.post(&headers, inform()).await;
    assert!(answer.body.starts_with("<soap"), "{answer:?}");
    let answer = cpe.turn(&answer.cookie(), "").await;
    assert_eq!((answer.status, answer.header("set-cookie")), (204, None));
}

#[tokio::test]
async fn values_are_written_as_the_device_wants_them() {
    use ty::ValueType::{Boolean, DateTime, String};
    let form = |form: BooleanForm| Quirks {
        boolean_form: form.into(),
        ..Quirks::default()
    };
    let whole = Quirks {
        no_fractional_seconds: true,
        ..Quirks::default()
    };
    let time = "2026-01-31T12:00:00.5Z";
    for (quirks, given, kind, written) in [
        (form(BooleanForm::Digits), "true", Boolean, "1"),
        (form(BooleanForm::Words), "0", Boolean, "false"),
        (form(BooleanForm::Digits), "true", String, "true"),
        (form(BooleanForm::AsGiven), "TRUE", Boolean, "TRUE"),
        (whole, time, DateTime, "2026-01-31T12:00:00Z"),
        (Quirks::default(), time, DateTime, time),
    ] {
        let (value, key) = sent(quirks, set(given, kind)).await;
        assert_eq!((value.as_str(), key.as_str()), (written, "task.1"));
    }
    // What was learned holds where the profile says nothing.
    let learned = wf::SetParameterValuesRpc {
        boolean_form: BooleanForm::Digits.into(),
        no_fractional_seconds: true,
        ..set("true", Boolean)
    };
    let (value, _) = sent(Quirks::default(), learned.clone()).await;
    assert_eq!(value, "1");
    let (value, _) = sent(form(BooleanForm::Words), learned).await;
    assert_eq!(value, "true");
}

#[tokio::test]
async fn parameter_key_stays_empty() {
    let quirks = Quirks {
        empty_parameter_key: true,
        ..Quirks::default()
    };
    let (_, key) = sent(quirks.clone(), set("1", ty::ValueType::Int)).await;
    assert_eq!(key, "");
    let object = |object: &str| wf::ObjectRpc {
        object: object.to_owned(),
        parameter_key: "k".to_owned(),
    };
    for rpc in [
        Rpc::AddObject(object("Device.A.")),
        Rpc::DeleteObject(object("Device.A.1.")),
    ] {
        let house = house().await;
        house.workflow.will_send(REQUEST, rpc);
        let (mut cpe, answer) = informed(quirks.clone(), &house).await;
        match request(&cpe.turn(&answer.cookie(), "").await) {
            AcsRequest::AddObject(add) => assert_eq!(add.parameter_key, ""),
            AcsRequest::DeleteObject(delete) => assert_eq!(delete.parameter_key, ""),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn every_envelope_of_a_session_gets_an_xml_declaration() {
    let house = house().await;
    let set = set("1", ty::ValueType::Int);
    house
        .workflow
        .will_send(REQUEST, Rpc::SetParameterValues(set));
    let quirks = Quirks {
        xml_declaration: true,
        ..Quirks::default()
    };
    let (mut cpe, answer) = informed(quirks, &house).await;
    assert!(answer.body.starts_with(DECLARATION), "{answer:?}");
    let cookie = answer.cookie();
    let unknown = envelope("2", "<cwmp:X_Odd/>");
    let answer = cpe.turn(&cookie, unknown).await;
    assert!(answer.body.starts_with(DECLARATION), "{answer:?}");
    assert!(answer.body.contains("8000"), "{answer:?}");
    let asks = envelope("3", "<cwmp:GetRPCMethods/>");
    let answer = cpe.turn(&answer.cookie(), asks).await;
    assert!(answer.body.starts_with(DECLARATION), "{answer:?}");
    let answer = cpe.turn(&answer.cookie(), "").await;
    assert!(answer.body.starts_with(DECLARATION), "{answer:?}");
    assert_eq!(request(&answer).method(), "SetParameterValues");
}

#[tokio::test]
async fn a_request_over_the_devices_limit_goes_back_to_its_task() {
    let house = house().await;
    let long = set(&"x".repeat(3000), ty::ValueType::String);
    house
        .workflow
        .will_send(REQUEST, Rpc::SetParameterValues(long));
    let quirks = Quirks {
        max_request_bytes: 2048,
        ..Quirks::default()
    };
    let (mut cpe, answer) = informed(quirks, &house).await;
    let answer = cpe.turn(&answer.cookie(), "").await;
    assert_eq!(answer.status, 204);
    let outcome = house.workflow.outcomes().remove(0);
    let Some(Kind::Unsendable(why)) = outcome.kind else {
        panic!("{outcome:?}");
    };
    assert!(
        why.contains("2048") && why.contains("max_request_bytes"),
        "{why}"
    );
}
