//! What came out, for people and as JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::book::Class;
use super::evidence::Evidence;
use super::plan::method;
use super::verify::{Looked, Verdict, Violation};

/// One kill.
#[derive(Clone, Debug, Serialize)]
pub struct Round {
    /// From 1.
    pub round: u32,
    /// How long the server was ready before it was killed.
    pub killed_after_ms: u64,
    /// It was killed once more while it started, so long after its start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub killed_starting_after_ms: Option<u64>,
    /// Tasks open at the kill.
    pub open: usize,
    /// Tasks whose end was seen by then.
    pub ended: usize,
    /// From starting it to readiness.
    pub restart_ms: u64,
}

/// Times of starts, in milliseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Restarts {
    /// The shortest.
    pub min_ms: u64,
    /// Half are at most so long.
    pub median_ms: u64,
    /// The longest.
    pub max_ms: u64,
}

impl Restarts {
    /// Of these times.
    pub fn of(times: &[Duration]) -> Self {
        let mut times: Vec<_> = times.iter().map(|time| millis(*time)).collect();
        times.sort_unstable();
        Self {
            min_ms: times.first().copied().unwrap_or(0),
            median_ms: times.get(times.len() / 2).copied().unwrap_or(0),
            max_ms: times.last().copied().unwrap_or(0),
        }
    }
}

/// A duration in whole milliseconds.
pub fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The outcome of the test.
#[derive(Debug, Serialize)]
pub struct Report {
    /// What chance began with.
    pub seed: u64,
    /// Devices of the fleet.
    pub devices: usize,
    /// Known devices besides.
    pub known: usize,
    /// Processors of the machine.
    pub processors: usize,
    /// From the first start to the verdict, in seconds.
    pub seconds: f64,
    /// The kills.
    pub rounds: Vec<Round>,
    /// The starts after them.
    pub restarts: Restarts,
    /// Tasks by method and final state.
    pub tasks: BTreeMap<&'static str, BTreeMap<&'static str, usize>>,
    /// Tasks by method, of which at least one session ended before the device's answer: those for
    /// which the kills came at the worst moment.
    pub interrupted: BTreeMap<&'static str, usize>,
    /// Creates that had to be sent again.
    pub repeated_creates: usize,
    /// Tasks whose outcome is not known, with the reason.
    pub unknown_outcomes: Vec<String>,
    /// How much the verification looked at.
    pub looked: Looked,
    /// What must not be.
    pub violations: Vec<Violation>,
}

/// Tasks by method and final state.
pub fn tally(evidence: &Evidence) -> BTreeMap<&'static str, BTreeMap<&'static str, usize>> {
    let mut out: BTreeMap<_, BTreeMap<_, usize>> = BTreeMap::new();
    for (id, known) in &evidence.known {
        let state = evidence.tasks.get(id).map_or("LOST", |task| {
            let name = task.state().as_str_name();
            name.strip_prefix("TASK_STATE_").unwrap_or(name)
        });
        *out.entry(method(&known.wish.spec))
            .or_default()
            .entry(state)
            .or_default() += 1;
    }
    out
}

/// Tasks by method that an answer was lost for, as their attempts tell.
pub fn interrupted(evidence: &Evidence) -> BTreeMap<&'static str, usize> {
    let mut out = BTreeMap::new();
    for (id, known) in &evidence.known {
        let attempts = evidence
            .tasks
            .get(id)
            .map_or(&[][..], |task| &task.attempts);
        if attempts
            .iter()
            .any(|attempt| attempt.outcome.contains("session ended before"))
        {
            *out.entry(method(&known.wish.spec)).or_default() += 1;
        }
    }
    out
}

/// The tasks whose outcome is not known.
pub fn unknown(evidence: &Evidence) -> Vec<String> {
    let unknown = evidence
        .tasks
        .iter()
        .filter(|(_, task)| task.state() == hearth_proto::types::v1::TaskState::UnknownOutcome);
    unknown
        .map(|(id, task)| {
            let known = evidence.known.get(id);
            let kind = known.map_or("", |known| method(&known.wish.spec));
            let class = known.map_or(Class::Normal, |known| known.wish.class);
            format!("{kind} {id} ({class:?}): {}", task.reason)
        })
        .collect()
}

impl Report {
    /// Takes the verdict in.
    pub fn judge(&mut self, verdict: Verdict) {
        self.looked = verdict.looked;
        self.violations = verdict.violations;
    }

    /// What is printed at the end.
    pub fn summary(&self) -> String {
        let mut out = String::from("\ntasks by kind and state:\n");
        let mut total = 0;
        for (kind, states) in &self.tasks {
            let list: Vec<_> = states
                .iter()
                .map(|(state, n)| format!("{n} {state}"))
                .collect();
            total += states.values().sum::<usize>();
            out.push_str(&format!("  {kind:<24} {}\n", list.join(", ")));
        }
        let list = self
            .interrupted
            .iter()
            .map(|(kind, n)| format!("{n} {kind}"));
        let list = list.collect::<Vec<_>>().join(", ");
        out.push_str(&format!("interrupted between request and answer: {list}\n"));
        for unknown in &self.unknown_outcomes {
            out.push_str(&format!("  unknown outcome: {unknown}\n"));
        }
        let looked = &self.looked;
        let restarts = &self.restarts;
        out.push_str(&format!(
            "looked at: {total} tasks ({} creates sent again), {} RPCs ({} that must not be \
             doubled), {} acknowledged Informs, {} values, {} value changes, {} tags, {} files\n\
             restarts: {} of {} known devices, min {} ms, median {} ms, max {} ms\n",
            self.repeated_creates,
            looked.rpcs,
            looked.once,
            looked.informs,
            looked.values,
            looked.changes,
            looked.tags,
            looked.files,
            looked.restarts,
            self.known + self.devices,
            restarts.min_ms,
            restarts.median_ms,
            restarts.max_ms,
        ));
        let mut rules: BTreeMap<&str, Vec<&Violation>> = BTreeMap::new();
        for violation in &self.violations {
            rules.entry(violation.rule).or_default().push(violation);
        }
        for (rule, list) in &rules {
            out.push_str(&format!("\nVIOLATION {rule}: {}\n", list.len()));
            for violation in list.iter().take(5) {
                out.push_str(&format!("  {violation}\n"));
            }
            if list.len() > 5 {
                out.push_str(&format!("  … and {} more, in the report\n", list.len() - 5));
            }
        }
        match self.violations.len() {
            0 => out.push_str(&format!(
                "PASSED: {} kills, nothing lost, nothing doubled ({:.0} s, seed {})\n",
                self.rounds.len(),
                self.seconds,
                self.seed
            )),
            n => out.push_str(&format!("FAILED: {n} violations (seed {})\n", self.seed)),
        }
        out
    }
}
