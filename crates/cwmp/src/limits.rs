//! Caps on what the decoder takes in, so that a hostile envelope costs a bounded amount.

/// What one envelope may hold. The defaults fit a response of 16 MiB with some hundred thousand
/// parameters, which is more than any known CPE sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Deepest nesting of elements, the Envelope being 1.
    pub depth: usize,
    /// Bytes of the body, before character set conversion.
    pub bytes: usize,
    /// Elements in all.
    pub elements: usize,
    /// Bytes of one text (a value, a name), after conversion.
    pub text: usize,
    /// Items of all arrays together (parameters, names, events, transfers).
    pub parameters: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            depth: 32,
            bytes: 16 << 20,
            elements: 1_000_000,
            text: 1 << 20,
            parameters: 250_000,
        }
    }
}

/// Which of the [`Limits`] was exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitKind {
    /// [`Limits::depth`].
    Depth,
    /// [`Limits::bytes`].
    Bytes,
    /// [`Limits::elements`].
    Elements,
    /// [`Limits::text`].
    Text,
    /// [`Limits::parameters`].
    Parameters,
}

impl std::fmt::Display for LimitKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Depth => "nesting of elements",
            Self::Bytes => "bytes of the body",
            Self::Elements => "number of elements",
            Self::Text => "bytes of one text",
            Self::Parameters => "number of array items",
        })
    }
}
