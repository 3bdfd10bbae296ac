//! Wires the roles together in one process: stores first, then the roles in the
//! order in which they need each other.

use crate::{admin, config::HearthConfig, first_start, stats, tls};
use anyhow::{Context, Result, bail};
use hearth_auth::{ApiToken, SecretKeys, labels, load_or_create_token_file};
use hearth_bus::{Bus, EmbeddedBus, EmbeddedOptions};
use hearth_device_state::DeviceStateService;
use hearth_engine::{Engine, EngineOptions};
use hearth_files::FilesService;
use hearth_gateway::Gateway;
use hearth_northbound::{AdminToken, Clients, NorthboundService};
use hearth_queue::EmbeddedQueue;
use hearth_runtime::http::{HttpOptions, HttpServer, bind};
use hearth_runtime::{
    Clock, FnService, Readiness, Runtime, RuntimeOptions, Service, ServiceContext, Shutdown,
    SystemClock,
};
use hearth_store::{EmbeddedStore, Store};
use hearth_telemetry::Registry;
use hearth_types::TenantId;
use hearth_wakeup::WakeupService;
use hearth_workflow::{WorkflowDeps, WorkflowService};
use std::{net::SocketAddr, os::unix::fs::DirBuilderExt, path::Path, sync::Arc};

/// A server that is ready to run: its sockets are bound, its stores open.
pub struct Server {
    runtime: Runtime,
    bus: Arc<EmbeddedBus>,
    engine: Engine,
    /// Where it listens, with the real ports.
    pub addresses: Addresses,
    /// The administrator's token.
    pub admin_token: ApiToken,
    /// What was made at this start, to be told once.
    pub onboarding: first_start::Onboarding,
}

/// Where a server listens.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// Devices.
    pub cwmp: SocketAddr,
    /// API.
    pub api: SocketAddr,
    /// Files.
    pub files: SocketAddr,
    /// Health and metrics.
    pub admin: SocketAddr,
}

/// The parts that the roles share.
struct Base {
    keys: SecretKeys,
    clock: Arc<dyn Clock>,
    registry: Registry,
    bus: Arc<EmbeddedBus>,
    store: Arc<dyn Store>,
}

impl Server {
    /// Opens the stores, binds the sockets and builds the roles.
    ///
    /// # Errors
    /// A taken port, a data directory in use or not writable, a damaged file:
    /// each says what to do.
    pub async fn build(config: &HearthConfig) -> Result<Self> {
        let listen = &config.listen;
        let cwmp = bind(listen.cwmp).context("devices (--cwmp-listen)")?;
        let api = bind(listen.api).context("API (--api-listen)")?;
        let files_listener = bind(listen.files).context("files (--files-listen)")?;
        let admin_listener = bind(listen.admin).context("admin port (--admin-listen)")?;
        let addresses = Addresses {
            cwmp: cwmp.local_addr()?,
            api: api.local_addr()?,
            files: files_listener.local_addr()?,
            admin: admin_listener.local_addr()?,
        };

        let api_tls = match (&listen.api_tls_cert, &listen.api_tls_key) {
            (Some(certificate), Some(key)) => Some(tls::for_api(certificate, key)?),
            _ => None,
        };
        check_key_is_there(&config.data_dir)?;
        make_private_dir(&config.data_dir)?;
        // A data directory that was there before may be open to others.
        for part in ["db", "files"] {
            make_private_dir(&config.data_dir.join(part))?;
        }
        let keys = SecretKeys::load_or_create(&config.data_dir)?;
        let (admin_token, _) = load_or_create_token_file(&config.data_dir.join("admin.token"))?;
        let engine = open_engine(config)?;
        let base = Base {
            keys,
            clock: SystemClock::shared(),
            registry: Registry::new(),
            bus: Arc::new(EmbeddedBus::open(engine.clone(), EmbeddedOptions::default()).await?),
            store: Arc::new(EmbeddedStore::open(&engine)?),
        };
        hearth_telemetry::register_process_metrics(&base.registry)?;
        hearth_telemetry::register_build_info(&base.registry, env!("CARGO_PKG_VERSION"), "")?;

        let options = RuntimeOptions {
            drain_timeout: config.drain_timeout.get(),
            ..RuntimeOptions::default()
        };
        let mut runtime = Runtime::new(Arc::clone(&base.clock), options);
        let admin_router = admin::router(runtime.readiness(), base.registry.clone());
        runtime.add(http(&base, "admin", admin_listener, admin_router)?);
        runtime.add(stats::register(
            &base.registry,
            engine.clone(),
            base.bus.clone(),
        )?);

        let device_state = device_state(&base, config, &mut runtime)?;
        let onboarding = first_start::onboarding(&device_state, &TenantId::default()).await?;
        let device_state = Arc::new(device_state);
        let wakeup =
            WakeupService::new(config.wakeup.clone(), device_state.clone(), &base.registry)?;
        let files = FilesService::new(
            config.files.clone(),
            addresses.files.port(),
            &config.data_dir.join("files"),
            Arc::clone(&base.store),
            &base.keys,
            Arc::clone(&base.clock),
            &base.registry,
        )?;
        runtime.add(http(&base, "files", files_listener, files.router())?);
        runtime.add(sweep(files.clone()));
        let (wakeup, files) = (Arc::new(wakeup), Arc::new(files));

        let workflow = WorkflowDeps {
            store: Arc::clone(&base.store),
            bus: base.bus.clone(),
            queue: Arc::new(EmbeddedQueue::new()),
            device_state: device_state.clone(),
            wakeup: wakeup.clone(),
            files: files.clone(),
            sealer: base.keys.sealer(labels::AT_REST)?,
            clock: Arc::clone(&base.clock),
        };
        let (workflow, runner) =
            WorkflowService::new(workflow, config.workflow.clone(), &base.registry)?;
        runtime.add(runner);
        let workflow = Arc::new(workflow);

        let clients = Clients {
            device_state: device_state.clone(),
            workflow: workflow.clone(),
            wakeup,
            files,
        };
        let verifier = Arc::new(AdminToken::new(admin_token.hash()));
        runtime.add(NorthboundService::new(
            config.api.clone(),
            api,
            api_tls,
            clients,
            verifier,
            &base.registry,
        )?);
        let needs = hearth_gateway::Dependencies {
            bus: base.bus.clone(),
            workflow,
            device_state,
            keys: base.keys.clone(),
            clock: Arc::clone(&base.clock),
        };
        // Last, so that no device is let in before everything behind it is
        // ready; and first to stop.
        runtime.add(Gateway::new(
            cwmp,
            config.gateway.clone(),
            needs,
            &base.registry,
        )?);
        Ok(Self {
            runtime,
            bus: base.bus,
            engine,
            addresses,
            admin_token,
            onboarding,
        })
    }

    /// Which roles are ready.
    pub fn readiness(&self) -> Readiness {
        self.runtime.readiness()
    }

    /// Runs until `shutdown`, drains, and closes the stores.
    ///
    /// # Errors
    /// The failure that ended it.
    pub async fn run(self, shutdown: Shutdown) -> Result<()> {
        let ended = self.runtime.run(shutdown).await;
        self.bus.close().await?;
        self.engine.close();
        Ok(ended?)
    }
}

fn device_state(
    base: &Base,
    config: &HearthConfig,
    runtime: &mut Runtime,
) -> Result<DeviceStateService> {
    let needs = hearth_device_state::Dependencies {
        store: Arc::clone(&base.store),
        bus: base.bus.clone(),
        sealer: base.keys.sealer(labels::AT_REST)?,
        clock: Arc::clone(&base.clock),
        registry: base.registry.clone(),
    };
    let service = DeviceStateService::new(needs, config.device_state.clone())?;
    runtime.add(service.role());
    Ok(service)
}

/// Deletes, once after the start, bytes of files that a kill left behind.
fn sweep(files: FilesService) -> impl Service {
    FnService::new("files-sweep", move |ctx: ServiceContext| async move {
        ctx.readiness.ready();
        match files.sweep().await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "unfinished files were deleted"),
            Err(error) => tracing::warn!(%error, "unfinished files can't be looked for"),
        }
        ctx.stop.cancelled().await;
        Ok(())
    })
}

/// One of the small HTTP servers, with its connection metrics.
fn http(
    base: &Base,
    name: &'static str,
    listener: tokio::net::TcpListener,
    router: axum::Router,
) -> Result<HttpServer<axum::Router>> {
    let options = HttpOptions {
        title_case_headers: true,
        ..HttpOptions::new(name)
    };
    let server = HttpServer::new(listener, router, options);
    let stats = server.stats();
    hearth_telemetry::http::register(&base.registry, name, move || stats.snapshot().to_array())?;
    Ok(server)
}

fn open_engine(config: &HearthConfig) -> Result<Engine> {
    let mut options = EngineOptions::new(config.data_dir.join("db"));
    options.cache_bytes = config.engine.cache_size.0;
    options.journal_bytes = config.engine.journal_size.0;
    options.disk_reserve_bytes = config.engine.disk_reserve.0;
    let shown = config.data_dir.display();
    Engine::open(options).with_context(|| format!("the data directory {shown} can't be opened"))
}

/// A new key could open nothing of what is there: better to say so than to
/// make one.
fn check_key_is_there(data_dir: &Path) -> Result<()> {
    if data_dir.join("db").exists() && !data_dir.join("secret.key").exists() {
        bail!(
            "{} holds data but no secret.key, without which its secrets can't be opened; \
             restore the file from the backup of that data",
            data_dir.display()
        );
    }
    Ok(())
}

/// The data directory holds keys and people's data: its owner's alone.
fn make_private_dir(path: &Path) -> Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("the data directory {} can't be made", path.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[tokio::test]
    async fn what_is_kept_is_the_owners_alone_in_an_open_directory() {
        let dir = tempfile::tempdir().unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut config = HearthConfig {
            data_dir: dir.path().to_owned(),
            ..HearthConfig::default()
        };
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        config.listen.cwmp = any;
        config.listen.api = any;
        config.listen.files = any;
        config.listen.admin = any;
        let server = Server::build(&config).await.unwrap();
        for entry in std::fs::read_dir(dir.path()).unwrap() {
            let path = entry.unwrap().path();
            assert_eq!(mode(&path) & 0o077, 0, "{}", path.display());
        }
        server.bus.close().await.unwrap();
        server.engine.close();
    }
}
