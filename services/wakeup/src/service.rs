//! The role: coalesces, paces and bounds wake-ups, and says in words what came of each.

use crate::attempt::Tried;
use crate::config::WakeupConfig;
use crate::metrics::Metrics;
use crate::notify::{NotificationDependencies, Notifications};
use crate::pace::{Grain, Pace};
use crate::request::{Login, Manner};
use crate::role::{Sockets, WakeupRole};
use crate::stun::{Stun, StunDependencies};
use crate::tls::{self, TlsError};
use crate::udp::{Sender, Siblings};
use crate::ways::{self, Can};
use crate::xmpp::Xmpp;
use async_trait::async_trait;
use hearth_bus::Bus;
use hearth_clients::{DeviceState, Error, Result, Wakeup};
use hearth_proto::devicestate::v1::GetConnectionRequestRequest;
use hearth_proto::wakeup::v1::{
    SendDatagramRequest, SendDatagramResponse, WakeOutcome, WakeRequest, WakeResponse, WakeWay,
};
use hearth_runtime::Clock;
use hearth_telemetry::{MetricError, Registry};
use hearth_types::DeviceKey;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use std::{io, sync::Arc};
use tokio::sync::Semaphore;

/// Devices whose last request is remembered, for pacing.
const REMEMBERED: u64 = 100_000;
/// The longest datagram that a replica sends for another.
const MAX_DATAGRAM: usize = 2048;

/// What the role works with.
pub struct Dependencies {
    /// Knows where devices take requests, and keeps what is learned.
    pub devices: Arc<dyn DeviceState>,
    /// Where notifications and outcomes go.
    pub bus: Arc<dyn Bus>,
    /// Wall-clock time.
    pub clock: Arc<dyn Clock>,
    /// The role in other processes, if there are any.
    pub siblings: Option<Arc<dyn Siblings>>,
    /// Tells this process from its replicas.
    pub replica: String,
}

/// The role can't be made.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A mistake in the program.
    #[error(transparent)]
    Metrics(#[from] MetricError),
    /// TLS towards devices.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A socket.
    #[error("a UDP socket can't be used: {0}")]
    Socket(#[from] io::Error),
}

/// The wake-up role.
#[derive(Clone)]
pub struct WakeupService {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub config: WakeupConfig,
    pub devices: Arc<dyn DeviceState>,
    pub bus: Arc<dyn Bus>,
    pub clock: Arc<dyn Clock>,
    pub manner: Manner,
    pub udp: Option<Sender>,
    pub xmpp: Option<Xmpp>,
    pub subnets: Pace,
    pub metrics: Arc<Metrics>,
    /// Requests to the same device while one is under way share its outcome;
    /// one that comes sooner than the least interval is refused.
    recent: moka::future::Cache<DeviceKey, Finished>,
    slots: Semaphore,
}

#[derive(Clone)]
struct Finished {
    at: Instant,
    response: WakeResponse,
}

impl WakeupService {
    /// The role, and what runs its sockets. Must be called in a Tokio runtime.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn new(
        config: WakeupConfig,
        with: Dependencies,
        sockets: Sockets,
        registry: &Registry,
    ) -> std::result::Result<(Self, WakeupRole), StartError> {
        let metrics = Arc::new(Metrics::new(registry)?);
        let (xmpp, xmpp_task) = Xmpp::new(&config.xmpp, Arc::clone(&metrics)).unzip();
        let stun = match sockets.stun {
            None => None,
            Some(socket) => {
                let dependencies = StunDependencies {
                    devices: Arc::clone(&with.devices),
                    clock: Arc::clone(&with.clock),
                    metrics: Arc::clone(&metrics),
                    replica: with.replica,
                };
                let socket = tokio::net::UdpSocket::from_std(socket)?;
                Some(Stun::new(socket, config.stun.clone(), dependencies)?)
            }
        };
        let notifications = match sockets.notifications {
            None => None,
            Some(socket) => {
                let dependencies = NotificationDependencies {
                    devices: Arc::clone(&with.devices),
                    bus: Arc::clone(&with.bus),
                    clock: Arc::clone(&with.clock),
                    metrics: Arc::clone(&metrics),
                };
                let socket = tokio::net::UdpSocket::from_std(socket)?;
                let settings = config.notifications.clone();
                Some(Notifications::new(socket, settings, dependencies))
            }
        };
        let role = WakeupRole {
            stun: stun.clone(),
            notifications,
            xmpp: xmpp_task,
        };
        let udp = stun.map(|stun| Sender {
            stun,
            siblings: with.siblings,
            devices: Arc::clone(&with.devices),
            copies: config.stun.copies,
        });
        let inner = Inner {
            manner: Manner {
                tls: tls::client(&config)?,
                basic: config.basic,
            },
            recent: moka::future::Cache::builder()
                .max_capacity(REMEMBERED)
                .time_to_live(config.min_interval.0)
                .build(),
            slots: Semaphore::new(config.max_concurrent),
            subnets: Pace::new(config.subnet_rate, Grain::Subnet),
            config,
            devices: with.devices,
            bus: with.bus,
            clock: with.clock,
            udp,
            xmpp,
            metrics,
        };
        let inner = Arc::new(inner);
        Ok((Self { inner }, role))
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
                let response = Box::pin(inner.ask(&key)).await?;
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
        let interval = inner.config.min_interval.0;
        let wait = interval.saturating_sub(finished.at.elapsed());
        Ok(inner.too_soon("the device was asked a moment ago", wait))
    }

    /// For the other replicas: the guard is theirs and this one's.
    async fn send_datagram(&self, request: SendDatagramRequest) -> Result<SendDatagramResponse> {
        let address: SocketAddr = request
            .address
            .parse()
            .map_err(|_| Error::invalid("address", "expected an IP address and a port"))?;
        if !crate::guard::allowed(address.ip(), &self.inner.config) {
            let text = "not in a range that `wakeup.allow` holds, or is never asked";
            return Err(Error::invalid("address", text));
        }
        if request.payload.len() > MAX_DATAGRAM {
            return Err(Error::invalid("payload", "expected at most 2048 bytes"));
        }
        let mine =
            |sender: &&Sender| sender.stun.has_heard(address) || sender.stun.is(&request.replica);
        let Some(sender) = self.inner.udp.as_ref().filter(mine) else {
            return Ok(SendDatagramResponse { sent: false });
        };
        let sent = sender.stun.send(address, &request.payload, request.copies);
        sent.await
            .map_err(|error| Error::unavailable(format!("the STUN socket: {error}")))?;
        Ok(SendDatagramResponse { sent: true })
    }
}

impl Inner {
    pub(crate) fn can(&self) -> Can {
        Can {
            udp: self.udp.is_some(),
            xmpp: self.xmpp.is_some(),
            lifetime: self.config.stun.lifetime.0,
        }
    }

    async fn ask(&self, key: &DeviceKey) -> Result<WakeResponse> {
        let request = GetConnectionRequestRequest {
            tenant: key.tenant.as_str().into(),
            device: key.device.as_str().into(),
        };
        let how = self.devices.get_connection_request(request).await?;
        let login = (!how.username.is_empty()).then(|| Login {
            username: how.username.clone(),
            password: how.password.clone().into(),
        });
        let _slot = self
            .slots
            .acquire()
            .await
            .map_err(|_| Error::unavailable("the server is stopping"))?;
        self.metrics.under_way.inc();
        let timer = self.metrics.seconds.start_timer();
        let tried = self.try_ways(key, &how, login.as_ref()).await;
        timer.observe_duration();
        self.metrics.under_way.dec();
        let attempts = match tried {
            Tried::Ways(attempts) => attempts,
            Tried::Wait(wait) => {
                let why = "many devices of the same subnet are asked now";
                return Ok(self.too_soon(why, wait));
            }
        };
        let nothing = || {
            let detail = "the device has not told a ConnectionRequestURL yet";
            (
                WakeOutcome::NoAddress,
                WakeWay::Unspecified,
                detail.to_owned(),
            )
        };
        let (outcome, way, detail) = attempts.last().map_or_else(nothing, |last| {
            let detail = in_one(&attempts);
            (last.outcome(), last.way(), detail)
        });
        self.count(outcome);
        tracing::debug!(device = %key, outcome = outcome.as_str_name(), detail, "wake-up");
        let response = WakeResponse {
            outcome: outcome.into(),
            detail,
            retry_after_ms: 0,
            way: way.into(),
            attempts,
        };
        self.record(key, &how, &response).await;
        Ok(response)
    }

    fn too_soon(&self, why: &str, wait: Duration) -> WakeResponse {
        self.count(WakeOutcome::RateLimited);
        WakeResponse {
            outcome: WakeOutcome::RateLimited.into(),
            detail: why.into(),
            retry_after_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1),
            ..WakeResponse::default()
        }
    }

    fn count(&self, outcome: WakeOutcome) {
        let label = ways::outcome_name(outcome);
        self.metrics.requests.with_label_values(&[&label]).inc();
    }
}

/// What came of all ways in one text; the ways are named where there is more than one.
fn in_one(attempts: &[hearth_proto::wakeup::v1::WakeAttempt]) -> String {
    match attempts {
        [only] => only.detail.clone(),
        many => {
            let texts = many
                .iter()
                .map(|one| format!("{}: {}", ways::name(one.way()), one.detail));
            texts.collect::<Vec<_>>().join("; ")
        }
    }
}
