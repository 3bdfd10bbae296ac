//! `hearthctl`, the operator's command line: a client of `hearth.northbound.v1` and nothing else.
//!
//! A run goes through these files: `cli` reads the arguments, `settings` finds server, token and
//! tenant (flags, environment, contexts), `api` connects, `commands` does what was asked,
//! `waiting` follows a task, `output` prints. Everything of the process that a run touches comes
//! in by [`Host`], so that tests run whole commands in-process.

mod api;
mod app;
pub mod cli;
mod commands;
mod contexts;
mod error;
mod exit;
mod filter;
mod host;
mod output;
mod progress;
mod resolve;
mod settings;
mod show;
mod table;
mod times;
mod transport;
mod values;
mod waiting;

pub use exit::Exit;
pub use host::Host;

use clap::Parser;
use std::{ffi::OsString, io::Write};

/// Runs one command. `arguments` begin with the program's name. What went wrong is on `host.err`,
/// and in the exit code.
pub async fn run(arguments: impl IntoIterator<Item = OsString>, host: &mut Host) -> Exit {
    let cli = match cli::Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return parse_failure(&error, host),
    };
    let interrupt = host.interrupt.clone();
    let mut app = app::App::new(host, cli.global);
    let result = tokio::select! {
        result = commands::run(cli.command, &mut app) => result,
        () = interrupt.notified() => Err(error::Error::Interrupted),
    };
    let result = result.and_then(|()| Ok(app.host.out.flush()?));
    match result {
        Ok(()) => Exit::Ok,
        Err(error) => app.report(error),
    }
}

/// Help and version are parse "errors" too; they go to standard output.
fn parse_failure(error: &clap::Error, host: &mut Host) -> Exit {
    let text = error.render();
    let colors_allowed = host.var("NO_COLOR").is_none();
    let (writer, styled, exit) = match error.use_stderr() {
        true => (&mut host.err, host.err_is_terminal, Exit::Usage),
        false => (&mut host.out, host.out_is_terminal, Exit::Ok),
    };
    let styled = styled && colors_allowed;
    // Nobody is left to be told when this fails.
    let _ = match styled {
        true => write!(writer, "{}", text.ansi()),
        false => write!(writer, "{text}"),
    };
    let _ = writer.flush();
    exit
}
