//! The configuration of the server: the settings of every part in one tree.

use crate::cli::RunArgs;
use hearth_config::{
    ByteSize, ConfigError, Documented, FieldDoc, HumanDuration, Loaded, Loader, Shape, section,
};
use hearth_device_state::DeviceStateConfig;
use hearth_files::FilesConfig;
use hearth_gateway::GatewayConfig;
use hearth_northbound::NorthboundConfig;
use hearth_telemetry::LogConfig;
use hearth_wakeup::WakeupConfig;
use hearth_workflow::WorkflowConfig;
use serde::{Deserialize, Serialize};
use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

/// Variables that begin with `HEARTH_` and are not settings of the server: those
/// of `hearthctl`, of the simulator and of the project's own scripts.
const OTHER_VARIABLES: [&str; 15] = [
    "HEARTH_SERVER",
    "HEARTH_TOKEN",
    "HEARTH_TOKEN_FILE",
    "HEARTH_CONTEXT",
    "HEARTH_CONFIG",
    "HEARTH_CA_FILE",
    "HEARTH_TENANT",
    "HEARTH_BBF_DIR",
    "HEARTH_STAGE_TIMEOUT",
    "HEARTH_UPDATE_DOCS",
    "HEARTH_SIM_",
    "HEARTH_LOAD_",
    "HEARTH_KILL_",
    "HEARTH_FUZZ_",
    "HEARTH_TEST_",
];

/// All settings of the server.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(
    missing_docs,
    reason = "each field is documented for the operator in `fields`"
)]
pub struct HearthConfig {
    pub data_dir: PathBuf,
    pub drain_timeout: HumanDuration,
    pub listen: ListenConfig,
    pub log: LogConfig,
    pub engine: EngineConfig,
    pub gateway: GatewayConfig,
    pub device_state: DeviceStateConfig,
    pub workflow: WorkflowConfig,
    pub wakeup: WakeupConfig,
    pub files: FilesConfig,
    pub api: NorthboundConfig,
}

impl Default for HearthConfig {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("hearth-data"),
            drain_timeout: HumanDuration::secs(25),
            listen: ListenConfig::default(),
            log: LogConfig::default(),
            engine: EngineConfig::default(),
            gateway: GatewayConfig::default(),
            device_state: DeviceStateConfig::default(),
            workflow: WorkflowConfig::default(),
            wakeup: WakeupConfig::default(),
            files: FilesConfig::default(),
            api: NorthboundConfig::default(),
        }
    }
}

impl Documented for HearthConfig {
    fn fields() -> Vec<FieldDoc> {
        let own = vec![
            FieldDoc::new(
                "data_dir",
                Shape::Path,
                "Where everything is kept: state, tasks, files, keys and tokens.",
            ),
            FieldDoc::new(
                "drain_timeout",
                Shape::Duration,
                "How long work under way may take to end when the server is stopped.",
            ),
        ];
        [
            own,
            section("listen", ListenConfig::fields()),
            section("log", log_fields()),
            section("engine", EngineConfig::fields()),
            section("gateway", GatewayConfig::fields()),
            section("device_state", DeviceStateConfig::fields()),
            section("workflow", WorkflowConfig::fields()),
            section("wakeup", WakeupConfig::fields()),
            section("files", FilesConfig::fields()),
            section("api", NorthboundConfig::fields()),
        ]
        .concat()
    }

    fn validate(&self) -> Vec<(String, String)> {
        let parts = [
            ("listen", self.listen.validate()),
            ("log", log_problems(&self.log)),
            ("gateway", self.gateway.validate()),
            ("device_state", self.device_state.validate()),
            ("workflow", self.workflow.validate()),
            ("wakeup", self.wakeup.validate()),
            ("files", self.files.validate()),
            ("api", self.api.validate()),
        ];
        parts
            .into_iter()
            .flat_map(|(name, problems)| {
                problems
                    .into_iter()
                    .map(move |(key, problem)| (format!("{name}.{key}"), problem))
            })
            .collect()
    }
}

/// Where the server listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(
    missing_docs,
    reason = "each field is documented for the operator in `fields`"
)]
pub struct ListenConfig {
    pub cwmp: SocketAddr,
    pub api: SocketAddr,
    pub files: SocketAddr,
    pub admin: SocketAddr,
    pub api_without_tls: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_tls_cert: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_tls_key: Option<PathBuf>,
}

impl Default for ListenConfig {
    fn default() -> Self {
        let all = |port| SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self {
            cwmp: all(7547),
            api: local(8080),
            files: all(7567),
            admin: local(9464),
            api_without_tls: false,
            api_tls_cert: None,
            api_tls_key: None,
        }
    }
}

impl Documented for ListenConfig {
    fn fields() -> Vec<FieldDoc> {
        vec![
            FieldDoc::new("cwmp", Shape::SocketAddr, "Where devices connect (CWMP)."),
            FieldDoc::new("api", Shape::SocketAddr, "Where the API listens (gRPC)."),
            FieldDoc::new(
                "files",
                Shape::SocketAddr,
                "Where devices fetch and send files.",
            ),
            FieldDoc::new(
                "admin",
                Shape::SocketAddr,
                "Health, readiness and metrics; without authentication, so keep it inside.",
            ),
            FieldDoc::new(
                "api_without_tls",
                Shape::Bool,
                "Allows the API on another address than loopback although it has no TLS: its \
                 token then travels in plain text.",
            ),
            FieldDoc::new(
                "api_tls_cert",
                Shape::Path,
                "The API's certificate and its chain (PEM). Unset: no TLS.",
            )
            .example("\"/etc/hearth/tls.crt\""),
            FieldDoc::new(
                "api_tls_key",
                Shape::Path,
                "The certificate's private key (PEM).",
            )
            .example("\"/etc/hearth/tls.key\""),
        ]
    }

    fn validate(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        if self.api_tls_cert.is_some() != self.api_tls_key.is_some() {
            problems.push((
                "api_tls_key".into(),
                "api_tls_cert and api_tls_key go together: set both or none".into(),
            ));
        }
        let plain = self.api_tls_cert.is_none() && !self.api_without_tls;
        if !self.api.ip().is_loopback() && plain {
            problems.push((
                "api".into(),
                "is not a loopback address, and the API has no TLS: its token would travel in \
                 plain text. Set api_tls_cert and api_tls_key, listen on 127.0.0.1, or allow it \
                 with --api-without-tls"
                    .into(),
            ));
        }
        problems
    }
}

fn log_problems(log: &LogConfig) -> Vec<(String, String)> {
    let problem = log.check().err().map(|error| error.to_string());
    problem
        .into_iter()
        .map(|problem| ("filter".to_owned(), problem))
        .collect()
}

/// What the operator reads about the log settings.
fn log_fields() -> Vec<FieldDoc> {
    vec![
        FieldDoc::new(
            "format",
            Shape::Choice(&["text", "json"]),
            "How log lines look, on standard error.",
        ),
        FieldDoc::new(
            "filter",
            Shape::Text,
            "Which lines: a level, or targets with levels such as `info,hearth_gateway=debug`.",
        ),
        FieldDoc::new(
            "color",
            Shape::Bool,
            "Colours in text; unset: where standard error is a terminal.",
        )
        .example("true"),
    ]
}

/// The embedded store's engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(
    missing_docs,
    reason = "each field is documented for the operator in `fields`"
)]
pub struct EngineConfig {
    pub cache_size: ByteSize,
    pub journal_size: ByteSize,
    pub disk_reserve: ByteSize,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            cache_size: ByteSize(64 << 20),
            journal_size: ByteSize(64 << 20),
            disk_reserve: ByteSize(64 << 20),
        }
    }
}

impl Documented for EngineConfig {
    fn fields() -> Vec<FieldDoc> {
        vec![
            FieldDoc::new(
                "cache_size",
                Shape::Size,
                "Memory for what was read from disk.",
            ),
            FieldDoc::new(
                "journal_size",
                Shape::Size,
                "Journal on disk before it is written into tables; more makes a restart slower.",
            ),
            FieldDoc::new(
                "disk_reserve",
                Shape::Size,
                "With less free space than this nothing more is accepted, until there is again.",
            ),
        ]
    }
}

/// Loads the configuration: defaults, file, `HEARTH_*`, flags.
///
/// # Errors
/// All problems that were found, each with its key and where it came from.
pub fn load(args: &RunArgs) -> Result<Loaded<HearthConfig>, ConfigError> {
    let mut loader = Loader::new()
        .env("HEARTH", std::env::vars())
        .ignore_env(&OTHER_VARIABLES)
        .first_file_of([
            PathBuf::from("hearth.toml"),
            PathBuf::from("/etc/hearth/hearth.toml"),
        ])
        .overrides(args.set.iter().cloned());
    if let Some(file) = &args.config {
        loader = loader.file(file);
    }
    for (key, value, flag) in args.flags() {
        loader = loader.flag(key, value, flag);
    }
    loader.load()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_setting_is_documented() {
        let missing = hearth_config::check_documentation::<HearthConfig>();
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn the_example_loads() {
        let example = hearth_config::example::<HearthConfig>().unwrap();
        assert!(example.contains("[listen]"), "{example}");
    }

    #[test]
    fn what_the_server_would_not_start_with_is_told() {
        for (set, key) in [
            ("log.filter=\"a=b=c[\"", "log.filter"),
            ("files.public_url=\"not a url\"", "files.public_url"),
            (
                "wakeup.max_concurrent=9000000000000000000",
                "wakeup.max_concurrent",
            ),
        ] {
            let args = RunArgs {
                set: vec![set.to_owned()],
                ..RunArgs::default()
            };
            let error = load(&args).unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        }
    }

    #[test]
    fn an_open_api_needs_a_word() {
        let args = RunArgs {
            api_listen: Some("0.0.0.0:8080".parse().unwrap()),
            ..RunArgs::default()
        };
        let error = load(&args).unwrap_err().to_string();
        assert!(error.contains("--api-without-tls"), "{error}");
        let args = RunArgs {
            api_without_tls: true,
            ..args
        };
        assert!(load(&args).is_ok());
    }
}
