//! Which server, tenant and token: flags, then environment, then contexts, then defaults.

use crate::{
    cli::Global,
    contexts::{self, Context},
    error::Error,
    exit::Exit,
    host::Host,
};
use hearth_types::{Invalid, TenantId};
use secrecy::SecretString;
use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

/// The API's address when nothing else is said.
pub(crate) const DEFAULT_SERVER: &str = "http://127.0.0.1:8080";
/// Where `hearth run` keeps the token when nothing else is said.
pub(crate) const DEFAULT_TOKEN_FILE: &str = "hearth-data/admin.token";
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// How to reach the API.
#[derive(Debug)]
pub(crate) struct Settings {
    /// `http://…` or `https://…`
    pub(crate) server: String,
    /// Whose devices.
    pub(crate) tenant: TenantId,
    /// What the server knows us by; none is tried too, so that the server can say what it wants.
    pub(crate) token: Option<SecretString>,
    /// Where the token was found.
    pub(crate) token_from: Option<String>,
    /// Certificates to trust instead of the system's, as PEM.
    pub(crate) ca: Option<Vec<u8>>,
    /// For an answer of the server.
    pub(crate) timeout: Duration,
    /// Things to tell the user.
    pub(crate) notes: Vec<String>,
}

impl Settings {
    /// Finds everything out.
    ///
    /// # Errors
    /// A context that there is not, a token file that can't be read, a URL or tenant that is none.
    pub(crate) fn find(global: &Global, host: &Host) -> Result<Self, Error> {
        let chosen = chosen_context(global, host)?;
        let explicit = global.context.is_some();
        let named = chosen.as_ref();
        let context = named.map(|(_, context)| context);
        let from_env = |name| host.var(name).map(str::to_owned);
        let server = (global.server.clone())
            .or_else(|| context.filter(|_| explicit).map(|c| c.server.clone()))
            .or_else(|| from_env("HEARTH_SERVER"))
            .or_else(|| context.map(|c| c.server.clone()))
            .unwrap_or_else(|| DEFAULT_SERVER.to_owned());
        let server = checked_server(server)?;
        // Another server must not be shown this context's token.
        let named = named.filter(|(_, c)| same_server(&c.server, &server));
        let context = named.map(|(_, context)| context);
        let tenant = (global.tenant.clone())
            .or_else(|| context.filter(|_| explicit).and_then(|c| c.tenant.clone()))
            .or_else(|| from_env("HEARTH_TENANT"))
            .or_else(|| context.and_then(|c| c.tenant.clone()));
        let tenant = match tenant {
            Some(tenant) => tenant.parse().map_err(|error: Invalid| {
                Error::usage(format!("`{tenant}` is not a tenant: {}", error.reason))
            })?,
            None => TenantId::default(),
        };
        let mut notes = Vec::new();
        let found = token(global, host, named, explicit, &server, &mut notes)?;
        let (token, token_from) = found.unzip();
        if token.is_some() && server.starts_with("http://") && !is_local(&server) {
            notes.push(format!(
                "the token travels unencrypted to {server}; use https"
            ));
        }
        let ca_file = (global.ca_file.clone())
            .or_else(|| from_env("HEARTH_CA_FILE").map(PathBuf::from))
            .or_else(|| context.and_then(|c| c.ca_file.clone()));
        let ca = match ca_file {
            Some(path) => {
                let path = host.directory.join(path);
                Some(fs::read(&path).map_err(Error::file(path))?)
            }
            None => None,
        };
        Ok(Self {
            server,
            tenant,
            token,
            token_from,
            ca,
            timeout: global.timeout.unwrap_or(DEFAULT_TIMEOUT),
            notes,
        })
    }
}

/// The context in use: by flag, by environment, or the current one.
fn chosen_context(global: &Global, host: &Host) -> Result<Option<(String, Context)>, Error> {
    let wanted = global
        .context
        .as_deref()
        .or_else(|| host.var("HEARTH_CONTEXT"));
    // A broken file must not keep anyone from working without contexts.
    if wanted.is_none() && global.server.is_some() && global.token_file.is_some() {
        return Ok(None);
    }
    let mut all = contexts::load(host)?;
    let Some(name) = wanted.map(str::to_owned).or_else(|| all.current.clone()) else {
        return Ok(None);
    };
    match all.contexts.remove(&name) {
        Some(context) => Ok(Some((name, context))),
        None => Err(Error::NotFound {
            message: format!("there is no context `{name}`"),
            advice: "see: hearthctl context list; make it: hearthctl context set".into(),
        }),
    }
}

/// Adds the scheme where it is missing and drops a trailing slash.
fn checked_server(server: String) -> Result<String, Error> {
    let server = match server.contains("://") {
        true => server,
        false => format!("http://{server}"),
    };
    let server = server.trim_end_matches('/').to_owned();
    let good = ["http://", "https://"].iter().any(|scheme| {
        server
            .strip_prefix(scheme)
            .is_some_and(|rest| !rest.is_empty())
    });
    match good {
        true => Ok(server),
        false => Err(Error::usage(format!(
            "`{server}` is not a server's URL; expected http://HOST:PORT or https://HOST:PORT"
        ))),
    }
}

fn same_server(a: &str, b: &str) -> bool {
    let plain = |s: &str| {
        s.trim_end_matches('/')
            .trim_start_matches("http://")
            .to_owned()
    };
    plain(a) == plain(b)
}

/// Whether the URL's host is this machine by its name or address.
fn is_local(server: &str) -> bool {
    let rest = server.split_once("://").map_or(server, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => authority
            .rsplit_once(':')
            .map_or(authority, |(host, _)| host),
    };
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// The token, and where it was found.
type FoundToken = Option<(SecretString, String)>;

fn token(
    global: &Global,
    host: &Host,
    context: Option<&(String, Context)>,
    explicit: bool,
    server: &str,
    notes: &mut Vec<String>,
) -> Result<FoundToken, Error> {
    let of_file = |path: &Path| {
        let token = read_token(host.directory.join(path))?;
        Ok(Some((token, path.display().to_string())))
    };
    if let Some(path) = &global.token_file {
        return of_file(path);
    }
    if explicit && let Some(found) = context_token(context)? {
        return Ok(Some(found));
    }
    if let Some(token) = host.var("HEARTH_TOKEN") {
        return Ok(Some((token.trim().into(), "HEARTH_TOKEN".to_owned())));
    }
    if let Some(path) = host.var("HEARTH_TOKEN_FILE") {
        return of_file(Path::new(path));
    }
    if let Some(found) = context_token(context)? {
        return Ok(Some(found));
    }
    if !is_local(server) {
        return Ok(None);
    }
    match of_file(Path::new(DEFAULT_TOKEN_FILE)) {
        Ok(found) => {
            notes.push(format!("using the token in ./{DEFAULT_TOKEN_FILE}"));
            Ok(found)
        }
        Err(Error::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn context_token(context: Option<&(String, Context)>) -> Result<FoundToken, Error> {
    let Some((name, context)) = context else {
        return Ok(None);
    };
    let from = || format!("the context `{name}`");
    match (&context.token_file, &context.token) {
        (Some(path), _) => Ok(Some((read_token(path.clone())?, from()))),
        (None, Some(token)) => Ok(Some((token.as_str().into(), from()))),
        (None, None) => Ok(None),
    }
}

fn read_token(path: PathBuf) -> Result<SecretString, Error> {
    let text = fs::read_to_string(&path).map_err(Error::file(&path))?;
    let token = text.trim();
    if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(Error::Said {
            exit: Exit::Denied,
            message: format!("{} holds no token", path.display()),
            advice: "expected one line of letters, digits and signs".into(),
        });
    }
    Ok(token.into())
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
