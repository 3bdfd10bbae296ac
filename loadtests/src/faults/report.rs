//! What came out: JSON, and the table of the documentation.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::EdgeCounts;
use crate::kill::book::Class;
use crate::kill::evidence::Evidence;
use crate::kill::plan::method;
use crate::kill::verify::{Looked, Violation};

/// One time that a fault happened.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Occurrence {
    /// Which fault.
    pub fault: String,
    /// From 1, in its chapter.
    pub number: u32,
    /// To whom.
    pub member: String,
    /// When, in milliseconds since the chapter began.
    pub at_ms: u64,
    /// How long it was broken, until the fault was undone.
    pub broken_ms: u64,
    /// Tasks open when it began.
    pub open: usize,
    /// Requests of devices from its begin until all was well again.
    pub edge: EdgeCounts,
    /// How long until all was well again; `None` if it was not within the limit.
    pub recovered_ms: Option<u64>,
    /// Canaries' tasks that were made until all was well again, or were under way when it began.
    pub canaries: usize,
    /// The slowest of them.
    pub slowest_canary_ms: u64,
    /// Which task that was, and what it waited for longest.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub slowest_canary_told: String,
    /// Requests of devices in the first 5 s after its end: do they all come at once?
    #[serde(default)]
    pub requests_after: u64,
    /// As many come in that time before anything is broken; 0 where that was not measured.
    #[serde(default)]
    pub requests_calm: u64,
}

/// How long it is looked whether devices come in a herd.
pub const HERD: Duration = Duration::from_secs(5);

impl Occurrence {
    /// In one line.
    pub fn line(&self) -> String {
        let recovered = match self.recovered_ms {
            Some(ms) => format!("well after {ms} ms"),
            None => "NOT WELL AGAIN".to_owned(),
        };
        let told = match self.slowest_canary_told.as_str() {
            "" => String::new(),
            told => format!(" (it waited: {told})"),
        };
        format!(
            "{} {}: {} with {} tasks open, broken for {} ms; {recovered}; {} of {} requests failed; \
             slowest of {} canaries {} ms{told}; {} requests in the {} s after it, {} in calm",
            self.fault,
            self.number,
            self.member,
            self.open,
            self.broken_ms,
            self.edge.failed(),
            self.edge.all(),
            self.canaries,
            self.slowest_canary_ms,
            self.requests_after,
            HERD.as_secs(),
            self.requests_calm
        )
    }
}

/// Times in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spread {
    /// How many.
    pub count: usize,
    /// Half are at most so long.
    pub median_ms: u64,
    /// The longest.
    pub max_ms: u64,
}

impl Spread {
    /// Of these.
    pub fn of(mut times: Vec<u64>) -> Self {
        times.sort_unstable();
        Self {
            count: times.len(),
            median_ms: times.get(times.len() / 2).copied().unwrap_or(0),
            max_ms: times.last().copied().unwrap_or(0),
        }
    }
}

/// From making a task to its end, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latencies {
    /// How many.
    pub count: usize,
    /// The median.
    pub p50_ms: u64,
    /// The 99th percentile.
    pub p99_ms: u64,
}

impl Latencies {
    /// Of these.
    pub fn of(mut times: Vec<u64>) -> Self {
        times.sort_unstable();
        let at = |part: f64| {
            let last = times.len().saturating_sub(1) as f64;
            times.get((last * part).round() as usize).copied()
        };
        Self {
            count: times.len(),
            p50_ms: at(0.5).unwrap_or(0),
            p99_ms: at(0.99).unwrap_or(0),
        }
    }
}

/// How much the verification looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Looks {
    /// Tasks.
    pub tasks: usize,
    /// RPCs that devices got.
    pub rpcs: usize,
    /// Of them, such as must not be done twice.
    pub once: usize,
    /// Acknowledged Informs.
    pub informs: usize,
    /// Acknowledged values.
    pub values: usize,
    /// Acknowledged changes of values.
    pub changes: usize,
    /// Files.
    pub files: usize,
}

impl Looks {
    /// What the kill test's verification says.
    pub fn of(looked: &Looked) -> Self {
        Self {
            tasks: looked.tasks,
            rpcs: looked.rpcs,
            once: looked.once,
            informs: looked.informs,
            values: looked.values,
            changes: looked.changes,
            files: looked.files,
        }
    }
}

/// Something that must not be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Breach {
    /// Which rule.
    pub rule: String,
    /// Everything else, in words.
    pub text: String,
}

impl Breach {
    /// What the kill test's verification says.
    pub fn of(violation: &Violation) -> Self {
        Self {
            rule: violation.rule.to_owned(),
            text: violation.to_string(),
        }
    }

    /// Its column: lost, doubled, untrue, other.
    pub(super) fn class(&self) -> usize {
        match self.rule.as_str() {
            rule if rule.ends_with("twice") => 1,
            "state not true" | "task not ended" | "outcome was known" | "task failed"
            | "tasks left lying" => 2,
            "server failed" | "request refused" => 3,
            _ => 0,
        }
    }
}

/// A chapter: what happened to one fleet, one kind of fault or many, and what its verification found.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Row {
    /// The fault's name, or how many there were.
    pub fault: String,
    /// What chance began with.
    pub seed: u64,
    /// How often it happened.
    pub times: usize,
    /// Devices.
    pub devices: usize,
    /// How long it took.
    pub seconds: f64,
    /// Until all was well again.
    pub recovered: Spread,
    /// Requests of devices while it was not.
    pub edge: EdgeCounts,
    /// The part of them that failed.
    pub error_share: f64,
    /// Requests of devices at other times.
    pub calm_edge: EdgeCounts,
    /// Reads and sets that were never open while it was broken.
    pub calm_tasks: Latencies,
    /// Reads and sets that were.
    pub broken_tasks: Latencies,
    /// Tasks by method and final state.
    pub tasks: BTreeMap<String, BTreeMap<String, usize>>,
    /// Tasks by method that a session's end met between request and answer.
    pub interrupted: BTreeMap<String, usize>,
    /// Creates that had to be sent again.
    pub repeated_creates: usize,
    /// Tasks whose outcome is not known.
    pub unknown_outcomes: Vec<String>,
    /// What devices executed more than once for one task, by their own count.
    pub doubled: usize,
    /// How much was looked at.
    pub looked: Looks,
    /// What must not be.
    pub violations: Vec<Breach>,
    /// Each time.
    pub occurrences: Vec<Occurrence>,
    /// Why it did not happen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_run: Option<String>,
}

/// Everything.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct FaultReport {
    /// Processors of the machine.
    pub processors: usize,
    /// The faults.
    pub rows: Vec<Row>,
}

impl FaultReport {
    /// Takes a row in, in place of an earlier one of the same fault with the same seed.
    pub fn take(&mut self, row: Row) {
        let same = |old: &&mut Row| (&old.fault, old.seed) == (&row.fault, row.seed);
        match self.rows.iter_mut().find(same) {
            Some(old) => *old = row,
            None => self.rows.push(row),
        }
    }

    /// What must not be, in the rows of a run with this seed; a fault that could not happen counts too. Those of earlier
    /// runs, which the report goes on from, were told when they were made.
    pub fn failures(&self, seed: u64) -> usize {
        let bad = self.rows.iter().filter(|row| row.seed == seed);
        bad.map(|row| row.violations.len() + usize::from(row.not_run.is_some()))
            .sum()
    }
}

impl Row {
    /// What is printed when its chapter has ended.
    pub fn summary(&self) -> String {
        let mut out = format!(
            "{}: {} times in {:.0} s; looked at {} tasks, {} RPCs ({} that must not be doubled), \
             {} acknowledged Informs, {} values, {} changes, {} files; {} tasks met between \
             request and answer, {} creates sent again, {} unknown outcomes\n",
            self.fault,
            self.times,
            self.seconds,
            self.looked.tasks,
            self.looked.rpcs,
            self.looked.once,
            self.looked.informs,
            self.looked.values,
            self.looked.changes,
            self.looked.files,
            self.interrupted.values().sum::<usize>(),
            self.repeated_creates,
            self.unknown_outcomes.len(),
        );
        let mut rules: BTreeMap<&str, Vec<&Breach>> = BTreeMap::new();
        for breach in &self.violations {
            rules.entry(&breach.rule).or_default().push(breach);
        }
        for (rule, list) in rules {
            out.push_str(&format!("VIOLATION {rule}: {}\n", list.len()));
            for breach in list.iter().take(3) {
                out.push_str(&format!("  {}\n", breach.text));
            }
        }
        out
    }
}

/// The part of requests that failed, 0 to 1.
pub fn share(edge: &EdgeCounts) -> f64 {
    match edge.all() {
        0 => 0.0,
        all => edge.failed() as f64 / all as f64,
    }
}

/// Names that own their text, so that a report can be read again.
pub fn owned(
    tally: BTreeMap<&'static str, BTreeMap<&'static str, usize>>,
) -> BTreeMap<String, BTreeMap<String, usize>> {
    let states = |states: BTreeMap<&'static str, usize>| {
        let states = states.into_iter();
        states
            .map(|(state, count)| (state.to_owned(), count))
            .collect()
    };
    let kinds = tally.into_iter();
    kinds
        .map(|(kind, of)| (kind.to_owned(), states(of)))
        .collect()
}

/// Milliseconds from making to the last change of reads and sets that could be done at once: of
/// those that were never open in one of these times, and of the others.
pub fn latencies(evidence: &Evidence, broken: &[(SystemTime, SystemTime)]) -> (Vec<u64>, Vec<u64>) {
    let (mut calm, mut meanwhile) = (Vec::new(), Vec::new());
    for (id, known) in &evidence.known {
        let simple = matches!(
            method(&known.wish.spec),
            "GetParameterValues" | "SetParameterValues"
        );
        let Some(task) = evidence.tasks.get(id) else {
            continue;
        };
        if !simple || known.wish.class != Class::Normal || known.end.is_none() {
            continue;
        }
        let (Some(made), Some(ended)) = (&task.create_time, &task.update_time) else {
            continue;
        };
        let (Ok(made), Ok(ended)) = (at(made), at(ended)) else {
            continue;
        };
        let took = ended.duration_since(made).unwrap_or_default();
        let list = match broken
            .iter()
            .any(|(from, to)| made <= *to && ended >= *from)
        {
            true => &mut meanwhile,
            false => &mut calm,
        };
        list.push(crate::kill::report::millis(took));
    }
    (calm, meanwhile)
}

fn at(stamp: &hearth_proto::ProtoTimestamp) -> Result<SystemTime, std::num::TryFromIntError> {
    let seconds = u64::try_from(stamp.seconds)?;
    let nanos = u32::try_from(stamp.nanos)?;
    Ok(SystemTime::UNIX_EPOCH + std::time::Duration::new(seconds, nanos))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_report_of_before_is_gone_on_with() {
        let mut old = serde_json::to_value(Occurrence::default()).unwrap();
        let fields = old.as_object_mut().unwrap();
        for new in ["requests_after", "requests_calm"] {
            assert!(fields.remove(new).is_some(), "{new}");
        }
        let read: Occurrence = serde_json::from_value(old).unwrap();
        assert_eq!((read.requests_after, read.requests_calm), (0, 0));
    }

    #[test]
    fn percentiles() {
        let latencies = Latencies::of((1..=100).collect());
        assert_eq!((latencies.p50_ms, latencies.p99_ms), (51, 99));
        assert_eq!(Latencies::of(Vec::new()), Latencies::default());
    }
}
