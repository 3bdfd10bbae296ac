//! Flags of `device search` as a filter of ListDevices.

use crate::{cli::Search, error::Error, values::split};

/// The filter; empty where no condition is given.
pub(crate) fn of(search: &Search) -> Result<String, Error> {
    let mut conditions = Vec::new();
    let single = [
        ("id", &search.id),
        ("serial_number", &search.serial),
        ("oui", &search.oui),
        ("product_class", &search.product_class),
        ("manufacturer", &search.manufacturer),
        ("software_version", &search.version),
        ("remote_address", &search.address),
        ("state", &search.state),
    ];
    for (field, value) in single {
        if let Some(value) = value {
            conditions.push(condition(field, value));
        }
    }
    conditions.extend(search.tag.iter().map(|tag| condition("tag", tag)));
    if search.online || search.offline {
        conditions.push(format!("online = {}", search.online));
    }
    for text in &search.param {
        let (path, value) = split(text, "VALUE")?;
        conditions.push(condition(path, value));
    }
    Ok(conditions.join(" AND "))
}

/// `field = "value"`; an asterisk keeps its meaning unless it is escaped.
fn condition(field: &str, value: &str) -> String {
    let mut quoted = String::with_capacity(value.len() + 2);
    let mut characters = value.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '\\' if characters.peek() == Some(&'*') => {
                characters.next();
                quoted.push_str("\\*");
            }
            '"' | '\\' => quoted.extend(['\\', c]),
            c => quoted.push(c),
        }
    }
    format!("{field} = \"{quoted}\"")
}

/// `field = "value"` of exactly this value, or of one that begins with it.
pub(crate) fn literal(field: &str, value: &str, prefix: bool) -> String {
    let quoted = value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('*', "\\*");
    let star = if prefix { "*" } else { "" };
    format!("{field} = \"{quoted}{star}\"")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn flags_are_joined() {
        let search = Search {
            serial: Some("ABC*".into()),
            product_class: Some("Home \"R\"".into()),
            tag: vec!["beta".into(), "site:1".into()],
            online: true,
            param: vec!["Device.X.Y=a=b".into()],
            ..Default::default()
        };
        assert_eq!(
            of(&search).unwrap(),
            "serial_number = \"ABC*\" AND product_class = \"Home \\\"R\\\"\" AND tag = \"beta\" \
             AND tag = \"site:1\" AND online = true AND Device.X.Y = \"a=b\""
        );
        assert_eq!(of(&Search::default()).unwrap(), "");
    }

    #[test]
    fn escaped_asterisks_stay_asterisks() {
        assert_eq!(condition("id", r"a\*"), r#"id = "a\*""#);
        assert_eq!(condition("id", r"a\b"), r#"id = "a\\b""#);
        assert_eq!(literal("id", r#"a*"\"#, true), r#"id = "a\*\"\\*""#);
    }
}
