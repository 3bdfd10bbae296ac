//! Who a CPE proves to be: Digest and Basic against the stored credentials (TR-069 3.4.5).

use std::borrow::Cow;
use std::sync::Arc;

use hearth_auth::{
    Authorization, DigestFailure, DigestOptions, DigestServer, ExposeSecret, Nonces, RequestTarget,
    SecretString, VerifyWith,
};
use hearth_clients::DeviceState;
use hearth_proto::devicestate::v1 as ds;
use hearth_runtime::Expiring;
use hearth_types::{TenantId, Timestamp};
use http::header;
use http::request::Parts;

use crate::config::{AuthSchemes, GatewayConfig};
use crate::http::target;
use crate::proof::Proof;
use crate::refusal::Refusal;

/// Longest user name that is looked up.
const MAX_USERNAME: usize = 256;
/// Logins kept at once.
const LOGINS: usize = 20_000;

/// Challenges CPEs and verifies what they answer.
pub(crate) struct Authenticator {
    digest: DigestServer,
    schemes: AuthSchemes,
    bootstrap_reopens: bool,
    basic_challenge: String,
    device_state: Arc<dyn DeviceState>,
    /// Passwords that were looked up a moment ago: where device-state is another process, each
    /// request that sends its credentials unasked would cost a call. Only what is there is kept, so
    /// that a new login serves at once.
    looked_up: Expiring<(TenantId, String), SecretString>,
}

impl Authenticator {
    pub(crate) fn new(
        config: &GatewayConfig,
        nonces: Nonces,
        device_state: Arc<dyn DeviceState>,
    ) -> Self {
        let mut options = DigestOptions::new(config.realm.clone());
        options.nonce_lifetime = config.nonce_lifetime.get();
        options.allow_without_qop = !config.digest_qop_required;
        let realm = config.realm.replace(['"', '\\'], "");
        Self {
            digest: DigestServer::new(nonces, options),
            schemes: config.auth,
            bootstrap_reopens: config.bootstrap_reopens,
            basic_challenge: format!("Basic realm=\"{realm}\""),
            device_state,
            looked_up: Expiring::new(LOGINS, config.credential_cache.get()),
        }
    }

    /// The values of WWW-Authenticate, Digest first.
    pub(crate) fn challenges(&self, now: i64, stale: bool) -> Vec<String> {
        let mut challenges = Vec::with_capacity(2);
        if self.schemes.digest() {
            let made = self.digest.challenges(Timestamp::from_micros(now), stale);
            // Without random bytes Basic is what is left to offer, or nothing.
            challenges.extend(made.unwrap_or_default());
        }
        if self.schemes.basic() {
            challenges.push(self.basic_challenge.clone());
        }
        challenges
    }

    /// The user that the request proves; `None` if it has no Authorization.
    ///
    /// # Errors
    /// [`Refusal::Unauthorized`] for an Authorization that proves nothing.
    pub(crate) async fn check(
        &self,
        parts: &Parts,
        tenant: &TenantId,
        now: i64,
    ) -> Result<Option<String>, Refusal> {
        let Some(value) = parts.headers.get(header::AUTHORIZATION) else {
            return Ok(None);
        };
        let value = text(value.as_bytes());
        let claim = Authorization::parse(&value);
        let username = claim.username().unwrap_or_default();
        if username.is_empty() || username.len() > MAX_USERNAME {
            return Err(unauthorized("malformed", username));
        }
        let allowed = match &claim {
            Authorization::Digest(_) => self.schemes.digest(),
            Authorization::Basic(_) => self.schemes.basic(),
            Authorization::Other(_) => false,
        };
        if !allowed {
            return Err(unauthorized("scheme", username));
        }
        let verify = |password: &SecretString| {
            let stored = VerifyWith::Password(password.expose_secret());
            match &claim {
                Authorization::Digest(response) => {
                    let request = RequestTarget {
                        method: parts.method.as_str(),
                        uri: target(parts),
                    };
                    let now = Timestamp::from_micros(now);
                    let verified = self.digest.verify(request, response, stored, now);
                    verified.map(|_| ())
                }
                Authorization::Basic(basic) if basic.verify(self.digest.realm(), stored) => Ok(()),
                _ => Err(DigestFailure::WrongResponse),
            }
        };
        // What doesn't fit is looked up again: the password may be a new one.
        let login = (tenant.clone(), username.to_owned());
        let kept = self.looked_up.get(&login);
        if kept.is_some_and(|password| verify(&password).is_ok()) {
            return Ok(Some(username.to_owned()));
        }
        let password = self.password(tenant, username).await?;
        // An unknown user is verified too, so that the time taken doesn't tell.
        let (known, password) = match password {
            Some(password) => (true, password),
            None => (false, SecretString::from("no such user".to_owned())),
        };
        let verified = verify(&password);
        if known && verified.is_ok() {
            self.looked_up.insert(login, password.clone());
        }
        match verified {
            _ if !known => Err(unauthorized("unknown_user", username)),
            Ok(()) => Ok(Some(username.to_owned())),
            Err(failure) => Err(Refusal::Unauthorized {
                stale: failure.is_stale(),
                reason: label(failure),
                user: username.to_owned(),
                unread: false,
            }),
        }
    }

    async fn password(
        &self,
        tenant: &TenantId,
        username: &str,
    ) -> Result<Option<SecretString>, Refusal> {
        let request = ds::GetCredentialRequest {
            tenant: tenant.as_str().to_owned(),
            username: username.to_owned(),
        };
        let found = self.device_state.get_credential(request).await;
        let found = found.map_err(|error| device_state_failed(&error))?;
        Ok(found
            .credential
            .is_some()
            .then(|| SecretString::from(found.password)))
    }

    /// Whether who proved this may be a device; whether that is to be given credentials of its own,
    /// and its quirks. The last are manufacturer and software version, as the Inform has them.
    ///
    /// # Errors
    /// [`Refusal::Identity`] or [`Refusal::Denied`] if not.
    pub(crate) async fn check_identity(
        &self,
        tenant: &TenantId,
        proof: &Proof,
        device: &str,
        when: When,
        (manufacturer, software_version): (&str, &str),
    ) -> Result<ds::CheckIdentityResponse, Refusal> {
        let bootstrapped = when == When::Bootstrap;
        let username = proof.user.clone().unwrap_or_default();
        let (line, line_device) = match &proof.line {
            Some(line) => (line.name.clone(), line.device.clone()),
            None => Default::default(),
        };
        let request = ds::CheckIdentityRequest {
            tenant: tenant.as_str().to_owned(),
            username,
            device: device.to_owned(),
            bootstrap: bootstrapped && self.bootstrap_reopens,
            line,
            line_device,
            certificate: proof.has_own_certificate(),
            in_session: when == When::InSession,
            bootstrapped,
            manufacturer: manufacturer.to_owned(),
            software_version: software_version.to_owned(),
        };
        let answer = self.device_state.check_identity(request).await;
        let answer = answer.map_err(|error| device_state_failed(&error))?;
        if answer.allowed {
            return Ok(answer);
        }
        let by = match (&proof.user, proof.label().as_str()) {
            (Some(user), _) => user.clone(),
            (None, label) => label.to_owned(),
        };
        let why = format!("{device} as {by}: {}", answer.reason);
        let known = ["blocked", "retired", "not_expected", "line"];
        Err(match known.into_iter().find(|code| *code == answer.code) {
            Some(code) => Refusal::Denied(code, why),
            None => Refusal::Identity(why),
        })
    }
}

/// In which turn an identity is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// At an Inform with `0 BOOTSTRAP`.
    Bootstrap,
    /// At another Inform.
    Inform,
    /// Later in the session.
    InSession,
}

/// User names outside ASCII come in UTF-8 or ISO-8859-1.
fn text(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(bytes.iter().copied().map(char::from).collect()),
    }
}

fn unauthorized(reason: &'static str, user: &str) -> Refusal {
    Refusal::Unauthorized {
        stale: false,
        reason,
        user: user.to_owned(),
        unread: false,
    }
}

const fn label(failure: DigestFailure) -> &'static str {
    match failure {
        DigestFailure::Stale => "stale_nonce",
        DigestFailure::WrongResponse => "wrong_password",
        DigestFailure::Malformed(_) => "malformed",
        DigestFailure::WrongRealm => "wrong_realm",
        DigestFailure::Algorithm => "algorithm",
        DigestFailure::Qop => "qop",
        DigestFailure::WrongUri => "wrong_uri",
    }
}

fn device_state_failed(error: &hearth_clients::Error) -> Refusal {
    Refusal::Unavailable {
        part: "device_state",
        why: error.to_string(),
    }
}
