//! The layers: what was read from where, before it is typed.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use toml::{Table, Value};

use crate::docs::{FieldDoc, Shape, closest};
use crate::error::Problem;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The program.
    Default,
    /// A file.
    File(PathBuf),
    /// An environment variable, by name.
    Env(String),
    /// A flag of the command line, as it is to be shown.
    Flag(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Env(name) => write!(f, "environment {name}"),
            Self::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}

/// The layers laid over each other.
#[derive(Debug)]
pub(crate) struct Layers<'a> {
    known: &'a [FieldDoc],
    pub(crate) values: Table,
    pub(crate) sources: BTreeMap<String, Source>,
    pub(crate) problems: Vec<Problem>,
}

impl<'a> Layers<'a> {
    pub(crate) fn new(known: &'a [FieldDoc]) -> Self {
        Self {
            known,
            values: Table::new(),
            sources: BTreeMap::new(),
            problems: Vec::new(),
        }
    }

    /// Lays a file's content over what is there.
    pub(crate) fn file(&mut self, path: PathBuf, table: Table) {
        let source = Source::File(path);
        let mut open = vec![(String::new(), table)];
        while let Some((prefix, table)) = open.pop() {
            for (name, value) in table {
                let key = if prefix.is_empty() {
                    name
                } else {
                    format!("{prefix}.{name}")
                };
                match value {
                    Value::Table(inner) if self.is_section(&key) => open.push((key, inner)),
                    value => self.set(&key, value, &source),
                }
            }
        }
    }

    /// Lays one value, written as text, over what is there.
    pub(crate) fn text(&mut self, key: &str, text: &str, source: &Source) {
        let Some(field) = self.known.iter().find(|field| field.key == key) else {
            return self.unknown(key, source);
        };
        match from_text(field.shape, text) {
            Some(value) => self.set(key, value, source),
            None => {
                let shown = if field.secret {
                    "the value".to_owned()
                } else {
                    format!("{text:?}")
                };
                self.problems.push(Problem::Value {
                    key: key.to_owned(),
                    source: source.clone(),
                    reason: format!("{shown} is not understood"),
                    expected: field.shape.to_string(),
                });
            }
        }
    }

    fn set(&mut self, key: &str, value: Value, source: &Source) {
        if !self.known.iter().any(|field| field.key == key) {
            return self.unknown(key, source);
        }
        let mut table = &mut self.values;
        let mut names = key.split('.').peekable();
        while let Some(name) = names.next() {
            if names.peek().is_none() {
                table.insert(name.to_owned(), value);
                break;
            }
            let inner = table
                .entry(name)
                .or_insert_with(|| Value::Table(Table::new()));
            match inner.as_table_mut() {
                Some(inner) => table = inner,
                // Only for a key that is also a section, which check_documentation() refuses.
                None => break,
            }
        }
        self.sources.insert(key.to_owned(), source.clone());
    }

    fn unknown(&mut self, key: &str, source: &Source) {
        if self.is_section(key) {
            return self.problems.push(Problem::Value {
                key: key.to_owned(),
                source: source.clone(),
                reason: "this is a section".to_owned(),
                expected: format!("keys within it, such as {}", self.first_of(key)),
            });
        }
        let closest = closest(key, self.known).map(str::to_owned);
        let (key, source) = (key.to_owned(), source.clone());
        self.problems.push(Problem::Unknown {
            key,
            source,
            closest,
        });
    }

    fn is_section(&self, key: &str) -> bool {
        self.known.iter().any(|field| is_within(&field.key, key))
    }

    fn first_of(&self, section: &str) -> &str {
        let mut within = self
            .known
            .iter()
            .filter(|field| is_within(&field.key, section));
        within.next().map_or("", |field| field.key.as_ref())
    }
}

fn is_within(key: &str, section: &str) -> bool {
    key.strip_prefix(section)
        .is_some_and(|rest| rest.starts_with('.'))
}

/// A value of this shape from a variable's or flag's text.
fn from_text(shape: Shape, text: &str) -> Option<Value> {
    let trimmed = text.trim();
    match shape {
        Shape::Bool => match trimmed.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Some(Value::Boolean(true)),
            "false" | "0" | "no" | "off" => Some(Value::Boolean(false)),
            _ => None,
        },
        Shape::Integer => trimmed.replace('_', "").parse().ok().map(Value::Integer),
        Shape::Number => trimmed.parse().ok().map(Value::Float),
        Shape::List(_) if trimmed.starts_with('[') => {
            let mut table: Table = format!("list = {trimmed}").parse().ok()?;
            table.remove("list")
        }
        Shape::List(_) => {
            let items = trimmed
                .split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty());
            Some(Value::Array(
                items.map(|item| Value::String(item.to_owned())).collect(),
            ))
        }
        // Not trimmed: a secret or a text may begin with a space.
        Shape::Text => Some(Value::String(text.to_owned())),
        _ => Some(Value::String(trimmed.to_owned())),
    }
}
