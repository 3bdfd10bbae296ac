//! One replica: its connection, and what is known of whether it serves.

use super::connect::{Connector, reason};
use super::options::Options;
use super::together::Together;
use crate::methods::ServiceName;
use hearth_runtime::backoff::around;
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::Channel;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

/// Failed probes in a row after which a replica gets no more calls.
const FAILURES: u32 = 2;
/// A probe after a call's failure comes no sooner after the last one.
const MIN_PROBE_GAP: Duration = Duration::from_millis(50);

/// Whether a replica serves, as far as is known. In the order in which calls prefer them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    /// It says so.
    Serving,
    /// Not asked yet.
    Unknown,
    /// A call or a probe just failed.
    Suspect,
    /// It says that it doesn't: it is starting, stopping, or lacks what it needs.
    NotServing,
    /// It doesn't answer; why, for operators.
    Unreachable(String),
}

impl Health {
    /// How much calls want it; `None`: not at all.
    pub fn rank(&self) -> Option<u8> {
        match self {
            Self::Serving => Some(0),
            Self::Unknown => Some(1),
            Self::Suspect => Some(2),
            Self::NotServing | Self::Unreachable(_) => None,
        }
    }
}

/// One replica of a service. Dropped, it is probed no more; calls under way go on.
pub(crate) struct Endpoint {
    shared: Arc<Shared>,
    together: Together,
    _probing: AbortOnDropHandle<()>,
}

struct Shared {
    address: SocketAddr,
    channel: Channel,
    health: Mutex<Health>,
    in_flight: AtomicUsize,
    probe_now: Notify,
    /// Told when the health changes.
    changed: Arc<Notify>,
}

impl Endpoint {
    /// A replica at `address`, named `host` in the configuration. Connects when first used. `changed` is told when its
    /// health changes.
    pub fn new(
        service: ServiceName,
        address: SocketAddr,
        connector: Connector,
        options: &Options,
        changed: Arc<Notify>,
    ) -> Self {
        let channel = channel(address, connector, options);
        let metrics = options.metrics.clone();
        let together = Together::new(service, channel.clone(), options.max_message, metrics);
        let shared = Arc::new(Shared {
            address,
            channel,
            health: Mutex::new(Health::Unknown),
            in_flight: AtomicUsize::new(0),
            probe_now: Notify::new(),
            changed,
        });
        let interval = options.probe_interval;
        let probing = tokio::spawn(probe(shared.clone(), service, interval));
        Self {
            shared,
            together,
            _probing: AbortOnDropHandle::new(probing),
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.shared.address
    }

    pub fn health(&self) -> Health {
        self.shared.health.lock().clone()
    }

    /// How much calls want it; `None`: not at all.
    pub fn rank(&self) -> Option<u8> {
        self.shared.health.lock().rank()
    }

    /// Its connection, for one call.
    pub fn channel(&self) -> Channel {
        self.shared.channel.clone()
    }

    /// Its calls that travel together.
    pub fn together(&self) -> &Together {
        &self.together
    }

    /// Calls under way.
    pub fn load(&self) -> usize {
        self.shared.in_flight.load(Ordering::Relaxed)
    }

    /// Counts a call until the guard is dropped.
    pub fn enter(&self) -> InFlight {
        self.shared.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(self.shared.clone())
    }

    /// A call to it failed on the way: others are preferred until it answers a probe, which is sent at once.
    pub fn suspect(&self) {
        let mut health = self.shared.health.lock();
        if matches!(*health, Health::Serving | Health::Unknown) {
            *health = Health::Suspect;
            drop(health);
            self.shared.changed.notify_one();
        }
        self.shared.probe_now.notify_one();
    }

    /// It said that it doesn't serve: it gets no calls until it says otherwise.
    pub fn refused(&self) {
        self.shared.set(Health::NotServing);
    }
}

/// A call under way.
pub(crate) struct InFlight(Arc<Shared>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shared {
    fn set(&self, new: Health) {
        let mut health = self.health.lock();
        if *health != new {
            tracing::debug!(address = %self.address, from = ?*health, to = ?new, "a replica's health");
            *health = new;
            drop(health);
            self.changed.notify_one();
        }
    }
}

fn channel(address: SocketAddr, connector: Connector, options: &Options) -> Channel {
    // TLS is the connector's; the URI only makes the `:authority`.
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(http::uri::Scheme::HTTP);
    uri.authority = address.to_string().parse().ok();
    uri.path_and_query = Some(http::uri::PathAndQuery::from_static("/"));
    let uri = http::Uri::from_parts(uri).unwrap_or_default();
    let ping = options.probe_interval.max(Duration::from_secs(1));
    Channel::builder(uri)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(8 << 20)
        .http2_keep_alive_interval(ping * 2)
        .keep_alive_timeout(ping * 3)
        .keep_alive_while_idle(true)
        .connect_with_connector_lazy(connector)
}

/// Asks a replica again and again whether it serves.
async fn probe(shared: Arc<Shared>, service: ServiceName, interval: Duration) {
    let mut client = HealthClient::new(shared.channel.clone());
    let mut failures = 0;
    loop {
        let request = HealthCheckRequest {
            service: service.grpc_name().to_owned(),
        };
        let limit = interval.max(Duration::from_millis(500));
        let answer = tokio::time::timeout(limit, client.check(request)).await;
        let failure = match answer {
            Ok(Ok(answer)) if answer.get_ref().status() == ServingStatus::Serving => {
                shared.set(Health::Serving);
                None
            }
            Ok(Ok(_)) => {
                shared.set(Health::NotServing);
                None
            }
            // It is there and doesn't know the service: it doesn't run the role.
            Ok(Err(status)) if status.code() == tonic::Code::NotFound => {
                shared.set(Health::NotServing);
                None
            }
            Ok(Err(status)) => Some(reason(&status)),
            Err(_elapsed) => Some(format!("no answer within {limit:?}")),
        };
        match failure {
            None => failures = 0,
            Some(why) => {
                failures += 1;
                if failures >= FAILURES {
                    shared.set(Health::Unreachable(why));
                } else if shared.health.lock().rank().is_some() {
                    shared.set(Health::Suspect);
                }
            }
        }
        // One that just failed is asked again sooner.
        let pause = around(if failures == 1 {
            interval / 4
        } else {
            interval
        });
        tokio::time::sleep(MIN_PROBE_GAP.min(pause)).await;
        tokio::select! {
            () = tokio::time::sleep(pause.saturating_sub(MIN_PROBE_GAP)) => {}
            () = shared.probe_now.notified() => {}
        }
    }
}
