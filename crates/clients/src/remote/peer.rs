//! All replicas of one service: who they are, found by name and looked up again and again, and which of them gets the
//! next call.

use super::budget::Budget;
use super::connect::Connector;
use super::endpoint::{Endpoint, Health};
use super::options::Options;
use crate::config::split_address;
use crate::methods::ServiceName;
use hearth_runtime::backoff::around;
use parking_lot::RwLock;
use rustls::pki_types::ServerName;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::{Notify, watch};
use tokio_util::task::AbortOnDropHandle;

/// A peer's addresses can't be used.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// None is given.
    #[error(
        "the {0} role is not in this process and its address is not known: set internal.peers.{key}, or add {0} to \
         the roles", key = .0.replace('-', "_")
    )]
    None(&'static str),
    /// One is no address.
    #[error("{0:?} is not a host and a port such as \"workflow:7600\"")]
    Address(String),
    /// A name that no certificate can have.
    #[error("{0:?} is no name that a certificate can have: set internal.tls.server_name")]
    ServerName(String),
}

/// What is known of a service's replicas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Whether the names were looked up at least once.
    pub resolved: bool,
    /// Replicas found.
    pub known: usize,
    /// Those that can be given calls.
    pub usable: usize,
    /// Those that say that they serve.
    pub serving: usize,
    /// Why there is none, for operators.
    pub reason: String,
}

/// A host and port as configured.
struct Target {
    host: String,
    port: u16,
    name: Option<ServerName<'static>>,
    /// What it stands for, as far as is known.
    addresses: Vec<SocketAddr>,
}

/// All replicas of one service; cheap to clone. Its tasks end with its last clone.
#[derive(Clone)]
pub struct Peer {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub service: ServiceName,
    pub options: Options,
    pub budget: Budget,
    set: Arc<Set>,
    _resolving: AbortOnDropHandle<()>,
}

struct Set {
    service: ServiceName,
    endpoints: RwLock<Arc<Vec<Arc<Endpoint>>>>,
    changed: Arc<Notify>,
    reach: watch::Sender<Reach>,
}

impl Peer {
    /// The replicas of `service` at these addresses (`host:port`; a name may stand for many). Must be called in a Tokio
    /// runtime.
    ///
    /// # Errors
    /// See [`PeerError`].
    pub fn new(
        service: ServiceName,
        addresses: &[String],
        options: &Options,
    ) -> Result<Self, PeerError> {
        if addresses.is_empty() {
            return Err(PeerError::None(service.role()));
        }
        let targets = addresses
            .iter()
            .map(|address| target(address, options))
            .collect::<Result<Vec<_>, _>>()?;
        let set = Arc::new(Set {
            service,
            endpoints: RwLock::default(),
            changed: Arc::new(Notify::new()),
            reach: watch::Sender::default(),
        });
        let resolving = tokio::spawn(keep(set.clone(), targets, options.clone()));
        Ok(Self {
            inner: Arc::new(Inner {
                service,
                options: options.clone(),
                budget: Budget::new(options.retry_percent),
                set,
                _resolving: AbortOnDropHandle::new(resolving),
            }),
        })
    }

    /// What is known of the replicas, now and whenever it changes.
    pub fn reach(&self) -> watch::Receiver<Reach> {
        self.inner.set.reach.subscribe()
    }
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peer")
            .field("service", &self.inner.service)
            .field("reach", &*self.inner.set.reach.borrow())
            .finish_non_exhaustive()
    }
}

impl Inner {
    /// The replica for the next try: of two taken at random, among those whose health is best, the one with fewer calls
    /// under way. One that was tried already only when there is no other. `None`: there is none to ask.
    pub async fn pick(&self, tried: &[SocketAddr]) -> Option<Arc<Endpoint>> {
        // Only at the very start: the names' first lookup. The caller's time limit bounds it.
        let mut reach = self.set.reach.subscribe();
        let _ = reach.wait_for(|reach| reach.resolved).await;
        let endpoints = self.set.endpoints.read().clone();
        let untried = best(&endpoints, |endpoint| !tried.contains(&endpoint.address()));
        let among = if untried.is_empty() {
            best(&endpoints, |_| true)
        } else {
            untried
        };
        match among.as_slice() {
            [] => None,
            [only] => Some(Arc::clone(only)),
            many => {
                let first = rand::random_range(0..many.len());
                let step = rand::random_range(1..many.len());
                let (a, b) = (&many[first], &many[(first + step) % many.len()]);
                Some(Arc::clone(if a.load() <= b.load() { a } else { b }))
            }
        }
    }

    /// All replicas that can be given calls.
    pub fn all(&self) -> Vec<Arc<Endpoint>> {
        let endpoints = self.set.endpoints.read();
        let usable = endpoints
            .iter()
            .filter(|endpoint| endpoint.rank().is_some());
        usable.cloned().collect()
    }

    /// Whether a try elsewhere is possible.
    pub fn has_another(&self, tried: &[SocketAddr]) -> bool {
        let endpoints = self.set.endpoints.read();
        endpoints
            .iter()
            .any(|endpoint| endpoint.rank().is_some() && !tried.contains(&endpoint.address()))
    }

    /// Why there is no replica to ask.
    pub fn why_none(&self) -> String {
        self.set.reach.borrow().reason.clone()
    }
}

/// Those that calls want most.
fn best(endpoints: &[Arc<Endpoint>], wanted: impl Fn(&Endpoint) -> bool) -> Vec<&Arc<Endpoint>> {
    let ranked = || {
        endpoints
            .iter()
            .filter(|endpoint| wanted(endpoint))
            .filter_map(|endpoint| Some((endpoint.rank()?, endpoint)))
    };
    let top = ranked().map(|(rank, _)| rank).min();
    ranked()
        .filter(|(rank, _)| Some(*rank) == top)
        .map(|(_, endpoint)| endpoint)
        .collect()
}

fn target(address: &str, options: &Options) -> Result<Target, PeerError> {
    let (host, port) =
        split_address(address).ok_or_else(|| PeerError::Address(address.to_owned()))?;
    let name = match &options.identity {
        None => None,
        Some(_) => {
            let name = options.server_name.as_deref().unwrap_or(host).to_owned();
            let parsed = ServerName::try_from(name.clone());
            Some(parsed.map_err(|_| PeerError::ServerName(name))?)
        }
    };
    Ok(Target {
        host: host.to_owned(),
        port,
        name,
        addresses: Vec::new(),
    })
}

/// Looks the names up again and again, and keeps what is known of the replicas current.
async fn keep(set: Arc<Set>, mut targets: Vec<Target>, options: Options) {
    let mut known: BTreeMap<SocketAddr, Arc<Endpoint>> = BTreeMap::new();
    let mut failing = false;
    loop {
        let failure = resolve(&set, &mut targets, &options, &mut known).await;
        if failing != failure.is_some() {
            failing = !failing;
            let role = set.service.role();
            match &failure {
                Some(reason) => {
                    tracing::warn!(role, reason, "replicas that were known before are asked on");
                }
                None => tracing::info!(role, "replicas are found by their names again"),
            }
        }
        set.note(&options, failure.as_deref(), true);
        let again = tokio::time::sleep(around(options.resolve_interval));
        tokio::pin!(again);
        loop {
            tokio::select! {
                () = &mut again => break,
                () = set.changed.notified() => set.note(&options, failure.as_deref(), false),
            }
        }
    }
}

/// One lookup of all names. A name that can't be looked up, or stands for nothing, keeps the addresses that it had:
/// whether a replica is there is told by its health, and names fail when nothing else does. Says why.
async fn resolve(
    set: &Set,
    targets: &mut [Target],
    options: &Options,
    known: &mut BTreeMap<SocketAddr, Arc<Endpoint>>,
) -> Option<String> {
    let mut failure = None;
    for target in targets.iter_mut() {
        match look_up(target, options).await {
            Ok(addresses) => target.addresses = addresses,
            Err(reason) => failure = Some(reason),
        }
    }
    let mut found = BTreeMap::new();
    for target in &*targets {
        found.extend(target.addresses.iter().map(|address| (*address, target)));
    }
    known.retain(|address, _| found.contains_key(address));
    for (address, target) in found {
        known.entry(address).or_insert_with(|| {
            let identity = options.identity.clone();
            let connector = Connector {
                address,
                tls: identity.zip(target.name.clone()),
                role: (!options.any_role).then(|| set.service.role()),
                timeout: options.connect_timeout,
            };
            let changed = set.changed.clone();
            Arc::new(Endpoint::new(
                set.service,
                address,
                connector,
                options,
                changed,
            ))
        });
    }
    *set.endpoints.write() = Arc::new(known.values().cloned().collect());
    failure
}

/// What one name stands for now; never nothing.
async fn look_up(target: &Target, options: &Options) -> Result<Vec<SocketAddr>, String> {
    let host = &target.host;
    let answer = options.resolver.look_up(host, target.port);
    match tokio::time::timeout(options.connect_timeout, answer).await {
        Ok(Ok(addresses)) if addresses.is_empty() => Err(format!("{host} has no address")),
        Ok(Ok(addresses)) => Ok(addresses),
        Ok(Err(error)) => Err(format!("{host} can't be looked up: {error}")),
        Err(_elapsed) => Err(format!("{host} can't be looked up in time")),
    }
}

impl Set {
    /// Tells what is known now.
    fn note(&self, options: &Options, failure: Option<&str>, resolved: bool) {
        let endpoints = self.endpoints.read().clone();
        let health: Vec<_> = endpoints
            .iter()
            .map(|one| (one.address(), one.health()))
            .collect();
        let count = |wanted: fn(&Health) -> bool| health.iter().filter(|(_, h)| wanted(h)).count();
        let serving = count(|h| *h == Health::Serving);
        let not_serving = count(|h| *h == Health::NotServing);
        let unreachable = count(|h| matches!(h, Health::Unreachable(_)));
        for (state, count) in [
            ("serving", serving),
            ("not_serving", not_serving),
            ("unreachable", unreachable),
            (
                "unknown",
                health.len() - serving - not_serving - unreachable,
            ),
        ] {
            options.metrics.endpoints(self.service, state, count);
        }
        let reason = || match health.first() {
            None => failure.unwrap_or("its name has no address").to_owned(),
            Some((address, Health::NotServing)) => format!("{address} doesn't serve it yet"),
            Some((address, Health::Unreachable(why))) => format!("{address}: {why}"),
            Some(_) => "it has not answered yet".to_owned(),
        };
        let usable = health.iter().filter(|(_, h)| h.rank().is_some()).count();
        self.reach.send_if_modified(|reach| {
            let new = Reach {
                resolved: reach.resolved || resolved,
                known: health.len(),
                usable,
                serving,
                reason: if serving > 0 { String::new() } else { reason() },
            };
            let changed = *reach != new;
            *reach = new;
            changed
        });
    }
}
