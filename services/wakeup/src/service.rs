//! The role: coalesces, paces and bounds connection requests, and says in
//! words what came of each.

use crate::WakeupConfig;
use crate::guard::{Refused, Target};
use crate::metrics::Metrics;
use crate::request::{self, Login, Reply};
use async_trait::async_trait;
use hearth_clients::{DeviceState, Error, Result, Wakeup};
use hearth_proto::devicestate::v1::GetConnectionRequestRequest;
use hearth_proto::wakeup::v1::{WakeOutcome, WakeRequest, WakeResponse};
use hearth_telemetry::{MetricError, Registry};
use hearth_types::DeviceKey;
use std::{sync::Arc, time::Instant};
use tokio::{sync::Semaphore, time::timeout};

/// Devices whose last request is remembered, for pacing.
const REMEMBERED: u64 = 100_000;

/// The wake-up role.
#[derive(Clone)]
pub struct WakeupService {
    inner: Arc<Inner>,
}

struct Inner {
    config: WakeupConfig,
    devices: Arc<dyn DeviceState>,
    /// Requests to the same device while one is under way share its outcome;
    /// one that comes sooner than the least interval is refused.
    recent: moka::future::Cache<DeviceKey, Finished>,
    slots: Semaphore,
    metrics: Metrics,
}

#[derive(Clone)]
struct Finished {
    at: Instant,
    response: WakeResponse,
}

impl WakeupService {
    /// The role over `devices`, which knows where devices take requests.
    ///
    /// # Errors
    /// When its metrics can't be registered.
    pub fn new(
        config: WakeupConfig,
        devices: Arc<dyn DeviceState>,
        registry: &Registry,
    ) -> std::result::Result<Self, MetricError> {
        let recent = moka::future::Cache::builder()
            .max_capacity(REMEMBERED)
            .time_to_live(config.min_interval.0)
            .build();
        let slots = Semaphore::new(config.max_concurrent);
        let metrics = Metrics::new(registry)?;
        let inner = Inner {
            config,
            devices,
            recent,
            slots,
            metrics,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }
}

#[async_trait]
impl Wakeup for WakeupService {
    async fn wake(&self, request: WakeRequest) -> Result<WakeResponse> {
        let key = DeviceKey::parse(&request.tenant, &request.device)?;
        let asked = Instant::now();
        let inner = &self.inner;
        let entry = inner
            .recent
            .entry(key.clone())
            .or_try_insert_with(async {
                let response = inner.ask(&key).await?;
                let at = Instant::now();
                Ok::<_, Error>(Finished { at, response })
            })
            .await
            .map_err(|error: Arc<Error>| (*error).clone())?;
        let fresh = entry.is_fresh();
        let finished = entry.into_value();
        if fresh || finished.at >= asked {
            return Ok(finished.response);
        }
        let wait = inner
            .config
            .min_interval
            .0
            .saturating_sub(finished.at.elapsed());
        inner.count(WakeOutcome::RateLimited);
        Ok(WakeResponse {
            outcome: WakeOutcome::RateLimited.into(),
            detail: "the device was asked a moment ago".into(),
            retry_after_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1),
        })
    }
}

impl Inner {
    async fn ask(&self, key: &DeviceKey) -> Result<WakeResponse> {
        let where_to = self
            .devices
            .get_connection_request(GetConnectionRequestRequest {
                tenant: key.tenant.as_str().into(),
                device: key.device.as_str().into(),
            })
            .await?;
        if where_to.url.is_empty() {
            let detail = "the device has not told a ConnectionRequestURL yet; \
                          the task waits for its next Inform";
            return Ok(self.finish(key, WakeOutcome::NoAddress, detail.into()));
        }
        let login = (!where_to.username.is_empty()).then(|| Login {
            username: where_to.username,
            password: where_to.password.into(),
        });
        let _slot = self
            .slots
            .acquire()
            .await
            .map_err(|_| Error::unavailable("the server is stopping"))?;
        self.metrics.under_way.inc();
        let timer = self.metrics.seconds.start_timer();
        let (outcome, detail) = self.request(&where_to.url, login.as_ref()).await;
        timer.observe_duration();
        self.metrics.under_way.dec();
        Ok(self.finish(key, outcome, detail))
    }

    async fn request(&self, url: &str, login: Option<&Login>) -> (WakeOutcome, String) {
        let attempt = timeout(self.config.timeout.0, self.attempt(url, login)).await;
        match attempt {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(ref refused @ Refused::Address(address))) => (
                WakeOutcome::Forbidden,
                format!("{refused}; {}", remedy(address)),
            ),
            Ok(Err(refused)) => (WakeOutcome::Unreachable, refused.to_string()),
            Err(_) => (
                WakeOutcome::Unreachable,
                format!(
                    "no answer within {:?}; the device may be off, or behind NAT or a firewall",
                    self.config.timeout.0
                ),
            ),
        }
    }

    async fn attempt(
        &self,
        url: &str,
        login: Option<&Login>,
    ) -> std::result::Result<(WakeOutcome, String), Refused> {
        let target = Target::parse(url)?;
        let mut last = (WakeOutcome::Unreachable, String::new());
        for address in target.resolve(&self.config).await? {
            last = match request::send(&target, address, login).await {
                Ok(reply) => return Ok(in_words(&reply)),
                Err(error) => (
                    WakeOutcome::Unreachable,
                    format!("can't connect to the device: {error}"),
                ),
            };
        }
        Ok(last)
    }

    fn finish(&self, key: &DeviceKey, outcome: WakeOutcome, detail: String) -> WakeResponse {
        self.count(outcome);
        tracing::debug!(device = %key, outcome = outcome.as_str_name(), detail, "connection request");
        WakeResponse {
            outcome: outcome.into(),
            detail,
            retry_after_ms: 0,
        }
    }

    fn count(&self, outcome: WakeOutcome) {
        let label = outcome
            .as_str_name()
            .trim_start_matches("WAKE_OUTCOME_")
            .to_ascii_lowercase();
        self.metrics.requests.with_label_values(&[&label]).inc();
    }
}

fn in_words(reply: &Reply) -> (WakeOutcome, String) {
    match reply {
        Reply::Accepted => (
            WakeOutcome::Accepted,
            "the device accepted; its Inform is due within 30 s".into(),
        ),
        Reply::Credentials(why) => (
            WakeOutcome::Credentials,
            format!("{why}; set them with `hearthctl credential set --connection-request`"),
        ),
        Reply::Busy => (
            WakeOutcome::Busy,
            "the device is busy (503); it will be in a session now or soon".into(),
        ),
        Reply::Status(status) => (
            WakeOutcome::Unreachable,
            format!("the device answered with status {status}"),
        ),
        Reply::Unreadable => (
            WakeOutcome::Unreachable,
            "the device's answer can't be read as HTTP".into(),
        ),
    }
}
/// What to do so that an address is asked.
fn remedy(address: std::net::IpAddr) -> &'static str {
    match address.to_canonical().is_loopback() {
        true => "for devices on the server's own machine set wakeup.allow_loopback=true",
        false => "allow its range in the server's configuration",
    }
}
