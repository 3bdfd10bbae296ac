//! Wires the roles of one process together: stores first, then the roles in the order in which they need each other.

use crate::backends::Backends;
use crate::config::HearthConfig;
use crate::internal::Internal;
use crate::links::Links;
use crate::roles::{self, Role};
use crate::watch::Watch;
use crate::{admin, first_start, keys, stats};
use anyhow::{Context, Result, bail};
use hearth_auth::{ApiToken, SecretKeys};
use hearth_clients::serve::Guard;
use hearth_clients::{Identity, IdentityPaths};
use hearth_gateway::Listeners;
use hearth_runtime::http::{HttpOptions, HttpServer, bind};
use hearth_runtime::{Clock, Readiness, Runtime, RuntimeOptions, Shutdown, SystemClock};
use hearth_telemetry::Registry;
use std::{net::SocketAddr, os::unix::fs::DirBuilderExt, path::Path, sync::Arc};
use tokio::net::TcpListener;

/// A server that is ready to run: its sockets are bound, its stores open.
pub struct Server {
    runtime: Runtime,
    backends: Backends,
    watch: Watch,
    registry: Registry,
    /// Where it listens, with the real ports.
    pub addresses: Addresses,
    /// The administrator's token, where the API is.
    pub admin_token: Option<ApiToken>,
    /// The credential that devices connect with at first, where device-state is.
    pub onboarding: Option<first_start::Onboarding>,
}

/// Where a server listens; nothing for what its roles don't have.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// Devices, without TLS.
    pub cwmp: Option<SocketAddr>,
    /// Devices, with TLS.
    pub cwmp_tls: Option<SocketAddr>,
    /// A proxy that ends TLS for old devices.
    pub cwmp_legacy: Option<SocketAddr>,
    /// API.
    pub api: Option<SocketAddr>,
    /// Files.
    pub files: Option<SocketAddr>,
    /// Other processes.
    pub internal: Option<SocketAddr>,
    /// STUN (UDP), where it is set.
    pub stun: Option<SocketAddr>,
    /// Lightweight notifications (UDP), where they are set.
    pub notifications: Option<SocketAddr>,
    /// Health and metrics.
    pub admin: SocketAddr,
}

/// The parts that the roles share.
pub(crate) struct Base {
    keys: Option<SecretKeys>,
    pub clock: Arc<dyn Clock>,
    pub registry: Registry,
    pub backends: Backends,
}

impl Base {
    /// The key ring.
    pub fn keys(&self) -> Result<&SecretKeys> {
        self.keys
            .as_ref()
            .context("no role of this process was to need keys")
    }

    /// One of the small HTTP servers, with its connection metrics.
    pub fn http(
        &self,
        name: &'static str,
        listener: TcpListener,
        router: axum::Router,
    ) -> Result<HttpServer<axum::Router>> {
        let options = HttpOptions {
            title_case_headers: true,
            ..HttpOptions::new(name)
        };
        let server = HttpServer::new(listener, router, options);
        let stats = server.stats();
        hearth_telemetry::http::register(&self.registry, name, move || {
            stats.snapshot().to_array()
        })?;
        Ok(server)
    }
}

/// The sockets of a process, bound before anything else: a taken port is told at once.
struct Sockets {
    cwmp: Option<Listeners>,
    api: Option<TcpListener>,
    files: Option<TcpListener>,
    internal: Option<TcpListener>,
    admin: TcpListener,
    wakeup: hearth_wakeup::Sockets,
}

impl Sockets {
    fn bind(config: &HearthConfig) -> Result<Self> {
        let listen = &config.listen;
        let open = |wanted: bool, address, what: &'static str| -> Result<Option<TcpListener>> {
            wanted.then(|| bind(address).context(what)).transpose()
        };
        let others = config.serves_others();
        Ok(Self {
            cwmp: config
                .has(Role::Gateway)
                .then(|| Listeners::bind(listen.cwmp, &config.gateway))
                .transpose()
                .context("devices (--cwmp-listen, gateway.tls.listen, gateway.legacy.listen)")?,
            api: open(
                config.has(Role::Northbound),
                listen.api,
                "API (--api-listen)",
            )?,
            files: open(
                config.has(Role::Files),
                listen.files,
                "files (--files-listen)",
            )?,
            internal: open(
                others,
                config.internal.listen,
                "other processes (--internal-listen)",
            )?,
            admin: bind(listen.admin).context("admin port (--admin-listen)")?,
            wakeup: match config.has(Role::Wakeup) {
                true => hearth_wakeup::Sockets::bind(&config.wakeup)
                    .map_err(|(key, error)| anyhow::Error::new(error).context(key))?,
                false => hearth_wakeup::Sockets::default(),
            },
        })
    }

    fn addresses(&self) -> Result<Addresses> {
        let of =
            |socket: &Option<TcpListener>| socket.as_ref().map(TcpListener::local_addr).transpose();
        let cwmp = self.cwmp.as_ref().map(Listeners::addresses).transpose()?;
        let cwmp = cwmp.unwrap_or_default();
        Ok(Addresses {
            cwmp: cwmp.plain,
            cwmp_tls: cwmp.tls,
            cwmp_legacy: cwmp.legacy,
            api: of(&self.api)?,
            files: of(&self.files)?,
            internal: of(&self.internal)?,
            admin: self.admin.local_addr()?,
            stun: self.wakeup.stun_address(),
            notifications: self.wakeup.notification_address(),
        })
    }
}

impl Server {
    /// Opens the stores, binds the sockets and builds the roles.
    ///
    /// # Errors
    /// A taken port, a data directory in use or not writable, a damaged file, a server that can't be used: each says
    /// what to do.
    pub async fn build(config: &HearthConfig) -> Result<Self> {
        let sockets = Sockets::bind(config)?;
        let addresses = sockets.addresses()?;
        let identity = identity(config)?;
        let secret_keys = keys::secret_keys(config)?;
        let admin_token = keys::admin_token(config)?;
        if !config.is_distributed() {
            make_private_dir(&config.data_dir)?;
            // A data directory that was there before may be open to others.
            make_private_dir(&config.data_dir.join("db"))?;
        }
        let registry = Registry::new();
        let base = Base {
            keys: secret_keys,
            clock: SystemClock::shared(),
            backends: Backends::open(config, &registry).await?,
            registry,
        };
        hearth_telemetry::register_process_metrics(&base.registry)?;
        hearth_telemetry::register_build_info(&base.registry, env!("CARGO_PKG_VERSION"), "")?;

        let options = RuntimeOptions {
            drain_timeout: config.drain_timeout.get(),
            ..RuntimeOptions::default()
        };
        let mut runtime = Runtime::new(Arc::clone(&base.clock), options);
        let watch = base.backends.watch(&runtime.readiness(), &config.roles);
        let onboarding = add_roles(
            &base,
            config,
            sockets,
            identity,
            admin_token.as_ref(),
            &mut runtime,
        )
        .await?;
        Ok(Self {
            runtime,
            backends: base.backends,
            watch,
            registry: base.registry,
            addresses,
            admin_token,
            onboarding,
        })
    }

    /// Which roles are ready.
    pub fn readiness(&self) -> Readiness {
        self.runtime.readiness()
    }

    /// The metrics of this process.
    pub fn metrics(&self) -> &Registry {
        &self.registry
    }

    /// Runs until `shutdown`, drains, and closes the stores.
    ///
    /// # Errors
    /// The failure that ended it.
    pub async fn run(self, shutdown: Shutdown) -> Result<()> {
        let ended = self.runtime.run(shutdown).await;
        drop(self.watch);
        self.backends.close().await?;
        Ok(ended?)
    }
}

/// Adds what the configuration asks for. What is added first starts first and stops last.
async fn add_roles(
    base: &Base,
    config: &HearthConfig,
    sockets: Sockets,
    identity: Option<Identity>,
    admin_token: Option<&ApiToken>,
    runtime: &mut Runtime,
) -> Result<Option<first_start::Onboarding>> {
    let readiness = runtime.readiness();
    let admin_router = admin::router(readiness.clone(), base.registry.clone());
    runtime.add(base.http("admin", sockets.admin, admin_router)?);
    if let Some(stats) = stats::register(&base.registry, &base.backends)? {
        runtime.add(stats);
    }
    let (own, clock) = (identity.clone(), SystemClock::shared());
    let expires = &[hearth_clients::metrics::TLS_EXPIRES];
    base.registry.polled(expires, move || {
        let now = clock.now_micros() / 1_000_000;
        // Exact for some hundred million years.
        #[allow(clippy::cast_precision_loss)]
        let left = |own: &Identity| (own.expires() - now) as f64;
        vec![own.as_ref().map_or(f64::INFINITY, left)]
    })?;
    let mut links = Links::new(config, identity.clone(), &base.registry, readiness.clone())?;
    let mut onboarding = None;
    if config.has(Role::DeviceState) {
        let made = roles::device_state(base, config, &mut links, runtime).await?;
        onboarding = Some(made);
    }
    if config.has(Role::Wakeup) {
        roles::wakeup(base, config, &mut links, sockets.wakeup, runtime)?;
    }
    if let Some(listener) = sockets.files {
        roles::files(base, config, &mut links, listener, runtime)?;
    }
    if config.has(Role::Workflow) {
        roles::workflow(base, config, &mut links, runtime)?;
    }
    if let Some(listener) = sockets.internal {
        let guard = Guard::new(&config.internal, &base.registry)?;
        let here = links.here.clone();
        let server = Internal::new(config, listener, here, guard, identity, readiness)?;
        let stats = server.stats();
        hearth_telemetry::http::register(&base.registry, "internal", move || {
            stats.snapshot().to_array()
        })?;
        runtime.add(server);
    }
    if let (Some(listener), Some(token)) = (sockets.api, admin_token) {
        roles::northbound(base, config, &mut links, listener, token, runtime)?;
    }
    if let Some(listeners) = sockets.cwmp {
        roles::gateway(base, config, &mut links, listeners, runtime)?;
    }
    Ok(onboarding)
}

/// Who this process is to the others, if it has certificates.
fn identity(config: &HearthConfig) -> Result<Option<Identity>> {
    let tls = &config.internal.tls;
    let (Some(ca), Some(cert), Some(key)) = (&tls.ca, &tls.cert, &tls.key) else {
        return Ok(None);
    };
    let paths = IdentityPaths {
        ca: ca.clone(),
        cert: cert.clone(),
        key: key.clone(),
    };
    let identity = Identity::load(paths)?;
    let (named, own) = (identity.roles(), &config.roles);
    if let Some(missing) = own.iter().find(|role| !named.has(role.name()))
        && !tls.any_role
    {
        let all: Vec<_> = own.iter().map(|role| role.name()).collect();
        bail!(
            "internal.tls.cert: the certificate in {} is for {named}, and this process has the role {} too; issue one \
             with `hearth ca issue --roles {}`",
            cert.display(),
            missing.name(),
            all.join(",")
        );
    }
    Ok(Some(identity))
}

/// The data directory holds keys and people's data: its owner's alone.
pub(crate) fn make_private_dir(path: &Path) -> Result<()> {
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
        assert!(
            server.addresses.internal.is_none(),
            "nobody else is to call"
        );
        server.backends.close().await.unwrap();
    }
}
