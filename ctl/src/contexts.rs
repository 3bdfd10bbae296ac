//! The file of named contexts: `$XDG_CONFIG_HOME/hearth/contexts.toml`, mode 0600.

use crate::{error::Error, exit::Exit, host::Host};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fmt, fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

/// All contexts of a user.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Contexts {
    /// The one in use, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) current: Option<String>,
    /// By name.
    pub(crate) contexts: BTreeMap<String, Context>,
}

/// A server and how to speak to it.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Context {
    /// The API's URL.
    pub(crate) server: String,
    /// The tenant, if not `default`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tenant: Option<String>,
    /// Where the token is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token_file: Option<PathBuf>,
    /// The token itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<String>,
    /// Certificates to trust instead of the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ca_file: Option<PathBuf>,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("server", &self.server)
            .field("tenant", &self.tenant)
            .field("token_file", &self.token_file)
            .field("ca_file", &self.ca_file)
            .finish_non_exhaustive()
    }
}

/// Where the file is; `None` where there is no home.
pub(crate) fn path(host: &Host) -> Option<PathBuf> {
    let base = match host.var("XDG_CONFIG_HOME") {
        // Relative paths are to be ignored, says the XDG base directory specification.
        Some(folder) if Path::new(folder).is_absolute() => PathBuf::from(folder),
        _ => Path::new(host.var("HOME")?).join(".config"),
    };
    Some(base.join("hearth").join("contexts.toml"))
}

/// The same, or an error that says what is missing.
fn required_path(host: &Host) -> Result<PathBuf, Error> {
    path(host).ok_or_else(|| Error::Said {
        exit: Exit::Failed,
        message: "there is no place for contexts: neither XDG_CONFIG_HOME nor HOME is set".into(),
        advice: "set HOME, or use --server and --token-file".into(),
    })
}

/// Reads the file; no file is no contexts.
///
/// # Errors
/// A file that others may read and that holds a token, or that is not what was written.
pub(crate) fn load(host: &Host) -> Result<Contexts, Error> {
    let Some(path) = path(host) else {
        return Ok(Contexts::default());
    };
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Contexts::default()),
        Err(error) => return Err(Error::file(path)(error)),
    };
    let contexts: Contexts = toml::from_str(&text).map_err(|error| Error::Said {
        exit: Exit::Usage,
        // Not the error's Display: it quotes the line, which may hold a token.
        message: format!("{}: {}", path.display(), error.message()),
        advice: "correct the file, or delete it and make the contexts again".into(),
    })?;
    if contexts
        .contexts
        .values()
        .any(|context| context.token.is_some())
    {
        check_mode(&path)?;
    }
    Ok(contexts)
}

/// Writes the file whole, readable by its owner only.
pub(crate) fn save(host: &Host, contexts: &Contexts) -> Result<(), Error> {
    let path = required_path(host)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(Error::file(folder))?;
    let text = toml::to_string_pretty(contexts).map_err(|error| Error::Said {
        exit: Exit::Failed,
        message: format!("the contexts can't be written: {error}"),
        advice: String::new(),
    })?;
    // A temporary file has mode 0600 from the start, and takes the old one's place in one step.
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(Error::file(folder))?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.as_file().sync_all())
        .map_err(Error::file(&path))?;
    file.persist(&path)
        .map_err(|error| Error::file(&path)(error.error))?;
    Ok(())
}

#[cfg(unix)]
fn check_mode(path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::PermissionsExt;
    let mode = fs::metadata(path)
        .map_err(Error::file(path))?
        .permissions()
        .mode();
    if mode & 0o077 == 0 {
        return Ok(());
    }
    Err(Error::Said {
        exit: Exit::Denied,
        message: format!(
            "{} holds a token and others may read it (mode {:04o})",
            path.display(),
            mode & 0o7777
        ),
        advice: format!("chmod 600 {}", path.display()),
    })
}

#[cfg(not(unix))]
fn check_mode(_path: &Path) -> Result<(), Error> {
    Ok(())
}
