//! Settings of the role.

use std::time::Duration;

use hearth_types::ParameterPath;
use serde::{Deserialize, Serialize};

use crate::core::StartError;

/// Settings of device records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeviceStateConfig {
    /// How long what events changed is gathered before it is written. Default 250 ms.
    #[serde(with = "humantime_serde")]
    pub flush_interval: Duration,
    /// Changes that are gathered at most; more are written at once. Default 20,000.
    pub flush_changes: usize,
    /// Events taken from the bus at once. Default 2,000.
    pub fetch_events: usize,
    /// Events taken and not yet written at most. Default 50,000.
    pub max_in_flight: usize,
    /// Devices whose last values are remembered in memory, to tell what an Inform changes without
    /// reading (about 1 KiB each). Default 100,000.
    pub cached_devices: u64,
    /// Parameters that devices can be searched by, besides the fixed attributes. After a change,
    /// known devices are indexed again in the background. No secrets. Default none.
    pub indexed_parameters: Vec<ParameterPath>,
    /// How long history is kept. Default 90 days.
    #[serde(with = "humantime_serde")]
    pub history_retention: Duration,
    /// How often old history is deleted. Default 10 min.
    #[serde(with = "humantime_serde")]
    pub history_trim_interval: Duration,
    /// Whether a plain `2 PERIODIC` Inform that brings nothing new enters the history. Default
    /// false.
    pub history_periodic_informs: bool,
    /// Parameters whose changes don't enter the history: those with one of these names as a part
    /// of their path. Default `UpTime`, `CurrentLocalTime`, `Stats`.
    pub history_ignored_names: Vec<String>,
    /// A value that is read again unchanged has its time written again when it is older than
    /// this. Default 1 min.
    #[serde(with = "humantime_serde")]
    pub value_time_resolution: Duration,
    /// How long a credential may be answered from memory. Default 30 s.
    #[serde(with = "humantime_serde")]
    pub credential_cache_time: Duration,
    /// How often the last uses of credentials are written. Default 1 min.
    #[serde(with = "humantime_serde")]
    pub last_used_interval: Duration,
}

impl Default for DeviceStateConfig {
    fn default() -> Self {
        Self {
            flush_interval: Duration::from_millis(250),
            flush_changes: 20_000,
            fetch_events: 2_000,
            max_in_flight: 50_000,
            cached_devices: 100_000,
            indexed_parameters: Vec::new(),
            history_retention: Duration::from_secs(90 * 24 * 3600),
            history_trim_interval: Duration::from_secs(600),
            history_periodic_informs: false,
            history_ignored_names: ["UpTime", "CurrentLocalTime", "Stats"]
                .map(str::to_owned)
                .to_vec(),
            value_time_resolution: Duration::from_secs(60),
            credential_cache_time: Duration::from_secs(30),
            last_used_interval: Duration::from_secs(60),
        }
    }
}

impl DeviceStateConfig {
    /// Whether the role can work with these.
    ///
    /// # Errors
    /// The first setting that can't be used, and why.
    pub fn check(&self) -> Result<(), StartError> {
        let above_zero = |name, good: bool| match good {
            true => Ok(()),
            false => Err(StartError::Config(format!("{name} must be above zero"))),
        };
        above_zero("flush_changes", self.flush_changes > 0)?;
        above_zero("fetch_events", self.fetch_events > 0)?;
        above_zero("max_in_flight", self.max_in_flight > 0)?;
        above_zero("cached_devices", self.cached_devices > 0)?;
        above_zero("flush_interval", !self.flush_interval.is_zero())?;
        above_zero("history_retention", !self.history_retention.is_zero())?;
        above_zero("last_used_interval", !self.last_used_interval.is_zero())?;
        above_zero(
            "history_trim_interval",
            !self.history_trim_interval.is_zero(),
        )?;
        for path in &self.indexed_parameters {
            if path.is_partial() || path.is_secret() {
                return Err(StartError::Config(format!(
                    "indexed_parameters: {path} can't be indexed; expected a parameter (no \
                     trailing dot) whose value is not a secret"
                )));
            }
        }
        Ok(())
    }
}
