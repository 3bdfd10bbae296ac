//! The gateway as a service: what it needs, its listener, its life.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use hearth_auth::{KeyError, SecretKeys, labels};
use hearth_bus::Bus;
use hearth_clients::{DeviceState, Workflow};
use hearth_config::Documented;
use hearth_cwmp::Limits;
use hearth_runtime::http::{BindError, HttpOptions, HttpServer, bind};
use hearth_runtime::{BoxError, Clock, Service, ServiceContext};
use hearth_telemetry::{MetricError, Registry};
use hearth_types::TenantId;
use tokio::net::TcpListener;

use crate::admission::Admission;
use crate::auth::Authenticator;
use crate::config::GatewayConfig;
use crate::cookie::Cookies;
use crate::edge::Edge;
use crate::http::{Bodies, host_of};
use crate::logs::LogGate;
use crate::metrics::{Metrics, register_levels};

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
    /// The listener doesn't tell its address.
    #[error("the listener is of no use")]
    Listener(#[source] std::io::Error),
}

/// The CPE edge, listening since it was made; serving once it runs.
pub struct Gateway {
    listener: TcpListener,
    address: SocketAddr,
    edge: Arc<Edge>,
    registry: Registry,
}

impl Gateway {
    /// A gateway on this address; TR-069's port is 7547.
    ///
    /// # Errors
    /// See [`GatewayError`].
    pub fn bind(
        address: SocketAddr,
        config: GatewayConfig,
        dependencies: Dependencies,
        registry: &Registry,
    ) -> Result<Self, GatewayError> {
        let listener = bind(address)?;
        Self::new(listener, config, dependencies, registry)
    }

    /// A gateway on a listener that is bound already.
    ///
    /// # Errors
    /// See [`GatewayError`].
    pub fn new(
        listener: TcpListener,
        config: GatewayConfig,
        dependencies: Dependencies,
        registry: &Registry,
    ) -> Result<Self, GatewayError> {
        if let Some((key, problem)) = config.validate().into_iter().next() {
            return Err(GatewayError::Config(format!("gateway.{key}: {problem}")));
        }
        let address = listener.local_addr().map_err(GatewayError::Listener)?;
        let admission = Admission::new(
            config.max_informs,
            config.max_body_in_flight.as_usize(),
            config.retry_after.get(),
        );
        let keys = &dependencies.keys;
        let edge = Edge {
            cookies: Cookies::new(
                keys.sealer(labels::COOKIE)?,
                config.session_max.get().as_secs(),
            ),
            at_rest: keys.sealer(labels::AT_REST)?,
            auth: Authenticator::new(&config, keys.digest_nonces()?, dependencies.device_state),
            admission: Arc::new(admission),
            metrics: Metrics::new(registry)?,
            bodies: Bodies::new(&config),
            limits: Limits {
                bytes: config.max_body.as_usize(),
                ..Limits::default()
            },
            default_tenant: TenantId::default(),
            local_host: local_host(&config, address.ip()),
            refusal_log: LogGate::default(),
            bus: dependencies.bus,
            workflow: dependencies.workflow,
            clock: dependencies.clock,
            config,
        };
        Ok(Self {
            listener,
            address,
            edge: Arc::new(edge),
            registry: registry.clone(),
        })
    }

    /// The address listened on, with the real port.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }
}

fn local_host(config: &GatewayConfig, listening: IpAddr) -> String {
    if !config.public_host.is_empty() {
        return config.public_host.clone();
    }
    let address = if listening.is_unspecified() {
        IpAddr::V4(Ipv4Addr::LOCALHOST)
    } else {
        listening
    };
    host_of(address)
}

fn options(config: &GatewayConfig) -> HttpOptions {
    let per_peer = config.max_connections_per_peer;
    HttpOptions {
        title_case_headers: true,
        header_timeout: config.header_timeout.get(),
        idle_timeout: config.keep_alive.get(),
        max_connections: config.max_connections,
        max_connections_per_peer: (per_peer > 0).then_some(per_peer),
        retry_after_secs: u32::try_from(config.retry_after.get().as_secs()).unwrap_or(u32::MAX),
        drain_timeout: config.drain_timeout.get(),
        ..HttpOptions::new("cwmp")
    }
}

#[async_trait]
impl Service for Gateway {
    fn name(&self) -> &str {
        "gateway"
    }

    async fn run(self: Box<Self>, ctx: ServiceContext) -> Result<(), BoxError> {
        let Self {
            listener,
            address,
            edge,
            registry,
        } = *self;
        let options = options(&edge.config);
        let admission = edge.admission.clone();
        let service = tower::service_fn(move |request| {
            let edge = edge.clone();
            async move { Ok::<_, Infallible>(edge.serve(request).await) }
        });
        let server = HttpServer::new(listener, service, options);
        register_levels(&registry, admission, server.stats())?;
        tracing::info!(%address, "CPEs can connect");
        ctx.readiness.ready();
        server.run(ctx.stop).await;
        Ok(())
    }
}
