//! `hearth-sim idle`, `bare` and `compare`.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use hearth_sim::load::bare::Bare;
use hearth_sim::load::compare::{self, Comparison};
use hearth_sim::load::idle::{self, IdleAuth, IdleOptions, IdleReport};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::{Login, duration};

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Auth {
    None,
    Basic,
    Digest,
}

/// Options of `hearth-sim idle`, and of both sides of `compare`.
#[derive(Debug, Args)]
pub struct IdleArguments {
    /// The ACS's URL.
    #[arg(long, default_value = "http://127.0.0.1:7547/")]
    acs: String,
    /// The server's process id: its processor time is counted.
    #[arg(long)]
    server_pid: Option<u32>,
    #[command(flatten)]
    login: Login,
    /// How the devices authenticate themselves; basic is sent without having been asked.
    #[arg(long, value_enum, default_value_t = Auth::Basic)]
    auth: Auth,
    /// Connections at once.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Devices.
    #[arg(long, default_value_t = 1000)]
    devices: u32,
    /// The first device's number.
    #[arg(long, default_value_t = 1)]
    first_device: u32,
    /// With how many parameters the ACS knows each device.
    #[arg(long, default_value_t = 1000)]
    parameters: usize,
    /// The devices are known already: don't make them known first.
    #[arg(long)]
    no_prepare: bool,
    /// Before measuring.
    #[arg(long, default_value = "3s", value_parser = duration)]
    warm_up: Duration,
    /// Measuring.
    #[arg(long, default_value = "10s", value_parser = duration)]
    measure: Duration,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

/// Options of `hearth-sim bare`.
#[derive(Debug, Args)]
pub struct BareArguments {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
}

/// Options of `hearth-sim compare`.
#[derive(Debug, Args)]
pub struct CompareArguments {
    #[command(flatten)]
    idle: IdleArguments,
    /// Rounds of each.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

impl IdleArguments {
    fn options(&self) -> IdleOptions {
        IdleOptions {
            url: self.acs.clone(),
            server_pid: self.server_pid,
            auth: match self.auth {
                Auth::None => IdleAuth::None,
                Auth::Basic => IdleAuth::Basic,
                Auth::Digest => IdleAuth::Digest,
            },
            username: self.login.username.clone(),
            password: self.login.password.as_str().into(),
            connections: self.connections.max(1),
            devices: self.devices,
            first_device: self.first_device,
            parameters: self.parameters,
            prepare: !self.no_prepare,
            warm_up: self.warm_up,
            measure: self.measure,
        }
    }
}

/// Runs the scenario once.
pub async fn idle(arguments: IdleArguments) -> anyhow::Result<()> {
    let report = idle::run(&arguments.options()).await?;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print_table(&[("acs", &report)]);
    }
    Ok(())
}

/// Serves until interrupted. The first line on stdout is JSON with the address and the pid.
pub async fn bare(arguments: BareArguments) -> anyhow::Result<()> {
    let bare = Bare::bind(arguments.listen).await?;
    let (address, pid) = (bare.address()?, std::process::id());
    println!("{}", serde_json::json!({ "address": address, "pid": pid }));
    tokio::select! {
        () = bare.serve() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    Ok(())
}

/// Starts a bare server beside the ACS and measures both.
pub async fn compare(arguments: CompareArguments) -> anyhow::Result<()> {
    let acs = arguments.idle.options();
    let (mut child, address) = start_bare().await?;
    let bare = IdleOptions {
        url: format!("http://{address}/"),
        server_pid: child.id(),
        prepare: false,
        ..acs.clone()
    };
    let compared = compare::run(&acs, &bare, arguments.rounds, |side, report| {
        eprintln!("{side}: {:.0} sessions/s", report.sessions_per_second);
    });
    let compared = compared.await;
    child.kill().await.ok();
    let compared = compared?;
    if !arguments.idle.json {
        print_comparison(&compared);
    }
    println!("{}", serde_json::to_string_pretty(&compared)?);
    Ok(())
}

async fn start_bare() -> anyhow::Result<(Child, SocketAddr)> {
    let program = std::env::current_exe().context("finding this program")?;
    let mut command = Command::new(program);
    command
        .arg("bare")
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn().context("starting the bare server")?;
    let stdout = child
        .stdout
        .take()
        .context("the bare server has no output")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).await?;
    let said: serde_json::Value = serde_json::from_str(&line).context("the bare server's line")?;
    let address = said["address"]
        .as_str()
        .context("the bare server's address")?;
    Ok((child, address.parse()?))
}

fn print_table(sides: &[(&str, &IdleReport)]) {
    let row = |name: &str, of: &dyn Fn(&IdleReport) -> String| {
        let values: Vec<String> = sides
            .iter()
            .map(|(_, r)| format!("{:>12}", of(r)))
            .collect();
        println!("{name:34}{}", values.join(""));
    };
    let names: Vec<String> = sides
        .iter()
        .map(|(name, _)| format!("{name:>12}"))
        .collect();
    println!("{:34}{}", "", names.join(""));
    let maybe = |value: Option<f64>, digits: usize| {
        value.map_or_else(|| "-".to_owned(), |v| format!("{v:.digits$}"))
    };
    row("sessions per second", &|r| {
        format!("{:.0}", r.sessions_per_second)
    });
    row("sessions per server-CPU-second", &|r| {
        maybe(r.sessions_per_server_cpu_second, 0)
    });
    row("server CPU seconds", &|r| maybe(r.server_cpu_seconds, 2));
    row("generator CPU seconds", &|r| {
        format!("{:.2}", r.generator_cpu_seconds)
    });
    row("p50 of a session, ms", &|r| format!("{:.2}", r.p50_ms));
    row("p99 of a session, ms", &|r| format!("{:.2}", r.p99_ms));
    row("errors", &|r| r.errors.to_string());
    row("refused (503)", &|r| r.refused.to_string());
    row("sessions with requests", &|r| r.asked.to_string());
    row("server memory, MiB", &|r| {
        maybe(
            r.server_resident_bytes
                .map(|b| b as f64 / f64::from(1 << 20)),
            0,
        )
    });
    if let Some((_, first)) = sides.first() {
        println!(
            "\n{} devices of {} parameters, {} connections, Inform of {} bytes, {:.1} s measured",
            first.devices, first.parameters, first.connections, first.inform_bytes, first.seconds
        );
    }
}

fn print_comparison(compared: &Comparison) {
    print_table(&[
        ("acs", &compared.acs.median),
        ("bare", &compared.bare.median),
    ]);
    println!("throughput, acs / bare: {:.3}", compared.throughput_ratio);
    if let Some(ratio) = compared.cpu_ratio {
        println!("CPU for a session, acs / bare: {ratio:.2}");
    }
    println!("medians of {} rounds\n", compared.acs.rounds.len());
}
