//! Doors for the fuzz targets: what stands behind a listener, without sockets. Not for anything
//! else, and in no release: the feature `fuzzing` is the fuzz targets' own.

use std::sync::Arc;

use bytes::Bytes;
use hearth_auth::{SecretKeys, labels};
use hearth_cwmp::Namespace;
use hearth_cwmp::session::State;
use hearth_telemetry::Registry;
use hearth_types::TenantId;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body_util::Full;
use ulid::Ulid;

use crate::cookie::{Cookies, Found, InFlight, PLACE, Session};
use crate::edge::Edge;
use crate::{Dependencies, GatewayConfig, GatewayError, ListenAddresses};

/// A gateway that is handed its requests.
pub struct Handed(Arc<Edge>);

impl Handed {
    /// A gateway over these.
    ///
    /// # Errors
    /// See [`GatewayError`].
    pub fn new(config: GatewayConfig, dependencies: Dependencies) -> Result<Self, GatewayError> {
        let nowhere = ListenAddresses::default();
        let (edge, _) = crate::service::edge(nowhere, config, dependencies, &Registry::new())?;
        Ok(Self(edge))
    }

    /// Answers a request, come what may.
    pub async fn serve(&self, request: Request<Full<Bytes>>) -> Response<Full<Bytes>> {
        self.0.serve(request).await
    }
}

/// The session cookie by itself, of one tenant and at one time.
pub struct Jar {
    cookies: Cookies,
    tenant: TenantId,
    now: i64,
}

impl Jar {
    /// Cookies of the default tenant at this time (µs since 1970).
    ///
    /// # Errors
    /// See [`GatewayError`].
    pub fn new(now: i64) -> Result<Self, GatewayError> {
        let keys = SecretKeys::from_seed([7; 32]);
        Ok(Self {
            cookies: Cookies::new(keys.sealer(labels::COOKIE)?, 3600),
            tenant: TenantId::default(),
            now,
        })
    }

    /// The device of the live session in these values of Cookie headers, and that session's
    /// cookie as it would be set again.
    pub fn find(&self, values: &[&[u8]]) -> Option<(String, Option<String>)> {
        let mut headers = HeaderMap::new();
        for value in values {
            if let Ok(value) = HeaderValue::from_bytes(value) {
                headers.append(header::COOKIE, value);
            }
        }
        match self.cookies.find(&headers, &self.tenant, self.now) {
            Found::Live(session) => {
                assert_eq!(session.tenant, self.tenant);
                let again = self.cookies.set(&session);
                let again = again.and_then(|value| Some(value.to_str().ok()?.to_owned()));
                Some((session.device, again))
            }
            Found::Nothing | Found::Over | Found::Unreadable => None,
        }
    }

    /// A cookie (`hs=…`) of this device and tenant, last heard of so many seconds ago.
    pub fn cookie(&self, tenant: &TenantId, device: &str, silent_secs: i64) -> Option<String> {
        let session = Session {
            id: Ulid::from_parts(1_800_000_000_000, 7),
            state: State::default(),
            namespace: Namespace::from_minor(2),
            epoch: 7,
            started: self.now - silent_secs * 1_000_000,
            last_turn: self.now - silent_secs * 1_000_000,
            idle_secs: 30,
            user: [0; 8],
            in_flight: InFlight::None,
            ask: true,
            quirks: crate::quirks::Quirks::default(),
            tenant: tenant.clone(),
            device: device.to_owned(),
        };
        let set = self.cookies.set(&session)?;
        let (pair, _) = set.to_str().ok()?.split_once(';')?;
        Some(pair.to_owned())
    }

    /// What a gateway makes of any bytes that were sealed with its key: nothing, or a session that
    /// is written as it was read.
    pub fn opens(&self, plain: &[u8]) -> bool {
        let Ok(keys) = SecretKeys::from_seed([7; 32]).sealer(labels::COOKIE) else {
            return false;
        };
        let Ok(sealed) = keys.seal_text(PLACE, plain) else {
            return false;
        };
        let value = format!("hs={sealed}");
        let Some((device, Some(again))) = self.find(&[value.as_bytes()]) else {
            return false;
        };
        let (pair, _) = again.split_once(';').unwrap_or_default();
        let read = self.find(&[pair.as_bytes()]);
        assert_eq!(read.map(|(device, _)| device), Some(device));
        true
    }
}
