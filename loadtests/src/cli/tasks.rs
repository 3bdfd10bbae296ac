//! `hearth-sim tasks`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use hearth_sim::load::tasks::{self, KindReport, TasksOptions, TasksReport};

use super::duration;
use super::load::{Processes, costs, print};

/// Options of `hearth-sim tasks`.
#[derive(Debug, Args)]
pub struct TasksArguments {
    /// The URL that devices are given.
    #[arg(long, default_value = "http://127.0.0.1:7547/")]
    acs: String,
    /// The API's URL.
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    api: String,
    /// The file with the API's token.
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,
    #[command(flatten)]
    processes: Processes,
    /// Devices. They wait for connection requests on the loopback, which the ACS must be allowed
    /// to ask (`wakeup.allow_loopback`).
    #[arg(long, default_value_t = 100)]
    devices: usize,
    /// Tasks made in a second.
    #[arg(long, default_value_t = 20.0)]
    rate: f64,
    /// Before measuring.
    #[arg(long, default_value = "5s", value_parser = duration)]
    warm_up: Duration,
    /// Measuring.
    #[arg(long, default_value = "30s", value_parser = duration)]
    measure: Duration,
    /// What chance begins with. Devices of an earlier run with the same seed are the same.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

/// Runs the scenario.
pub async fn run(arguments: TasksArguments) -> anyhow::Result<()> {
    let report = tasks::run(&TasksOptions {
        acs: arguments.acs,
        api: arguments.api,
        token: arguments.token_file,
        processes: arguments.processes.watched(),
        devices: arguments.devices.max(1),
        rate: arguments.rate,
        warm_up: arguments.warm_up,
        measure: arguments.measure,
        seed: arguments.seed,
    })
    .await?;
    match arguments.json {
        true => print(&(serde_json::to_string_pretty(&report)? + "\n")),
        false => print(&table(&report)),
    }
    Ok(())
}

fn table(report: &TasksReport) -> String {
    let mut out = format!(
        "{:20} {:>8} {:>8} {:>28} {:>28}\n",
        "", "tasks", "failed", "create p50, p99, max (ms)", "done p50, p99, max (ms)"
    );
    let mut row = |name: &str, kind: &KindReport| {
        let times = |t: &tasks::Times| format!("{:.1} {:.1} {:.1}", t.p50_ms, t.p99_ms, t.max_ms);
        let (create, done) = (times(&kind.create), times(&kind.done));
        let (tasks, failed) = (kind.tasks, kind.failed);
        out.push_str(&format!(
            "{name:20} {tasks:>8} {failed:>8} {create:>28} {done:>28}\n"
        ));
        for why in &kind.reasons {
            out.push_str(&format!("  {why}\n"));
        }
    };
    row("GetParameterValues", &report.get);
    row("SetParameterValues", &report.set);
    out.push_str(&costs(&report.processes, "tasks"));
    out.push_str(&format!(
        "{} devices, {:.1} s measured, generator {:.2} CPU s\n",
        report.devices, report.seconds, report.generator_cpu_seconds
    ));
    out
}
