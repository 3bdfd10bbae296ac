//! Settings of the role.

use hearth_config::{Documented, FieldDoc, HumanDuration, Shape};
use hearth_types::ParameterPath;
use serde::{Deserialize, Serialize};

/// Settings of device records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeviceStateConfig {
    /// How long what events changed is gathered before it is written.
    pub flush_interval: HumanDuration,
    /// With several processes of this role: how long it may take until the store has that a device
    /// was heard of, when there is nothing else to write.
    pub last_seen_interval: HumanDuration,
    /// With several processes of this role: how long one is silent before others take over its
    /// part of the devices.
    pub lease: HumanDuration,
    /// Changes that are gathered at most; more are written at once.
    pub flush_changes: usize,
    /// Events taken from the bus at once.
    pub fetch_events: usize,
    /// Events taken and not yet written at most.
    pub max_in_flight: usize,
    /// Devices whose last values are remembered in memory, to tell what an Inform changes without
    /// reading.
    pub cached_devices: u64,
    /// Parameters that devices can be searched by, besides the fixed attributes. After a change,
    /// known devices are indexed again in the background. No secrets.
    pub indexed_parameters: Vec<ParameterPath>,
    /// How long history is kept.
    pub history_retention: HumanDuration,
    /// How often old history is deleted.
    pub history_trim_interval: HumanDuration,
    /// Whether a plain `2 PERIODIC` Inform that brings nothing new enters the history.
    pub history_periodic_informs: bool,
    /// Parameters whose changes don't enter the history: those with one of these names as a part
    /// of their path.
    pub history_ignored_names: Vec<String>,
    /// A value that is read again unchanged has its time written again when it is older than this.
    pub value_time_resolution: HumanDuration,
    /// How long a credential may be answered from memory.
    pub credential_cache_time: HumanDuration,
    /// How often the last uses of credentials are written.
    pub last_used_interval: HumanDuration,
}

impl Default for DeviceStateConfig {
    fn default() -> Self {
        Self {
            flush_interval: HumanDuration::millis(250),
            last_seen_interval: HumanDuration::secs(5),
            lease: HumanDuration::secs(5),
            flush_changes: 20_000,
            fetch_events: 2_000,
            max_in_flight: 50_000,
            cached_devices: 100_000,
            indexed_parameters: Vec::new(),
            history_retention: HumanDuration::secs(90 * 24 * 3600),
            history_trim_interval: HumanDuration::secs(600),
            history_periodic_informs: false,
            history_ignored_names: ["UpTime", "CurrentLocalTime", "Stats"]
                .map(str::to_owned)
                .to_vec(),
            value_time_resolution: HumanDuration::secs(60),
            credential_cache_time: HumanDuration::secs(24 * 3600),
            last_used_interval: HumanDuration::secs(60),
        }
    }
}

impl Documented for DeviceStateConfig {
    fn fields() -> Vec<FieldDoc> {
        use Shape::{Bool, Duration, Integer, List};
        let doc = FieldDoc::new;
        vec![
            doc(
                "flush_interval",
                Duration,
                "How long what events changed is gathered before it is written. Nothing is lost \
                 meanwhile: the bus keeps the events.",
            ),
            doc(
                "last_seen_interval",
                Duration,
                "With several processes of this role: how long it may take until the store has \
                 that a device was heard of, when there is nothing else to write. Sessions of a \
                 device within this time cost one write. The bus keeps their events meanwhile.",
            ),
            doc(
                "lease",
                Duration,
                "With several processes of this role: how long one is silent before it gives up \
                 its part of the devices; others take it over after one and a half times as long. \
                 Each writes and reads a small document eight times in it. A pause of the store \
                 that is longer makes parts change hands.",
            ),
            doc(
                "flush_changes",
                Integer,
                "Changes that are gathered at most; more are written at once.",
            ),
            doc(
                "fetch_events",
                Integer,
                "Events taken from the bus at once.",
            ),
            doc(
                "max_in_flight",
                Integer,
                "Events taken and not yet written at most.",
            ),
            doc(
                "cached_devices",
                Integer,
                "Devices whose last values are remembered in memory (about 1 KiB each), to tell \
                 what an Inform changes without reading, and as many whose state and credentials \
                 are. An Inform of another device costs some five reads.",
            ),
            doc(
                "indexed_parameters",
                List("parameter paths"),
                "Parameters that devices can be searched by, besides the fixed attributes. After \
                 a change, known devices are indexed again in the background. No secrets.",
            ),
            doc("history_retention", Duration, "How long history is kept."),
            doc(
                "history_trim_interval",
                Duration,
                "How often old history is deleted.",
            ),
            doc(
                "history_periodic_informs",
                Bool,
                "Whether a plain `2 PERIODIC` Inform that brings nothing new enters the history.",
            ),
            doc(
                "history_ignored_names",
                List("names"),
                "Parameters whose changes don't enter the history: those with one of these names \
                 as a part of their path.",
            ),
            doc(
                "value_time_resolution",
                Duration,
                "A value that is read again unchanged has its time written again when it is older \
                 than this.",
            ),
            doc(
                "credential_cache_time",
                Duration,
                "How long a credential may be answered from memory. What is changed through any \
                 process of this role counts in all of them within seconds; a change of the database \
                 behind their back only after this time.",
            ),
            doc(
                "last_used_interval",
                Duration,
                "How often the last uses of credentials are written.",
            ),
        ]
    }

    fn validate(&self) -> Vec<(String, String)> {
        let counts = [
            ("flush_changes", self.flush_changes),
            ("fetch_events", self.fetch_events),
            ("max_in_flight", self.max_in_flight),
            (
                "cached_devices",
                usize::try_from(self.cached_devices).unwrap_or(usize::MAX),
            ),
        ];
        let counts = counts.into_iter().filter(|(_, count)| *count == 0);
        let counts = counts.map(|(key, _)| (key, "expected a number over 0".to_owned()));
        let times = [
            ("flush_interval", self.flush_interval),
            ("last_seen_interval", self.last_seen_interval),
            ("lease", self.lease),
            ("history_retention", self.history_retention),
            ("history_trim_interval", self.history_trim_interval),
            ("last_used_interval", self.last_used_interval),
        ];
        let times = times.into_iter().filter(|(_, time)| time.get().is_zero());
        let times = times.map(|(key, _)| (key, "expected a duration over 0".to_owned()));
        let paths = self.indexed_parameters.iter();
        let paths = paths.filter(|path| path.is_partial() || path.is_secret());
        let paths = paths.map(|path| {
            let problem = format!(
                "{path} can't be indexed; expected a parameter (no dot at the end) whose value is \
                 not a secret"
            );
            ("indexed_parameters", problem)
        });
        counts
            .chain(times)
            .chain(paths)
            .map(|(key, problem)| (key.to_owned(), problem))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_setting_is_documented_and_the_defaults_are_valid() {
        let config = DeviceStateConfig::default();
        let json = serde_json::to_value(&config).unwrap();
        let mut keys: Vec<String> = json.as_object().unwrap().keys().cloned().collect();
        let mut documented: Vec<String> = DeviceStateConfig::fields()
            .into_iter()
            .map(|field| field.key.into_owned())
            .collect();
        documented.sort();
        keys.sort();
        assert_eq!(keys, documented);
        assert_eq!(config.validate(), []);
    }

    #[test]
    fn nonsense_is_refused() {
        let path = |text: &str| text.parse().unwrap();
        let config = DeviceStateConfig {
            fetch_events: 0,
            flush_interval: HumanDuration::secs(0),
            indexed_parameters: vec![path("Device.X"), path("Device.A."), path("Device.Password")],
            ..DeviceStateConfig::default()
        };
        let keys: Vec<String> = config.validate().into_iter().map(|(key, _)| key).collect();
        let indexed = "indexed_parameters";
        assert_eq!(keys, ["fetch_events", "flush_interval", indexed, indexed]);
    }
}
