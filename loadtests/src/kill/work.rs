//! What goes on all the time while the server is killed: tasks are made, cancelled and watched,
//! tags changed, files kept, and the devices change values of their own.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hearth_proto::northbound::v1 as nb;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Code, Status};

use super::api::{Api, TENANT, hex, is_passing};
use super::book::{Book, Class, Kept, Wish, id_of};
use super::plan::{Planner, Target, method};
use crate::{Dice, Fleet};
use sha2::{Digest as _, Sha256};

const PAUSE: Duration = Duration::from_millis(40);

/// How much is done.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Creates at once.
    pub creators: usize,
    /// Tasks open at once, at most.
    pub limit: usize,
    /// The longest pause between two creates of one creator.
    pub create: Duration,
    /// The longest pause between two changes of tags.
    pub tags: Duration,
    /// The longest pause between two files.
    pub files: Duration,
    /// The longest pause between two values that devices change themselves.
    pub values: Duration,
}

impl Pace {
    /// As much as keeps one server busy.
    pub fn brisk(devices: usize) -> Self {
        Self {
            creators: 4,
            limit: (devices * 2).clamp(40, 250),
            create: Duration::from_millis(60),
            tags: Duration::from_millis(200),
            files: Duration::from_secs(2),
            values: Duration::from_millis(60),
        }
    }
}

/// What the parts of the work share.
pub struct Work {
    /// The API.
    pub api: Api,
    /// The devices.
    pub fleet: Arc<Fleet>,
    /// What was acknowledged.
    pub book: Mutex<Book>,
    planner: Mutex<Planner>,
    /// Names of the fleet's devices, in its order.
    pub names: Vec<String>,
    targets: Vec<Target>,
    /// Time that a normal task has.
    deadline: Duration,
    pace: Pace,
    /// Nothing new is begun.
    finishing: CancellationToken,
    /// Everything ends, finished or not.
    stop: CancellationToken,
    running: TaskTracker,
    watching: TaskTracker,
}

impl Work {
    /// Begins.
    pub fn start(
        api: Api,
        fleet: Arc<Fleet>,
        names: Vec<String>,
        planner: Planner,
        pace: Pace,
        deadline: Duration,
        dice: &mut Dice,
    ) -> Arc<Self> {
        let targets = planner.targets().to_vec();
        let work = Arc::new(Self {
            api,
            fleet,
            book: Mutex::default(),
            pace,
            planner: Mutex::new(planner),
            names,
            targets,
            deadline,
            finishing: CancellationToken::new(),
            stop: CancellationToken::new(),
            running: TaskTracker::new(),
            watching: TaskTracker::new(),
        });
        for _ in 0..pace.creators {
            let dice = Dice::new(dice.number());
            work.running.spawn(work.clone().create(dice));
        }
        work.running
            .spawn(work.clone().change_tags(Dice::new(dice.number())));
        work.running
            .spawn(work.clone().keep_files(Dice::new(dice.number())));
        work.running
            .spawn(work.clone().change_values(Dice::new(dice.number())));
        work.watching.spawn(work.clone().watch());
        work.running.close();
        work.watching.close();
        work
    }

    /// Begins nothing new, and waits until everything begun was answered, for so long at most.
    pub async fn finish(&self, limit: Duration) {
        self.finishing.cancel();
        tokio::time::timeout(limit, self.running.wait()).await.ok();
    }

    /// Ends what still goes on.
    pub async fn stop(&self) {
        self.finishing.cancel();
        self.stop.cancel();
        self.running.wait().await;
        self.watching.wait().await;
    }

    /// Waits; false if the work is to end.
    async fn pause(&self, time: Duration) -> bool {
        tokio::select! {
            () = self.finishing.cancelled() => false,
            () = tokio::time::sleep(time) => true,
        }
    }

    /// Repeats a call until the server has answered it. `None` if the test ends before.
    async fn ask<T, F>(&self, mut call: impl FnMut() -> F) -> Option<Result<T, Status>>
    where
        F: Future<Output = Result<T, Status>>,
    {
        loop {
            let answer = tokio::select! {
                () = self.stop.cancelled() => return None,
                answer = call() => answer,
            };
            match answer {
                Err(status) if is_passing(&status) => tokio::time::sleep(PAUSE).await,
                answer => return Some(answer),
            }
        }
    }

    // --- tasks ------------------------------------------------------------------------------

    async fn create(self: Arc<Self>, mut dice: Dice) {
        while self
            .pause(dice.between(Duration::ZERO, self.pace.create))
            .await
        {
            let wish = {
                let mut book = self.book.lock();
                if book.pending() >= self.pace.limit {
                    None
                } else {
                    book.asking += 1;
                    Some(self.planner.lock().next(&mut book.stock))
                }
            };
            if let Some(wish) = wish {
                self.make(wish, &mut dice).await;
                self.book.lock().asking -= 1;
            }
        }
    }

    async fn make(&self, wish: Wish, dice: &mut Dice) {
        let mut tries = 0;
        let deadline = match wish.class {
            Class::Short => dice.between(Duration::from_millis(300), Duration::from_secs(2)),
            _ => self.deadline,
        };
        let create = || {
            tries += 1;
            let request = self.request(&wish, deadline);
            let mut tasks = self.api.tasks.clone();
            async move { on_time(tasks.create_task(request).await) }
        };
        let answer = self.ask(create).await;
        let name = {
            let mut book = self.book.lock();
            book.repeated += usize::from(tries > 1);
            match answer {
                None => {
                    book.unanswered += 1;
                    return;
                }
                // The transfer has ended meanwhile. A create before that one may have been in time.
                Some(Err(status)) if is_too_late(&wish, &status) => {
                    book.unanswered += usize::from(tries > 1);
                    return;
                }
                Some(Err(status)) => {
                    let (kind, device) = (method(&wish.spec), &self.names[wish.device]);
                    book.refused.push(format!("{kind} for {device}: {status}"));
                    return;
                }
                Some(Ok(answer)) => {
                    let name = answer.into_inner().task.unwrap_or_default().name;
                    book.enter(wish.clone(), name.clone());
                    name
                }
            }
        };
        if wish.class == Class::Cancelled {
            tokio::time::sleep(dice.between(Duration::ZERO, Duration::from_millis(150))).await;
            self.cancel(&name).await;
        }
        if dice.chance(0.05) {
            self.make_again(&wish, &name, deadline).await;
        }
    }

    fn request(&self, wish: &Wish, deadline: Duration) -> nb::CreateTaskRequest {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let at = i64::try_from((now + deadline).as_micros()).unwrap_or(i64::MAX);
        nb::CreateTaskRequest {
            parent: self.names[wish.device].clone(),
            task: Some(nb::Task {
                spec: Some(wish.spec.clone()),
                deadline: hearth_proto::convert::timestamp(at),
                // Sessions that the server's death ended are no fault of the task's.
                max_attempts: 90,
                ..nb::Task::default()
            }),
            request_id: wish.request_id.clone(),
            no_wake: false,
        }
    }

    /// The same request_id must answer the first task.
    async fn make_again(&self, wish: &Wish, name: &str, deadline: Duration) {
        let answer = self.ask(|| {
            let request = self.request(wish, deadline);
            let mut tasks = self.api.tasks.clone();
            async move { on_time(tasks.create_task(request).await) }
        });
        if let Some(Ok(answer)) = answer.await {
            let other = answer.into_inner().task.unwrap_or_default().name;
            let mut book = self.book.lock();
            if let Some(known) = book.tasks.get_mut(id_of(name)).filter(|_| other != name) {
                known.other_names.insert(other);
            }
        }
    }

    async fn cancel(&self, name: &str) {
        let answer = self.ask(|| {
            let mut tasks = self.api.tasks.clone();
            let request = nb::CancelTaskRequest {
                name: name.to_owned(),
            };
            async move { tasks.cancel_task(request).await }
        });
        // FAILED_PRECONDITION: it was sent already, or has ended.
        if let Some(Ok(_)) = answer.await
            && let Some(known) = self.book.lock().tasks.get_mut(id_of(name))
        {
            known.cancelled = true;
        }
    }

    /// Looks at the open tasks, again and again.
    async fn watch(self: Arc<Self>) {
        loop {
            let open: Vec<_> = {
                let book = self.book.lock();
                let names = book.open.iter().filter_map(|id| book.tasks.get(id));
                names.map(|known| known.name.clone()).collect()
            };
            for name in open {
                let answer = self.ask(|| {
                    let mut tasks = self.api.tasks.clone();
                    let request = nb::GetTaskRequest { name: name.clone() };
                    async move { tasks.get_task(request).await }
                });
                match answer.await {
                    None => return,
                    Some(Ok(answer)) => {
                        self.seen(&name, &answer.into_inner().task.unwrap_or_default());
                    }
                    // A lost task: the verification at the end finds it.
                    Some(Err(_)) => tokio::time::sleep(PAUSE).await,
                }
            }
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(Duration::from_millis(300)) => {}
            }
        }
    }

    fn seen(&self, name: &str, task: &nb::Task) {
        let id = id_of(name);
        let mut book = self.book.lock();
        if !book.see(id, task) {
            book.see_open(id, task);
            return;
        }
        let Some(device) = book.tasks.get(id).map(|known| known.wish.device) else {
            return;
        };
        let Some(result) = &task.result else {
            return;
        };
        if result.instance_number != 0 {
            let table = self.targets[device].table();
            let path = format!("{table}{}.", result.instance_number);
            book.stock.instances.entry(device).or_default().push(path);
        }
        let units = result.du_results.iter();
        let units = units.filter(|unit| unit.current_state == "Installed");
        let units: Vec<_> = units.map(|unit| (device, unit.uuid.clone())).collect();
        book.stock.units.extend(units);
    }

    // --- everything else ---------------------------------------------------------------------

    async fn change_tags(self: Arc<Self>, mut dice: Dice) {
        let mut number = 0;
        while self
            .pause(dice.between(self.pace.tags / 8, self.pace.tags))
            .await
        {
            number += 1;
            let device = (dice.number() % self.names.len() as u64) as usize;
            let add = format!("kill:{number}");
            let remove: Vec<String> = {
                let book = self.book.lock();
                let present = book.tags.get(&device).map(|tags| &tags.present);
                let oldest = present.into_iter().flatten().next().cloned();
                let full = present.is_some_and(|present| present.len() > 20);
                oldest
                    .filter(|_| full || dice.chance(0.3))
                    .into_iter()
                    .collect()
            };
            let answer = self.ask(|| {
                let mut devices = self.api.devices.clone();
                let request = nb::UpdateDeviceRequest {
                    device: Some(nb::Device {
                        name: self.names[device].clone(),
                        ..nb::Device::default()
                    }),
                    add_tags: vec![add.clone()],
                    remove_tags: remove.clone(),
                    ..nb::UpdateDeviceRequest::default()
                };
                async move { devices.update_device(request).await }
            });
            match answer.await {
                Some(Ok(_)) => {
                    let mut book = self.book.lock();
                    let tags = book.tags.entry(device).or_default();
                    tags.present.insert(add);
                    for tag in remove {
                        tags.present.remove(&tag);
                        tags.removed.insert(tag);
                    }
                }
                // It has not informed yet.
                Some(Err(status)) if status.code() == Code::NotFound => {}
                Some(Err(status)) => self.book.lock().refused.push(format!("tag: {status}")),
                None => return,
            }
        }
    }

    async fn keep_files(self: Arc<Self>, mut dice: Dice) {
        let mut number = 0;
        // An earlier run on the same server has had the same numbers.
        let run = dice.number() >> 32;
        loop {
            number += 1;
            let kind = match number % 4 {
                0 => "firmware",
                _ => "config",
            };
            let name = format!("{kind}-{run:08x}-{number}.bin");
            let content = content(&mut dice, number);
            let file_type = match kind {
                "firmware" => "1 Firmware Upgrade Image",
                _ => "3 Vendor Configuration File",
            };
            let answer = self
                .ask(|| self.api.upload_file(&name, file_type, &content))
                .await;
            match answer {
                None => return,
                Some(Ok(_)) => {
                    let name = format!("{TENANT}/files/{name}");
                    let mut book = self.book.lock();
                    book.stock.files.push(name.clone());
                    book.files.push(Kept {
                        name,
                        sha256: hex(&Sha256::digest(&content)),
                        size: content.len() as u64,
                    });
                }
                Some(Err(status)) => {
                    self.book
                        .lock()
                        .refused
                        .push(format!("file {name}: {status}"));
                }
            }
            let pause = dice.between(self.pace.files / 10, self.pace.files);
            if !self.pause(pause).await {
                return;
            }
        }
    }

    async fn change_values(self: Arc<Self>, mut dice: Dice) {
        let mut number = 0u64;
        while self
            .pause(dice.between(self.pace.values / 12, self.pace.values))
            .await
        {
            number += 1;
            let at = (dice.number() % self.targets.len() as u64) as usize;
            if let Some(device) = self.fleet.devices().get(at) {
                device.set_value(&self.targets[at].own_path(), &format!("own-{number}"));
            }
        }
    }
}

/// A request may lie so long before a dead server that its deadline has passed when it is read: it
/// is sent again with a new one.
fn on_time<T>(answer: Result<T, Status>) -> Result<T, Status> {
    answer.map_err(|status| match status.code() {
        Code::InvalidArgument if status.message().contains("deadline") => {
            Status::unavailable("its deadline has passed on the way")
        }
        _ => status,
    })
}

/// Whether a CancelTransfer was refused because its transfer had ended, or is to be sent again.
fn is_too_late(wish: &Wish, status: &Status) -> bool {
    method(&wish.spec) == "CancelTransfer" && status.code() == Code::FailedPrecondition
}

/// A file of up to 200 KB; firmware tells its version.
fn content(dice: &mut Dice, number: u32) -> Vec<u8> {
    let size = (1000 + dice.number() % 200_000) as usize;
    let mut content = format!("version=9.0.{number}\n").into_bytes();
    while content.len() < size {
        content.extend_from_slice(&dice.number().to_le_bytes());
    }
    content
}
