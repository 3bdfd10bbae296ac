//! Settings of the STUN server and of UDP connection requests (TR-069 Annex G).

use super::{tenant_problems, tenants_field};
use hearth_config::{Documented, FieldDoc, HumanDuration, Shape};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// Settings of the STUN server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(
    missing_docs,
    reason = "each field is documented for the operator in `fields`"
)]
pub struct StunConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
    pub tenants: Vec<String>,
    pub authenticate: bool,
    pub refresh: HumanDuration,
    pub lifetime: HumanDuration,
    pub source_rate: u32,
    pub copies: u32,
}

impl Default for StunConfig {
    fn default() -> Self {
        Self {
            listen: None,
            tenants: vec!["default".into()],
            authenticate: false,
            refresh: HumanDuration::secs(3600),
            lifetime: HumanDuration::secs(3 * 3600),
            source_rate: 100,
            copies: 3,
        }
    }
}

impl Documented for StunConfig {
    fn fields() -> Vec<FieldDoc> {
        vec![
            FieldDoc::new(
                "listen",
                Shape::SocketAddr,
                "Where devices behind NAT send STUN requests (UDP), and where UDP connection \
                 requests come from. Unset: neither. A specific address, not 0.0.0.0, where the \
                 machine has several.",
            )
            .example("\"192.0.2.10:3478\""),
            tenants_field(),
            FieldDoc::new(
                "authenticate",
                Shape::Bool,
                "Whether a device that names its binding must sign its requests (STUNUsername and \
                 STUNPassword): only then STUN itself tells whose a binding is. Off, the device \
                 tells it in its Inform (UDPConnectionRequestAddress). On, devices without \
                 STUNUsername get no answer.",
            ),
            FieldDoc::new(
                "refresh",
                Shape::Duration,
                "How often a binding that stays the same is written down again.",
            ),
            FieldDoc::new(
                "lifetime",
                Shape::Duration,
                "After so long without a word a binding is no longer used; longer than `refresh`.",
            ),
            FieldDoc::new(
                "source_rate",
                Shape::Integer,
                "Datagrams in a second that are answered to one address (IPv6: /64); many devices \
                 may share one.",
            ),
            FieldDoc::new(
                "copies",
                Shape::Integer,
                "How often each UDP connection request is sent, 3 to 10: datagrams get lost.",
            ),
        ]
    }

    fn validate(&self) -> Vec<(String, String)> {
        let mut problems: Vec<_> = tenant_problems(&self.tenants).into_iter().collect();
        let mut problem = |key: &str, text: &str| problems.push((key.to_owned(), text.to_owned()));
        if self.source_rate == 0 {
            problem("source_rate", "expected 1 or more");
        }
        if !(3..=10).contains(&self.copies) {
            problem("copies", "expected 3 to 10");
        }
        if self.lifetime.0 <= self.refresh.0 {
            problem("lifetime", "expected more than stun.refresh");
        }
        problems
    }
}
