//! Settings of TLS.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::PathBuf;

use hearth_config::{Documented, FieldDoc, HumanDuration, Shape};
use hearth_types::TenantId;
use serde::{Deserialize, Serialize};

/// Whether CPEs are asked for a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientAuth {
    /// They are not asked.
    #[default]
    None,
    /// They are asked and may have none. One that comes must be good.
    Optional,
    /// Without a good one there is no connection.
    Required,
}

/// What a device's own certificate counts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CertificateRule {
    /// It proves the device: no credentials are needed.
    #[default]
    Sufficient,
    /// Over TLS an Inform needs a certificate of the device or its model, and credentials.
    RequiredBeside,
}

/// The oldest version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum TlsVersion {
    /// TLS 1.2.
    #[default]
    #[serde(rename = "1.2")]
    V12,
    /// TLS 1.3.
    #[serde(rename = "1.3")]
    V13,
}

/// A certificate of the server's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateFiles {
    /// PEM: the certificate and its chain.
    pub cert: PathBuf,
    /// PEM: its private key.
    pub key: PathBuf,
    /// Server names that it is for; none: those that stand in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
}

/// Who may sign client certificates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustAnchor {
    /// PEM, one or more certificates.
    pub file: PathBuf,
    /// OUIs of the devices that it may sign for; none: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ouis: Vec<String>,
}

/// A certificate that all devices of a model share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelCertificate {
    /// SHA-256 of the certificate, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// The common name of its subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The common name of its issuer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// The model's OUI.
    pub oui: String,
    /// The model's product class; none: every one of the OUI.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub product_class: String,
}

/// Whose server name it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerName {
    /// The name that CPEs connect to (SNI).
    pub name: String,
    /// The tenant.
    pub tenant: TenantId,
}

/// The settings of `gateway.tls`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(
    missing_docs,
    reason = "each field is documented for the operator in `fields`"
)]
pub struct TlsConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
    pub certificates: Vec<CertificateFiles>,
    pub min_version: TlsVersion,
    pub client_auth: ClientAuth,
    pub client_certificate: CertificateRule,
    pub trust_anchors: Vec<TrustAnchor>,
    pub crls: Vec<PathBuf>,
    pub refuse_expired_crls: bool,
    pub model_certificates: Vec<ModelCertificate>,
    pub server_names: Vec<ServerName>,
    pub session_tickets: bool,
    pub ticket_lifetime: HumanDuration,
    pub handshake_timeout: HumanDuration,
    pub max_handshakes: usize,
    pub reload_interval: HumanDuration,
}

impl Default for TlsConfig {
    fn default() -> Self {
        Self {
            listen: None,
            certificates: Vec::new(),
            min_version: TlsVersion::V12,
            client_auth: ClientAuth::None,
            client_certificate: CertificateRule::Sufficient,
            trust_anchors: Vec::new(),
            crls: Vec::new(),
            refuse_expired_crls: false,
            model_certificates: Vec::new(),
            server_names: Vec::new(),
            session_tickets: true,
            ticket_lifetime: HumanDuration::secs(12 * 3600),
            handshake_timeout: HumanDuration::secs(10),
            max_handshakes: 256,
            reload_interval: HumanDuration::secs(10),
        }
    }
}

impl Documented for TlsConfig {
    fn fields() -> Vec<FieldDoc> {
        use Shape::{Bool, Choice, Duration, Integer, List};
        let doc = FieldDoc::new;
        vec![
            doc(
                "listen",
                Shape::SocketAddr,
                "Where devices connect by TLS. Unset: nowhere.",
            )
            .example("\"0.0.0.0:7548\""),
            doc(
                "certificates",
                List("tables { cert, key, names }"),
                "The server's certificates: PEM files of chain and key, and the names they are for (unset: \
                 those that stand in them). A device gets the one for the name it asks for (SNI), otherwise the first.",
            ),
            doc(
                "min_version",
                Choice(&["1.2", "1.3"]),
                "The oldest version of TLS that is spoken.",
            ),
            doc(
                "client_auth",
                Choice(&["none", "optional", "required"]),
                "Whether devices are asked for a certificate, and whether they must have one.",
            ),
            doc(
                "client_certificate",
                Choice(&["sufficient", "required_beside"]),
                "What a device's own certificate is for: it proves the device without credentials, or an Inform over \
                 TLS needs a certificate of the device or its model and credentials, both.",
            ),
            doc(
                "trust_anchors",
                List("tables { file, ouis }"),
                "Who may sign certificates of devices: PEM files, and the OUIs of the devices that they may sign for \
                 (unset: all).",
            ),
            doc(
                "crls",
                List("paths"),
                "Revocation lists (PEM or DER) of the trust anchors and of what is below them. A certificate whose \
                 issuer has none counts as not revoked.",
            ),
            doc(
                "refuse_expired_crls",
                Bool,
                "Refuse all certificates of an issuer whose revocation list is past its next update.",
            ),
            doc(
                "model_certificates",
                List("tables { fingerprint | subject, issuer; oui, product_class }"),
                "Certificates that all devices of a model share, by SHA-256 or by the common names of subject and \
                 issuer: they prove the model only.",
            ),
            doc(
                "server_names",
                List("tables { name, tenant }"),
                "Names that devices connect to (SNI), and whose they are. The ACS URL's path must not name another \
                 tenant.",
            ),
            doc(
                "session_tickets",
                Bool,
                "Whether devices may resume TLS sessions, at any replica.",
            ),
            doc(
                "ticket_lifetime",
                Duration,
                "How long a TLS session can be resumed.",
            ),
            doc("handshake_timeout", Duration, "Time for a TLS handshake."),
            doc(
                "max_handshakes",
                Integer,
                "TLS handshakes worked on at once; more wait, within their time.",
            ),
            doc(
                "reload_interval",
                Duration,
                "How often the files are looked at; SIGHUP looks at once.",
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
            self.listen.is_none() || !self.certificates.is_empty(),
            "certificates",
            "expected at least one, since gateway.tls.listen is set",
        );
        need(
            self.client_auth == ClientAuth::None || !self.trust_anchors.is_empty(),
            "trust_anchors",
            "expected at least one, since client_auth asks for certificates",
        );
        let is_oui = |oui: &str| oui.len() == 6 && oui.bytes().all(|byte| byte.is_ascii_hexdigit());
        let mut ouis = self.trust_anchors.iter().flat_map(|anchor| &anchor.ouis);
        need(
            ouis.all(|oui| is_oui(oui)),
            "trust_anchors",
            "expected OUIs of 6 hexadecimal digits",
        );
        need(
            self.model_certificates
                .iter()
                .all(|model| is_oui(&model.oui)),
            "model_certificates",
            "expected OUIs of 6 hexadecimal digits",
        );
        let named = |model: &ModelCertificate| match &model.fingerprint {
            Some(text) => fingerprint(text).is_some(),
            None => model.subject.is_some() && model.issuer.is_some(),
        };
        need(
            self.model_certificates.iter().all(named),
            "model_certificates",
            "expected a fingerprint of 64 hexadecimal digits, or subject and issuer, in each",
        );
        let mut seen = HashSet::new();
        let mut names = self
            .server_names
            .iter()
            .map(|of| of.name.to_ascii_lowercase());
        need(
            names.all(|name| !name.is_empty() && seen.insert(name)),
            "server_names",
            "expected each name once",
        );
        for (key, time) in [
            ("ticket_lifetime", self.ticket_lifetime),
            ("handshake_timeout", self.handshake_timeout),
            ("reload_interval", self.reload_interval),
        ] {
            need(!time.get().is_zero(), key, "expected a duration over 0");
        }
        need(
            self.ticket_lifetime.get().as_secs() <= 7 * 24 * 3600,
            "ticket_lifetime",
            "expected at most 7 days (RFC 8446, 4.6.1)",
        );
        need(
            self.max_handshakes > 0,
            "max_handshakes",
            "expected a number over 0",
        );
        problems
    }
}

/// A SHA-256 as lower-case hexadecimal, from text that may have colons.
pub(crate) fn fingerprint(text: &str) -> Option<String> {
    let plain = text.replace(':', "").to_ascii_lowercase();
    let good = plain.len() == 64 && plain.bytes().all(|byte| byte.is_ascii_hexdigit());
    good.then_some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_is_documented() {
        let wrong = hearth_config::check_documentation::<TlsConfig>();
        assert!(wrong.is_empty(), "{wrong:?}");
    }

    #[test]
    fn what_cannot_work_is_named() {
        let keys = |problems: Vec<(String, String)>| -> Vec<String> {
            problems.into_iter().map(|(key, _)| key).collect()
        };
        assert!(TlsConfig::default().validate().is_empty());
        let bad = TlsConfig {
            listen: Some(([127, 0, 0, 1], 0).into()),
            client_auth: ClientAuth::Optional,
            model_certificates: vec![ModelCertificate {
                fingerprint: Some("abc".to_owned()),
                subject: None,
                issuer: None,
                oui: "00".to_owned(),
                product_class: String::new(),
            }],
            ticket_lifetime: HumanDuration::secs(8 * 24 * 3600),
            max_handshakes: 0,
            ..TlsConfig::default()
        };
        assert_eq!(
            keys(bad.validate()),
            [
                "certificates",
                "trust_anchors",
                "model_certificates",
                "model_certificates",
                "ticket_lifetime",
                "max_handshakes"
            ]
        );
    }
}
