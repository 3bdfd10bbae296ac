//! Key ring and administrator's token: the command line's, and where a server finds them.

use crate::cli::KeysCommand;
use crate::config::HearthConfig;
use crate::roles::Role;
use anyhow::{Context, Result, bail};
use hearth_auth::keyring::{self, KeyUse};
use hearth_auth::{ApiToken, KEY_FILE, SecretKeys, load_or_create_token_file, load_token_file};
use std::path::{Path, PathBuf};

/// Does what the command line asks for.
///
/// # Errors
/// What can't be read or written, and what to do.
pub fn run(command: KeysCommand) -> Result<()> {
    match command {
        KeysCommand::Init(to) => {
            let made = keyring::create(&to.file)?;
            println!("{} {}", to.file.display(), told(made));
        }
        KeysCommand::List(of) => {
            for (id, used) in keyring::list(&of.file)? {
                let used = match used {
                    KeyUse::Current => "in use",
                    KeyUse::Older => "opens what it sealed",
                    KeyUse::Staged => "staged: accepted, not used yet",
                };
                println!("key {id}: {used}");
            }
        }
        KeysCommand::Stage(to) => {
            let id = keyring::stage(&to.file)?;
            println!(
                "key {id} is staged. Give all processes the file, restart them one by one, then `hearth keys rotate`."
            );
        }
        KeysCommand::Rotate(to) => {
            let id = keyring::promote(&to.file)?;
            println!(
                "key {id} is in use. Give all processes the file and restart them one by one."
            );
        }
        KeysCommand::Retire { file, id, yes } => {
            if !yes {
                bail!(
                    "what is sealed under key {id} can't be opened without it; say --yes if nothing is"
                );
            }
            keyring::retire(&file.file, id)?;
            println!("key {id} is gone");
        }
        KeysCommand::Token(to) => {
            let (_, made) = load_or_create_token_file(&to.file)?;
            println!("{} {}", to.file.display(), told(made));
        }
    }
    Ok(())
}

fn told(made: bool) -> &'static str {
    if made { "is made" } else { "is there already" }
}

/// The key ring of a process, if a role of it needs one. Made at the first start in the embedded form only: replicas
/// that each made one could not read each other.
///
/// # Errors
/// It can't be read, or isn't there.
pub(crate) fn secret_keys(config: &HearthConfig) -> Result<Option<SecretKeys>> {
    if !config.roles.iter().any(|role| role.needs_keys()) {
        return Ok(None);
    }
    let path = secret_key_path(config);
    if config.is_distributed() || config.secret_key_file.is_some() {
        let keys = SecretKeys::load(&path).with_context(|| {
            format!(
                "the key ring that all processes share (--secret-key-file) can't be used; make it once with `hearth \
                 keys init --file {}`, and give every process the same file",
                path.display()
            )
        })?;
        return Ok(Some(keys));
    }
    check_key_is_there(&config.data_dir)?;
    Ok(Some(SecretKeys::load_or_create(&config.data_dir)?))
}

/// The administrator's token, if this process has the API.
///
/// # Errors
/// It can't be read, or isn't there.
pub(crate) fn admin_token(config: &HearthConfig) -> Result<Option<ApiToken>> {
    if !config.has(Role::Northbound) {
        return Ok(None);
    }
    let path = admin_token_path(config);
    if config.is_distributed() || config.admin_token_file.is_some() {
        let token = load_token_file(&path).with_context(|| {
            format!(
                "the token that all processes with the API share (--admin-token-file) can't be used; make it once \
                 with `hearth keys token --file {}`, and give every such process the same file",
                path.display()
            )
        })?;
        return Ok(Some(token));
    }
    let (token, _) = load_or_create_token_file(&path)?;
    Ok(Some(token))
}

fn secret_key_path(config: &HearthConfig) -> PathBuf {
    let given = config.secret_key_file.clone();
    given.unwrap_or_else(|| config.data_dir.join(KEY_FILE))
}

/// Where the administrator's token is.
pub(crate) fn admin_token_path(config: &HearthConfig) -> PathBuf {
    let given = config.admin_token_file.clone();
    given.unwrap_or_else(|| config.data_dir.join("admin.token"))
}

/// A new key could open nothing of what is there: better to say so than to
/// make one.
fn check_key_is_there(data_dir: &Path) -> Result<()> {
    if data_dir.join("db").exists() && !data_dir.join(KEY_FILE).exists() {
        bail!(
            "{} holds data but no {KEY_FILE}, without which its secrets can't be opened; \
             restore the file from the backup of that data",
            data_dir.display()
        );
    }
    Ok(())
}
