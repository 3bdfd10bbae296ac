//! `hearthctl credential`.

use crate::{
    api::all_pages,
    app::App,
    cli::{CredentialCommand, CredentialKindArg, CredentialSetArgs, PasswordArgs},
    error::Error,
    resolve, show,
    table::Table,
};
use hearth_proto::northbound::v1 as nb;
use std::path::Path;

/// Runs one command.
pub(crate) async fn run(command: CredentialCommand, app: &mut App<'_>) -> Result<(), Error> {
    match command {
        CredentialCommand::Onboarding => onboarding(app).await,
        CredentialCommand::Set(args) => set(app, *args).await,
        CredentialCommand::Import(args) => super::life::import(app, args).await,
        CredentialCommand::List { limit } => list(app, limit).await,
        CredentialCommand::Delete {
            username,
            kind,
            device,
        } => delete(app, &username, kind, device).await,
    }
}

async fn onboarding(app: &mut App<'_>) -> Result<(), Error> {
    let api = app.api().await?;
    let parent = api.tenant_name();
    let request = nb::GetOnboardingCredentialRequest { parent };
    let answer = api
        .answer(api.credentials().get_onboarding_credential(request))
        .await?;
    app.print(&answer, |app, answer| {
        login(app, &answer.username, &answer.password)
    })
}

fn login(app: &mut App<'_>, username: &str, password: &str) -> Result<(), Error> {
    let mut table = Table::pairs();
    table.pair("username", username);
    table.pair("password", password);
    app.print_table(table, "")
}

async fn set(app: &mut App<'_>, args: CredentialSetArgs) -> Result<(), Error> {
    let password = password(app, &args.password)?.unwrap_or_default();
    let api = app.api().await?;
    let kind = if args.model.is_some() {
        nb::CredentialKind::Model
    } else if args.onboarding {
        nb::CredentialKind::Onboarding
    } else if args.connection_request {
        nb::CredentialKind::ConnectionRequest
    } else {
        nb::CredentialKind::Device
    };
    let device = match &args.device {
        // A device gets its login before it is first seen.
        Some(device) => resolve::device(&api, device, true).await?.name,
        None => String::new(),
    };
    let request = nb::SetCredentialRequest {
        parent: api.tenant_name(),
        credential: Some(nb::Credential {
            username: args.username,
            kind: kind.into(),
            device,
            model: args.model.unwrap_or_default(),
            ..Default::default()
        }),
        password,
    };
    let answer = api
        .answer(api.credentials().set_credential(request))
        .await?;
    let made = !answer.password.is_empty();
    app.print(&answer, |app, answer| {
        let username = answer.credential.as_ref().map_or("", |c| &c.username);
        match made {
            true => login(app, username, &answer.password),
            false => app.say(format!("login of {username} set")),
        }
    })?;
    if made {
        app.note("the password was made here and is not shown again");
    }
    Ok(())
}

/// The password by file or standard input; `None` where neither is asked for.
pub(super) fn password(app: &mut App<'_>, args: &PasswordArgs) -> Result<Option<String>, Error> {
    let path = match (&args.password_file, args.password_stdin) {
        (Some(path), _) => path.clone(),
        (None, true) => Path::new("-").to_owned(),
        (None, false) => return Ok(None),
    };
    let password = app.read_text(&path)?;
    if password.is_empty() {
        return Err(Error::usage(format!(
            "{}: the password is empty",
            path.display()
        )));
    }
    Ok(Some(password))
}

async fn list(app: &mut App<'_>, limit: usize) -> Result<(), Error> {
    let api = app.api().await?;
    let (found, more) = all_pages(limit, 1000, |page_size, page_token| {
        let request = nb::ListCredentialsRequest {
            parent: api.tenant_name(),
            page_size,
            page_token,
        };
        let api = &api;
        async move {
            let page = api
                .answer(api.credentials().list_credentials(request))
                .await?;
            Ok((page.credentials, page.next_page_token))
        }
    })
    .await?;
    app.print(&found, |app, found| show::credentials(app, found))?;
    app.more(more, limit);
    Ok(())
}

async fn delete(
    app: &mut App<'_>,
    username: &str,
    kind: CredentialKindArg,
    device: Option<String>,
) -> Result<(), Error> {
    let api = app.api().await?;
    let device = match device {
        Some(device) => resolve::device(&api, &device, true).await?.name,
        None => String::new(),
    };
    let name = api.name("credentials", username)?;
    let request = nb::DeleteCredentialRequest {
        name: name.clone(),
        kind: nb::CredentialKind::from(kind).into(),
        device,
    };
    api.answer(api.credentials().delete_credential(request))
        .await?;
    super::device::deleted(app, &name)
}
