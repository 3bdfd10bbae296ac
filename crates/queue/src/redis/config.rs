//! Settings of the queue on Redis.

use hearth_config::{Documented, FieldDoc, HumanDuration, SecretString, Shape};
use redis::{ConnectionAddr, IntoConnectionInfo};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// How the queue finds its Redis, and how it talks to it. Whether that is one server or a cluster is
/// asked of the server; with `sentinel_group` the nodes are Sentinels.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(
    missing_docs,
    reason = "each field is documented for the operator in `fields`"
)]
pub struct RedisConfig {
    pub nodes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sentinel_group: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<SecretString>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sentinel_user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sentinel_password: Option<SecretString>,
    pub tls: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_ca: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_cert: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_key: Option<PathBuf>,
    pub prefix: String,
    pub connections: usize,
    pub connect_timeout: HumanDuration,
    pub call_timeout: HumanDuration,
}

impl Default for RedisConfig {
    fn default() -> Self {
        Self {
            nodes: Vec::new(),
            sentinel_group: None,
            user: None,
            password: None,
            sentinel_user: None,
            sentinel_password: None,
            tls: false,
            tls_ca: None,
            tls_cert: None,
            tls_key: None,
            prefix: "hearth".into(),
            connections: 2,
            connect_timeout: HumanDuration::secs(10),
            call_timeout: HumanDuration::secs(1),
        }
    }
}

impl RedisConfig {
    /// Whether the servers are asked for TLS: by the setting, or by the first address.
    pub(super) fn uses_tls(&self) -> bool {
        let by_scheme = |node: &String| node.starts_with("rediss:") || node.starts_with("valkeys:");
        self.tls || self.nodes.first().is_some_and(by_scheme)
    }
}

/// Host and port of `redis://host:port`, `rediss://host:port` or `host:port`.
pub(super) fn host_and_port(node: &str) -> Option<(String, u16)> {
    let url = match node.contains("://") {
        true => node.to_owned(),
        false => format!("redis://{node}"),
    };
    let info = url.into_connection_info().ok()?;
    match info.addr() {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
            (info.redis_settings().db() == 0).then(|| (host.clone(), *port))
        }
        _ => None,
    }
}

fn is_word(text: &str) -> bool {
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=32).contains(&text.len()) && text.bytes().all(good)
}

impl Documented for RedisConfig {
    fn fields() -> Vec<FieldDoc> {
        [server_fields(), tls_fields(), client_fields()].concat()
    }

    fn validate(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        let mut need = |good: bool, key: &str, problem: &str| {
            if !good {
                problems.push((key.to_owned(), problem.to_owned()));
            }
        };
        if self.nodes.iter().any(|node| node.contains('@')) {
            need(
                false,
                "nodes",
                "credentials don't belong in an address, which is logged: set user and password",
            );
        } else {
            need(
                self.nodes.iter().all(|node| host_and_port(node).is_some()),
                "nodes",
                "expected addresses such as \"redis://10.0.0.1:6379\" or \"rediss://redis:6379\", without a database",
            );
        }
        need(
            self.sentinel_group.as_ref().is_none_or(|g| !g.is_empty()),
            "sentinel_group",
            "expected the name that the Sentinels watch the servers by, or nothing",
        );
        need(
            self.user.is_none() || self.password.is_some(),
            "password",
            "a user needs a password",
        );
        need(
            self.sentinel_user.is_none() || self.sentinel_password.is_some(),
            "sentinel_password",
            "a user needs a password",
        );
        need(
            self.tls_cert.is_some() == self.tls_key.is_some(),
            "tls_key",
            "tls_cert and tls_key go together",
        );
        need(
            self.uses_tls() || (self.tls_ca.is_none() && self.tls_cert.is_none()),
            "tls",
            "certificates are set, but TLS is not: set tls, or write rediss:// in nodes",
        );
        need(
            is_word(&self.prefix),
            "prefix",
            "expected 1 to 32 of a-z, 0-9 and '-'",
        );
        need(
            (1..=64).contains(&self.connections),
            "connections",
            "expected 1 to 64",
        );
        need(
            self.connect_timeout >= HumanDuration::millis(100),
            "connect_timeout",
            "expected at least 100ms",
        );
        need(
            self.call_timeout >= HumanDuration::millis(10),
            "call_timeout",
            "expected at least 10ms",
        );
        problems
    }
}

fn server_fields() -> Vec<FieldDoc> {
    vec![
        FieldDoc::new(
            "nodes",
            Shape::List("Redis server addresses"),
            "The Redis (7.0 or newer) or Valkey servers. Of a cluster some nodes are enough: the \
             others are learned from them. With sentinel_group, the Sentinels.",
        ),
        FieldDoc::new(
            "sentinel_group",
            Shape::Text,
            "The name by which the Sentinels watch the servers; then nodes are the Sentinels.",
        )
        .example("\"mymaster\""),
        FieldDoc::new(
            "user",
            Shape::Text,
            "The user (ACL), where there is one besides the default one.",
        )
        .example("\"hearth\""),
        FieldDoc::new("password", Shape::Text, "The user's password.")
            .example("\"…\"")
            .secret(),
        FieldDoc::new("sentinel_user", Shape::Text, "The user at the Sentinels.")
            .example("\"hearth\""),
        FieldDoc::new(
            "sentinel_password",
            Shape::Text,
            "The password at the Sentinels.",
        )
        .example("\"…\"")
        .secret(),
    ]
}

fn tls_fields() -> Vec<FieldDoc> {
    vec![
        FieldDoc::new(
            "tls",
            Shape::Bool,
            "Speaks TLS with the servers (and the Sentinels). Addresses that begin with \
             `rediss://` do so too.",
        ),
        FieldDoc::new(
            "tls_ca",
            Shape::Path,
            "The authority of the servers' certificates (PEM). Unset: the public ones.",
        )
        .example("\"/etc/hearth/redis-ca.crt\""),
        FieldDoc::new(
            "tls_cert",
            Shape::Path,
            "A certificate and its chain for servers that ask for one (PEM).",
        )
        .example("\"/etc/hearth/redis.crt\""),
        FieldDoc::new(
            "tls_key",
            Shape::Path,
            "That certificate's private key (PEM).",
        )
        .example("\"/etc/hearth/redis.key\""),
    ]
}

fn client_fields() -> Vec<FieldDoc> {
    vec![
        FieldDoc::new(
            "prefix",
            Shape::Text,
            "Begins every key, so that several Hearths can share a Redis.",
        ),
        FieldDoc::new(
            "connections",
            Shape::Integer,
            "Connections to one server, or to each node of a cluster. Calls share them.",
        ),
        FieldDoc::new(
            "connect_timeout",
            Shape::Duration,
            "How long the start waits for Redis before it gives up.",
        ),
        FieldDoc::new(
            "call_timeout",
            Shape::Duration,
            "How long a call may take, reconnecting included; then the queue counts as unavailable.",
        ),
    ]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_setting_is_documented_and_the_defaults_are_good() {
        let missing = hearth_config::check_documentation::<RedisConfig>();
        assert!(missing.is_empty(), "{missing:?}");
        assert_eq!(RedisConfig::default().validate(), []);
    }

    #[test]
    fn slips_are_named() {
        let slips = RedisConfig {
            nodes: vec!["redis://me:secret@host:6379".into()],
            user: Some("me".into()),
            tls_ca: Some("ca.crt".into()),
            prefix: "a:b".into(),
            connections: 0,
            ..RedisConfig::default()
        };
        let problems = slips.validate();
        let keys: Vec<_> = problems.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["nodes", "password", "tls", "prefix", "connections"]);
        assert!(!format!("{problems:?}").contains("secret@"));
    }

    #[test]
    fn addresses_are_read() {
        let host = |text: &str| host_and_port(text);
        assert_eq!(host("a:1"), Some(("a".into(), 1)));
        assert_eq!(host("rediss://a:1"), Some(("a".into(), 1)));
        assert_eq!(host("redis://a"), Some(("a".into(), 6379)));
        assert_eq!(host("redis://[::1]:7"), Some(("::1".into(), 7)));
        for wrong in ["", "http://a:1", "redis://a:1/2", "a b", "redis://:1"] {
            assert_eq!(host(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let config = RedisConfig {
            password: Some(SecretString::new("hunter2")),
            ..RedisConfig::default()
        };
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
