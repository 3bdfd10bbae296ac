//! The command line.

mod crowd;
mod faults;
mod fleet;
mod kill;
mod load;
mod proxy;
mod replay;
mod storm;
mod tasks;
mod trees;

use clap::{Args, Parser, Subcommand};
use hearth_sim::Kind;

/// Simulated CPEs and load for a CWMP ACS.
#[derive(Debug, Parser)]
#[command(name = "hearth-sim", version, about)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a fleet of simulated devices until stopped.
    Fleet(Box<fleet::FleetArguments>),
    /// Show the data models that devices can have.
    #[command(subcommand)]
    Trees(trees::TreesCommand),
    /// Kill a server at random moments under a fleet with tasks, and verify that nothing is lost.
    Kill(Box<kill::KillArguments>),
    /// Break a cluster's parts under a fleet with tasks, each in every way, and verify that
    /// nothing is lost.
    Faults(Box<faults::FaultArguments>),
    /// Pass TCP connections on, and break them on command: the network between two servers.
    Proxy(proxy::ProxyArguments),
    /// Feed a captured session to the codec and the session machine, turn by turn.
    Replay(replay::ReplayArguments),
    /// Load: known devices inform and have nothing done to them.
    Idle(load::IdleArguments),
    /// Load: values are read and set, with how long each task takes.
    Tasks(Box<tasks::TasksArguments>),
    /// Load: connections that are open and say nothing, with what each takes of the server's memory.
    Hold(crowd::HoldArguments),
    /// Load: many devices answer a read with a large answer, all at once.
    Large(crowd::LargeArguments),
    /// Load: all devices of several tenants inform in one moment, and come again until each is in.
    Storm(storm::StormArguments),
    /// The baseline: a server that reads HTTP, parses the Inform and answers fixed bytes.
    Bare(load::BareArguments),
    /// Run `idle` against an ACS and the baseline in alternation, and print medians and ratios.
    Compare(load::CompareArguments),
}

/// What devices log in with.
#[derive(Debug, Clone, Args)]
struct Login {
    /// User that the devices log in with.
    #[arg(long, env = "HEARTH_SIM_USERNAME", default_value = "")]
    username: String,
    /// Password; better given by the environment, where other users can't read it.
    #[arg(
        long,
        env = "HEARTH_SIM_PASSWORD",
        default_value = "",
        hide_env_values = true
    )]
    password: String,
}

/// Does what was asked.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.command {
        Command::Fleet(arguments) => fleet::run(*arguments).await,
        Command::Trees(command) => trees::run(command),
        Command::Kill(arguments) => kill::run(*arguments).await,
        Command::Faults(arguments) => faults::run(*arguments).await,
        Command::Proxy(arguments) => proxy::run(arguments).await,
        Command::Replay(arguments) => replay::run(arguments),
        Command::Idle(arguments) => load::idle(arguments).await,
        Command::Tasks(arguments) => tasks::run(*arguments).await,
        Command::Hold(arguments) => crowd::hold(arguments).await,
        Command::Large(arguments) => crowd::large(arguments).await,
        Command::Storm(arguments) => storm::run(arguments).await,
        Command::Bare(arguments) => load::bare(arguments).await,
        Command::Compare(arguments) => load::compare(arguments).await,
    }
}

/// Reads `mixed`, or kinds separated by commas.
fn kinds(text: &str) -> anyhow::Result<Vec<Kind>> {
    if text == "mixed" {
        return Ok(Kind::OWN.to_vec());
    }
    let kinds = text.split(',').map(|name| name.trim().parse::<Kind>());
    Ok(kinds.collect::<Result<_, _>>()?)
}

/// Reads `90`, `90s`, `5m`, `250ms`, `1h30m`.
fn duration(text: &str) -> Result<std::time::Duration, String> {
    if let Ok(seconds) = text.parse::<f64>() {
        return std::time::Duration::try_from_secs_f64(seconds).map_err(|e| e.to_string());
    }
    let span: jiff::SignedDuration = text
        .parse()
        .map_err(|_| "expected a duration such as 90s, 5m, 250ms or 1h30m".to_owned())?;
    span.try_into()
        .map_err(|_| "expected a duration that isn't negative".to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use clap::CommandFactory as _;
    use std::time::Duration;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn durations_and_kinds() {
        for (text, ms) in [
            ("90", 90_000),
            ("60s", 60_000),
            ("5m", 300_000),
            ("250ms", 250),
        ] {
            assert_eq!(duration(text).unwrap(), Duration::from_millis(ms), "{text}");
        }
        assert!(duration("soon").is_err());
        assert!(duration("-5s").is_err());
        assert_eq!(kinds("mixed").unwrap().len(), 6);
        assert_eq!(kinds("router,csv:x.csv").unwrap().len(), 2);
        assert!(kinds("toaster").is_err());
    }
}
