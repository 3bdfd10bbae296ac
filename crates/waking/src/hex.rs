//! HMAC-SHA1 and its text form. TR-069 knows no other hash for what travels over UDP.

use aws_lc_rs::{constant_time, hmac};
use std::fmt::Write as _;

/// HMAC-SHA1 of the parts, one after the other (RFC 2104).
#[must_use]
pub fn hmac_sha1(key: &[u8], parts: &[&[u8]]) -> [u8; 20] {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key);
    let mut context = hmac::Context::with_key(&key);
    for part in parts {
        context.update(part);
    }
    let tag = context.sign();
    let mut mac = [0; 20];
    for (to, from) in mac.iter_mut().zip(tag.as_ref()) {
        *to = *from;
    }
    mac
}

/// Bytes in lower-case hex.
#[must_use]
pub fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String never fails.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Whether `text` is `mac` in hex, in any case; takes the same time wherever they differ.
#[must_use]
pub fn matches_hex(mac: &[u8; 20], text: &str) -> bool {
    let given = text.trim().to_ascii_lowercase();
    constant_time::verify_slices_are_equal(given.as_bytes(), to_hex(mac).as_bytes()).is_ok()
}

/// Whether two MACs are the same, in constant time.
pub(crate) fn same(mac: &[u8; 20], given: &[u8]) -> bool {
    constant_time::verify_slices_are_equal(mac, given).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 2202, test case 2.
    #[test]
    fn the_known_mac() {
        let mac = hmac_sha1(b"Jefe", &[b"what do ya want ", b"for nothing?"]);
        assert_eq!(to_hex(&mac), "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
        assert!(matches_hex(
            &mac,
            "EFFCDF6AE5EB2FA2D27416D5F184DF9C259A7C79"
        ));
        assert!(!matches_hex(
            &mac,
            "effcdf6ae5eb2fa2d27416d5f184df9c259a7c7"
        ));
        assert!(!matches_hex(&mac, ""));
    }
}
