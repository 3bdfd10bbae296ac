//! How a device's tasks and sessions stand, for whoever asks why a task doesn't run.

use crate::{
    ledger::{Work, queue_error},
    service::Inner,
};
use hearth_clients::Result;
use hearth_proto::{
    convert,
    types::v1::TaskState,
    workflow::v1::{GetDeviceWorkRequest, GetDeviceWorkResponse, OpenTask},
};
use hearth_types::{DeviceKey, Timestamp};
use std::{cmp::Reverse, sync::atomic::Ordering};

/// Tasks that are told at most.
const MOST: usize = 200;

impl Inner {
    pub(crate) async fn device_work(
        &self,
        request: GetDeviceWorkRequest,
    ) -> Result<GetDeviceWorkResponse> {
        let device = DeviceKey::parse(&request.tenant, &request.device)?;
        let now = self.now();
        let (in_session, rebuilding) = match self.queue.peek(&device, now).await {
            Ok(peek) => (peek.in_session, !self.ready.load(Ordering::Acquire)),
            Err(hearth_queue::Error::Rebuilding) => (false, true),
            Err(error) => return Err(queue_error(error)),
        };
        let lanes = self.lanes.lock(&device).await;
        let lane = lanes.get(&device).map(|lane| lane.epoch);
        drop(lanes);
        let mut works = self.open_tasks_of(&device).await?;
        works.sort_by_cached_key(|work| order(work, now));
        let told = works.iter().take(MOST).map(open_task).collect();
        Ok(GetDeviceWorkResponse {
            in_session,
            epoch: lane.filter(|_| in_session).unwrap_or(0),
            rebuilding,
            tasks: told,
            open: u32::try_from(works.len()).unwrap_or(u32::MAX),
            wake: self.waker.planned(&device),
        })
    }
}

/// The order in which sessions take tasks: in flight, ready, delayed, those that wait for the device.
fn order(work: &Work, now: Timestamp) -> (u8, i64, Reverse<i32>, String) {
    let not_before = work.task.not_before_us;
    let (class, at) = match work.state() {
        TaskState::WaitingForDevice => (3, work.task.deadline_us),
        _ if work.open_attempt().is_some() => (0, 0),
        _ if not_before > now.as_micros() => (2, not_before),
        _ => (1, 0),
    };
    (class, at, Reverse(work.task.priority), work.id.to_string())
}

fn open_task(work: &Work) -> OpenTask {
    let attempt = work.open_attempt();
    let mut told = OpenTask {
        task: work.id.to_string(),
        kind: work.label().to_owned(),
        priority: work.task.priority,
        not_before_us: work.task.not_before_us,
        deadline_us: work.task.deadline_us,
        in_flight_epoch: attempt.map_or(0, |attempt| attempt.epoch),
        in_flight_since_us: attempt.map_or(0, |a| convert::micros(a.start_time.as_ref())),
        rpc: attempt.map(|a| a.rpc.clone()).unwrap_or_default(),
        no_wake: work.progress.no_wake,
        ..OpenTask::default()
    };
    told.set_state(work.state());
    told
}
