//! Settings of the calls between processes.

use hearth_config::{ByteSize, Documented, FieldDoc, HumanDuration, Shape, section};
use serde::{Deserialize, Serialize};
use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

/// How roles in different processes reach each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(
    missing_docs,
    reason = "each field is documented for the operator in `fields`"
)]
pub struct InternalConfig {
    pub listen: SocketAddr,
    pub without_tls: bool,
    pub tls: InternalTlsConfig,
    pub peers: PeersConfig,
    pub call_timeout: HumanDuration,
    pub try_timeout: HumanDuration,
    pub transfer_timeout: HumanDuration,
    pub connect_timeout: HumanDuration,
    pub probe_interval: HumanDuration,
    pub resolve_interval: HumanDuration,
    pub retry_percent: u32,
    pub max_message: ByteSize,
    pub max_requests: usize,
}

/// The certificates of the calls between processes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(
    missing_docs,
    reason = "each field is documented for the operator in `fields`"
)]
pub struct InternalTlsConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    pub any_role: bool,
}

/// Where the roles are that this process doesn't run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(
    missing_docs,
    reason = "each field is documented for the operator in `fields`"
)]
pub struct PeersConfig {
    pub device_state: Vec<String>,
    pub workflow: Vec<String>,
    pub wakeup: Vec<String>,
    pub files: Vec<String>,
}

impl Default for InternalConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 7600)),
            without_tls: false,
            tls: InternalTlsConfig::default(),
            peers: PeersConfig::default(),
            call_timeout: HumanDuration::secs(10),
            try_timeout: HumanDuration::secs(3),
            transfer_timeout: HumanDuration::secs(3600),
            connect_timeout: HumanDuration::secs(2),
            probe_interval: HumanDuration::secs(1),
            resolve_interval: HumanDuration::secs(5),
            retry_percent: 10,
            max_message: ByteSize::mib(64),
            max_requests: 4096,
        }
    }
}

impl Documented for InternalConfig {
    fn fields() -> Vec<FieldDoc> {
        let own = vec![
            FieldDoc::new(
                "listen",
                Shape::SocketAddr,
                "Where other processes of this Hearth reach the roles of this one (gRPC, mutual TLS). Used when not \
                 all roles are in one process.",
            ),
            FieldDoc::new(
                "without_tls",
                Shape::Bool,
                "Calls between processes without TLS and without any authentication; allowed on loopback only.",
            ),
            FieldDoc::new(
                "call_timeout",
                Shape::Duration,
                "The longest a call may take, retries included; less where who asked waits less.",
            ),
            FieldDoc::new(
                "try_timeout",
                Shape::Duration,
                "After so long without an answer a call that may be repeated is made to another replica.",
            ),
            FieldDoc::new(
                "transfer_timeout",
                Shape::Duration,
                "The longest a file's way between processes may take.",
            ),
            FieldDoc::new(
                "connect_timeout",
                Shape::Duration,
                "The longest a connection may take, with its TLS handshake.",
            ),
            FieldDoc::new(
                "probe_interval",
                Shape::Duration,
                "How often each replica is asked whether it serves; two failures in a row and it gets no calls.",
            ),
            FieldDoc::new(
                "resolve_interval",
                Shape::Duration,
                "How often the names in `internal.peers.*` are resolved.",
            ),
            FieldDoc::new(
                "retry_percent",
                Shape::Integer,
                "How many calls in a hundred may be made again; 0: none. A few may be in any case.",
            ),
            FieldDoc::new(
                "max_message",
                Shape::Size,
                "The largest message between processes.",
            ),
            FieldDoc::new(
                "max_requests",
                Shape::Integer,
                "Calls from other processes worked on at once; more are refused, to be made to another replica.",
            ),
        ];
        [
            own,
            section("tls", InternalTlsConfig::fields()),
            section("peers", PeersConfig::fields()),
        ]
        .concat()
    }

    fn validate(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        let mut problem = |key: &str, text: &str| problems.push((key.to_owned(), text.to_owned()));
        for (key, value) in [
            ("call_timeout", self.call_timeout),
            ("try_timeout", self.try_timeout),
            ("transfer_timeout", self.transfer_timeout),
            ("connect_timeout", self.connect_timeout),
            ("probe_interval", self.probe_interval),
            ("resolve_interval", self.resolve_interval),
        ] {
            if value.get().is_zero() {
                problem(key, "expected more than 0");
            }
        }
        if self.retry_percent > 100 {
            problem("retry_percent", "expected at most 100");
        }
        if self.max_message.as_usize() < 1 << 20 {
            problem("max_message", "expected at least 1MiB");
        }
        if !(1..=1_000_000).contains(&self.max_requests) {
            problem("max_requests", "expected 1 to 1000000");
        }
        let tls = [&self.tls.ca, &self.tls.cert, &self.tls.key];
        let given = tls.iter().filter(|path| path.is_some()).count();
        if given != 0 && given != 3 {
            problem(
                "tls.cert",
                "tls.ca, tls.cert and tls.key go together: set all or none",
            );
        }
        if given != 0 && self.without_tls {
            problem("without_tls", "internal.tls is set: take one of them away");
        }
        if self.without_tls && !self.listen.ip().is_loopback() {
            problem(
                "without_tls",
                "is allowed only where internal.listen is a loopback address; make certificates with `hearth ca`",
            );
        }
        for (role, addresses) in self.peers.all() {
            for address in addresses {
                if split_address(address).is_none() {
                    let text =
                        format!("{address:?} is not a host and a port such as \"workflow:7600\"");
                    problem(&format!("peers.{role}"), &text);
                }
            }
        }
        problems
    }
}

impl Documented for InternalTlsConfig {
    fn fields() -> Vec<FieldDoc> {
        vec![
            FieldDoc::new(
                "ca",
                Shape::Path,
                "Certificates (PEM) of who signs the certificates of all processes: `hearth ca init`. Changed files \
                 are read again without a restart.",
            )
            .example("\"/etc/hearth/internal/ca.crt\""),
            FieldDoc::new(
                "cert",
                Shape::Path,
                "This process's certificate and its chain (PEM), for both directions: `hearth ca issue`.",
            )
            .example("\"/etc/hearth/internal/tls.crt\""),
            FieldDoc::new("key", Shape::Path, "The certificate's private key (PEM).")
                .example("\"/etc/hearth/internal/tls.key\""),
            FieldDoc::new(
                "server_name",
                Shape::Text,
                "The name that all peers' certificates must have. Unset: the host in `internal.peers.*`.",
            )
            .example("\"hearth.internal\""),
            FieldDoc::new(
                "any_role",
                Shape::Bool,
                "Whoever has a certificate of the CA may be and call every role, whatever roles it names. For an \
                 authority that can't put them into certificates.",
            ),
        ]
    }
}

impl Documented for PeersConfig {
    fn fields() -> Vec<FieldDoc> {
        let of = |key, effect| FieldDoc::new(key, Shape::List("hosts with ports"), effect);
        vec![
            of(
                "device_state",
                "Where the device-state role is. A name may stand for many replicas, and may change.",
            ),
            of("workflow", "Where the workflow role is."),
            of("wakeup", "Where the wakeup role is."),
            of("files", "Where the files role is."),
        ]
    }
}

impl PeersConfig {
    /// Each role's key and addresses.
    fn all(&self) -> [(&'static str, &[String]); 4] {
        [
            ("device_state", &self.device_state),
            ("workflow", &self.workflow),
            ("wakeup", &self.wakeup),
            ("files", &self.files),
        ]
    }
}

/// Host (without brackets) and port of an address.
pub(crate) fn split_address(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    let port = port.parse().ok().filter(|port| *port != 0)?;
    (!host.is_empty()).then_some((host, port))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn addresses_are_hosts_with_ports() {
        assert_eq!(split_address("workflow:7600"), Some(("workflow", 7600)));
        assert_eq!(split_address("[::1]:7600"), Some(("::1", 7600)));
        for bad in [
            "workflow",
            "workflow:0",
            ":7600",
            "::1:7600",
            "a:b",
            "[::1:7600",
        ] {
            assert_eq!(split_address(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_can_not_work_is_told() {
        let keys = |config: &InternalConfig| -> Vec<String> {
            config.validate().into_iter().map(|(key, _)| key).collect()
        };
        assert!(keys(&InternalConfig::default()).is_empty());
        let mut config = InternalConfig {
            without_tls: true,
            ..InternalConfig::default()
        };
        assert_eq!(keys(&config), ["without_tls"]);
        config.listen = "127.0.0.1:7600".parse().unwrap();
        assert!(keys(&config).is_empty());
        config.tls.ca = Some("ca.crt".into());
        config.peers.workflow = vec!["nowhere".into()];
        assert_eq!(keys(&config), ["tls.cert", "without_tls", "peers.workflow"]);
    }
}
