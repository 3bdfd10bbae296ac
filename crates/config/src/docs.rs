//! What a configuration says about its keys.

use std::borrow::Cow;
use std::fmt;

/// The shape of a value, as it is written in a file, a variable or a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Any text.
    Text,
    /// `true` or `false`.
    Bool,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// See [`crate::HumanDuration`].
    Duration,
    /// See [`crate::ByteSize`].
    Size,
    /// An IP address and a port.
    SocketAddr,
    /// A file or directory.
    Path,
    /// A URL.
    Url,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A list of what is named, e.g. `CIDR ranges`.
    List(&'static str),
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text => f.write_str("text"),
            Self::Bool => f.write_str("true or false"),
            Self::Integer => f.write_str("a whole number"),
            Self::Number => f.write_str("a number"),
            Self::Duration => f.write_str("a duration such as \"30s\" or \"1h 30m\""),
            Self::Size => f.write_str("a size in bytes such as \"64KiB\" or \"16MiB\""),
            Self::SocketAddr => {
                f.write_str("an address and port such as \"127.0.0.1:7547\" or \"[::]:7547\"")
            }
            Self::Path => f.write_str("a path"),
            Self::Url => f.write_str("a URL"),
            Self::Choice(words) => write!(f, "one of {}", words.join(", ")),
            Self::List(what) => write!(f, "a list of {what}"),
        }
    }
}

/// The documentation of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldDoc {
    /// The dotted key, e.g. `gateway.max_connections`.
    pub key: Cow<'static, str>,
    /// The shape of its value.
    pub shape: Shape,
    /// What it does, in one or two sentences.
    pub effect: &'static str,
    /// The unit of a number.
    pub unit: Option<&'static str>,
    /// A value for the example (in TOML) where the default is unset.
    pub example: Option<&'static str>,
    /// Whether the value is never shown.
    pub secret: bool,
}

impl FieldDoc {
    /// A key, its shape and its effect.
    pub const fn new(key: &'static str, shape: Shape, effect: &'static str) -> Self {
        let key = Cow::Borrowed(key);
        Self {
            key,
            shape,
            effect,
            unit: None,
            example: None,
            secret: false,
        }
    }

    /// With the unit of a number.
    pub const fn unit(mut self, unit: &'static str) -> Self {
        self.unit = Some(unit);
        self
    }

    /// With an example in TOML, for keys that are unset by default.
    pub const fn example(mut self, example: &'static str) -> Self {
        self.example = Some(example);
        self
    }

    /// As a secret: masked in print, and never repeated in errors.
    pub const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }
}

/// A configuration that knows its keys.
pub trait Documented {
    /// All keys, those of nested sections included, in the order of the example.
    fn fields() -> Vec<FieldDoc>;

    /// Checks what types can't: pairs of a dotted key and what is wrong with it (without its
    /// value, if that is secret).
    fn validate(&self) -> Vec<(String, String)> {
        Vec::new()
    }
}

/// The keys of a nested section: `fields` with `name.` before each key.
pub fn section(name: &str, fields: Vec<FieldDoc>) -> Vec<FieldDoc> {
    let prefixed = |field: FieldDoc| FieldDoc {
        key: Cow::Owned(format!("{name}.{}", field.key)),
        ..field
    };
    fields.into_iter().map(prefixed).collect()
}

/// The known key that `key` may have been meant to be.
pub(crate) fn closest<'a>(key: &str, known: &'a [FieldDoc]) -> Option<&'a str> {
    let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let score = |candidate: &str| {
        let whole = strsim::normalized_damerau_levenshtein(key, candidate);
        // The right key in a wrong section is a likely slip.
        let leaf = strsim::normalized_damerau_levenshtein(&last(key), &last(candidate)) - 0.1;
        whole.max(leaf)
    };
    known
        .iter()
        .map(|field| (score(&field.key), field.key.as_ref()))
        .filter(|(score, _)| *score >= 0.6)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, key)| key)
}
