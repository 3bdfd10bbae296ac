//! Envelopes as CPEs write them.
#![allow(dead_code)]

/// An envelope around a method's element.
pub fn envelope(id: &str, body: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\
         <SOAP-ENV:Envelope xmlns:SOAP-ENV=\"http://schemas.xmlsoap.org/soap/envelope/\" \
         xmlns:SOAP-ENC=\"http://schemas.xmlsoap.org/soap/encoding/\" \
         xmlns:xsd=\"http://www.w3.org/2001/XMLSchema\" \
         xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" \
         xmlns:cwmp=\"urn:dslforum-org:cwmp-1-2\"><SOAP-ENV:Header>\
         <cwmp:ID SOAP-ENV:mustUnderstand=\"1\">{id}</cwmp:ID></SOAP-ENV:Header>\
         <SOAP-ENV:Body>{body}</SOAP-ENV:Body></SOAP-ENV:Envelope>"
    )
}

/// An Inform of a device with this serial number and these events.
pub fn inform_of(serial: &str, events: &[&str]) -> String {
    envelope("1", &inform_body("0000CA", "Router", serial, events))
}

/// An Inform of the usual device.
pub fn inform() -> String {
    inform_of("0001", &["2 PERIODIC"])
}

pub const DEVICE: &str = "0000CA-Router-0001";

pub fn inform_body(oui: &str, class: &str, serial: &str, events: &[&str]) -> String {
    let events: String = events
        .iter()
        .map(|code| {
            format!("<EventStruct><EventCode>{code}</EventCode><CommandKey/></EventStruct>")
        })
        .collect();
    format!(
        "<cwmp:Inform><DeviceId><Manufacturer>Acme</Manufacturer><OUI>{oui}</OUI>\
         <ProductClass>{class}</ProductClass><SerialNumber>{serial}</SerialNumber></DeviceId>\
         <Event SOAP-ENC:arrayType=\"cwmp:EventStruct[1]\">{events}</Event>\
         <MaxEnvelopes>1</MaxEnvelopes><CurrentTime>2027-01-15T08:00:00Z</CurrentTime>\
         <RetryCount>0</RetryCount><ParameterList SOAP-ENC:arrayType=\"cwmp:ParameterValueStruct[3]\">\
         {}{}{}</ParameterList></cwmp:Inform>",
        value("Device.DeviceInfo.SoftwareVersion", "1.0"),
        value("Device.ManagementServer.ParameterKey", "key-1"),
        value(
            "Device.ManagementServer.ConnectionRequestPassword",
            "Trillian"
        ),
    )
}

pub fn value(name: &str, value: &str) -> String {
    format!(
        "<ParameterValueStruct><Name>{name}</Name>\
         <Value xsi:type=\"xsd:string\">{value}</Value></ParameterValueStruct>"
    )
}
