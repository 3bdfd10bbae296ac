//! Two sides of a call in one test: servers with certificates of an own CA, clients of them, and a link between that can
//! be cut or frozen.
#![allow(clippy::unwrap_used, dead_code, missing_docs)]

pub mod fake;

use hearth_clients::remote::{Options, Peer};
use hearth_clients::serve::{Guard, Services, routes};
use hearth_clients::{Identity, IdentityPaths, InternalConfig, ROLE_URI, ServiceName};
use hearth_config::HumanDuration;
use hearth_runtime::CancellationToken;
use hearth_runtime::http::{HttpOptions, HttpServer, bind};
use hearth_telemetry::Registry;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

pub const ROLES: [&str; 6] = [
    "gateway",
    "workflow",
    "device-state",
    "northbound",
    "wakeup",
    "files",
];

/// A certificate authority.
pub struct Ca {
    params: CertificateParams,
    key: KeyPair,
    pem: String,
}

impl Ca {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { params, key, pem }
    }

    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Writes a certificate for loopback, this name and every role; `trusts` are whom its owner believes.
    pub fn issue(&self, dir: &Path, name: &str, trusts: &[&Ca]) -> IdentityPaths {
        self.issue_for(dir, name, &ROLES, trusts)
    }

    pub fn issue_for(
        &self,
        dir: &Path,
        name: &str,
        roles: &[&str],
        trusts: &[&Ca],
    ) -> IdentityPaths {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        let local = SanType::IpAddress(Ipv4Addr::LOCALHOST.into());
        params.subject_alt_names.push(local);
        for role in roles {
            let uri = format!("{ROLE_URI}{role}").try_into().unwrap();
            params.subject_alt_names.push(SanType::URI(uri));
        }
        let issuer = Issuer::from_params(&self.params, &self.key);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        std::fs::create_dir_all(dir).unwrap();
        let paths = IdentityPaths {
            ca: dir.join("ca.crt"),
            cert: dir.join("tls.crt"),
            key: dir.join("tls.key"),
        };
        let trusted: String = trusts.iter().map(|ca| ca.pem.as_str()).collect();
        std::fs::write(&paths.ca, trusted).unwrap();
        std::fs::write(&paths.cert, certificate.pem()).unwrap();
        std::fs::write(&paths.key, key.serialize_pem()).unwrap();
        paths
    }

    pub fn identity(&self, name: &str) -> Identity {
        self.identity_for(name, &ROLES)
    }

    /// Of a process with these roles.
    pub fn identity_for(&self, name: &str, roles: &[&str]) -> Identity {
        let dir = tempfile::tempdir().unwrap();
        Identity::load(self.issue_for(dir.path(), name, roles, &[self])).unwrap()
    }
}

/// Settings with short times.
pub fn config() -> InternalConfig {
    InternalConfig {
        call_timeout: HumanDuration::secs(5),
        try_timeout: HumanDuration::millis(300),
        connect_timeout: HumanDuration::millis(500),
        probe_interval: HumanDuration::millis(100),
        resolve_interval: HumanDuration::millis(200),
        ..InternalConfig::default()
    }
}

/// A process's server.
pub struct Server {
    pub address: SocketAddr,
    pub health: HealthReporter,
    pub guard: Guard,
    stop: CancellationToken,
    _serving: AbortOnDropHandle<()>,
}

impl Server {
    pub async fn start(
        services: Services,
        identity: Option<&Identity>,
        config: &InternalConfig,
    ) -> Self {
        Self::start_with(services, identity, config, |_| {}).await
    }

    /// One that knows nothing of calls that travel together.
    pub async fn start_older(
        services: Services,
        identity: Option<&Identity>,
        config: &InternalConfig,
    ) -> Self {
        Self::start_with(services, identity, config, |uri| {
            if uri.path().starts_with("/hearth.internal.") {
                *uri = http::Uri::from_static("/an.older.Version/MakeCalls");
            }
        })
        .await
    }

    async fn start_with(
        services: Services,
        identity: Option<&Identity>,
        config: &InternalConfig,
        change: fn(&mut http::Uri),
    ) -> Self {
        let listener = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let address = listener.local_addr().unwrap();
        let guard = Guard::new(config, &Registry::new()).unwrap();
        let health = HealthReporter::new();
        for name in services.names() {
            health
                .set_service_status(name.grpc_name(), ServingStatus::Serving)
                .await;
        }
        let options = HttpOptions {
            http2: true,
            tls: identity.map(|identity| identity.server_config().unwrap()),
            ..HttpOptions::new("internal")
        };
        let routes = routes(services, &guard, &health).prepare();
        let routes = tower::ServiceBuilder::new()
            .map_request(move |mut request: http::Request<_>| {
                change(request.uri_mut());
                request
            })
            .service(routes);
        let server = HttpServer::new(listener, routes, options);
        let stop = CancellationToken::new();
        let serving = tokio::spawn(server.run(stop.clone()));
        Self {
            address,
            health,
            guard,
            stop,
            _serving: AbortOnDropHandle::new(serving),
        }
    }

    pub async fn serving(&self, service: ServiceName, serving: bool) {
        let status = if serving {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        };
        self.health
            .set_service_status(service.grpc_name(), status)
            .await;
    }

    pub fn stop(&self) {
        self.guard.leave();
        self.stop.cancel();
    }
}

/// The replicas of a service at these addresses, as this process sees them.
pub fn peer(
    service: ServiceName,
    addresses: &[SocketAddr],
    identity: Option<Identity>,
    config: &InternalConfig,
    registry: &Registry,
) -> Peer {
    let options = Options::new(config, identity, registry).unwrap();
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    Peer::new(service, &addresses, &options).unwrap()
}

/// Waits until so many replicas say that they serve.
pub async fn serving(peer: &Peer, count: usize) {
    let mut reach = peer.reach();
    let waited = reach.wait_for(|reach| reach.serving == count);
    tokio::time::timeout(Duration::from_secs(10), waited)
        .await
        .unwrap()
        .unwrap();
}

/// What a link does with what passes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Open,
    /// Takes connections and passes nothing, like a stopped process.
    Frozen,
    /// Breaks connections, like a killed one.
    Cut,
}

/// A TCP link to a server.
pub struct Link {
    pub address: SocketAddr,
    mode: watch::Sender<Mode>,
    _accepting: AbortOnDropHandle<()>,
}

impl Link {
    pub async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (mode, seen) = watch::channel(Mode::Open);
        let accepting = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(pass(stream, server, seen.clone()));
            }
        });
        Self {
            address,
            mode,
            _accepting: AbortOnDropHandle::new(accepting),
        }
    }

    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

async fn pass(mut from: TcpStream, server: SocketAddr, mut mode: watch::Receiver<Mode>) {
    if *mode.borrow() == Mode::Cut {
        return;
    }
    let Ok(mut to) = TcpStream::connect(server).await else {
        return;
    };
    loop {
        let now = *mode.borrow_and_update();
        match now {
            Mode::Cut => return,
            Mode::Frozen => {
                if mode.changed().await.is_err() {
                    return;
                }
            }
            Mode::Open => {
                // Dropped in the middle of a copy bytes may be lost: then nothing but a cut may follow, and a frozen
                // process that goes on is not tested by this.
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut from, &mut to) => return,
                    changed = mode.changed() => if changed.is_err() { return },
                }
            }
        }
    }
}

/// Services that are all the one given.
pub fn services<S>(service: &Arc<S>) -> Services
where
    S: hearth_clients::DeviceState
        + hearth_clients::Workflow
        + hearth_clients::Wakeup
        + hearth_clients::Files,
{
    Services {
        device_state: Some(service.clone()),
        workflow: Some(service.clone()),
        wakeup: Some(service.clone()),
        files: Some(service.clone()),
    }
}
