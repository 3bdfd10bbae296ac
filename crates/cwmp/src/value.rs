//! Parameter values and their XML Schema types, and texts that must not be shown.

use std::fmt;

/// The type that `xsi:type` gives a Value (TR-106 3.2.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum XsdType {
    /// `xsd:string`.
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
    /// `xsd:boolean`.
    Boolean,
    /// `xsd:dateTime`.
    DateTime,
    /// `xsd:base64Binary`.
    Base64,
    /// `xsd:hexBinary`.
    HexBinary,
    /// Not given, or none of CWMP's: the type is not known from this envelope.
    Other,
}

impl XsdType {
    /// Every type, for tables and tests.
    pub const ALL: [Self; 10] = [
        Self::String,
        Self::Int,
        Self::UnsignedInt,
        Self::Long,
        Self::UnsignedLong,
        Self::Boolean,
        Self::DateTime,
        Self::Base64,
        Self::HexBinary,
        Self::Other,
    ];

    /// The local name in XML Schema; `anySimpleType` for [`XsdType::Other`].
    pub const fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Int => "int",
            Self::UnsignedInt => "unsignedInt",
            Self::Long => "long",
            Self::UnsignedLong => "unsignedLong",
            Self::Boolean => "boolean",
            Self::DateTime => "dateTime",
            Self::Base64 => "base64Binary",
            Self::HexBinary => "hexBinary",
            Self::Other => "anySimpleType",
        }
    }

    /// The name as xsi:type, under the prefix that the encoder declares.
    pub(crate) const fn qualified(self) -> &'static str {
        match self {
            Self::String => "xsd:string",
            Self::Int => "xsd:int",
            Self::UnsignedInt => "xsd:unsignedInt",
            Self::Long => "xsd:long",
            Self::UnsignedLong => "xsd:unsignedLong",
            Self::Boolean => "xsd:boolean",
            Self::DateTime => "xsd:dateTime",
            Self::Base64 => "xsd:base64Binary",
            Self::HexBinary => "xsd:hexBinary",
            Self::Other => "xsd:anySimpleType",
        }
    }

    /// Reads a type's local name. `None` if CWMP has no such type.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "string" => Self::String,
            "int" => Self::Int,
            "unsignedInt" => Self::UnsignedInt,
            "long" => Self::Long,
            "unsignedLong" => Self::UnsignedLong,
            "boolean" => Self::Boolean,
            "dateTime" => Self::DateTime,
            "base64Binary" | "base64" => Self::Base64,
            "hexBinary" => Self::HexBinary,
            "anySimpleType" => Self::Other,
            _ => return None,
        })
    }

    /// Reads names that CPEs use although CWMP has them not, as the type they mean.
    pub(crate) fn parse_odd(name: &str) -> Self {
        match name {
            "integer" | "short" | "byte" | "Int" | "Integer" => Self::Int,
            "unsignedShort" | "unsignedByte" | "nonNegativeInteger" | "positiveInteger"
            | "unsignedint" | "UnsignedInt" => Self::UnsignedInt,
            "bool" | "Boolean" => Self::Boolean,
            "datetime" | "DateTime" => Self::DateTime,
            "String" | "normalizedString" | "token" => Self::String,
            "hexbinary" => Self::HexBinary,
            _ => Self::Other,
        }
    }
}

impl fmt::Display for XsdType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// ParameterValueStruct (TR-069 A.3.2.1): a full parameter path, its value as the text that stood
/// in the envelope, and the type given there.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ParameterValue {
    /// Full path name, at most 256 characters.
    pub name: String,
    /// The value's text, unescaped. Blanks around it are kept in strings and cut elsewhere.
    pub value: String,
    /// `xsi:type`.
    pub xsd_type: XsdType,
}

impl ParameterValue {
    /// A value of a given type.
    pub fn new(name: impl Into<String>, value: impl Into<String>, xsd_type: XsdType) -> Self {
        Self {
            name: name.into(),
            value: value.into(),
            xsd_type,
        }
    }
}

/// Any value may be a password, so that only its length is shown.
impl fmt::Debug for ParameterValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} = {} of {} bytes",
            self.name,
            self.xsd_type,
            self.value.len()
        )
    }
}

/// A text that Debug must not show, such as a transfer's password.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(pub String);

impl Secret {
    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() {
            "\"\""
        } else {
            "********"
        })
    }
}
