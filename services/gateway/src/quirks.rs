//! What of a device's quirk profile the gateway follows: how a session ends, and how what goes to
//! the device is written. Chosen at the Inform, and kept in the session's cookie in two bytes.

use std::borrow::Cow;

use hearth_cwmp::XsdType;
use hearth_proto::types::v1::{self as ty, BooleanForm};

/// What goes before an envelope for devices that want it.
pub(crate) const XML_DECLARATION: &[u8] = b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

const DIGITS: u8 = 1;
const WORDS: u8 = 2;
const BOOLEANS: u8 = DIGITS | WORDS;
const WHOLE_SECONDS: u8 = 4;
const NO_PARAMETER_KEY: u8 = 8;
const DECLARED: u8 = 16;
/// The step in which the longest request is kept.
const STEP: usize = 256;

/// The quirks of a session. None is set for a device without a profile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Quirks {
    flags: u8,
    /// In steps; 0: no limit of its own.
    most: u8,
}

impl Quirks {
    /// What a profile says. How the session ends is the session machine's.
    pub(crate) fn of(profile: &ty::Quirks) -> Self {
        let mut flags = forms(profile.boolean_form(), profile.no_fractional_seconds);
        for (flag, is_set) in [
            (NO_PARAMETER_KEY, profile.empty_parameter_key),
            (DECLARED, profile.xml_declaration),
        ] {
            flags |= if is_set { flag } else { 0 };
        }
        let most = usize::try_from(profile.max_request_bytes).unwrap_or(0) / STEP;
        Self {
            flags,
            most: u8::try_from(most).unwrap_or(0),
        }
    }

    /// As the session's cookie has them.
    pub(crate) const fn to_bytes(self) -> [u8; 2] {
        [self.flags, self.most]
    }

    /// `None` if this version doesn't know them.
    pub(crate) const fn from_bytes([flags, most]: [u8; 2]) -> Option<Self> {
        let known = BOOLEANS | WHOLE_SECONDS | NO_PARAMETER_KEY | DECLARED;
        if flags & !known != 0 || flags & BOOLEANS == BOOLEANS {
            return None;
        }
        Some(Self { flags, most })
    }

    /// What was learned of the model, where the profile says nothing.
    pub(crate) fn or_learned(mut self, form: BooleanForm, whole_seconds: bool) -> Self {
        let mut learned = forms(form, whole_seconds);
        if self.flags & BOOLEANS != 0 {
            learned &= !BOOLEANS;
        }
        self.flags |= learned;
        self
    }

    const fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Whether ParameterKey stays empty.
    pub(crate) const fn empties_parameter_key(self) -> bool {
        self.has(NO_PARAMETER_KEY)
    }

    /// Whether envelopes begin with an XML declaration.
    pub(crate) const fn declares_xml(self) -> bool {
        self.has(DECLARED)
    }

    /// The longest envelope that the device takes, in bytes.
    pub(crate) fn longest(self) -> Option<usize> {
        (self.most > 0).then_some(usize::from(self.most) * STEP)
    }

    /// A value as the device wants it written. One that isn't of its type stays as it is.
    pub(crate) fn value(self, value: String, xsd: XsdType) -> String {
        let written = match xsd {
            XsdType::Boolean if self.has(BOOLEANS) => self.boolean(&value),
            XsdType::DateTime if self.has(WHOLE_SECONDS) => without_fraction(&value),
            _ => return value,
        };
        written.map_or(value, Cow::into_owned)
    }

    fn boolean(self, value: &str) -> Option<Cow<'static, str>> {
        let is_true = match value.trim() {
            "1" => true,
            "0" => false,
            text if text.eq_ignore_ascii_case("true") => true,
            text if text.eq_ignore_ascii_case("false") => false,
            _ => return None,
        };
        Some(Cow::Borrowed(match (self.has(DIGITS), is_true) {
            (true, true) => "1",
            (true, false) => "0",
            (false, true) => "true",
            (false, false) => "false",
        }))
    }
}

fn forms(form: BooleanForm, whole_seconds: bool) -> u8 {
    let booleans = match form {
        BooleanForm::Unspecified | BooleanForm::AsGiven => 0,
        BooleanForm::Digits => DIGITS,
        BooleanForm::Words => WORDS,
    };
    booleans | if whole_seconds { WHOLE_SECONDS } else { 0 }
}

/// `2026-01-31T12:00:00.123Z` → `2026-01-31T12:00:00Z`.
fn without_fraction(value: &str) -> Option<Cow<'static, str>> {
    let (seconds, rest) = value.split_once('.')?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    Some(Cow::Owned(format!("{seconds}{}", &rest[digits..])))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn quirks(form: BooleanForm, whole: bool) -> Quirks {
        Quirks::of(&ty::Quirks {
            boolean_form: form.into(),
            no_fractional_seconds: whole,
            ..ty::Quirks::default()
        })
    }

    #[test]
    fn values_are_written_as_the_device_wants_them() {
        use BooleanForm::{AsGiven, Digits, Words};
        use XsdType::{Boolean, DateTime, String};
        for (form, kind, given, written) in [
            (Digits, Boolean, "true", "1"),
            (Digits, Boolean, "False", "0"),
            (Digits, Boolean, "1", "1"),
            (Digits, Boolean, "yes", "yes"),
            (Digits, String, "true", "true"),
            (Words, Boolean, "1", "true"),
            (Words, Boolean, "0", "false"),
            (AsGiven, Boolean, "TRUE", "TRUE"),
            (
                Words,
                DateTime,
                "2026-01-31T12:00:00.123Z",
                "2026-01-31T12:00:00Z",
            ),
            (
                Words,
                DateTime,
                "2026-01-31T12:00:00.5+02:00",
                "2026-01-31T12:00:00+02:00",
            ),
            (
                Words,
                DateTime,
                "2026-01-31T12:00:00Z",
                "2026-01-31T12:00:00Z",
            ),
            (Words, String, "1.5", "1.5"),
        ] {
            let told = quirks(form, true).value(given.to_owned(), kind);
            assert_eq!(told, written, "{form:?} {kind:?} {given}");
        }
        let fraction = "2026-01-31T12:00:00.123Z";
        let kept = Quirks::default().value(fraction.to_owned(), DateTime);
        assert_eq!(kept, fraction);
    }

    #[test]
    fn they_fit_into_two_bytes_and_come_back() {
        let all = ty::Quirks {
            boolean_form: BooleanForm::Words.into(),
            no_fractional_seconds: true,
            empty_parameter_key: true,
            xml_declaration: true,
            max_request_bytes: 32_512,
            ..ty::Quirks::default()
        };
        let quirks = Quirks::of(&all);
        assert_eq!(quirks.longest(), Some(32_512));
        assert_eq!(Quirks::from_bytes(quirks.to_bytes()), Some(quirks));
        assert_eq!(Quirks::from_bytes([0, 0]), Some(Quirks::default()));
        for unknown in [[3, 0], [32, 0], [128, 1]] {
            assert_eq!(Quirks::from_bytes(unknown), None);
        }
    }

    #[test]
    fn a_profile_goes_before_what_was_learned() {
        let profile = quirks(BooleanForm::Words, false);
        let both = profile.or_learned(BooleanForm::Digits, true);
        assert_eq!(both, quirks(BooleanForm::Words, true));
        let learned = Quirks::default().or_learned(BooleanForm::Digits, false);
        assert_eq!(learned, quirks(BooleanForm::Digits, false));
    }
}
