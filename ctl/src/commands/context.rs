//! `hearthctl context`.

use crate::{
    app::App,
    cli::{ContextCommand, ContextSetArgs},
    contexts::{self, Context, Contexts},
    error::Error,
    settings::DEFAULT_SERVER,
    table::Table,
};
use serde_json::json;
use std::path::Path;

/// Runs one command.
pub(crate) fn run(command: ContextCommand, app: &mut App<'_>) -> Result<(), Error> {
    let mut all = contexts::load(app.host)?;
    match command {
        ContextCommand::Set(args) => set(app, all, args),
        ContextCommand::Use { name } => {
            if !all.contexts.contains_key(&name) {
                return Err(missing(&name));
            }
            all.current = Some(name.clone());
            contexts::save(app.host, &all)?;
            done(app, &name, "is the current context")
        }
        ContextCommand::List => list(app, &all),
        ContextCommand::Delete { name } => {
            if all.contexts.remove(&name).is_none() {
                return Err(missing(&name));
            }
            if all.current.as_ref() == Some(&name) {
                all.current = None;
                app.note("there is no current context now; choose one: hearthctl context use");
            }
            contexts::save(app.host, &all)?;
            done(app, &name, "deleted")
        }
    }
}

fn missing(name: &str) -> Error {
    Error::NotFound {
        message: format!("there is no context `{name}`"),
        advice: "see: hearthctl context list".into(),
    }
}

fn done(app: &mut App<'_>, name: &str, what: &str) -> Result<(), Error> {
    app.print(&json!({ "name": name }), |app, _| {
        app.say(format!("{name} {what}"))
    })
}

fn set(app: &mut App<'_>, mut all: Contexts, args: ContextSetArgs) -> Result<(), Error> {
    let name = args.name;
    let good = name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    if name.is_empty() || !good {
        return Err(Error::usage(format!(
            "`{name}` is not a context's name; expected letters, digits, `.`, `_`, `-`"
        )));
    }
    if args.token_stdin && app.global.token_file.is_some() {
        return Err(Error::usage(
            "--token-stdin and --token-file exclude each other",
        ));
    }
    let mut context = all.contexts.remove(&name).unwrap_or_else(|| Context {
        server: DEFAULT_SERVER.into(),
        ..Context::default()
    });
    if let Some(server) = &app.global.server {
        context.server.clone_from(server);
    }
    if let Some(tenant) = &app.global.tenant {
        context.tenant = Some(tenant.clone());
    }
    if let Some(path) = &app.global.ca_file {
        context.ca_file = Some(app.path(path));
    }
    if let Some(path) = &app.global.token_file {
        context.token_file = Some(app.path(path));
        context.token = None;
    }
    if args.token_stdin {
        context.token = Some(app.read_text(Path::new("-"))?.trim().to_owned());
        context.token_file = None;
    }
    all.contexts.insert(name.clone(), context);
    if args.make_current || all.contexts.len() == 1 {
        all.current = Some(name.clone());
    }
    contexts::save(app.host, &all)?;
    done(app, &name, "kept")
}

fn list(app: &mut App<'_>, all: &Contexts) -> Result<(), Error> {
    let documents: Vec<_> = all
        .contexts
        .iter()
        .map(|(name, context)| {
            json!({
                "name": name,
                "current": all.current.as_ref() == Some(name),
                "server": context.server,
                "tenant": context.tenant.as_deref().unwrap_or("default"),
                "tokenFile": context.token_file,
                "hasToken": context.token.is_some(),
                "caFile": context.ca_file,
            })
        })
        .collect();
    app.print(&documents, |app, _| {
        let mut table = Table::new(["", "NAME", "SERVER", "TENANT", "TOKEN"]);
        for (name, context) in &all.contexts {
            let current = all.current.as_ref() == Some(name);
            let token = match (&context.token_file, &context.token) {
                (Some(path), _) => path.display().to_string(),
                (None, Some(_)) => "kept here".into(),
                (None, None) => String::new(),
            };
            table.row([
                if current { "*" } else { " " }.into(),
                name.into(),
                (&context.server).into(),
                context.tenant.as_deref().unwrap_or("default").into(),
                token.into(),
            ]);
        }
        app.print_table(
            table,
            "no contexts; make one: hearthctl context set NAME --server URL",
        )
    })
}
