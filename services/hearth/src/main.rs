//! `hearth`: the server. Phases in order: command line, configuration, logs,
//! build, serve, drain.

use anyhow::{Context, Result};
use clap::{CommandFactory, Parser};
use hearth_runtime::Shutdown;
use hearth_server::cli::{Cli, Command, ConfigCommand, RunArgs};
use hearth_server::config::{self, HearthConfig};
use hearth_server::{ca, demo, first_start, keys, server::Server};
use std::process::ExitCode;

/// Sessions allocate and free small buffers on all threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match dispatch(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: Command) -> Result<ExitCode> {
    match command {
        Command::Run(args) => with_config(&args, |config| {
            block_on(async {
                // Within the runtime: the exporter of traces needs one.
                let traces = hearth_telemetry::init_logs_and_traces(&config.log, &config.trace)?;
                let served = serve(config).await;
                // It blocks until the last spans have left.
                tokio::task::spawn_blocking(|| traces.close()).await?;
                served
            })?;
            Ok(ExitCode::SUCCESS)
        }),
        Command::Config { command } => configure(command),
        Command::Ca { command } => ca::run(command).map(|()| ExitCode::SUCCESS),
        Command::Keys { command } => keys::run(command).map(|()| ExitCode::SUCCESS),
        Command::Demo(args) => block_on(demo::run(args)),
        Command::Completion { shell } => {
            let mut command = Cli::command();
            clap_complete::generate(shell, &mut command, "hearth", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Loads the configuration; its problems go out as a list, with exit code 2.
fn with_config(
    args: &RunArgs,
    then: impl FnOnce(HearthConfig) -> Result<ExitCode>,
) -> Result<ExitCode> {
    match config::load(args) {
        Ok(loaded) => then(loaded.value),
        Err(problems) => {
            eprintln!("error: {problems}");
            Ok(ExitCode::from(2))
        }
    }
}

fn configure(command: ConfigCommand) -> Result<ExitCode> {
    match command {
        ConfigCommand::Example => print!("{}", hearth_config::example::<HearthConfig>()?),
        ConfigCommand::Check(args) => {
            return with_config(&args, |_| {
                println!("the configuration is good");
                Ok(ExitCode::SUCCESS)
            });
        }
        ConfigCommand::Print(args) => match config::load(&args) {
            Ok(loaded) => print!("{}", loaded.print()?),
            Err(problems) => {
                eprintln!("error: {problems}");
                return Ok(ExitCode::from(2));
            }
        },
    }
    Ok(ExitCode::SUCCESS)
}

fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("can't start threads")?
        .block_on(future)
}

async fn serve(config: HearthConfig) -> Result<()> {
    let shutdown = Shutdown::new();
    shutdown.listen_to_signals()?;
    let server = Server::build(&config).await?;
    let addresses = server.addresses;
    let shown = |address: Option<std::net::SocketAddr>| address.map(tracing::field::display);
    let roles: Vec<&str> = config.roles.iter().map(|role| role.name()).collect();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        roles = roles.join(","),
        data_dir = %config.data_dir.display(),
        cwmp = shown(addresses.cwmp),
        cwmp_tls = shown(addresses.cwmp_tls),
        cwmp_legacy = shown(addresses.cwmp_legacy),
        api = shown(addresses.api),
        files = shown(addresses.files),
        internal = shown(addresses.internal),
        admin = %addresses.admin,
        "starting"
    );
    first_start::tell(&server, &config);
    server.run(shutdown).await
}
