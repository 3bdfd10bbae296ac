//! Tests of the filter.

#![allow(clippy::unwrap_used)]
use super::*;
use proptest::prelude::*;

fn condition(attribute: &str, value: &str, prefix: bool) -> Condition {
    Condition {
        attribute: attribute.to_owned(),
        value: value.to_owned(),
        prefix,
    }
}

#[test]
fn conditions_are_read() {
    assert_eq!(read("  ").unwrap(), []);
    assert_eq!(
        read(r#"serial_number = "ABC*" AND tag='be ta' AND online=true"#).unwrap(),
        [
            condition("serial_number", "ABC", true),
            condition("tag", "be ta", false),
            condition("online", "true", false),
        ]
    );
    assert_eq!(
        read("Device.DeviceInfo.X_00-AA_Y = v1.2 AND oui=00aa11").unwrap(),
        [
            condition("Device.DeviceInfo.X_00-AA_Y", "v1.2", false),
            condition("oui", "00AA11", false),
        ]
    );
    assert_eq!(
        read(r#"tag = "a\*" AND tag = "\"x\"*""#).unwrap(),
        [
            condition("tag", "a*", false),
            condition("tag", "\"x\"", true)
        ]
    );
    assert_eq!(
        read("remote_address = 2001:db8::1 AND id = 00AA11-Set%2DTop-1").unwrap()[1].value,
        "00AA11-Set%2DTop-1"
    );
    assert_eq!(read("product_class = \"\"").unwrap()[0].value, "");
    assert_eq!(read("tag = *").unwrap(), [condition("tag", "", true)]);
}

#[test]
fn errors_say_where_and_what_is_supported() {
    for (filter, position, what) in [
        ("tag", 4, "expected ="),
        ("tag != x", 5, "expected ="),
        ("colour = red", 1, "expected a field"),
        ("tag = ", 7, "expected a value"),
        ("tag = a OR tag = b", 9, "expected AND"),
        ("tag = a and tag = b", 9, "expected AND"),
        ("tag = a AND", 12, "expected a field"),
        ("tag = \"a", 7, "a quote is not closed"),
        ("tag = 'é*b'", 7, "an asterisk"),
        ("tag = a*b", 7, "an asterisk"),
        ("(tag = a)", 1, "expected a field"),
        ("online = maybe", 10, "expected true or false"),
        ("ä = 1", 1, "expected a field"),
        ("Device. = 1", 1, "expected a field"),
    ] {
        let error = read(filter).unwrap_err();
        assert!(error.starts_with(what), "{filter}: {error}");
        let place = format!("at character {position};");
        assert!(error.contains(&place), "{filter}: {error}");
        assert!(error.contains("joined by AND"));
    }
    let many = vec!["tag=a"; MAX_CONDITIONS + 1].join(" AND ");
    assert!(read(&many).unwrap_err().starts_with("more than"));
    assert!(read(&"x".repeat(MAX_LENGTH + 1)).is_err());
}

proptest! {
    #[test]
    fn nothing_panics(filter in any::<String>()) {
        let _ = read(&filter);
    }

    #[test]
    fn nothing_like_a_filter_panics(filter in r#"([a-z_.]{1,8}|=|AND|\*|"|'|\\|é| ){0,20}"#) {
        let _ = read(&filter);
    }

    #[test]
    fn quoted_values_read_back(value in any::<String>(), prefix in any::<bool>()) {
        prop_assume!(value.len() < 1000);
        let mut quoted = String::new();
        for c in value.chars() {
            if matches!(c, '"' | '\\' | '*') {
                quoted.push('\\');
            }
            quoted.push(c);
        }
        let star = if prefix { "*" } else { "" };
        let filter = format!("tag = \"{quoted}{star}\"");
        prop_assert_eq!(read(&filter).unwrap(), [condition("tag", &value, prefix)]);
    }
}
