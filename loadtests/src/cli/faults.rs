//! `hearth-sim faults`.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use hearth_sim::Dice;
use hearth_sim::faults::catalogue::{Fault, Times};
use hearth_sim::faults::{self, Cluster, FaultOptions, FaultReport, Single};

/// What the fault table is like.
#[derive(Debug, Args)]
pub struct FaultArguments {
    /// The command that drives the cluster under test, which runs already.
    #[arg(
        long,
        value_name = "PATH",
        default_value = "scripts/cluster",
        conflicts_with = "server_bin"
    )]
    cluster: PathBuf,
    /// The file with the API's token; by default where the cluster keeps it.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Where the proxy before the cluster's parts takes commands (`hearth-sim proxy --control`).
    #[arg(long, value_name = "ADDRESS")]
    proxy: Option<String>,
    /// One server of this executable in place of a cluster.
    #[arg(long, value_name = "PATH", requires = "data_dir")]
    server_bin: Option<PathBuf>,
    /// A directory for the data and the log of the one server.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Which faults, such as `kill-gateway,pause-nats`; all that are possible if not given.
    #[arg(long, value_delimiter = ',', value_parser = fault)]
    faults: Vec<Fault>,
    /// Which not, of all that are possible.
    #[arg(long, value_delimiter = ',', value_name = "FAULTS")]
    except: Vec<String>,
    /// All of them happen to one fleet, with one verification at the end: shorter.
    #[arg(long)]
    together: bool,
    /// How often each happens under load. It happens once more right behind the last
    /// acknowledgement.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    times: u32,
    /// Devices that tasks are made for.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    devices: u32,
    /// Devices besides, each asked for a value again and again.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    canaries: u32,
    /// What chance begins with; by the clock if not given. It is printed.
    #[arg(long)]
    seed: Option<u64>,
    /// How long a member is held, a link cut, a store full.
    #[arg(long, default_value = "30s", value_parser = super::duration)]
    pause: Duration,
    /// How long a killed member is dead before it is started again.
    #[arg(long, default_value = "2s", value_parser = super::duration)]
    down: Duration,
    /// Before the first fault of each kind, to measure in peace.
    #[arg(long, default_value = "15s", value_parser = super::duration)]
    calm: Duration,
    /// The longest pause between two faults.
    #[arg(long, default_value = "5s", value_parser = super::duration)]
    gap: Duration,
    /// Time that each task has.
    #[arg(long, default_value = "3m", value_parser = super::duration)]
    deadline: Duration,
    /// How long it may take until all is well again.
    #[arg(long, default_value = "2m", value_parser = super::duration)]
    limit: Duration,
    /// How long a device waits for an answer.
    #[arg(long, default_value = "30s", value_parser = super::duration)]
    timeout: Duration,
    /// Between two periodic Informs of a device.
    #[arg(long, default_value = "60s", value_parser = super::duration)]
    periodic: Duration,
    /// Tasks made in a second.
    #[arg(long, default_value_t = 10.0)]
    rate: f64,
    /// Real seconds for one second of the devices: 0.05 makes their first retry one after 0.25 to
    /// 0.5 s. Many devices that retry so fast are a storm of their own.
    #[arg(long, default_value_t = 0.05, value_parser = time_scale)]
    time_scale: f64,
    /// Write the report there, as JSON, after each fault.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Write the table there, as Markdown, after each fault.
    #[arg(long, value_name = "FILE")]
    table: Option<PathBuf>,
    /// Go on with the report that is there: other faults' rows stay.
    #[arg(long, requires = "report")]
    append: bool,
}

fn fault(text: &str) -> Result<Fault, String> {
    Fault::parse(text).map_err(|error| error.to_string())
}

fn time_scale(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(scale) if (0.001..=1.0).contains(&scale) => Ok(scale),
        _ => Err("expected 0.001 to 1".to_owned()),
    }
}

/// Runs it; an error if it can't be run or something was wrong.
pub async fn run(arguments: FaultArguments) -> Result<()> {
    let clock = || {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
    };
    let seed = arguments
        .seed
        .unwrap_or_else(|| u64::from(clock().subsec_nanos()));
    let options = FaultOptions {
        faults: arguments.faults.clone(),
        except: arguments.except.clone(),
        together: arguments.together,
        times: arguments.times,
        devices: arguments.devices as usize,
        canaries: arguments.canaries as usize,
        seed,
        lasting: Times {
            down: arguments.down,
            pause: arguments.pause,
        },
        calm: arguments.calm,
        gap: arguments.gap,
        deadline: arguments.deadline,
        limit: arguments.limit,
        timeout: arguments.timeout,
        periodic: arguments.periodic,
        rate: arguments.rate,
        time_scale: arguments.time_scale,
    };
    let earlier = match &arguments.report {
        Some(path) if arguments.append && path.exists() => read(path)?,
        _ => FaultReport::default(),
    };
    let progress = |report: &FaultReport| write(report, &arguments);
    let report = match (&arguments.server_bin, &arguments.data_dir) {
        (Some(binary), Some(dir)) => {
            let settings = [
                "wakeup.allow_loopback=true",
                "workflow.retry_base=500ms",
                "workflow.retry_max=2s",
            ];
            let settings = settings.map(str::to_owned).into();
            let mut dice = Dice::new(seed);
            let mut single = Single::start(binary, dir, settings, &mut dice).await?;
            faults::run(&mut single, &options, earlier, progress).await?
        }
        _ => {
            let (token, proxy) = (arguments.token_file.clone(), arguments.proxy.clone());
            let mut cluster = Cluster::open(&arguments.cluster, token, proxy).await?;
            faults::run(&mut cluster, &options, earlier, progress).await?
        }
    };
    print!("\n{}", report.markdown());
    match report.failures(seed) {
        0 => println!("PASSED: nothing lost, nothing doubled (seed {seed})"),
        n => bail!("{n} violations (seed {seed})"),
    }
    Ok(())
}

fn read(path: &Path) -> Result<FaultReport> {
    let told = || format!("{}", path.display());
    let text = std::fs::read(path).with_context(told)?;
    serde_json::from_slice(&text).with_context(told)
}

fn write(report: &FaultReport, arguments: &FaultArguments) -> Result<()> {
    let told = |path: &Path| format!("{} can't be written", path.display());
    if let Some(path) = &arguments.report {
        let json = serde_json::to_vec_pretty(report)?;
        std::fs::write(path, json).with_context(|| told(path))?;
    }
    if let Some(path) = &arguments.table {
        std::fs::write(path, report.markdown()).with_context(|| told(path))?;
    }
    Ok(())
}
