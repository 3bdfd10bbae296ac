//! `hearth-sim kill`.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use clap::Args;
use hearth_sim::kill::{self, KillOptions};

/// What the kill test is like.
#[derive(Debug, Args)]
pub struct KillArguments {
    /// The server's executable, which is run as `PATH run …`.
    #[arg(long, value_name = "PATH")]
    server_bin: PathBuf,
    /// How often the server is killed.
    #[arg(long, default_value_t = 6)]
    rounds: u32,
    /// Devices of the fleet.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=5000))]
    devices: u32,
    /// Known devices besides: each informs once before the first kill.
    #[arg(long, default_value_t = 0)]
    known: usize,
    /// What chance begins with; by the clock if not given. It is printed.
    #[arg(long)]
    seed: Option<u64>,
    /// An empty directory for the server's data and log, which stay; else a temporary one, which
    /// goes if the test passes.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// A setting of the server beside the test's own; may be given again.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Write the report there, as JSON.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Time that each task has.
    #[arg(long, default_value = "40s", value_parser = super::duration)]
    deadline: Duration,
    /// The longest that a start of the server may take.
    #[arg(long, default_value = "2s", value_parser = super::duration)]
    restart_limit: Duration,
}

/// Runs the test; an error if it can't be run or doesn't pass.
pub async fn run(arguments: KillArguments) -> anyhow::Result<()> {
    let clock = || {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
    };
    let seed = arguments
        .seed
        .unwrap_or_else(|| u64::from(clock().subsec_nanos()));
    let temporary = std::env::temp_dir().join(format!("hearth-kill-{}", std::process::id()));
    let dir = arguments
        .data_dir
        .clone()
        .unwrap_or_else(|| temporary.clone());
    let options = KillOptions {
        server: arguments.server_bin,
        rounds: arguments.rounds,
        devices: arguments.devices as usize,
        known: arguments.known,
        seed,
        settings: arguments.set,
        dir,
        deadline: arguments.deadline,
        restart_limit: arguments.restart_limit,
    };
    let report = kill::run(options).await?;
    if let Some(path) = &arguments.report {
        let json = serde_json::to_vec_pretty(&report)?;
        std::fs::write(path, json)
            .with_context(|| format!("{} can't be written", path.display()))?;
    }
    print!("{}", report.summary());
    if !report.violations.is_empty() {
        bail!("{} violations", report.violations.len());
    }
    if arguments.data_dir.is_none() {
        std::fs::remove_dir_all(&temporary).ok();
    }
    Ok(())
}
