//! Log hygiene: secrets that can't be printed, and text from devices that can't forge log lines.

use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};

/// The text shown instead of a secret, here and in every answer of the product.
pub const MASK: &str = "********";

/// A value that shows as `********` in Debug and Display.
///
/// It serializes as itself: it is for values on their way, not for answers to people.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Redacted<T>(T);

impl<T> Redacted<T> {
    /// Hides `value` from formatting.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value. The call is easy to find in a review.
    pub const fn expose(&self) -> &T {
        &self.0
    }

    /// The value, taken out.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> From<T> for Redacted<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

impl<T> fmt::Debug for Redacted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl<T> fmt::Display for Redacted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

/// Characters of a foreign text that a log line shows by default.
pub const LOG_CAP: usize = 200;

/// Text from a device or a stranger, to be shown in a log: control characters, line ends and
/// direction marks are escaped, and what exceeds [`LOG_CAP`] characters is cut and counted.
pub const fn for_log(text: &str) -> ForLog<'_> {
    for_log_capped(text, LOG_CAP)
}

/// [`for_log`] with a cap of its own, in characters.
pub const fn for_log_capped(text: &str, cap: usize) -> ForLog<'_> {
    ForLog { text, cap }
}

/// See [`for_log`]. Debug and Display are the same; nothing is allocated.
#[derive(Clone, Copy)]
pub struct ForLog<'a> {
    text: &'a str,
    cap: usize,
}

impl fmt::Display for ForLog<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut chars = self.text.chars();
        for c in chars.by_ref().take(self.cap) {
            if must_escape(c) {
                write!(f, "{}", c.escape_default())?;
            } else {
                f.write_char(c)?;
            }
        }
        match chars.count() {
            0 => Ok(()),
            more => write!(f, "…(+{more})"),
        }
    }
}

impl fmt::Debug for ForLog<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Control characters, the backslash that would make escapes ambiguous, line and paragraph
/// separators, and the marks that reorder or hide what a terminal shows.
const fn must_escape(c: char) -> bool {
    matches!(
        c,
        '\\' | '\u{0}'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_printed() {
        let secret = Redacted::new("s3cret".to_owned());
        assert_eq!(format!("{secret} {secret:?}"), "******** ********");
        assert_eq!(secret.expose(), "s3cret");
    }

    #[test]
    fn foreign_text_stays_on_its_line() {
        let forged = "ok\r\nERROR fake \u{1b}[31m\u{202e}\\";
        assert_eq!(
            for_log(forged).to_string(),
            "ok\\r\\nERROR fake \\u{1b}[31m\\u{202e}\\\\"
        );
        assert_eq!(for_log("Küche 5 GHz").to_string(), "Küche 5 GHz");
    }

    #[test]
    fn long_text_is_cut_and_counted() {
        assert_eq!(for_log_capped("abcdef", 4).to_string(), "abcd…(+2)");
        assert_eq!(for_log_capped("abcd", 4).to_string(), "abcd");
        assert_eq!(
            for_log(&"é".repeat(201)).to_string().chars().count(),
            200 + 5
        );
    }
}
