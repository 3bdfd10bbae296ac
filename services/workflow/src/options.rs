//! Settings.

use std::time::Duration;

/// Settings of the workflow service.
#[derive(Clone, Debug)]
pub struct WorkflowOptions {
    /// A task's deadline, from its making, where none is given.
    pub default_deadline: Duration,
    /// Tries allowed in all, where no number is given.
    pub default_max_attempts: u32,
    /// Open tasks that a device may have.
    pub max_open_per_device: usize,
    /// Names in one GetParameterValues, until a model is known to take less.
    pub gpv_batch: usize,
    /// Bytes of values, names and attributes that a task's result holds.
    pub max_result_bytes: usize,
    /// A read of many RPCs is written to the ledger every so many of them; what came since is read
    /// again after a restart. 1 where several processes serve the turns of one session.
    pub checkpoint_steps: u32,
    /// How long a turn may take, where OpenSession doesn't say.
    pub lease: Duration,
    /// The delay before the second try after a passing fault; it doubles with each further try.
    pub retry_base: Duration,
    /// The longest such delay.
    pub retry_max: Duration,
    /// Connection requests at once.
    pub wake_concurrency: usize,
    /// The delays before a device that could not be reached is asked again.
    pub wake_backoff: Vec<Duration>,
    /// How long after an accepted connection request the session is due.
    pub wake_patience: Duration,
    /// How often deadlines and leases are looked at.
    pub tick: Duration,
}

impl Default for WorkflowOptions {
    fn default() -> Self {
        Self {
            default_deadline: Duration::from_secs(7 * 24 * 3600),
            default_max_attempts: 5,
            max_open_per_device: 1000,
            gpv_batch: 100,
            max_result_bytes: 256 * 1024,
            checkpoint_steps: 8,
            lease: Duration::from_secs(60),
            retry_base: Duration::from_secs(10),
            retry_max: Duration::from_secs(600),
            wake_concurrency: 64,
            wake_backoff: [10, 60, 300].map(Duration::from_secs).to_vec(),
            wake_patience: Duration::from_secs(60),
            tick: Duration::from_millis(500),
        }
    }
}
