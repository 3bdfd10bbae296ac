//! What is wrong at the start, in one line for the operator each.

use hearth_telemetry::MetricError;

/// Why the queue can't be opened on Redis. Each is one line for the operator.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// No server is configured.
    #[error("no Redis server is configured: set redis.nodes")]
    NoNodes,
    /// A setting that can't work.
    #[error("redis.{key}: {problem}")]
    Setting {
        /// The setting, below `redis`.
        key: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Nobody answers.
    #[error("no Redis answers at {nodes} ({reason}): check redis.nodes and that Redis runs")]
    Unreachable {
        /// The addresses that were tried.
        nodes: String,
        /// What the last try failed with.
        reason: String,
    },
    /// Wrong credentials, or none where some are needed.
    #[error(
        "Redis at {nodes} refuses the credentials ({reason}): check redis.user and redis.password, \
         and redis.sentinel_password where Sentinels ask for one"
    )]
    Credentials {
        /// The addresses that were tried.
        nodes: String,
        /// What the server said.
        reason: String,
    },
    /// The user may not do what is needed.
    #[error(
        "the user at Redis at {nodes} lacks a permission ({reason}): it needs \
         `~{{h1:{prefix}:*}}* +@all` or at least fcall, function|load, info and the commands on \
         hashes, sets and sorted sets"
    )]
    Permission {
        /// The addresses.
        nodes: String,
        /// What the server said.
        reason: String,
        /// What the keys begin with.
        prefix: String,
    },
    /// Certificates don't fit, or can't be read.
    #[error(
        "TLS with Redis at {nodes} fails ({reason}): check redis.tls, redis.tls_ca, redis.tls_cert \
         and redis.tls_key"
    )]
    Tls {
        /// The addresses that were tried.
        nodes: String,
        /// What was wrong.
        reason: String,
    },
    /// The server speaks TLS and was spoken to without, or the other way round.
    #[error(
        "Redis at {nodes} speaks {spoken} ({reason}): set redis.tls = {wanted}, and \
         {scheme}:// in redis.nodes"
    )]
    Scheme {
        /// The addresses that were tried.
        nodes: String,
        /// What the server speaks.
        spoken: &'static str,
        /// What the last try failed with.
        reason: String,
        /// `redis.tls` as it should be.
        wanted: bool,
        /// The scheme as it should be.
        scheme: &'static str,
    },
    /// The server refuses writes while it has too few replicas.
    #[error(
        "Redis at {nodes} takes no writes ({reason}): start its replicas, or set \
         min-replicas-to-write to how many of them there are"
    )]
    FewReplicas {
        /// The addresses.
        nodes: String,
        /// What the server said.
        reason: String,
    },
    /// The server has no functions.
    #[error(
        "Redis at {nodes} is version {version}, and Hearth needs Redis 7.0 or newer, or Valkey: \
         upgrade it, or name another one in redis.nodes"
    )]
    TooOld {
        /// The addresses.
        nodes: String,
        /// The server's version.
        version: String,
    },
    /// The server does not take the functions.
    #[error("Redis at {nodes} does not take the functions of the task queue ({reason})")]
    Functions {
        /// The addresses.
        nodes: String,
        /// What the server said.
        reason: String,
    },
    /// The server would throw keys away.
    #[error(
        "Redis at {nodes} has maxmemory-policy {policy}, by which it may drop keys of the task \
         queue: set `maxmemory-policy noeviction`, or give Hearth a Redis of its own"
    )]
    Eviction {
        /// The addresses.
        nodes: String,
        /// The policy.
        policy: String,
    },
    /// The Sentinels don't know the group.
    #[error("the Sentinels at {nodes} watch no group {group:?}: check redis.sentinel_group")]
    Group {
        /// The addresses.
        nodes: String,
        /// The group.
        group: String,
    },
    /// A metric's name is taken: two queues on one registry.
    #[error(transparent)]
    Metrics(#[from] MetricError),
}

impl ConnectError {
    /// Whether the server may be starting.
    pub(super) const fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. }
                | Self::FewReplicas { .. }
                // One that hangs up may as well be starting.
                | Self::Scheme { wanted: true, .. }
        )
    }
}
