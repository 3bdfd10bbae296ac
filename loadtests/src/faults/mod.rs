//! The fault table: an installation whose parts are killed, held, cut off, emptied and filled, one
//! kind of fault after the other and each again and again, under a fleet with tasks of every kind.
//! Nothing that was acknowledged may be lost, nothing that must be done once may be done twice.
//! What it proves and how: `docs/fault-table.md`.
//!
//! * [`subject`]: what is broken; a [`Cluster`], or a [`Single`] server.
//! * [`catalogue`]: the faults there are.
//! * [`proxy`]: the network between two parts, to be cut.

pub mod catalogue;
mod chapter;
mod cluster;
mod disk;
pub mod proxy;
mod report;
mod single;
pub mod subject;
mod table;
mod valkey;
mod watch;

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};

pub use cluster::Cluster;
pub use report::{Breach, FaultReport, Latencies, Looks, Occurrence, Row, Spread};
pub use single::Single;

use self::catalogue::{Fault, Times};
use self::subject::Subject;
use crate::Dice;
use crate::kill::api::Api;
use crate::kill::evidence;
use crate::kill::fleet::Life;
use crate::kill::scene::{self, SceneOptions};
use crate::kill::work::Pace;

/// What a run is like.
#[derive(Clone, Debug)]
pub struct FaultOptions {
    /// Which faults; all that can happen to the subject if empty.
    pub faults: Vec<Fault>,
    /// All faults happen to one fleet, one after the other, with one verification at the end:
    /// shorter, and a violation doesn't tell whose it is.
    pub together: bool,
    /// Names of faults that are left out.
    pub except: Vec<String>,
    /// How often each happens under load; it happens once more when all is at rest.
    pub times: u32,
    /// Devices that tasks are made for.
    pub devices: usize,
    /// Devices besides, whose tasks tell whether all is well.
    pub canaries: usize,
    /// What chance begins with. Each fault's own seed follows from it.
    pub seed: u64,
    /// How long faults last.
    pub lasting: Times,
    /// Before the first fault of each kind.
    pub calm: Duration,
    /// The longest pause between two faults.
    pub gap: Duration,
    /// Time that a task has.
    pub deadline: Duration,
    /// How long it may take until all is well again.
    pub limit: Duration,
    /// How long a device waits for an answer.
    pub timeout: Duration,
    /// The mean time between two periodic Informs of a device.
    pub periodic: Duration,
    /// Tasks made in a second, about.
    pub rate: f64,
    /// Real seconds for one second of the devices: how fast they retry, restart and download.
    pub time_scale: f64,
}

const CREATORS: usize = 4;

impl FaultOptions {
    /// How devices live: their retries are faster than real ones', their periodic Informs rare, so
    /// that many of them fit.
    fn life(&self, prefix: String) -> Life {
        Life {
            time_scale: self.time_scale,
            periodic: self.periodic.div_f64(self.time_scale),
            spread: Duration::from_millis(self.devices as u64 * 10),
            timeout: self.timeout,
            prefix,
        }
    }

    fn pace(&self) -> Pace {
        let mean = CREATORS as f64 / self.rate.max(0.01);
        Pace {
            creators: CREATORS,
            limit: (self.devices * 2).clamp(20, 250),
            create: Duration::from_secs_f64(2.0 * mean),
            tags: Duration::from_secs(2),
            files: Duration::from_secs(20),
            values: Duration::from_millis(400),
        }
    }

    fn scene(&self, prefix: String) -> SceneOptions {
        SceneOptions {
            devices: self.devices,
            canaries: self.canaries,
            life: self.life(prefix),
            pace: self.pace(),
            deadline: self.deadline,
            patience: Duration::from_secs(300),
        }
    }

    /// Every fault has its own seed, so that one alone can be repeated.
    fn seed_of(&self, name: &str) -> u64 {
        // FNV-1a: the same on every machine and in every build.
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        self.seed ^ hash >> 32
    }
}

/// Runs every fault. `progress` gets the report after each.
///
/// # Errors
/// When the run can't begin. A fault that can't happen, or whose chapter can't be carried out,
/// stands in the report.
pub async fn run<S: Subject>(
    subject: &mut S,
    options: &FaultOptions,
    mut report: FaultReport,
    mut progress: impl FnMut(&FaultReport) -> Result<()>,
) -> Result<FaultReport> {
    let (members, links) = (subject.members(), subject.links());
    let mut faults = match options.faults.is_empty() {
        true => Fault::table(&members, &links),
        false => options.faults.clone(),
    };
    faults.retain(|fault| !options.except.contains(&fault.name()));
    if faults.is_empty() {
        bail!("no fault can happen to {}", members.join(", "));
    }
    println!("seed {}; {}", options.seed, members.join(", "));
    let front = subject.front();
    let api = Api::new(&front.api, &front.token)?;
    let mut dice = Dice::new(options.seed);
    let login = scene::login(&api, front.acs, &mut dice).await?;
    let mut others: BTreeSet<String> = evidence::list_tasks(&api).await.context("ListTasks")?;
    report.processors = std::thread::available_parallelism().map_or(0, usize::from);
    // Two runs on the same data must not have the same devices.
    let run = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let chapters: Vec<&[Fault]> = match options.together {
        true => vec![&faults],
        false => faults.chunks(1).collect(),
    };
    for (number, faults) in chapters.into_iter().enumerate() {
        let name = chapter::name_of(faults);
        let seed = options.seed_of(&name);
        let impossible = faults
            .iter()
            .find_map(|fault| fault.impossible(&members, &links));
        let done = match impossible {
            Some(why) => Err(why),
            None => {
                let scene = options.scene(format!("F{run:x}N{number}D"));
                let begun = (&api, &login);
                let chapter =
                    chapter::run(subject, faults, begun, &scene, options, &mut others, seed);
                chapter.await.map_err(|error| format!("{error:#}"))
            }
        };
        let mut row = done.unwrap_or_else(|why| Row {
            fault: name,
            not_run: Some(why),
            ..Row::default()
        });
        row.seed = options.seed;
        match &row.not_run {
            Some(why) => println!("{}: NOT RUN: {why}", row.fault),
            None => print!("{}", row.summary()),
        }
        report.take(row);
        progress(&report)?;
    }
    Ok(report)
}
