//! Settings of XMPP connection requests (TR-069 Annex K).

use hearth_config::{Documented, FieldDoc, HumanDuration, SecretString, Shape};
use serde::{Deserialize, Serialize};

/// Settings of the component that this process is of an XMPP server (XEP-0114).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(
    missing_docs,
    reason = "each field is documented for the operator in `fields`"
)]
pub struct XmppConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretString>,
    pub user: String,
    pub device_domains: Vec<String>,
    pub timeout: HumanDuration,
}

impl Default for XmppConfig {
    fn default() -> Self {
        Self {
            server: None,
            domain: None,
            secret: None,
            user: "acs".into(),
            device_domains: Vec::new(),
            timeout: HumanDuration::secs(10),
        }
    }
}

impl PartialEq for XmppConfig {
    fn eq(&self, other: &Self) -> bool {
        let secret = |of: &Self| of.secret.as_ref().map(|secret| secret.expose().to_owned());
        self.server == other.server
            && self.domain == other.domain
            && secret(self) == secret(other)
            && self.user == other.user
            && self.device_domains == other.device_domains
            && self.timeout == other.timeout
    }
}

impl Eq for XmppConfig {}

impl Documented for XmppConfig {
    fn fields() -> Vec<FieldDoc> {
        vec![
            FieldDoc::new(
                "server",
                Shape::Text,
                "The XMPP server's port for components; without TLS, so keep it inside. Unset: no \
                 XMPP.",
            )
            .example("\"127.0.0.1:5347\""),
            FieldDoc::new(
                "domain",
                Shape::Text,
                "The component's domain at the server, another for each process.",
            )
            .example("\"acs.xmpp.example.net\""),
            FieldDoc::new(
                "secret",
                Shape::Text,
                "The component's secret at the server.",
            )
            .example("\"a long random text\""),
            FieldDoc::new(
                "user",
                Shape::Text,
                "Requests come from USER@DOMAIN/hearth: what devices have in \
                 ConnReqAllowedJabberIDs, if anything.",
            ),
            FieldDoc::new(
                "device_domains",
                Shape::List("domains"),
                "Domains of devices' Jabber IDs. A request bears the password, and a device tells \
                 its own ID. Empty: the domain above the component's.",
            ),
            FieldDoc::new(
                "timeout",
                Shape::Duration,
                "How long a device may take to answer.",
            ),
        ]
    }

    fn validate(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        let parts = [
            ("server", self.server.is_some()),
            ("domain", self.domain.is_some()),
            ("secret", self.secret.is_some()),
        ];
        if parts.iter().any(|(_, given)| *given) {
            for (key, _) in parts.iter().filter(|(_, given)| !given) {
                let text = "server, domain and secret go together".to_owned();
                problems.push(((*key).to_owned(), text));
            }
        }
        let jid = format!(
            "{}@{}/hearth",
            self.user,
            self.domain.as_deref().unwrap_or("x")
        );
        if tokio_xmpp::jid::Jid::new(&jid).is_err() {
            let text = format!("{jid} is no Jabber ID");
            problems.push(("domain".to_owned(), text));
        }
        problems
    }
}
