//! The service's metrics.

use hearth_proto::types::v1::TaskState;
use hearth_queue::Depth;
use hearth_telemetry::{
    Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, MetricDef, MetricError, Registry,
    buckets,
};
use std::time::Duration;

/// Tasks made.
pub const TASKS_CREATED: MetricDef =
    MetricDef::counter("hearth_workflow_tasks_created_total", "Tasks made, by kind")
        .labels(&["kind"]);
/// Tasks ended.
pub const TASKS_ENDED: MetricDef = MetricDef::counter(
    "hearth_workflow_tasks_ended_total",
    "Tasks ended, by kind and final state",
)
.labels(&["kind", "state"]);
/// Tries.
pub const ATTEMPTS: MetricDef = MetricDef::counter(
    "hearth_workflow_attempts_total",
    "Tries recorded before their RPC left, by kind",
)
.labels(&["kind"]);
/// Sessions.
pub const SESSIONS: MetricDef =
    MetricDef::counter("hearth_workflow_sessions_total", "Sessions opened");
/// Fenced turns.
pub const FENCED: MetricDef = MetricDef::counter(
    "hearth_workflow_fenced_total",
    "Turns refused because a newer session of the device had taken over",
);
/// Lost outcomes.
pub const LOST: MetricDef = MetricDef::counter(
    "hearth_workflow_lost_outcomes_total",
    "Requests whose session ended before the answer",
);
/// Wake-ups.
pub const WAKES: MetricDef = MetricDef::counter(
    "hearth_workflow_wakes_total",
    "Connection requests for tasks, by outcome",
)
.labels(&["outcome"]);
/// Open tasks.
pub const OPEN_TASKS: MetricDef = MetricDef::gauge(
    "hearth_workflow_open_tasks",
    "Open tasks, by phase: pending, in_flight, waiting",
)
.labels(&["phase"]);
/// Age of the oldest open task.
pub const OLDEST_TASK: MetricDef = MetricDef::gauge(
    "hearth_workflow_oldest_open_task_seconds",
    "Age of the oldest open task in seconds",
);
/// Task changes that never reached the bus.
pub const CHANGES_DROPPED: MetricDef = MetricDef::counter(
    "hearth_workflow_changes_dropped_total",
    "Task changes that could not be published; the ledger has them",
);

/// Conflicts.
pub const CONFLICTS: MetricDef = MetricDef::counter(
    "hearth_workflow_conflicts_total",
    "Writes of tasks that another replica's came before; they were decided anew",
);

/// Damaged rows.
pub const DAMAGED: MetricDef = MetricDef::counter(
    "hearth_workflow_damaged_tasks_total",
    "Times that a row of the task ledger was left out because it can't be read; the log has its key",
);
/// Tasks removed.
pub const TRIMMED: MetricDef = MetricDef::counter(
    "hearth_workflow_tasks_trimmed_total",
    "Ended tasks removed from the ledger after `workflow.task_retention`",
);
/// Dead letters removed.
pub const LETTERS_TRIMMED: MetricDef = MetricDef::counter(
    "hearth_workflow_dead_letters_trimmed_total",
    "Dead letters of the bus removed after `workflow.dead_letter_retention`",
);
/// Buckets rebuilt.
pub const REBUILT: MetricDef = MetricDef::counter(
    "hearth_workflow_rebuilt_buckets_total",
    "Buckets of the task queue (of 64) rebuilt from the ledger, by why: start, lost, behind",
)
.labels(&["why"]);
/// Seconds of a rebuild.
pub const REBUILD_SECONDS: MetricDef = MetricDef::histogram(
    "hearth_workflow_rebuild_seconds",
    "Seconds until a bucket of the task queue was rebuilt, waits for `workflow.rebuild_rate` included",
    buckets::SLOW_SECONDS,
);

/// All of them.
pub const METRICS: &[MetricDef] = &[
    TASKS_CREATED,
    TASKS_ENDED,
    ATTEMPTS,
    SESSIONS,
    FENCED,
    LOST,
    WAKES,
    OPEN_TASKS,
    OLDEST_TASK,
    CHANGES_DROPPED,
    CONFLICTS,
    DAMAGED,
    TRIMMED,
    LETTERS_TRIMMED,
    REBUILT,
    REBUILD_SECONDS,
];

/// Resolved handles.
pub(crate) struct Metrics {
    created: IntCounterVec,
    ended: IntCounterVec,
    attempts: IntCounterVec,
    pub(crate) sessions: IntCounter,
    pub(crate) fenced: IntCounter,
    pub(crate) lost: IntCounter,
    wakes: IntCounterVec,
    open: IntGaugeVec,
    oldest: IntGauge,
    pub(crate) dropped: IntCounter,
    pub(crate) conflicts: IntCounter,
    pub(crate) damaged: IntCounter,
    pub(crate) trimmed: IntCounter,
    pub(crate) letters_trimmed: IntCounter,
    rebuilt: IntCounterVec,
    rebuild_seconds: Histogram,
}

impl Metrics {
    pub(crate) fn new(registry: &Registry) -> Result<Self, MetricError> {
        Ok(Self {
            created: registry.counter_vec(&TASKS_CREATED)?,
            ended: registry.counter_vec(&TASKS_ENDED)?,
            attempts: registry.counter_vec(&ATTEMPTS)?,
            sessions: registry.counter(&SESSIONS)?,
            fenced: registry.counter(&FENCED)?,
            lost: registry.counter(&LOST)?,
            wakes: registry.counter_vec(&WAKES)?,
            open: registry.gauge_vec(&OPEN_TASKS)?,
            oldest: registry.gauge(&OLDEST_TASK)?,
            dropped: registry.counter(&CHANGES_DROPPED)?,
            conflicts: registry.counter(&CONFLICTS)?,
            damaged: registry.counter(&DAMAGED)?,
            trimmed: registry.counter(&TRIMMED)?,
            letters_trimmed: registry.counter(&LETTERS_TRIMMED)?,
            rebuilt: registry.counter_vec(&REBUILT)?,
            rebuild_seconds: registry.histogram(&REBUILD_SECONDS)?,
        })
    }

    pub(crate) fn created(&self, kind: &str) {
        self.created.with_label_values(&[kind]).inc();
    }

    pub(crate) fn ended(&self, kind: &str, state: TaskState) {
        let state = state.label().replace(' ', "_");
        self.ended.with_label_values(&[kind, &state]).inc();
    }

    pub(crate) fn attempt(&self, kind: &str) {
        self.attempts.with_label_values(&[kind]).inc();
    }

    pub(crate) fn wake(&self, outcome: &str) {
        self.wakes.with_label_values(&[outcome]).inc();
    }

    pub(crate) fn rebuilt(&self, why: &str, took: Duration) {
        self.rebuilt.with_label_values(&[why]).inc();
        self.rebuild_seconds.observe(took.as_secs_f64());
    }

    pub(crate) fn depth(&self, depth: &Depth, oldest: Duration) {
        let signed = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let pending = depth.open.saturating_sub(depth.in_flight + depth.parked);
        for (phase, count) in [
            ("pending", pending),
            ("in_flight", depth.in_flight),
            ("waiting", depth.parked),
        ] {
            self.open.with_label_values(&[phase]).set(signed(count));
        }
        self.oldest.set(signed(oldest.as_secs()));
    }
}
