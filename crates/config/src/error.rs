//! What can be wrong with a configuration, and where.

use std::fmt;
use std::path::PathBuf;

use crate::layers::Source;

/// A configuration can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("can't read the configuration file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        #[source]
        source: std::io::Error,
    },
    /// The file isn't TOML. The line itself is not repeated: it may hold a secret.
    #[error("{}:{line}:{column}: not valid TOML: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
        /// What the parser says.
        message: String,
    },
    /// Keys or values are wrong; all that were found.
    #[error("{}", lines(.0))]
    Invalid(Vec<Problem>),
    /// The program's own defaults don't work: a mistake in the program.
    #[error("the built-in defaults can't be shown: {0}")]
    Defaults(String),
}

/// One wrong key or value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// A key that doesn't exist.
    Unknown {
        /// The dotted key.
        key: String,
        /// Where it stands.
        source: Source,
        /// The key that may have been meant.
        closest: Option<String>,
    },
    /// A value of the wrong shape, or one that isn't allowed.
    Value {
        /// The dotted key.
        key: String,
        /// Where it stands.
        source: Source,
        /// What is wrong with it.
        reason: String,
        /// What is expected; empty when `reason` says it.
        expected: String,
    },
    /// A flag that isn't `key=value`.
    NotAnOverride {
        /// The key as far as it is one.
        key: String,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown {
                key,
                source,
                closest,
            } => {
                write!(f, "unknown key {key} ({source})")?;
                match closest {
                    Some(closest) => write!(f, "; did you mean {closest}?"),
                    None => Ok(()),
                }
            }
            Self::Value {
                key,
                source,
                reason,
                expected,
            } => {
                write!(f, "{key} ({source}): {reason}")?;
                if expected.is_empty() {
                    Ok(())
                } else {
                    write!(f, "; expected {expected}")
                }
            }
            Self::NotAnOverride { key } => {
                write!(f, "the override {key:?} is not of the form key=value")
            }
        }
    }
}

fn lines(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    lines.join("\n")
}
