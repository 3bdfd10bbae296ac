//! How booleans and times are written to a device, and what is learned of that: some devices want
//! `1` for `true`, some refuse a fraction of a second. SetParameterValues is atomic (TR-069
//! A.3.2.1), so a refused one may be sent again in another form.

use super::{Facts, Learned};
use crate::faults;
use hearth_proto::types::v1::{BooleanForm, Fault, ParameterValue, ValueType};
use serde::{Deserialize, Serialize};

/// How the values of a request are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Written {
    /// A [`BooleanForm`].
    pub(crate) booleans: i32,
    /// Without a fraction of a second.
    pub(crate) whole_seconds: bool,
}

/// What is tried, once each.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Forms {
    written: Written,
    /// As it was before a try that is under way.
    #[serde(default)]
    before: Option<Written>,
    may_try_booleans: bool,
    may_try_seconds: bool,
}

impl Forms {
    pub(super) fn new(facts: &Facts) -> Self {
        Self {
            written: Written {
                booleans: facts.boolean_form.into(),
                whole_seconds: facts.whole_seconds,
            },
            before: None,
            may_try_booleans: !facts.booleans_are_said,
            may_try_seconds: !facts.whole_seconds,
        }
    }

    pub(super) const fn written(&self) -> Written {
        self.written
    }

    /// The device took the values: what a try has shown.
    pub(super) fn taken(&self) -> Option<Learned> {
        let before = self.before?;
        if before.booleans != self.written.booleans {
            let form = BooleanForm::try_from(self.written.booleans).ok()?;
            return Some(Learned::BooleanForm(form));
        }
        Some(Learned::WholeSeconds)
    }

    /// Whether another form may help after a fault; it is used from now on.
    pub(super) fn try_other(
        &mut self,
        values: &[ParameterValue],
        prefix: &str,
        fault: &Fault,
    ) -> bool {
        // A try that did not help.
        if let Some(before) = self.before.take() {
            self.written = before;
        }
        let blamed = |value: &&ParameterValue| is_blamed(fault, &format!("{prefix}{}", value.path));
        if std::mem::take(&mut self.may_try_booleans)
            && let Some(value) = values.iter().filter(blamed).find(|v| is_boolean(v))
        {
            self.before = Some(self.written);
            self.written.booleans = self.other_form(&value.value).into();
            return true;
        }
        if std::mem::take(&mut self.may_try_seconds)
            && values.iter().filter(blamed).any(has_fraction)
        {
            self.before = Some(self.written);
            self.written.whole_seconds = true;
            return true;
        }
        false
    }

    /// Another form than the value was sent in.
    fn other_form(&self, given: &str) -> BooleanForm {
        match BooleanForm::try_from(self.written.booleans) {
            Ok(BooleanForm::Digits) => BooleanForm::Words,
            Ok(BooleanForm::Words) => BooleanForm::Digits,
            _ if matches!(given.trim(), "0" | "1") => BooleanForm::Words,
            _ => BooleanForm::Digits,
        }
    }
}

/// Whether a fault says that a value, or its type, is wrong: of this parameter where it names any.
fn is_blamed(fault: &Fault, path: &str) -> bool {
    let of_form = |code| matches!(code, faults::INVALID_TYPE | faults::INVALID_VALUE);
    match fault.parameters.is_empty() {
        true => of_form(fault.code),
        false => fault
            .parameters
            .iter()
            .any(|p| of_form(p.code) && p.path.trim() == path),
    }
}

/// Whether it is a boolean: without a type, if it reads as one and as nothing else.
fn is_boolean(value: &ParameterValue) -> bool {
    let text = value.value.trim();
    let word = text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false");
    match value.r#type() {
        ValueType::Boolean => word || matches!(text, "0" | "1"),
        ValueType::Unspecified => word,
        _ => false,
    }
}

fn has_fraction(value: &ParameterValue) -> bool {
    let text = value.value.trim();
    let reads = text.contains('.') && text.contains('T') && text.contains(':');
    reads && matches!(value.r#type(), ValueType::DateTime | ValueType::Unspecified)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use hearth_proto::types::v1::ParameterFault;

    fn value(path: &str, text: &str, kind: ValueType) -> ParameterValue {
        ParameterValue {
            path: path.into(),
            value: text.into(),
            r#type: kind.into(),
            sealed: Vec::new(),
        }
    }

    fn fault(code: u32, path: &str) -> Fault {
        Fault {
            code: faults::INVALID_ARGUMENTS,
            parameters: vec![ParameterFault {
                path: path.into(),
                code,
                text: String::new(),
            }],
            ..Fault::default()
        }
    }

    #[test]
    fn another_form_is_tried_once_and_remembered_when_it_helped() {
        let values = [
            value("A", "true", ValueType::Boolean),
            value("B", "2026-01-31T12:00:00.5Z", ValueType::DateTime),
        ];
        let mut forms = Forms::new(&Facts::default());
        assert!(forms.try_other(&values, "D.", &fault(9007, "D.A")));
        assert_eq!(forms.written().booleans, i32::from(BooleanForm::Digits));
        let learned = Learned::BooleanForm(BooleanForm::Digits);
        assert_eq!(forms.taken(), Some(learned));
        assert!(!forms.try_other(&values, "D.", &fault(9007, "D.A")), "once");
        assert_eq!(forms.written(), Written::default(), "it did not help");
        assert_eq!(forms.taken(), None);
        let mut forms = Forms::new(&Facts::default());
        assert!(forms.try_other(&values, "", &fault(9006, "B")));
        assert_eq!(forms.taken(), Some(Learned::WholeSeconds));
    }

    #[test]
    fn nothing_is_tried_where_it_can_not_help() {
        let values = [
            value("A", "1", ValueType::UnsignedInt),
            value("B", "true", ValueType::Boolean),
        ];
        let none = |fault: &Fault| !Forms::new(&Facts::default()).try_other(&values, "", fault);
        assert!(none(&fault(9007, "A")), "no boolean");
        assert!(none(&fault(9008, "B")), "read-only");
        assert!(none(&fault(9007, "X")));
        let said = Facts {
            booleans_are_said: true,
            ..Facts::default()
        };
        assert!(!Forms::new(&said).try_other(&values, "", &fault(9007, "B")));
        let bare = Fault {
            code: 9007,
            ..Fault::default()
        };
        assert!(Forms::new(&Facts::default()).try_other(&values, "", &bare));
    }
}
