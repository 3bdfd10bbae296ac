//! Which profile a device gets: the first that matches, the best ones first.

use std::cmp::{Ordering, Reverse};

use hearth_proto::types::v1::{Profile, ProfileChoice, ProfileMatch};

use super::version;

/// What is known of a device.
#[derive(Clone, Debug, Default)]
pub struct Subject {
    pub oui: String,
    pub manufacturer: String,
    pub product_class: String,
    /// Empty where it isn't known.
    pub software_version: String,
}

/// A tenant's profiles with the built-in ones, the best first.
#[derive(Debug)]
pub struct Profiles(Vec<Profile>);

impl Profiles {
    pub fn new(mut profiles: Vec<Profile>) -> Self {
        profiles.retain(|profile| !profile.matches.is_empty());
        for one in profiles.iter_mut().flat_map(|profile| &mut profile.matches) {
            one.oui.make_ascii_uppercase();
        }
        profiles.sort_by(|a, b| place(a).cmp(&place(b)));
        Self(profiles)
    }

    /// Whether any device may match.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a software version matters.
    pub fn ask_for_software(&self) -> bool {
        let mut all = self.0.iter().flat_map(|profile| &profile.matches);
        all.any(|one| !one.software_from.is_empty() || !one.software_below.is_empty())
    }

    /// The profile of a device, and why.
    pub fn choose(&self, subject: &Subject) -> Option<ProfileChoice> {
        let oui = subject.oui.to_ascii_uppercase();
        self.0.iter().find_map(|profile| {
            let mut matches = profile.matches.iter();
            let found = matches.find(|one| fits(one, &oui, subject))?;
            Some(ProfileChoice {
                id: profile.id.clone(),
                version: profile.version,
                builtin: profile.builtin,
                reason: reason(found, profile.priority),
                quirks: profile.quirks.clone(),
            })
        })
    }
}

fn place(profile: &Profile) -> (Reverse<i32>, bool, &str) {
    (Reverse(profile.priority), profile.builtin, &profile.id)
}

/// `oui`: the subject's, in upper case.
fn fits(one: &ProfileMatch, oui: &str, subject: &Subject) -> bool {
    let version = |bound: &str, wanted: fn(Ordering) -> bool| {
        bound.is_empty()
            || (!subject.software_version.is_empty()
                && wanted(version::compare(&subject.software_version, bound)))
    };
    is_like_or_any(&one.oui, oui)
        && is_like_or_any(&one.manufacturer, &subject.manufacturer)
        && is_like_or_any(&one.product_class, &subject.product_class)
        && version(&one.software_from, Ordering::is_ge)
        && version(&one.software_below, Ordering::is_lt)
}

fn is_like_or_any(pattern: &str, text: &str) -> bool {
    pattern.is_empty() || is_like(pattern, text)
}

fn is_like(pattern: &str, text: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => text.starts_with(start),
        None => text == pattern,
    }
}

/// In words: `oui 00D09E, product_class IGD*, software_below 2.0; priority 10`.
fn reason(one: &ProfileMatch, priority: i32) -> String {
    let said = [
        ("oui", &one.oui),
        ("manufacturer", &one.manufacturer),
        ("product_class", &one.product_class),
        ("software_from", &one.software_from),
        ("software_below", &one.software_below),
    ];
    let said = said.iter().filter(|(_, text)| !text.is_empty());
    let said: Vec<_> = said.map(|(name, text)| format!("{name} {text}")).collect();
    format!("{}; priority {priority}", said.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(id: &str, priority: i32, builtin: bool, matches: &[[&str; 5]]) -> Profile {
        Profile {
            id: id.into(),
            version: 1,
            priority,
            builtin,
            matches: matches
                .iter()
                .map(|[oui, manufacturer, class, from, below]| ProfileMatch {
                    oui: (*oui).into(),
                    manufacturer: (*manufacturer).into(),
                    product_class: (*class).into(),
                    software_from: (*from).into(),
                    software_below: (*below).into(),
                })
                .collect(),
            ..Profile::default()
        }
    }

    fn chosen(profiles: &Profiles, [oui, manufacturer, class, version]: [&str; 4]) -> String {
        let subject = Subject {
            oui: oui.into(),
            manufacturer: manufacturer.into(),
            product_class: class.into(),
            software_version: version.into(),
        };
        profiles.choose(&subject).map_or(String::new(), |c| c.id)
    }

    #[test]
    fn a_device_gets_the_first_that_matches_by_priority() {
        let profiles = Profiles::new(vec![
            profile("wide", 0, false, &[["*", "", "", "", ""]]),
            profile("none", 100, false, &[]),
            profile("built-in", 10, true, &[["", "Acme", "", "", ""]]),
            profile("own-b", 10, false, &[["", "Acme", "B*", "", ""]]),
            profile(
                "own-a",
                10,
                false,
                &[["", "Acme", "B*", "", ""], ["aabb*", "", "", "", ""]],
            ),
            profile("old", 20, false, &[["00D09E", "", "", "1.2", "1.10"]]),
            profile("from", 15, false, &[["00D09E", "", "", "2.0", ""]]),
        ]);
        for (subject, id) in [
            (["123456", "Other", "X", ""], "wide"),
            (["123456", "Acme", "Box", "1.3"], "own-a"),
            (["AABBCC", "Other", "", ""], "own-a"),
            (["123456", "Acme", "X", ""], "built-in"),
            (["123456", "acme", "X", ""], "wide"),
            (["00d09e", "Acme", "X", "1.9"], "old"),
            (["00D09E", "Acme", "X", "1.2"], "old"),
            (["00D09E", "Acme", "X", "1.10"], "built-in"),
            (["00D09E", "Acme", "X", "1.1"], "built-in"),
            (["00D09E", "Acme", "X", ""], "built-in"),
            (["00D09E", "Acme", "X", "v2.0"], "from"),
        ] {
            assert_eq!(chosen(&profiles, subject), id, "{subject:?}");
        }
        assert!(profiles.ask_for_software());
        let subject = Subject {
            oui: "00D09E".into(),
            software_version: "1.3".into(),
            ..Subject::default()
        };
        let why = profiles.choose(&subject).map(|choice| choice.reason);
        let expected = "oui 00D09E, software_from 1.2, software_below 1.10; priority 20";
        assert_eq!(why.as_deref(), Some(expected));
        assert!(Profiles::new(vec![profile("none", 0, true, &[])]).is_empty());
    }
}
