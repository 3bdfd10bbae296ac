//! Where the server listens.

use hearth_config::{Documented, FieldDoc, Shape};
use serde::{Deserialize, Serialize};
use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

/// Where the server listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(
    missing_docs,
    reason = "each field is documented for the operator in `fields`"
)]
pub struct ListenConfig {
    pub cwmp: SocketAddr,
    pub api: SocketAddr,
    pub files: SocketAddr,
    pub admin: SocketAddr,
    pub api_without_tls: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_tls_cert: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_tls_key: Option<PathBuf>,
}

impl Default for ListenConfig {
    fn default() -> Self {
        let all = |port| SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self {
            cwmp: all(7547),
            api: local(8080),
            files: all(7567),
            admin: local(9464),
            api_without_tls: false,
            api_tls_cert: None,
            api_tls_key: None,
        }
    }
}

impl Documented for ListenConfig {
    fn fields() -> Vec<FieldDoc> {
        vec![
            FieldDoc::new("cwmp", Shape::SocketAddr, "Where devices connect (CWMP)."),
            FieldDoc::new("api", Shape::SocketAddr, "Where the API listens (gRPC)."),
            FieldDoc::new(
                "files",
                Shape::SocketAddr,
                "Where devices fetch and send files.",
            ),
            FieldDoc::new(
                "admin",
                Shape::SocketAddr,
                "Health, readiness and metrics; without authentication, so keep it inside.",
            ),
            FieldDoc::new(
                "api_without_tls",
                Shape::Bool,
                "Allows the API on another address than loopback although it has no TLS: its \
                 token then travels in plain text.",
            ),
            FieldDoc::new(
                "api_tls_cert",
                Shape::Path,
                "The API's certificate and its chain (PEM). Unset: no TLS.",
            )
            .example("\"/etc/hearth/tls.crt\""),
            FieldDoc::new(
                "api_tls_key",
                Shape::Path,
                "The certificate's private key (PEM).",
            )
            .example("\"/etc/hearth/tls.key\""),
        ]
    }

    fn validate(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        if self.api_tls_cert.is_some() != self.api_tls_key.is_some() {
            problems.push((
                "api_tls_key".into(),
                "api_tls_cert and api_tls_key go together: set both or none".into(),
            ));
        }
        let plain = self.api_tls_cert.is_none() && !self.api_without_tls;
        if !self.api.ip().is_loopback() && plain {
            problems.push((
                "api".into(),
                "is not a loopback address, and the API has no TLS: its token would travel in \
                 plain text. Set api_tls_cert and api_tls_key, listen on 127.0.0.1, or allow it \
                 with --api-without-tls"
                    .into(),
            ));
        }
        problems
    }
}
