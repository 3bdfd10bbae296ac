//! The types of settings that TOML has no word for.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use secrecy::ExposeSecret;
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// The text shown instead of a secret.
pub(crate) const MASK: &str = "********";

/// A text that can't be read as a setting's type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is not {expected}")]
pub struct ParseError {
    given: String,
    expected: &'static str,
}

fn not(given: &str, expected: &'static str) -> ParseError {
    ParseError {
        given: given.to_owned(),
        expected,
    }
}

/// A number of bytes: `1024`, `"64KiB"`, `"16MiB"`, `"2GB"`. KiB, MiB, GiB, TiB are powers of 1024;
/// kB, MB, GB, TB of 1000. Written in the largest power of 1024 that divides it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteSize(pub u64);

const SIZE: &str = "a size in bytes such as \"64KiB\" or \"16MiB\"";
const UNITS: [(&str, u64); 10] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
    ("", 1),
];

impl ByteSize {
    /// So many MiB.
    pub const fn mib(count: u64) -> Self {
        Self(count << 20)
    }

    /// So many KiB.
    pub const fn kib(count: u64) -> Self {
        Self(count << 10)
    }

    /// The number of bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// The number of bytes as a length in memory.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for ByteSize {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let trimmed = text.trim();
        let end = trimmed
            .find(|c: char| !c.is_ascii_digit() && c != '_')
            .unwrap_or(trimmed.len());
        let (number, unit) = trimmed.split_at(end);
        let unit = unit.trim();
        let factor = UNITS
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(unit));
        let number = number.replace('_', "").parse::<u64>().ok();
        number
            .zip(factor)
            .and_then(|(number, (_, factor))| number.checked_mul(*factor))
            .map(Self)
            .ok_or_else(|| not(text, SIZE))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |(_, factor): &&(&str, u64)| self.0 != 0 && self.0.is_multiple_of(*factor);
        match UNITS[..4].iter().find(fits) {
            Some((unit, factor)) => write!(f, "{}{unit}", self.0 / factor),
            None => write!(f, "{}B", self.0),
        }
    }
}

/// A duration with its unit: `"30s"`, `"250ms"`, `"1h 30m"`, `"7days"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct HumanDuration(pub Duration);

const DURATION: &str = "a duration such as \"30s\" or \"1h 30m\"";

impl HumanDuration {
    /// So many seconds.
    pub const fn secs(count: u64) -> Self {
        Self(Duration::from_secs(count))
    }

    /// So many milliseconds.
    pub const fn millis(count: u64) -> Self {
        Self(Duration::from_millis(count))
    }

    /// The duration.
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl From<HumanDuration> for Duration {
    fn from(duration: HumanDuration) -> Self {
        duration.0
    }
}

impl FromStr for HumanDuration {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        humantime::parse_duration(text.trim())
            .map(Self)
            .map_err(|_| not(text, DURATION))
    }
}

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

macro_rules! serde_as_text {
    ($type:ty, $expected:expr, $integers:expr) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;

                impl Visitor<'_> for Text {
                    type Value = $type;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expected)
                    }

                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$type, E> {
                        text.parse().map_err(E::custom)
                    }

                    fn visit_i64<E: de::Error>(self, number: i64) -> Result<$type, E> {
                        if !$integers {
                            return Err(E::invalid_type(de::Unexpected::Signed(number), &self));
                        }
                        number.to_string().parse().map_err(E::custom)
                    }

                    fn visit_u64<E: de::Error>(self, number: u64) -> Result<$type, E> {
                        if !$integers {
                            return Err(E::invalid_type(de::Unexpected::Unsigned(number), &self));
                        }
                        number.to_string().parse().map_err(E::custom)
                    }
                }

                deserializer.deserialize_any(Text)
            }
        }
    };
}

serde_as_text!(ByteSize, SIZE, true);
serde_as_text!(HumanDuration, DURATION, false);

/// A secret setting: masked in Debug and when serialized, wiped when dropped.
#[derive(Clone, Default)]
pub struct SecretString(secrecy::SecretString);

impl SecretString {
    /// Hides a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into().into())
    }

    /// The text.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// The same for crates that take `secrecy`'s type.
    pub fn into_inner(self) -> secrecy::SecretString {
        self.0
    }
}

impl fmt::Debug for SecretString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl Serialize for SecretString {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(MASK)
    }
}

impl<'de> Deserialize<'de> for SecretString {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

/// Ranges of IP addresses: `["10.0.0.0/8", "2001:db8::/32", "192.0.2.7"]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CidrList(pub Vec<IpNet>);

impl CidrList {
    /// Whether an address is in one of the ranges; an IPv4 address mapped into IPv6 counts as
    /// what it is.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|range| range.contains(&address))
    }
}

impl Serialize for CidrList {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(ToString::to_string))
    }
}

impl<'de> Deserialize<'de> for CidrList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::<CidrText>::deserialize(deserializer)
            .map(|ranges| Self(ranges.into_iter().map(|range| range.0).collect()))
    }
}

/// One range, read so that an error names the list's item.
struct CidrText(IpNet);

impl<'de> Deserialize<'de> for CidrText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let text = text.trim();
        let range = text.parse::<IpNet>().ok();
        range
            .or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
            .map(|range| Self(range.trunc()))
            .ok_or_else(|| {
                de::Error::custom(not(text, "a range such as \"10.0.0.0/8\" or an address"))
            })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn sizes_read_and_write() {
        let size = |text: &str| text.parse::<ByteSize>().map(ByteSize::bytes);
        assert_eq!(size("16MiB"), Ok(16 << 20));
        assert_eq!(size(" 2 gb "), Ok(2_000_000_000));
        assert_eq!(size("1_024"), Ok(1024));
        for bad in ["", "MiB", "1.5MiB", "-1", "1 parsec", "99999999999TiB"] {
            assert!(size(bad).is_err(), "{bad}");
        }
        for (bytes, text) in [
            (0, "0B"),
            (1500, "1500B"),
            (65536, "64KiB"),
            (1 << 30, "1GiB"),
        ] {
            assert_eq!(ByteSize(bytes).to_string(), text);
            assert_eq!(size(text), Ok(bytes));
        }
    }

    #[test]
    fn durations_need_a_unit() {
        let duration = |text: &str| text.parse::<HumanDuration>().map(HumanDuration::get);
        assert_eq!(duration("1h 30m"), Ok(Duration::from_secs(5400)));
        assert!(duration("30").is_err());
        assert_eq!(HumanDuration::millis(1500).to_string(), "1s 500ms");
    }

    #[test]
    fn ranges_contain_addresses() {
        let list: CidrList = toml::from_str::<std::collections::BTreeMap<String, CidrList>>(
            "l = [\"10.1.2.3/8\", \"2001:db8::/32\", \"192.0.2.7\"]",
        )
        .unwrap()
        .remove("l")
        .unwrap();
        assert_eq!(list.0[0].to_string(), "10.0.0.0/8");
        for (address, inside) in [
            ("10.255.0.1", true),
            ("::ffff:10.0.0.1", true),
            ("192.0.2.8", false),
            ("2001:db8::9", true),
        ] {
            assert_eq!(list.contains(address.parse().unwrap()), inside, "{address}");
        }
    }

    #[test]
    fn secrets_are_masked() {
        let secret = SecretString::new("hunter2");
        assert_eq!(format!("{secret:?}"), MASK);
        assert_eq!(secret.expose(), "hunter2");
    }
}
