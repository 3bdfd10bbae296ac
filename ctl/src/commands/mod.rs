//! What each command does.

mod capture;
mod context;
mod credential;
mod dead_letters;
mod device;
pub(crate) mod explain;
mod file;
mod life;
mod param;
mod policy;
mod profile;
mod sessions;
mod software;
mod spread;
mod task;
mod transfer;

use crate::{
    app::App,
    cli::{Cli, Command},
    error::Error,
};
pub(crate) use life::word;
pub(crate) use profile::{chosen, learned};

use clap::CommandFactory;
use hearth_proto::types::v1::{ScheduleInform, task_spec::Kind};
use std::time::Duration;

/// Runs one command.
pub(crate) async fn run(command: Command, app: &mut App<'_>) -> Result<(), Error> {
    // Boxed: each is large, and only one is alive.
    match command {
        Command::Device(command) => Box::pin(device::run(command, app)).await,
        Command::Param(command) => Box::pin(param::run(command, app)).await,
        Command::Attr(command) => Box::pin(param::attr(command, app)).await,
        Command::Object(command) => Box::pin(param::object(command, app)).await,
        Command::File(command) => Box::pin(file::run(command, app)).await,
        Command::Download(args) => Box::pin(transfer::download(*args, app)).await,
        Command::Upload(args) => Box::pin(transfer::upload(*args, app)).await,
        Command::ScheduleDownload(args) => Box::pin(transfer::schedule(*args, app)).await,
        Command::Transfer(command) => Box::pin(transfer::run(command, app)).await,
        Command::Software(command) => Box::pin(software::run(command, app)).await,
        Command::ScheduleInform {
            device,
            delay,
            task,
        } => {
            let delay_seconds = seconds(delay)?;
            let kind = Kind::ScheduleInform(ScheduleInform { delay_seconds });
            let task = Box::pin(app.perform(&device, kind, &task)).await?;
            app.print_done(task, |_| format!("the device informs in {delay_seconds}s"))
        }
        Command::Task(command) => Box::pin(task::run(command, app)).await,
        Command::Refusals(command) => Box::pin(explain::refusals(command, app)).await,
        Command::Credential(command) => Box::pin(credential::run(command, app)).await,
        Command::Capture(command) => Box::pin(capture::run(command, app)).await,
        Command::Line(command) => Box::pin(life::line(command, app)).await,
        Command::Profile(command) => Box::pin(profile::run(command, app)).await,
        Command::Policy(command) => Box::pin(policy::run(command, app)).await,
        Command::DeadLetters(command) => Box::pin(dead_letters::run(command, app)).await,
        Command::Context(command) => context::run(command, app),
        Command::Completion { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "hearthctl", &mut text);
            Ok(app.host.out.write_all(&text)?)
        }
        Command::Version => {
            let version = serde_json::json!({ "version": env!("CARGO_PKG_VERSION") });
            app.print(&version, |app, _| {
                app.say(concat!("hearthctl ", env!("CARGO_PKG_VERSION")))
            })
        }
    }
}

/// Whole seconds, as CWMP counts them.
pub(crate) fn seconds(delay: Duration) -> Result<u32, Error> {
    u32::try_from(delay.as_secs())
        .map_err(|_| Error::usage("a delay is too long; expected at most 4294967295 seconds"))
}
