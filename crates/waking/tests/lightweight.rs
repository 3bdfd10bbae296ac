//! Lightweight notifications as devices send them, and as others might.

#![allow(clippy::unwrap_used)]

use hearth_waking::lightweight::{Error, Notification};
use hearth_waking::{hmac_sha1, to_hex};
use proptest::prelude::*;

const BODY: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<lwn:Notification xmlns:lwn="urn:broadband-forum-org:cwmp:lwnotif-1-0" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
  <TS>1795384800</TS>
  <UN>00D09E-Router-1</UN>
  <CN>aa77&amp;bb</CN>
  <OUI>00d09e</OUI>
  <ProductClass>Router</ProductClass>
  <SerialNumber>1</SerialNumber>
  <Param>
    <Name>Device.DeviceInfo.UpTime</Name>
    <Value xsi:type="xsd:unsignedInt">17</Value>
  </Param>
  <lwn:Param>
    <lwn:Name>Device.DeviceInfo.X_00D09E_Note</lwn:Name>
    <lwn:Value> a &lt;b&gt; &#xe9; <![CDATA[&amp;]]></lwn:Value>
  </lwn:Param>
</lwn:Notification>"#;

fn datagram(body: &str, password: &str) -> Vec<u8> {
    let signature = to_hex(&hmac_sha1(password.as_bytes(), &[body.as_bytes()]));
    let length = body.len();
    format!(
        "POST / HTTP/1.1\r\nHOST: acs.example.org:7547\r\nContent-Type: text/xml; charset=\"utf-8\"\r\n\
         SIGNATURE: {signature}\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// TR-069 Annex M; the schema of the Forum has the elements unqualified.
#[test]
fn a_notification_is_read_and_its_signature_checked() {
    let found = Notification::parse(&datagram(BODY, "secret")).unwrap();
    assert_eq!(found.ts, 1_795_384_800);
    assert_eq!(found.username, "00D09E-Router-1");
    assert_eq!(found.cnonce, "aa77&bb");
    assert_eq!(
        (found.oui.as_str(), found.serial_number.as_str()),
        ("00D09E", "1")
    );
    assert_eq!(found.parameters.len(), 2);
    assert_eq!(found.parameters[0].kind.as_deref(), Some("unsignedInt"));
    assert_eq!(found.parameters[0].value, "17");
    assert_eq!(found.parameters[1].name, "Device.DeviceInfo.X_00D09E_Note");
    assert_eq!(found.parameters[1].value, " a <b> \u{e9} &amp;");
    assert!(found.is_signed_with("secret"));
    assert!(!found.is_signed_with("Secret"));
    assert!(!found.is_signed_with(""));
}

/// Bare line feeds, a length in characters, upper-case hex.
#[test]
fn sloppy_senders_are_read() {
    let text = String::from_utf8(datagram(BODY, "secret")).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let head = head
        .replace("\r\n", "\n")
        .replace("Content-Length: ", "content-length:9");
    let found = Notification::parse(format!("{head}\n\n{body}").as_bytes()).unwrap();
    assert!(found.is_signed_with("secret"));
    let signature = to_hex(&hmac_sha1(b"secret", &[BODY.as_bytes()]));
    let upper = text.replace(&signature, &signature.to_ascii_uppercase());
    assert!(
        Notification::parse(upper.as_bytes())
            .unwrap()
            .is_signed_with("secret")
    );
    // What stands behind the length is not of the body.
    let more = [text.as_bytes(), b"\0\0"].concat();
    assert!(Notification::parse(&more).unwrap().is_signed_with("secret"));
}

#[test]
fn every_change_breaks_the_signature() {
    for (from, to) in [("17<", "18<"), ("<TS>1", "<TS>2"), ("UpTime", "Uptime")] {
        let text = String::from_utf8(datagram(BODY, "secret")).unwrap();
        let found = Notification::parse(text.replacen(from, to, 1).as_bytes()).unwrap();
        assert!(!found.is_signed_with("secret"), "{from}");
    }
}

#[test]
fn what_is_none_is_refused() {
    let refused = |body: &str| Notification::parse(&datagram(body, "p")).unwrap_err();
    assert_eq!(refused(""), Error::Xml);
    assert_eq!(refused("<a/>"), Error::Element("Notification"));
    assert_eq!(refused("<Notification/>"), Error::Element("TS"));
    assert_eq!(
        refused("<Notification><TS>x</TS></Notification>"),
        Error::Element("TS")
    );
    let dtd = format!("<!DOCTYPE a [<!ENTITY b \"c\">]>{BODY}");
    assert_eq!(
        refused(&dtd.replace("<?xml version=\"1.0\" encoding=\"UTF-8\"?>", "")),
        Error::Xml
    );
    assert_eq!(refused(&BODY.replace("&lt;", "&b;")), Error::Xml);
    assert_eq!(
        refused(&BODY.replace("00d09e", "00d0")),
        Error::Element("OUI")
    );
    assert_eq!(
        refused(
            &BODY
                .replace("<Name>", "<Other>")
                .replace("</Name>", "</Other>")
        ),
        Error::Element("Name")
    );
    let many = "<Param><Name>a</Name></Param>".repeat(257);
    assert_eq!(
        refused(&format!("<Notification>{many}</Notification>")),
        Error::Limit
    );
    let deep = format!("<Notification>{}", "<a>".repeat(20));
    assert_eq!(refused(&deep), Error::Limit);
    assert_eq!(
        Notification::parse(b"GET / HTTP/1.1\r\nSignature: a\r\n\r\n"),
        Err(Error::Head)
    );
    assert_eq!(
        Notification::parse(b"POST / HTTP/1.1\r\n\r\n<a/>"),
        Err(Error::Unsigned)
    );
    assert_eq!(Notification::parse(&[b'a'; 20_000]), Err(Error::Limit));
}

proptest! {
    #[test]
    fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Notification::parse(&bytes);
    }

    #[test]
    fn no_body_panics(body in "(<|>|/|Notification|Param|Name|Value|TS|a|&|;|#x|9|!|\\[|\"| |\\?|-){0,60}") {
        let _ = Notification::parse(&datagram(&body, "p"));
        let _ = Notification::parse(&datagram(&format!("<Notification>{body}</Notification>"), "p"));
    }

    #[test]
    fn a_cut_or_changed_datagram_is_never_believed(cut in 0usize..1300, byte in any::<u8>()) {
        let whole = datagram(BODY, "secret");
        let cut = cut.min(whole.len() - 1);
        if let Ok(found) = Notification::parse(&whole[..cut]) {
            prop_assert!(!found.is_signed_with("secret"));
        }
        let mut changed = whole.clone();
        changed[cut] ^= byte;
        if let Ok(found) = Notification::parse(&changed) && found.is_signed_with("secret") {
            // Only the head may differ.
            let original = Notification::parse(&whole).unwrap();
            prop_assert_eq!(found.parameters, original.parameters);
        }
    }
}
