//! The kill test: a server that is killed (SIGKILL) again and again, at random moments, under a
//! fleet with tasks of every kind. Nothing that was acknowledged may be lost, and nothing that
//! must be done once may be done twice. What it proves and how: `docs/kill-test.md`.

mod api;
mod book;
mod evidence;
mod fleet;
mod plan;
mod process;
mod report;
mod verify;
mod work;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

pub use report::{Report, Restarts, Round};
pub use verify::{Looked, Violation};

use self::api::Api;
use self::evidence::Truth;
use self::fleet::Login;
use self::plan::Planner;
use self::process::{Ports, Server};
use self::report::millis;
use self::work::Work;
use crate::{Dice, Fleet};

/// What a kill test is like.
#[derive(Clone, Debug)]
pub struct KillOptions {
    /// The server's executable.
    pub server: PathBuf,
    /// How often it is killed.
    pub rounds: u32,
    /// Devices of the fleet.
    pub devices: usize,
    /// Known devices besides, which informed once before the first kill.
    pub known: usize,
    /// What chance begins with.
    pub seed: u64,
    /// Further settings of the server, `KEY=VALUE`.
    pub settings: Vec<String>,
    /// An empty or absent directory for the server's data and log.
    pub dir: PathBuf,
    /// Time that a task has.
    pub deadline: Duration,
    /// The longest that a start may take.
    pub restart_limit: Duration,
}

/// How long a start may take before the test gives up: far beyond what is a violation.
const START: Duration = Duration::from_secs(120);

/// Runs the test and verifies. Progress goes to standard output.
///
/// # Errors
/// When it can't be carried out: a server that doesn't start, an API that doesn't answer. What is
/// wrong with the outcome stands in the report instead.
pub async fn run(options: KillOptions) -> Result<Report> {
    let begun = Instant::now();
    println!("seed {}, data in {}", options.seed, options.dir.display());
    let mut dice = Dice::new(options.seed);
    let mut test = Test::prepare(&options, &mut dice).await?;
    test.rounds(&options, &mut dice).await?;
    test.settle(&options).await?;
    let (evidence, mut report) = test.verdict(&options).await?;
    report.judge(verify::verify(&evidence));
    report.seconds = begun.elapsed().as_secs_f64();
    Ok(report)
}

/// A running test.
struct Test {
    server: Server,
    fleet: Arc<Fleet>,
    work: Arc<Work>,
    rounds: Vec<Round>,
    restarts: Vec<Duration>,
    accidents: Vec<String>,
    ready: Instant,
}

impl Test {
    async fn prepare(options: &KillOptions, dice: &mut Dice) -> Result<Self> {
        let data = options.dir.join("data");
        fresh(&options.dir)?;
        // What takes minutes in the field takes seconds here, as on the devices.
        let settings = [
            "wakeup.allow_loopback=true",
            "workflow.retry_base=500ms",
            "workflow.retry_max=2s",
        ];
        let settings = settings.map(str::to_owned).into_iter();
        let settings = settings.chain(options.settings.iter().cloned()).collect();
        let log = options.dir.join("server.log");
        let ports = Ports::free(dice)?;
        let mut server = Server::new(&options.server, &data, &log, settings, ports)?;
        let started = server.start()?;
        let first = server.ready(started, START).await?;
        println!("first start: ready after {} ms", millis(first));
        let api = Api::new(ports.api, server.data_dir())?;
        let (username, password) = api
            .onboarding()
            .await
            .context("the onboarding credential")?;
        let login = Login {
            port: ports.cwmp,
            username,
            password,
            request_username: "kill-test".to_owned(),
            request_password: format!("{:016x}", dice.number()),
        };
        let (user, secret) = (&login.request_username, &login.request_password);
        api.set_connection_request(user, secret)
            .await
            .context("the connection-request credential")?;
        if options.known > 0 {
            fleet::preload(&login, options.known, dice.number()).await?;
        }
        let fleet = Arc::new(fleet::start(&login, options.devices, dice.number()).await?);
        fleet::informed(&fleet, Duration::from_secs(120)).await?;
        let (targets, names) = fleet::targets(&fleet)?;
        let planner = Planner::new(Dice::new(dice.number()), targets);
        let work = Work::start(api, fleet.clone(), names, planner, options.deadline, dice);
        Ok(Self {
            server,
            fleet,
            work,
            rounds: Vec::new(),
            restarts: Vec::new(),
            accidents: Vec::new(),
            ready: Instant::now(),
        })
    }

    async fn rounds(&mut self, options: &KillOptions, dice: &mut Dice) -> Result<()> {
        for round in 1..=options.rounds {
            let wait = match dice.chance(0.15) {
                true => dice.between(Duration::ZERO, Duration::from_millis(200)),
                false => dice.between(Duration::from_millis(200), Duration::from_secs(3)),
            };
            tokio::time::sleep(wait).await;
            let (open, ended) = {
                let book = self.work.book.lock();
                (book.open.len(), book.tasks.len() - book.open.len())
            };
            let killed_after_ms = millis(self.ready.elapsed());
            self.kill(round).await?;
            let mut killed_starting_after_ms = None;
            if dice.chance(0.2) {
                let usual = self
                    .restarts
                    .last()
                    .copied()
                    .unwrap_or(Duration::from_millis(300));
                let started = self.server.start()?;
                tokio::time::sleep(dice.between(Duration::ZERO, usual)).await;
                killed_starting_after_ms = Some(millis(started.elapsed()));
                self.kill(round).await?;
            }
            let restart = self.restart().await?;
            let twice = killed_starting_after_ms
                .map(|ms| format!(", again {ms} ms into its start"))
                .unwrap_or_default();
            println!(
                "round {round}: killed {killed_after_ms} ms after ready{twice}; {open} tasks open, \
                 {ended} ended; ready again after {} ms",
                millis(restart)
            );
            self.rounds.push(Round {
                round,
                killed_after_ms,
                killed_starting_after_ms,
                open,
                ended,
                restart_ms: millis(restart),
            });
        }
        Ok(())
    }

    async fn kill(&mut self, round: u32) -> Result<()> {
        if !self.server.kill().await? {
            let end = self.server.log_end();
            self.accidents.push(format!(
                "it had ended by itself before kill {round}:\n{end}"
            ));
        }
        Ok(())
    }

    async fn restart(&mut self) -> Result<Duration> {
        let started = self.server.start()?;
        let restart = self.server.ready(started, START).await?;
        self.ready = Instant::now();
        self.restarts.push(restart);
        Ok(restart)
    }

    /// Begins nothing new, waits until every task has ended and every device has informed once
    /// more, and kills the server right then.
    async fn settle(&mut self, options: &KillOptions) -> Result<()> {
        self.work.finish(Duration::from_secs(60)).await;
        let until = Instant::now() + options.deadline + Duration::from_secs(30);
        let mut shown = Instant::now();
        loop {
            let open = self.work.book.lock().pending();
            if open == 0 || Instant::now() > until {
                println!("settled with {open} tasks open");
                break;
            }
            if shown.elapsed() > Duration::from_secs(5) {
                shown = Instant::now();
                println!("waiting for {open} tasks to end");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        self.work.stop().await;
        if !fleet::settle(&self.fleet, Duration::from_secs(60)).await {
            self.accidents
                .push("not every device could inform in peace at the end".to_owned());
        }
        self.fleet.stop().await;
        self.kill(options.rounds + 1).await?;
        self.restart().await?;
        Ok(())
    }

    /// Gathers what there is to know, from the devices and from the server as it came back.
    async fn verdict(&mut self, options: &KillOptions) -> Result<(evidence::Evidence, Report)> {
        let (targets, names) = fleet::targets(&self.fleet)?;
        let devices = self.fleet.devices().iter().zip(&names).zip(&targets);
        let truth = devices.map(|((device, name), target)| Truth::of(device, name, target));
        let truth: Vec<_> = truth.collect();
        let book = std::mem::take(&mut *self.work.book.lock());
        let mut evidence = evidence::gather(&self.work.api, truth, &book).await?;
        self.kill(options.rounds + 2).await?;
        evidence.preloaded = options.known as u64;
        evidence.restarts.clone_from(&self.restarts);
        evidence.restart_limit = options.restart_limit;
        evidence.accidents = std::mem::take(&mut self.accidents);
        evidence.accidents.extend(self.server.panics());
        let report = Report {
            seed: options.seed,
            devices: options.devices,
            known: options.known,
            processors: std::thread::available_parallelism().map_or(0, usize::from),
            seconds: 0.0,
            rounds: std::mem::take(&mut self.rounds),
            restarts: Restarts::of(&self.restarts),
            tasks: report::tally(&evidence),
            interrupted: report::interrupted(&evidence),
            repeated_creates: book.repeated,
            unknown_outcomes: report::unknown(&evidence),
            looked: Looked::default(),
            violations: Vec::new(),
        };
        Ok((evidence, report))
    }
}

/// Makes the directory; one with something in it is somebody's.
fn fresh(dir: &Path) -> Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("{} can't be made", dir.display()))?;
    if std::fs::read_dir(dir)?.next().is_some() {
        bail!(
            "{} is not empty; name another directory, or none",
            dir.display()
        );
    }
    Ok(())
}
