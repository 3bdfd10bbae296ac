//! Looks at an installation while it is broken: what devices see of its edge, and whether a task
//! gets done from one end to the other.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hearth_proto::northbound::v1 as nb;
use hearth_proto::types::v1::{GetParameterValues, TaskSpec, TaskState, task_spec};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Code, Status};

use crate::kill::api::{Api, is_passing};
use crate::kill::book::{id_of, is_final};
use crate::{EdgeCounts, Fleet};

/// How often the edge's counts are read.
const LOOK: Duration = Duration::from_millis(50);
/// How often a canary's task is looked at.
const POLL: Duration = Duration::from_millis(150);
/// Longer than a look at a task takes.
const SLOW: Duration = Duration::from_secs(1);
/// The pause between two tasks of a canary.
const REST: Duration = Duration::from_millis(500);

/// A canary's task that has ended.
#[derive(Clone, Debug)]
pub struct Song {
    /// When its first create was sent.
    pub made: Instant,
    /// When its end was seen.
    pub ended: Instant,
    /// It succeeded.
    pub well: bool,
    /// Which task, and what it waited for longest.
    pub told: String,
}

/// What a task waited for, one thing after the other.
struct Waits {
    past: Vec<(String, Duration)>,
    now: String,
    since: Instant,
}

impl Waits {
    fn new() -> Self {
        Self {
            past: Vec::new(),
            now: "its create was not answered".to_owned(),
            since: Instant::now(),
        }
    }

    /// From now on for this.
    fn turn_to(&mut self, what: &str) {
        if self.now != what {
            let now = std::mem::replace(&mut self.now, what.to_owned());
            self.past.push((now, self.since.elapsed()));
            self.since = Instant::now();
        }
    }

    fn longest(mut self, task: &str) -> String {
        self.turn_to("");
        let longest = self.past.into_iter().max_by_key(|(_, took)| *took);
        let (what, took) = longest.unwrap_or_default();
        format!("{task}: {what}, for {:.0} s", took.as_secs_f64())
    }
}

#[derive(Default)]
struct Seen {
    /// When a request of a device was last seen to have failed.
    last_error: Option<Instant>,
    /// When one was last seen to be answered.
    last_good: Option<Instant>,
    songs: Vec<Song>,
    /// Ids of canaries' tasks.
    tasks: BTreeSet<String>,
    /// What went wrong with canaries.
    trouble: Vec<String>,
}

/// What is seen.
pub struct Watch {
    fleet: Arc<Fleet>,
    seen: Mutex<Seen>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Watch {
    /// Begins to look. `canaries` are the names of devices that are asked for a value each, again
    /// and again, with the path to ask for.
    pub fn start(fleet: Arc<Fleet>, api: &Api, canaries: Vec<(String, String)>) -> Arc<Self> {
        let watch = Arc::new(Self {
            fleet,
            seen: Mutex::default(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        watch.tasks.spawn(watch.clone().look());
        for (number, (device, path)) in canaries.into_iter().enumerate() {
            let canary = Canary {
                api: api.clone(),
                watch: watch.clone(),
                device,
                path,
                number,
            };
            watch.tasks.spawn(canary.sing());
        }
        watch.tasks.close();
        watch
    }

    /// Ends; canaries finish their tasks first, within `limit`. Answers the ids of their tasks,
    /// and what went wrong with them.
    pub async fn stop(&self, limit: Duration) -> (BTreeSet<String>, Vec<String>) {
        self.stop.cancel();
        let done = tokio::time::timeout(limit, self.tasks.wait()).await;
        let mut seen = self.seen.lock();
        let mut trouble = std::mem::take(&mut seen.trouble);
        if done.is_err() {
            trouble.push("a canary's task did not end".to_owned());
        }
        (std::mem::take(&mut seen.tasks), trouble)
    }

    /// The edge's counts so far.
    pub fn edge(&self) -> EdgeCounts {
        self.fleet.edge()
    }

    /// When a request of a device last failed.
    pub fn last_error(&self) -> Option<Instant> {
        self.seen.lock().last_error
    }

    /// When a request of a device was last answered.
    pub fn last_good(&self) -> Option<Instant> {
        self.seen.lock().last_good
    }

    /// When the first canary's task that was made at this time or later had succeeded.
    pub fn sang_after(&self, time: Instant) -> Option<Instant> {
        let seen = self.seen.lock();
        let songs = seen.songs.iter();
        let songs = songs.filter(|song| song.well && song.made >= time);
        songs.map(|song| song.ended).min()
    }

    /// The canaries' tasks that have ended.
    pub fn songs(&self) -> Vec<Song> {
        self.seen.lock().songs.clone()
    }

    async fn look(self: Arc<Self>) {
        let mut before = self.fleet.edge();
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
            let counts = self.fleet.edge();
            let since = counts.since(&before);
            before = counts;
            let mut seen = self.seen.lock();
            if since.failed() > 0 {
                seen.last_error = Some(Instant::now());
            }
            if since.good > 0 {
                seen.last_good = Some(Instant::now());
            }
        }
    }
}

struct Canary {
    api: Api,
    watch: Arc<Watch>,
    device: String,
    path: String,
    number: usize,
}

impl Canary {
    async fn sing(self) {
        let mut verse = 0;
        let stop = self.watch.stop.clone();
        while !stop.is_cancelled() {
            verse += 1;
            let made = Instant::now();
            let (mut waits, mut task) = (Waits::new(), String::new());
            let end = self.song(verse, &mut task, &mut waits).await;
            self.sung(made, end, waits.longest(id_of(&task)));
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(REST) => {}
            }
        }
    }

    fn sung(&self, made: Instant, end: Result<(), String>, told: String) {
        let mut seen = self.watch.seen.lock();
        seen.songs.push(Song {
            made,
            ended: Instant::now(),
            well: end.is_ok(),
            told,
        });
        if let Err(trouble) = end {
            let device = &self.device;
            seen.trouble.push(format!("canary {device}: {trouble}"));
        }
    }

    /// One task, until its end.
    async fn song(&self, verse: u64, name: &mut String, waits: &mut Waits) -> Result<(), String> {
        let spec = task_spec::Kind::GetParameterValues(GetParameterValues {
            paths: vec![self.path.clone()],
        });
        let request = nb::CreateTaskRequest {
            parent: self.device.clone(),
            task: Some(nb::Task {
                spec: Some(TaskSpec { kind: Some(spec) }),
                max_attempts: 90,
                ..nb::Task::default()
            }),
            request_id: format!("canary-{}-{verse}-{}", self.number, id_of(&self.device)),
            no_wake: false,
        };
        let create = || {
            let (mut tasks, request) = (self.api.tasks.clone(), request.clone());
            async move { tasks.create_task(request).await }
        };
        let made = insist(create).await.map_err(|e| format!("create: {e}"))?;
        *name = made.task.unwrap_or_default().name;
        waits.turn_to("nothing was told of it");
        self.watch.seen.lock().tasks.insert(id_of(name).to_owned());
        loop {
            tokio::time::sleep(POLL).await;
            let asked = Instant::now();
            let get = || {
                let mut tasks = self.api.tasks.clone();
                let request = nb::GetTaskRequest { name: name.clone() };
                async move { tasks.get_task(request).await }
            };
            let found = insist(get).await.map_err(|e| format!("{name}: {e}"))?;
            if asked.elapsed() > SLOW {
                waits
                    .past
                    .push(("the API did not answer".to_owned(), asked.elapsed()));
                waits.since = Instant::now();
            }
            let task = found.task.unwrap_or_default();
            match task.state() {
                TaskState::Succeeded => return Ok(()),
                state if is_final(state) => {
                    return Err(format!(
                        "{name} ended {} ({})",
                        state.as_str_name(),
                        task.reason
                    ));
                }
                _ => waits.turn_to(&task.reason),
            }
        }
    }
}

/// Repeats a call until it is answered; a refusal that would stay is an error.
async fn insist<T, F>(mut call: impl FnMut() -> F) -> Result<T, Status>
where
    F: Future<Output = Result<tonic::Response<T>, Status>>,
{
    loop {
        match call().await {
            Ok(answer) => return Ok(answer.into_inner()),
            // A task is lost only if it stays so; a replica may be behind.
            Err(status) if is_passing(&status) => tokio::time::sleep(POLL).await,
            Err(status) if status.code() == Code::Unknown => tokio::time::sleep(POLL).await,
            Err(status) => return Err(status),
        }
    }
}
