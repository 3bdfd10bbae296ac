//! Quirk profiles as people write them, in YAML or JSON: the same for the tool and for what comes
//! with the server. A name that is not known is an error, so that a slip of the pen is not a quirk
//! that silently isn't there.

use crate::types::v1::{BooleanForm, Profile, ProfileMatch, Quirks};
use serde::{Deserialize, Serialize};

/// A profile.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProfileForm {
    /// Its name in the tenant.
    pub id: String,
    /// As it is kept; not read.
    #[serde(skip_serializing_if = "is_default")]
    pub version: u64,
    /// Whether it comes with the server; not read.
    #[serde(skip_serializing_if = "is_default")]
    pub builtin: bool,
    /// For people.
    #[serde(skip_serializing_if = "is_default")]
    pub description: String,
    /// The highest of those that match wins.
    pub priority: i32,
    /// For which devices.
    pub matches: Vec<MatchForm>,
    /// What they need.
    pub quirks: QuirksForm,
}

/// Some devices.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MatchForm {
    /// OUI.
    #[serde(skip_serializing_if = "is_default")]
    pub oui: String,
    /// Manufacturer.
    #[serde(skip_serializing_if = "is_default")]
    pub manufacturer: String,
    /// Product class.
    #[serde(skip_serializing_if = "is_default")]
    pub product_class: String,
    /// This software version or a later one.
    #[serde(skip_serializing_if = "is_default")]
    pub software_from: String,
    /// An earlier software version.
    #[serde(skip_serializing_if = "is_default")]
    pub software_below: String,
}

/// What they need; as [`Quirks`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)]
pub struct QuirksForm {
    #[serde(skip_serializing_if = "is_default")]
    pub triple_empty_end: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub boolean_form: BooleanFormName,
    #[serde(skip_serializing_if = "is_default")]
    pub no_fractional_seconds: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub max_names_per_read: u32,
    #[serde(skip_serializing_if = "is_default")]
    pub refuses_empty_path: Option<bool>,
    #[serde(skip_serializing_if = "is_default")]
    pub missing_rpcs: Vec<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub present_rpcs: Vec<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub empty_parameter_key: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub xml_declaration: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub max_request_bytes: u32,
}

/// How booleans are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BooleanFormName {
    /// As given.
    #[default]
    AsGiven,
    /// `0` and `1`.
    Digits,
    /// `false` and `true`.
    Words,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl From<BooleanForm> for BooleanFormName {
    fn from(form: BooleanForm) -> Self {
        match form {
            BooleanForm::Unspecified | BooleanForm::AsGiven => Self::AsGiven,
            BooleanForm::Digits => Self::Digits,
            BooleanForm::Words => Self::Words,
        }
    }
}

impl From<BooleanFormName> for BooleanForm {
    fn from(form: BooleanFormName) -> Self {
        match form {
            BooleanFormName::AsGiven => Self::Unspecified,
            BooleanFormName::Digits => Self::Digits,
            BooleanFormName::Words => Self::Words,
        }
    }
}

impl From<ProfileForm> for Profile {
    fn from(form: ProfileForm) -> Self {
        let matches = form.matches.into_iter().map(|one| ProfileMatch {
            oui: one.oui,
            manufacturer: one.manufacturer,
            product_class: one.product_class,
            software_from: one.software_from,
            software_below: one.software_below,
        });
        Self {
            id: form.id,
            version: form.version,
            description: form.description,
            priority: form.priority,
            matches: matches.collect(),
            quirks: Some(form.quirks.into()),
            builtin: form.builtin,
            update_time: None,
        }
    }
}

impl From<QuirksForm> for Quirks {
    fn from(form: QuirksForm) -> Self {
        Self {
            triple_empty_end: form.triple_empty_end,
            boolean_form: BooleanForm::from(form.boolean_form).into(),
            no_fractional_seconds: form.no_fractional_seconds,
            max_names_per_read: form.max_names_per_read,
            refuses_empty_path: form.refuses_empty_path,
            missing_rpcs: form.missing_rpcs,
            present_rpcs: form.present_rpcs,
            empty_parameter_key: form.empty_parameter_key,
            xml_declaration: form.xml_declaration,
            max_request_bytes: form.max_request_bytes,
        }
    }
}

impl From<Profile> for ProfileForm {
    fn from(profile: Profile) -> Self {
        let matches = profile.matches.into_iter().map(|one| MatchForm {
            oui: one.oui,
            manufacturer: one.manufacturer,
            product_class: one.product_class,
            software_from: one.software_from,
            software_below: one.software_below,
        });
        Self {
            id: profile.id,
            version: profile.version,
            builtin: profile.builtin,
            description: profile.description,
            priority: profile.priority,
            matches: matches.collect(),
            quirks: profile.quirks.unwrap_or_default().into(),
        }
    }
}

impl From<Quirks> for QuirksForm {
    fn from(quirks: Quirks) -> Self {
        Self {
            boolean_form: quirks.boolean_form().into(),
            triple_empty_end: quirks.triple_empty_end,
            no_fractional_seconds: quirks.no_fractional_seconds,
            max_names_per_read: quirks.max_names_per_read,
            refuses_empty_path: quirks.refuses_empty_path,
            missing_rpcs: quirks.missing_rpcs,
            present_rpcs: quirks.present_rpcs,
            empty_parameter_key: quirks.empty_parameter_key,
            xml_declaration: quirks.xml_declaration,
            max_request_bytes: quirks.max_request_bytes,
        }
    }
}
