//! Credentials that were looked up a moment ago.
//!
//! Where device-state is another process, each request of a CPE that sends its credentials unasked
//! would cost a call. What was found is kept for some seconds, so that a session's later requests
//! and devices that share a login cost none. Only what is there is kept: a new login serves at
//! once, and one whose password doesn't fit any more is looked up again.

use std::time::{Duration, Instant};

use hearth_auth::SecretString;
use hearth_types::TenantId;
use quick_cache::sync::Cache;

/// Logins kept at once.
const MOST: usize = 20_000;

type Login = (TenantId, String);

/// Passwords by tenant and user, for a short time.
pub(crate) struct LookedUp {
    kept: Cache<Login, (Instant, SecretString)>,
    time: Duration,
}

impl LookedUp {
    /// Keeps for `time`; zero keeps nothing.
    pub(crate) fn new(time: Duration) -> Self {
        Self {
            kept: Cache::new(MOST),
            time,
        }
    }

    pub(crate) fn get(&self, tenant: &TenantId, username: &str) -> Option<SecretString> {
        if self.time.is_zero() {
            return None;
        }
        let login = (tenant.clone(), username.to_owned());
        let (since, password) = self.kept.get(&login)?;
        (since.elapsed() < self.time).then_some(password)
    }

    pub(crate) fn keep(&self, tenant: &TenantId, username: &str, password: &SecretString) {
        if !self.time.is_zero() {
            let login = (tenant.clone(), username.to_owned());
            self.kept.insert(login, (Instant::now(), password.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_for_its_time_only() {
        let tenant = TenantId::default();
        let password = SecretString::from("secret".to_owned());
        let kept = LookedUp::new(Duration::from_secs(60));
        kept.keep(&tenant, "user", &password);
        assert!(kept.get(&tenant, "user").is_some() && kept.get(&tenant, "other").is_none());
        for time in [Duration::ZERO, Duration::from_nanos(1)] {
            let kept = LookedUp::new(time);
            kept.keep(&tenant, "user", &password);
            std::thread::sleep(Duration::from_millis(1));
            assert!(kept.get(&tenant, "user").is_none());
        }
    }
}
