//! What goes out is exact, what doesn't fit is refused by name, and what comes in is capped.
#![allow(clippy::unwrap_used)]

use hearth_cwmp::{
    AcsRequest, AcsResponse, AddObject, CpeRequest, CwmpVersion, DecodeError, DecodeOptions,
    DeviceId, Download, EncodeError, Envelope, EventStruct, Fault, FaultCode, GetParameterNames,
    GetParameterValues, Inform, InformResponse, LimitKind, Limits, Message, Namespace,
    ParameterValue, Reboot, Receiver, ScheduleDownload, Secret, SetParameterValues, XsdType,
    decode, encode, encode_into,
};

fn written(envelope: &Envelope) -> String {
    String::from_utf8(encode(envelope).unwrap()).unwrap()
}

#[test]
fn an_inform_response_is_exactly_this() {
    let envelope = Envelope {
        id: Some("7".to_owned()),
        hold_requests: Some(false),
        use_version: Some(CwmpVersion::new(1, 4)),
        namespace: Namespace::V1_2,
        ..Envelope::new(Message::AcsResponse(AcsResponse::Inform(InformResponse {
            max_envelopes: 1,
        })))
    };
    assert_eq!(
        written(&envelope),
        concat!(
            r#"<soap-env:Envelope xmlns:soap-env="http://schemas.xmlsoap.org/soap/envelope/""#,
            r#" xmlns:soap-enc="http://schemas.xmlsoap.org/soap/encoding/""#,
            r#" xmlns:xsd="http://www.w3.org/2001/XMLSchema""#,
            r#" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance""#,
            r#" xmlns:cwmp="urn:dslforum-org:cwmp-1-2"><soap-env:Header>"#,
            r#"<cwmp:ID soap-env:mustUnderstand="1">7</cwmp:ID>"#,
            r#"<cwmp:HoldRequests soap-env:mustUnderstand="1">0</cwmp:HoldRequests>"#,
            r#"<cwmp:UseCWMPVersion soap-env:mustUnderstand="1">1.4</cwmp:UseCWMPVersion>"#,
            r#"</soap-env:Header><soap-env:Body><cwmp:InformResponse>"#,
            r#"<MaxEnvelopes>1</MaxEnvelopes>"#,
            r#"</cwmp:InformResponse></soap-env:Body></soap-env:Envelope>"#,
        )
    );
}

#[test]
fn a_request_and_a_fault_are_exactly_this() {
    let set = Message::AcsRequest(AcsRequest::SetParameterValues(SetParameterValues {
        parameter_list: vec![ParameterValue::new(
            "Device.A",
            "a&\r<\"'>",
            XsdType::String,
        )],
        parameter_key: "k".to_owned(),
    }));
    let text = written(&Envelope::new(set));
    assert!(text.contains(concat!(
        r#"<ParameterList soap-enc:arrayType="cwmp:ParameterValueStruct[1]"><ParameterValueStruct>"#,
        r#"<Name>Device.A</Name><Value xsi:type="xsd:string">a&amp;&#13;&lt;"'&gt;</Value>"#,
        r#"</ParameterValueStruct></ParameterList><ParameterKey>k</ParameterKey>"#,
    )), "{text}");

    let fault = Envelope::new(Message::Fault(Fault::new(FaultCode::ACS_INVALID_ARGUMENTS)));
    let text = written(&fault);
    assert!(
        text.contains(concat!(
            "<soap-env:Fault><faultcode>soap-env:Client</faultcode>",
            "<faultstring>CWMP fault</faultstring><detail><cwmp:Fault>",
            "<FaultCode>8003</FaultCode><FaultString>Invalid arguments</FaultString>",
            "</cwmp:Fault></detail></soap-env:Fault>",
        )),
        "{text}"
    );

    let text = written(&Envelope::new(Message::AcsRequest(
        AcsRequest::FactoryReset,
    )));
    assert!(
        text.contains("<soap-env:Body><cwmp:FactoryReset/></soap-env:Body>"),
        "{text}"
    );
}

#[test]
fn an_answer_echoes_id_and_namespace() {
    let request = Envelope {
        id: Some(" x ".to_owned()),
        namespace: Namespace::from_minor(4),
        ..Envelope::new(Message::CpeRequest(CpeRequest::GetRpcMethods))
    };
    let answer = request.answer(Message::AcsResponse(AcsResponse::TransferComplete));
    assert_eq!(
        (answer.id.as_deref(), answer.namespace.minor()),
        (Some(" x "), 4)
    );
}

fn refused(request: AcsRequest) -> EncodeError {
    let mut out = b"before".to_vec();
    let error = encode_into(&Envelope::new(Message::AcsRequest(request)), &mut out).unwrap_err();
    assert_eq!(out, b"before", "nothing is left behind");
    error
}

#[test]
fn what_does_not_fit_is_named() {
    let long = "é".repeat(33);
    let error = refused(AcsRequest::Reboot(Reboot {
        command_key: long.clone(),
    }));
    assert_eq!(
        error,
        EncodeError::TooLong {
            method: "Reboot",
            field: "CommandKey",
            length: 33,
            max: 32
        }
    );
    assert_eq!(
        error.to_string(),
        "Reboot: CommandKey has 33 characters, at most 32 are allowed"
    );
    // 32 characters of two bytes fit: TR-069 counts characters.
    let fits = AcsRequest::Reboot(Reboot {
        command_key: "é".repeat(32),
    });
    assert!(encode(&Envelope::new(Message::AcsRequest(fits))).is_ok());

    for (request, expected) in [
        (
            AcsRequest::GetParameterValues(GetParameterValues {
                parameter_names: vec!["n".repeat(257)],
            }),
            "GetParameterValues: ParameterNames has 257 characters, at most 256 are allowed",
        ),
        (
            AcsRequest::GetParameterValues(GetParameterValues::default()),
            "GetParameterValues: ParameterNames has 0 items, allowed are 1 or more",
        ),
        (
            AcsRequest::AddObject(AddObject {
                object_name: "Device.Users".into(),
                ..AddObject::default()
            }),
            "AddObject: ObjectName must be a path that ends in a dot",
        ),
        (
            AcsRequest::GetParameterNames(GetParameterNames {
                parameter_path: "a\u{1}".into(),
                next_level: true,
            }),
            "GetParameterNames: ParameterPath holds U+0001, which XML cannot carry",
        ),
        (
            AcsRequest::GetParameterNames(GetParameterNames {
                parameter_path: "a\u{FFFF}".into(),
                next_level: true,
            }),
            "GetParameterNames: ParameterPath holds U+FFFF, which XML cannot carry",
        ),
        (
            AcsRequest::ScheduleDownload(ScheduleDownload::default()),
            "ScheduleDownload: TimeWindowList has 0 items, allowed are 1 to 2",
        ),
        (
            AcsRequest::ScheduleInform(hearth_cwmp::ScheduleInform::default()),
            "ScheduleInform: DelaySeconds is 0, allowed is 1 to 4294967295",
        ),
    ] {
        assert_eq!(refused(request).to_string(), expected);
    }
}

#[test]
fn an_informs_device_id_is_checked() {
    let inform = |oui: &str, events| {
        let device_id = DeviceId {
            oui: oui.to_owned(),
            ..DeviceId::default()
        };
        let event = vec![
            EventStruct {
                event_code: "1 BOOT".into(),
                ..EventStruct::default()
            };
            events
        ];
        encode(&Envelope::new(Message::CpeRequest(CpeRequest::Inform(
            Inform {
                device_id,
                event,
                ..Inform::default()
            },
        ))))
    };
    assert!(inform("00D09E", 64).is_ok());
    assert!(matches!(
        inform("00d09e", 1),
        Err(EncodeError::Invalid { field: "OUI", .. })
    ));
    assert!(matches!(
        inform("00D09E", 65),
        Err(EncodeError::Count { field: "Event", .. })
    ));
}

#[test]
fn passwords_and_values_are_not_shown() {
    let download = Download {
        password: Secret::from("hunter2"),
        ..Download::default()
    };
    assert!(!format!("{download:?}").contains("hunter2"));
    let value = ParameterValue::new("Device.WiFi.Password", "hunter2", XsdType::String);
    assert!(!format!("{value:?}").contains("hunter2"));
}

fn limited(limits: Limits, body: &str) -> Option<LimitKind> {
    let options = DecodeOptions {
        limits,
        ..DecodeOptions::new(Receiver::Acs)
    };
    match decode(body.as_bytes(), &options) {
        Err(DecodeError::Limit { kind, .. }) => Some(kind),
        other => {
            assert!(other.is_ok(), "{other:?}");
            None
        }
    }
}

#[test]
fn each_cap_holds_to_the_one() {
    let names = "<P><N>xx</N></P>".repeat(3);
    let body = format!(
        "<Envelope><Body><GetRPCMethodsResponse><MethodList><string>{}</string><string/></MethodList>\
         <Other>{names}</Other></GetRPCMethodsResponse></Body></Envelope>",
        "x".repeat(10),
    );
    let exact = Limits {
        depth: 6,
        bytes: body.len(),
        elements: 13,
        text: 10,
        parameters: 2,
    };
    assert_eq!(limited(exact, &body), None);
    for (limits, kind) in [
        (Limits { depth: 5, ..exact }, LimitKind::Depth),
        (
            Limits {
                bytes: body.len() - 1,
                ..exact
            },
            LimitKind::Bytes,
        ),
        (
            Limits {
                elements: 12,
                ..exact
            },
            LimitKind::Elements,
        ),
        (Limits { text: 9, ..exact }, LimitKind::Text),
        (
            Limits {
                parameters: 1,
                ..exact
            },
            LimitKind::Parameters,
        ),
    ] {
        assert_eq!(limited(limits, &body), Some(kind));
    }
}

#[test]
fn caps_hold_in_skipped_parts_too() {
    let deep = format!(
        "<Envelope><Body><X>{}</X></Body></Envelope>",
        "<a>".repeat(1000)
    );
    assert_eq!(limited(Limits::default(), &deep), Some(LimitKind::Depth));
    let many = format!(
        "<Envelope><Header>{}</Header><Body/></Envelope>",
        "<a/>".repeat(1000)
    );
    let limits = Limits {
        elements: 500,
        ..Limits::default()
    };
    assert_eq!(limited(limits, &many), Some(LimitKind::Elements));
    let nested = "<Envelope><Header><ID><a>".to_owned() + &"<b>".repeat(100);
    assert_eq!(limited(Limits::default(), &nested), Some(LimitKind::Depth));
}

#[test]
fn a_document_type_is_refused_wherever_it_stands() {
    for body in [
        "<!DOCTYPE a><Envelope/>",
        "<Envelope><!DOCTYPE a [<!ENTITY b 'c'>]><Body/></Envelope>",
        "<Envelope><Header><ID><!DOCTYPE a></ID></Header></Envelope>",
    ] {
        let error = decode(body.as_bytes(), &DecodeOptions::new(Receiver::Acs)).unwrap_err();
        assert_eq!(
            (&error, error.http_status()),
            (&DecodeError::Dtd, 400),
            "{body}"
        );
    }
}

#[test]
fn too_large_is_413() {
    let error = DecodeError::Limit {
        kind: LimitKind::Bytes,
        limit: 1,
    };
    assert_eq!(error.http_status(), 413);
    assert_eq!(
        error.to_string(),
        "bytes of the body exceeds the limit of 1"
    );
}
