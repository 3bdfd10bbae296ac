//! Writing envelopes, strictly: exactly five prefixes declared on the Envelope, no XML
//! declaration (one CPE rejects it), unqualified children in schema order, true array counts,
//! lengths checked. Old CPEs match text, not namespaces, so the prefixes are literal.

use std::fmt::{self, Display};
use std::io::Write as _;
use std::ops::RangeInclusive;

use crate::fault::Fault;
use crate::message::{Envelope, Message};

/// Content-Type of every envelope, faults included.
pub const CONTENT_TYPE: &str = "text/xml; charset=utf-8";

/// Why an envelope can't be written. The field's value itself is never part of the error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A text is longer than TR-069 allows.
    #[error("{method}: {field} has {length} characters, at most {max} are allowed")]
    TooLong {
        /// RPC method.
        method: &'static str,
        /// The field, under its TR-069 name.
        field: &'static str,
        /// Its length in characters.
        length: usize,
        /// The longest that fits.
        max: usize,
    },
    /// A text holds a character that XML can't carry at all.
    #[error("{method}: {field} holds U+{character:04X}, which XML cannot carry")]
    Character {
        /// RPC method.
        method: &'static str,
        /// The field, under its TR-069 name.
        field: &'static str,
        /// The character's code point.
        character: u32,
    },
    /// A number outside its range.
    #[error("{method}: {field} is {value}, allowed is {least} to {most}")]
    OutOfRange {
        /// RPC method.
        method: &'static str,
        /// The field, under its TR-069 name.
        field: &'static str,
        /// The number.
        value: String,
        /// The least allowed.
        least: String,
        /// The most allowed.
        most: String,
    },
    /// A list with too few or too many items.
    #[error("{method}: {field} has {count} items, allowed are {}", allowed(*least, *most))]
    Count {
        /// RPC method.
        method: &'static str,
        /// The list, under its TR-069 name.
        field: &'static str,
        /// Its items.
        count: usize,
        /// The fewest allowed.
        least: usize,
        /// The most allowed; `usize::MAX` for any number.
        most: usize,
    },
    /// A text that isn't of the form TR-069 asks for.
    #[error("{method}: {field} must be {expected}")]
    Invalid {
        /// RPC method.
        method: &'static str,
        /// The field, under its TR-069 name.
        field: &'static str,
        /// What it must be.
        expected: &'static str,
    },
    /// [`Message::Unknown`] has no content that could be written.
    #[error("a message of an unknown method cannot be written")]
    Unknown,
}

fn allowed(least: usize, most: usize) -> String {
    if most == usize::MAX {
        format!("{least} or more")
    } else {
        format!("{least} to {most}")
    }
}

impl EncodeError {
    /// Names the list instead of its item's element.
    pub(crate) fn in_list(mut self, list: &'static str) -> Self {
        match &mut self {
            Self::TooLong { field, .. }
            | Self::Character { field, .. }
            | Self::OutOfRange { field, .. }
            | Self::Count { field, .. }
            | Self::Invalid { field, .. } => *field = list,
            Self::Unknown => {}
        }
        self
    }
}

/// Writes an envelope into new bytes.
///
/// # Errors
/// The first field that doesn't fit TR-069; see [`EncodeError`].
pub fn encode(envelope: &Envelope) -> Result<Vec<u8>, EncodeError> {
    let mut out = Vec::with_capacity(1024);
    encode_into(envelope, &mut out)?;
    Ok(out)
}

/// Appends an envelope to `out`. On error `out` is as it was.
///
/// # Errors
/// The first field that doesn't fit TR-069; see [`EncodeError`].
pub fn encode_into(envelope: &Envelope, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let start = out.len();
    let mut writer = Writer {
        out,
        method: envelope.message.method(),
    };
    let result = writer.envelope(envelope);
    if result.is_err() {
        writer.out.truncate(start);
    }
    result
}

/// Appends elements to a buffer, checking what goes in.
pub(crate) struct Writer<'o> {
    out: &'o mut Vec<u8>,
    /// The method being written, for errors.
    method: &'static str,
}

impl Writer<'_> {
    fn envelope(&mut self, envelope: &Envelope) -> Result<(), EncodeError> {
        self.raw(concat!(
            r#"<soap-env:Envelope xmlns:soap-env="http://schemas.xmlsoap.org/soap/envelope/""#,
            r#" xmlns:soap-enc="http://schemas.xmlsoap.org/soap/encoding/""#,
            r#" xmlns:xsd="http://www.w3.org/2001/XMLSchema""#,
            r#" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:cwmp=""#,
        ));
        self.display(&envelope.namespace);
        self.raw("\">");
        self.header(envelope)?;
        self.raw("<soap-env:Body>");
        match &envelope.message {
            Message::CpeRequest(message) => message.write(self)?,
            Message::CpeResponse(message) => message.write(self)?,
            Message::AcsRequest(message) => message.write(self)?,
            Message::AcsResponse(message) => message.write(self)?,
            Message::Fault(fault) => self.fault(fault)?,
            Message::Unknown { .. } => return Err(EncodeError::Unknown),
        }
        self.raw("</soap-env:Body></soap-env:Envelope>");
        Ok(())
    }

    fn header(&mut self, envelope: &Envelope) -> Result<(), EncodeError> {
        self.raw("<soap-env:Header>");
        if let Some(id) = &envelope.id {
            self.header_text("ID", 1, id)?;
        }
        if let Some(hold) = envelope.hold_requests {
            self.header_text("HoldRequests", 1, if hold { "1" } else { "0" })?;
        }
        if let Some(seconds) = envelope.session_timeout {
            self.header_text("SessionTimeout", 0, &seconds.to_string())?;
        }
        if !envelope.supported_versions.is_empty() {
            let versions: Vec<_> = envelope
                .supported_versions
                .iter()
                .map(ToString::to_string)
                .collect();
            self.header_text("SupportedCWMPVersions", 0, &versions.join(","))?;
        }
        if let Some(version) = envelope.use_version {
            self.header_text("UseCWMPVersion", 1, &version.to_string())?;
        }
        self.raw("</soap-env:Header>");
        Ok(())
    }

    fn header_text(&mut self, name: &'static str, must: u8, text: &str) -> Result<(), EncodeError> {
        self.raw("<cwmp:");
        self.raw(name);
        self.raw(if must == 1 {
            r#" soap-env:mustUnderstand="1">"#
        } else {
            r#" soap-env:mustUnderstand="0">"#
        });
        self.text(name, text)?;
        self.raw("</cwmp:");
        self.raw(name);
        self.raw(">");
        Ok(())
    }

    /// The SOAP fault of TR-069 3.5, whose faultstring is always the same.
    fn fault(&mut self, fault: &Fault) -> Result<(), EncodeError> {
        self.raw("<soap-env:Fault><faultcode>soap-env:");
        self.raw(fault.source.name());
        self.raw("</faultcode><faultstring>CWMP fault</faultstring><detail><cwmp:Fault>");
        crate::wire::Wire::write(fault, self)?;
        self.raw("</cwmp:Fault></detail></soap-env:Fault>");
        Ok(())
    }

    /// A method's element without children.
    pub(crate) fn empty_method(&mut self, name: &'static str) {
        self.raw("<cwmp:");
        self.raw(name);
        self.raw("/>");
    }

    /// A method's element around what `content` writes.
    pub(crate) fn method<T: crate::wire::Wire>(
        &mut self,
        name: &'static str,
        content: &T,
    ) -> Result<(), EncodeError> {
        self.raw("<cwmp:");
        self.raw(name);
        self.raw(">");
        content.write(self)?;
        self.raw("</cwmp:");
        self.raw(name);
        self.raw(">");
        Ok(())
    }

    pub(crate) fn open(&mut self, name: &'static str) {
        self.raw("<");
        self.raw(name);
        self.raw(">");
    }

    pub(crate) fn open_typed(&mut self, name: &'static str, xsi_type: &'static str) {
        self.raw("<");
        self.raw(name);
        self.raw(r#" xsi:type=""#);
        self.raw(xsi_type);
        self.raw("\">");
    }

    pub(crate) fn open_array(
        &mut self,
        name: &'static str,
        prefix: &'static str,
        item: &'static str,
        count: usize,
    ) {
        self.raw("<");
        self.raw(name);
        self.raw(r#" soap-enc:arrayType=""#);
        self.raw(prefix);
        self.raw(item);
        self.raw("[");
        self.display(&count);
        self.raw("]\">");
    }

    pub(crate) fn close(&mut self, name: &'static str) {
        self.raw("</");
        self.raw(name);
        self.raw(">");
    }

    pub(crate) fn text_element(
        &mut self,
        name: &'static str,
        text: &str,
        max: usize,
    ) -> Result<(), EncodeError> {
        // The byte length decides nearly always; characters are counted only beyond it.
        if text.len() > max {
            let length = text.chars().count();
            if length > max {
                return Err(EncodeError::TooLong {
                    method: self.method,
                    field: name,
                    length,
                    max,
                });
            }
        }
        self.open(name);
        self.text(name, text)?;
        self.close(name);
        Ok(())
    }

    pub(crate) fn number_element<T: Display>(&mut self, name: &'static str, number: &T) {
        self.open(name);
        self.display(number);
        self.close(name);
    }

    /// Escaped text. A carriage return is written as a reference, since XML readers turn a bare
    /// one into a line feed.
    pub(crate) fn text(&mut self, field: &'static str, text: &str) -> Result<(), EncodeError> {
        let bytes = text.as_bytes();
        let mut done = 0;
        for (at, &byte) in bytes.iter().enumerate() {
            let escaped = match byte {
                b'&' => "&amp;",
                b'<' => "&lt;",
                b'>' => "&gt;",
                b'\r' => "&#13;",
                b'\t' | b'\n' => continue,
                // U+FFFE and U+FFFF, the only forbidden ones in valid UTF-8 above the controls.
                0xEF if matches!(bytes.get(at + 1..at + 3), Some([0xBF, 0xBE | 0xBF])) => {
                    let character = 0xFFC0 | u32::from(bytes[at + 2] & 0x3F);
                    return Err(EncodeError::Character {
                        method: self.method,
                        field,
                        character,
                    });
                }
                0..0x20 => {
                    let character = u32::from(byte);
                    return Err(EncodeError::Character {
                        method: self.method,
                        field,
                        character,
                    });
                }
                _ => continue,
            };
            self.out.extend_from_slice(&bytes[done..at]);
            self.raw(escaped);
            done = at + 1;
        }
        self.out.extend_from_slice(&bytes[done..]);
        Ok(())
    }

    pub(crate) fn invalid(&self, field: &'static str, expected: &'static str) -> EncodeError {
        EncodeError::Invalid {
            method: self.method,
            field,
            expected,
        }
    }

    pub(crate) fn out_of_range<T: Display>(
        &self,
        field: &'static str,
        value: &T,
        least: &T,
        most: &T,
    ) -> EncodeError {
        EncodeError::OutOfRange {
            method: self.method,
            field,
            value: value.to_string(),
            least: least.to_string(),
            most: most.to_string(),
        }
    }

    pub(crate) fn check_count(
        &self,
        field: &'static str,
        count: usize,
        allowed: RangeInclusive<usize>,
    ) -> Result<(), EncodeError> {
        if allowed.contains(&count) {
            return Ok(());
        }
        Err(EncodeError::Count {
            method: self.method,
            field,
            count,
            least: *allowed.start(),
            most: *allowed.end(),
        })
    }

    fn raw(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    fn display(&mut self, value: &impl fmt::Display) {
        // Writing to a Vec cannot fail.
        let _ = write!(self.out, "{value}");
    }
}
