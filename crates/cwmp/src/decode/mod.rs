//! Reading envelopes, leniently: elements by local name under any prefix, character sets and
//! junk put right, missing elements defaulted. What was put right is counted in [`Repairs`].
//! Document types are refused, only XML's five entities exist, and [`Limits`] cap the rest.
//!
//! A response of many parameters is read in one pass from the body into its final structure;
//! there is no tree in between.

pub(crate) mod charset;
pub(crate) mod reader;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) use charset::is_xml;

use crate::fault::{Fault, FaultCode};
use crate::limits::{LimitKind, Limits};
use crate::message::{AcsRequest, AcsResponse, CpeRequest, CpeResponse, Envelope, Message};
use crate::namespace::{CwmpVersion, Namespace};
use crate::repairs::Repairs;
use crate::wire::{Wire, kinds};
use reader::{Element, Failure, XmlReader};

/// Who reads. A GetRPCMethods looks the same in both directions, so this decides; what only the
/// other side may receive is an unknown method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receiver {
    /// Reads CPE requests, CPE responses and faults.
    Acs,
    /// Reads ACS requests, ACS responses and faults.
    Cpe,
}

/// How to read one body.
#[derive(Clone, Copy, Debug)]
pub struct DecodeOptions<'o> {
    /// Who reads.
    pub receiver: Receiver,
    /// The charset parameter of Content-Type, if there is one.
    pub charset: Option<&'o str>,
    /// Caps.
    pub limits: Limits,
}

impl DecodeOptions<'_> {
    /// For a receiver, with the default caps and no charset parameter.
    pub fn new(receiver: Receiver) -> Self {
        Self {
            receiver,
            charset: None,
            limits: Limits::default(),
        }
    }
}

/// An envelope, and what was put right in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// The envelope.
    pub envelope: Envelope,
    /// What was tolerated.
    pub repairs: Repairs,
}

/// Why a body is not an envelope with a message. What to answer: [`DecodeError::fault`], and
/// where that is `None`, [`DecodeError::http_status`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not well-formed XML.
    #[error("not XML at byte {position}: {reason}")]
    NotXml {
        /// Byte of the text, after conversion to UTF-8 and without leading junk.
        position: u64,
        /// What is wrong there.
        reason: String,
    },
    /// XML, but no SOAP envelope with a body.
    #[error("not a SOAP envelope: {0}")]
    NotEnvelope(&'static str),
    /// A document type declaration, which SOAP forbids.
    #[error("a document type declaration is not allowed")]
    Dtd,
    /// More than the caps allow.
    #[error("{kind} exceeds the limit of {limit}")]
    Limit {
        /// Which cap.
        kind: LimitKind,
        /// Its value.
        limit: usize,
    },
    /// An envelope whose message is wrong: fault 8003 (or 9003 of a CPE), under the same ID.
    #[error("{method}: {element}: {reason}")]
    Content {
        /// cwmp:ID of the envelope.
        id: Option<String>,
        /// Namespace to answer in.
        namespace: Namespace,
        /// The method's name as it came.
        method: String,
        /// The element that is missing or wrong.
        element: String,
        /// What it should have been.
        reason: &'static str,
    },
}

impl DecodeError {
    /// The HTTP status for what deserves no SOAP answer: 400, or 413 for too large a body.
    /// 200 where there is a [fault](Self::fault) to send.
    pub fn http_status(&self) -> u16 {
        match self {
            Self::Content { .. } => 200,
            Self::Limit {
                kind: LimitKind::Bytes,
                ..
            } => 413,
            _ => 400,
        }
    }

    /// The answer of an ACS, where the envelope was understood well enough for one.
    pub fn fault(&self) -> Option<Envelope> {
        match self {
            Self::Content { id, namespace, .. } => Some(Envelope {
                id: id.clone(),
                namespace: *namespace,
                ..Envelope::new(Message::Fault(Fault::new(FaultCode::ACS_INVALID_ARGUMENTS)))
            }),
            _ => None,
        }
    }
}

/// Reads the body of an HTTP message, content coding removed. An empty or blank body is no
/// envelope: see [`is_empty_post`].
///
/// # Errors
/// See [`DecodeError`]. A method this side doesn't know is no error but [`Message::Unknown`].
pub fn decode(body: &[u8], options: &DecodeOptions<'_>) -> Result<Decoded, DecodeError> {
    let limits = options.limits;
    if body.len() > limits.bytes {
        return Err(DecodeError::Limit {
            kind: LimitKind::Bytes,
            limit: limits.bytes,
        });
    }
    let mut repairs = Repairs::default();
    let text = charset::to_text(body, options.charset, &mut repairs);
    let xml = XmlReader::new(&text, limits, repairs);
    let mut reading = Reading {
        xml,
        envelope: Envelope::new(Message::Unknown {
            method: String::new(),
        }),
        seen_namespace: false,
    };
    match reading.envelope(options.receiver) {
        Ok(()) => {
            let mut repairs = reading.xml.repairs;
            if text[reading.xml.position().min(text.len())..]
                .chars()
                .any(|c| !c.is_whitespace())
            {
                repairs.trailing_junk = 1;
            }
            Ok(Decoded {
                envelope: reading.envelope,
                repairs,
            })
        }
        Err(stop) => Err(reading.error(stop)),
    }
}

/// Whether a body is an empty POST: nothing, or nothing but blanks (TR-069 3.7.1.4).
pub fn is_empty_post(body: &[u8]) -> bool {
    body.iter().all(u8::is_ascii_whitespace)
}

/// The charset parameter of a Content-Type header, for [`DecodeOptions::charset`].
pub fn charset_parameter(content_type: &str) -> Option<&str> {
    content_type.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        let value = value.trim().trim_matches(['"', '\'']).trim();
        (name.trim().eq_ignore_ascii_case("charset") && !value.is_empty()).then_some(value)
    })
}

/// Why an envelope was not read.
enum Stop {
    Failure(Failure),
    NotEnvelope(&'static str),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

/// One envelope being read; what is known of it goes into errors too.
struct Reading<'a> {
    xml: XmlReader<'a>,
    envelope: Envelope,
    seen_namespace: bool,
}

impl Reading<'_> {
    fn envelope(&mut self, receiver: Receiver) -> Result<(), Stop> {
        let Some(root) = self.xml.child()? else {
            return Err(Stop::NotEnvelope("there is no element"));
        };
        if root.local() != "Envelope" {
            return Err(Stop::NotEnvelope("the root is not an Envelope"));
        }
        self.look_for_namespace(&root);
        let mut header = false;
        loop {
            let Some(part) = self.xml.child()? else {
                return Err(Stop::NotEnvelope("there is no Body"));
            };
            match part.local() {
                "Header" => {
                    header = true;
                    self.look_for_namespace(&part);
                    self.header()?;
                }
                "Body" => {
                    self.look_for_namespace(&part);
                    break;
                }
                _ => self.xml.skip_unknown()?,
            }
        }
        self.xml.repairs.missing_header = u32::from(!header);
        self.body(receiver)?;
        self.tail();
        Ok(())
    }

    fn header(&mut self) -> Result<(), Failure> {
        while let Some(element) = self.xml.child()? {
            self.look_for_namespace(&element);
            match element.local() {
                "ID" => self.envelope.id = Some(self.xml.text()?.into_owned()),
                "HoldRequests" => {
                    let hold = kinds::boolean::parse(&self.xml.text()?);
                    self.envelope.hold_requests = self.counted(hold);
                }
                "SessionTimeout" => {
                    let seconds = self.xml.text()?.trim().parse().ok();
                    self.envelope.session_timeout = self.counted(seconds);
                }
                "SupportedCWMPVersions" => {
                    let text = self.xml.text()?;
                    for version in text.split(',').map(CwmpVersion::parse) {
                        let version = self.counted(version);
                        self.envelope.supported_versions.extend(version);
                    }
                }
                "UseCWMPVersion" => {
                    let version = CwmpVersion::parse(&self.xml.text()?);
                    self.envelope.use_version = self.counted(version);
                }
                // Old clients still send it; it has no meaning since Amendment 1.
                "NoMoreRequests" => self.xml.skip()?,
                _ => self.xml.skip_unknown()?,
            }
        }
        Ok(())
    }

    /// A header that can't be read is left out: none of them is worth a session.
    fn counted<T>(&mut self, value: Option<T>) -> Option<T> {
        self.xml.repairs.bad_headers += u32::from(value.is_none());
        value
    }

    fn body(&mut self, receiver: Receiver) -> Result<(), Failure> {
        let Some(element) = self.xml.child()? else {
            return Err(Failure::missing("method"));
        };
        self.look_for_namespace(&element);
        self.xml.repairs.missing_namespace = u32::from(!self.seen_namespace);
        let name = element.local();
        self.envelope.message = Message::Unknown {
            method: name.to_owned(),
        };
        let xml = &mut self.xml;
        let message = if name == "Fault" {
            Some(Message::Fault(Fault::read(xml)?))
        } else {
            match receiver {
                Receiver::Acs => match CpeRequest::read(name, xml)? {
                    Some(request) => Some(Message::CpeRequest(request)),
                    None => CpeResponse::read(name, xml)?.map(Message::CpeResponse),
                },
                Receiver::Cpe => match AcsRequest::read(name, xml)? {
                    Some(request) => Some(Message::AcsRequest(request)),
                    None => AcsResponse::read(name, xml)?.map(Message::AcsResponse),
                },
            }
        };
        match message {
            Some(message) => self.envelope.message = message,
            None => self.xml.skip()?,
        }
        Ok(())
    }

    /// The rest of the envelope. The message is complete by now, so that a body cut short (a
    /// Content-Length counted in characters) is worth reading all the same.
    fn tail(&mut self) {
        while self.xml.depth() > 0 {
            match self.xml.child() {
                Ok(Some(_)) => self.xml.repairs.unknown_elements += 1,
                Ok(None) => {}
                Err(_) => {
                    self.xml.repairs.truncated_tail = 1;
                    return;
                }
            }
        }
    }

    /// CPEs declare the CWMP namespace anywhere down to the method, under any prefix.
    fn look_for_namespace(&mut self, element: &Element<'_>) {
        if self.seen_namespace {
            return;
        }
        let namespace = element
            .attributes()
            .filter(|(key, _)| key.starts_with("xmlns"))
            .find_map(|(_, uri)| Namespace::parse(uri));
        if let Some(namespace) = namespace {
            self.envelope.namespace = namespace;
            self.seen_namespace = true;
        }
    }

    fn error(self, stop: Stop) -> DecodeError {
        match stop {
            Stop::NotEnvelope(what) => DecodeError::NotEnvelope(what),
            Stop::Failure(Failure::NotXml { position, reason }) => {
                DecodeError::NotXml { position, reason }
            }
            Stop::Failure(Failure::Dtd) => DecodeError::Dtd,
            Stop::Failure(Failure::Limit { kind, limit }) => DecodeError::Limit { kind, limit },
            Stop::Failure(Failure::Content { element, reason }) => {
                let Envelope {
                    id,
                    namespace,
                    message,
                    ..
                } = self.envelope;
                let method = match message {
                    Message::Unknown { method } => method,
                    other => other.method().to_owned(),
                };
                DecodeError::Content {
                    id,
                    namespace,
                    method,
                    element,
                    reason,
                }
            }
        }
    }
}
