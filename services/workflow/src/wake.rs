//! Asking devices to connect for their tasks: by device, with bounded concurrency, never under a
//! device's lock.

use crate::service::Inner;
use hearth_clients::Error;
use hearth_proto::{
    types::v1::TaskState,
    wakeup::v1::{WakeOutcome, WakeRequest, WakeResponse},
    workflow::v1::PlannedWake,
};
use hearth_queue::Peek;
use hearth_runtime::CancellationToken;
use hearth_store::TaskQuery;
use hearth_types::{DeviceKey, TaskId, Timestamp};
use parking_lot::Mutex;
use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::Notify;

mod hand_over;
pub(crate) use hand_over::Asking;

/// How long a connection request may take.
const TIMEOUT: Duration = Duration::from_secs(60);

/// How long after a wake-up was due the queue tells of the device again: by then the process that
/// has planned it would have made the request, waited for its answer and planned the next.
const MISSED: Duration = Duration::from_secs(90);

/// How soon a wake-up is looked at again that met a queue which could not answer: it is away, or
/// being rebuilt.
const UNANSWERED: Duration = Duration::from_secs(1);

/// A device that is to be asked.
#[derive(Clone, Copy, Debug, Default)]
struct Due {
    at: Timestamp,
    /// How often it was asked without success.
    tries: usize,
    /// It accepted, and its session is due.
    accepted: Option<Accepted>,
    /// How often it was too busy, in a session most likely.
    busy: u32,
}

/// A connection request that a device has accepted.
#[derive(Clone, Copy, Debug)]
struct Accepted {
    /// When its session is due.
    until: Timestamp,
    /// The newest task that it was for, where that is known. Another process may have had the
    /// session: then all that wait are newer.
    newest: Option<TaskId>,
    /// There is a new task since.
    again: bool,
}

#[derive(Default)]
struct Agenda {
    by_time: BTreeSet<(Timestamp, DeviceKey)>,
    devices: HashMap<DeviceKey, Due>,
}

/// Which devices are to be asked, and when.
#[derive(Default)]
pub(crate) struct Waker {
    agenda: Mutex<Agenda>,
    changed: Notify,
    /// This process ends: what is planned from here on is another one's.
    leaving: AtomicBool,
}

impl Waker {
    /// Asks a device now; one that has accepted and not connected yet, a little later.
    pub(crate) fn ask(&self, device: &DeviceKey, now: Timestamp) {
        let mut agenda = self.agenda.lock();
        let accepted = match agenda.devices.get(device) {
            Some(due) if due.at <= now => return,
            Some(due) => due.accepted,
            None => None,
        };
        agenda.put(
            device,
            Due {
                at: now,
                accepted: accepted.map(|accepted| Accepted {
                    again: true,
                    ..accepted
                }),
                ..Due::default()
            },
        );
        drop(agenda);
        self.changed.notify_one();
    }

    /// A session has begun: whatever was planned is needless.
    pub(crate) fn forget(&self, device: &DeviceKey) {
        self.agenda.lock().take(device);
    }

    /// What this process has planned for a device.
    pub(crate) fn planned(&self, device: &DeviceKey) -> Option<PlannedWake> {
        let due = self.agenda.lock().devices.get(device).copied()?;
        Some(PlannedWake {
            time_us: due.at.as_micros(),
            // The last one of all is told by so many.
            tries: u32::try_from(due.tries).unwrap_or(u32::MAX),
            accepted: due.accepted.is_some(),
        })
    }

    fn plan(&self, device: &DeviceKey, due: Due) {
        self.agenda.lock().put(device, due);
        self.changed.notify_one();
    }

    /// Devices whose time has come, at most `limit`.
    fn take_due(&self, now: Timestamp, limit: usize) -> Vec<(DeviceKey, Due)> {
        let mut agenda = self.agenda.lock();
        let mut taken = Vec::new();
        while taken.len() < limit
            && let Some((at, device)) = agenda.by_time.first().cloned()
            && at <= now
        {
            if let Some(due) = agenda.take(&device) {
                taken.push((device, due));
            }
        }
        taken
    }

    /// All that is planned.
    fn take_all(&self) -> Vec<(DeviceKey, Due)> {
        let mut agenda = self.agenda.lock();
        agenda.by_time.clear();
        agenda.devices.drain().collect()
    }
}

impl Inner {
    /// Asks a device now ([`Waker::ask`]). The plan is in this process's memory only: should it
    /// die, the queue tells another one of the device later.
    pub(crate) async fn ask(&self, device: &DeviceKey, now: Timestamp) {
        self.waker.ask(device, now);
        self.remind_after(device, now).await;
    }

    async fn plan(&self, device: &DeviceKey, due: Due) {
        self.waker.plan(device, due);
        self.remind_after(device, due.at).await;
    }

    /// The queue tells of the device when what is planned for `at` was missed.
    async fn remind_after(&self, device: &DeviceKey, at: Timestamp) {
        let missed = match self.waker.leaving.load(Ordering::Acquire) {
            true => Duration::ZERO,
            false => MISSED,
        };
        self.remind(device, at.saturating_add(missed)).await;
    }

    async fn remind(&self, device: &DeviceKey, at: Timestamp) {
        // Without it all is well as long as this process lives.
        if let Err(error) = self.queue.remind(device, at, self.now()).await {
            tracing::debug!(%error, %device, "a wake-up is planned in this process only");
        }
    }
}

impl Accepted {
    /// Whether all that it was for has been given out.
    fn is_over(&self, peek: &Peek) -> bool {
        let ages = self.newest.zip(peek.ages);
        ages.is_some_and(|(newest, (oldest, _))| oldest > newest)
    }
}

impl Agenda {
    fn put(&mut self, device: &DeviceKey, due: Due) {
        self.take(device);
        self.by_time.insert((due.at, device.clone()));
        self.devices.insert(device.clone(), due);
    }

    fn take(&mut self, device: &DeviceKey) -> Option<Due> {
        let due = self.devices.remove(device)?;
        self.by_time.remove(&(due.at, device.clone()));
        Some(due)
    }
}

/// How soon a device is looked at again that was in a session when it was to be woken.
const AFTER_SESSION: Duration = Duration::from_millis(250);

/// How often a busy device is asked again soon: after 1, 2 and 4 s. Its session is over by then,
/// most likely.
const SOON_AGAIN: u32 = 3;

/// How soon a device is asked again for a new task that has accepted for an earlier one.
const AFTER_ACCEPTED: Duration = Duration::from_secs(5);

/// Works on the agenda until `stop`, and hands over what is left of it.
pub(crate) async fn run(inner: Arc<Inner>, stop: CancellationToken) {
    let mut asking = Asking::default();
    loop {
        let room = inner.options.wake_concurrency.saturating_sub(asking.len());
        for (device, due) in inner.waker.take_due(inner.now(), room) {
            let (inner, asked) = (Arc::clone(&inner), device.clone());
            let ask = async move { inner.wake(asked, due).await };
            asking.begin(&device, due, ask);
        }
        tokio::select! {
            () = stop.cancelled() => break,
            () = inner.waker.changed.notified() => {}
            () = asking.one_ends() => {}
            () = tokio::time::sleep(Duration::from_millis(250)) => {}
        }
        asking.sweep();
    }
    inner.hand_over(asking).await;
}

impl Inner {
    async fn wake(&self, device: DeviceKey, due: Due) {
        let mut due = due;
        match self.queue.peek(&device, self.now()).await {
            Ok(peek) if peek.ready == 0 => return,
            // The session may have asked for work for the last time just before there was some.
            Ok(peek) if peek.in_session => {
                let at = self.now().saturating_add(AFTER_SESSION);
                return self.waker.plan(&device, Due { at, ..due });
            }
            Ok(peek) => {
                // It has come, to another process.
                due.accepted = due.accepted.filter(|accepted| !accepted.is_over(&peek));
            }
            Err(_) => {
                let at = self.now().saturating_add(UNANSWERED);
                return self.waker.plan(&device, Due { at, ..due });
            }
        }
        match due.accepted {
            None => {}
            Some(accepted) if accepted.again => {
                let at = self
                    .now()
                    .saturating_add(AFTER_ACCEPTED)
                    .min(accepted.until);
                let accepted = None;
                return self.waker.plan(
                    &device,
                    Due {
                        at,
                        accepted,
                        ..due
                    },
                );
            }
            Some(_) => {
                let reason = "the device accepted the connection request but did not connect";
                return self.not_woken(&device, due, reason, None).await;
            }
        }
        let request = WakeRequest {
            tenant: device.tenant.to_string(),
            device: device.device.to_string(),
        };
        let answer = tokio::time::timeout(TIMEOUT, self.wakeup.wake(request)).await;
        let answer = answer.unwrap_or_else(|_| Err(Error::unavailable("no answer in time")));
        match answer {
            Ok(answer) => self.woken(&device, due, answer).await,
            Err(error) => {
                self.metrics.wake("error");
                let reason = format!("the device could not be asked to connect: {error}");
                self.not_woken(&device, due, &reason, None).await;
            }
        }
    }

    async fn woken(&self, device: &DeviceKey, due: Due, answer: WakeResponse) {
        let outcome = answer.outcome();
        let label = outcome.as_str_name().trim_start_matches("WAKE_OUTCOME_");
        self.metrics.wake(&label.to_ascii_lowercase());
        let retry_after = Duration::from_millis(answer.retry_after_ms);
        match outcome {
            WakeOutcome::Accepted => {
                // A fast device has come, and perhaps gone, before its answer got here.
                let peek = self.queue.peek(device, self.now()).await.ok();
                if peek.is_none_or(|peek| peek.ready > 0 && !peek.in_session) {
                    let at = self.now().saturating_add(self.options.wake_patience.get());
                    let accepted = Some(Accepted {
                        until: at,
                        newest: peek.and_then(|peek| peek.ages).map(|(_, newest)| newest),
                        again: false,
                    });
                    self.plan(
                        device,
                        Due {
                            at,
                            accepted,
                            ..due
                        },
                    )
                    .await;
                }
            }
            // The Inform with its address may have been accepted and not applied yet.
            WakeOutcome::NoAddress if due.tries == 0 => {
                self.not_woken(device, due, &answer.detail, None).await;
            }
            // Nothing that time heals: the device's own Inform comes first.
            WakeOutcome::NoAddress | WakeOutcome::Forbidden | WakeOutcome::Credentials => {
                let last = Due {
                    tries: usize::MAX,
                    ..due
                };
                self.not_woken(device, last, &answer.detail, None).await;
            }
            // Asked a moment ago, and for a session that may be over: again as soon as it is allowed.
            WakeOutcome::RateLimited => {
                let at = self.now().saturating_add(retry_after);
                self.plan(device, Due { at, ..due }).await;
            }
            WakeOutcome::Busy if due.busy < SOON_AGAIN => {
                let delay = Duration::from_secs(1 << due.busy).max(retry_after);
                let next = Due {
                    at: self.now().saturating_add(delay),
                    busy: due.busy + 1,
                    ..due
                };
                self.plan(device, next).await;
            }
            WakeOutcome::Unspecified
            | WakeOutcome::Unreachable
            | WakeOutcome::Offline
            | WakeOutcome::Busy => {
                self.not_woken(device, due, &answer.detail, Some(retry_after))
                    .await;
            }
        }
    }

    /// Puts the reason on the tasks that wait for the device, and plans another try.
    async fn not_woken(
        &self,
        device: &DeviceKey,
        due: Due,
        detail: &str,
        not_before: Option<Duration>,
    ) {
        let again = self.options.wake_backoff.get(due.tries).map(|d| d.get());
        let again = again.map(|delay| delay.max(not_before.unwrap_or_default()));
        let detail = detail.trim_end_matches('.');
        let reason = match again {
            Some(delay) => format!(
                "{detail}; the device is asked again in {} s, and the task runs at its next \
                 session in any case",
                delay.as_secs()
            ),
            None => format!("{detail}; the task runs at the device's next session"),
        };
        if let Err(error) = self.note_waking(device, &reason).await {
            tracing::warn!(%error, %device, "the outcome of a wake-up can't be recorded");
        }
        let Some(delay) = again else {
            // Nobody is to ask again.
            return self.remind(device, Timestamp::ZERO).await;
        };
        let next = Due {
            at: self.now().saturating_add(delay),
            tries: due.tries + 1,
            ..Due::default()
        };
        self.plan(device, next).await;
    }

    async fn note_waking(&self, device: &DeviceKey, reason: &str) -> Result<(), Error> {
        let _lane = self.lanes.lock(device).await;
        for mut work in self.open_tasks_of(device).await? {
            let waits = matches!(work.state(), TaskState::Waking | TaskState::Queued);
            if waits && work.task.reason != reason && !work.progress.no_wake {
                work.set(TaskState::Queued, reason);
                // Where another replica has moved the task on, that says more than this reason.
                let _ = self.write(device, "", &mut [work]).await?;
            }
        }
        Ok(())
    }

    /// The device's open tasks, by the ledger, newest first.
    pub(crate) async fn open_tasks_of(
        &self,
        device: &DeviceKey,
    ) -> Result<Vec<crate::ledger::Work>, Error> {
        const PAGE: usize = 500;
        let mut found = Vec::new();
        let mut before: Option<TaskId> = None;
        loop {
            let query = TaskQuery {
                tenant: device.tenant.clone(),
                device: Some(device.device.clone()),
                open_only: true,
                before,
                limit: PAGE,
            };
            let rows = self.ledger.store().tasks(&query).await;
            let rows = rows.map_err(crate::ledger::store_error)?;
            before = rows.last().map(|row| row.id);
            let full = rows.len() == PAGE;
            found.extend(rows.iter().filter_map(|row| self.ledger.read(row)));
            if !full {
                return Ok(found);
            }
        }
    }
}
