//! The scenario `tasks`: values of devices are read and set by the API, and the time from making a
//! task to its end is measured. The devices sleep until they are asked to connect, so that a task
//! is a connection request, a session and an RPC.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use hearth_proto::northbound::v1 as nb;
use hearth_proto::types::v1::{
    GetParameterValues, ParameterValue, SetParameterValues, TaskSpec, TaskState, ValueType,
    task_spec::Kind,
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::process::{Cost, Costs, Watched, cpu_time};
use crate::Dice;
use crate::kill::api::Api;
use crate::kill::book::is_final;
use crate::kill::fleet::{self, Life};
use crate::kill::plan::Target;
use crate::kill::scene;

/// Longer than anything measured here: a device that was not woken informs by itself then.
const PERIODIC: Duration = Duration::from_secs(86_400);
/// A task that has not ended by then counts as failed.
const LIMIT: Duration = Duration::from_secs(60);

/// What is run.
#[derive(Clone, Debug)]
pub struct TasksOptions {
    /// The URL for devices.
    pub acs: String,
    /// The API's URL.
    pub api: String,
    /// The file with the API's token.
    pub token: PathBuf,
    /// Processes whose processor time is counted.
    pub processes: Vec<Watched>,
    /// Devices.
    pub devices: usize,
    /// Tasks made in a second, reads and sets together.
    pub rate: f64,
    /// Before measuring.
    pub warm_up: Duration,
    /// Measuring.
    pub measure: Duration,
    /// What chance begins with.
    pub seed: u64,
}

/// Times in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Times {
    /// The median.
    pub p50_ms: f64,
    /// The 99th percentile.
    pub p99_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

impl Times {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |part: f64| {
            let last = times.len().saturating_sub(1) as f64;
            let time = times.get((last * part).round() as usize);
            time.map_or(0.0, |time| time.as_secs_f64() * 1000.0)
        };
        Self {
            p50_ms: at(0.5),
            p99_ms: at(0.99),
            max_ms: at(1.0),
        }
    }
}

/// Tasks of one kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct KindReport {
    /// Tasks that succeeded.
    pub tasks: usize,
    /// Tasks that did not, or were refused.
    pub failed: usize,
    /// Why some of them did.
    pub reasons: Vec<String>,
    /// From sending CreateTask to its answer.
    pub create: Times,
    /// From sending CreateTask to being told of the task's end.
    pub done: Times,
}

/// What came out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TasksReport {
    /// GetParameterValues.
    pub get: KindReport,
    /// SetParameterValues.
    pub set: KindReport,
    /// For how long was measured, in seconds.
    pub seconds: f64,
    /// Devices.
    pub devices: usize,
    /// What each of the named processes used, a task being the unit of work.
    pub processes: Vec<Cost>,
    /// Processor seconds of this generator.
    pub generator_cpu_seconds: f64,
}

/// One task that ended.
struct Done {
    set: bool,
    made: Instant,
    /// Until the answer, and until the end; or why not.
    times: Result<(Duration, Duration), String>,
}

/// Runs it.
///
/// # Errors
/// When the API or the ACS can't be reached, or the devices can't inform.
pub async fn run(options: &TasksOptions) -> Result<TasksReport> {
    let mut dice = Dice::new(options.seed);
    let api = Api::new(&options.api, &options.token)?;
    let login = scene::login(&api, options.acs.clone(), &mut dice).await?;
    let life = Life {
        time_scale: 1.0,
        periodic: PERIODIC,
        spread: Duration::from_millis(options.devices as u64 * 5),
        prefix: format!("TASKS{:08X}", dice.number() >> 32),
        ..Life::default()
    };
    let seed = dice.number();
    let fleet = Arc::new(fleet::start(&login, 0, options.devices, &life, seed).await?);
    fleet::informed(&fleet, Duration::from_secs(300)).await?;
    let (targets, names) = fleet::targets(&fleet)?;
    let (done, stop) = (Arc::new(Mutex::new(Vec::new())), CancellationToken::new());
    let tracker = TaskTracker::new();
    let pause = Duration::from_secs_f64(2.0 * options.devices as f64 / options.rate.max(0.01));
    for (target, name) in targets.into_iter().zip(names) {
        let asker = Asker {
            api: api.clone(),
            device: name,
            target,
            pause,
            done: done.clone(),
            stop: stop.clone(),
            dice: Dice::new(dice.number()),
        };
        tracker.spawn(asker.ask());
    }
    tracker.close();
    tokio::time::sleep(options.warm_up).await;
    let (begin, costs) = (Instant::now(), Costs::begin(&options.processes)?);
    let own = cpu_time(std::process::id())?;
    tokio::time::sleep(options.measure).await;
    let end = Instant::now();
    let mut processes = costs.end(0)?;
    let own = cpu_time(std::process::id())?.saturating_sub(own);
    stop.cancel();
    tokio::time::timeout(LIMIT, tracker.wait()).await.ok();
    fleet.stop().await;
    let mut list = std::mem::take(&mut *done.lock());
    list.retain(|task: &Done| (begin..end).contains(&task.made));
    if list.is_empty() {
        bail!("no task was made within {} s", options.measure.as_secs());
    }
    for cost in &mut processes {
        cost.of(list.len() as u64);
    }
    Ok(TasksReport {
        get: report(&list, false),
        set: report(&list, true),
        seconds: (end - begin).as_secs_f64(),
        devices: options.devices,
        processes,
        generator_cpu_seconds: own.as_secs_f64(),
    })
}

fn report(list: &[Done], set: bool) -> KindReport {
    let (mut create, mut done, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    for task in list.iter().filter(|task| task.set == set) {
        match &task.times {
            Ok((answered, ended)) => {
                create.push(*answered);
                done.push(*ended);
            }
            Err(why) => failed.push(why.clone()),
        }
    }
    KindReport {
        tasks: done.len(),
        failed: failed.len(),
        reasons: failed.into_iter().take(5).collect(),
        create: Times::of(create),
        done: Times::of(done),
    }
}

/// Asks one device, one task after the other.
struct Asker {
    api: Api,
    device: String,
    target: Target,
    /// The longest pause between two tasks.
    pause: Duration,
    done: Arc<Mutex<Vec<Done>>>,
    stop: CancellationToken,
    dice: Dice,
}

impl Asker {
    async fn ask(mut self) {
        let mut number = 0u64;
        loop {
            let pause = self.dice.between(Duration::ZERO, self.pause);
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            number += 1;
            let set = self.dice.chance(0.5);
            let spec = self.spec(set, number);
            let made = Instant::now();
            let task = tokio::time::timeout(LIMIT, self.one(spec, made)).await;
            let times = match task {
                Ok(task) => task.map_err(|error| format!("{error:#}")),
                Err(_) => Err(format!("it had not ended after {} s", LIMIT.as_secs())),
            };
            self.done.lock().push(Done { set, made, times });
        }
    }

    fn spec(&self, set: bool, number: u64) -> Kind {
        let [path, other] = self.target.set_paths();
        if !set {
            return Kind::GetParameterValues(GetParameterValues {
                paths: vec![path, other],
            });
        }
        Kind::SetParameterValues(SetParameterValues {
            values: vec![ParameterValue {
                path,
                value: format!("tasks-{number}"),
                r#type: ValueType::String.into(),
                ..ParameterValue::default()
            }],
        })
    }

    /// Makes a task and waits for its end.
    async fn one(&self, spec: Kind, made: Instant) -> Result<(Duration, Duration)> {
        let request = nb::CreateTaskRequest {
            parent: self.device.clone(),
            task: Some(nb::Task {
                spec: Some(TaskSpec { kind: Some(spec) }),
                ..nb::Task::default()
            }),
            ..nb::CreateTaskRequest::default()
        };
        let mut tasks = self.api.tasks.clone();
        let answer = tasks.create_task(request).await.context("CreateTask")?;
        let answered = made.elapsed();
        let name = answer.into_inner().task.unwrap_or_default().name;
        let watched = tasks.watch_task(nb::WatchTaskRequest { name }).await;
        let mut watched = watched.context("WatchTask")?.into_inner();
        while let Some(news) = watched.message().await.context("WatchTask")? {
            let task = news.task.unwrap_or_default();
            match task.state() {
                TaskState::Succeeded => return Ok((answered, made.elapsed())),
                state if is_final(state) => bail!("{} ({})", state.as_str_name(), task.reason),
                _ => {}
            }
        }
        bail!("WatchTask ended before the task")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_counted_by_itself() {
        let made = Instant::now();
        let done = |set, ms| Done {
            set,
            made,
            times: Ok((Duration::from_millis(ms / 10), Duration::from_millis(ms))),
        };
        let failed = Done {
            set: true,
            made,
            times: Err("no".to_owned()),
        };
        let list = [done(false, 100), done(true, 200), done(true, 400), failed];
        let (get, set) = (report(&list, false), report(&list, true));
        assert_eq!(
            (get.tasks, get.done.p50_ms, get.create.p50_ms),
            (1, 100.0, 10.0)
        );
        assert_eq!((set.tasks, set.failed, set.done.max_ms), (2, 1, 400.0));
    }
}
