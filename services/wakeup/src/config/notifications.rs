//! Settings of lightweight notifications (TR-069 Annex M).

use super::{tenant_problems, tenants_field};
use hearth_config::{Documented, FieldDoc, HumanDuration, Shape};
use serde::{Deserialize, Serialize};
use std::{net::SocketAddr, time::Duration};

/// Settings of the listener for lightweight notifications.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(
    missing_docs,
    reason = "each field is documented for the operator in `fields`"
)]
pub struct NotificationConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
    pub tenants: Vec<String>,
    pub window: HumanDuration,
    pub source_rate: u32,
}

impl Default for NotificationConfig {
    fn default() -> Self {
        Self {
            listen: None,
            tenants: vec!["default".into()],
            window: HumanDuration::secs(60),
            source_rate: 100,
        }
    }
}

impl Documented for NotificationConfig {
    fn fields() -> Vec<FieldDoc> {
        vec![
            FieldDoc::new(
                "listen",
                Shape::SocketAddr,
                "Where devices send lightweight notifications (UDP). Unset: nowhere.",
            )
            .example("\"0.0.0.0:7547\""),
            tenants_field(),
            FieldDoc::new(
                "window",
                Shape::Duration,
                "By how much a notification's time may differ from this server's, 1s to 1h. Up to \
                 60s a copy of one is refused by all processes together; beyond, by the one that \
                 took it.",
            ),
            FieldDoc::new(
                "source_rate",
                Shape::Integer,
                "Datagrams in a second that are looked at from one address (IPv6: /64).",
            ),
        ]
    }

    fn validate(&self) -> Vec<(String, String)> {
        let mut problems: Vec<_> = tenant_problems(&self.tenants).into_iter().collect();
        let range = Duration::from_secs(1)..=Duration::from_secs(3600);
        if !range.contains(&self.window.0) {
            problems.push(("window".into(), "expected 1s to 1h".into()));
        }
        if self.source_rate == 0 {
            problems.push(("source_rate".into(), "expected 1 or more".into()));
        }
        problems
    }
}
