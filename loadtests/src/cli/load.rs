//! `hearth-sim idle`, `bare` and `compare`.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use hearth_sim::load::bare::Bare;
use hearth_sim::load::compare::{self, Comparison};
use hearth_sim::load::dial::{DialTls, Dialing};
use hearth_sim::load::idle::{self, IdleAuth, IdleOptions, IdleReport};
use hearth_sim::load::process::{Cost, Watched};
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
    processes: Processes,
    #[command(flatten)]
    login: Login,
    /// How the devices authenticate themselves; basic is sent without having been asked.
    #[arg(long, value_enum, default_value_t = Auth::Basic)]
    auth: Auth,
    #[command(flatten)]
    dialing: DialingArguments,
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
    /// No value changes from session to session.
    #[arg(long)]
    unchanged: bool,
    /// Sessions a second at most, instead of each connection beginning the next at once.
    #[arg(long)]
    rate: Option<f64>,
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

/// How connections are made.
#[derive(Debug, Clone, Args)]
pub struct DialingArguments {
    /// A connection for each session, instead of one for all.
    #[arg(long)]
    connect_each: bool,
    /// PEM of who signed the server's certificate, for `https` URLs.
    #[arg(long, value_name = "FILE")]
    tls_trust: Option<PathBuf>,
    /// A folder with `NUMBER.pem`: certificate and key of the first device of each connection.
    #[arg(long, value_name = "DIR", requires = "tls_trust")]
    tls_certificates: Option<PathBuf>,
    /// Go on with the TLS session of the connection before.
    #[arg(long, requires = "tls_trust")]
    tls_resume: bool,
}

impl DialingArguments {
    /// As options.
    pub fn options(&self) -> Dialing {
        Dialing {
            each_session: self.connect_each,
            tls: self.tls_trust.clone().map(|trust| DialTls {
                trust,
                certificates: self.tls_certificates.clone(),
                resume: self.tls_resume,
            }),
        }
    }
}

/// The processes of an ACS that consists of several.
#[derive(Debug, Clone, Default, Args)]
pub struct Processes {
    /// A process of the ACS, as `gateway=1234`; may be given again. What each name costs is
    /// reported, and what all cost.
    #[arg(long = "process", value_name = "NAME=PID")]
    own: Vec<Watched>,
    /// A process that the ACS uses, as `nats=1234`: reported, but no part of the sum.
    #[arg(long, value_name = "NAME=PID")]
    beside: Vec<Watched>,
}

impl Processes {
    /// All of them.
    pub fn watched(&self) -> Vec<Watched> {
        let beside = self.beside.iter().cloned();
        let beside = beside.map(|one| Watched { own: false, ..one });
        self.own.iter().cloned().chain(beside).collect()
    }
}

/// What processes cost, a line each; `unit` is what was done.
pub fn costs(list: &[Cost], unit: &str) -> String {
    let line = |cost: &Cost| {
        let per = cost.per_cpu_second;
        let per = per.map_or_else(|| "-".to_owned(), |per| format!("{per:.0}"));
        let (name, memory) = (&cost.name, cost.resident_bytes >> 20);
        format!(
            "{name:16} {:>3} processes {:>9.2} CPU s {per:>9} {unit} per CPU second {memory:>6} MiB\n",
            cost.processes, cost.cpu_seconds
        )
    };
    list.iter().map(line).collect()
}

/// Options of `hearth-sim bare`.
#[derive(Debug, Args)]
pub struct BareArguments {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// PEM of its certificate: it speaks TLS.
    #[arg(long, requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// PEM of that certificate's key.
    #[arg(long, requires = "tls_cert")]
    tls_key: Option<PathBuf>,
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
            processes: self.processes.watched(),
            auth: match self.auth {
                Auth::None => IdleAuth::None,
                Auth::Basic => IdleAuth::Basic,
                Auth::Digest => IdleAuth::Digest,
            },
            dialing: self.dialing.options(),
            username: self.login.username.clone(),
            password: self.login.password.as_str().into(),
            connections: self.connections.max(1),
            devices: self.devices,
            first_device: self.first_device,
            parameters: self.parameters,
            prepare: !self.no_prepare,
            changes: !self.unchanged,
            rate: self.rate,
            warm_up: self.warm_up,
            measure: self.measure,
        }
    }
}

/// Runs the scenario once.
pub async fn idle(arguments: IdleArguments) -> anyhow::Result<()> {
    let report = idle::run(&arguments.options()).await?;
    match arguments.json {
        true => print(&(serde_json::to_string_pretty(&report)? + "\n")),
        false => {
            print(&table(&[("acs", &report)]));
            print(&costs(&report.processes, "sessions"));
        }
    }
    Ok(())
}

/// Serves until interrupted. The first line on stdout is JSON with the address and the pid.
pub async fn bare(arguments: BareArguments) -> anyhow::Result<()> {
    let mut bare = Bare::bind(arguments.listen).await?;
    if let (Some(certificate), Some(key)) = (&arguments.tls_cert, &arguments.tls_key) {
        bare = bare.with_tls(certificate, key)?;
    }
    let (address, pid) = (bare.address()?, std::process::id());
    print(&format!(
        "{}\n",
        serde_json::json!({ "address": address, "pid": pid })
    ));
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
        processes: Vec::new(),
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
        print(&comparison(&compared));
    }
    print(&(serde_json::to_string_pretty(&compared)? + "\n"));
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

/// What is printed, line by line; a reader that has seen enough is no error.
pub fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .ok();
}

fn table(sides: &[(&str, &IdleReport)]) -> String {
    let mut out = String::new();
    let mut row = |name: &str, of: &dyn Fn(&str, &IdleReport) -> String| {
        let values = sides.iter().map(|(side, r)| format!("{:>12}", of(side, r)));
        let values: String = values.collect();
        out.push_str(&format!("{name:34}{values}\n"));
    };
    let maybe = |value: Option<f64>, digits: usize| {
        value.map_or_else(|| "-".to_owned(), |v| format!("{v:.digits$}"))
    };
    row("", &|side, _| side.to_owned());
    row("sessions per second", &|_, r| {
        format!("{:.0}", r.sessions_per_second)
    });
    row("sessions per server-CPU-second", &|_, r| {
        maybe(r.sessions_per_server_cpu_second, 0)
    });
    row("server CPU seconds", &|_, r| maybe(r.server_cpu_seconds, 2));
    row("generator CPU seconds", &|_, r| {
        format!("{:.2}", r.generator_cpu_seconds)
    });
    row("p50 of a session, ms", &|_, r| format!("{:.2}", r.p50_ms));
    row("p99 of a session, ms", &|_, r| format!("{:.2}", r.p99_ms));
    row("errors", &|_, r| r.errors.to_string());
    row("refused (503)", &|_, r| r.refused.to_string());
    row("sessions with requests", &|_, r| r.asked.to_string());
    row("server memory, MiB", &|_, r| {
        maybe(
            r.server_resident_bytes
                .map(|b| b as f64 / f64::from(1 << 20)),
            0,
        )
    });
    if let Some((_, first)) = sides.first() {
        out.push_str(&format!(
            "\n{} devices of {} parameters, {} connections, Inform of {} bytes, {:.1} s measured\n",
            first.devices, first.parameters, first.connections, first.inform_bytes, first.seconds
        ));
    }
    out
}

fn comparison(compared: &Comparison) -> String {
    let mut out = table(&[
        ("acs", &compared.acs.median),
        ("bare", &compared.bare.median),
    ]);
    out.push_str(&format!(
        "throughput, acs / bare: {:.3}\n",
        compared.throughput_ratio
    ));
    if let Some(ratio) = compared.cpu_ratio {
        out.push_str(&format!("CPU for a session, acs / bare: {ratio:.2}\n"));
    }
    out.push_str(&format!(
        "medians of {} rounds\n\n",
        compared.acs.rounds.len()
    ));
    out
}
