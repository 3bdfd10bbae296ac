//! Settings of the store on CQL.

use std::path::PathBuf;

use hearth_config::{Documented, FieldDoc, HumanDuration, SecretString, Shape};
use serde::{Deserialize, Serialize};

/// How the store finds its ScyllaDB or Cassandra nodes, and how it uses them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(
    missing_docs,
    reason = "each field is documented for the operator in `fields`"
)]
pub struct CqlConfig {
    pub nodes: Vec<String>,
    pub keyspace: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_datacenter: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<SecretString>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_ca: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_cert: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_key: Option<PathBuf>,
    pub consistency: CqlConsistency,
    pub create_keyspace: bool,
    pub replication: Vec<String>,
    pub connect_timeout: HumanDuration,
    pub request_timeout: HumanDuration,
    pub speculative_delay: HumanDuration,
    pub concurrency: usize,
    pub batch_rows: usize,
    pub known_devices: usize,
    pub count_max_age: HumanDuration,
}

/// How many replicas must answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CqlConsistency {
    /// Most replicas of the local datacenter.
    #[default]
    LocalQuorum,
    /// Most replicas of all datacenters.
    Quorum,
}

impl Default for CqlConfig {
    fn default() -> Self {
        Self {
            nodes: Vec::new(),
            keyspace: "hearth".into(),
            local_datacenter: None,
            user: None,
            password: None,
            tls_ca: None,
            tls_cert: None,
            tls_key: None,
            consistency: CqlConsistency::default(),
            create_keyspace: true,
            replication: Vec::new(),
            connect_timeout: HumanDuration::secs(10),
            request_timeout: HumanDuration::secs(5),
            speculative_delay: HumanDuration::millis(200),
            concurrency: 256,
            batch_rows: 100,
            known_devices: 100_000,
            count_max_age: HumanDuration::secs(30),
        }
    }
}

/// The longest name of a keyspace in CQL.
const MAX_KEYSPACE: usize = 48;

impl CqlConfig {
    /// `replication` as pairs of a datacenter and a number of copies; `None` for what is neither.
    pub(super) fn copies(&self) -> Option<Vec<(&str, u8)>> {
        let pair = |text: &String| {
            let (datacenter, copies) = text.rsplit_once(':')?;
            let copies = copies.parse().ok().filter(|n| (1..=16).contains(n))?;
            (!datacenter.is_empty() && datacenter.chars().all(is_datacenter)).then_some(())?;
            // Borrowed from the setting, not from the closure's argument alone.
            Some((datacenter.len(), copies))
        };
        self.replication
            .iter()
            .map(|text| pair(text).map(|(end, copies)| (&text[..end], copies)))
            .collect()
    }
}

/// Nothing that would end a text in CQL.
fn is_datacenter(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

fn is_keyspace(name: &str) -> bool {
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    name.len() <= MAX_KEYSPACE
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(good)
}

impl Documented for CqlConfig {
    fn fields() -> Vec<FieldDoc> {
        [server_fields(), keyspace_fields(), client_fields()].concat()
    }

    fn validate(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        let mut problem = |key: &str, text: &str| problems.push((key.to_owned(), text.to_owned()));
        if self.nodes.iter().any(|node| !is_node(node)) {
            problem(
                "nodes",
                "expected addresses such as \"10.0.0.1:9042\" or \"cassandra:9042\", without \
                 credentials",
            );
        }
        if !is_keyspace(&self.keyspace) {
            problem(
                "keyspace",
                "expected 1 to 48 of a-z, 0-9 and '_', beginning with a letter",
            );
        }
        if self.user.is_some() != self.password.is_some() {
            problem("password", "user and password go together");
        }
        if self.tls_cert.is_some() != self.tls_key.is_some() {
            problem("tls_key", "tls_cert and tls_key go together");
        }
        if self.tls_cert.is_some() && self.tls_ca.is_none() {
            problem(
                "tls_ca",
                "needed for TLS: tls_cert alone does not turn it on",
            );
        }
        if self.copies().is_none() {
            problem(
                "replication",
                "expected a datacenter and a number of copies each, such as \"dc1:3\"",
            );
        }
        let counts = [
            ("concurrency", self.concurrency, 1, 100_000),
            ("batch_rows", self.batch_rows, 1, 1000),
            ("known_devices", self.known_devices, 1, 100_000_000),
        ];
        for (key, count, least, most) in counts {
            if !(least..=most).contains(&count) {
                problem(key, &format!("expected {least} to {most}"));
            }
        }
        for (key, duration) in [
            ("connect_timeout", self.connect_timeout),
            ("request_timeout", self.request_timeout),
        ] {
            if duration < HumanDuration::millis(100) {
                problem(key, "expected at least 100ms");
            }
        }
        problems
    }
}

fn is_node(node: &str) -> bool {
    let Some((host, port)) = node.rsplit_once(':') else {
        return false;
    };
    let bare = host.starts_with('[') == host.ends_with(']');
    let good =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
    !host.is_empty() && bare && host.chars().all(good) && port.parse::<u16>().is_ok()
}

fn server_fields() -> Vec<FieldDoc> {
    vec![
        FieldDoc::new(
            "nodes",
            Shape::List("host:port addresses"),
            "Nodes of ScyllaDB or Cassandra to begin with. One that answers is enough: the others \
             of its cluster are learned from it.",
        ),
        FieldDoc::new(
            "local_datacenter",
            Shape::Text,
            "The datacenter whose nodes are asked. May be unset where there is only one.",
        )
        .example("\"dc1\""),
        FieldDoc::new(
            "user",
            Shape::Text,
            "The user, where the nodes ask for one.",
        )
        .example("\"hearth\""),
        FieldDoc::new("password", Shape::Text, "The user's password.")
            .example("\"…\"")
            .secret(),
        FieldDoc::new(
            "tls_ca",
            Shape::Path,
            "The authority of the nodes' certificates (PEM), which must name the nodes' IP \
             addresses. Unset: no TLS.",
        )
        .example("\"/etc/hearth/cql-ca.crt\""),
        FieldDoc::new(
            "tls_cert",
            Shape::Path,
            "A certificate and its chain for nodes that ask for one (PEM).",
        )
        .example("\"/etc/hearth/cql.crt\""),
        FieldDoc::new(
            "tls_key",
            Shape::Path,
            "That certificate's private key (PEM).",
        )
        .example("\"/etc/hearth/cql.key\""),
    ]
}

fn keyspace_fields() -> Vec<FieldDoc> {
    vec![
        FieldDoc::new(
            "keyspace",
            Shape::Text,
            "The keyspace that holds everything.",
        ),
        FieldDoc::new(
            "create_keyspace",
            Shape::Bool,
            "Whether the keyspace is made when it is missing. Its tables are made in any case.",
        ),
        FieldDoc::new(
            "replication",
            Shape::List("datacenter:copies pairs"),
            "Copies in each datacenter, for a keyspace that is made. Empty: 3 in the local \
             datacenter, or 1 where it has fewer than 3 nodes. A keyspace that is there stays as \
             it is.",
        ),
        FieldDoc::new(
            "consistency",
            Shape::Choice(&["local_quorum", "quorum"]),
            "How many replicas must have a write or answer a read before it counts.",
        ),
    ]
}

fn client_fields() -> Vec<FieldDoc> {
    vec![
        FieldDoc::new(
            "connect_timeout",
            Shape::Duration,
            "How long the start waits for a node before it gives up.",
        ),
        FieldDoc::new(
            "request_timeout",
            Shape::Duration,
            "How long one request may take, its repetitions included.",
        ),
        FieldDoc::new(
            "speculative_delay",
            Shape::Duration,
            "A request that has no answer after this is sent to a second node as well. 0s: never.",
        ),
        FieldDoc::new(
            "concurrency",
            Shape::Integer,
            "Requests under way at once, over the whole process; more wait.",
        ),
        FieldDoc::new(
            "batch_rows",
            Shape::Integer,
            "Rows of one device that are written in one request.",
        ),
        FieldDoc::new(
            "known_devices",
            Shape::Integer,
            "Devices remembered as entered in the list of devices (about 150 bytes each), so that \
             it isn't written with every Inform.",
        ),
        FieldDoc::new(
            "count_max_age",
            Shape::Duration,
            "How old the count of devices may be that other processes added or deleted.",
        ),
    ]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_setting_is_documented_and_the_defaults_are_good() {
        let missing = hearth_config::check_documentation::<CqlConfig>();
        assert!(missing.is_empty(), "{missing:?}");
        assert_eq!(CqlConfig::default().validate(), []);
    }

    #[test]
    fn slips_are_named() {
        let slips = CqlConfig {
            nodes: vec!["me:secret@host:9042".into(), "[::1]:9042".into()],
            keyspace: "My-Keyspace".into(),
            user: Some("me".into()),
            tls_cert: Some("a".into()),
            replication: vec!["dc1:3".into(), "dc2'; DROP:1".into()],
            concurrency: 0,
            ..CqlConfig::default()
        };
        let found = slips.validate();
        let keys: Vec<_> = found.iter().map(|(key, _)| key.as_str()).collect();
        let expected = [
            "nodes",
            "keyspace",
            "password",
            "tls_key",
            "tls_ca",
            "replication",
            "concurrency",
        ];
        assert_eq!(keys, expected);
        assert!(!format!("{found:?}").contains("secret"));
    }

    #[test]
    fn copies_are_read() {
        let config = CqlConfig {
            replication: vec!["dc1:3".into(), "eu-west:2".into()],
            ..CqlConfig::default()
        };
        assert_eq!(config.copies().unwrap(), [("dc1", 3), ("eu-west", 2)]);
    }

    #[test]
    fn secrets_are_not_shown() {
        let config = CqlConfig {
            password: Some(SecretString::new("hunter2")),
            ..CqlConfig::default()
        };
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
