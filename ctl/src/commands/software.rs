//! `hearthctl software`: units are installed, updated, uninstalled.

use super::{credential::password, transfer::Source};
use crate::{
    app::App,
    cli::{InstallArgs, SoftwareCommand, TaskOptions, UninstallArgs, UpdateArgs},
    error::Error,
    show,
};
use hearth_proto::types::v1::{
    ChangeDuState, DuInstall, DuOperation, DuUninstall, DuUpdate, du_operation::Kind as Operation,
    task_spec::Kind,
};

/// Runs one command.
pub(crate) async fn run(command: SoftwareCommand, app: &mut App<'_>) -> Result<(), Error> {
    match command {
        SoftwareCommand::Install(args) => install(*args, app).await,
        SoftwareCommand::Update(args) => update(*args, app).await,
        SoftwareCommand::Uninstall(args) => {
            let UninstallArgs {
                device,
                uuid,
                version,
                all_versions,
                env,
                task,
            } = *args;
            let uninstall = DuUninstall {
                uuid,
                version: version.unwrap_or_default(),
                execution_env_ref: env.unwrap_or_default(),
                all_versions,
            };
            perform(app, &device, Operation::Uninstall(uninstall), &task).await
        }
    }
}

async fn install(args: InstallArgs, app: &mut App<'_>) -> Result<(), Error> {
    let mut install = DuInstall {
        uuid: args.uuid.unwrap_or_default(),
        username: args.username.unwrap_or_default(),
        password: password(app, &args.password)?.unwrap_or_default(),
        execution_env_ref: args.env.unwrap_or_default(),
        ..Default::default()
    };
    let has_login = !install.username.is_empty() || !install.password.is_empty();
    match Source::of(app, args.source, has_login).await? {
        Source::Url(url) => install.url = url,
        Source::File(file) => install.file = file.name,
    }
    perform(app, &args.device, Operation::Install(install), &args.task).await
}

async fn update(args: UpdateArgs, app: &mut App<'_>) -> Result<(), Error> {
    if !args.all && args.uuid.is_none() && args.url.is_none() {
        return Err(Error::usage(
            "names no unit; give its UUID or --url, or --all if every unit is meant",
        ));
    }
    let mut update = DuUpdate {
        uuid: args.uuid.unwrap_or_default(),
        version: args.version.unwrap_or_default(),
        username: args.username.unwrap_or_default(),
        password: password(app, &args.password)?.unwrap_or_default(),
        all_units: args.all,
        ..Default::default()
    };
    if let Some(source) = args.url {
        let has_login = !update.username.is_empty() || !update.password.is_empty();
        match Source::of(app, source, has_login).await? {
            Source::Url(url) => update.url = url,
            Source::File(file) => update.file = file.name,
        }
    }
    perform(app, &args.device, Operation::Update(update), &args.task).await
}

async fn perform(
    app: &mut App<'_>,
    device: &str,
    operation: Operation,
    options: &TaskOptions,
) -> Result<(), Error> {
    let kind = Kind::ChangeDuState(ChangeDuState {
        operations: vec![DuOperation {
            kind: Some(operation),
        }],
    });
    let Some(task) = app.perform(device, kind, options).await? else {
        return Ok(());
    };
    app.print(&task, |app, task| {
        let units = task.result.as_ref().map(|result| &result.du_results);
        show::units(app, units.map_or(&[], Vec::as_slice))
    })
}
