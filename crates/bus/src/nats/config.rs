//! Settings of the bus on NATS.

use std::path::PathBuf;

use hearth_config::{ByteSize, Documented, FieldDoc, HumanDuration, SecretString, Shape};
use serde::{Deserialize, Serialize};

/// How the bus finds its NATS servers, and how it keeps messages there.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(
    missing_docs,
    reason = "each field is documented for the operator in `fields`"
)]
pub struct NatsConfig {
    pub servers: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<SecretString>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<SecretString>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nkey: Option<SecretString>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub creds_file: Option<PathBuf>,
    pub tls: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_ca: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_cert: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_key: Option<PathBuf>,
    pub prefix: String,
    pub replicas: usize,
    pub max_bytes: ByteSize,
    pub dead_letter_bytes: ByteSize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_letter_age: Option<HumanDuration>,
    pub dedupe_window: HumanDuration,
    pub connect_timeout: HumanDuration,
    pub ack_timeout: HumanDuration,
    pub publish_in_flight: usize,
    pub lease: HumanDuration,
}

impl Default for NatsConfig {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            user: None,
            password: None,
            token: None,
            nkey: None,
            creds_file: None,
            tls: false,
            tls_ca: None,
            tls_cert: None,
            tls_key: None,
            prefix: "hearth".into(),
            replicas: 1,
            max_bytes: ByteSize(4 << 30),
            dead_letter_bytes: ByteSize(1 << 30),
            dead_letter_age: None,
            dedupe_window: HumanDuration::secs(120),
            connect_timeout: HumanDuration::secs(10),
            ack_timeout: HumanDuration::secs(10),
            publish_in_flight: 4096,
            lease: HumanDuration::secs(10),
        }
    }
}

impl NatsConfig {
    fn uses_tls(&self) -> bool {
        self.tls
            || self
                .servers
                .iter()
                .any(|server| server.starts_with("tls://"))
    }
}

impl Documented for NatsConfig {
    fn fields() -> Vec<FieldDoc> {
        [server_fields(), stream_fields(), client_fields()].concat()
    }

    fn validate(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        let mut problem = |key: &str, text: &str| problems.push((key.to_owned(), text.to_owned()));
        if self.servers.iter().any(|server| server.contains('@')) {
            problem(
                "servers",
                "credentials don't belong in an address, which is logged: set user and password, \
                 token, nkey or creds_file",
            );
        }
        if self.servers.iter().any(|server| !is_address(server)) {
            problem(
                "servers",
                "expected addresses such as \"nats://10.0.0.1:4222\" or \"tls://nats:4222\"",
            );
        }
        let ways = [
            self.user.is_some() || self.password.is_some(),
            self.token.is_some(),
            self.nkey.is_some(),
            self.creds_file.is_some(),
        ];
        if ways.iter().filter(|set| **set).count() > 1 {
            problem(
                "user",
                "set one of user with password, token, nkey, creds_file",
            );
        }
        if self.user.is_some() != self.password.is_some() {
            problem("password", "user and password go together");
        }
        if self.tls_cert.is_some() != self.tls_key.is_some() {
            problem("tls_key", "tls_cert and tls_key go together");
        }
        if !self.uses_tls() && (self.tls_ca.is_some() || self.tls_cert.is_some()) {
            problem(
                "tls",
                "certificates are set, but TLS is not: set tls, or write tls:// in servers",
            );
        }
        if !is_word(&self.prefix) {
            problem("prefix", "expected 1 to 32 of a-z, 0-9 and '-'");
        }
        if ![1, 3, 5].contains(&self.replicas) {
            problem("replicas", "expected 1, 3 or 5");
        }
        if self.publish_in_flight == 0 || self.publish_in_flight > 100_000 {
            problem("publish_in_flight", "expected 1 to 100000");
        }
        for (key, size) in [
            ("max_bytes", self.max_bytes),
            ("dead_letter_bytes", self.dead_letter_bytes),
        ] {
            if size < ByteSize::mib(1) || size > ByteSize(1 << 60) {
                problem(key, "expected at least 1MiB");
            }
        }
        let shortest = [
            ("dedupe_window", self.dedupe_window, 1),
            ("connect_timeout", self.connect_timeout, 1),
            ("ack_timeout", self.ack_timeout, 1),
            ("lease", self.lease, 1),
        ];
        for (key, duration, seconds) in shortest {
            if duration < HumanDuration::secs(seconds) {
                problem(key, "expected at least 1s");
            }
        }
        problems
    }
}

fn is_address(server: &str) -> bool {
    server.parse::<async_nats::ServerAddr>().is_ok()
}

fn is_word(text: &str) -> bool {
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=32).contains(&text.len()) && text.bytes().all(good)
}

fn server_fields() -> Vec<FieldDoc> {
    vec![
        FieldDoc::new(
            "servers",
            Shape::List("NATS server addresses"),
            "The NATS servers (2.10 or newer, with JetStream). One that answers is enough: the \
             others of its cluster are learned from it.",
        ),
        FieldDoc::new("user", Shape::Text, "The user, where NATS asks for one.")
            .example("\"hearth\""),
        FieldDoc::new("password", Shape::Text, "The user's password.")
            .example("\"…\"")
            .secret(),
        FieldDoc::new(
            "token",
            Shape::Text,
            "A token instead of user and password.",
        )
        .example("\"…\"")
        .secret(),
        FieldDoc::new(
            "nkey",
            Shape::Text,
            "The seed of an nkey (`SU…`) instead of a user.",
        )
        .example("\"SU…\"")
        .secret(),
        FieldDoc::new(
            "creds_file",
            Shape::Path,
            "A credentials file (JWT and seed) instead of a user.",
        )
        .example("\"/etc/hearth/nats.creds\""),
        FieldDoc::new(
            "tls",
            Shape::Bool,
            "Refuses servers without TLS. Addresses that begin with `tls://` do so too.",
        ),
        FieldDoc::new(
            "tls_ca",
            Shape::Path,
            "The authority of the servers' certificates (PEM). Unset: the system's.",
        )
        .example("\"/etc/hearth/nats-ca.crt\""),
        FieldDoc::new(
            "tls_cert",
            Shape::Path,
            "A certificate and its chain for servers that ask for one (PEM).",
        )
        .example("\"/etc/hearth/nats.crt\""),
        FieldDoc::new(
            "tls_key",
            Shape::Path,
            "That certificate's private key (PEM).",
        )
        .example("\"/etc/hearth/nats.key\""),
    ]
}

fn stream_fields() -> Vec<FieldDoc> {
    vec![
        FieldDoc::new(
            "prefix",
            Shape::Text,
            "Begins every subject and the names of the two streams, so that several Hearths can \
             share NATS servers.",
        ),
        FieldDoc::new(
            "replicas",
            Shape::Integer,
            "Servers that hold each message: 1, or 3 in a cluster of at least three. With 1, set \
             `sync_interval: always` on the server, or a power cut loses what was acknowledged.",
        ),
        FieldDoc::new(
            "max_bytes",
            Shape::Size,
            "Messages that wait for consumers. With no room for more, nothing is accepted until \
             there is: nothing is dropped.",
        ),
        FieldDoc::new(
            "dead_letter_bytes",
            Shape::Size,
            "Dead letters kept. With no room for more, what can't be worked on stays with its \
             consumer.",
        ),
        FieldDoc::new(
            "dead_letter_age",
            Shape::Duration,
            "Dead letters older than this are deleted. Unset: kept until someone deletes them.",
        )
        .example("\"90days\""),
        FieldDoc::new(
            "dedupe_window",
            Shape::Duration,
            "A message published again with its id within this time is one message.",
        ),
    ]
}

fn client_fields() -> Vec<FieldDoc> {
    vec![
        FieldDoc::new(
            "connect_timeout",
            Shape::Duration,
            "How long the start waits for NATS before it gives up.",
        ),
        FieldDoc::new(
            "ack_timeout",
            Shape::Duration,
            "How long a message may take until NATS has it on disk, reconnecting included. Electing a \
             leader takes NATS 4 to 9 s: with less, what is published meanwhile is refused.",
        ),
        FieldDoc::new(
            "publish_in_flight",
            Shape::Integer,
            "Messages under way to NATS at once, over the whole process.",
        ),
        FieldDoc::new(
            "lease",
            Shape::Duration,
            "After a consumer's process died, its messages go to another one within this time.",
        ),
    ]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn keys(config: &NatsConfig) -> Vec<String> {
        config.validate().into_iter().map(|(key, _)| key).collect()
    }

    #[test]
    fn every_setting_is_documented_and_the_defaults_are_good() {
        let missing = hearth_config::check_documentation::<NatsConfig>();
        assert!(missing.is_empty(), "{missing:?}");
        assert_eq!(NatsConfig::default().validate(), []);
    }

    #[test]
    fn slips_are_named() {
        let slips = NatsConfig {
            servers: vec!["nats://me:secret@host:4222".into()],
            user: Some("me".into()),
            token: Some(SecretString::new("t")),
            replicas: 2,
            prefix: "a.b".into(),
            lease: HumanDuration::millis(5),
            ..NatsConfig::default()
        };
        assert_eq!(
            keys(&slips),
            ["servers", "user", "password", "prefix", "replicas", "lease"]
        );
        assert!(!format!("{:?}", slips.validate()).contains("secret@"));
        let servers = vec!["no such thing".into()];
        let slips = NatsConfig {
            servers,
            ..NatsConfig::default()
        };
        assert_eq!(keys(&slips), ["servers"]);
    }

    #[test]
    fn certificates_without_tls_are_refused() {
        let ca = NatsConfig {
            servers: vec!["nats://host:4222".into()],
            tls_ca: Some("ca.pem".into()),
            ..NatsConfig::default()
        };
        assert_eq!(keys(&ca), ["tls"]);
        let asked = NatsConfig {
            tls: true,
            ..ca.clone()
        };
        let by_scheme = NatsConfig {
            servers: vec!["tls://host:4222".into()],
            ..ca
        };
        assert_eq!(keys(&asked).len() + keys(&by_scheme).len(), 0);
    }

    #[test]
    fn secrets_are_not_shown() {
        let config = NatsConfig {
            password: Some(SecretString::new("hunter2")),
            ..NatsConfig::default()
        };
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
