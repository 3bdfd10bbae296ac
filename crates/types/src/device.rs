//! A device's identity, as its Inform's DeviceId gives it (TR-069 A.3.3.1).

use crate::{Invalid, TenantId};
use percent_encoding::{percent_decode_str, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr, sync::Arc};

/// What is percent-encoded inside a part of a device id: everything but
/// letters, digits, `.`, `_` and `~` — the hyphen included, since it separates
/// the parts (TR-069 3.4.4).
const PART: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The longest canonical text of a device id, in bytes: it travels in the
/// session cookie, in subjects and in keys.
const MAX_LENGTH: usize = 512;

/// A device's id in canonical form: `OUI-ProductClass-SerialNumber`, or
/// `OUI-SerialNumber` where the device has no product class, each part
/// percent-encoded as TR-069 3.4.4 does for certificates
/// (`012345-Set%2DTop%2DBox-0123456789`).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DeviceId(Arc<str>);

impl DeviceId {
    /// The id of a device by the parts of its DeviceId structure. An empty
    /// product class is left out.
    ///
    /// # Errors
    /// `OUI` that is not 6 hexadecimal digits, an empty serial number, or a
    /// part over 64 characters (its limit in TR-069).
    pub fn new(oui: &str, product_class: &str, serial_number: &str) -> Result<Self, Invalid> {
        if oui.len() != 6 || !oui.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(Invalid::new("OUI", "expected 6 hexadecimal digits"));
        }
        if serial_number.is_empty() {
            return Err(Invalid::new("SerialNumber", "must not be empty"));
        }
        for (field, part) in [
            ("SerialNumber", serial_number),
            ("ProductClass", product_class),
        ] {
            if part.chars().count() > 64 {
                return Err(Invalid::new(field, "expected at most 64 characters"));
            }
        }
        let serial = utf8_percent_encode(serial_number, PART);
        let text = if product_class.is_empty() {
            format!("{}-{serial}", oui.to_ascii_uppercase())
        } else {
            let class = utf8_percent_encode(product_class, PART);
            format!("{}-{class}-{serial}", oui.to_ascii_uppercase())
        };
        if text.len() > MAX_LENGTH {
            return Err(Invalid::new(
                "DeviceId",
                "expected at most 512 bytes in encoded form",
            ));
        }
        Ok(Self(text.into()))
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// OUI, product class (empty where there is none) and serial number,
    /// decoded.
    pub fn parts(&self) -> (String, String, String) {
        let mut parts = self.0.split('-').map(decode);
        let first = parts.next().unwrap_or_default();
        let second = parts.next().unwrap_or_default();
        match parts.next() {
            Some(third) => (first, second, third),
            None => (first, String::new(), second),
        }
    }
}

fn decode(part: &str) -> String {
    percent_decode_str(part).decode_utf8_lossy().into_owned()
}

/// Whether a text is what [`DeviceId::new`] makes, without characters outside ASCII: those take
/// the longer way.
fn is_plainly_canonical(text: &str) -> bool {
    let Some((oui, rest)) = text.split_once('-') else {
        return false;
    };
    let is_upper_hex = |b: u8| matches!(b, b'0'..=b'9' | b'A'..=b'F');
    let (first, second) = match rest.split_once('-') {
        Some((class, serial)) => (class, Some(serial)),
        None => (rest, None),
    };
    oui.len() == 6
        && oui.bytes().all(is_upper_hex)
        && is_canonical_part(first.as_bytes())
        && second.is_none_or(|serial| is_canonical_part(serial.as_bytes()))
        && text.len() <= MAX_LENGTH
}

/// Whether a part has 1 to 64 characters, all of them ASCII and encoded if and only if they must be.
fn is_canonical_part(mut part: &[u8]) -> bool {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'~');
    let digit = |b: u8| match b {
        b'0'..=b'9' => Some(b - b'0'),
        b'A'..=b'F' => Some(b - b'A' + 10),
        _ => None,
    };
    let mut length = 0;
    loop {
        part = match part {
            [] => return (1..=64).contains(&length),
            [b'%', high, low, rest @ ..] => match (digit(*high), digit(*low)) {
                (Some(high @ ..8), Some(low)) if !is_plain(high << 4 | low) => rest,
                _ => return false,
            },
            [plain, rest @ ..] if is_plain(*plain) => rest,
            _ => return false,
        };
        length += 1;
    }
}

impl FromStr for DeviceId {
    type Err = Invalid;

    /// Reads a canonical or nearly canonical text (lower-case hexadecimal,
    /// needless or missing encoding of anything but hyphens).
    fn from_str(text: &str) -> Result<Self, Invalid> {
        // Every call within the house carries a canonical id: nothing is decoded for it.
        if is_plainly_canonical(text) {
            return Ok(Self(text.into()));
        }
        let parts: Vec<String> = text.split('-').map(decode).collect();
        match parts.as_slice() {
            [oui, serial] => Self::new(oui, "", serial),
            [oui, class, serial] => Self::new(oui, class, serial),
            _ => Err(Invalid::new(
                "device id",
                "expected OUI-ProductClass-SerialNumber, with hyphens inside a part written %2D",
            )),
        }
    }
}

impl TryFrom<String> for DeviceId {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<DeviceId> for String {
    fn from(id: DeviceId) -> Self {
        id.0.as_ref().to_owned()
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// A device of a tenant: the key of everything that is kept about a device.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DeviceKey {
    /// Whose device it is.
    pub tenant: TenantId,
    /// Which one.
    pub device: DeviceId,
}

impl DeviceKey {
    /// The key of `device` of `tenant`.
    pub fn new(tenant: TenantId, device: DeviceId) -> Self {
        Self { tenant, device }
    }

    /// Reads the two texts that messages carry.
    ///
    /// # Errors
    /// As [`TenantId`] and [`DeviceId`] read from text.
    pub fn parse(tenant: &str, device: &str) -> Result<Self, Invalid> {
        Ok(Self::new(tenant.parse()?, device.parse()?))
    }

    /// How many buckets there are.
    pub const BUCKETS: u8 = 64;

    /// The bucket that the device belongs to, below [`DeviceKey::BUCKETS`]: what is too much to keep
    /// in one place is spread by it.
    ///
    /// It is part of formats that are kept (keys of the task queue, partitions of the ledger) and
    /// never changes: the lower 6 bits of FNV-1a (64 bits) over the text `tenant/device`, mixed by
    /// MurmurHash3's finalizer, since FNV alone spreads texts that differ in few digits unevenly.
    pub fn bucket(&self) -> u8 {
        let text = [self.tenant.as_str(), "/", self.device.as_str()];
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for byte in text.iter().flat_map(|part| part.bytes()) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        hash ^= hash >> 33;
        hash.to_le_bytes()[0] % Self::BUCKETS
    }
}

impl fmt::Display for DeviceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant, self.device)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn hyphens_inside_a_part_are_encoded() {
        let id = DeviceId::new("012345", "Set-Top-Box", "0123456789").unwrap();
        assert_eq!(id.as_str(), "012345-Set%2DTop%2DBox-0123456789");
        assert_eq!(
            id.parts(),
            ("012345".into(), "Set-Top-Box".into(), "0123456789".into())
        );
        assert_eq!(id.as_str().parse::<DeviceId>().unwrap(), id);
    }

    #[test]
    fn a_device_without_product_class_has_two_parts() {
        let id = DeviceId::new("00aa11", "", "S/1").unwrap();
        assert_eq!(id.as_str(), "00AA11-S%2F1");
        assert_eq!(id.parts(), ("00AA11".into(), String::new(), "S/1".into()));
    }

    /// The short way of reading must agree with the long one.
    #[test]
    fn what_is_plainly_canonical_reads_as_itself() {
        let long = "x".repeat(65);
        let longest = "%2D".repeat(64);
        let made = |parts: &[String]| match parts {
            [oui, serial] => DeviceId::new(oui, "", serial),
            [oui, class, serial] => DeviceId::new(oui, class, serial),
            _ => Err(Invalid::new("device id", "parts")),
        };
        let mut canonical = 0;
        for oui in ["00AA11", "00aa11", "00AA1", "00AA1G", "%30AA11"] {
            for class in [
                "", "-", "-X", "-a.b_c~d", "-%2D", "-%2d", "-%41", "-%C3%A4", "-ä",
            ] {
                for serial in [
                    "", "1", "S%2F1", "S/1", "%7F", "%80", "%2", "%", &long, &longest,
                ] {
                    let text = format!("{oui}{class}-{serial}");
                    let parts: Vec<String> = text.split('-').map(decode).collect();
                    let read = made(&parts);
                    if is_plainly_canonical(&text) {
                        canonical += 1;
                        assert_eq!(read.unwrap().as_str(), text);
                    }
                    assert_eq!(text.parse::<DeviceId>().ok(), made(&parts).ok(), "{text}");
                }
            }
        }
        assert_eq!(canonical, 4 * 4);
    }

    /// They are in keys that are kept: these numbers never change.
    #[test]
    fn buckets_are_fixed_and_even() {
        for (device, bucket) in [
            ("001122-Box-1", 12),
            ("00AA11-S%2F1", 33),
            ("012345-Set%2DTop%2DBox-0123456789", 22),
        ] {
            let key = DeviceKey::parse("default", device).unwrap();
            assert_eq!(key.bucket(), bucket, "{key}");
        }
        let mut counts = [0_usize; DeviceKey::BUCKETS as usize];
        for serial in 0..64_000 {
            let key = DeviceKey::parse("default", &format!("001122-Box-{serial:08}")).unwrap();
            counts[usize::from(key.bucket())] += 1;
        }
        assert!(counts.iter().all(|count| (850..1150).contains(count)));
    }

    #[test]
    fn errors_name_the_field() {
        assert_eq!(DeviceId::new("xyz", "", "1").unwrap_err().field, "OUI");
        assert_eq!(
            DeviceId::new("001122", "", "").unwrap_err().field,
            "SerialNumber"
        );
        assert_eq!(
            "a-b-c-d".parse::<DeviceId>().unwrap_err().field,
            "device id"
        );
    }
}
