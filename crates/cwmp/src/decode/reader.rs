//! The pull reader underneath the decoder: elements and texts in order, over quick-xml, with
//! the caps applied and the repairs counted.
//!
//! [`XmlReader::child`] steps to the next child of the element that is open. Whoever gets an
//! element reads it to its end: with [`XmlReader::text`], with [`XmlReader::skip`], or by asking
//! for its children until there are none.

use std::borrow::Cow;

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use crate::limits::{LimitKind, Limits};
use crate::repairs::Repairs;

/// Why reading stopped, before it is known what envelope it was.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Not well-formed, at this byte of the converted text.
    NotXml { position: u64, reason: String },
    /// It has a document type declaration.
    Dtd,
    /// One of the caps.
    Limit { kind: LimitKind, limit: usize },
    /// Well-formed, but the content of a message is wrong.
    Content {
        element: String,
        reason: &'static str,
    },
}

impl Failure {
    pub(crate) fn missing(element: &str) -> Self {
        Self::Content {
            element: element.to_owned(),
            reason: "is missing",
        }
    }

    pub(crate) fn invalid(element: &str, expected: &'static str) -> Self {
        Self::Content {
            element: element.to_owned(),
            reason: expected,
        }
    }
}

/// The start of an element.
pub(crate) struct Element<'a> {
    start: BytesStart<'a>,
}

impl Element<'_> {
    /// Its name without prefix. CPEs use any prefix, so that namespaces decide nothing.
    pub(crate) fn local(&self) -> &str {
        self.start.local_name().into_inner()
    }

    /// Its name as it stands.
    pub(crate) fn name(&self) -> &str {
        self.start.name().into_inner()
    }

    /// The local part of xsi:type. The usual spelling is found without parsing attributes.
    pub(crate) fn xsi_type(&self) -> Option<&str> {
        let raw = self.start.attributes_raw();
        if let Some(rest) = raw.strip_prefix(r#" xsi:type="xsd:"#)
            && let Some(end) = memchr::memchr(b'"', rest.as_bytes())
        {
            return Some(&rest[..end]);
        }
        let value = self.attribute("type")?.trim();
        Some(
            value
                .rsplit_once(':')
                .map_or(value, |(_, local)| local)
                .trim(),
        )
    }

    /// The size in soap-enc:arrayType, such as 3 in `cwmp:EventStruct[3]` and in `[0003]`.
    pub(crate) fn array_size(&self) -> Option<usize> {
        let value = self.attribute("arrayType")?;
        let (_, size) = value.rsplit_once('[')?;
        size.trim_end().strip_suffix(']')?.trim().parse().ok()
    }

    /// Every attribute's key and raw value.
    pub(crate) fn attributes(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut attributes = self.start.attributes();
        // Names that occur twice hurt nobody here.
        attributes.with_checks(false);
        attributes
            .filter_map(Result::ok)
            .filter_map(|attribute| match attribute.value {
                Cow::Borrowed(value) => Some((attribute.key.0, value)),
                Cow::Owned(_) => None,
            })
    }

    fn attribute(&self, local: &str) -> Option<&str> {
        self.attributes()
            .find(|(key, _)| key.rsplit_once(':').map_or(*key, |(_, name)| name) == local)
            .map(|(_, value)| value)
    }
}

/// What stands in a document, for who keeps all of it.
pub(crate) enum Piece<'a> {
    /// An element begins; an empty one ends at once.
    Start(Element<'a>),
    /// Text, references resolved.
    Text(String),
    /// The open element ends.
    End,
    /// The document ends.
    Eof,
}

/// See the module.
pub(crate) struct XmlReader<'a> {
    xml: Reader<&'a [u8]>,
    limits: Limits,
    pub(crate) repairs: Repairs,
    depth: usize,
    elements: usize,
    items: usize,
    /// The element just opened was `<empty/>`: its end is due although the text has none.
    end_due: bool,
}

impl<'a> XmlReader<'a> {
    pub(crate) fn new(text: &'a str, limits: Limits, repairs: Repairs) -> Self {
        let mut xml = Reader::from_str(text);
        xml.config_mut().allow_dangling_amp = true;
        Self {
            xml,
            limits,
            repairs,
            depth: 0,
            elements: 0,
            items: 0,
            end_due: false,
        }
    }

    /// How many elements are open.
    pub(crate) fn depth(&self) -> usize {
        self.depth
    }

    /// How many bytes of the text are read.
    pub(crate) fn position(&self) -> usize {
        usize::try_from(self.xml.buffer_position()).unwrap_or(usize::MAX)
    }

    /// The next child of the open element, which is then the open one. `None` at the open
    /// element's end, which is then closed. Text between elements is passed over.
    pub(crate) fn child(&mut self) -> Result<Option<Element<'a>>, Failure> {
        if self.close_empty() {
            return Ok(None);
        }
        // Blanks between elements are a third of all events, and nobody wants them.
        self.xml.config_mut().trim_text_start = true;
        loop {
            match self.event()? {
                Event::Start(start) => {
                    self.opened()?;
                    return Ok(Some(Element { start }));
                }
                Event::Empty(start) => {
                    self.opened()?;
                    self.end_due = true;
                    return Ok(Some(Element { start }));
                }
                Event::End(_) => {
                    self.depth -= 1;
                    return Ok(None);
                }
                Event::Eof => return Err(self.broken("the text ends inside an element")),
                _ => {}
            }
        }
    }

    /// What comes next, blanks included. Comments and instructions are passed over.
    pub(crate) fn piece(&mut self) -> Result<Piece<'a>, Failure> {
        if self.close_empty() {
            return Ok(Piece::End);
        }
        self.xml.config_mut().trim_text_start = false;
        loop {
            return Ok(match self.event()? {
                Event::Start(start) => {
                    self.opened()?;
                    Piece::Start(Element { start })
                }
                Event::Empty(start) => {
                    self.opened()?;
                    self.end_due = true;
                    Piece::Start(Element { start })
                }
                Event::End(_) => {
                    self.depth -= 1;
                    Piece::End
                }
                Event::Text(part) => Piece::Text(part.into_inner().into_owned()),
                Event::CData(part) => Piece::Text(part.into_inner().into_owned()),
                Event::GeneralRef(reference) => {
                    let mut text = String::new();
                    self.reference(&reference, &mut text);
                    Piece::Text(text)
                }
                Event::Eof => Piece::Eof,
                _ => continue,
            });
        }
    }

    /// Reads the open element's text to its end: what stands in it, CDATA included, with
    /// references resolved and line ends as XML wants them. Borrowed unless something changed.
    pub(crate) fn text(&mut self) -> Result<Cow<'a, str>, Failure> {
        if self.close_empty() {
            return Ok(Cow::Borrowed(""));
        }
        let mut text = Cow::Borrowed("");
        loop {
            // In here blanks count; passing over an unknown child turns it on again.
            self.xml.config_mut().trim_text_start = false;
            match self.event()? {
                Event::Text(part) => {
                    let part = part.into_inner();
                    // quick-xml hands over a bare `&` at the start of a text.
                    self.repairs.bare_ampersands += u32::from(part.starts_with('&'));
                    append(&mut text, normal_line_ends(part));
                }
                Event::CData(part) => append(&mut text, normal_line_ends(part.into_inner())),
                Event::GeneralRef(reference) => self.reference(&reference, text.to_mut()),
                Event::Start(_) => {
                    self.opened()?;
                    self.skip_unknown()?;
                }
                Event::Empty(_) => {
                    self.opened()?;
                    self.depth -= 1;
                    self.repairs.unknown_elements += 1;
                }
                Event::End(_) => {
                    self.depth -= 1;
                    return Ok(text);
                }
                Event::Eof => return Err(self.broken("the text ends inside an element")),
                _ => {}
            }
            if text.len() > self.limits.text {
                return Err(self.limit(LimitKind::Text, self.limits.text));
            }
        }
    }

    /// Like [`XmlReader::text`], without the blanks around it.
    pub(crate) fn token(&mut self) -> Result<Cow<'a, str>, Failure> {
        let text = self.text()?;
        let trimmed = text.trim_matches(is_blank);
        if trimmed.len() == text.len() {
            return Ok(text);
        }
        self.repairs.surrounding_blanks += 1;
        Ok(match text {
            Cow::Borrowed(text) => Cow::Borrowed(text.trim_matches(is_blank)),
            Cow::Owned(text) => Cow::Owned(text.trim_matches(is_blank).to_owned()),
        })
    }

    /// Passes over the open element to its end.
    pub(crate) fn skip(&mut self) -> Result<(), Failure> {
        let outside = self.depth - 1;
        while self.depth > outside {
            self.child()?;
        }
        Ok(())
    }

    /// Passes over an element that has no meaning here.
    pub(crate) fn skip_unknown(&mut self) -> Result<(), Failure> {
        self.repairs.unknown_elements += 1;
        self.skip()
    }

    /// Counts one item of an array against the cap.
    pub(crate) fn count_item(&mut self) -> Result<(), Failure> {
        self.items += 1;
        if self.items > self.limits.parameters {
            return Err(self.limit(LimitKind::Parameters, self.limits.parameters));
        }
        Ok(())
    }

    /// Counts an array whose arrayType doesn't tell its true size. The elements decide.
    pub(crate) fn check_array_size(&mut self, declared: Option<usize>, found: usize) {
        self.repairs.array_counts += u32::from(declared != Some(found));
    }

    fn event(&mut self) -> Result<Event<'a>, Failure> {
        match self.xml.read_event() {
            Ok(Event::DocType(_)) => Err(Failure::Dtd),
            Ok(event) => Ok(event),
            Err(error) => Err(Failure::NotXml {
                position: self.xml.error_position(),
                reason: error.to_string(),
            }),
        }
    }

    fn opened(&mut self) -> Result<(), Failure> {
        self.depth += 1;
        self.elements += 1;
        if self.depth > self.limits.depth {
            return Err(self.limit(LimitKind::Depth, self.limits.depth));
        }
        if self.elements > self.limits.elements {
            return Err(self.limit(LimitKind::Elements, self.limits.elements));
        }
        Ok(())
    }

    fn close_empty(&mut self) -> bool {
        let due = std::mem::take(&mut self.end_due);
        self.depth -= usize::from(due);
        due
    }

    /// Resolves the five entities and character references; anything else stays as it stands.
    fn reference(&mut self, name: &str, text: &mut String) {
        let character = match name {
            "amp" => Some('&'),
            "lt" => Some('<'),
            "gt" => Some('>'),
            "quot" => Some('"'),
            "apos" => Some('\''),
            _ => name.strip_prefix('#').and_then(|number| {
                let code = match number.strip_prefix(['x', 'X']) {
                    Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                    None => number.parse().ok()?,
                };
                let allowed = char::from_u32(code).filter(|c| super::charset::is_xml(*c));
                // A reference to a forbidden character stands for something lost.
                self.repairs.bad_references += u32::from(allowed.is_none());
                Some(allowed.unwrap_or(char::REPLACEMENT_CHARACTER))
            }),
        };
        if let Some(character) = character {
            text.push(character);
        } else {
            self.repairs.bad_references += 1;
            text.push('&');
            text.push_str(name);
            text.push(';');
        }
    }

    fn broken(&self, reason: &str) -> Failure {
        Failure::NotXml {
            position: self.xml.buffer_position(),
            reason: reason.to_owned(),
        }
    }

    fn limit(&self, kind: LimitKind, limit: usize) -> Failure {
        Failure::Limit { kind, limit }
    }
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn append<'a>(text: &mut Cow<'a, str>, part: Cow<'a, str>) {
    if text.is_empty() {
        *text = part;
    } else {
        text.to_mut().push_str(&part);
    }
}

/// CR LF and CR are LF (XML 1.0, 2.11). References to CR are kept, and are not seen here.
fn normal_line_ends(text: Cow<'_, str>) -> Cow<'_, str> {
    if memchr::memchr(b'\r', text.as_bytes()).is_none() {
        return text;
    }
    Cow::Owned(text.replace("\r\n", "\n").replace('\r', "\n"))
}
