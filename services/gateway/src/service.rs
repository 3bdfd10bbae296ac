//! The gateway as a service: what it needs, its listener, its life.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hearth_auth::{KeyError, SecretKeys, labels};
use hearth_bus::Bus;
use hearth_clients::{DeviceState, Workflow};
use hearth_config::Documented;
use hearth_cwmp::Limits;
use hearth_runtime::http::{BindError, HttpServer};
use hearth_runtime::{BoxError, Clock, Seldom, Service, ServiceContext};
use hearth_telemetry::{MetricError, Registry};
use hearth_types::TenantId;
use tokio::task::JoinSet;

use crate::admission::Admission;
use crate::auth::Authenticator;
use crate::capture::Captures;
use crate::config::GatewayConfig;
use crate::cookie::Cookies;
use crate::edge::Edge;
use crate::http::{Bodies, host_of};
use crate::line::Lines;
use crate::listeners::{Kind, ListenAddresses, Listeners, options};
use crate::metrics::{Metrics, TimelineMetrics, followed, register_levels, register_tls};
use crate::noted::{Noted, tell};
use crate::redirect::Redirects;
use crate::timeline::{self, Timeline};
use crate::tls::door::Door;
use crate::tls::files::TlsError;
use crate::tls::source::Tls;

/// Refused requests that are told of in a second.
const REFUSALS_TOLD: u32 = 10;

/// What a gateway needs from the rest of the house.
#[derive(Clone)]
pub struct Dependencies {
    /// Where events become durable.
    pub bus: Arc<dyn Bus>,
    /// Sessions and tasks.
    pub workflow: Arc<dyn Workflow>,
    /// Credentials and identities.
    pub device_state: Arc<dyn DeviceState>,
    /// Keys of the session cookie, of digest nonces and of sealed values. All replicas have the
    /// same ones.
    pub keys: SecretKeys,
    /// Wall-clock time.
    pub clock: Arc<dyn Clock>,
}

/// A gateway can't be made.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// Its address can't be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A key can't be derived.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// Its metrics can't be registered.
    #[error(transparent)]
    Metrics(#[from] MetricError),
    /// A setting can't be used: which, and what is expected.
    #[error("{0}")]
    Config(String),
    /// Its certificates can't be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The listener doesn't tell its address.
    #[error("the listener is of no use")]
    Listener(#[source] std::io::Error),
}

/// The CPE edge, listening since it was made; serving once it runs.
pub struct Gateway {
    listeners: Listeners,
    addresses: ListenAddresses,
    edge: Arc<Edge>,
    tls: Option<Arc<Tls>>,
    registry: Registry,
}

impl Gateway {
    /// A gateway on this address, TR-069's port being 7547, and on those of its settings.
    ///
    /// # Errors
    /// See [`GatewayError`].
    pub fn bind(
        address: SocketAddr,
        config: GatewayConfig,
        dependencies: Dependencies,
        registry: &Registry,
    ) -> Result<Self, GatewayError> {
        let listeners = Listeners::bind(address, &config)?;
        Self::new(listeners, config, dependencies, registry)
    }

    /// A gateway on listeners that are bound already.
    ///
    /// # Errors
    /// See [`GatewayError`].
    pub fn new(
        listeners: Listeners,
        config: GatewayConfig,
        dependencies: Dependencies,
        registry: &Registry,
    ) -> Result<Self, GatewayError> {
        let addresses = listeners.addresses().map_err(GatewayError::Listener)?;
        let (edge, tls) = edge(addresses, config, dependencies, registry)?;
        Ok(Self {
            listeners,
            addresses,
            edge,
            tls,
            registry: registry.clone(),
        })
    }

    /// The addresses listened on, with the real ports.
    pub fn addresses(&self) -> ListenAddresses {
        self.addresses
    }
}

/// What answers requests, whatever they come over.
pub(crate) fn edge(
    addresses: ListenAddresses,
    config: GatewayConfig,
    dependencies: Dependencies,
    registry: &Registry,
) -> Result<(Arc<Edge>, Option<Arc<Tls>>), GatewayError> {
    if let Some((key, problem)) = config.validate().into_iter().next() {
        return Err(GatewayError::Config(format!("gateway.{key}: {problem}")));
    }
    let admission = Admission::new(&config);
    let keys = &dependencies.keys;
    let clock = dependencies.clock;
    let tls = Tls::load(&config.tls, keys, clock.clone())?.map(Arc::new);
    let metrics = Metrics::new(registry)?;
    let listening = addresses.any().map(|address| address.ip());
    let captures = Arc::<Captures>::default();
    let edge = Edge {
        cookies: Cookies::new(
            keys.sealer(labels::COOKIE)?,
            config.session_max.get().as_secs(),
        ),
        at_rest: keys.sealer(labels::AT_REST)?,
        lines: Lines::new(
            Arc::clone(&dependencies.device_state),
            keys.sealer(labels::AT_REST)?,
            Arc::clone(&captures),
        ),
        noted: Noted::new(Arc::clone(&dependencies.device_state), registry)?,
        auth: Authenticator::new(&config, keys.digest_nonces()?, dependencies.device_state),
        door: Door::new(tls.clone(), &config.tls, &config.proxy, clock.clone()),
        redirects: Redirects::new(&config.redirects, metrics.redirected.clone()),
        admission: Arc::new(admission),
        metrics,
        bodies: Bodies::new(&config),
        limits: Limits {
            bytes: config.max_body.as_usize(),
            ..Limits::default()
        },
        default_tenant: TenantId::default(),
        local_host: local_host(&config, listening),
        refusal_log: Seldom::new(REFUSALS_TOLD, Duration::from_secs(1)),
        captures,
        timeline: Timeline::new(
            config.session_memory.as_usize(),
            TimelineMetrics::new(registry)?,
        ),
        bus: dependencies.bus,
        workflow: dependencies.workflow,
        clock,
        config,
    };
    Ok((Arc::new(edge), tls))
}

fn local_host(config: &GatewayConfig, listening: Option<IpAddr>) -> String {
    if !config.public_host.is_empty() {
        return config.public_host.clone();
    }
    let address = listening.filter(|address| !address.is_unspecified());
    host_of(address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)))
}

#[async_trait]
impl Service for Gateway {
    fn name(&self) -> &str {
        "gateway"
    }

    async fn run(self: Box<Self>, ctx: ServiceContext) -> Result<(), BoxError> {
        let Self {
            listeners,
            addresses,
            edge,
            tls,
            registry,
        } = *self;
        let mut running = JoinSet::new();
        let mut stats = Vec::new();
        for (kind, listener) in [
            (Kind::Plain, listeners.plain),
            (Kind::Tls, listeners.tls),
            (Kind::Legacy, listeners.legacy),
        ] {
            let Some(listener) = listener else { continue };
            let options = options(&edge.config, kind, tls.as_ref());
            let edge = edge.clone();
            let service = tower::service_fn(move |request| {
                let edge = edge.clone();
                async move { Ok::<_, Infallible>(edge.serve(request).await) }
            });
            let server = HttpServer::new(listener, service, options);
            if kind == Kind::Tls {
                register_tls(&registry, server.stats())?;
            }
            stats.push(server.stats());
            running.spawn(server.run(ctx.stop.clone()));
        }
        running.spawn(tell(edge.clone(), ctx.stop.clone()));
        register_levels(&registry, edge.admission.clone(), stats)?;
        running.spawn(timeline::run(Arc::clone(&edge), ctx.stop.clone()));
        if let Some(tls) = tls {
            running.spawn(tls.follow(followed(&registry)?, ctx.stop.clone()));
        }
        let ListenAddresses { plain, tls, legacy } = addresses;
        let shown = |address: Option<SocketAddr>| address.map(tracing::field::display);
        tracing::info!(
            plain = shown(plain),
            tls = shown(tls),
            legacy = shown(legacy),
            "CPEs can connect"
        );
        ctx.readiness.ready();
        while let Some(ended) = running.join_next().await {
            ended?;
        }
        timeline::tell_all(&edge).await;
        Ok(())
    }
}
