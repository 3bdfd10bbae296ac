//! Settings of what stands in front: proxies, and the listener for them; and of redirects.

use std::net::SocketAddr;

use hearth_config::{CidrList, Documented, FieldDoc, HumanDuration, Shape};
use hearth_types::TenantId;
use serde::{Deserialize, Serialize};

/// The settings of `gateway.proxy`: what stands in front.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(
    missing_docs,
    reason = "each field is documented for the operator in `fields`"
)]
pub struct ProxyConfig {
    pub networks: CidrList,
    pub header_timeout: HumanDuration,
    pub trust_tls: bool,
    pub certificate_header: String,
    pub certificate_networks: CidrList,
}

impl Default for ProxyConfig {
    fn default() -> Self {
        Self {
            networks: CidrList(Vec::new()),
            header_timeout: HumanDuration::secs(3),
            trust_tls: false,
            certificate_header: String::new(),
            certificate_networks: CidrList(Vec::new()),
        }
    }
}

impl Documented for ProxyConfig {
    fn fields() -> Vec<FieldDoc> {
        let doc = FieldDoc::new;
        vec![
            doc(
                "networks",
                Shape::List("CIDR ranges"),
                "Where proxies are that speak the PROXY protocol (v1 or v2): each of their connections, on any \
                 listener of devices, must begin with its header, which tells the device's address. From elsewhere \
                 no header is taken.",
            ),
            doc(
                "header_timeout",
                Shape::Duration,
                "Time for a PROXY header.",
            ),
            doc(
                "trust_tls",
                Shape::Bool,
                "Believe what these proxies say about the device's TLS in a v2 header: server name, and the common \
                 name of the certificate that they verified.",
            ),
            doc(
                "certificate_header",
                Shape::Text,
                "The HTTP header in which a proxy that ends TLS passes the device's certificate on: PEM (URL-encoded), \
                 DER in base64, or Envoy's x-forwarded-client-cert. It is verified against \
                 gateway.tls.trust_anchors again. Empty: none.",
            ),
            doc(
                "certificate_networks",
                Shape::List("CIDR ranges"),
                "Who may send that header; from all others requests with it are refused.",
            ),
        ]
    }

    fn validate(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        let mut need = |good: bool, key: &str, problem: &str| {
            if !good {
                problems.push((key.to_owned(), problem.to_owned()));
            }
        };
        need(
            !self.header_timeout.get().is_zero(),
            "header_timeout",
            "expected a duration over 0",
        );
        need(
            !self.trust_tls || !self.networks.0.is_empty(),
            "networks",
            "expected at least one, since trust_tls is on",
        );
        let header = &self.certificate_header;
        need(
            header.is_empty() || http::HeaderName::try_from(header.as_str()).is_ok(),
            "certificate_header",
            "expected the name of an HTTP header",
        );
        need(
            header.is_empty() == self.certificate_networks.0.is_empty(),
            "certificate_networks",
            "certificate_header and certificate_networks go together: set both or none",
        );
        problems
    }
}

/// The settings of `gateway.legacy`: a listener for a proxy that ends TLS for old devices.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(
    missing_docs,
    reason = "each field is documented for the operator in `fields`"
)]
pub struct LegacyConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
}

impl Documented for LegacyConfig {
    fn fields() -> Vec<FieldDoc> {
        vec![
            FieldDoc::new(
                "listen",
                Shape::SocketAddr,
                "Where a proxy connects that ends TLS for devices too old for this server (TLS 1.0 and 1.1, RSA key \
                 exchange, SHA-1): without TLS, only from gateway.proxy.networks, each connection with a PROXY \
                 header. Unset: nowhere.",
            )
            .example("\"127.0.0.1:7549\""),
        ]
    }
}

/// Devices of a tenant are sent elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedirectRule {
    /// Whose devices; none: those of all tenants that have no rule of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
    /// The ACS URL that they are to use.
    pub url: String,
    /// 302 or 307 (TR-069 3.4.1).
    #[serde(default = "found")]
    pub status: u16,
}

const fn found() -> u16 {
    302
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_is_documented() {
        for wrong in [
            hearth_config::check_documentation::<ProxyConfig>(),
            hearth_config::check_documentation::<LegacyConfig>(),
        ] {
            assert!(wrong.is_empty(), "{wrong:?}");
        }
    }

    #[test]
    fn what_cannot_work_is_named() {
        assert!(ProxyConfig::default().validate().is_empty());
        let bad = ProxyConfig {
            trust_tls: true,
            certificate_header: "X SSL".to_owned(),
            ..ProxyConfig::default()
        };
        let keys: Vec<String> = bad.validate().into_iter().map(|(key, _)| key).collect();
        assert_eq!(
            keys,
            ["networks", "certificate_header", "certificate_networks"]
        );
    }
}
