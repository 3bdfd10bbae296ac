//! Making a task and following it to its end.

use crate::{
    api::Api,
    app::App,
    cli::{Format, TaskOptions},
    error::{Error, id_of},
    progress::TaskProgress,
    resolve, show,
};
use hearth_proto::{
    northbound::v1 as nb,
    types::v1::{TaskSpec, task_spec::Kind},
};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};
use tonic::Code;

/// For what ends within a session.
const SHORT_WAIT: Duration = Duration::from_secs(120);
/// For what ends with a later session of the device.
const LONG_WAIT: Duration = Duration::from_secs(600);
/// After a watch broke.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// Internal errors of the server, one after the other, after which waiting ends.
const MAX_FAILURES: u32 = 3;

impl App<'_> {
    /// Finds the device, makes the task and, unless told otherwise, waits for its success. `None`
    /// after `--no-wait`, when the id is printed.
    ///
    /// # Errors
    /// The device is not found, the task is refused, ends otherwise than well (it is printed, but
    /// for `-o table`), or is not done in time.
    pub(crate) async fn perform(
        &mut self,
        device: &str,
        kind: Kind,
        options: &TaskOptions,
    ) -> Result<Option<nb::Task>, Error> {
        let api = self.api().await?;
        let found = resolve::device(&api, device, options.unseen).await?;
        self.perform_on(&api, &found.name, kind, options).await
    }

    /// The same on a device whose name is known.
    pub(crate) async fn perform_on(
        &mut self,
        api: &Api,
        device: &str,
        kind: Kind,
        options: &TaskOptions,
    ) -> Result<Option<nb::Task>, Error> {
        let now = (self.host.now)();
        let task = nb::Task {
            spec: Some(TaskSpec { kind: Some(kind) }),
            priority: options.priority.unwrap_or_default(),
            deadline: options
                .deadline
                .map(|when| crate::times::write(when.after(now))),
            max_attempts: options.max_attempts.unwrap_or_default(),
            ..Default::default()
        };
        let request = nb::CreateTaskRequest {
            parent: device.to_owned(),
            task: Some(task),
            request_id: options.request_id.clone().unwrap_or_default(),
            no_wake: options.no_wake,
        };
        let answer = api.answer(api.tasks().create_task(request)).await?;
        let task = answer.task.unwrap_or_default();
        self.finish(api, task, options.no_wait, options.wait_timeout)
            .await
    }

    /// Waits for a task that was made, or prints its id.
    pub(crate) async fn finish(
        &mut self,
        api: &Api,
        task: nb::Task,
        no_wait: bool,
        wait: Option<Duration>,
    ) -> Result<Option<nb::Task>, Error> {
        if no_wait {
            self.print(&task, |app, task| app.say(id_of(&task.name)))?;
            return Ok(None);
        }
        let wait = wait.unwrap_or_else(|| default_wait(task.spec.as_ref()));
        let mut progress = TaskProgress::new(self);
        let ended = self
            .follow(api, task, wait, |app, task, waited| {
                progress.show(app, task, waited);
                Ok(())
            })
            .await;
        drop(progress);
        match ended {
            Err(Error::Task(task)) if self.format() != Format::Table => {
                self.print(&task, |_, _| Ok(()))?;
                Err(Error::Task(task))
            }
            ended => ended.map(Some),
        }
    }

    /// Follows a task until it has ended; `on_change` sees it at each change, the first time at
    /// once, and now and then between.
    ///
    /// # Errors
    /// [`Error::Task`] where it ended otherwise than well, [`Error::StillOpen`] after `wait`
    /// (zero: no limit), an error of the API that does not pass.
    pub(crate) async fn follow(
        &mut self,
        api: &Api,
        first: nb::Task,
        wait: Duration,
        mut on_change: impl FnMut(&mut Self, &nb::Task, Duration) -> Result<(), Error>,
    ) -> Result<nb::Task, Error> {
        let begin = Instant::now();
        let name = first.name.clone();
        let id = id_of(&name).to_owned();
        self.open_task = Some(id.clone());
        let mut latest = first;
        let steps = async {
            let mut failures = 0;
            loop {
                if latest.state().is_final() {
                    return Ok(latest);
                }
                match self
                    .watch_once(api, &mut latest, begin, &mut on_change)
                    .await
                {
                    Ok(()) => failures = 0,
                    Err(Error::Api(status)) if passes(status.code(), failures) => failures += 1,
                    Err(error) => return Err(error),
                }
                if !latest.state().is_final() {
                    sleep(RETRY_DELAY).await;
                }
            }
        };
        // Boxed: the state of a watch is large.
        let steps = Box::pin(steps);
        let ended = match wait.is_zero() {
            true => Ok(steps.await),
            false => timeout(wait, steps).await,
        };
        let Ok(ended) = ended else {
            let why = crate::commands::explain::in_a_sentence(api, &name).await;
            return Err(Error::StillOpen {
                id,
                waited: wait,
                why,
            });
        };
        let task = ended?;
        self.open_task = None;
        match crate::Exit::of_task(task.state()) {
            crate::Exit::Ok => Ok(task),
            _ => Err(Error::Task(Box::new(task))),
        }
    }

    /// One watch, until the task has ended or the stream.
    async fn watch_once(
        &mut self,
        api: &Api,
        latest: &mut nb::Task,
        begin: Instant,
        on_change: &mut impl FnMut(&mut Self, &nb::Task, Duration) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let request = nb::WatchTaskRequest {
            name: latest.name.clone(),
        };
        let mut changes = api.answer(api.tasks().watch_task(request)).await?;
        loop {
            let next = timeout(Duration::from_secs(1), changes.message()).await;
            match next {
                Ok(Ok(Some(change))) => {
                    if let Some(task) = change.task {
                        *latest = task;
                    }
                }
                Ok(Ok(None)) => return Ok(()),
                Ok(Err(status)) => return Err(status.into()),
                // Nothing new; the time shown goes on.
                Err(_) => {}
            }
            on_change(self, latest, begin.elapsed())?;
            if latest.state().is_final() {
                return Ok(());
            }
        }
    }
}

/// How long to wait for a task when nothing else is said.
pub(crate) fn default_wait(spec: Option<&TaskSpec>) -> Duration {
    match spec.and_then(|spec| spec.kind.as_ref()) {
        Some(
            Kind::Reboot(_)
            | Kind::FactoryReset(_)
            | Kind::Download(_)
            | Kind::Upload(_)
            | Kind::ScheduleDownload(_)
            | Kind::ChangeDuState(_)
            | Kind::Refresh(_),
        ) => LONG_WAIT,
        _ => SHORT_WAIT,
    }
}

/// Whether a watch that ended with this code is worth another try: the server restarts, or the
/// connection broke.
const fn passes(code: Code, failures: u32) -> bool {
    match code {
        Code::Unavailable
        | Code::Unknown
        | Code::Cancelled
        | Code::Aborted
        | Code::ResourceExhausted
        | Code::DeadlineExceeded => true,
        Code::Internal => failures < MAX_FAILURES,
        _ => false,
    }
}

impl App<'_> {
    /// Prints what a task that changed something did: the task as a document, a line for people.
    pub(crate) fn print_done(
        &mut self,
        task: Option<nb::Task>,
        line: impl FnOnce(&nb::Task) -> String,
    ) -> Result<(), Error> {
        let Some(task) = task else { return Ok(()) };
        self.print(&task, |app, task| {
            let result = task.result.as_ref();
            app.say(line(task))?;
            if result.is_some_and(|result| result.reboot_required) {
                let id = id_of(&task.device).to_owned();
                app.note(&format!(
                    "the device applies it at its next restart: hearthctl device reboot {id}"
                ));
            }
            Ok(())
        })
    }

    /// Prints a task in all its detail.
    pub(crate) fn print_task(&mut self, task: &nb::Task) -> Result<(), Error> {
        self.print(task, |app, task| show::task(app, task))
    }
}
