//! Parameters: paths, value types, notification attributes, secret names.

use crate::Invalid;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr, sync::Arc};

/// The longest parameter path, in characters (TR-069 A.3.2).
pub const MAX_PATH_LENGTH: usize = 256;

/// What stands in an answer in place of a secret value.
pub const MASK: &str = "********";

/// A parameter's or an object's path. A partial path — an object, or all below
/// it — ends in `.`; a leaf does not. Case-sensitive (TR-106 3.1).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ParameterPath(Arc<str>);

impl ParameterPath {
    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it names an object or a subtree (ends in `.`).
    pub fn is_partial(&self) -> bool {
        self.0.ends_with('.')
    }

    /// Whether its value is a secret (see [`is_secret_name`]).
    pub fn is_secret(&self) -> bool {
        is_secret_name(&self.0)
    }
}

impl FromStr for ParameterPath {
    type Err = Invalid;

    /// Strict: what an operator or Hearth itself may ask for. Names that a
    /// device reports are kept as they came.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let bad = |reason: &str| Err(Invalid::new("parameter path", reason));
        if text.is_empty() {
            return bad(
                "must not be empty; the whole tree is `Device.` or `InternetGatewayDevice.`",
            );
        }
        if text.chars().count() > MAX_PATH_LENGTH {
            return bad("expected at most 256 characters");
        }
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return bad("must not hold white space or control characters");
        }
        let body = text.strip_suffix('.').unwrap_or(text);
        if body.split('.').any(str::is_empty) {
            return bad("a segment is empty; expected names separated by single dots");
        }
        Ok(Self(Arc::from(text)))
    }
}

impl TryFrom<String> for ParameterPath {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<ParameterPath> for String {
    fn from(path: ParameterPath) -> Self {
        path.0.as_ref().to_owned()
    }
}

impl fmt::Display for ParameterPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ParameterPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Whether the last segment of a path names a secret: its value is sealed at
/// rest and masked in every answer. By name, because a device's own `hidden`
/// marks don't travel over CWMP.
pub fn is_secret_name(path: &str) -> bool {
    const PARTS: [&str; 13] = [
        "password",
        "passphrase",
        "presharedkey",
        "wepkey",
        "secret",
        "privatekey",
        "sharedkey",
        "authkey",
        "devicepin",
        "simpin",
        "encryptionkey",
        "authenticationkey",
        "keyvalue",
    ];
    let last = path.rsplit('.').next().unwrap_or(path);
    // As a whole name only, since many names have it as a syllable (TR-104, TR-181).
    if last.eq_ignore_ascii_case("pin") {
        return true;
    }
    // PreSharedKey.{i}.PreSharedKey and WEPKey.{i}.WEPKey end in their own
    // names, so the last segment suffices. `PasswordReset`-like booleans are
    // masked too: the safe side.
    last.len() >= 6 && may_name_secret(last.as_bytes()) && {
        let last = last.to_ascii_lowercase();
        PARTS.iter().any(|part| last.contains(part))
    }
}

/// Whether a name has one of the syllables that every secret's name has. Nearly no name does, and
/// every value of every Inform is asked about.
fn may_name_secret(name: &[u8]) -> bool {
    const SYLLABLES: [&[u8; 3]; 4] = [b"pas", b"key", b"sec", b"pin"];
    name.windows(3).any(|window| {
        SYLLABLES
            .iter()
            .any(|syllable| window.eq_ignore_ascii_case(*syllable))
    })
}

/// A parameter's type on the wire (TR-069 A.2.1, TR-106 types over CWMP).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ValueType {
    /// `xsd:string`, and what an unknown type is taken for.
    #[default]
    String,
    /// `xsd:int`, 32 bits.
    Int,
    /// `xsd:unsignedInt`, 32 bits.
    UnsignedInt,
    /// `xsd:long`, 64 bits.
    Long,
    /// `xsd:unsignedLong`, 64 bits.
    UnsignedLong,
    /// `xsd:boolean`: 0, 1, true, false.
    Boolean,
    /// `xsd:dateTime`.
    DateTime,
    /// `xsd:base64Binary` (`xsd:base64` in old devices).
    Base64,
    /// `xsd:hexBinary`.
    HexBinary,
}

impl ValueType {
    /// The local name in XML Schema: `string`, `unsignedInt`, `base64` …
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Int => "int",
            Self::UnsignedInt => "unsignedInt",
            Self::Long => "long",
            Self::UnsignedLong => "unsignedLong",
            Self::Boolean => "boolean",
            Self::DateTime => "dateTime",
            Self::Base64 => "base64",
            Self::HexBinary => "hexBinary",
        }
    }

    /// Checks that `text` can be a value of this type.
    ///
    /// # Errors
    /// Names the type and the shape that is expected.
    pub fn check(self, text: &str) -> Result<(), Invalid> {
        let good = match self {
            Self::String => true,
            Self::Int => text.parse::<i32>().is_ok(),
            Self::UnsignedInt => text.parse::<u32>().is_ok(),
            Self::Long => text.parse::<i64>().is_ok(),
            Self::UnsignedLong => text.parse::<u64>().is_ok(),
            Self::Boolean => matches!(
                text.to_ascii_lowercase().as_str(),
                "0" | "1" | "true" | "false"
            ),
            Self::DateTime => text.len() >= 19 && text.as_bytes().get(10) == Some(&b'T'),
            Self::Base64 => text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"+/=\r\n ".contains(&b)),
            Self::HexBinary => {
                text.len().is_multiple_of(2) && text.bytes().all(|b| b.is_ascii_hexdigit())
            }
        };
        if good {
            Ok(())
        } else {
            Err(Invalid::new("value", format!("expected {}", self.shape())))
        }
    }

    const fn shape(self) -> &'static str {
        match self {
            Self::String => "a string",
            Self::Int => "an int (32-bit decimal number)",
            Self::UnsignedInt => "an unsignedInt (decimal number from 0 to 4294967295)",
            Self::Long => "a long (64-bit decimal number)",
            Self::UnsignedLong => "an unsignedLong (decimal number from 0 to 2^64-1)",
            Self::Boolean => "a boolean (0, 1, true or false)",
            Self::DateTime => "a dateTime (2026-01-31T12:00:00Z)",
            Self::Base64 => "base64 text",
            Self::HexBinary => "an even number of hexadecimal digits",
        }
    }
}

impl FromStr for ValueType {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        Ok(match text {
            "string" => Self::String,
            "int" => Self::Int,
            "unsignedInt" => Self::UnsignedInt,
            "long" => Self::Long,
            "unsignedLong" => Self::UnsignedLong,
            "boolean" => Self::Boolean,
            "dateTime" => Self::DateTime,
            "base64" | "base64Binary" => Self::Base64,
            "hexBinary" => Self::HexBinary,
            _ => {
                return Err(Invalid::new(
                    "type",
                    "expected string, int, unsignedInt, long, unsignedLong, boolean, dateTime, base64 or hexBinary",
                ));
            }
        })
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The Notification attribute of a parameter (TR-069 A.3.2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Notification(u8);

impl Notification {
    /// 0: no notification.
    pub const OFF: Self = Self(0);
    /// 1: passive.
    pub const PASSIVE: Self = Self(1);
    /// 2: active.
    pub const ACTIVE: Self = Self(2);

    /// Reads the attribute's number.
    ///
    /// # Errors
    /// A number over 6.
    pub fn new(number: u32) -> Result<Self, Invalid> {
        match u8::try_from(number) {
            Ok(number @ 0..=6) => Ok(Self(number)),
            _ => Err(Invalid::new(
                "notification",
                "expected 0 off, 1 passive, 2 active, or 3 to 6 (lightweight mixes)",
            )),
        }
    }

    /// The attribute's number, 0 to 6.
    pub const fn number(self) -> u8 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn paths() {
        assert!(
            !"Device.DeviceInfo.UpTime"
                .parse::<ParameterPath>()
                .unwrap()
                .is_partial()
        );
        assert!("Device.".parse::<ParameterPath>().unwrap().is_partial());
        for bad in ["", ".", "Device..X", "Device. X", &"a".repeat(257)] {
            assert!(bad.parse::<ParameterPath>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn secret_names() {
        for secret in [
            "Device.ManagementServer.Password",
            "Device.ManagementServer.ConnectionRequestPassword",
            "Device.WiFi.AccessPoint.1.Security.KeyPassphrase",
            "InternetGatewayDevice.LANDevice.1.WLANConfiguration.1.PreSharedKey.1.PreSharedKey",
            "Device.WiFi.AccessPoint.1.WPS.PIN",
            "Device.Routing.Babel.MACKeySet.1.MACKeys.1.KeyValue",
        ] {
            assert!(is_secret_name(secret), "{secret}");
        }
        for open in [
            "Device.DeviceInfo.SerialNumber",
            "Device.WiFi.SSID.1.SSID",
            "Device.X.Key",
            "Device.IP.Diagnostics.IPPing.Host",
            "Device.X.PingPinned",
        ] {
            assert!(!is_secret_name(open), "{open}");
        }
    }

    #[test]
    fn every_part_of_a_secret_name_is_found() {
        for part in [
            "Password",
            "PASSPHRASE",
            "preSharedKey",
            "WEPKey",
            "SecretX",
            "PrivateKey",
            "SharedKey",
            "AuthKey",
            "DevicePIN",
            "SimPin",
            "EncryptionKey",
            "AuthenticationKey",
        ] {
            assert!(is_secret_name(&format!("Device.X_{part}1")), "{part}");
        }
    }

    #[test]
    fn values_are_checked_by_type() {
        assert!(ValueType::UnsignedInt.check("4294967295").is_ok());
        assert!(ValueType::UnsignedInt.check("-1").is_err());
        assert!(ValueType::Boolean.check("TRUE").is_ok());
        assert!(ValueType::HexBinary.check("abc").is_err());
        let error = ValueType::Int.check("x").unwrap_err().to_string();
        assert!(error.contains("32-bit"), "{error}");
    }
}
