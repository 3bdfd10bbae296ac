//! UDP Connection Requests (TR-069 G.2.2.3): an HTTP GET in a datagram, signed, without an answer.

use crate::hex::{hmac_sha1, matches_hex, to_hex};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// What needs no escape in a query (RFC 3986 2.3).
const QUERY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
/// No request is longer.
const MAX: usize = 1280;

/// A UDP Connection Request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionRequest {
    /// Seconds since 1970; more than in any request before.
    pub ts: u32,
    /// Of this request alone; not 0.
    pub id: u32,
    /// ConnectionRequestUsername.
    pub username: String,
    /// Random text.
    pub cnonce: String,
}

impl ConnectionRequest {
    /// The datagram for `authority` (`host:port`), signed with ConnectionRequestPassword.
    #[must_use]
    pub fn to_bytes(&self, authority: &str, password: &str) -> Vec<u8> {
        let Self { ts, id, .. } = self;
        let un = utf8_percent_encode(&self.username, QUERY);
        let cn = utf8_percent_encode(&self.cnonce, QUERY);
        let sig = to_hex(&self.signature(password));
        let line = format!("GET http://{authority}?ts={ts}&id={id}&un={un}&cn={cn}&sig={sig}");
        format!("{line} HTTP/1.1\r\n\r\n").into_bytes()
    }

    fn signature(&self, password: &str) -> [u8; 20] {
        let text = format!("{}{}{}{}", self.ts, self.id, self.username, self.cnonce);
        hmac_sha1(password.as_bytes(), &[text.as_bytes()])
    }

    /// Reads a datagram as a CPE does; `None` when it is none, is not signed with this password, or
    /// has a `ts` or `id` of 0.
    #[must_use]
    pub fn verify(datagram: &[u8], password: &str) -> Option<Self> {
        let text = std::str::from_utf8(datagram.get(..datagram.len().min(MAX))?).ok()?;
        let line = text.lines().next()?;
        let mut words = line.split_ascii_whitespace();
        let uri = words
            .next()
            .filter(|method| *method == "GET")
            .and(words.next())?;
        let version = words.next()?;
        let (_, query) = uri.split_once('?')?;
        let value = |name: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            let (_, value) = pairs.find(|(of, _)| *of == name)?;
            Some(percent_decode_str(value).decode_utf8().ok()?.into_owned())
        };
        let request = Self {
            ts: value("ts")?.parse().ok().filter(|ts| *ts != 0)?,
            id: value("id")?.parse().ok().filter(|id| *id != 0)?,
            username: value("un")?,
            cnonce: value("cn")?,
        };
        let signed = matches_hex(&request.signature(password), &value("sig")?);
        (signed && version.starts_with("HTTP/")).then_some(request)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn request() -> ConnectionRequest {
        ConnectionRequest {
            ts: 1_120_673_700,
            id: 1234,
            username: "CPE57689".into(),
            cnonce: "XTGRWIPC6D3IPXS3".into(),
        }
    }

    /// The example of TR-069 G.2.2.3, with a password of ours.
    #[test]
    fn it_looks_as_annex_g_shows_it() {
        let bytes = request().to_bytes("10.1.1.1:8080", "secret");
        let text = String::from_utf8(bytes.clone()).unwrap();
        let start =
            "GET http://10.1.1.1:8080?ts=1120673700&id=1234&un=CPE57689&cn=XTGRWIPC6D3IPXS3&sig=";
        let sig = text.strip_prefix(start).unwrap();
        let sig = sig.strip_suffix(" HTTP/1.1\r\n\r\n").unwrap();
        assert_eq!(sig.len(), 40);
        let mac = hmac_sha1(b"secret", &[b"11206737001234CPE57689XTGRWIPC6D3IPXS3"]);
        assert_eq!(sig, to_hex(&mac));
        assert_eq!(ConnectionRequest::verify(&bytes, "secret"), Some(request()));
        assert_eq!(ConnectionRequest::verify(&bytes, "Secret"), None);
    }

    #[test]
    fn zeros_and_what_was_changed_are_refused() {
        for (ts, id) in [(0, 1), (1, 0)] {
            let bytes = ConnectionRequest {
                ts,
                id,
                ..request()
            }
            .to_bytes("h:1", "p");
            assert_eq!(ConnectionRequest::verify(&bytes, "p"), None);
        }
        let text = String::from_utf8(request().to_bytes("h:1", "p")).unwrap();
        for (from, to) in [
            ("ts=1", "ts=2"),
            ("id=1", "id=2"),
            ("un=C", "un=D"),
            ("GET", "PUT"),
        ] {
            let changed = text.replacen(from, to, 1);
            assert_eq!(ConnectionRequest::verify(changed.as_bytes(), "p"), None);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(ts in 1u32.., id in 1u32.., username in ".{0,40}", cnonce in ".{1,20}") {
            let request = ConnectionRequest { ts, id, username, cnonce };
            let bytes = request.to_bytes("[2001:db8::1]:7547", "pass word");
            prop_assert_eq!(ConnectionRequest::verify(&bytes, "pass word"), Some(request));
        }

        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = ConnectionRequest::verify(&bytes, "p");
        }
    }
}
