//! How long the codec takes: `cargo bench -p hearth-cwmp`.
//!
//! Goals, on one core: an Inform of 3 KB read in at most 8 µs, a GetParameterValuesResponse of
//! 800 KB in at most 3 ms. The bodies are written out here as CPEs write them, indented.

use std::fmt::Write as _;
use std::hint::black_box;

use divan::Bencher;
use divan::counter::BytesCount;
use hearth_cwmp::{
    AcsRequest, CpeResponse, DecodeOptions, Envelope, GetParameterValues,
    GetParameterValuesResponse, Message, ParameterValue, Receiver, SetParameterValues, XsdType,
    decode, encode_into,
};

fn main() {
    divan::main();
}

const OPEN: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<soap-env:Envelope xmlns:soap-env="http://schemas.xmlsoap.org/soap/envelope/" xmlns:soap-enc="http://schemas.xmlsoap.org/soap/encoding/" xmlns:xsd="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:cwmp="urn:dslforum-org:cwmp-1-0">
  <soap-env:Header>
    <cwmp:ID soap-env:mustUnderstand="1">100</cwmp:ID>
  </soap-env:Header>
  <soap-env:Body>
"#;
const CLOSE: &str = "  </soap-env:Body>\n</soap-env:Envelope>\n";

fn parameters(out: &mut String, count: usize) {
    let _ = writeln!(
        out,
        r#"      <ParameterList soap-enc:arrayType="cwmp:ParameterValueStruct[{count}]">"#
    );
    for index in 0..count {
        let (value, kind) = match index % 4 {
            0 => ("0".to_owned(), "unsignedInt"),
            1 => (format!("192.168.1.{}", index % 255), "string"),
            2 => ("true".to_owned(), "boolean"),
            _ => (String::new(), "string"),
        };
        let _ = write!(
            out,
            "        <ParameterValueStruct>\n          <Name>Device.Hosts.Host.{index}.\
             X_Associated{index}</Name>\n          <Value xsi:type=\"xsd:{kind}\">{value}</Value>\n        \
             </ParameterValueStruct>\n"
        );
    }
    out.push_str("      </ParameterList>\n");
}

/// An Inform of about 3 KB: two events and a dozen parameters.
fn inform() -> String {
    let mut out = String::from(OPEN);
    out.push_str(
        r#"    <cwmp:Inform>
      <DeviceId>
        <Manufacturer>Example Networks</Manufacturer>
        <OUI>00D09E</OUI>
        <ProductClass>Home Gateway</ProductClass>
        <SerialNumber>EX0123456789</SerialNumber>
      </DeviceId>
      <Event soap-enc:arrayType="cwmp:EventStruct[2]">
        <EventStruct>
          <EventCode>1 BOOT</EventCode>
          <CommandKey></CommandKey>
        </EventStruct>
        <EventStruct>
          <EventCode>2 PERIODIC</EventCode>
          <CommandKey></CommandKey>
        </EventStruct>
      </Event>
      <MaxEnvelopes>1</MaxEnvelopes>
      <CurrentTime>2024-02-29T10:00:00Z</CurrentTime>
      <RetryCount>0</RetryCount>
"#,
    );
    parameters(&mut out, 10);
    out.push_str("    </cwmp:Inform>\n");
    out.push_str(CLOSE);
    out
}

/// A response of about 800 KB.
fn response() -> String {
    let mut out = String::from(OPEN);
    out.push_str("    <cwmp:GetParameterValuesResponse>\n");
    parameters(&mut out, 4700);
    out.push_str("    </cwmp:GetParameterValuesResponse>\n");
    out.push_str(CLOSE);
    out
}

fn read(bencher: Bencher<'_, '_>, body: &str) {
    let options = DecodeOptions::new(Receiver::Acs);
    bencher
        .counter(BytesCount::new(body.len()))
        .bench_local(|| decode(black_box(body.as_bytes()), &options));
}

#[divan::bench]
fn inform_3k(bencher: Bencher<'_, '_>) {
    read(bencher, &inform());
}

#[divan::bench]
fn gpv_response_800k(bencher: Bencher<'_, '_>) {
    read(bencher, &response());
}

/// Latin-1, which has to be converted first.
#[divan::bench]
fn inform_3k_latin1(bencher: Bencher<'_, '_>) {
    let mut body = inform().into_bytes();
    let at = body.windows(7).position(|w| w == b"Example").unwrap_or(0);
    body[at] = 0xC9;
    let options = DecodeOptions {
        charset: Some("ISO-8859-1"),
        ..DecodeOptions::new(Receiver::Acs)
    };
    bencher
        .counter(BytesCount::new(body.len()))
        .bench_local(|| decode(black_box(&body), &options));
}

fn write(bencher: Bencher<'_, '_>, message: Message) {
    let envelope = Envelope {
        id: Some("1".to_owned()),
        ..Envelope::new(message)
    };
    let mut out = Vec::new();
    let _ = encode_into(&envelope, &mut out);
    bencher
        .counter(BytesCount::new(out.len()))
        .bench_local(move || {
            out.clear();
            let result = encode_into(black_box(&envelope), &mut out);
            black_box(&out);
            result
        });
}

fn values(count: usize) -> Vec<ParameterValue> {
    (0..count)
        .map(|index| {
            ParameterValue::new(
                format!("Device.Hosts.Host.{index}.Name"),
                "a & b",
                XsdType::String,
            )
        })
        .collect()
}

#[divan::bench]
fn encode_get_parameter_values_100(bencher: Bencher<'_, '_>) {
    let parameter_names = values(100).into_iter().map(|value| value.name).collect();
    let request = AcsRequest::GetParameterValues(GetParameterValues { parameter_names });
    write(bencher, Message::AcsRequest(request));
}

#[divan::bench]
fn encode_set_parameter_values_100(bencher: Bencher<'_, '_>) {
    let request = AcsRequest::SetParameterValues(SetParameterValues {
        parameter_list: values(100),
        parameter_key: "key".to_owned(),
    });
    write(bencher, Message::AcsRequest(request));
}

#[divan::bench]
fn encode_gpv_response_5000(bencher: Bencher<'_, '_>) {
    let response = CpeResponse::GetParameterValues(GetParameterValuesResponse {
        parameter_list: values(5000),
    });
    write(bencher, Message::CpeResponse(response));
}
