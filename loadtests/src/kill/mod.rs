//! The kill test: a server that is killed (SIGKILL) again and again, at random moments, under a
//! fleet with tasks of every kind. Nothing that was acknowledged may be lost, and nothing that
//! must be done once may be done twice. What it proves and how: `docs/kill-test.md`.

pub(crate) mod api;
pub(crate) mod book;
pub(crate) mod evidence;
pub(crate) mod fleet;
pub(crate) mod plan;
pub mod process;
pub(crate) mod report;
pub(crate) mod scene;
pub(crate) mod verify;
pub(crate) mod work;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

pub use report::{Report, Restarts, Round};
pub use verify::{Looked, Violation};

use self::api::Api;
use self::fleet::Life;
use self::process::{Ports, Server};
use self::report::millis;
use self::scene::{Scene, SceneOptions};
use self::work::Pace;
use crate::Dice;

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
    scene: Scene,
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
        let api = format!("http://127.0.0.1:{}", ports.api);
        let api = Api::new(&api, &server.data_dir().join("admin.token"))?;
        let acs = format!("http://127.0.0.1:{}/", ports.cwmp);
        let login = scene::login(&api, acs, dice).await?;
        if options.known > 0 {
            fleet::preload(&login, options.known, dice.number()).await?;
        }
        let scene = SceneOptions {
            devices: options.devices,
            canaries: 0,
            life: Life::default(),
            pace: Pace::brisk(options.devices),
            deadline: options.deadline,
            patience: Duration::from_secs(120),
        };
        let scene = Scene::start(api, &login, &scene, dice).await?;
        Ok(Self {
            server,
            scene,
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
                let book = self.scene.work.book.lock();
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
        self.accidents.extend(self.scene.settle().await);
        self.scene.fleet.stop().await;
        self.kill(options.rounds + 1).await?;
        self.restart().await?;
        Ok(())
    }

    /// Gathers what there is to know, from the devices and from the server as it came back.
    async fn verdict(&mut self, options: &KillOptions) -> Result<(evidence::Evidence, Report)> {
        let book = self.scene.book();
        let mut evidence = self.scene.gather(&book).await?;
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
