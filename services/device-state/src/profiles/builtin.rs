//! The profiles that come with the server: `profiles/builtin.yaml`, in the executable.

use hearth_proto::profile::ProfileForm;
use hearth_proto::types::v1::Profile;

/// The file.
const FILE: &str = include_str!("../../profiles/builtin.yaml");

/// What comes with the server. A file that can't be read is a mistake of the build, which the tests
/// find; then there is none.
pub fn all() -> Vec<Profile> {
    let read = serde_yaml_ng::from_str::<Vec<ProfileForm>>(FILE);
    let forms = read.unwrap_or_else(|error| {
        tracing::error!(%error, "the built-in quirk profiles can't be read");
        Vec::new()
    });
    let profiles = forms.into_iter().map(|form| Profile {
        builtin: true,
        version: form.version.max(1),
        ..Profile::from(form)
    });
    profiles.collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::profiles::check::check;

    #[test]
    fn what_comes_with_the_server_is_valid() {
        let forms: Vec<ProfileForm> = serde_yaml_ng::from_str(FILE).unwrap();
        assert_eq!(all().len(), forms.len());
        let mut ids = std::collections::BTreeSet::new();
        for profile in all() {
            assert!(ids.insert(profile.id.clone()), "{} is twice", profile.id);
            let checked = check(profile.clone());
            assert!(checked.is_ok(), "{}: {checked:?}", profile.id);
            assert!(profile.description.len() > 20, "{} says what", profile.id);
            assert_ne!(
                profile.quirks,
                Some(hearth_proto::types::v1::Quirks::default()),
                "{} does nothing",
                profile.id
            );
        }
        assert!(ids.contains("pre-amendment-1"));
    }
}
