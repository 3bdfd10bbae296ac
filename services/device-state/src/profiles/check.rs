//! What a profile may be: each error names the field and says what is expected.

use std::cmp::Ordering;
use std::collections::HashSet;

use hearth_clients::{Error, Result};
use hearth_proto::types::v1::{BooleanForm, Profile, ProfileMatch, Quirks};
use prost::Message;

use super::version;

const MAX_ID: usize = 64;
const MAX_DESCRIPTION: usize = 1000;
const MAX_PRIORITY: i32 = 1000;
const MAX_MATCHES: usize = 100;
/// Characters of a text in a match.
const MAX_TEXT: usize = 64;
const MAX_RPCS: usize = 32;
const MAX_NAMES: u32 = 10_000;
/// A profile as it is kept, in bytes.
const MAX_BYTES: usize = 16 * 1024;
/// What an envelope must have room for, and what it never exceeds (TR-069 3.5), in bytes, and the
/// step in which a session's cookie keeps it.
const REQUEST_BYTES: std::ops::RangeInclusive<u32> = 2048..=127 * STEP;
const STEP: u32 = 256;

/// The RPCs of a server (TR-069 A.3, A.4).
const RPCS: [&str; 18] = [
    "AddObject",
    "CancelTransfer",
    "ChangeDUState",
    "DeleteObject",
    "Download",
    "FactoryReset",
    "GetAllQueuedTransfers",
    "GetParameterAttributes",
    "GetParameterNames",
    "GetParameterValues",
    "GetQueuedTransfers",
    "GetRPCMethods",
    "Reboot",
    "ScheduleDownload",
    "ScheduleInform",
    "SetParameterAttributes",
    "SetParameterValues",
    "Upload",
];

/// A profile that may be kept, as it is written down.
///
/// # Errors
/// What may not be in it, by its field.
pub fn check(mut profile: Profile) -> Result<Profile> {
    check_id("id", &profile.id)?;
    if profile.description.chars().count() > MAX_DESCRIPTION
        || profile
            .description
            .contains(|c: char| c.is_control() && c != '\n')
    {
        let expected = "expected at most 1000 characters, none of them a control character";
        return wrong("description", expected);
    }
    if profile.priority.abs() > MAX_PRIORITY {
        return wrong("priority", "expected a number from -1000 to 1000");
    }
    if profile.matches.len() > MAX_MATCHES {
        return wrong("matches", "expected at most 100");
    }
    for (place, one) in profile.matches.iter().enumerate() {
        check_match(&format!("matches[{place}]"), one)?;
    }
    let quirks = profile.quirks.get_or_insert_default();
    check_quirks(quirks)?;
    if profile.encoded_len() > MAX_BYTES {
        return wrong("matches", "make a profile of over 16 KiB; expected less");
    }
    Ok(profile)
}

/// The id of a profile.
pub fn check_id(field: &str, id: &str) -> Result<()> {
    let first = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let other = |c: char| first(c) || matches!(c, '-' | '.' | '_');
    if id.len() <= MAX_ID && id.starts_with(first) && id.chars().all(other) {
        return Ok(());
    }
    let expected = "expected 1 to 64 of a-z, 0-9, `-`, `.` and `_`, beginning with a letter or a \
                    digit";
    wrong(field, expected)
}

fn check_match(field: &str, one: &ProfileMatch) -> Result<()> {
    let of = |name: &str| format!("{field}.{name}");
    if *one == ProfileMatch::default() {
        let expected = "says nothing; expected an oui, manufacturer, product_class or software \
                        version (`oui: \"*\"` for all devices)";
        return wrong(field, expected);
    }
    for (name, text) in [
        ("oui", &one.oui),
        ("manufacturer", &one.manufacturer),
        ("product_class", &one.product_class),
        ("software_from", &one.software_from),
        ("software_below", &one.software_below),
    ] {
        if text.chars().count() > MAX_TEXT || text.contains(char::is_control) {
            let expected = "expected at most 64 characters, none of them a control character";
            return wrong(&of(name), expected);
        }
        let inner = text.strip_suffix('*').unwrap_or(text);
        if inner.contains('*') {
            return wrong(&of(name), "expected at most one `*`, and that at the end");
        }
    }
    let digits = one.oui.strip_suffix('*').unwrap_or(&one.oui);
    let whole = one.oui.ends_with('*') || one.oui.is_empty();
    if !digits.bytes().all(|b| b.is_ascii_hexdigit())
        || digits.len() > 6
        || (!whole && digits.len() != 6)
    {
        let expected = "expected 6 hexadecimal digits, or fewer and a `*`: 00D09E, 00D0*";
        return wrong(&of("oui"), expected);
    }
    for (name, text) in [
        ("software_from", &one.software_from),
        ("software_below", &one.software_below),
    ] {
        if text.contains('*') {
            return wrong(&of(name), "expected a version; a range has no `*`");
        }
    }
    let both = !one.software_from.is_empty() && !one.software_below.is_empty();
    if both && version::compare(&one.software_from, &one.software_below) != Ordering::Less {
        let expected = "expected a version after software_from: no version is in this range";
        return wrong(&of("software_below"), expected);
    }
    Ok(())
}

fn check_quirks(quirks: &mut Quirks) -> Result<()> {
    match BooleanForm::try_from(quirks.boolean_form) {
        Err(_) => return wrong("quirks.boolean_form", "is no value that is known here"),
        // The same, said in one way.
        Ok(BooleanForm::AsGiven) => quirks.set_boolean_form(BooleanForm::Unspecified),
        Ok(_) => {}
    }
    if quirks.max_names_per_read > MAX_NAMES {
        let expected = "expected 1 to 10000, or 0 for as learned";
        return wrong("quirks.max_names_per_read", expected);
    }
    let most = quirks.max_request_bytes;
    if most != 0 && !REQUEST_BYTES.contains(&most) {
        let expected = "expected 2048 to 32512, or 0 for no limit of its own";
        return wrong("quirks.max_request_bytes", expected);
    }
    quirks.max_request_bytes = most / STEP * STEP;
    let mut seen = HashSet::new();
    for (field, rpcs) in [
        ("quirks.missing_rpcs", &quirks.missing_rpcs),
        ("quirks.present_rpcs", &quirks.present_rpcs),
    ] {
        if rpcs.len() > MAX_RPCS {
            return wrong(field, "expected at most 32");
        }
        for (place, rpc) in rpcs.iter().enumerate() {
            let at = format!("{field}[{place}]");
            if !RPCS.contains(&rpc.as_str()) {
                let shown: String = rpc.chars().take(MAX_TEXT).collect();
                let message = format!("{shown:?} is no RPC; expected one of {}", RPCS.join(", "));
                return wrong(&at, &message);
            }
            if !seen.insert(rpc.clone()) {
                return wrong(
                    &at,
                    &format!("{rpc} is named twice; it is missing or present"),
                );
            }
        }
    }
    Ok(())
}

fn wrong<T>(field: &str, message: &str) -> Result<T> {
    Err(Error::invalid(format!("profile.{field}"), message))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn good() -> Profile {
        Profile {
            id: "acme-1".into(),
            priority: 10,
            matches: vec![ProfileMatch {
                oui: "00d0*".into(),
                software_from: "1.9".into(),
                software_below: "1.10".into(),
                ..ProfileMatch::default()
            }],
            quirks: Some(Quirks {
                missing_rpcs: vec!["Upload".into()],
                max_request_bytes: 3000,
                ..Quirks::default()
            }),
            ..Profile::default()
        }
    }

    #[test]
    fn a_good_one_is_kept_as_it_will_be_followed() {
        let kept = check(good()).unwrap();
        assert_eq!(kept.quirks.unwrap().max_request_bytes, 2816);
        let bare = Profile {
            id: "x".into(),
            ..Profile::default()
        };
        assert_eq!(check(bare).unwrap().quirks, Some(Quirks::default()));
    }

    #[test]
    fn what_is_wrong_is_named() {
        type Spoil = fn(&mut Profile);
        let first = |p: &mut Profile, with: ProfileMatch| p.matches[0] = with;
        let cases: [(&str, Spoil); 22] = [
            ("id", |p| p.id = String::new()),
            ("id", |p| p.id = "Acme".into()),
            ("id", |p| p.id = "-a".into()),
            ("id", |p| p.id = "a".repeat(65)),
            ("description", |p| p.description = "x".repeat(1001)),
            ("priority", |p| p.priority = i32::MIN + 1),
            ("matches", |p| p.matches = vec![p.matches[0].clone(); 101]),
            ("matches", |p| {
                let text = "ü".repeat(64);
                p.matches[0].manufacturer = text.clone();
                p.matches[0].product_class = text;
                p.matches = vec![p.matches[0].clone(); 100];
            }),
            ("matches[0]", |p| p.matches[0] = ProfileMatch::default()),
            ("matches[0].oui", |p| p.matches[0].oui = "00D0".into()),
            ("matches[0].oui", |p| p.matches[0].oui = "00D0ZZ".into()),
            ("matches[0].oui", |p| p.matches[0].oui = "00D09E0*".into()),
            ("matches[0].product_class", |p| {
                p.matches[0].product_class = "a*b".into()
            }),
            ("matches[0].manufacturer", |p| {
                p.matches[0].manufacturer = "a\nb".into()
            }),
            ("matches[0].software_from", |p| {
                p.matches[0].software_from = "1.*".into()
            }),
            ("matches[0].software_below", |p| {
                p.matches[0].software_below = "1.9".into()
            }),
            ("quirks.boolean_form", |p| {
                p.quirks.as_mut().unwrap().boolean_form = 9
            }),
            ("quirks.max_names_per_read", |p| {
                p.quirks.as_mut().unwrap().max_names_per_read = 10_001;
            }),
            ("quirks.max_request_bytes", |p| {
                p.quirks.as_mut().unwrap().max_request_bytes = 2047;
            }),
            ("quirks.max_request_bytes", |p| {
                p.quirks.as_mut().unwrap().max_request_bytes = 32 * 1024;
            }),
            ("quirks.present_rpcs[0]", |p| {
                p.quirks.as_mut().unwrap().present_rpcs = vec!["Upload".into()];
            }),
            ("quirks.missing_rpcs[1]", |p| {
                p.quirks
                    .as_mut()
                    .unwrap()
                    .missing_rpcs
                    .push("Inform".into());
            }),
        ];
        for (field, spoil) in cases {
            let mut profile = good();
            spoil(&mut profile);
            let error = check(profile).unwrap_err();
            assert_eq!(error.field, format!("profile.{field}"), "{}", error.message);
        }
        let mut profile = good();
        first(
            &mut profile,
            ProfileMatch {
                oui: "*".into(),
                ..ProfileMatch::default()
            },
        );
        assert!(check(profile).is_ok());
    }
}
