//! The configuration for people: the commented example and the effective values.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use crate::docs::{Documented, FieldDoc};
use crate::error::ConfigError;
use crate::loader::Loaded;
use crate::types::MASK;

/// A file with every key, its effect and its default, all commented out: as it is, it changes
/// nothing.
///
/// # Errors
/// [`ConfigError::Defaults`].
pub fn example<T: Documented + Default + Serialize>() -> Result<String, ConfigError> {
    let defaults = table_of(&T::default())?;
    let fields = T::fields();
    let mut sections: Vec<&str> = Vec::new();
    for field in &fields {
        let section = section_of(&field.key);
        if !sections.contains(&section) {
            sections.push(section);
        }
    }
    // Keys of no section must stand before the first one in TOML.
    sections.sort_by_key(|section| !section.is_empty());
    let mut out = String::new();
    for section in sections {
        if !section.is_empty() {
            let _ = writeln!(out, "[{section}]\n");
        }
        for field in fields
            .iter()
            .filter(|field| section_of(&field.key) == section)
        {
            write_example(&mut out, field, lookup(&defaults, &field.key));
        }
    }
    Ok(out.trim_end().to_owned() + "\n")
}

fn write_example(out: &mut String, field: &FieldDoc, default: Option<&Value>) {
    for line in field.effect.lines() {
        let _ = writeln!(out, "# {line}");
    }
    let unit = field
        .unit
        .map(|unit| format!(", in {unit}"))
        .unwrap_or_default();
    let _ = writeln!(out, "# Value: {}{unit}.", field.shape);
    let name = field.key.rsplit('.').next().unwrap_or_default();
    let default = default.filter(|_| !field.secret);
    let _ = match (default, field.example) {
        (Some(value), _) => writeln!(out, "#{name} = {value}\n"),
        (None, Some(example)) => writeln!(
            out,
            "# Unset by default; for example:\n#{name} = {example}\n"
        ),
        (None, None) => writeln!(out, "# Unset by default.\n#{name} =\n"),
    };
}

impl<T: Documented + Serialize> Loaded<T> {
    /// The effective configuration, one line `key = value  # source` for each key, secrets masked.
    /// It is valid TOML.
    ///
    /// # Errors
    /// [`ConfigError::Defaults`], when a value can't be written as TOML.
    pub fn print(&self) -> Result<String, ConfigError> {
        let values = table_of(&self.value)?;
        let lines: Vec<(String, String)> = T::fields()
            .iter()
            .map(|field| {
                let source = self.source(&field.key).to_string();
                let line = match lookup(&values, &field.key) {
                    Some(_) if field.secret => format!("{} = \"{MASK}\"", field.key),
                    Some(value) => format!("{} = {value}", field.key),
                    None => format!("# {} is unset", field.key),
                };
                (line, source)
            })
            .collect();
        let width = lines
            .iter()
            .map(|(line, _)| line.chars().count())
            .max()
            .unwrap_or(0)
            .min(60);
        let mut out = String::new();
        for (line, source) in lines {
            let _ = writeln!(out, "{line:<width$}  # {source}");
        }
        Ok(out)
    }
}

/// Checks that a configuration and its documentation fit: every key is documented, every documented
/// key exists, every default is accepted again. For a test; returns what is wrong.
pub fn check_documentation<T>() -> Vec<String>
where
    T: Documented + Default + Serialize + DeserializeOwned,
{
    let fields = T::fields();
    let mut wrong = Vec::new();
    let defaults = match table_of(&T::default()) {
        Ok(defaults) => defaults,
        Err(error) => return vec![error.to_string()],
    };
    let mut seen = BTreeSet::new();
    for field in &fields {
        if !seen.insert(field.key.as_ref()) {
            wrong.push(format!("{} is documented twice", field.key));
        }
    }
    let mut open = vec![(String::new(), &defaults)];
    while let Some((prefix, table)) = open.pop() {
        for (name, value) in table {
            let key = if prefix.is_empty() {
                name.clone()
            } else {
                format!("{prefix}.{name}")
            };
            match value {
                _ if seen.contains(key.as_str()) => {}
                Value::Table(inner) => open.push((key, inner)),
                _ => wrong.push(format!("{key} is not documented")),
            }
        }
    }
    for field in fields.iter().filter(|field| !field.secret) {
        let default = lookup(&defaults, &field.key).map(ToString::to_string);
        let Some(text) = default.or_else(|| field.example.map(str::to_owned)) else {
            wrong.push(format!(
                "{} is unset by default and has no example",
                field.key
            ));
            continue;
        };
        let parsed = format!("{} = {text}", field.key).parse::<Table>();
        let read = parsed.map_err(|error| error.to_string()).and_then(|table| {
            Value::Table(table)
                .try_into::<T>()
                .map_err(|error| error.to_string())
        });
        if let Err(error) = read {
            wrong.push(format!("{} does not accept {text}: {error}", field.key));
        }
    }
    wrong
}

fn table_of<T: Serialize>(value: &T) -> Result<Table, ConfigError> {
    Table::try_from(value).map_err(|error| ConfigError::Defaults(error.to_string()))
}

fn section_of(key: &str) -> &str {
    key.rsplit_once('.').map_or("", |(section, _)| section)
}

fn lookup<'a>(table: &'a Table, key: &str) -> Option<&'a Value> {
    let mut names = key.split('.');
    let mut value = table.get(names.next()?)?;
    for name in names {
        value = value.as_table()?.get(name)?;
    }
    Some(value)
}
