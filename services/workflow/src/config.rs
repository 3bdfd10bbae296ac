//! Settings of tasks.

use hearth_config::{ByteSize, Documented, FieldDoc, HumanDuration, Shape};
use serde::{Deserialize, Serialize};

/// Settings of tasks. Every one has a default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WorkflowConfig {
    /// A task's deadline, from its making, where none is given.
    pub default_deadline: HumanDuration,
    /// Tries allowed in all, where no number is given.
    pub default_max_attempts: u32,
    /// Open tasks that a device may have.
    pub max_open_per_device: usize,
    /// Names in one GetParameterValues, until a model is known to take less.
    pub gpv_batch: usize,
    /// Values, names and attributes that a task's result holds.
    pub max_result: ByteSize,
    /// A read of many RPCs is written to the ledger every so many of them; what came since is read
    /// again after a restart. 1 where several processes serve the turns of one session.
    pub checkpoint_steps: u32,
    /// How long a turn may take, where the session doesn't say.
    pub lease: HumanDuration,
    /// The delay before the second try after a passing fault; it doubles with each further try.
    pub retry_base: HumanDuration,
    /// The longest such delay.
    pub retry_max: HumanDuration,
    /// Connection requests at once.
    pub wake_concurrency: usize,
    /// The delays before a device that could not be reached is asked again.
    pub wake_backoff: Vec<HumanDuration>,
    /// How long after an accepted connection request the session is due.
    pub wake_patience: HumanDuration,
    /// How often deadlines and leases are looked at.
    pub tick: HumanDuration,
    /// Tasks a second, of each process, that are read from the ledger and entered into a task queue
    /// that processes share, when it was lost or may be behind.
    pub rebuild_rate: u32,
    /// How long tasks that have ended are kept, from their making.
    pub task_retention: HumanDuration,
    /// How long messages that could not be worked on are kept.
    pub dead_letter_retention: HumanDuration,
    /// How often what is older is removed.
    pub trim_interval: HumanDuration,
}

impl Default for WorkflowConfig {
    fn default() -> Self {
        Self {
            default_deadline: HumanDuration::secs(7 * 24 * 3600),
            default_max_attempts: 5,
            max_open_per_device: 1000,
            gpv_batch: 100,
            max_result: ByteSize::kib(256),
            checkpoint_steps: 8,
            lease: HumanDuration::secs(60),
            retry_base: HumanDuration::secs(10),
            retry_max: HumanDuration::secs(600),
            wake_concurrency: 64,
            wake_backoff: [10, 60, 300].map(HumanDuration::secs).to_vec(),
            wake_patience: HumanDuration::secs(60),
            tick: HumanDuration::millis(500),
            rebuild_rate: 20_000,
            task_retention: HumanDuration::secs(90 * 24 * 3600),
            dead_letter_retention: HumanDuration::secs(90 * 24 * 3600),
            trim_interval: HumanDuration::secs(3600),
        }
    }
}

impl Documented for WorkflowConfig {
    fn fields() -> Vec<FieldDoc> {
        use Shape::{Duration, Integer, Size};
        let doc = FieldDoc::new;
        vec![
            doc(
                "default_deadline",
                Duration,
                "A task that was given no deadline is not sent later than this after its making.",
            ),
            doc(
                "default_max_attempts",
                Integer,
                "How often a task that was given no number is tried.",
            )
            .unit("tries"),
            doc(
                "max_open_per_device",
                Integer,
                "Open tasks that a device may have; more are refused.",
            )
            .unit("tasks"),
            doc(
                "gpv_batch",
                Integer,
                "Names in one GetParameterValues, until a model is known to take less.",
            )
            .unit("names"),
            doc(
                "max_result",
                Size,
                "Values, names and attributes that a task's result holds; all of them are in the device's parameters.",
            ),
            doc(
                "checkpoint_steps",
                Integer,
                "A read of many RPCs is written to the ledger every so many of them; what came since is read again after a restart.",
            )
            .unit("RPCs"),
            doc(
                "lease",
                Duration,
                "How long a turn may take before its session counts as lost, where the session doesn't say.",
            ),
            doc(
                "retry_base",
                Duration,
                "The delay before the second try after a passing fault; it doubles with each further try.",
            ),
            doc("retry_max", Duration, "The longest delay between two tries."),
            doc(
                "wake_concurrency",
                Integer,
                "Connection requests for tasks at once.",
            )
            .unit("requests"),
            doc(
                "wake_backoff",
                Shape::List("durations"),
                "The delays before a device that could not be reached is asked again; after the last, its own Inform is waited for.",
            ),
            doc(
                "wake_patience",
                Duration,
                "How long after an accepted connection request the device's session is due.",
            ),
            doc(
                "tick",
                Duration,
                "How often deadlines, leases and delays are looked at.",
            ),
            doc(
                "rebuild_rate",
                Integer,
                "Tasks that each process reads from the ledger and enters into a lost task queue in a second, while sessions go on. Not in the embedded form, whose queue is only rebuilt at the start.",
            )
            .unit("tasks/s"),
            doc(
                "task_retention",
                Duration,
                "How long tasks are kept, with the keys by which they are known when they are asked \
                 for again. It counts from a task's making; one that has not ended stays.",
            ),
            doc(
                "dead_letter_retention",
                Duration,
                "How long messages that could not be worked on are kept.",
            ),
            doc(
                "trim_interval",
                Duration,
                "How often tasks and dead letters beyond their time are removed.",
            ),
        ]
    }

    fn validate(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        let mut need = |good: bool, key: &str, problem: &str| {
            if !good {
                problems.push((key.to_owned(), problem.to_owned()));
            }
        };
        need(
            (1..=99).contains(&self.default_max_attempts),
            "default_max_attempts",
            "expected 1 to 99",
        );
        need(self.gpv_batch > 0, "gpv_batch", "expected more than 0");
        need(
            self.max_open_per_device > 0,
            "max_open_per_device",
            "expected more than 0",
        );
        need(
            self.checkpoint_steps > 0,
            "checkpoint_steps",
            "expected more than 0",
        );
        need(
            self.wake_concurrency > 0,
            "wake_concurrency",
            "expected more than 0",
        );
        need(
            self.rebuild_rate >= 100,
            "rebuild_rate",
            "expected 100 or more",
        );
        for (key, duration) in [
            ("default_deadline", self.default_deadline),
            ("lease", self.lease),
            ("tick", self.tick),
            ("task_retention", self.task_retention),
            ("dead_letter_retention", self.dead_letter_retention),
            ("trim_interval", self.trim_interval),
        ] {
            need(!duration.get().is_zero(), key, "expected more than 0");
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_is_documented_and_the_defaults_are_valid() {
        assert_eq!(
            hearth_config::check_documentation::<WorkflowConfig>(),
            [""; 0]
        );
        assert!(WorkflowConfig::default().validate().is_empty());
    }

    #[test]
    fn a_rebuild_is_never_slower_than_its_lease() {
        for (rate, good) in [(0, false), (99, false), (100, true), (u32::MAX, true)] {
            let config = WorkflowConfig {
                rebuild_rate: rate,
                ..WorkflowConfig::default()
            };
            let keys: Vec<_> = config.validate().into_iter().map(|(key, _)| key).collect();
            assert_eq!(keys.is_empty(), good, "{rate}: {keys:?}");
        }
    }
}
