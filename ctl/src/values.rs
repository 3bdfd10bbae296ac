//! `PATH=VALUE` and what goes with it.

use crate::{app::App, error::Error};
use hearth_proto::types::v1::{ParameterValue, ValueType};
use std::{collections::BTreeMap, path::Path};

/// Reads the values of a set: from the command line, from files, with their types.
///
/// # Errors
/// A text without `=`, an empty or repeated path, a type without a value, a value that is none of
/// its type, a file that can't be read.
pub(crate) fn read(
    app: &mut App<'_>,
    given: &[String],
    files: &[String],
    types: &[String],
) -> Result<Vec<ParameterValue>, Error> {
    let mut values = Vec::new();
    for text in given {
        let (path, value) = split(text, "VALUE")?;
        values.push((path.to_owned(), value.to_owned()));
    }
    for text in files {
        let (path, file) = split(text, "FILE")?;
        values.push((path.to_owned(), app.read_text(Path::new(file))?));
    }
    typed(values, types)
}

/// Splits at the first `=`; the rest may hold more of them.
pub(crate) fn split<'a>(text: &'a str, what: &str) -> Result<(&'a str, &'a str), Error> {
    match text.split_once('=') {
        Some((path, value)) if !path.is_empty() => Ok((path, value)),
        _ => Err(Error::usage(format!("`{text}`: expected PATH={what}"))),
    }
}

fn typed(values: Vec<(String, String)>, types: &[String]) -> Result<Vec<ParameterValue>, Error> {
    let mut by_path = BTreeMap::new();
    for text in types {
        let (path, name) = split(text, "TYPE")?;
        let value_type: hearth_types::ValueType = name
            .parse()
            .map_err(|error| Error::usage(format!("--type {text}: {error}")))?;
        by_path.insert(path, value_type);
    }
    let mut result: Vec<ParameterValue> = Vec::with_capacity(values.len());
    for (path, value) in values {
        if result.iter().any(|earlier| earlier.path == path) {
            return Err(Error::usage(format!("{path} is given twice")));
        }
        let value_type = by_path.remove(path.as_str());
        if let Some(value_type) = value_type {
            // The value itself is not shown: it may be a secret.
            value_type
                .check(&value)
                .map_err(|error| Error::usage(format!("{path}: {error}")))?;
        }
        result.push(ParameterValue {
            path,
            value,
            r#type: value_type
                .map_or(ValueType::Unspecified, ValueType::from)
                .into(),
            ..Default::default()
        });
    }
    match by_path.keys().next() {
        Some(path) => Err(Error::usage(format!(
            "--type {path}=…: no value is given for it"
        ))),
        None => Ok(result),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn pairs(texts: &[(&str, &str)]) -> Vec<(String, String)> {
        texts
            .iter()
            .map(|(p, v)| ((*p).into(), (*v).into()))
            .collect()
    }

    #[test]
    fn a_value_may_hold_equals_signs_and_be_empty() {
        assert_eq!(split("A.B=x=y=", "VALUE").unwrap(), ("A.B", "x=y="));
        assert_eq!(split("A.B=", "VALUE").unwrap(), ("A.B", ""));
        for bad in ["A.B", "=x", ""] {
            assert!(split(bad, "VALUE").is_err(), "{bad}");
        }
    }

    #[test]
    fn types_are_checked_here() {
        let values = typed(pairs(&[("A", "5"), ("B", "x")]), &["A=unsignedInt".into()]).unwrap();
        assert_eq!(values[0].r#type(), ValueType::UnsignedInt);
        assert_eq!(values[1].r#type(), ValueType::Unspecified);
        let fails = |values: &[(&str, &str)], types: &[&str]| {
            let types: Vec<String> = types.iter().map(|t| (*t).into()).collect();
            typed(pairs(values), &types).unwrap_err().to_string()
        };
        assert!(fails(&[("A", "secret")], &["A=int"]).contains("A: value: expected an int"));
        assert!(!fails(&[("A", "secret")], &["A=int"]).contains("secret"));
        assert!(fails(&[("A", "1")], &["B=int"]).contains("no value"));
        assert!(fails(&[("A", "1")], &["A=number"]).contains("unsignedInt"));
        assert!(fails(&[("A", "1"), ("A", "2")], &[]).contains("twice"));
    }
}
