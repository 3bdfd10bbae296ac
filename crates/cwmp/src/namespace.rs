//! The CWMP namespace of an envelope, and protocol versions.

use std::fmt;

/// `urn:dslforum-org:cwmp-1-N`. CWMP 1.0 uses N = 0, 1.1 uses 1, and 1.2 to 1.4 all use 2; some
/// CPEs put their protocol version there all the same, so that any N occurs. An answer goes out
/// in the namespace of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Namespace(u8);

impl Namespace {
    /// CWMP 1.0 (TR-069 and Amendment 1).
    pub const V1_0: Self = Self(0);
    /// CWMP 1.1 (Amendment 2).
    pub const V1_1: Self = Self(1);
    /// CWMP 1.2, 1.3 and 1.4 (Amendments 3 to 6).
    pub const V1_2: Self = Self(2);

    /// The namespace with this N, as a session cookie carries it.
    pub const fn from_minor(minor: u8) -> Self {
        Self(minor)
    }

    /// The N of `cwmp-1-N`.
    pub const fn minor(self) -> u8 {
        self.0
    }

    /// Reads a namespace URI; `None` if it isn't CWMP's.
    pub fn parse(uri: &str) -> Option<Self> {
        let minor = uri.trim().strip_prefix("urn:dslforum-org:cwmp-1-")?;
        if !minor.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        minor.parse().ok().map(Self)
    }
}

impl Default for Namespace {
    fn default() -> Self {
        Self::V1_0
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "urn:dslforum-org:cwmp-1-{}", self.0)
    }
}

/// A protocol version as in the SupportedCWMPVersions and UseCWMPVersion headers (TR-069 3.4.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CwmpVersion {
    /// Major version; 1 in all of CWMP.
    pub major: u8,
    /// Minor version.
    pub minor: u8,
}

impl CwmpVersion {
    /// What this codec speaks, newest first.
    pub const SUPPORTED: [Self; 5] = [
        Self::new(1, 4),
        Self::new(1, 3),
        Self::new(1, 2),
        Self::new(1, 1),
        Self::new(1, 0),
    ];

    /// A version from its two numbers.
    pub const fn new(major: u8, minor: u8) -> Self {
        Self { major, minor }
    }

    /// Reads `1.4`; `None` if it isn't two small numbers.
    pub fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.trim().split_once('.')?;
        Some(Self {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
        })
    }

    /// The newest version that both the CPE and this codec speak; `None` means fault 8006.
    pub fn choose(offered: &[Self]) -> Option<Self> {
        Self::SUPPORTED
            .into_iter()
            .find(|version| offered.contains(version))
    }
}

impl fmt::Display for CwmpVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}
