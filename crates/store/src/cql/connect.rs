//! Connecting: one clear line for whatever is wrong at the start.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hearth_runtime::Patience;
use hearth_telemetry::{MetricError, Registry};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use scylla::client::execution_profile::{ExecutionProfile, ExecutionProfileHandle};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::errors::{NewSessionError, PrepareError};
use scylla::policies::load_balancing::DefaultPolicy;
use scylla::policies::retry::DefaultRetryPolicy;
use scylla::policies::speculative_execution::SimpleSpeculativeExecutionPolicy;
use scylla::statement::{Consistency, SerialConsistency};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use hearth_config::Documented;

use super::client::Client;
use super::config::{CqlConfig, CqlConsistency};
use super::metrics::{Metrics, POLLED};
use super::schema::Schema;

/// A node that doesn't answer this is given up: also one that was stopped and not killed.
const KEEPALIVE: Duration = Duration::from_secs(3);
/// How long a node may take to answer what is no TLS.
const GREETING: Duration = Duration::from_secs(1);
/// What nodes speak that answer without TLS.
const NO_TLS: &str = "no TLS";
/// How a message begins by which a node that speaks TLS refuses what is none.
const TLS_ALERT: u8 = 0x15;
/// Copies in a keyspace that is made, where there are nodes for them.
const COPIES: u8 = 3;

/// Why the store can't be opened on CQL. Each is one line for the operator.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// No node is configured.
    #[error("no CQL node is configured: set cql.nodes")]
    NoNodes,
    /// A setting that can't work.
    #[error("cql.{key}: {problem}")]
    Setting {
        /// The setting, below `cql`.
        key: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Nobody answers.
    #[error(
        "no CQL node answers at {nodes} ({reason}): check cql.nodes and that ScyllaDB or \
         Cassandra runs"
    )]
    Unreachable {
        /// The addresses that were tried.
        nodes: String,
        /// What the last try failed with.
        reason: String,
    },
    /// Wrong credentials.
    #[error("CQL at {nodes} refuses the credentials ({reason}): check cql.user and cql.password")]
    Credentials {
        /// The addresses that were tried.
        nodes: String,
        /// What the server said.
        reason: String,
    },
    /// Certificates don't fit, or can't be read.
    #[error(
        "TLS with CQL fails ({reason}): check cql.tls_ca, cql.tls_cert and cql.tls_key, and that \
         the nodes' certificates name their IP addresses"
    )]
    Tls {
        /// What was wrong.
        reason: String,
    },
    /// The nodes speak TLS and were spoken to without, or the other way round.
    #[error("CQL at {nodes} speaks {spoken} ({reason}): {remedy}")]
    Encryption {
        /// The addresses that were tried.
        nodes: String,
        /// What the nodes speak.
        spoken: &'static str,
        /// What the last try failed with.
        reason: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The datacenter isn't there, or there are several.
    #[error("cql.local_datacenter must be one of the cluster's datacenters ({known}){given}")]
    Datacenter {
        /// Those that are there.
        known: String,
        /// What was set.
        given: String,
    },
    /// The keyspace is missing.
    #[error(
        "the keyspace {keyspace} does not exist: create it, or allow it with cql.create_keyspace"
    )]
    NoKeyspace {
        /// Its name.
        keyspace: String,
    },
    /// The keyspace belongs to a newer version.
    #[error(
        "the keyspace {keyspace} is of a newer Hearth (its tables have version {stored}, this \
         program knows up to {known}): run that version, or set another cql.keyspace"
    )]
    Newer {
        /// Its name.
        keyspace: String,
        /// The version of its tables.
        stored: i32,
        /// The version that this program knows.
        known: i32,
    },
    /// Another process makes the tables and doesn't come to an end.
    #[error(
        "another process has held the lock on the tables of keyspace {keyspace} for too long: \
         try again in a minute"
    )]
    Locked {
        /// The keyspace.
        keyspace: String,
    },
    /// Keyspace or tables can't be made or read.
    #[error(
        "the tables of keyspace {keyspace} can't be made or used ({reason}): check the user's \
         permissions and cql.replication"
    )]
    Schema {
        /// The keyspace.
        keyspace: String,
        /// What the server said.
        reason: String,
    },
    /// A mistake in the program.
    #[error("the metrics of the CQL store can't be registered")]
    Metrics(#[from] MetricError),
}

impl ConnectError {
    /// Whether the same may work a moment later.
    fn is_passing(&self) -> bool {
        // A node that hangs up may as well be starting.
        let hangs_up = matches!(self, Self::Encryption { spoken, .. } if *spoken != NO_TLS);
        matches!(self, Self::Unreachable { .. }) || hangs_up
    }
}

/// Connects, brings the tables to this program's version, prepares the statements.
pub(super) async fn client(
    config: &CqlConfig,
    registry: &Registry,
) -> Result<Arc<Client>, ConnectError> {
    if config.nodes.is_empty() {
        return Err(ConnectError::NoNodes);
    }
    if let Some((key, problem)) = config.validate().into_iter().next() {
        return Err(ConnectError::Setting { key, problem });
    }
    let metrics = Metrics::new(registry)?;
    let session = session(config).await?;
    let datacenters = datacenters(&session);
    let local = local_datacenter(config, &datacenters)?;
    prepare_keyspace(config, &session, &local, &datacenters).await?;
    let client = Client::prepare(session, &config.keyspace, config, metrics).await;
    let client = Arc::new(client.map_err(|error| prepare_failed(config, &error))?);
    poll(registry, &client)?;
    Ok(client)
}

/// Hands what the driver counts to the registry.
fn poll(registry: &Registry, client: &Arc<Client>) -> Result<(), MetricError> {
    let of = Arc::downgrade(client);
    registry.polled(POLLED, move || {
        let Some(client) = of.upgrade() else {
            return vec![0.0; POLLED.len()];
        };
        let state = client.session.get_cluster_state();
        let nodes = state.get_nodes_info().iter();
        let connected = nodes.filter(|node| node.is_connected()).count();
        let retries = client.session.get_metrics().get_retries_num();
        let number = |count: u64| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        vec![number(connected as u64), number(retries)]
    })
}

/// Nodes by datacenter.
fn datacenters(session: &Session) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for node in session.get_cluster_state().get_nodes_info() {
        if let Some(datacenter) = &node.datacenter {
            *found.entry(datacenter.clone()).or_insert(0) += 1;
        }
    }
    found
}

fn local_datacenter(
    config: &CqlConfig,
    known: &BTreeMap<String, usize>,
) -> Result<String, ConnectError> {
    let all = || known.keys().cloned().collect::<Vec<_>>().join(", ");
    match &config.local_datacenter {
        Some(given) if known.contains_key(given) => Ok(given.clone()),
        Some(given) => Err(ConnectError::Datacenter {
            known: all(),
            given: format!(", not {given}"),
        }),
        None => match (known.len(), known.keys().next()) {
            (1, Some(only)) => Ok(only.clone()),
            _ => Err(ConnectError::Datacenter {
                known: all(),
                given: String::new(),
            }),
        },
    }
}

async fn prepare_keyspace(
    config: &CqlConfig,
    session: &Session,
    local: &str,
    datacenters: &BTreeMap<String, usize>,
) -> Result<(), ConnectError> {
    let given = config.copies().unwrap_or_default();
    let mut copies: Vec<(String, u8)> = given
        .into_iter()
        .map(|(datacenter, copies)| (datacenter.to_owned(), copies))
        .collect();
    if copies.is_empty() {
        let nodes = datacenters.get(local).copied().unwrap_or(1);
        let number = if nodes < usize::from(COPIES) {
            1
        } else {
            COPIES
        };
        copies.push((local.to_owned(), number));
    }
    let schema = Schema {
        session,
        keyspace: &config.keyspace,
        owner: session.session_id().to_string(),
    };
    schema.keyspace(config.create_keyspace, &copies).await?;
    schema.migrate().await
}

/// A session; tried until `cql.connect_timeout` while no node answers.
async fn session(config: &CqlConfig) -> Result<Session, ConnectError> {
    let tls = tls(config)?;
    let profile = profile(config);
    let mut patience = Patience::new("CQL", config.connect_timeout.get());
    loop {
        let mut builder = SessionBuilder::new()
            .known_nodes(&config.nodes)
            .default_execution_profile_handle(profile.clone())
            .connection_timeout(config.request_timeout.get())
            .keepalive_interval(KEEPALIVE)
            .keepalive_timeout(KEEPALIVE)
            .tcp_nodelay(true)
            .fetch_schema_metadata(true)
            .keyspaces_to_fetch([config.keyspace.clone()])
            .tls_context(tls.clone());
        if let (Some(user), Some(password)) = (&config.user, &config.password) {
            builder = builder.user(user, password.expose());
        }
        let silent = |reason: String| ConnectError::Unreachable {
            nodes: config.nodes.join(", "),
            reason,
        };
        // The driver sets no end to its first questions about the cluster, and makes a session also
        // where none of them was answered.
        let longest = config.connect_timeout.get();
        let refused = match timeout(longest, Box::pin(builder.build())).await {
            Err(_) => silent(format!("no answer within {longest:?}")),
            Ok(Ok(session)) if datacenters(&session).is_empty() => {
                silent("no node tells what nodes there are".to_owned())
            }
            Ok(Ok(session)) => return Ok(session),
            Ok(Err(error)) => told_apart(config, refused(config, &error)).await,
        };
        if !refused.is_passing() || !patience.wait(&refused).await {
            return Err(refused);
        }
    }
}

pub(super) fn profile(config: &CqlConfig) -> ExecutionProfileHandle {
    let mut balancing = DefaultPolicy::builder().token_aware(true);
    // Where it isn't set there is only one.
    if let Some(local) = &config.local_datacenter {
        // Another datacenter's nodes would answer for its own quorum.
        balancing = balancing
            .prefer_datacenter(local.clone())
            .permit_dc_failover(false);
    }
    let delay = config.speculative_delay.get();
    let speculative = (!delay.is_zero()).then(|| {
        Arc::new(SimpleSpeculativeExecutionPolicy {
            max_retry_count: 1,
            retry_interval: delay,
        }) as Arc<_>
    });
    ExecutionProfile::builder()
        .consistency(match config.consistency {
            CqlConsistency::LocalQuorum => Consistency::LocalQuorum,
            CqlConsistency::Quorum => Consistency::Quorum,
        })
        .serial_consistency(Some(match config.consistency {
            CqlConsistency::LocalQuorum => SerialConsistency::LocalSerial,
            CqlConsistency::Quorum => SerialConsistency::Serial,
        }))
        .request_timeout(Some(config.request_timeout.get()))
        .load_balancing_policy(balancing.build())
        .retry_policy(Arc::new(DefaultRetryPolicy::new()))
        .speculative_execution_policy(speculative)
        .build()
        .into_handle()
}

fn tls(config: &CqlConfig) -> Result<Option<Arc<ClientConfig>>, ConnectError> {
    let Some(ca) = &config.tls_ca else {
        return Ok(None);
    };
    let failed = |reason: String| ConnectError::Tls { reason };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca)? {
        let added = roots.add(certificate);
        added.map_err(|error| failed(format!("{}: {error}", ca.display())))?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(error.to_string()))?
        .with_root_certificates(roots);
    let made = match (&config.tls_cert, &config.tls_key) {
        (Some(chain), Some(key)) => {
            let private = PrivateKeyDer::from_pem_file(key)
                .map_err(|error| failed(format!("{}: {error}", key.display())))?;
            builder
                .with_client_auth_cert(certificates(chain)?, private)
                .map_err(|error| failed(format!("{}: {error}", chain.display())))?
        }
        _ => builder.with_no_client_auth(),
    };
    Ok(Some(Arc::new(made)))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, ConnectError> {
    let failed = |reason: String| ConnectError::Tls {
        reason: format!("{}: {reason}", file.display()),
    };
    let read = CertificateDer::pem_file_iter(file).map_err(|error| failed(error.to_string()))?;
    let found: Result<Vec<_>, _> = read.collect();
    match found {
        Ok(found) if found.is_empty() => Err(failed("no certificate in it".into())),
        Ok(found) => Ok(found),
        Err(error) => Err(failed(error.to_string())),
    }
}

/// What kept a session from being made, told apart by what the driver says: its errors are nested
/// deeply, and their kinds are not all public.
fn refused(config: &CqlConfig, error: &NewSessionError) -> ConnectError {
    let nodes = config.nodes.join(", ");
    let reason = innermost(error);
    let whole = format!("{error} {reason} {error:?}").to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| whole.contains(word));
    if says(&[
        "authentication",
        "bad credentials",
        "password are incorrect",
        "unauthorized",
    ]) {
        return ConnectError::Credentials { nodes, reason };
    }
    if says(&["certificate", "tls", "handshake", "rustls", "fatal alert"]) {
        return ConnectError::Tls { reason };
    }
    ConnectError::Unreachable { nodes, reason }
}

/// An answer that did not come, or that was no TLS, is often a question of TLS.
async fn told_apart(config: &CqlConfig, error: ConnectError) -> ConnectError {
    let (ConnectError::Unreachable { reason, .. } | ConnectError::Tls { reason }) = &error else {
        return error;
    };
    let tls = config.tls_ca.is_some();
    for node in &config.nodes {
        let greeted = timeout(GREETING, greet(node)).await;
        let (spoken, remedy) = match greeted {
            Ok(Ok(Some(0x80..))) if tls => (NO_TLS, "unset cql.tls_ca, or turn TLS on there"),
            Ok(Ok(None | Some(TLS_ALERT))) if !tls => (
                "TLS, as it seems",
                "set cql.tls_ca to the authority of the nodes' certificates",
            ),
            _ => continue,
        };
        return ConnectError::Encryption {
            nodes: config.nodes.join(", "),
            spoken,
            reason: reason.clone(),
            remedy,
        };
    }
    error
}

/// The first byte of the answer to a question without TLS (its highest bit is set in CQL's own);
/// `None` from a node that hangs up instead.
async fn greet(node: &str) -> std::io::Result<Option<u8>> {
    let mut stream = TcpStream::connect(node).await?;
    let asked = async {
        // OPTIONS, version 4, no body.
        stream.write_all(&[4, 0, 0, 0, 5, 0, 0, 0, 0]).await?;
        let mut first = [0];
        let read = stream.read(&mut first).await?;
        Ok((read > 0).then_some(first[0]))
    };
    let answer: std::io::Result<_> = asked.await;
    Ok(answer.unwrap_or(None))
}

/// The last cause of an error: the rest repeats it.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

fn prepare_failed(config: &CqlConfig, error: &PrepareError) -> ConnectError {
    ConnectError::Schema {
        keyspace: config.keyspace.clone(),
        reason: innermost(error),
    }
}
