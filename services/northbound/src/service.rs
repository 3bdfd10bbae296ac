//! The public API as a service of the process.

use crate::NorthboundConfig;
use crate::caller::TokenVerifier;
use crate::captures::Captures;
use crate::core::{Clients, Core};
use crate::credentials::Credentials;
use crate::devices::Devices;
use crate::edge::{Edge, Methods};
use crate::explain::Explanations;
use crate::files::FileStore;
use crate::metrics::Metrics;
use crate::operations::Operations;
use crate::policy::Policies;
use crate::profiles::Profiles;
use crate::reflection;
use crate::sessions::Sessions;
use crate::spread::Spreads;
use crate::tasks::Tasks;
use async_trait::async_trait;
use hearth_proto::northbound::v1::{
    capture_service_server::CaptureServiceServer,
    credential_service_server::CredentialServiceServer, device_service_server::DeviceServiceServer,
    explain_service_server::ExplainServiceServer, file_service_server::FileServiceServer,
    operations_service_server::OperationsServiceServer, policy_service_server::PolicyServiceServer,
    profile_service_server::ProfileServiceServer, session_service_server::SessionServiceServer,
    spread_service_server::SpreadServiceServer, task_service_server::TaskServiceServer,
};
use hearth_runtime::http::{HttpOptions, HttpServer};
use hearth_runtime::{BoxError, Service, ServiceContext};
use hearth_telemetry::{MetricError, Registry};
use prost_types::FileDescriptorSet;
use std::sync::Arc;
use tokio::net::TcpListener;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

/// The public API can't be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its metrics can't be registered.
    #[error("the metrics of the API can't be registered")]
    Metrics(#[from] MetricError),
    /// The contract's descriptors can't be read.
    #[error("the descriptors of the API can't be read")]
    Descriptors(#[from] prost::DecodeError),
    /// The reflection service can't be made of them.
    #[error("the reflection service can't be made")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// The public API: a [`Service`] named `northbound`.
pub struct NorthboundService {
    config: NorthboundConfig,
    listener: TcpListener,
    clients: Clients,
    verifier: Arc<dyn TokenVerifier>,
    tls: Option<Arc<rustls::ServerConfig>>,
    metrics: Arc<Metrics>,
    methods: Methods,
    descriptors: FileDescriptorSet,
}

impl NorthboundService {
    /// The API on a listener that is bound, with or without TLS (whose ALPN must have `h2`).
    ///
    /// # Errors
    /// [`StartError`].
    pub fn new(
        config: NorthboundConfig,
        listener: TcpListener,
        tls: Option<Arc<rustls::ServerConfig>>,
        clients: Clients,
        verifier: Arc<dyn TokenVerifier>,
        registry: &Registry,
    ) -> Result<Self, StartError> {
        let descriptors = reflection::public()?;
        Ok(Self {
            metrics: Arc::new(Metrics::register(registry)?),
            methods: Methods::new(&descriptors)?,
            config,
            listener,
            clients,
            verifier,
            tls,
            descriptors,
        })
    }
}

/// Names of the services, for health and reflection.
const SERVICES: [&str; 11] = [
    DeviceServiceServer::<Devices>::NAME,
    TaskServiceServer::<Tasks>::NAME,
    ExplainServiceServer::<Explanations>::NAME,
    FileServiceServer::<FileStore>::NAME,
    CredentialServiceServer::<Credentials>::NAME,
    PolicyServiceServer::<Policies>::NAME,
    CaptureServiceServer::<Captures>::NAME,
    SessionServiceServer::<Sessions>::NAME,
    ProfileServiceServer::<Profiles>::NAME,
    OperationsServiceServer::<Operations>::NAME,
    SpreadServiceServer::<Spreads>::NAME,
];

#[async_trait]
impl Service for NorthboundService {
    fn name(&self) -> &str {
        "northbound"
    }

    async fn run(self: Box<Self>, ctx: ServiceContext) -> Result<(), BoxError> {
        let health = HealthReporter::new();
        report(&health, ServingStatus::Serving).await;
        let core = Arc::new(Core {
            clients: self.clients,
            config: self.config.clone(),
            clock: ctx.clock.clone(),
        });
        let routes = routes(&core, &health, &self.descriptors)?;
        let edge = Edge::new(
            routes,
            self.config.clone(),
            self.methods,
            self.verifier,
            self.metrics.clone(),
            ctx.stop.clone(),
        );
        let server = HttpServer::new(self.listener, edge, options(&self.config, self.tls));
        *self.metrics.http.write() = Some(server.stats());
        tracing::info!(address = %server.local_addr()?, "the API is served");
        ctx.readiness.ready();
        let leaving = async {
            ctx.stop.cancelled().await;
            report(&health, ServingStatus::NotServing).await;
        };
        tokio::join!(server.run(ctx.stop.clone()), leaving);
        Ok(())
    }
}

/// Sets the health of the whole and of each service.
async fn report(health: &HealthReporter, status: ServingStatus) {
    for service in SERVICES.into_iter().chain([""]) {
        health.set_service_status(service, status).await;
    }
}

fn options(config: &NorthboundConfig, tls: Option<Arc<rustls::ServerConfig>>) -> HttpOptions {
    HttpOptions {
        http2: true,
        max_connections: config.max_connections,
        idle_timeout: config.idle_timeout.get(),
        drain_timeout: config.drain_timeout.get(),
        tls,
        ..HttpOptions::new("api")
    }
}

fn routes(
    core: &Arc<Core>,
    health: &HealthReporter,
    descriptors: &FileDescriptorSet,
) -> Result<Routes, tonic_reflection::server::Error> {
    let limit = core.config.max_message.as_usize();
    let reflection = || {
        SERVICES
            .into_iter()
            .fold(
                tonic_reflection::server::Builder::configure(),
                |builder, name| builder.with_service_name(name),
            )
            .with_service_name("grpc.health.v1.Health")
            .register_file_descriptor_set(descriptors.clone())
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let health = tonic_health::server::HealthService::from_health_reporter(health.clone());
    let mut routes = Routes::builder();
    routes
        .add_service(
            DeviceServiceServer::new(Devices(core.clone())).max_decoding_message_size(limit),
        )
        .add_service(
            ExplainServiceServer::new(Explanations(core.clone())).max_decoding_message_size(limit),
        )
        .add_service(TaskServiceServer::new(Tasks(core.clone())).max_decoding_message_size(limit))
        .add_service(
            FileServiceServer::new(FileStore(core.clone())).max_decoding_message_size(limit),
        )
        .add_service(
            CredentialServiceServer::new(Credentials(core.clone()))
                .max_decoding_message_size(limit),
        )
        .add_service(
            PolicyServiceServer::new(Policies(core.clone())).max_decoding_message_size(limit),
        )
        .add_service(
            CaptureServiceServer::new(Captures(core.clone())).max_decoding_message_size(limit),
        )
        .add_service(
            SessionServiceServer::new(Sessions(core.clone())).max_decoding_message_size(limit),
        )
        .add_service(
            ProfileServiceServer::new(Profiles(core.clone())).max_decoding_message_size(limit),
        )
        .add_service(
            OperationsServiceServer::new(Operations(core.clone())).max_decoding_message_size(limit),
        )
        .add_service(
            SpreadServiceServer::new(Spreads(core.clone())).max_decoding_message_size(limit),
        )
        .add_service(tonic_health::pb::health_server::HealthServer::new(health))
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?);
    Ok(routes.routes())
}
