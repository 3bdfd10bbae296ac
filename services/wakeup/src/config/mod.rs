//! Settings of the role.

mod notifications;
mod stun;
mod xmpp;

pub use notifications::NotificationConfig;
pub use stun::StunConfig;
pub use xmpp::XmppConfig;

use hearth_config::{CidrList, Documented, FieldDoc, HumanDuration, Shape, section};
use hearth_types::TenantId;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Whether certificates of devices' HTTPS servers are verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HttpsPolicy {
    /// Any certificate is taken: devices sign their own.
    #[default]
    Accept,
    /// Only those of `https_ca`, with the name or address of the URL.
    Verify,
}

/// Where Basic is answered, which gives the password away to whoever asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BasicPolicy {
    /// Nowhere.
    #[default]
    Never,
    /// On HTTPS.
    Https,
    /// Everywhere.
    Always,
}

/// Settings of connection requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WakeupConfig {
    /// Ranges in which devices may be asked to connect.
    pub allow: CidrList,
    /// Ranges that are not asked although `allow` holds them.
    pub deny: CidrList,
    /// Whether loopback addresses may be asked.
    pub allow_loopback: bool,
    /// How long one attempt may take, from connecting to the answer.
    pub timeout: HumanDuration,
    /// The least time between two requests to one device.
    pub min_interval: HumanDuration,
    /// Requests under way at once, over all devices.
    pub max_concurrent: usize,
    /// Requests in a second to addresses of one /24 or /64.
    pub subnet_rate: u32,
    /// Whether devices' certificates are verified.
    pub https: HttpsPolicy,
    /// Who signs them (PEM).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub https_ca: Option<PathBuf>,
    /// Where Basic is answered.
    pub basic: BasicPolicy,
    /// The STUN server, and UDP connection requests.
    pub stun: StunConfig,
    /// XMPP connection requests.
    pub xmpp: XmppConfig,
    /// Lightweight notifications.
    pub notifications: NotificationConfig,
}

impl Default for WakeupConfig {
    fn default() -> Self {
        Self {
            allow: CidrList(vec![
                IpNet::V4(ipnet::Ipv4Net::default()),
                IpNet::V6(ipnet::Ipv6Net::default()),
            ]),
            deny: CidrList::default(),
            allow_loopback: false,
            timeout: HumanDuration::secs(5),
            min_interval: HumanDuration::secs(1),
            max_concurrent: 256,
            subnet_rate: 100,
            https: HttpsPolicy::default(),
            https_ca: None,
            basic: BasicPolicy::default(),
            stun: StunConfig::default(),
            xmpp: XmppConfig::default(),
            notifications: NotificationConfig::default(),
        }
    }
}

impl Documented for WakeupConfig {
    fn fields() -> Vec<FieldDoc> {
        [
            own_fields(),
            section("stun", StunConfig::fields()),
            section("xmpp", XmppConfig::fields()),
            section("notifications", NotificationConfig::fields()),
        ]
        .concat()
    }

    fn validate(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        let most = tokio::sync::Semaphore::MAX_PERMITS;
        if !(1..=most).contains(&self.max_concurrent) {
            let problem = format!("expected 1 to {most}");
            problems.push(("max_concurrent".into(), problem));
        }
        if self.subnet_rate == 0 {
            problems.push(("subnet_rate".into(), "expected 1 or more".into()));
        }
        if self.https == HttpsPolicy::Verify && self.https_ca.is_none() {
            let problem = "https = \"verify\" needs the certificates of who signs the devices' own";
            problems.push(("https_ca".into(), problem.into()));
        }
        let parts = [
            ("stun", self.stun.validate()),
            ("xmpp", self.xmpp.validate()),
            ("notifications", self.notifications.validate()),
        ];
        for (part, found) in parts {
            let named = |(key, problem)| (format!("{part}.{key}"), problem);
            problems.extend(found.into_iter().map(named));
        }
        problems
    }
}

fn own_fields() -> Vec<FieldDoc> {
    vec![
        FieldDoc::new(
            "allow",
            Shape::List("CIDR ranges"),
            "Where devices may be asked to connect. A device tells its own URL: narrow this to \
             your access network. Link-local, multicast and unspecified addresses are never asked.",
        ),
        FieldDoc::new(
            "deny",
            Shape::List("CIDR ranges"),
            "Ranges that are not asked although `allow` holds them, such as the cluster's own.",
        ),
        FieldDoc::new(
            "allow_loopback",
            Shape::Bool,
            "Whether loopback addresses may be asked. For tests and the demo.",
        ),
        FieldDoc::new(
            "timeout",
            Shape::Duration,
            "How long one connection request may take.",
        ),
        FieldDoc::new(
            "min_interval",
            Shape::Duration,
            "The least time between two connection requests to one device.",
        ),
        FieldDoc::new(
            "max_concurrent",
            Shape::Integer,
            "Connection requests under way at once, over all devices.",
        ),
        FieldDoc::new(
            "subnet_rate",
            Shape::Integer,
            "Connection requests in a second to addresses of one /24 (IPv6: /64), by HTTP and UDP, \
             of each process.",
        ),
        FieldDoc::new(
            "https",
            Shape::Choice(&["accept", "verify"]),
            "Certificates of devices' HTTPS servers: `accept` takes any, since devices sign their \
             own (Digest still hides the password); `verify` takes those of `https_ca`.",
        ),
        FieldDoc::new(
            "https_ca",
            Shape::Path,
            "Who signs the devices' certificates (PEM).",
        )
        .example("\"/etc/hearth/devices-ca.pem\""),
        FieldDoc::new(
            "basic",
            Shape::Choice(&["never", "https", "always"]),
            "Where a device that asks for Basic is answered. It gives the password away to \
             whoever is at the device's address; with `https = \"accept\"` on HTTPS too.",
        ),
    ]
}

/// Problems of a list of tenants.
fn tenant_problems(tenants: &[String]) -> Option<(String, String)> {
    let good = (1..=16).contains(&tenants.len());
    let bad = tenants
        .iter()
        .find_map(|tenant| tenant.parse::<TenantId>().err());
    match (good, bad) {
        (false, _) => Some(("tenants".into(), "expected 1 to 16 tenants".into())),
        (_, Some(bad)) => Some(("tenants".into(), bad.to_string())),
        _ => None,
    }
}

/// The documentation of a list of tenants.
fn tenants_field() -> FieldDoc {
    FieldDoc::new(
        "tenants",
        Shape::List("tenants"),
        "Whose devices may be known here, in the order in which a user name is looked for. A \
         datagram doesn't say of which tenant it is.",
    )
}
