//! Tasks: requests that go out, answers that come back, what becomes of them.

use std::time::Duration;

use hearth_bus::Stream;
use hearth_config::{ByteSize, HumanDuration};
use hearth_cwmp::{AcsRequest, DecodeOptions, Message, Receiver, decode};
use hearth_gateway::GatewayConfig;
use hearth_proto::events::v1 as ev;
use hearth_proto::types::v1 as ty;
use hearth_proto::workflow::v1 as wf;
use wf::request::Rpc;
use wf::request_outcome::Kind;

use crate::support::client::{Answer, basic};
use crate::support::doubles::REQUEST;
use crate::support::xml::{envelope, inform, value};
use crate::support::{Cpe, House, house, house_with};

const SECOND: &str = "01hzy3v7k2q4w6e8r0t2y4a6d9.2.11";

fn read(paths: &[&str]) -> Rpc {
    Rpc::GetParameterValues(ty::GetParameterValues {
        paths: paths.iter().map(|&path| path.to_owned()).collect(),
    })
}

/// A CPE that has informed, and its cookie.
async fn informed(house: &House) -> (Cpe, String) {
    let mut cpe = house.connect().await;
    let answer = cpe.post(&basic(), inform()).await;
    (cpe, answer.cookie())
}

fn request(answer: &Answer) -> AcsRequest {
    assert_eq!(answer.status, 200, "{answer:?}");
    let read = decode(answer.body.as_bytes(), &DecodeOptions::new(Receiver::Cpe)).unwrap();
    let Message::AcsRequest(request) = read.envelope.message else {
        panic!("a request: {}", answer.body)
    };
    request
}

#[tokio::test]
async fn a_read_goes_to_the_bus_and_to_its_task() {
    let house = house().await;
    house.workflow.will_send(REQUEST, read(&["Device."]));
    house
        .workflow
        .will_send(SECOND, Rpc::FactoryReset(wf::Empty {}));
    let (mut cpe, cookie) = informed(&house).await;
    let answer = cpe.turn(&cookie, "").await;
    assert!(matches!(
        request(&answer),
        AcsRequest::GetParameterValues(_)
    ));
    assert_eq!(answer.text("cwmp:ID"), Some(REQUEST));
    assert!(answer.cookie().len() <= 256);
    assert!(house.workflow.outcomes().is_empty());

    let values = format!(
        "<cwmp:GetParameterValuesResponse><ParameterList>{}{}</ParameterList></cwmp:GetParameterValuesResponse>",
        value("Device.WiFi.SSID.1.SSID", "home & garden").replace("& ", "&amp; "),
        value(
            "Device.WiFi.AccessPoint.1.Security.KeyPassphrase",
            "Slartibartfast"
        )
    );
    let next = cpe.turn(&answer.cookie(), envelope(REQUEST, &values)).await;
    assert_eq!(
        request(&next),
        AcsRequest::FactoryReset,
        "the next one comes at once"
    );
    let (stream, _, event) = house.bus.last();
    assert_eq!(stream, Stream::Values);
    let Some(ev::event::Kind::ValuesReported(reported)) = event.kind else {
        panic!("values")
    };
    assert_eq!(reported.source(), ev::ValueSource::Read);
    assert_eq!(reported.task, "01hzy3v7k2q4w6e8r0t2y4a6d8");
    assert_eq!(reported.values[0].value, "home & garden");
    assert_eq!(reported.values[1].value, "");
    assert!(!reported.values[1].sealed.is_empty());
    let outcome = house.workflow.outcomes().remove(0);
    assert_eq!(outcome.request_id, REQUEST);
    let Some(Kind::Values(seen)) = outcome.kind else {
        panic!("values")
    };
    assert_eq!(seen.values[0].value, "home & garden");
    assert_eq!(seen.values[1].value, "********");
    assert!(seen.values[1].sealed.is_empty());

    let done = envelope(SECOND, "<cwmp:FactoryResetResponse/>");
    assert_eq!(cpe.turn(&next.cookie(), done).await.status, 204);
    assert_eq!(
        house.workflow.outcomes()[1].kind,
        Some(Kind::Empty(wf::Empty {}))
    );
}

#[tokio::test]
async fn a_repeated_turn_gets_the_same_request() {
    let house = house().await;
    house.workflow.will_send(REQUEST, read(&["Device."]));
    let (mut cpe, cookie) = informed(&house).await;
    let first = cpe.turn(&cookie, "").await;
    // The answer was lost with its connection: once more with the old cookie, and with the new.
    drop(cpe);
    for cookie in [&cookie, &first.cookie()] {
        let again = house.connect().await.turn(cookie, "").await;
        assert_eq!(again.body, first.body);
    }
    // One that never answers is let go, with its request still in flight.
    let again = house.connect().await.turn(&first.cookie(), "").await;
    let end = house.connect().await.turn(&again.cookie(), "").await;
    assert_eq!(end.status, 204);
    assert!(house.workflow.outcomes().is_empty());
}

#[tokio::test]
async fn an_id_that_is_left_out_is_the_cookies() {
    for id in ["", "mangled", "1"] {
        let house = house().await;
        house
            .workflow
            .will_send(REQUEST, Rpc::FactoryReset(wf::Empty {}));
        let (mut cpe, cookie) = informed(&house).await;
        let cookie = cpe.turn(&cookie, "").await.cookie();
        let answer = envelope(id, "<cwmp:FactoryResetResponse/>");
        assert_eq!(cpe.turn(&cookie, answer).await.status, 204);
        assert_eq!(house.workflow.outcomes()[0].request_id, REQUEST, "{id}");
    }
}

#[tokio::test]
async fn an_earlier_id_that_is_echoed_comes_with_the_cookies() {
    let house = house().await;
    let reset = || Rpc::FactoryReset(wf::Empty {});
    house.workflow.will_send(REQUEST, reset());
    house.workflow.will_send(SECOND, reset());
    let (mut cpe, cookie) = informed(&house).await;
    let done = || envelope(REQUEST, "<cwmp:FactoryResetResponse/>");
    let cookie = cpe.turn(&cookie, "").await.cookie();
    let cookie = cpe.turn(&cookie, done()).await.cookie();
    cpe.turn(&cookie, done()).await;
    let outcomes = house.workflow.outcomes();
    let ids = |at: usize| {
        let outcome: &wf::RequestOutcome = &outcomes[at];
        (
            outcome.request_id.as_str(),
            outcome.recorded_request_id.as_str(),
        )
    };
    assert_eq!(ids(0), (REQUEST, ""));
    assert_eq!(ids(1), (REQUEST, SECOND), "workflow knows which it is");
}

#[tokio::test]
async fn an_answer_over_the_limits_is_told_to_its_task() {
    let house = house_with(GatewayConfig {
        max_body: ByteSize::kib(1500),
        ..GatewayConfig::default()
    })
    .await;
    house.workflow.will_send(REQUEST, read(&["Device."]));
    house.workflow.will_send(SECOND, read(&["Device."]));
    let (mut cpe, cookie) = informed(&house).await;
    let values = |bytes| {
        let list = value("Device.X", &"x".repeat(bytes));
        format!(
            "<cwmp:GetParameterValuesResponse><ParameterList>{list}</ParameterList>\
             </cwmp:GetParameterValuesResponse>"
        )
    };
    let cookie = cpe.turn(&cookie, "").await.cookie();
    // One that could be read to its end: the session goes on.
    let answer = envelope(REQUEST, &values((1 << 20) + 1));
    let next = cpe.turn(&cookie, answer).await;
    assert_eq!(next.text("cwmp:ID"), Some(SECOND), "{}", next.status);
    // One that is too large for that: it can't.
    let answer = envelope(SECOND, &values(2 << 20));
    let head = format!(
        "POST / HTTP/1.1\r\nHost: a\r\nCookie: {}\r\nContent-Length: {}\r\n\r\n",
        next.cookie(),
        answer.len()
    );
    cpe.write(head).await;
    let end = cpe.answer().await;
    assert_eq!(end.status, 413);
    assert!(end.closes());
    let asked = house.workflow.asked.lock().clone();
    let told: Vec<_> = asked
        .iter()
        .filter_map(|asked| Some((asked.last, asked.outcome.as_ref()?)))
        .collect();
    let [(false, first), (true, second)] = told.as_slice() else {
        panic!("{told:?}")
    };
    assert_eq!(first.request_id, REQUEST);
    assert!(matches!(&first.kind, Some(Kind::TooLarge(why)) if why.contains("one text")));
    assert_eq!(second.request_id, SECOND);
    assert!(matches!(&second.kind, Some(Kind::TooLarge(why)) if why.contains("max_body")));
    assert_eq!(house.metric("hearth_gateway_answers_too_large_total"), 2.0);
    assert!(house.bus.events().len() == 1, "the Inform alone");
}

#[tokio::test]
async fn names_are_reported_with_the_path_that_was_asked() {
    let house = house().await;
    let get = Rpc::GetParameterNames(ty::GetParameterNames {
        path: "Device.WiFi.".to_owned(),
        next_level: true,
    });
    house.workflow.will_send(REQUEST, get);
    let (mut cpe, cookie) = informed(&house).await;
    let cookie = cpe.turn(&cookie, "").await.cookie();
    let names = "<cwmp:GetParameterNamesResponse><ParameterList><ParameterInfoStruct>\
        <Name>Device.WiFi.SSID.</Name><Writable>1</Writable></ParameterInfoStruct></ParameterList>\
        </cwmp:GetParameterNamesResponse>";
    assert_eq!(
        cpe.turn(&cookie, envelope(REQUEST, names)).await.status,
        204
    );
    let Some(ev::event::Kind::NamesReported(reported)) = house.bus.last().2.kind else {
        panic!("names")
    };
    assert_eq!(
        (reported.path.as_str(), reported.next_level),
        ("Device.WiFi.", true)
    );
    assert!(reported.names[0].writable);
    let outcome = house.workflow.outcomes().remove(0);
    assert!(matches!(outcome.kind, Some(Kind::Names(names)) if names.names.len() == 1));
}

#[tokio::test]
async fn faults_and_nonsense_reach_the_task() {
    let fault = "<SOAP-ENV:Fault><faultcode>SOAP-ENV:Client</faultcode><faultstring>CWMP fault</faultstring>\
        <detail><cwmp:Fault><FaultCode>9003</FaultCode><FaultString>bad</FaultString>\
        <SetParameterValuesFault><ParameterName>Device.X</ParameterName><FaultCode>9007</FaultCode>\
        <FaultString>value</FaultString></SetParameterValuesFault></cwmp:Fault></detail></SOAP-ENV:Fault>";
    let house = house().await;
    house.workflow.will_send(REQUEST, read(&["Device."]));
    house.workflow.will_send(SECOND, read(&["Device."]));
    let (mut cpe, cookie) = informed(&house).await;
    let answer = cpe.turn(&cookie, "").await;
    let answer = cpe.turn(&answer.cookie(), envelope(REQUEST, fault)).await;
    let Some(Kind::Fault(seen)) = house.workflow.outcomes().remove(0).kind else {
        panic!("a fault")
    };
    assert_eq!((seen.code, seen.text.as_str()), (9003, "bad"));
    assert_eq!(
        (seen.parameters[0].path.as_str(), seen.parameters[0].code),
        ("Device.X", 9007)
    );
    // An answer whose content is wrong: the task learns it, the session goes on.
    let wrong = "<cwmp:AddObjectResponse><Status>0</Status></cwmp:AddObjectResponse>";
    assert_eq!(
        cpe.turn(&answer.cookie(), envelope(SECOND, wrong))
            .await
            .status,
        204
    );
    let last = house.workflow.outcomes().remove(1);
    assert_eq!(last.request_id, SECOND);
    assert!(matches!(last.kind, Some(Kind::Invalid(_))));
}

#[tokio::test]
async fn downloads_name_the_host_that_the_cpe_knows() {
    let download = || {
        Rpc::Download(wf::DownloadRpc {
            command_key: "01hzy3v7k2q4w6e8r0t2y4a6d8.1".to_owned(),
            file_type: "1 Firmware Upgrade Image".to_owned(),
            url: "http://{host}:7567/f/x".to_owned(),
            username: "u".to_owned(),
            password: "p".to_owned(),
            file_size: 5 << 32,
            ..wf::DownloadRpc::default()
        })
    };
    for (host, url) in [
        ("acs.example:7547", "http://acs.example:7567/f/x"),
        ("[2001:db8::1]:7547", "http://[2001:db8::1]:7567/f/x"),
        ("evil/../x@y", "http://127.0.0.1:7567/f/x"),
    ] {
        let house = house().await;
        house.workflow.will_send(REQUEST, download());
        let (mut cpe, cookie) = informed(&house).await;
        cpe.host = host.to_owned();
        let AcsRequest::Download(sent) = request(&cpe.turn(&cookie, "").await) else {
            panic!("a download")
        };
        assert_eq!(sent.url, url);
        assert_eq!(sent.file_size, 0, "more than can be said is not known");
        assert_eq!(sent.password.expose(), "p");
    }
}

#[tokio::test]
async fn a_request_that_cannot_be_written_goes_back_to_its_task() {
    let house = house().await;
    house.workflow.will_send(REQUEST, read(&["a\u{1}b"]));
    house.workflow.will_send(SECOND, read(&["Device."]));
    let (mut cpe, cookie) = informed(&house).await;
    let answer = cpe.turn(&cookie, "").await;
    assert_eq!(answer.text("cwmp:ID"), Some(SECOND));
    let outcome = house.workflow.outcomes().remove(0);
    assert_eq!(outcome.request_id, REQUEST);
    assert!(matches!(outcome.kind, Some(Kind::Unsendable(why)) if why.contains("U+0001")));
    assert_eq!(
        house.metric("hearth_gateway_requests_unsendable_total"),
        1.0
    );
}

#[tokio::test]
async fn every_rpc_is_written_as_it_is_meant() {
    let house = house().await;
    let object = |object: &str| wf::ObjectRpc {
        object: object.to_owned(),
        parameter_key: "k".to_owned(),
    };
    let set = wf::SetParameterValuesRpc {
        values: vec![ty::ParameterValue {
            path: "Device.X".to_owned(),
            value: "1".to_owned(),
            r#type: i32::from(ty::ValueType::Boolean),
            sealed: Vec::new(),
        }],
        parameter_key: "k".to_owned(),
        ..wf::SetParameterValuesRpc::default()
    };
    let attributes = ty::SetParameterAttributes {
        attributes: vec![ty::ParameterAttributes {
            path: "Device.X".to_owned(),
            notification: Some(2),
            access_list: Vec::new(),
            set_access_list: false,
        }],
    };
    let status = "<Status>1</Status>";
    let all = [
        (Rpc::SetParameterValues(set), "SetParameterValues", status),
        (
            Rpc::SetParameterAttributes(attributes),
            "SetParameterAttributes",
            "",
        ),
        (
            Rpc::AddObject(object("Device.A.")),
            "AddObject",
            "<InstanceNumber>7</InstanceNumber><Status>0</Status>",
        ),
        (
            Rpc::DeleteObject(object("Device.A.7.")),
            "DeleteObject",
            status,
        ),
        (
            Rpc::Reboot(wf::CommandKeyRpc {
                command_key: "k".to_owned(),
            }),
            "Reboot",
            "",
        ),
        (
            Rpc::ScheduleInform(wf::ScheduleInformRpc {
                delay_seconds: 9,
                command_key: "k".to_owned(),
            }),
            "ScheduleInform",
            "",
        ),
        (
            Rpc::GetRpcMethods(wf::Empty {}),
            "GetRPCMethods",
            "<MethodList><string>Reboot</string></MethodList>",
        ),
        (
            Rpc::GetAllQueuedTransfers(wf::Empty {}),
            "GetAllQueuedTransfers",
            "<TransferList/>",
        ),
        (
            Rpc::Upload(wf::UploadRpc {
                command_key: "k".to_owned(),
                file_type: "2 Vendor Log File".to_owned(),
                url: "http://{host}/u".to_owned(),
                ..wf::UploadRpc::default()
            }),
            "Upload",
            "<Status>1</Status><StartTime>0001-01-01T00:00:00Z</StartTime><CompleteTime>0001-01-01T00:00:00Z</CompleteTime>",
        ),
    ];
    let mut ids = Vec::new();
    for (step, (rpc, _, _)) in all.iter().enumerate() {
        let id = format!("01hzy3v7k2q4w6e8r0t2y4a6d8.1.{step}");
        house.workflow.will_send(&id, rpc.clone());
        ids.push(id);
    }
    let (mut cpe, cookie) = informed(&house).await;
    let mut answer = cpe.turn(&cookie, "").await;
    for (id, (_, method, content)) in ids.iter().zip(&all) {
        let sent = request(&answer);
        assert_eq!(sent.method(), *method);
        let body = format!("<cwmp:{method}Response>{content}</cwmp:{method}Response>");
        answer = cpe.turn(&answer.cookie(), envelope(id, &body)).await;
    }
    assert_eq!(answer.status, 204);
    let outcomes = house.workflow.outcomes();
    assert_eq!(outcomes.len(), all.len());
    for (outcome, (_, method, _)) in outcomes.iter().zip(&all) {
        let fits = match (*method, &outcome.kind) {
            ("AddObject", Some(Kind::Applied(applied))) => applied.instance_number == 7,
            ("SetParameterValues" | "DeleteObject" | "Upload", Some(Kind::Applied(applied))) => {
                applied.status == 1
            }
            ("GetRPCMethods", Some(Kind::Methods(methods))) => methods.names == ["Reboot"],
            ("GetAllQueuedTransfers", Some(Kind::Transfers(_))) => true,
            (_, Some(Kind::Empty(_))) => true,
            _ => false,
        };
        assert!(fits, "{method}: {:?}", outcome.kind);
    }
}

#[tokio::test]
async fn a_turn_that_has_begun_is_finished_when_its_connection_is_cut() {
    let house = house_with(GatewayConfig {
        drain_timeout: HumanDuration::millis(1),
        ..GatewayConfig::default()
    })
    .await;
    house.workflow.will_send(REQUEST, read(&["Device."]));
    let (mut cpe, cookie) = informed(&house).await;
    let cookie = cpe.turn(&cookie, "").await.cookie();
    house.bus.held.send_replace(true);
    let values = format!(
        "<cwmp:GetParameterValuesResponse><ParameterList>{}</ParameterList></cwmp:GetParameterValuesResponse>",
        value("Device.X", "1")
    );
    let cut = async {
        house
            .bus
            .waiting
            .subscribe()
            .wait_for(|waiting| *waiting > 0)
            .await
            .unwrap();
        house.stop.cancel();
        house.until("hearth_gateway_connections", 0.0).await;
        assert!(house.workflow.outcomes().is_empty());
        house.bus.held.send_replace(false);
        while house.workflow.outcomes().is_empty() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let answer = envelope(REQUEST, &values);
    cpe.send(&format!("Cookie: {cookie}\r\n"), &answer).await;
    tokio::time::timeout(Duration::from_secs(20), cut)
        .await
        .expect("the outcome was lost with the connection");
}
