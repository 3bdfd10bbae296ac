//! A turn as text (`docs/capture.md`).

use std::fmt::Write as _;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use hearth_cwmp::Limits;
use hearth_cwmp::redact::{Known, Rules, redact};
use hearth_types::MASK;
use http::header::{self, HeaderMap, HeaderName};
use http::request::Parts;
use http_body::Body as _;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

use super::rules::{Wanted, is_secret};
use crate::heard::Heard;
use crate::http::Reply;
use crate::refusal::Refusal;

/// The longest body that is redacted, in bytes: it is held as a tree meanwhile.
const MAX_READ: usize = 1 << 20;
/// The most of a body that is kept, in bytes.
const MAX_BODY: usize = 64 << 10;
/// The longest value of a header that is kept, in characters.
const MAX_VALUE: usize = 200;
/// Headers that are kept.
const MAX_HEADERS: usize = 40;
/// Headers whose values may be seen. All others may hold what proves an identity: the session's
/// cookie, a proxy's signed line, a certificate.
const SHOWN: [HeaderName; 17] = [
    header::HOST,
    header::USER_AGENT,
    header::CONTENT_TYPE,
    header::CONTENT_LENGTH,
    header::CONTENT_ENCODING,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
    header::EXPECT,
    header::ACCEPT,
    header::ACCEPT_ENCODING,
    header::CACHE_CONTROL,
    header::PRAGMA,
    header::DATE,
    header::SERVER,
    header::TE,
    header::RETRY_AFTER,
    HeaderName::from_static("soapaction"),
];

/// One direction of a turn.
#[derive(Debug, Default)]
pub(super) struct Half {
    pub text: String,
    /// Something of it is not there.
    pub cut: bool,
}

/// How bodies are redacted.
pub(super) struct Redactor<'r> {
    pub known: &'r Mutex<Known>,
    pub wanted: &'r Wanted,
    pub strict: bool,
    /// Whether bodies are kept at all.
    pub keep: bool,
}

impl Redactor<'_> {
    fn clean(&self, body: &[u8], charset: Option<&str>) -> Result<String, String> {
        if !self.keep {
            return Err("the capture of this session is full".to_owned());
        }
        if body.len() > MAX_READ {
            return Err("it is too large".to_owned());
        }
        let personal = |path: &str| self.wanted.is_personal(path);
        let rules = Rules {
            secret: &is_secret,
            personal: &personal,
            mask: MASK,
            strict: self.strict,
            limits: Limits::default(),
        };
        redact(body, charset, &rules, &mut self.known.lock()).map_err(|error| error.to_string())
    }
}

/// What the device sent.
pub(super) fn of_device(
    parts: &Parts,
    body: &[u8],
    heard: &Heard,
    redactor: &Redactor<'_>,
) -> Half {
    let mut half = Half::default();
    let path: String = parts.uri.path().chars().take(MAX_VALUE).collect();
    let _ = writeln!(half.text, "> {} {path} {:?}", parts.method, parts.version);
    half.headers('>', &parts.headers, redactor);
    let charset = crate::http::charset(&parts.headers);
    match &heard.decoded {
        None => {}
        Some(Ok(_)) => half.body('>', body, redactor.clean(body, charset)),
        // What can't be read can't be redacted.
        Some(Err(error)) => half.body('>', body, Err(error_text(error))),
    }
    half
}

/// Why a body can't be decoded, without a word of it.
fn error_text(error: &hearth_cwmp::DecodeError) -> String {
    use hearth_cwmp::DecodeError as E;
    match error {
        E::NotXml { position, .. } => format!("not XML at byte {position}"),
        E::Content { .. } => "the content of its message is wrong".to_owned(),
        known => known.to_string(),
    }
}

/// What the device got.
pub(super) fn of_server(reply: &Reply, redactor: &Redactor<'_>) -> Half {
    let mut half = Half::default();
    let _ = writeln!(half.text, "< {}", reply.status());
    half.headers('<', reply.headers(), redactor);
    // It is in memory as a whole.
    let mut body = reply.body().clone();
    let mut context = Context::from_waker(Waker::noop());
    let body = match Pin::new(&mut body).poll_frame(&mut context) {
        Poll::Ready(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
        _ => Bytes::new(),
    };
    if !body.is_empty() {
        half.body('<', &body, redactor.clean(&body, None));
    }
    half
}

/// An answer without an envelope.
pub(super) fn refused(refusal: &Refusal) -> Half {
    let status = refusal.status();
    Half {
        text: format!("< {status}\n# refused: {}\n", refusal.reason()),
        cut: false,
    }
}

impl Half {
    fn headers(&mut self, side: char, headers: &HeaderMap, redactor: &Redactor<'_>) {
        let known = redactor.known.lock();
        for (name, value) in headers.iter().take(MAX_HEADERS) {
            let shown = SHOWN.contains(name).then(|| value.to_str().ok()).flatten();
            let value: String = match shown {
                Some(value) if !value.contains("://") => {
                    let value: String = value.chars().take(MAX_VALUE).collect();
                    known.hide(&value, MASK)
                }
                _ => MASK.to_owned(),
            };
            let _ = writeln!(self.text, "{side} {name}: {value}");
        }
        if headers.len() > MAX_HEADERS {
            let _ = writeln!(self.text, "# {} headers more", headers.len() - MAX_HEADERS);
        }
    }

    fn body(&mut self, side: char, body: &[u8], clean: Result<String, String>) {
        let clean = match clean {
            Ok(clean) if clean.len() <= MAX_BODY => clean,
            Ok(clean) => {
                self.cut = true;
                let mut end = MAX_BODY;
                while !clean.is_char_boundary(end) {
                    end -= 1;
                }
                let left = clean.len() - end;
                let _ = writeln!(self.text, "{side}! {left} bytes are cut off its end");
                clean[..end].to_owned()
            }
            Err(why) => {
                self.cut = true;
                let hash = Sha256::digest(body);
                let _ = write!(self.text, "{side}! {} bytes, SHA-256 ", body.len());
                for byte in hash {
                    let _ = write!(self.text, "{byte:02x}");
                }
                let _ = writeln!(self.text, ", not kept: {why}");
                return;
            }
        };
        for line in clean.split(['\n', '\r']) {
            let _ = writeln!(self.text, "{side}|{line}");
        }
    }
}

/// A whole turn.
pub(super) fn whole(
    session: &str,
    device: &str,
    number: u16,
    time: i64,
    from_device: &Half,
    from_server: &Half,
) -> String {
    let at = utc(time);
    format!(
        "--- session {session} turn {number} at {at} of {device}\n{}{}",
        from_device.text, from_server.text
    )
}

/// µs since 1970 as `2026-01-31T12:00:00.123Z`.
fn utc(micros: i64) -> String {
    let (days, rest) = (
        micros.div_euclid(86_400_000_000),
        micros.rem_euclid(86_400_000_000),
    );
    // Years from March on, in eras of 400 of them: the leap day is the last one of its year.
    let day = days + 719_468;
    let (era, day) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (day, month) = (
        day - (153 * month + 2) / 5 + 1,
        if month < 10 { month + 3 } else { month - 9 },
    );
    let year = year + era * 400 + i64::from(month <= 2);
    let (ms, s) = (rest / 1000 % 1000, rest / 1_000_000);
    let (h, m, s) = (s / 3600, s / 60 % 60, s % 60);
    format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{ms:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_utc() {
        for (micros, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_800_000_000_123_456, "2027-01-15T08:00:00.123Z"),
            (1_709_164_799_000_000, "2024-02-28T23:59:59.000Z"),
            (1_709_251_199_999_999, "2024-02-29T23:59:59.999Z"),
            (951_782_400_000_000, "2000-02-29T00:00:00.000Z"),
        ] {
            assert_eq!(utc(micros), expected);
        }
    }
}
