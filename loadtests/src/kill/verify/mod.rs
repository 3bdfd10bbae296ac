//! The verification: what was acknowledged, against what the server says after its last death and
//! what the devices really did. It knows the public API and the simulator's ledgers, nothing else.

mod devices;
mod succeeded;
mod tasks;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::book::Known;
use super::evidence::{Evidence, Truth};
use crate::cpe::ONCE;
use crate::{Executed, Transferred};

/// Something that must not be, with what shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// Which rule: `task lost`, `executed twice`, …
    pub rule: &'static str,
    /// The device's name, if it is about one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub device: String,
    /// The task's id, if it is about one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub task: String,
    /// What was expected.
    pub expected: String,
    /// What was found.
    pub found: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:", self.rule)?;
        if !self.device.is_empty() {
            write!(f, " device {}", self.device)?;
        }
        if !self.task.is_empty() {
            write!(f, " task {}", self.task)?;
        }
        write!(
            f,
            "\n    expected {}\n    found    {}",
            self.expected, self.found
        )
    }
}

/// How much was looked at: a check that looked at nothing proves nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Looked {
    /// Acknowledged tasks.
    pub tasks: usize,
    /// RPCs in the devices' ledgers.
    pub rpcs: usize,
    /// Of them, such as must not be executed twice.
    pub once: usize,
    /// Acknowledged Informs.
    pub informs: usize,
    /// Values of acknowledged Informs compared with the server's.
    pub values: usize,
    /// Acknowledged value changes looked for in the history.
    pub changes: usize,
    /// Tags.
    pub tags: usize,
    /// Files whose bytes were compared.
    pub files: usize,
    /// Starts of the server.
    pub restarts: usize,
}

/// What came out.
#[derive(Debug, Default)]
pub struct Verdict {
    /// What must not be. Empty is a pass.
    pub violations: Vec<Violation>,
    /// How much was looked at.
    pub looked: Looked,
}

impl Verdict {
    fn add(
        &mut self,
        rule: &'static str,
        device: &str,
        task: &str,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) {
        self.violations.push(Violation {
            rule,
            device: device.to_owned(),
            task: task.to_owned(),
            expected: expected.into(),
            found: found.into(),
        });
    }
}

/// Verifies everything.
pub fn verify(evidence: &Evidence) -> Verdict {
    let mut verdict = Verdict::default();
    let actions: Vec<_> = evidence.truth.iter().map(Actions::of).collect();
    tasks::verify(evidence, &actions, &mut verdict);
    for (number, truth) in evidence.truth.iter().enumerate() {
        once(truth, &actions[number], &mut verdict);
        devices::verify(number, evidence, &mut verdict);
    }
    devices::effects(evidence, &actions, &mut verdict);
    files(evidence, &mut verdict);
    server(evidence, &mut verdict);
    verdict
}

/// Fault 9021: a transfer that has begun, or is done, can't be cancelled (TR-069 A.4.1.9).
const NOT_PERMITTED: u32 = 9021;

/// What a device did for each task.
struct Actions<'e> {
    by_task: BTreeMap<&'e str, Vec<&'e Executed>>,
    transfers: BTreeMap<&'e str, Vec<&'e Transferred>>,
}

impl<'e> Actions<'e> {
    fn of(truth: &'e Truth) -> Self {
        let mut by_task: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for executed in &truth.executed {
            by_task.entry(task_of(executed)).or_default().push(executed);
        }
        let mut transfers: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for transfer in &truth.transferred {
            transfers
                .entry(before_dot(&transfer.key))
                .or_default()
                .push(transfer);
        }
        Self { by_task, transfers }
    }

    /// What it did for a task, faults included.
    fn all(&self, task: &str) -> &[&'e Executed] {
        self.by_task.get(task).map_or(&[], Vec::as_slice)
    }

    /// What it did for a task by this method, without a fault.
    fn done<'a>(
        &self,
        task: &str,
        method: &'a str,
    ) -> impl Iterator<Item = &'e Executed> + use<'_, 'e, 'a> {
        let all = self.all(task).iter().copied();
        all.filter(move |executed| executed.fault.is_none() && executed.method == method)
    }

    fn transferred(&self, task: &str) -> &[&'e Transferred] {
        self.transfers.get(task).map_or(&[], Vec::as_slice)
    }

    /// Whether the device has cancelled this task's transfer, for whichever task, and not made it.
    fn called_back(&self, task: &str) -> bool {
        let mut all = self.by_task.values().flatten();
        let cancelled = all.any(|executed| {
            executed.method == "CancelTransfer"
                && executed.fault.is_none()
                && before_dot(&executed.subject) == task
        });
        cancelled && self.transferred(task).iter().all(|t| t.fault.is_some())
    }

    /// Executions that count: a transfer that ended with a fault may be asked for again.
    fn times(&self, task: &str, method: &str) -> usize {
        let failed = |executed: &&Executed| {
            let mut transfers = self.transferred(task).iter();
            transfers.any(|t| t.key == executed.key && t.fault.is_some())
        };
        self.done(task, method)
            .filter(|executed| !failed(executed))
            .count()
    }
}

/// The task that an RPC was sent for: in its CommandKey or ParameterKey, else in its cwmp:ID.
fn task_of(executed: &Executed) -> &str {
    before_dot(key_of(executed))
}

fn key_of(executed: &Executed) -> &str {
    match executed.key.is_empty() {
        true => executed.id.as_deref().unwrap_or_default(),
        false => &executed.key,
    }
}

fn before_dot(key: &str) -> &str {
    key.split('.').next().unwrap_or_default()
}

/// Rule 2: nothing executed twice.
fn once(truth: &Truth, actions: &Actions<'_>, verdict: &mut Verdict) {
    verdict.looked.rpcs += truth.executed.len();
    for task in actions.by_task.keys() {
        for method in ONCE {
            let times = actions.times(task, method);
            verdict.looked.once += times;
            if times > 1 {
                let list = actions.done(task, method);
                let list = list.map(|e| format!("{} in session {}", key_of(e), e.session));
                let found = format!("{times} times: {}", list.collect::<Vec<_>>().join(", "));
                let expected = format!("{method} executed once");
                verdict.add("executed twice", &truth.name, task, expected, found);
            }
        }
        let moved = actions
            .transferred(task)
            .iter()
            .filter(|t| t.fault.is_none())
            .count();
        if moved > 1 {
            let found = format!("{moved} times");
            verdict.add("transferred twice", &truth.name, task, "once", found);
        }
    }
}

/// Rule 4: the acknowledged files, byte by byte.
fn files(evidence: &Evidence, verdict: &mut Verdict) {
    for file in &evidence.files {
        verdict.looked.files += 1;
        let expected = format!("{} with {} bytes, {}", file.name, file.size, file.sha256);
        match evidence.kept.get(&file.name) {
            None => verdict.add("file lost", "", "", expected, "no such file"),
            Some(kept)
                if kept.sha256 != file.sha256
                    || kept.size != file.size
                    || kept.file.sha256 != file.sha256 =>
            {
                let found = format!(
                    "{} bytes, {}, listed as {} bytes, {}",
                    kept.size, kept.sha256, kept.file.size, kept.file.sha256
                );
                verdict.add("file changed", "", "", expected, found);
            }
            Some(_) => {}
        }
    }
}

/// Rule 5, and what went wrong with the process itself.
fn server(evidence: &Evidence, verdict: &mut Verdict) {
    let limit = evidence.restart_limit;
    for (number, restart) in evidence.restarts.iter().enumerate() {
        verdict.looked.restarts += 1;
        if *restart > limit {
            let expected = format!("ready within {} ms", limit.as_millis());
            let found = format!("start {number} took {} ms", restart.as_millis());
            verdict.add("slow restart", "", "", expected, found);
        }
    }
    for accident in &evidence.accidents {
        verdict.add(
            "server failed",
            "",
            "",
            "a server that runs until it is killed",
            accident,
        );
    }
    for refused in &evidence.refused {
        verdict.add(
            "request refused",
            "",
            "",
            "a good request is accepted",
            refused,
        );
    }
    let expected = evidence.truth.len() as u64 + evidence.preloaded;
    if evidence.counted != expected {
        let found = format!("{} devices", evidence.counted);
        verdict.add(
            "devices counted",
            "",
            "",
            format!("{expected} devices"),
            found,
        );
    }
}

/// Microseconds since 1970 of a moment on this machine's clock.
fn micros(at: std::time::SystemTime) -> i64 {
    let since = at
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// The same of a time in an answer; 0 for none.
fn stamp(at: Option<&hearth_proto::ProtoTimestamp>) -> i64 {
    at.map_or(0, |at| {
        at.seconds.saturating_mul(1_000_000) + i64::from(at.nanos) / 1000
    })
}

/// What a task was for, in words.
fn kind(known: &Known) -> &'static str {
    super::plan::method(&known.wish.spec)
}
