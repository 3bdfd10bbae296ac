//! Connecting: one clear line for whatever is wrong at the start.

use super::{
    config::{RedisConfig, host_and_port},
    connect_error::ConnectError,
    link::load_command,
};
use hearth_runtime::Patience;
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind,
    IntoConnectionInfo, RedisConnectionInfo, RedisError, RedisResult, TlsCertificates, TlsMode,
    Value,
    aio::MultiplexedConnection,
    cluster::{ClusterClient, ClusterClientBuilder},
    cluster_async::ClusterConnection,
    sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType},
};
use std::{path::Path, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// How long a server may take to answer what is no TLS.
const GREETING: Duration = Duration::from_secs(1);
/// What errors of TLS say.
const TLS: [&str; 4] = ["certificate", "handshake", "fatal alert", "tls"];
/// How long one try may take.
const ONE_TRY: Duration = Duration::from_secs(5);

/// A connection: to one server, or to a cluster.
#[derive(Clone)]
pub(super) enum Connection {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Connection {
    pub(super) async fn query(&mut self, cmd: &Cmd) -> RedisResult<Value> {
        match self {
            Self::One(connection) => cmd.query_async(connection).await,
            Self::Cluster(connection) => cmd.query_async(connection).await,
        }
    }
}

/// What makes connections, again and again.
pub(super) enum Connector {
    /// Servers of which one is the primary.
    Servers(Vec<Client>, AsyncConnectionConfig),
    Sentinels(Box<SentinelClient>, AsyncConnectionConfig),
    Cluster(Box<ClusterClient>),
}

impl Connector {
    pub(super) async fn connect(&mut self) -> RedisResult<Connection> {
        match self {
            Self::Servers(clients, config) => {
                let mut last = None;
                for client in clients {
                    match Box::pin(primary(client, config)).await {
                        Ok((connection, _)) => return Ok(Connection::One(connection)),
                        Err(error) => last = Some(error),
                    }
                }
                Err(last.unwrap_or_else(|| (ErrorKind::InvalidClientConfig, "no server").into()))
            }
            Self::Sentinels(client, config) => {
                let connection = client.get_async_connection_with_config(config);
                Box::pin(connection).await.map(Connection::One)
            }
            Self::Cluster(client) => {
                let connection = Box::pin(client.get_async_connection());
                connection.await.map(Connection::Cluster)
            }
        }
    }
}

/// Connects to a server, unless it is a replica; what it says of itself.
async fn primary(
    client: &Client,
    config: &AsyncConnectionConfig,
) -> RedisResult<(MultiplexedConnection, Info)> {
    let mut connection = client
        .get_multiplexed_async_connection_with_config(config)
        .await?;
    let info = Info::ask(&mut connection).await?;
    if info.get("role") == "slave" && info.get("cluster_enabled") != "1" {
        return Err((ErrorKind::Io, "the server is a replica").into());
    }
    Ok((connection, info))
}

/// The first byte of the answer to a greeting without TLS; `None` from one who hangs up instead.
async fn greet(host: &str, port: u16) -> std::io::Result<Option<u8>> {
    let mut stream = TcpStream::connect((host, port)).await?;
    let asked = async {
        stream.write_all(b"PING\r\n").await?;
        let mut first = [0];
        let read = stream.read(&mut first).await?;
        Ok((read > 0).then_some(first[0]))
    };
    let answer: std::io::Result<_> = asked.await;
    Ok(answer.unwrap_or(None))
}

/// What a server says of itself.
struct Info(String);

impl Info {
    async fn ask(connection: &mut MultiplexedConnection) -> RedisResult<Self> {
        redis::cmd("INFO").query_async(connection).await.map(Self)
    }

    fn get(&self, name: &str) -> &str {
        let line = |line: &'_ str| line.strip_prefix(name).is_some_and(|l| l.starts_with(':'));
        let found = self.0.lines().find(|text| line(text));
        found.map_or("", |text| text[name.len() + 1..].trim())
    }
}

/// Settings with their certificates read.
struct Target<'a> {
    config: &'a RedisConfig,
    certificates: Option<TlsCertificates>,
    nodes: String,
}

/// Connects once, checks the server, loads the functions; answers what makes the connections that
/// are kept.
pub(super) async fn prepare(
    config: &RedisConfig,
    library: &str,
) -> Result<Vec<Connector>, ConnectError> {
    let target = Target::new(config).await?;
    let mut patience = Patience::new("Redis", config.connect_timeout.get());
    loop {
        let tried = timeout(ONE_TRY, target.prepare(library)).await;
        let error = match tried {
            Ok(Ok(connectors)) => return Ok(connectors),
            Ok(Err(error)) => error,
            Err(_) => target.unreachable("no answer"),
        };
        let error = match error {
            ConnectError::Unreachable { nodes, reason } => target.told_apart(nodes, reason).await,
            other => other,
        };
        if !error.may_pass() || !patience.wait(&error).await {
            return Err(error);
        }
    }
}

impl<'a> Target<'a> {
    async fn new(config: &'a RedisConfig) -> Result<Self, ConnectError> {
        use hearth_config::Documented;
        if config.nodes.is_empty() {
            return Err(ConnectError::NoNodes);
        }
        if let Some((key, problem)) = config.validate().into_iter().next() {
            return Err(ConnectError::Setting { key, problem });
        }
        let nodes = config.nodes.join(", ");
        let certificates = match config.uses_tls() {
            false => None,
            true => Some(certificates(config, &nodes).await?),
        };
        Ok(Self {
            config,
            certificates,
            nodes,
        })
    }

    async fn prepare(&self, library: &str) -> Result<Vec<Connector>, ConnectError> {
        let wrong = |error: RedisError| self.wrong(&error);
        let mut connector = self.connector(false).map_err(wrong)?;
        let connection = connector.connect().await.map_err(wrong)?;
        let Connection::One(mut one) = connection else {
            return Err(self.unreachable("a cluster where one server was asked"));
        };
        let info = Info::ask(&mut one).await.map_err(wrong)?;
        self.check(&info)?;
        let is_cluster = info.get("cluster_enabled") == "1";
        let mut connector = self.connector(is_cluster).map_err(wrong)?;
        let mut connection = connector.connect().await.map_err(wrong)?;
        let loaded = connection.query(&load_command(library)).await;
        loaded.map_err(|error| match error.code() {
            _ if error.to_string().contains("unknown command") => self.too_old(&info),
            Some("ERR") => ConnectError::Functions {
                nodes: self.nodes.clone(),
                reason: error.to_string(),
            },
            _ => self.wrong(&error),
        })?;
        let more = 1..self.config.connections;
        let more = more.map(|_| self.connector(is_cluster).map_err(wrong));
        std::iter::once(Ok(connector)).chain(more).collect()
    }

    fn check(&self, info: &Info) -> Result<(), ConnectError> {
        let major = info.get("redis_version").split('.').next();
        let is_old = major
            .and_then(|m| m.parse().ok())
            .is_some_and(|m: u32| m < 7);
        if is_old {
            return Err(self.too_old(info));
        }
        let policy = info.get("maxmemory_policy");
        if policy.starts_with("allkeys") {
            if info.get("maxmemory") != "0" {
                return Err(ConnectError::Eviction {
                    nodes: self.nodes.clone(),
                    policy: policy.to_owned(),
                });
            }
            tracing::warn!(
                policy,
                "Redis would drop keys of the task queue once it had a maxmemory: set maxmemory-policy noeviction"
            );
        }
        Ok(())
    }

    fn too_old(&self, info: &Info) -> ConnectError {
        ConnectError::TooOld {
            nodes: self.nodes.clone(),
            version: info.get("redis_version").to_owned(),
        }
    }

    /// An answer that did not come is often a question of TLS: a server without it waits for more of
    /// what it takes for a command, one with it hangs up.
    async fn told_apart(&self, nodes: String, reason: String) -> ConnectError {
        let tls = self.certificates.is_some();
        for node in &self.config.nodes {
            let Some((host, port)) = host_and_port(node) else {
                continue;
            };
            let greeted = timeout(GREETING, greet(&host, port)).await;
            let (spoken, scheme) = match greeted {
                Ok(Ok(Some(b'+' | b'-'))) if tls => ("no TLS", "redis"),
                Ok(Ok(None)) if !tls => ("TLS, as it seems", "rediss"),
                _ => continue,
            };
            return ConnectError::Scheme {
                nodes,
                spoken,
                reason,
                wanted: !tls,
                scheme,
            };
        }
        ConnectError::Unreachable { nodes, reason }
    }

    fn unreachable(&self, reason: impl Into<String>) -> ConnectError {
        ConnectError::Unreachable {
            nodes: self.nodes.clone(),
            reason: reason.into(),
        }
    }

    fn wrong(&self, error: &RedisError) -> ConnectError {
        let (nodes, reason) = (self.nodes.clone(), error.to_string());
        let lower = reason.to_ascii_lowercase();
        match (error.kind(), error.code()) {
            (ErrorKind::AuthenticationFailed, _) | (_, Some("NOAUTH" | "WRONGPASS")) => {
                ConnectError::Credentials { nodes, reason }
            }
            (_, Some("NOPERM")) => ConnectError::Permission {
                nodes,
                reason,
                prefix: self.config.prefix.clone(),
            },
            (ErrorKind::MasterNameNotFoundBySentinel, _) => ConnectError::Group {
                nodes,
                group: self.config.sentinel_group.clone().unwrap_or_default(),
            },
            (_, Some("NOREPLICAS")) => ConnectError::FewReplicas { nodes, reason },
            _ if lower.contains("invalidcontenttype") => ConnectError::Scheme {
                nodes,
                spoken: "no TLS",
                reason,
                wanted: false,
                scheme: "redis",
            },
            _ if TLS.iter().any(|word| lower.contains(word)) => ConnectError::Tls { nodes, reason },
            _ => ConnectError::Unreachable { nodes, reason },
        }
    }

    fn connector(&self, is_cluster: bool) -> RedisResult<Connector> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(ONE_TRY))
            .set_response_timeout(Some(self.config.call_timeout.get()));
        if self.config.sentinel_group.is_some() {
            let client = self.sentinels()?;
            return Ok(Connector::Sentinels(Box::new(client), config));
        }
        if is_cluster {
            return self
                .cluster()
                .map(|client| Connector::Cluster(Box::new(client)));
        }
        let client = |info: ConnectionInfo| match &self.certificates {
            Some(certificates) => Client::build_with_tls(info, certificates.clone()),
            None => Client::open(info),
        };
        let infos = self.addresses().map(|address| {
            let info = address.into_connection_info()?;
            client(info.set_redis_settings(self.login()))
        });
        Ok(Connector::Servers(
            infos.collect::<RedisResult<_>>()?,
            config,
        ))
    }

    fn cluster(&self) -> RedisResult<ClusterClient> {
        let infos = self.addresses().map(|address| {
            let info = address.into_connection_info()?;
            Ok(info.set_redis_settings(self.login()))
        });
        let infos: Vec<ConnectionInfo> = infos.collect::<RedisResult<_>>()?;
        let mut builder = ClusterClientBuilder::new(infos)
            .connection_timeout(ONE_TRY)
            .response_timeout(self.config.call_timeout.get())
            .overall_response_timeout(None)
            .min_retry_wait(20)
            .max_retry_wait(200)
            .retries(8);
        if let Some(certificates) = &self.certificates {
            builder = builder.tls(TlsMode::Secure).certs(certificates.clone());
        }
        builder.build()
    }

    fn sentinels(&self) -> RedisResult<SentinelClient> {
        let group = self.config.sentinel_group.as_deref().unwrap_or_default();
        let addresses: Vec<_> = self.addresses().collect();
        let mut builder = SentinelClientBuilder::new(addresses, group, SentinelServerType::Master)?;
        if let Some(user) = &self.config.user {
            builder = builder.set_client_to_redis_username(user);
        }
        if let Some(password) = &self.config.password {
            builder = builder.set_client_to_redis_password(password.expose());
        }
        if let Some(user) = &self.config.sentinel_user {
            builder = builder.set_client_to_sentinel_username(user);
        }
        if let Some(password) = &self.config.sentinel_password {
            builder = builder.set_client_to_sentinel_password(password.expose());
        }
        if let Some(certificates) = &self.certificates {
            builder = builder
                .set_client_to_redis_tls_mode(TlsMode::Secure)
                .set_client_to_redis_certificates(certificates.clone())
                .set_client_to_sentinel_tls_mode(TlsMode::Secure)
                .set_client_to_sentinel_certificates(certificates.clone());
        }
        builder.build()
    }

    fn addresses(&self) -> impl Iterator<Item = ConnectionAddr> {
        let parsed = self.config.nodes.iter().filter_map(|n| host_and_port(n));
        parsed.map(|(host, port)| match self.certificates.is_some() {
            false => ConnectionAddr::Tcp(host, port),
            true => ConnectionAddr::TcpTls {
                host,
                port,
                insecure: false,
                tls_params: None,
            },
        })
    }

    fn login(&self) -> RedisConnectionInfo {
        let mut login = RedisConnectionInfo::default();
        if let Some(user) = &self.config.user {
            login = login.set_username(user);
        }
        if let Some(password) = &self.config.password {
            login = login.set_password(password.expose());
        }
        login
    }
}

async fn certificates(config: &RedisConfig, nodes: &str) -> Result<TlsCertificates, ConnectError> {
    // The driver takes the process's provider, and fails where several are built in and none is
    // chosen. An error says that one is.
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .ok();
    let root_cert = match &config.tls_ca {
        Some(path) => Some(read(path, nodes).await?),
        None => None,
    };
    let client_tls = match (&config.tls_cert, &config.tls_key) {
        (Some(cert), Some(key)) => Some(ClientTlsConfig {
            client_cert: read(cert, nodes).await?,
            client_key: read(key, nodes).await?,
        }),
        _ => None,
    };
    Ok(TlsCertificates {
        client_tls,
        root_cert,
    })
}

async fn read(path: &Path, nodes: &str) -> Result<Vec<u8>, ConnectError> {
    tokio::fs::read(path)
        .await
        .map_err(|error| ConnectError::Tls {
            nodes: nodes.to_owned(),
            reason: format!("{}: {error}", path.display()),
        })
}
