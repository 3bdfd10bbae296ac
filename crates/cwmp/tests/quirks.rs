//! One fixture for each oddity of real CPEs, with what is read from it and what it counts as.
#![allow(clippy::unwrap_used)]

use hearth_cwmp::{
    CpeRequest, CpeResponse, CwmpTime, CwmpVersion, DecodeError, DecodeOptions, Decoded, EventCode,
    Fault, FaultCode, FaultSource, Inform, Message, Namespace, Receiver, Repairs, XsdType,
    charset_parameter, decode, is_empty_post,
};

fn read(file: &str, charset: Option<&str>) -> Result<Decoded, DecodeError> {
    let path = format!("{}/tests/fixtures/{file}", env!("CARGO_MANIFEST_DIR"));
    let body = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    decode(
        &body,
        &DecodeOptions {
            charset,
            ..DecodeOptions::new(Receiver::Acs)
        },
    )
}

fn inform(decoded: &Decoded) -> &Inform {
    match &decoded.envelope.message {
        Message::CpeRequest(CpeRequest::Inform(inform)) => inform,
        other => panic!("no Inform but {other:?}"),
    }
}

/// What a fixture is expected to be, apart from its repairs.
type Check = fn(&Decoded) -> bool;

fn manufacturer(decoded: &Decoded, expected: &str) -> bool {
    inform(decoded).device_id.manufacturer == expected
}

fn value(decoded: &Decoded, expected: &str, xsd_type: XsdType) -> bool {
    let parameter = &inform(decoded).parameter_list[0];
    parameter.value == expected && parameter.xsd_type == xsd_type
}

fn fault(decoded: &Decoded) -> &Fault {
    match &decoded.envelope.message {
        Message::Fault(fault) => fault,
        other => panic!("no Fault but {other:?}"),
    }
}

type Row = (
    &'static str,
    &'static str,
    Option<&'static str>,
    &'static [(&'static str, u32)],
    Check,
);

/// Fixture, the fact it stands for, charset of Content-Type, repairs it counts, what is read.
#[rustfmt::skip]
const READ: &[Row] = &[
    ("clean.xml", "nothing to repair", None, &[],
        |d| manufacturer(d, "Acme") && d.envelope.id.as_deref() == Some("7") && d.envelope.namespace == Namespace::V1_0),
    ("charset-content-type.xml", "Content-Type's charset comes first", Some("ISO-8859-1"), &[("charset", 1)],
        |d| manufacturer(d, "Téléco")),
    ("charset-declaration.xml", "then the XML declaration's", None, &[("charset", 1)],
        |d| manufacturer(d, "Téléco")),
    ("charset-declaration.xml", "a charset nobody knows is passed over", Some("klingon"), &[("charset", 1)],
        |d| manufacturer(d, "Téléco")),
    ("charset-utf16le-bom.xml", "UTF-16 with a byte order mark", None, &[("charset", 1)],
        |d| manufacturer(d, "Téléco")),
    ("charset-utf16be.xml", "UTF-16 without one", Some("utf-16"), &[("charset", 1)],
        |d| manufacturer(d, "Téléco")),
    ("charset-utf16-only-said.xml", "bytes refute a label of UTF-16", None, &[],
        |d| manufacturer(d, "Téléco")),
    ("bom-utf8.xml", "a byte order mark before UTF-8", None, &[("leading_junk", 1)],
        |d| manufacturer(d, "Téléco")),
    ("leading-junk.xml", "junk before the document", None, &[("leading_junk", 1)],
        |d| manufacturer(d, "Acme")),
    ("trailing-nuls.xml", "the NULs of a C buffer", None, &[("trailing_junk", 1)],
        |d| manufacturer(d, "Acme")),
    ("trailing-junk.xml", "junk after the document", None, &[("trailing_junk", 1)],
        |d| manufacturer(d, "Acme")),
    ("control-characters.xml", "control characters are replaced", None, &[("control_characters", 2)],
        |d| manufacturer(d, "Ac\u{FFFD}m\u{FFFD}e")),
    ("invalid-utf8.xml", "bytes that are no UTF-8 are replaced", None, &[("invalid_bytes", 1)],
        |d| manufacturer(d, "Ac\u{FFFD}me")),
    ("bare-ampersand.xml", "a bare & is itself", None, &[("bare_ampersands", 3)],
        |d| manufacturer(d, "A & B &co &")),
    ("unknown-entity.xml", "five entities and no more", None, &[("bad_references", 2)],
        |d| manufacturer(d, "A&nbsp;&AB\u{FFFD}")),
    ("foreign-prefixes.xml", "any prefix, and cwmp-1-4 is answered in kind", None, &[],
        |d| manufacturer(d, "Acme") && d.envelope.namespace == Namespace::from_minor(4) && value(d, "1.0", XsdType::String)),
    ("no-namespace.xml", "without a namespace it is CWMP 1.0", None, &[("missing_namespace", 1)],
        |d| manufacturer(d, "Acme") && d.envelope.namespace == Namespace::V1_0),
    ("id-not-numeric.xml", "cwmp:ID is any text, kept verbatim", None, &[],
        |d| d.envelope.id.as_deref() == Some(" {a-b}/Ü 1 ")),
    ("no-id.xml", "without cwmp:ID there is none to echo", None, &[],
        |d| d.envelope.id.is_none()),
    ("no-header.xml", "no SOAP Header", None, &[("missing_header", 1)],
        |d| d.envelope.id.is_none() && manufacturer(d, "Acme")),
    ("no-more-requests.xml", "NoMoreRequests is ignored", None, &[],
        |d| d.envelope.id.as_deref() == Some("7")),
    ("versions.xml", "versions as a list with blanks", None, &[("bad_headers", 1)],
        |d| d.envelope.session_timeout == Some(60)
            && d.envelope.supported_versions.len() == 4
            && CwmpVersion::choose(&d.envelope.supported_versions) == Some(CwmpVersion::new(1, 4))),
    ("array-type-padded.xml", "arrayType with a padded count", None, &[],
        |d| inform(d).event.len() == 1),
    ("array-type-wrong.xml", "arrayType lies: the elements are counted", None, &[("array_counts", 2)],
        |d| inform(d).event.len() == 1 && inform(d).parameter_list.len() == 1),
    ("array-type-missing.xml", "arrayType missing", None, &[("array_counts", 2)],
        |d| inform(d).event.len() == 1 && inform(d).parameter_list.len() == 1),
    ("xsi-type-missing.xml", "xsi:type missing: the type is not known", None, &[("missing_types", 1)],
        |d| value(d, "1.0", XsdType::Other)),
    ("xsi-type-odd.xml", "a type that CWMP has not", None, &[("odd_types", 1)],
        |d| value(d, "1.0", XsdType::Int)),
    ("xsi-type-other-prefix.xml", "xs: for xsd:, and blanks around a number", None, &[],
        |d| value(d, "10", XsdType::UnsignedInt)),
    ("cdata.xml", "CDATA, with text after it", None, &[],
        |d| value(d, "<a> & b <c>", XsdType::String)),
    ("comments.xml", "comments and instructions inside a value", None, &[],
        |d| value(d, "1.0", XsdType::String)),
    ("line-ends.xml", "line ends as XML wants them", None, &[],
        |d| value(d, "a\nb\nc\rd", XsdType::String)),
    ("names-with-blanks.xml", "blanks around names and codes; # and : inside", None, &[("surrounding_blanks", 2)],
        |d| inform(d).parameter_list[0].name == "Device.X_A#1:b.Name" && inform(d).event[0].code() == EventCode::Periodic),
    ("vendor-events.xml", "no event code is refused", None, &[],
        |d| inform(d).event[1].code() == EventCode::Vendor("X 00D09E Fan")
            && inform(d).event[2].code() == EventCode::Method("X_00D09E_Do") && inform(d).event[2].command_key == "k"),
    ("inform-missing-elements.xml", "ProductClass, CommandKey, CurrentTime and lists may be missing", None,
        &[("missing_elements", 7)],
        |d| inform(d).device_id.product_class.is_empty() && inform(d).current_time == CwmpTime::default() && inform(d).retry_count == 0),
    ("value-missing.xml", "a parameter without Value is not known, an empty one is", None, &[("missing_elements", 1)],
        |d| matches!(&d.envelope.message, Message::CpeResponse(CpeResponse::GetParameterValues(r))
            if r.parameter_list[0].xsd_type == XsdType::Other && r.parameter_list[1].xsd_type == XsdType::String)),
    ("download-response-bare.xml", "times missing from DownloadResponse", None, &[("missing_elements", 2)],
        |d| matches!(&d.envelope.message, Message::CpeResponse(CpeResponse::Download(r))
            if r.status == 1 && r.complete_time == CwmpTime::default())),
    ("spv-response-empty.xml", "Status missing", None, &[("missing_elements", 1)],
        |d| matches!(&d.envelope.message, Message::CpeResponse(CpeResponse::SetParameterValues(r)) if r.status == 0)),
    ("transfer-complete-no-fault.xml", "FaultStruct missing is success", None, &[("missing_elements", 3)],
        |d| matches!(&d.envelope.message, Message::CpeRequest(CpeRequest::TransferComplete(t))
            if t.command_key == "k1" && t.fault_struct.is_success())),
    ("booleans.xml", "booleans as words and numbers, in any case", None, &[],
        |d| matches!(&d.envelope.message, Message::CpeResponse(CpeResponse::GetParameterNames(r))
            if r.parameter_list.iter().map(|p| p.writable).eq([true, false, true, false]))),
    ("fault-without-detail.xml", "a Fault without detail", None, &[("missing_elements", 1)],
        |d| fault(d).code == FaultCode::UNSPECIFIED && fault(d).source == FaultSource::Client
            && fault(d).string.as_deref() == Some("no such thing")),
    ("fault-first-parameter-only.xml", "9003 and one bad parameter", None, &[],
        |d| fault(d).code == FaultCode::INVALID_ARGUMENTS && fault(d).parameters.len() == 1
            && fault(d).parameters[0].fault_code == FaultCode::INVALID_PARAMETER_VALUE),
    ("fault-bare.xml", "a CWMP Fault without the SOAP one", None, &[],
        |d| fault(d).code == FaultCode::INVALID_PARAMETER_NAME),
    ("unknown-element.xml", "elements that nobody knows are skipped", None, &[("unknown_elements", 1)],
        |d| manufacturer(d, "Acme")),
    ("tail-cut.xml", "cut short after the message (Content-Length in characters)", None, &[("truncated_tail", 1)],
        |d| manufacturer(d, "Acme") && inform(d).parameter_list.len() == 1),
    ("unknown-method.xml", "an unknown method is named, for fault 8000", None, &[],
        |d| d.envelope.message == Message::Unknown { method: "X_00D09E_Ask".to_owned() } && d.envelope.id.as_deref() == Some("7")),
];

#[test]
fn each_quirk_is_read_and_counted() {
    for (file, fact, charset, repairs, check) in READ {
        let decoded =
            read(file, *charset).unwrap_or_else(|error| panic!("{file} ({fact}): {error}"));
        let counted: Vec<_> = decoded
            .repairs
            .iter()
            .filter(|(_, count)| *count > 0)
            .collect();
        assert_eq!(&counted, repairs, "{file} ({fact})");
        assert!(check(&decoded), "{file} ({fact}): {decoded:#?}");
    }
}

/// Fixture, the fact, HTTP status, whether an ACS answers with fault 8003.
const REFUSED: &[(&str, &str, u16, bool)] = &[
    ("bad-number.xml", "a number that is none", 200, true),
    (
        "bad-no-serial.xml",
        "a device without serial number",
        200,
        true,
    ),
    (
        "bad-empty-body.xml",
        "an envelope without a message",
        200,
        true,
    ),
    ("not-xml.xml", "no XML at all", 400, false),
    ("not-well-formed.xml", "tags that don't match", 400, false),
    (
        "not-complete.xml",
        "cut short within the message",
        400,
        false,
    ),
    ("not-soap.xml", "XML, but no envelope", 400, false),
    (
        "dtd.xml",
        "a document type, and entities of its own",
        400,
        false,
    ),
];

#[test]
fn what_cannot_be_read_gets_a_fault_or_400() {
    for (file, fact, status, answered) in REFUSED {
        let error = read(file, None).expect_err(fact);
        assert_eq!(error.http_status(), *status, "{file}: {error}");
        let fault = error.fault();
        assert_eq!(fault.is_some(), *answered, "{file}: {error}");
        if let Some(fault) = fault {
            assert_eq!(fault.id.as_deref(), Some("7"), "{file}");
            let expected = Fault::new(FaultCode::ACS_INVALID_ARGUMENTS);
            assert_eq!(fault.message, Message::Fault(expected), "{file}");
        }
    }
}

#[test]
fn every_fixture_is_in_a_table() {
    let dir = format!("{}/tests/fixtures", env!("CARGO_MANIFEST_DIR"));
    for entry in std::fs::read_dir(dir).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let known = READ.iter().any(|row| row.0 == name) || REFUSED.iter().any(|row| row.0 == name);
        assert!(known, "{name} is in no table");
    }
}

#[test]
fn repairs_count_together() {
    let repairs = Repairs {
        bare_ampersands: 2,
        charset: 1,
        ..Repairs::default()
    };
    assert_eq!(repairs.total(), 3);
    assert!(!repairs.is_clean());
}

#[test]
fn the_charset_parameter_is_found_in_any_spelling() {
    for (header, expected) in [
        ("text/xml; charset=utf-8", Some("utf-8")),
        ("text/xml;CHARSET = \"ISO-8859-1\"; x=y", Some("ISO-8859-1")),
        ("text/xml; action=\"a\" ;charset='utf-16'", Some("utf-16")),
        ("text/xml; charset=", None),
        ("text/xml", None),
        ("", None),
    ] {
        assert_eq!(charset_parameter(header), expected, "{header}");
    }
}

#[test]
fn an_empty_post_holds_nothing_but_blanks() {
    assert!(is_empty_post(b"") && is_empty_post(b" \r\n\t"));
    assert!(!is_empty_post(b"<a/>") && !is_empty_post(b"\0"));
}
