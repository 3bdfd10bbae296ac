//! Making the tasks, so many in a second.

use super::plan::{Known, Rhythm, Verdict, hash};
use super::{Answer, Wanted, answer};
use futures::TryStreamExt;
use hearth_clients::{Error, Kind};
use hearth_proto::northbound::v1::{
    self as nb, spread_periodic_informs_response::Kind as Answered,
};
use hearth_proto::types::v1::{
    ParameterValue, SetParameterValues, TaskSpec, TaskState, ValueType, task_spec,
};
use hearth_proto::workflow::v1 as wf;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tonic::Status;

/// Between two answers.
const PROGRESS: Duration = Duration::from_secs(1);
/// A task waits so long for its device's own session, in microseconds: a week.
const PATIENCE: i64 = 7 * 24 * 3600 * 1_000_000;
/// After what operators wait for.
const PRIORITY: i32 = -10;
/// Tasks of the same device and proposal that ended without effect, after which no other is made.
const MAX_TASKS: u32 = 64;
/// What a task has set may take so long to be known of its device, in microseconds.
const LAG: i64 = 60 * 1_000_000;
/// Tries of a call, a second apart, while workflow is away.
const MAX_TRIES: u32 = 30;

/// What became of a device.
enum Done {
    Created,
    Existing,
}

impl Wanted {
    /// Makes a task for each device that is not as proposed.
    pub(super) async fn set(
        &self,
        total: u64,
        answers: &mpsc::Sender<Answer>,
    ) -> Result<(), Status> {
        let mut progress = nb::SpreadProgress {
            total,
            ..nb::SpreadProgress::default()
        };
        let mut pace = interval(Duration::from_secs(1) / self.rate);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = Instant::now();
        let mut fleet = self.fleet();
        while let Some(known) = fleet.try_next().await? {
            let Verdict::Spread {
                proposed,
                differs: true,
                ..
            } = known.verdict(self.interval)
            else {
                continue;
            };
            pace.tick().await;
            match self.set_one(&known, proposed).await {
                Ok(Done::Created) => progress.created += 1,
                Ok(Done::Existing) => progress.existing += 1,
                Err(error) => {
                    progress.failed += 1;
                    if progress.error.is_empty() {
                        progress.error = format!("{}: {}", known.device, error.message);
                    }
                }
            }
            if told.elapsed() >= PROGRESS {
                told = Instant::now();
                let sent = answers
                    .send(answer(Answered::Progress(progress.clone())))
                    .await;
                if sent.is_err() {
                    return Ok(());
                }
            }
        }
        progress.done = true;
        let _ = answers.send(answer(Answered::Progress(progress))).await;
        Ok(())
    }

    async fn set_one(&self, known: &Known, proposed: Rhythm) -> Result<Done, Error> {
        for number in 0..MAX_TASKS {
            let answer = self.create(known, proposed, number).await?;
            let task = answer.task.unwrap_or_default();
            if !answer.existed {
                return Ok(Done::Created);
            }
            // One that has ended did not bring it about, or it was undone since.
            if task.device == known.device && (!task.state().is_final() || self.has_just_set(&task))
            {
                return Ok(Done::Existing);
            }
        }
        let message = format!("{MAX_TASKS} tasks ended and it is still not as proposed");
        Err(Error::new(Kind::FailedPrecondition, message))
    }

    /// Whether a task has succeeded, and the device's record may not have it yet.
    fn has_just_set(&self, task: &wf::Task) -> bool {
        let since = self
            .core
            .clock
            .now_micros()
            .saturating_sub(task.update_time_us);
        task.state() == TaskState::Succeeded && since < LAG
    }

    async fn create(
        &self,
        known: &Known,
        proposed: Rhythm,
        number: u32,
    ) -> Result<wf::CreateTaskResponse, Error> {
        let now = self.core.clock.now_micros();
        let request = wf::CreateTaskRequest {
            tenant: self.tenant.to_string(),
            device: known.device.clone(),
            spec: Some(spec(known, proposed)),
            priority: PRIORITY,
            deadline_us: now.saturating_add(PATIENCE),
            idempotency_key: key(&known.device, proposed, number),
            // It runs when the device comes by itself: a fleet that is woken is a storm.
            no_wake: true,
            ..wf::CreateTaskRequest::default()
        };
        let mut tries = 1;
        loop {
            match self
                .core
                .clients
                .workflow
                .create_task(request.clone())
                .await
            {
                Err(error) if error.kind == Kind::Unavailable && tries < MAX_TRIES => tries += 1,
                result => return result,
            }
            sleep(Duration::from_secs(1)).await;
        }
    }
}

/// Names the task: ids may be longer than a key.
fn key(device: &str, proposed: Rhythm, number: u32) -> String {
    let Rhythm { interval, phase } = proposed;
    format!("spread/{:016x}/{interval}/{phase}/{number}", hash(device))
}

fn spec(known: &Known, proposed: Rhythm) -> TaskSpec {
    let value = |name: &str, value: String, of: ValueType| ParameterValue {
        path: format!("{}ManagementServer.{name}", known.root),
        value,
        r#type: of.into(),
        ..ParameterValue::default()
    };
    let interval = proposed.interval;
    let mut values = Vec::new();
    if known.interval != interval {
        let text = interval.to_string();
        values.push(value(
            "PeriodicInformInterval",
            text,
            ValueType::UnsignedInt,
        ));
    }
    let time = proposed.time();
    values.push(value("PeriodicInformTime", time, ValueType::DateTime));
    TaskSpec {
        kind: Some(task_spec::Kind::SetParameterValues(SetParameterValues {
            values,
        })),
    }
}
