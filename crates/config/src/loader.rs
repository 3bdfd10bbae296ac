//! Reads the layers and makes the typed configuration.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use crate::docs::{Documented, FieldDoc};
use crate::error::{ConfigError, Problem};
use crate::layers::{Layers, Source};

/// Collects the layers of a configuration. The order of the calls doesn't matter: flags win over
/// the environment, which wins over the file, which wins over the defaults.
#[derive(Default)]
pub struct Loader {
    file: Option<PathBuf>,
    candidates: Vec<PathBuf>,
    env: Vec<(String, String, String)>,
    ignored_env: Vec<String>,
    flags: Vec<(String, String, String)>,
    malformed: Vec<String>,
}

impl std::fmt::Debug for Loader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not derived: variables and flags may hold secrets.
        f.debug_struct("Loader")
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

/// A configuration and where its values came from.
#[derive(Debug, Clone)]
pub struct Loaded<T> {
    /// The configuration.
    pub value: T,
    /// Where each value that isn't a default came from, by dotted key.
    pub sources: BTreeMap<String, Source>,
    /// The file that was read, if one was.
    pub file: Option<PathBuf>,
}

impl<T> Loaded<T> {
    /// Where the value of `key` came from.
    pub fn source(&self, key: &str) -> Source {
        self.sources.get(key).cloned().unwrap_or(Source::Default)
    }
}

impl Loader {
    /// Defaults only.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads this file, which must exist.
    #[must_use]
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.file = Some(path.into());
        self
    }

    /// Without [`Loader::file`], reads the first of these files that exists, if any does.
    #[must_use]
    pub fn first_file_of(mut self, candidates: impl IntoIterator<Item = PathBuf>) -> Self {
        self.candidates.extend(candidates);
        self
    }

    /// Reads `PREFIX_SECTION__KEY` variables from `vars`, usually `std::env::vars()`. An empty one
    /// counts as not set. Variables that Kubernetes makes for a service named like the prefix
    /// (`PREFIX_PORT`, `PREFIX_SERVICE_HOST`, …) are not ours.
    #[must_use]
    pub fn env(mut self, prefix: &str, vars: impl IntoIterator<Item = (String, String)>) -> Self {
        let prefix = format!("{prefix}_");
        for (name, value) in vars {
            let Some(rest) = name.strip_prefix(&prefix) else {
                continue;
            };
            if value.is_empty() || is_service_link(rest) {
                continue;
            }
            let key = rest.to_ascii_lowercase().replace("__", ".");
            self.env.push((key, value, name));
        }
        self
    }

    /// Variables under the prefix that belong to something else, by full name; a name that ends in
    /// `_` stands for all that begin with it.
    #[must_use]
    pub fn ignore_env(mut self, names: &[&str]) -> Self {
        self.ignored_env
            .extend(names.iter().map(|name| (*name).to_owned()));
        self
    }

    /// Overrides of the form `dotted.key=value`, as given to `--set`.
    #[must_use]
    pub fn overrides(mut self, overrides: impl IntoIterator<Item = String>) -> Self {
        for given in overrides {
            match given.split_once('=') {
                Some((key, value)) => {
                    let key = key.trim().to_owned();
                    let shown = format!("--set {key}");
                    self.flags.push((key, value.to_owned(), shown));
                }
                None => self.malformed.push(given),
            }
        }
        self
    }

    /// One override by a flag of its own, e.g. `("gateway.listen", "0.0.0.0:7547",
    /// "--cwmp-listen")`.
    #[must_use]
    pub fn flag(mut self, key: &str, value: impl Into<String>, flag: &str) -> Self {
        self.flags
            .push((key.to_owned(), value.into(), flag.to_owned()));
        self
    }

    /// Makes the configuration.
    ///
    /// # Errors
    /// [`ConfigError`], with all problems that were found.
    pub fn load<T>(self) -> Result<Loaded<T>, ConfigError>
    where
        T: Documented + Default + Serialize + DeserializeOwned,
    {
        let known = T::fields();
        let mut layers = Layers::new(&known);
        let file = self
            .file
            .or_else(|| self.candidates.into_iter().find(|path| path.is_file()));
        if let Some(path) = &file {
            layers.file(path.clone(), read_file(path)?);
        }
        for (key, value, name) in &self.env {
            let is_it = |ignored: &String| {
                name == ignored || ignored.ends_with('_') && name.starts_with(ignored)
            };
            if !self.ignored_env.iter().any(is_it) {
                layers.text(key, value, &Source::Env(name.clone()));
            }
        }
        for (key, value, flag) in &self.flags {
            layers.text(key, value, &Source::Flag(flag.clone()));
        }
        let malformed = self.malformed.into_iter();
        layers
            .problems
            .extend(malformed.map(|key| Problem::NotAnOverride { key }));
        let Layers {
            values,
            sources,
            mut problems,
            ..
        } = layers;
        let value = match typed::<T>(values, &sources, &known) {
            Ok(value) => value,
            Err(problem) => {
                problems.push(problem);
                return Err(ConfigError::Invalid(problems));
            }
        };
        for (key, reason) in value.validate() {
            let source = sources.get(&key).cloned().unwrap_or(Source::Default);
            problems.push(Problem::Value {
                key,
                source,
                reason,
                expected: String::new(),
            });
        }
        if problems.is_empty() {
            Ok(Loaded {
                value,
                sources,
                file,
            })
        } else {
            Err(ConfigError::Invalid(problems))
        }
    }
}

fn read_file(path: &Path) -> Result<Table, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })?;
    text.parse::<Table>().map_err(|error| {
        let before = text
            .get(..error.span().map_or(0, |span| span.start))
            .unwrap_or(&text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        ConfigError::Syntax {
            path: path.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            message: error.message().to_owned(),
        }
    })
}

fn typed<T: DeserializeOwned>(
    values: Table,
    sources: &BTreeMap<String, Source>,
    known: &[FieldDoc],
) -> Result<T, Problem> {
    serde_path_to_error::deserialize(Value::Table(values)).map_err(|error| {
        let path = error.path().to_string();
        // The path may lead into a list: `ranges[1]`.
        let plain = path.split('[').next().unwrap_or_default();
        let field = known.iter().find(|field| field.key == plain);
        let secret = field.is_some_and(|field| field.secret);
        let reason = if secret {
            "the value is not understood".to_owned()
        } else {
            error.inner().message().trim_end().to_owned()
        };
        Problem::Value {
            source: sources.get(plain).cloned().unwrap_or(Source::Default),
            expected: field
                .map(|field| field.shape.to_string())
                .unwrap_or_default(),
            reason,
            key: path,
        }
    })
}

/// `PORT`, `PORT_7547_TCP…`, `SERVICE_HOST`, `SERVICE_PORT…`, and the same for services whose name
/// only begins like ours (`GATEWAY_SERVICE_HOST`).
fn is_service_link(rest: &str) -> bool {
    if rest.contains("__") {
        return false;
    }
    let port_link = |rest: &str| {
        rest == "PORT"
            || rest.strip_prefix("PORT_").is_some_and(|port| {
                port.starts_with(|c: char| c.is_ascii_digit())
                    && (port.contains("_TCP") || port.contains("_UDP"))
            })
    };
    rest.ends_with("SERVICE_HOST")
        || rest
            .split('_')
            .collect::<Vec<_>>()
            .windows(2)
            .any(|pair| pair == ["SERVICE", "PORT"])
        || port_link(rest)
        || rest
            .match_indices("_PORT")
            .any(|(at, _)| port_link(&rest[at + 1..]))
}
