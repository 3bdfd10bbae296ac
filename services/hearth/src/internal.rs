//! This process's roles for others: the gRPC server on `internal.listen`, and its health, service by service.

use crate::backends::{BUS, QUEUE, STORE};
use crate::config::HearthConfig;
use crate::roles::Role;
use async_trait::async_trait;
use hearth_clients::serve::{Guard, Services, routes};
use hearth_clients::{Identity, IdentityError, ServiceName};
use hearth_runtime::http::{HttpOptions, HttpServer};
use hearth_runtime::{
    BoxError, CancellationToken, Readiness, Service, ServiceContext, ServiceState,
};
use std::time::Duration;
use tokio::net::TcpListener;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

/// How often the health is brought up to date.
const HEALTH_INTERVAL: Duration = Duration::from_millis(200);

/// The server for other processes: a [`Service`] named `internal`.
pub(crate) struct Internal {
    server: HttpServer<Routes>,
    guard: Guard,
    health: Health,
    identity: Option<Identity>,
    /// How long others have to learn that this process leaves.
    notice: Duration,
}

impl Internal {
    /// `services` on a listener that is bound.
    ///
    /// # Errors
    /// When TLS can't be used.
    pub fn new(
        config: &HearthConfig,
        listener: TcpListener,
        services: Services,
        guard: Guard,
        identity: Option<Identity>,
        readiness: Readiness,
    ) -> Result<Self, IdentityError> {
        let reporter = HealthReporter::new();
        let tls = identity.as_ref().map(Identity::server_config).transpose()?;
        let options = HttpOptions {
            http2: true,
            max_connections: 10_000,
            tls,
            ..HttpOptions::new("internal")
        };
        let health = Health {
            lines: services
                .names()
                .into_iter()
                .map(|name| (name, lines(config, name)))
                .collect(),
            reporter: reporter.clone(),
            readiness,
        };
        let routes = routes(services, &guard, &reporter).prepare();
        Ok(Self {
            server: HttpServer::new(listener, routes, options),
            guard,
            health,
            identity,
            notice: config.internal.probe_interval.get() * 3 / 2,
        })
    }

    /// The server's connections, for metrics.
    pub fn stats(&self) -> std::sync::Arc<hearth_runtime::http::HttpStats> {
        self.server.stats()
    }
}

#[async_trait]
impl Service for Internal {
    fn name(&self) -> &str {
        "internal"
    }

    async fn run(self: Box<Self>, ctx: ServiceContext) -> Result<(), BoxError> {
        let Self {
            server,
            guard,
            health,
            identity,
            notice,
        } = *self;
        ctx.readiness.ready();
        let stop = CancellationToken::new();
        let _stop = stop.clone().drop_guard();
        let certificates = async {
            if let Some(identity) = identity {
                identity.follow_files(stop.clone()).await;
            }
        };
        let leaving = async {
            health.follow(&ctx.stop).await;
            // Others hear of it and go elsewhere; what they sent meanwhile is still worked on.
            tokio::time::sleep(notice).await;
            guard.leave();
            stop.cancel();
        };
        tokio::join!(server.run(stop.clone()), certificates, leaving);
        guard.writes_ended().await;
        Ok(())
    }
}

/// The lines of the readiness that a service depends on: its own and its servers'. Other roles are not among them:
/// what is missing there the calls tell that need it.
fn lines(config: &HearthConfig, service: ServiceName) -> Vec<String> {
    let Some(role) = Role::ALL
        .into_iter()
        .find(|role| role.service() == Some(service))
    else {
        return Vec::new();
    };
    let mut lines = vec![role.name().to_owned()];
    if config.is_distributed() {
        let (bus, queue, store) = role.needs_servers();
        let servers = [(bus, BUS), (queue, QUEUE), (store, STORE)];
        lines.extend(
            servers
                .into_iter()
                .filter(|(needed, _)| *needed)
                .map(|(_, name)| name.to_owned()),
        );
    }
    lines
}

/// What gRPC's health service says of each service.
struct Health {
    lines: Vec<(ServiceName, Vec<String>)>,
    reporter: HealthReporter,
    readiness: Readiness,
}

impl Health {
    /// Keeps it true until `stop`; then nothing serves.
    async fn follow(&self, stop: &CancellationToken) {
        loop {
            let down = stop.is_cancelled() || self.readiness.is_draining();
            let snapshot = self.readiness.snapshot();
            for (service, lines) in &self.lines {
                // A line that isn't there is of what this process doesn't have or need.
                let missing = snapshot
                    .iter()
                    .any(|line| lines.contains(&line.name) && line.state != ServiceState::Ready);
                let status = if down || missing {
                    ServingStatus::NotServing
                } else {
                    ServingStatus::Serving
                };
                self.reporter
                    .set_service_status(service.grpc_name(), status)
                    .await;
            }
            if stop.is_cancelled() {
                return;
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(HEALTH_INTERVAL) => {}
            }
        }
    }
}
