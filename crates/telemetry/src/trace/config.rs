//! What the operator says about traces.

use serde::{Deserialize, Serialize};

/// Settings of traces.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TraceConfig {
    /// Where spans go, by OTLP over gRPC: `http://collector:4317`, or `https://…` with the public
    /// certificate authorities. Unset: no traces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The share of sessions and API calls that are traced, 0 to 1.
    pub sample: f64,
}

impl Default for TraceConfig {
    fn default() -> Self {
        Self {
            endpoint: None,
            sample: 0.05,
        }
    }
}

/// Traces can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The share is none.
    #[error("trace.sample is {0}; expected a share from 0 to 1, such as 0.05")]
    Sample(f64),
    /// The address is none.
    #[error(
        "trace.endpoint {0:?} is no address of an OTLP/gRPC collector; expected one such as \"http://collector:4317\""
    )]
    Endpoint(String),
    /// The exporter can't be built.
    #[error("trace.endpoint {endpoint:?} can't be used: {reason}")]
    Exporter {
        /// The address.
        endpoint: String,
        /// Why.
        reason: String,
    },
}

impl TraceError {
    /// The setting, within its section.
    #[must_use]
    pub const fn field(&self) -> &'static str {
        match self {
            Self::Sample(_) => "sample",
            Self::Endpoint(_) | Self::Exporter { .. } => "endpoint",
        }
    }
}

impl TraceConfig {
    /// Whether it can be used.
    ///
    /// # Errors
    /// [`TraceError::Sample`], [`TraceError::Endpoint`].
    pub fn check(&self) -> Result<(), TraceError> {
        if !(0.0..=1.0).contains(&self.sample) {
            return Err(TraceError::Sample(self.sample));
        }
        let schemes = ["http://", "https://"];
        match &self.endpoint {
            Some(endpoint)
                if !schemes.iter().any(|scheme| {
                    endpoint
                        .strip_prefix(scheme)
                        .is_some_and(|rest| !rest.is_empty())
                }) =>
            {
                Err(TraceError::Endpoint(endpoint.clone()))
            }
            _ => Ok(()),
        }
    }
}
