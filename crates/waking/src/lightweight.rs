//! UDP Lightweight Notifications (TR-069 Annex M): a signed HTTP POST in a datagram, whose body is
//! `lwn:Notification` of `cwmp-UDPLightweightNotification-1-0.xsd`.

use crate::hex::{hmac_sha1, matches_hex};
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};
use std::ops::Range;

/// UDP port of lightweight notifications.
pub const PORT: u16 = 7547;
/// The longest datagram that is read.
pub const MAX: usize = 16 * 1024;
/// The most parameters of a notification.
const MAX_PARAMETERS: usize = 256;
/// The longest head.
const MAX_HEAD: usize = 4096;
/// Elements may stand this deep in each other.
const MAX_DEPTH: usize = 8;

/// Why a datagram is no notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Its head is not that of a POST with a body.
    #[error("not an HTTP POST with a body")]
    Head,
    /// There is no Signature.
    #[error("it has no Signature")]
    Unsigned,
    /// The body is no XML that is taken here.
    #[error("its body is not the XML of a notification")]
    Xml,
    /// An element is missing or has a content that is not allowed.
    #[error("its {0} is missing or wrong")]
    Element(&'static str),
    /// Too many parameters, or too deep.
    #[error("it is too large")]
    Limit,
}

/// A parameter's new value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameter {
    /// Full path.
    pub name: String,
    /// As it came.
    pub value: String,
    /// The local part of `xsi:type`, if there is one.
    pub kind: Option<String>,
}

/// A notification whose signature is still to be checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notification {
    /// Seconds since 1970 when it was made.
    pub ts: i64,
    /// ManagementServer.Username.
    pub username: String,
    /// Random text.
    pub cnonce: String,
    /// ManufacturerOUI.
    pub oui: String,
    /// ProductClass, may be empty.
    pub product_class: String,
    /// SerialNumber.
    pub serial_number: String,
    /// What changed; at least one.
    pub parameters: Vec<Parameter>,
    signature: String,
    body: Vec<u8>,
}

impl Notification {
    /// Reads a datagram. Nothing of it can be believed before [`Notification::is_signed_with`].
    ///
    /// # Errors
    /// [`Error`].
    pub fn parse(datagram: &[u8]) -> Result<Self, Error> {
        if datagram.len() > MAX {
            return Err(Error::Limit);
        }
        let (head, body) = split(datagram).ok_or(Error::Head)?;
        let head = std::str::from_utf8(datagram.get(head).ok_or(Error::Head)?);
        let mut lines = head.map_err(|_| Error::Head)?.lines();
        let mut start = lines.next().unwrap_or_default().split_ascii_whitespace();
        let is_post = start.next() == Some("POST");
        if !is_post || !start.last().is_some_and(|last| last.starts_with("HTTP/")) {
            return Err(Error::Head);
        }
        let headers: Vec<_> = lines.filter_map(|line| line.split_once(':')).collect();
        let header = |name: &str| {
            let found = headers
                .iter()
                .find(|(of, _)| of.trim().eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.trim())
        };
        let signature = header("signature")
            .ok_or(Error::Unsigned)?
            .trim_matches('"');
        let rest = datagram.get(body).ok_or(Error::Head)?;
        let length = header("content-length").and_then(|length| length.parse().ok());
        // A length that is counted in characters, or missing: the datagram's end is the end.
        let body = length.and_then(|length| rest.get(..length)).unwrap_or(rest);
        let text = std::str::from_utf8(body).map_err(|_| Error::Xml)?;
        let mut found = Self {
            signature: signature.to_owned(),
            body: body.to_vec(),
            ..read(text)?
        };
        found.oui = found.oui.to_ascii_uppercase();
        found.check()?;
        Ok(found)
    }

    fn check(&self) -> Result<(), Error> {
        let is_oui = self.oui.len() == 6 && self.oui.bytes().all(|b| b.is_ascii_hexdigit());
        let within = |text: &str, most: usize| (1..=most).contains(&text.chars().count());
        for (good, element) in [
            (self.ts > 0, "TS"),
            (within(&self.username, 256), "UN"),
            (within(&self.cnonce, 256), "CN"),
            (is_oui, "OUI"),
            (self.product_class.chars().count() <= 64, "ProductClass"),
            (within(&self.serial_number, 64), "SerialNumber"),
            (!self.parameters.is_empty(), "Param"),
            (self.parameters.iter().all(|p| within(&p.name, 256)), "Name"),
        ] {
            if !good {
                return Err(Error::Element(element));
            }
        }
        Ok(())
    }

    /// Whether Signature is HMAC-SHA1 of the body with this password (ManagementServer.Password).
    #[must_use]
    pub fn is_signed_with(&self, password: &str) -> bool {
        let mac = hmac_sha1(password.as_bytes(), &[&self.body]);
        matches_hex(&mac, &self.signature)
    }
}

/// Where head and body are: at the first blank line.
fn split(datagram: &[u8]) -> Option<(Range<usize>, Range<usize>)> {
    let within = datagram.get(..datagram.len().min(MAX_HEAD))?;
    let ends = [&b"\r\n\r\n"[..], b"\n\n"].into_iter().filter_map(|blank| {
        let at = within.windows(blank.len()).position(|w| w == blank)?;
        Some((0..at, at + blank.len()..datagram.len()))
    });
    ends.min_by_key(|(head, _)| head.end)
}

/// Reads the body. Elements are known by their local names, wherever they stand.
fn read(text: &str) -> Result<Notification, Error> {
    let mut xml = Reader::from_str(text.trim_start_matches('\u{feff}'));
    let mut found = Notification::default();
    let mut open: Vec<String> = Vec::new();
    let mut content = String::new();
    let mut seen_root = false;
    loop {
        match xml.read_event().map_err(|_| Error::Xml)? {
            Event::Start(start) => {
                begin(&mut found, &mut seen_root, &open, &start)?;
                open.push(local(&start));
                content.clear();
            }
            Event::Empty(start) => {
                begin(&mut found, &mut seen_root, &open, &start)?;
                end(&mut found, &local(&start), "")?;
            }
            Event::End(_) => {
                let name = open.pop().unwrap_or_default();
                end(&mut found, &name, &content)?;
                content.clear();
            }
            Event::Text(part) => content.push_str(&part.into_inner()),
            Event::CData(part) => content.push_str(&part.into_inner()),
            Event::GeneralRef(name) => content.push(reference(&name)?),
            Event::DocType(_) => return Err(Error::Xml),
            Event::Eof if open.is_empty() && seen_root => return Ok(found),
            Event::Eof => return Err(Error::Xml),
            _ => {}
        }
    }
}

fn begin(
    found: &mut Notification,
    seen_root: &mut bool,
    open: &[String],
    start: &BytesStart<'_>,
) -> Result<(), Error> {
    let name = start.local_name().into_inner().to_owned();
    if !*seen_root {
        *seen_root = true;
        return match name.as_str() {
            "Notification" => Ok(()),
            _ => Err(Error::Element("Notification")),
        };
    }
    if open.len() >= MAX_DEPTH {
        return Err(Error::Limit);
    }
    match name.as_str() {
        "Param" if found.parameters.len() >= MAX_PARAMETERS => Err(Error::Limit),
        "Param" => {
            found.parameters.push(Parameter::default());
            Ok(())
        }
        "Value" => {
            if let Some(parameter) = found.parameters.last_mut() {
                parameter.kind = kind_of(start);
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn end(found: &mut Notification, name: &str, content: &str) -> Result<(), Error> {
    let token = content.trim();
    match name {
        "TS" => found.ts = token.parse().map_err(|_| Error::Element("TS"))?,
        "UN" => token.clone_into(&mut found.username),
        "CN" => token.clone_into(&mut found.cnonce),
        "OUI" => token.clone_into(&mut found.oui),
        "ProductClass" => token.clone_into(&mut found.product_class),
        "SerialNumber" => token.clone_into(&mut found.serial_number),
        "Name" | "Value" => {
            let parameter = found.parameters.last_mut().ok_or(Error::Element("Param"))?;
            match name {
                "Name" => token.clone_into(&mut parameter.name),
                _ => content.clone_into(&mut parameter.value),
            }
        }
        _ => {}
    }
    Ok(())
}

fn local(start: &BytesStart<'_>) -> String {
    start.local_name().into_inner().to_owned()
}

/// The local part of an element's `xsi:type`.
fn kind_of(start: &BytesStart<'_>) -> Option<String> {
    let mut attributes = start.attributes();
    attributes.with_checks(false);
    let found = attributes.flatten().find(|attribute| {
        let key = attribute.key.0;
        key.rsplit_once(':').map_or(key, |(_, local)| local) == "type"
    })?;
    let value = found.value.trim();
    Some(
        value
            .rsplit_once(':')
            .map_or(value, |(_, local)| local)
            .to_owned(),
    )
}

/// The five entities and references to characters.
fn reference(name: &str) -> Result<char, Error> {
    let number = |digits: &str, radix| {
        let code = u32::from_str_radix(digits, radix).ok();
        // What XML 1.0 forbids (2.2) is no character here either.
        code.and_then(char::from_u32)
            .filter(|c| matches!(c, '\t' | '\n' | '\r') || *c >= ' ')
            .ok_or(Error::Xml)
    };
    match name {
        "amp" => Ok('&'),
        "lt" => Ok('<'),
        "gt" => Ok('>'),
        "quot" => Ok('"'),
        "apos" => Ok('\''),
        _ => match (name.strip_prefix("#x"), name.strip_prefix('#')) {
            (Some(hex), _) => number(hex, 16),
            (_, Some(decimal)) => number(decimal, 10),
            _ => Err(Error::Xml),
        },
    }
}
