//! Settings of the public API.

use hearth_config::{ByteSize, Documented, FieldDoc, HumanDuration, Shape};
use serde::{Deserialize, Serialize};

/// Settings of the public API. The address and TLS are not among them: the listener comes bound.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NorthboundConfig {
    /// Open connections; more are refused.
    pub max_connections: usize,
    /// Requests being worked on, watches not counted; more are answered RESOURCE_EXHAUSTED.
    pub max_requests: usize,
    /// Open watches; more are answered RESOURCE_EXHAUSTED.
    pub max_watches: usize,
    /// The largest request message.
    pub max_message: ByteSize,
    /// The largest file that is uploaded.
    pub max_file_size: ByteSize,
    /// The longest that a request may take; a client's own deadline may be shorter.
    pub request_timeout: HumanDuration,
    /// The longest that an upload or a download may take.
    pub transfer_timeout: HumanDuration,
    /// The longest silence of a client in an upload.
    pub transfer_idle_timeout: HumanDuration,
    /// How long a connection may be idle. Twice in this time the client is asked for a sign of
    /// life, so that open watches through a NAT stay open and dead ones are noticed.
    pub idle_timeout: HumanDuration,
    /// Time for open requests to end when the process stops.
    pub drain_timeout: HumanDuration,
    /// How often a watched task is read again even if no event told of a change.
    pub watch_reread_interval: HumanDuration,
}

impl Default for NorthboundConfig {
    fn default() -> Self {
        Self {
            max_connections: 1000,
            max_requests: 512,
            max_watches: 1000,
            max_message: ByteSize::mib(4),
            max_file_size: ByteSize::mib(1024),
            request_timeout: HumanDuration::secs(60),
            transfer_timeout: HumanDuration::secs(3600),
            transfer_idle_timeout: HumanDuration::secs(60),
            idle_timeout: HumanDuration::secs(120),
            drain_timeout: HumanDuration::secs(10),
            watch_reread_interval: HumanDuration::secs(5),
        }
    }
}

impl Documented for NorthboundConfig {
    fn fields() -> Vec<FieldDoc> {
        use Shape::{Duration, Integer, Size};
        let doc = FieldDoc::new;
        vec![
            doc(
                "max_connections",
                Integer,
                "Open connections; more are refused.",
            ),
            doc(
                "max_requests",
                Integer,
                "Requests being worked on, watches not counted; more are answered \
                 RESOURCE_EXHAUSTED.",
            ),
            doc(
                "max_watches",
                Integer,
                "Open watches; more are answered RESOURCE_EXHAUSTED.",
            ),
            doc("max_message", Size, "The largest request message."),
            doc(
                "max_file_size",
                Size,
                "The largest file that is uploaded; `files.max_file_size` limits it too.",
            ),
            doc(
                "request_timeout",
                Duration,
                "The longest that a request may take; a client's own deadline may be shorter.",
            ),
            doc(
                "transfer_timeout",
                Duration,
                "The longest that an upload or a download of a file may take.",
            ),
            doc(
                "transfer_idle_timeout",
                Duration,
                "The longest silence of a client in an upload.",
            ),
            doc(
                "idle_timeout",
                Duration,
                "How long a connection may be idle. Twice in this time the client is asked for a \
                 sign of life.",
            ),
            doc(
                "drain_timeout",
                Duration,
                "Time for open requests to end when the server is stopped.",
            ),
            doc(
                "watch_reread_interval",
                Duration,
                "How often a watched task is read again even if no event told of a change.",
            ),
        ]
    }

    fn validate(&self) -> Vec<(String, String)> {
        let counts = [
            ("max_connections", self.max_connections),
            ("max_requests", self.max_requests),
            ("max_watches", self.max_watches),
        ];
        let counts = counts.into_iter().filter(|(_, count)| *count == 0);
        let counts = counts.map(|(key, _)| (key, "expected a number over 0"));
        let times = [
            ("request_timeout", self.request_timeout),
            ("transfer_timeout", self.transfer_timeout),
            ("transfer_idle_timeout", self.transfer_idle_timeout),
            ("idle_timeout", self.idle_timeout),
            ("watch_reread_interval", self.watch_reread_interval),
        ];
        let times = times.into_iter().filter(|(_, time)| time.get().is_zero());
        let times = times.map(|(key, _)| (key, "expected a duration over 0"));
        // A task that sets 1000 values has to fit, and a chunk of a file.
        let small = (self.max_message < ByteSize::mib(2))
            .then_some(("max_message", "expected at least 2 MiB"));
        let problems = counts.chain(times).chain(small);
        problems
            .map(|(key, problem)| (key.to_owned(), problem.to_owned()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_setting_is_documented_and_the_defaults_are_valid() {
        let config = NorthboundConfig::default();
        let json = serde_json::to_value(&config).unwrap();
        let keys: Vec<String> = json.as_object().unwrap().keys().cloned().collect();
        let mut documented: Vec<String> = NorthboundConfig::fields()
            .into_iter()
            .map(|field| field.key.into_owned())
            .collect();
        documented.sort();
        let mut sorted = keys;
        sorted.sort();
        assert_eq!(sorted, documented);
        assert_eq!(config.validate(), []);
        let read: NorthboundConfig = serde_json::from_str("{}").unwrap();
        assert_eq!(read, config);
        assert!(serde_json::from_str::<NorthboundConfig>("{\"max_conections\":1}").is_err());
    }

    #[test]
    fn nonsense_is_refused() {
        let config = NorthboundConfig {
            max_watches: 0,
            max_message: ByteSize::kib(4),
            idle_timeout: HumanDuration::secs(0),
            ..Default::default()
        };
        let keys: Vec<String> = config.validate().into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["max_watches", "idle_timeout", "max_message"]);
    }
}
