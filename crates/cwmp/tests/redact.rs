//! Redaction: no secret is left wherever it stood, and what is left reads as before.
#![allow(clippy::unwrap_used)]

use hearth_cwmp::redact::{Known, RedactError, Rules, redact};
use hearth_cwmp::{DecodeOptions, Limits, Message, Receiver, decode};
use proptest::prelude::*;

const MASK: &str = "********";

fn secret(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name).to_ascii_lowercase();
    last.contains("password") || last.contains("passphrase")
}

fn personal(name: &str) -> bool {
    name.ends_with(".HostName")
}

fn rules(strict: bool) -> Rules<'static> {
    Rules {
        secret: &secret,
        personal: &personal,
        mask: MASK,
        strict,
        limits: Limits::default(),
    }
}

fn clean(body: &str, known: &mut Known) -> String {
    redact(body.as_bytes(), None, &rules(false), known).unwrap()
}

fn envelope(body: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><!-- a remark -->\
         <s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\" \
         xmlns:cwmp=\"urn:dslforum-org:cwmp-1-2\" xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" \
         xmlns:xsd=\"http://www.w3.org/2001/XMLSchema\">\
         <s:Header><cwmp:ID s:mustUnderstand=\"1\">7</cwmp:ID></s:Header><s:Body>{body}</s:Body></s:Envelope>"
    )
}

fn values(list: &[(&str, &str)]) -> String {
    let values: String = list
        .iter()
        .map(|(name, value)| {
            format!(
                "<ParameterValueStruct><Name>{name}</Name><Value xsi:type=\"xsd:string\">{value}</Value>\
                 </ParameterValueStruct>"
            )
        })
        .collect();
    envelope(&format!(
        "<cwmp:GetParameterValuesResponse><ParameterList>{values}</ParameterList>\
         </cwmp:GetParameterValuesResponse>"
    ))
}

#[test]
fn secrets_personal_data_and_urls_are_taken_out_and_the_rest_stays() {
    let body = values(&[
        ("Device.Users.User.1.Password", "hunter22"),
        ("Device.Hosts.Host.1.HostName", "annas-phone"),
        (
            "Device.X.Url",
            "see http://u:p4ss@h.example:7547/cr/abc?x=1 and ftp://h",
        ),
        ("Device.X.Note", "the word is hunter22, A&amp;B"),
        ("Device.DeviceInfo.UpTime", "7"),
    ]);
    let clean = clean(&body, &mut Known::default());
    for gone in [
        "hunter22",
        "annas-phone",
        "p4ss",
        "abc",
        "remark",
        "ISO-8859-1",
    ] {
        assert!(!clean.contains(gone), "{gone} in {clean}");
    }
    assert!(clean.contains(&format!("see http://h.example:7547/{MASK} and ftp://h")));
    assert!(clean.contains(&format!("the word is {MASK}, A&amp;B")));
    let read = |text: &str| decode(text.as_bytes(), &DecodeOptions::new(Receiver::Acs)).unwrap();
    let Message::CpeResponse(response) = read(&clean).envelope.message else {
        panic!("{clean}")
    };
    assert_eq!(response.method(), "GetParameterValuesResponse");
    assert_eq!(read(&clean).repairs, read(&clean.clone()).repairs);
}

#[test]
fn a_value_before_its_name_and_one_without_are_masked() {
    let body = envelope(
        "<cwmp:X><A><Value>first-secret</Value><Name>Device.Password</Name></A>\
         <B><Value>orphan-secret</Value></B></cwmp:X>",
    );
    let clean = clean(&body, &mut Known::default());
    assert!(!clean.contains("secret"), "{clean}");
}

#[test]
fn what_is_found_once_is_taken_out_later_too() {
    let mut known = Known::default();
    let download = "<cwmp:Download><CommandKey>k</CommandKey><URL>http://h/f/ticket</URL>\
        <Username>uploader</Username><Password>Zaphod-42</Password></cwmp:Download>";
    let first = clean(&envelope(download), &mut known);
    assert!(!first.contains("Zaphod") && !first.contains("uploader") && !first.contains("ticket"));
    let fault = "<s:Fault><faultstring>CWMP fault</faultstring><detail><cwmp:Fault>\
        <FaultCode>9012</FaultCode><FaultString>login uploader/Zaphod-42 refused</FaultString>\
        </cwmp:Fault></detail></s:Fault>";
    let later = clean(&envelope(fault), &mut known);
    assert!(
        later.contains(&format!("login {MASK}/{MASK} refused")),
        "{later}"
    );
    assert!(later.contains("9012"));
    let strict = redact(
        envelope(fault).as_bytes(),
        None,
        &rules(true),
        &mut Known::default(),
    );
    assert!(!strict.unwrap().contains("Zaphod"));
}

#[test]
fn what_cant_be_read_is_not_kept() {
    let dtd = "<!DOCTYPE a [<!ENTITY x \"y\">]><a>&x;</a>";
    for bad in ["", "no xml", "<a></b>", dtd] {
        let result = redact(bad.as_bytes(), None, &rules(false), &mut Known::default());
        assert!(
            matches!(result, Err(RedactError::Unread(_) | RedactError::Empty)),
            "{bad}"
        );
    }
    let many: Vec<_> = (0..1100).map(|n| format!("secret-{n}")).collect();
    let many: Vec<_> = many
        .iter()
        .map(|value| ("D.Password", value.as_str()))
        .collect();
    let result = redact(
        values(&many).as_bytes(),
        None,
        &rules(false),
        &mut Known::default(),
    );
    assert_eq!(result, Err(RedactError::Secrets));
}

/// Ways to write a text.
fn written(text: &str, way: u8) -> String {
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;");
    match way % 4 {
        0 => escaped,
        1 => format!("<![CDATA[{}]]>", text.replace("]]>", "")),
        2 => text
            .chars()
            .map(|c| format!("&#{};", u32::from(c)))
            .collect(),
        _ => format!(" \n{escaped}\t"),
    }
}

proptest! {
    #[test]
    fn random_secrets_in_random_places_never_appear(
        secrets in prop::collection::vec("[A-Za-z0-9&<._-]{6,24}", 1..6),
        places in prop::collection::vec((0u8..7, 0u8..4, 0usize..6), 1..20),
    ) {
        // Distinct from all that the envelope says.
        let secrets: Vec<String> = secrets.iter().map(|one| format!("q{}Z!{one}", one.len())).collect();
        let mut first = String::new();
        let mut second = String::new();
        for one in &secrets {
            // Each stands once where its name tells what it is, behind all else.
            second.push_str(&format!(
                "<ParameterValueStruct><Name>Device.Users.User.1.Password</Name><Value>{}</Value></ParameterValueStruct>",
                written(one, 0)
            ));
        }
        for (place, way, which) in places {
            let one = &secrets[which % secrets.len()];
            let text = written(one, way);
            first.push_str(&match place {
                0 => format!("<P><Name>Device.X.Note</Name><Value>so {text} it is</Value></P>"),
                1 => format!("<P><Value>{text}</Value><Name>Device.A.Passphrase</Name></P>"),
                2 => format!("<FaultString>bad {text}</FaultString>"),
                3 => format!("<Username>{text}</Username>"),
                4 => format!("<CommandKey>{text}</CommandKey>"),
                5 => format!("<Name>{text}</Name>"),
                _ => format!("<Deep><Deeper>{text}</Deeper>tail {text}</Deep>"),
            });
        }
        let body = envelope(&format!("<cwmp:X>{first}<List>{second}</List></cwmp:X>"));
        let mut known = Known::default();
        let clean = redact(body.as_bytes(), None, &rules(false), &mut known).unwrap();
        // And in a later one, where nothing tells.
        let later = envelope(&format!("<cwmp:Y><Z>{}</Z></cwmp:Y>", written(&secrets[0], 2)));
        let later = redact(later.as_bytes(), None, &rules(false), &mut known).unwrap();
        for one in &secrets {
            let escaped = one.replace('&', "&amp;").replace('<', "&lt;");
            for text in [&clean, &later] {
                prop_assert!(!text.contains(one.as_str()) && !text.contains(&escaped), "{one} in {text}");
            }
        }
    }
}
