//! Settings of the CPE edge.

use hearth_config::{ByteSize, Documented, FieldDoc, HumanDuration, Shape, section};
use serde::{Deserialize, Serialize};

use crate::tls::config::TlsConfig;
use crate::tls::front::{LegacyConfig, ProxyConfig, RedirectRule};

/// How CPEs may prove who they are (TR-069 3.4.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthSchemes {
    /// HTTP Digest only.
    Digest,
    /// HTTP Basic only.
    Basic,
    /// Digest first, and Basic for CPEs that know nothing better.
    #[default]
    Both,
}

impl AuthSchemes {
    pub(crate) const fn digest(self) -> bool {
        matches!(self, Self::Digest | Self::Both)
    }

    pub(crate) const fn basic(self) -> bool {
        matches!(self, Self::Basic | Self::Both)
    }
}

/// Settings of the CPE edge. Every one has a default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GatewayConfig {
    /// The realm of the challenges.
    pub realm: String,
    /// Which schemes are offered and taken.
    pub auth: AuthSchemes,
    /// Ask for credentials at every turn. Off, the sealed session cookie proves the session that
    /// was authenticated at its Inform: many CPEs send credentials only when challenged.
    pub reauthenticate_every_turn: bool,
    /// Refuse Digest responses without qop (RFC 2069). Off, since old CPEs send no other: theirs
    /// can be repeated by who saw them, for as long as the nonce can be used.
    pub digest_qop_required: bool,
    /// Whether a device that has used a credential of its own may come back with the onboarding
    /// one by `0 BOOTSTRAP`: a factory reset makes it forget its own (TR-069 3.7.1.5).
    pub bootstrap_reopens: bool,
    /// How long a credential that was looked up is used again. A password that was changed or taken
    /// away serves so long at a gateway that has just seen it.
    pub credential_cache: HumanDuration,
    /// How long a Digest nonce can be used.
    pub nonce_lifetime: HumanDuration,
    /// Largest body of a CPE, before and after decompression.
    pub max_body: ByteSize,
    /// How many times larger than it came a body may become by decompression.
    pub max_decompression_ratio: u32,
    /// Time that every body has to arrive; large ones get more as long as 1 KiB/s arrives.
    pub body_timeout: HumanDuration,
    /// Silence after which a session is over (TR-069 3.7.1.1), where the CPE sends no
    /// SessionTimeout of its own.
    pub idle_timeout: HumanDuration,
    /// A CPE's SessionTimeout is raised to this.
    pub idle_timeout_min: HumanDuration,
    /// A CPE's SessionTimeout is lowered to this.
    pub idle_timeout_max: HumanDuration,
    /// The longest session, come what may.
    pub session_max: HumanDuration,
    /// Informs being worked on at once; more are answered 503. Periodic ones get 70 % of it,
    /// boots 85 %, bootstraps and transfers 95 %, woken devices all.
    pub max_informs: usize,
    /// Time in which an Inform should be answered. When half of them take longer, or a tenth fail,
    /// fewer are worked on at once, until they are quick again; zero for always `max_informs`.
    pub inform_target: HumanDuration,
    /// The least number of Informs worked on at once, however long they take.
    pub min_informs: usize,
    /// Bytes of bodies held at once; beyond it 503 is answered.
    pub max_body_in_flight: ByteSize,
    /// Memory for what happens in sessions, which `hearthctl device sessions` shows; 0 for nothing.
    pub session_memory: ByteSize,
    /// The least Retry-After of a 503; up to twice as long is answered, at random, so that
    /// devices don't come back together.
    pub retry_after: HumanDuration,
    /// Open connections.
    pub max_connections: usize,
    /// Open connections from one address; 0 for no limit, since many CPEs may stand behind one
    /// carrier's address translation.
    pub max_connections_per_peer: usize,
    /// Time for a request's header.
    pub header_timeout: HumanDuration,
    /// Silence after which a connection is closed.
    pub keep_alive: HumanDuration,
    /// Time that open requests get when the process stops.
    pub drain_timeout: HumanDuration,
    /// What `{host}` in a transfer's URL stands for when a CPE sends no usable Host header; empty
    /// for the address listened on.
    pub public_host: String,
    /// Whether CPEs may connect without TLS, on `listen.cwmp`.
    pub plain: bool,
    /// Where devices of tenants are sent instead.
    pub redirects: Vec<RedirectRule>,
    /// TLS.
    pub tls: TlsConfig,
    /// Proxies in front.
    pub proxy: ProxyConfig,
    /// A listener behind a proxy that ends TLS for old devices.
    pub legacy: LegacyConfig,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            realm: "hearth".to_owned(),
            auth: AuthSchemes::Both,
            reauthenticate_every_turn: false,
            digest_qop_required: false,
            bootstrap_reopens: true,
            credential_cache: HumanDuration::secs(5),
            nonce_lifetime: HumanDuration::secs(300),
            max_body: ByteSize::mib(16),
            max_decompression_ratio: 200,
            body_timeout: HumanDuration::secs(30),
            idle_timeout: HumanDuration::secs(30),
            idle_timeout_min: HumanDuration::secs(5),
            idle_timeout_max: HumanDuration::secs(300),
            session_max: HumanDuration::secs(3600),
            max_informs: 2000,
            inform_target: HumanDuration::secs(2),
            min_informs: 32,
            max_body_in_flight: ByteSize::mib(256),
            session_memory: ByteSize::mib(32),
            retry_after: HumanDuration::secs(30),
            max_connections: 100_000,
            max_connections_per_peer: 0,
            header_timeout: HumanDuration::secs(10),
            keep_alive: HumanDuration::secs(60),
            drain_timeout: HumanDuration::secs(10),
            public_host: String::new(),
            plain: true,
            redirects: Vec::new(),
            tls: TlsConfig::default(),
            proxy: ProxyConfig::default(),
            legacy: LegacyConfig::default(),
        }
    }
}

impl Documented for GatewayConfig {
    fn fields() -> Vec<FieldDoc> {
        use Shape::{Bool, Choice, Duration, Integer, Size, Text};
        let doc = FieldDoc::new;
        let own = vec![
            doc("realm", Text, "The realm of the challenges."),
            doc(
                "auth",
                Choice(&["digest", "basic", "both"]),
                "Which authentication schemes are offered to CPEs and taken.",
            ),
            doc(
                "reauthenticate_every_turn",
                Bool,
                "Ask for credentials at every turn of a session. Off, the sealed session cookie proves it.",
            ),
            doc(
                "digest_qop_required",
                Bool,
                "Refuse Digest responses without qop (RFC 2069). Off, since old CPEs send no other. \
                 Whoever sees such a response can repeat it while its nonce can be used, so turn \
                 this on where devices connect without TLS and all of them know qop.",
            ),
            doc(
                "bootstrap_reopens",
                Bool,
                "Whether a device that has used a login of its own may come back with the onboarding \
                 login by 0 BOOTSTRAP, as after a factory reset. On, whoever has the onboarding \
                 login and knows a device's id can pose as it; off, an operator sets a login for \
                 each device that was reset.",
            ),
            doc(
                "credential_cache",
                Duration,
                "How long a gateway uses a login again that it has looked up; 0s looks it up at each \
                 request. So long may a password go on serving that was changed or taken away.",
            ),
            doc(
                "nonce_lifetime",
                Duration,
                "How long a Digest nonce can be used.",
            ),
            doc(
                "max_body",
                Size,
                "Largest body of a CPE, before and after decompression.",
            ),
            doc(
                "max_decompression_ratio",
                Integer,
                "How many times larger than it came a body may become by decompression.",
            ),
            doc(
                "body_timeout",
                Duration,
                "Time that every body has to arrive; large ones get more while 1 KiB/s arrives.",
            ),
            doc(
                "idle_timeout",
                Duration,
                "Silence after which a session is over, where the CPE sends no SessionTimeout.",
            ),
            doc(
                "idle_timeout_min",
                Duration,
                "A CPE's SessionTimeout is raised to this.",
            ),
            doc(
                "idle_timeout_max",
                Duration,
                "A CPE's SessionTimeout is lowered to this.",
            ),
            doc(
                "session_max",
                Duration,
                "The longest session, come what may.",
            ),
            doc(
                "max_informs",
                Integer,
                "Informs being worked on at once; more are answered 503, periodic ones first.",
            ),
            doc(
                "inform_target",
                Duration,
                "Time in which an Inform should be answered. When half of them take longer, or a tenth \
                 fail, fewer are worked on at once until they are quick again; 0s for always max_informs.",
            ),
            doc(
                "min_informs",
                Integer,
                "The least number of Informs worked on at once, however long they take.",
            ),
            doc(
                "max_body_in_flight",
                Size,
                "Bytes of bodies held at once; beyond it 503 is answered.",
            ),
            doc(
                "session_memory",
                Size,
                "Memory for what happens in sessions, which `hearthctl device sessions` shows; 0 for \
                 nothing.",
            ),
            doc(
                "retry_after",
                Duration,
                "The least Retry-After of a 503; up to twice as long is answered, at random.",
            ),
            doc("max_connections", Integer, "Open connections."),
            doc(
                "max_connections_per_peer",
                Integer,
                "Open connections from one address; 0 for no limit.",
            ),
            doc("header_timeout", Duration, "Time for a request's header."),
            doc(
                "keep_alive",
                Duration,
                "Silence after which a connection is closed.",
            ),
            doc(
                "drain_timeout",
                Duration,
                "Time that open requests get when the process stops.",
            ),
            doc(
                "public_host",
                Text,
                "What {host} in a transfer's URL stands for when a CPE sends no usable Host header; \
                 empty for the address listened on.",
            ),
            doc(
                "plain",
                Bool,
                "Whether devices may connect without TLS, on listen.cwmp.",
            ),
            doc(
                "redirects",
                Shape::List("tables { tenant, url, status }"),
                "Devices of a tenant (unset: of all others) are sent to another ACS URL when they begin a session, by \
                 302 (unset) or 307.",
            ),
        ];
        [
            own,
            section("tls", TlsConfig::fields()),
            section("proxy", ProxyConfig::fields()),
            section("legacy", LegacyConfig::fields()),
        ]
        .concat()
    }

    fn validate(&self) -> Vec<(String, String)> {
        let times = [
            ("nonce_lifetime", self.nonce_lifetime),
            ("body_timeout", self.body_timeout),
            ("idle_timeout", self.idle_timeout),
            ("idle_timeout_min", self.idle_timeout_min),
            ("idle_timeout_max", self.idle_timeout_max),
            ("session_max", self.session_max),
            ("header_timeout", self.header_timeout),
            ("keep_alive", self.keep_alive),
        ];
        let counts = [
            ("max_informs", self.max_informs),
            ("max_connections", self.max_connections),
            ("max_body", self.max_body.as_usize()),
            ("max_body_in_flight", self.max_body_in_flight.as_usize()),
        ];
        let times = times.into_iter().filter(|(_, time)| time.get().is_zero());
        let counts = counts.into_iter().filter(|(_, count)| *count == 0);
        let mut problems: Vec<(String, String)> = times
            .map(|(key, _)| (key, "expected a duration over 0"))
            .chain(counts.map(|(key, _)| (key, "expected a number over 0")))
            .map(|(key, problem)| (key.to_owned(), problem.to_owned()))
            .collect();
        let mut need = |good: bool, key: &str, problem: &str| {
            if !good {
                problems.push((key.to_owned(), problem.to_owned()));
            }
        };
        need(
            !self.realm.is_empty() && !self.realm.chars().any(char::is_control),
            "realm",
            "expected a text without control characters",
        );
        need(
            self.idle_timeout_min <= self.idle_timeout_max,
            "idle_timeout_min",
            "expected at most idle_timeout_max",
        );
        // The session cookie has two bytes for it.
        let longest = self.idle_timeout.max(self.idle_timeout_max).get().as_secs();
        need(
            longest <= u64::from(u16::MAX),
            "idle_timeout_max",
            "expected at most 18h",
        );
        let listens = self.plain || self.tls.listen.is_some() || self.legacy.listen.is_some();
        need(
            listens,
            "plain",
            "expected true, since neither gateway.tls nor gateway.legacy listens",
        );
        need(
            self.legacy.listen.is_none() || !self.proxy.networks.0.is_empty(),
            "proxy.networks",
            "expected at least one, since gateway.legacy.listen is set",
        );
        need(
            self.proxy.certificate_header.is_empty() || !self.tls.trust_anchors.is_empty(),
            "tls.trust_anchors",
            "expected at least one, since gateway.proxy.certificate_header is set",
        );
        for problem in crate::redirect::problems(self) {
            need(false, "redirects", problem);
        }
        for (section, found) in [
            ("tls", self.tls.validate()),
            ("proxy", self.proxy.validate()),
        ] {
            let within = |(key, problem)| (format!("{section}.{key}"), problem);
            problems.extend(found.into_iter().map(within));
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_is_documented() {
        let wrong = hearth_config::check_documentation::<GatewayConfig>();
        assert!(wrong.is_empty(), "{wrong:?}");
    }

    #[test]
    fn what_cannot_work_is_named() {
        assert!(GatewayConfig::default().validate().is_empty());
        let bad = GatewayConfig {
            realm: "a\nb".to_owned(),
            max_informs: 0,
            idle_timeout_min: HumanDuration::secs(400),
            idle_timeout: HumanDuration::secs(100_000),
            ..GatewayConfig::default()
        };
        let keys: Vec<String> = bad.validate().into_iter().map(|(key, _)| key).collect();
        assert_eq!(
            keys,
            [
                "max_informs",
                "realm",
                "idle_timeout_min",
                "idle_timeout_max"
            ]
        );
    }
}
