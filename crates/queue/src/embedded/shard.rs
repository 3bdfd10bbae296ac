//! A bucket of devices, under one lock.

use super::{
    rebuild::Rebuild,
    record::{Entry, Record},
};
use crate::{Claim, Depth, Due, DueKind, Enqueue, Peek, Phase, Released, Removed, Session};
use hearth_types::{DeviceKey, TaskId, Timestamp};
use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

#[derive(Default)]
pub(super) struct Shard {
    devices: HashMap<DeviceKey, Record, ahash::RandomState>,
    /// When something is to be done about a task.
    alarms: BTreeSet<(Timestamp, TaskId, DeviceKey)>,
    /// Open tasks by age.
    ages: BTreeSet<TaskId>,
    /// The highest epoch of a device that was dropped: later ones stay above it even when the
    /// clock was set back.
    floor: u64,
    pub(super) rebuild: Rebuild,
}

impl Shard {
    pub(super) fn open_session(
        &mut self,
        device: &DeviceKey,
        session: &str,
        ttl: Duration,
        now: Timestamp,
    ) -> Session {
        let floor = self.floor;
        let next = |last: u64| (last + 1).max(u64::try_from(now.as_micros()).unwrap_or(0));
        let known = self.devices.get_mut(device);
        let Some(record) = known.filter(|record| !record.tasks.is_empty()) else {
            let before = self.devices.remove(device).unwrap_or_default();
            let same = !session.is_empty() && *before.session == *session && !before.closed;
            let epoch = match same {
                true => before.epoch,
                false => next(before.epoch.max(floor)),
            };
            self.floor = floor.max(epoch);
            return Session::idle(epoch);
        };
        if record.epoch == 0 || session.is_empty() || *record.session != *session {
            record.epoch = next(record.epoch.max(floor));
            record.session = session.into();
            record.closed = false;
            record.bound = false;
        }
        record.expires = now.saturating_add(ttl);
        let mut orphans: Vec<(u64, TaskId)> = Vec::new();
        let mut ready = false;
        for entry in &record.tasks {
            match entry.phase {
                Phase::InFlight { epoch, .. } if epoch < record.epoch => {
                    orphans.push((epoch, entry.task));
                }
                _ => ready |= entry.is_ready(now),
            }
        }
        orphans.sort_unstable();
        Session {
            epoch: record.epoch,
            pending: ready || !orphans.is_empty(),
            open: record.tasks.len(),
            orphans: orphans.into_iter().map(|(_, task)| task).collect(),
            rebuilding: false,
        }
    }

    pub(super) fn claim(
        &mut self,
        device: &DeviceKey,
        epoch: u64,
        lease: Duration,
        exclude: Option<TaskId>,
        now: Timestamp,
    ) -> Claim {
        let Some(record) = self.devices.get_mut(device) else {
            return Claim::Empty;
        };
        if record.was_idle(epoch) {
            return Claim::Empty;
        }
        if !record.take_epoch(epoch) {
            return Claim::Fenced;
        }
        let chosen = if record.closed {
            None
        } else {
            record.choose(exclude, now)
        };
        let Some(index) = chosen else {
            record.expires = Timestamp::ZERO;
            self.drop_if_idle(device, now);
            return Claim::Empty;
        };
        let until = now.saturating_add(lease);
        record.expires = until;
        let entry = &mut record.tasks[index];
        let before = std::mem::replace(
            &mut entry.phase,
            Phase::InFlight {
                epoch,
                lease: until,
            },
        );
        let (resumed, orphan_of) = match before {
            Phase::InFlight { epoch: old, .. } if old == epoch => (true, None),
            Phase::InFlight { epoch: old, .. } => (false, Some(old)),
            _ => (false, None),
        };
        let task = entry.task;
        set_alarm(&mut self.alarms, device, entry);
        Claim::Task {
            task,
            resumed,
            orphan_of,
        }
    }

    pub(super) fn renew(
        &mut self,
        device: &DeviceKey,
        epoch: u64,
        task: Option<TaskId>,
        lease: Duration,
        now: Timestamp,
    ) -> bool {
        let Some(record) = self.devices.get_mut(device) else {
            return true;
        };
        if record.was_idle(epoch) {
            return true;
        }
        if !record.take_epoch(epoch) {
            return false;
        }
        let until = now.saturating_add(lease);
        record.expires = until;
        if let Some(index) = task.and_then(|task| record.find(task)) {
            let entry = &mut record.tasks[index];
            if matches!(entry.phase, Phase::InFlight { epoch: of, .. } if of == epoch) {
                entry.phase = Phase::InFlight {
                    epoch,
                    lease: until,
                };
                set_alarm(&mut self.alarms, device, entry);
            }
        }
        true
    }

    pub(super) fn close_session(&mut self, device: &DeviceKey, epoch: u64) {
        if let Some(record) = self.devices.get_mut(device)
            && record.epoch <= epoch
            && !record.was_idle(epoch)
        {
            record.take_epoch(epoch);
            record.closed = true;
            record.expires = Timestamp::ZERO;
            self.drop_if_idle(device, Timestamp::ZERO);
        }
    }

    pub(super) fn enqueue(&mut self, device: &DeviceKey, task: Enqueue) {
        if !self.devices.contains_key(device) {
            let record = Record {
                epoch: self.floor,
                bound: true,
                ..Record::default()
            };
            self.devices.insert(device.clone(), record);
        }
        self.enter(device, task);
    }

    /// Enters a task that the ledger had open while the bucket is rebuilt.
    pub(super) fn restore(&mut self, device: &DeviceKey, task: Enqueue) {
        // What sessions there are isn't known: a live one is taken when it comes.
        if !self.rebuild.has_ended(task.task) {
            self.enter(device, task);
        }
    }

    fn enter(&mut self, device: &DeviceKey, task: Enqueue) {
        let record = self.devices.entry(device.clone()).or_default();
        if let Phase::InFlight { epoch, .. } = task.phase {
            record.take_epoch(epoch);
        }
        if record.find(task.task).is_some() {
            return;
        }
        let mut entry = Entry::new(task);
        set_alarm(&mut self.alarms, device, &mut entry);
        record.insert(entry);
        self.ages.insert(task.task);
    }

    pub(super) fn remove(&mut self, device: &DeviceKey, task: TaskId, force: bool) -> Removed {
        if force {
            self.rebuild.ended(task);
        }
        let Some(record) = self.devices.get_mut(device) else {
            return Removed::Gone;
        };
        let Some(index) = record.find(task) else {
            return Removed::Gone;
        };
        let phase = record.tasks[index].phase;
        if force || matches!(phase, Phase::Pending { .. }) {
            let mut entry = record.tasks.remove(index);
            self.rebuild.ended(task);
            pass_on(&mut self.alarms, device, record, &entry);
            move_alarm(&mut self.alarms, device, &mut entry, Timestamp::ZERO);
            self.ages.remove(&task);
            self.drop_if_idle(device, Timestamp::ZERO);
        }
        Removed::Was(phase)
    }

    pub(super) fn give_back(
        &mut self,
        device: &DeviceKey,
        task: TaskId,
        epoch: u64,
        phase: Phase,
    ) -> Released {
        let Some((record, index)) = self.lookup(device, task) else {
            return Released::Gone;
        };
        let entry = &mut record.tasks[index];
        if matches!(entry.phase, Phase::InFlight { epoch: of, .. } if of > epoch) {
            return Released::Fenced;
        }
        entry.phase = phase;
        let alarms = &mut self.alarms;
        if let Some(record) = self.devices.get_mut(device) {
            set_alarm(alarms, device, &mut record.tasks[index]);
        }
        Released::Done
    }

    pub(super) fn unpark(&mut self, device: &DeviceKey, task: TaskId) -> bool {
        let Some((record, index)) = self.lookup(device, task) else {
            return false;
        };
        if matches!(record.tasks[index].phase, Phase::Parked { .. }) {
            self.give_back(
                device,
                task,
                u64::MAX,
                Phase::Pending {
                    not_before: Timestamp::ZERO,
                },
            );
        }
        true
    }

    pub(super) fn contains(&mut self, device: &DeviceKey, task: TaskId) -> bool {
        self.lookup(device, task).is_some()
    }

    pub(super) fn peek(&self, device: &DeviceKey, now: Timestamp) -> Peek {
        self.devices
            .get(device)
            .map_or_else(Peek::default, |record| {
                let ready = record.tasks.iter().filter(|entry| entry.is_offered(now));
                let ids = ready.map(|entry| entry.task);
                Peek {
                    open: record.tasks.len(),
                    ready: ids.clone().count(),
                    in_session: record.expires > now,
                    ages: ids.clone().min().zip(ids.max()),
                }
            })
    }

    pub(super) fn remind(&mut self, device: &DeviceKey, at: Timestamp, now: Timestamp) {
        let Some(record) = self.devices.get_mut(device) else {
            return;
        };
        let mut at = at;
        for entry in record.tasks.iter_mut().filter(|entry| entry.is_ready(now)) {
            let alarm = entry.alarm_with(at);
            move_alarm(&mut self.alarms, device, entry, alarm);
            // The first one says it for all.
            at = Timestamp::ZERO;
        }
    }

    pub(super) fn due(
        &mut self,
        now: Timestamp,
        again: Duration,
        limit: usize,
        found: &mut Vec<Due>,
    ) {
        while found.len() < limit {
            let Some((time, _, _)) = self.alarms.first() else {
                return;
            };
            if *time > now {
                return;
            }
            let Some((_, task, device)) = self.alarms.pop_first() else {
                return;
            };
            if let Some(kind) = self.ring(&device, task, now, again) {
                found.push(Due { device, task, kind });
            }
        }
    }

    /// What a task's alarm says; sets its next one.
    fn ring(
        &mut self,
        device: &DeviceKey,
        task: TaskId,
        now: Timestamp,
        again: Duration,
    ) -> Option<DueKind> {
        let record = self.devices.get_mut(device)?;
        let index = record.find(task)?;
        let entry = &mut record.tasks[index];
        let kind = match entry.phase {
            Phase::InFlight { .. } => DueKind::Lease,
            Phase::Parked { .. } => DueKind::Parked,
            Phase::Pending { .. } if entry.deadline.is_set() && entry.deadline <= now => {
                DueKind::Deadline
            }
            Phase::Pending { .. } => {
                entry.phase = Phase::Pending {
                    not_before: Timestamp::ZERO,
                };
                DueKind::Ready
            }
        };
        entry.alarm = match kind {
            DueKind::Ready => entry.next_alarm(),
            _ => now.saturating_add(again),
        };
        if entry.alarm.is_set() {
            self.alarms.insert((entry.alarm, task, device.clone()));
        }
        Some(kind)
    }

    /// Drops sessions that were never ended.
    pub(super) fn sweep(&mut self, now: Timestamp) {
        let floor = &mut self.floor;
        self.devices.retain(|_, record| {
            let idle = record.is_idle(now);
            if idle {
                *floor = (*floor).max(record.epoch);
            }
            !idle
        });
    }

    pub(super) fn add_depth(&self, depth: &mut Depth) {
        depth.devices += self.devices.len() as u64;
        depth.open += self.ages.len() as u64;
        for entry in self.devices.values().flat_map(|record| &record.tasks) {
            match entry.phase {
                Phase::InFlight { .. } => depth.in_flight += 1,
                Phase::Parked { .. } => depth.parked += 1,
                Phase::Pending { .. } => {}
            }
        }
        if let Some(oldest) = self.ages.first() {
            depth.oldest = Some(depth.oldest.map_or(*oldest, |other| other.min(*oldest)));
        }
    }

    fn lookup(&mut self, device: &DeviceKey, task: TaskId) -> Option<(&mut Record, usize)> {
        let record = self.devices.get_mut(device)?;
        let index = record.find(task)?;
        Some((record, index))
    }

    fn drop_if_idle(&mut self, device: &DeviceKey, now: Timestamp) {
        if let Some(record) = self.devices.get(device)
            && record.is_idle(now)
        {
            self.floor = self.floor.max(record.epoch);
            self.devices.remove(device);
        }
    }
}

fn set_alarm(
    alarms: &mut BTreeSet<(Timestamp, TaskId, DeviceKey)>,
    device: &DeviceKey,
    entry: &mut Entry,
) {
    let alarm = entry.next_alarm();
    move_alarm(alarms, device, entry, alarm);
}

/// What the device was to be told of by a task that is gone, another one that waits says.
fn pass_on(
    alarms: &mut BTreeSet<(Timestamp, TaskId, DeviceKey)>,
    device: &DeviceKey,
    record: &mut Record,
    gone: &Entry,
) {
    let is_reminder = gone.alarm.is_set() && gone.alarm != gone.next_alarm();
    if !is_reminder || !matches!(gone.phase, Phase::Pending { .. }) {
        return;
    }
    let mut waiting = record.tasks.iter_mut();
    if let Some(entry) = waiting.find(|entry| entry.is_ready(Timestamp::ZERO)) {
        let alarm = entry.alarm_with(gone.alarm);
        move_alarm(alarms, device, entry, alarm);
    }
}

fn move_alarm(
    alarms: &mut BTreeSet<(Timestamp, TaskId, DeviceKey)>,
    device: &DeviceKey,
    entry: &mut Entry,
    alarm: Timestamp,
) {
    if alarm == entry.alarm {
        return;
    }
    if entry.alarm.is_set() {
        alarms.remove(&(entry.alarm, entry.task, device.clone()));
    }
    if alarm.is_set() {
        alarms.insert((alarm, entry.task, device.clone()));
    }
    entry.alarm = alarm;
}
