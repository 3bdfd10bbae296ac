//! From the bytes of a body to text that an XML reader can take: character set, byte order mark,
//! junk around the document, characters that XML forbids. Clean UTF-8 is borrowed, not copied.

use std::borrow::Cow;

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE};

use crate::repairs::Repairs;

/// Whether XML 1.0 allows the character (XML 1.0, 2.2).
pub(crate) fn is_xml(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{1_0000}'..)
}

/// The document in `body`, from its first `<` on. `charset` is what Content-Type says.
pub(crate) fn to_text<'b>(
    body: &'b [u8],
    charset: Option<&str>,
    repairs: &mut Repairs,
) -> Cow<'b, str> {
    let encoding = choose(body, charset);
    let text = if encoding == UTF_8 {
        utf8(body, repairs)
    } else {
        repairs.charset = u32::from(!body.is_ascii());
        let (text, replaced) = encoding.decode_with_bom_removal(body);
        repairs.invalid_bytes += u32::from(replaced);
        text
    };
    let text = cut_trailing(cut_leading(text, repairs), repairs);
    replace_forbidden(text, repairs)
}

/// Content-Type, then byte order mark and pattern, then the XML declaration, then UTF-8. A label
/// that the bytes themselves refute (UTF-16 on single bytes) is passed over.
fn choose(body: &[u8], charset: Option<&str>) -> &'static Encoding {
    let wide = |encoding: &'static Encoding| encoding == UTF_16LE || encoding == UTF_16BE;
    let sixteen = match body {
        [0xFF, 0xFE, ..] | [b'<', 0, ..] => Some(UTF_16LE),
        [0xFE, 0xFF, ..] | [0, b'<', ..] => Some(UTF_16BE),
        _ => None,
    };
    if let Some(encoding) = sixteen {
        return encoding;
    }
    let named = charset
        .and_then(label)
        .filter(|encoding| !wide(encoding))
        .or_else(|| declared(body).and_then(label));
    named.filter(|encoding| !wide(encoding)).unwrap_or(UTF_8)
}

fn label(name: &str) -> Option<&'static Encoding> {
    Encoding::for_label_no_replacement(name.trim_matches(['"', '\'', ' ']).as_bytes())
}

/// The encoding of the XML declaration, looked for in the first bytes only.
fn declared(body: &[u8]) -> Option<&str> {
    let head = &body[..body.len().min(256)];
    let start = memchr::memmem::find(head, b"<?xml")?;
    let end = start + memchr::memmem::find(&head[start..], b"?>")?;
    let declaration = &head[start..end];
    let at = memchr::memmem::find(declaration, b"encoding")? + "encoding".len();
    let rest = std::str::from_utf8(&declaration[at..]).ok()?;
    let rest = rest.trim_start().strip_prefix('=')?.trim_start();
    let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    rest[1..].split(quote).next()
}

fn utf8<'b>(body: &'b [u8], repairs: &mut Repairs) -> Cow<'b, str> {
    if let Ok(text) = std::str::from_utf8(body) {
        return Cow::Borrowed(text);
    }
    repairs.invalid_bytes += body
        .utf8_chunks()
        .filter(|chunk| !chunk.invalid().is_empty())
        .fold(0_u32, |count, _| count.saturating_add(1));
    String::from_utf8_lossy(body)
}

/// Some clients send the terminating NUL of their C string, or a whole padded buffer.
fn cut_trailing<'b>(text: Cow<'b, str>, repairs: &mut Repairs) -> Cow<'b, str> {
    if !text.ends_with('\0') {
        return text;
    }
    repairs.trailing_junk = 1;
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.trim_end_matches('\0')),
        Cow::Owned(mut text) => {
            text.truncate(text.trim_end_matches('\0').len());
            Cow::Owned(text)
        }
    }
}

fn cut_leading<'b>(text: Cow<'b, str>, repairs: &mut Repairs) -> Cow<'b, str> {
    let Some(start) = memchr::memchr(b'<', text.as_bytes()).filter(|start| *start > 0) else {
        return text;
    };
    repairs.leading_junk = u32::from(!text[..start].trim().is_empty());
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(&text[start..]),
        Cow::Owned(mut text) => {
            text.drain(..start);
            Cow::Owned(text)
        }
    }
}

fn replace_forbidden<'b>(text: Cow<'b, str>, repairs: &mut Repairs) -> Cow<'b, str> {
    if !may_hold_forbidden(text.as_bytes()) || text.chars().all(is_xml) {
        return text;
    }
    let replaced = text
        .chars()
        .map(|c| {
            if is_xml(c) {
                return c;
            }
            repairs.control_characters = repairs.control_characters.saturating_add(1);
            char::REPLACEMENT_CHARACTER
        })
        .collect();
    Cow::Owned(replaced)
}

/// A quick look that is never wrong when it says no: controls other than blanks, or the byte
/// that starts U+FFFE and U+FFFF. Written so that the compiler can use wide registers.
fn may_hold_forbidden(bytes: &[u8]) -> bool {
    bytes.chunks(64).any(|chunk| {
        chunk.iter().fold(false, |found, &b| {
            let blank = b == b'\t' || b == b'\n' || b == b'\r';
            found | ((b < 0x20) & !blank) | (b == 0xEF)
        })
    })
}
