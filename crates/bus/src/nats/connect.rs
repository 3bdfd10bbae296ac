//! Connecting: one clear line for whatever is wrong at the start.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, ConnectErrorKind, ConnectOptions};
use hearth_config::{HumanDuration, SecretString};
use hearth_runtime::Patience;
use hearth_runtime::backoff::spread;
use hearth_telemetry::MetricError;
use serde_json::Value;

use super::config::NatsConfig;
use super::layout;
use super::link::{Link, Trouble, Watchman, number};
use super::metrics::Metrics;
use super::wire::Names;

/// The oldest server that has what is needed: consumers with several filters.
const OLDEST: (u32, u32) = (2, 10);
/// How long one try may take.
const ONE_TRY: Duration = Duration::from_secs(5);
/// A server that doesn't answer three of these is given up: also one that was stopped and not
/// killed.
const PING: Duration = Duration::from_secs(2);
/// Reconnecting waits at most so long between tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(4);
/// Messages that wait in this process for one reader: a watcher that is further behind misses
/// some, and a consumer never asks for more.
pub(crate) const SUBSCRIPTION: usize = 16_384;
/// Below this, names of large devices don't fit into a message.
const SMALL_PAYLOAD: usize = 4 << 20;

/// Why the bus can't be opened on NATS. Each is one line for the operator.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// No server is configured.
    #[error("no NATS server is configured: set nats.servers")]
    NoServers,
    /// A setting that can't work.
    #[error("nats.{key}: {problem}")]
    Setting {
        /// The setting, below `nats`.
        key: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Nobody answers.
    #[error(
        "no NATS server answers at {servers} ({reason}): check nats.servers and that NATS runs"
    )]
    Unreachable {
        /// The addresses that were tried.
        servers: String,
        /// What the last try failed with.
        reason: String,
    },
    /// Wrong credentials.
    #[error(
        "NATS at {servers} refuses the credentials ({reason}): check nats.user and nats.password, \
         nats.token, nats.nkey or nats.creds_file"
    )]
    Credentials {
        /// The addresses that were tried.
        servers: String,
        /// What the server or the client said.
        reason: String,
    },
    /// Certificates don't fit, or can't be read.
    #[error(
        "TLS with NATS at {servers} fails ({reason}): check nats.tls_ca, nats.tls_cert and \
         nats.tls_key"
    )]
    Tls {
        /// The addresses that were tried.
        servers: String,
        /// What was wrong.
        reason: String,
    },
    /// The server is older than what Hearth needs.
    #[error(
        "NATS at {servers} is version {version}, and Hearth needs 2.10 or newer: upgrade it, or name \
         another one in nats.servers"
    )]
    TooOld {
        /// The addresses.
        servers: String,
        /// The server's version.
        version: String,
    },
    /// The server keeps nothing.
    #[error(
        "NATS at {servers} has no JetStream ({reason}): start nats-server with -js, or put \
         `jetstream {{ store_dir: … }}` into its configuration and enable it for the account"
    )]
    NoJetStream {
        /// The addresses.
        servers: String,
        /// What the server said.
        reason: String,
    },
    /// A stream can't be made or changed.
    #[error("NATS refuses the stream {stream} ({reason}): {remedy}")]
    Stream {
        /// The stream's name.
        stream: String,
        /// What the server said.
        reason: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// A metric's name is taken: two buses on one registry.
    #[error(transparent)]
    Metrics(#[from] MetricError),
}

/// Connects, and makes sure that the streams are there.
pub(crate) async fn connect(
    config: &NatsConfig,
    names: &Names,
    metrics: Metrics,
) -> Result<Arc<Link>, ConnectError> {
    if config.servers.is_empty() {
        return Err(ConnectError::NoServers);
    }
    if let Some((key, problem)) = hearth_config::Documented::validate(config)
        .into_iter()
        .next()
    {
        return Err(ConnectError::Setting { key, problem });
    }
    check_file("creds_file", config.creds_file.as_ref()).await?;
    check_file("tls_ca", config.tls_ca.as_ref()).await?;
    check_file("tls_cert", config.tls_cert.as_ref()).await?;
    check_file("tls_key", config.tls_key.as_ref()).await?;
    let mut patience = Patience::new("NATS", config.connect_timeout.get());
    let metrics = Arc::new(metrics);
    let watchman = Arc::new(Watchman::new(Arc::clone(&metrics)));
    let client = dial(config, &watchman, &mut patience).await?;
    let ack_timeout = config.ack_timeout.get();
    let link = Arc::new(Link::new(client, metrics, ack_timeout, watchman.losses()));
    check_version(config, &link)?;
    check_jetstream(config, &link, &mut patience).await?;
    check_payload(&link);
    layout::ensure(&link, names, config, &mut patience).await?;
    Ok(link)
}

/// Addresses as they are shown.
fn shown(config: &NatsConfig) -> String {
    config.servers.join(", ")
}

async fn dial(
    config: &NatsConfig,
    watchman: &Arc<Watchman>,
    patience: &mut Patience,
) -> Result<Client, ConnectError> {
    loop {
        let options = options(config, Arc::clone(watchman)).await?;
        let error = match options.connect(config.servers.clone()).await {
            Ok(client) => return Ok(client),
            Err(error) => error,
        };
        let (servers, reason) = (shown(config), error.to_string());
        match error.kind() {
            _ if is_of_tls(&error) => return Err(ConnectError::Tls { servers, reason }),
            ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
                return Err(ConnectError::Credentials { servers, reason });
            }
            _ if patience.wait(&reason).await => {}
            _ => return Err(ConnectError::Unreachable { servers, reason }),
        }
    }
}

/// What rustls refuses comes as input or output that is not valid.
fn is_of_tls(error: &async_nats::ConnectError) -> bool {
    let source = std::error::Error::source(error);
    let io = source.and_then(|source| source.downcast_ref::<std::io::Error>());
    error.kind() == ConnectErrorKind::Tls
        || io.is_some_and(|io| io.kind() == std::io::ErrorKind::InvalidData)
}

/// A file that a setting names can be read.
async fn check_file(key: &str, file: Option<&PathBuf>) -> Result<(), ConnectError> {
    let Some(file) = file else { return Ok(()) };
    let read = tokio::fs::read(file).await;
    read.map(drop).map_err(|error| ConnectError::Setting {
        key: key.to_owned(),
        problem: format!("{} can't be read: {error}", file.display()),
    })
}

async fn options(
    config: &NatsConfig,
    watchman: Arc<Watchman>,
) -> Result<ConnectOptions, ConnectError> {
    let mut options = ConnectOptions::new()
        .name("hearth")
        .connection_timeout(ONE_TRY.min(config.connect_timeout.get()))
        .request_timeout(Some(config.ack_timeout.get()))
        .ping_interval(PING)
        .subscription_capacity(SUBSCRIPTION)
        .max_reconnects(None)
        .reconnect_delay_callback(reconnect_pause)
        .event_callback(move |event| {
            let watchman = Arc::clone(&watchman);
            async move { watchman.hear(&event) }
        });
    let text = |secret: &SecretString| secret.expose().to_owned();
    if let (Some(user), Some(password)) = (&config.user, &config.password) {
        options = options.user_and_password(user.clone(), text(password));
    }
    if let Some(token) = &config.token {
        options = options.token(text(token));
    }
    if let Some(nkey) = &config.nkey {
        options = options.nkey(text(nkey));
    }
    if let Some(file) = &config.creds_file {
        let read = options.credentials_file(file).await;
        options = read.map_err(|error| ConnectError::Setting {
            key: "creds_file".into(),
            problem: format!("{} can't be used: {error}", file.display()),
        })?;
    }
    if let Some(file) = &config.tls_ca {
        options = options.add_root_certificates(file.clone());
    }
    if let (Some(cert), Some(key)) = (&config.tls_cert, &config.tls_key) {
        options = options.add_client_certificate(cert.clone(), key.clone());
    }
    Ok(options.require_tls(config.tls))
}

/// How long to wait before the `attempt`th try: longer each time, and different in each process,
/// so that they don't all come back at once.
fn reconnect_pause(attempt: usize) -> Duration {
    let doublings = u32::try_from(attempt.saturating_sub(1))
        .unwrap_or(u32::MAX)
        .min(6);
    let full = (Duration::from_millis(100) * 2_u32.pow(doublings)).min(LONGEST_PAUSE);
    // The first try of all is the start's.
    spread(if attempt <= 1 { full / 4 } else { full })
}

fn check_version(config: &NatsConfig, link: &Link) -> Result<(), ConnectError> {
    let version = link.client.server_info().version;
    if is_new_enough(&version) {
        return Ok(());
    }
    let servers = shown(config);
    Err(ConnectError::TooOld { servers, version })
}

fn is_new_enough(version: &str) -> bool {
    let mut parts = version
        .split('.')
        .map_while(|part| part.parse::<u32>().ok());
    match (parts.next(), parts.next()) {
        (Some(major), Some(minor)) => (major, minor) >= OLDEST,
        // A version of another form is a build of someone's own.
        _ => true,
    }
}

async fn check_jetstream(
    config: &NatsConfig,
    link: &Link,
    patience: &mut Patience,
) -> Result<(), ConnectError> {
    loop {
        let trouble = match link.api::<Value>("INFO".into(), &Value::Null).await {
            Ok(_) => return Ok(()),
            Err(trouble) => trouble,
        };
        let info = link.client.server_info();
        let never = matches!(
            trouble.number(),
            Some(number::NOT_FOR_ACCOUNT | number::NOT_ENABLED)
        );
        let alone = !info.jetstream && info.cluster.is_none();
        let silent = matches!(trouble, Trouble::NoResponders);
        let (servers, reason) = (shown(config), trouble.to_string());
        if never || (alone && silent) {
            return Err(ConnectError::NoJetStream { servers, reason });
        }
        if !patience.wait(&reason).await {
            return Err(match silent {
                true => ConnectError::NoJetStream { servers, reason },
                false => ConnectError::Unreachable { servers, reason },
            });
        }
    }
}

fn check_payload(link: &Link) {
    let max_payload = link.client.max_payload();
    if max_payload < SMALL_PAYLOAD {
        tracing::warn!(
            max_payload,
            "NATS takes small messages only: values of large devices go in many pieces, their names \
             may be refused; set max_payload: 8MB on the servers"
        );
    }
}

/// A stream's refusal and what to do about it.
pub(crate) fn stream_refused(
    config: &NatsConfig,
    stream: String,
    trouble: &Trouble,
) -> ConnectError {
    let remedy = match trouble.number() {
        Some(number::NO_REPLICAS) => "set nats.replicas to 1, or run NATS as a cluster",
        Some(number::NO_STORAGE) => {
            "lower nats.max_bytes and nats.dead_letter_bytes, or give JetStream more storage"
        }
        Some(_) => "check nats.replicas and nats.max_bytes, and what else uses nats.prefix",
        None => {
            let (servers, reason) = (shown(config), trouble.to_string());
            return ConnectError::Unreachable { servers, reason };
        }
    };
    ConnectError::Stream {
        stream,
        reason: trouble.to_string(),
        remedy,
    }
}

/// A duration as JetStream writes it: nanoseconds.
pub(crate) fn nanos(duration: impl Into<Duration>) -> u64 {
    u64::try_from(duration.into().as_nanos()).unwrap_or(u64::MAX)
}

/// The same of one that may be unset: 0 is "for ever".
pub(crate) fn nanos_or_ever(duration: Option<HumanDuration>) -> u64 {
    duration.map_or(0, nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared() {
        for (version, new_enough) in [
            ("2.9.10", false),
            ("2.10.0", true),
            ("2.15.1", true),
            ("3.0.0-RC.1", true),
            ("1.4.1", false),
            ("built at home", true),
        ] {
            assert_eq!(is_new_enough(version), new_enough, "{version}");
        }
    }

    #[test]
    fn pauses_grow_and_end_growing() {
        for _ in 0..50 {
            assert!(reconnect_pause(1) <= Duration::from_millis(25));
            assert!(reconnect_pause(3) <= Duration::from_millis(400));
            assert!(reconnect_pause(3) >= Duration::from_millis(200));
            assert!(reconnect_pause(usize::MAX) <= LONGEST_PAUSE);
            assert!(reconnect_pause(usize::MAX) >= LONGEST_PAUSE / 2);
        }
    }
}
