//! The configuration of the server: the settings of every part in one tree.

mod form;
mod listen;
mod parts;

pub use listen::ListenConfig;
pub use parts::EngineConfig;

use crate::cli::RunArgs;
use crate::roles::Role;
use hearth_bus::NatsConfig;
use hearth_clients::InternalConfig;
use hearth_config::{
    ConfigError, Documented, FieldDoc, HumanDuration, Loaded, Loader, Shape, section,
};
use hearth_device_state::DeviceStateConfig;
use hearth_files::FilesConfig;
use hearth_gateway::GatewayConfig;
use hearth_northbound::NorthboundConfig;
use hearth_queue::RedisConfig;
use hearth_store::CqlConfig;
use hearth_telemetry::{LogConfig, TraceConfig};
use hearth_wakeup::WakeupConfig;
use hearth_workflow::WorkflowConfig;
use parts::{log_fields, log_problems, trace_fields, trace_problems};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

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
    pub roles: Vec<Role>,
    pub data_dir: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_key_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin_token_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files_dir: Option<PathBuf>,
    pub drain_timeout: HumanDuration,
    pub listen: ListenConfig,
    pub log: LogConfig,
    pub trace: TraceConfig,
    pub engine: EngineConfig,
    pub nats: NatsConfig,
    pub redis: RedisConfig,
    pub cql: CqlConfig,
    pub internal: InternalConfig,
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
            roles: Role::ALL.to_vec(),
            data_dir: PathBuf::from("hearth-data"),
            secret_key_file: None,
            admin_token_file: None,
            files_dir: None,
            drain_timeout: HumanDuration::secs(25),
            listen: ListenConfig::default(),
            log: LogConfig::default(),
            trace: TraceConfig::default(),
            engine: EngineConfig::default(),
            nats: NatsConfig::default(),
            redis: RedisConfig::default(),
            cql: CqlConfig::default(),
            internal: InternalConfig::default(),
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
                "roles",
                Shape::List("roles"),
                "What this process does: gateway, workflow, device-state, northbound, wakeup, files. Fewer than all \
                 need `nats`, `redis` and `cql`.",
            ),
            FieldDoc::new(
                "data_dir",
                Shape::Path,
                "Where everything is kept: state, tasks, files, keys and tokens. With `nats`, `redis` and `cql` only \
                 what the settings below don't name.",
            ),
            FieldDoc::new(
                "secret_key_file",
                Shape::Path,
                "The key ring, the same for all processes of one Hearth (`hearth keys`). Unset: `secret.key` in \
                 `data_dir`.",
            )
            .example("\"/etc/hearth/secret.key\""),
            FieldDoc::new(
                "admin_token_file",
                Shape::Path,
                "The administrator's token, the same for all processes with the northbound role. Unset: \
                 `admin.token` in `data_dir`.",
            )
            .example("\"/etc/hearth/admin.token\""),
            FieldDoc::new(
                "files_dir",
                Shape::Path,
                "Where bytes of files are; several processes with the files role need one shared directory. Unset: \
                 `files` in `data_dir`.",
            )
            .example("\"/mnt/hearth-files\""),
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
            section("trace", trace_fields()),
            section("engine", EngineConfig::fields()),
            section("nats", NatsConfig::fields()),
            section("redis", RedisConfig::fields()),
            section("cql", CqlConfig::fields()),
            section("internal", InternalConfig::fields()),
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
            ("trace", trace_problems(&self.trace)),
            ("nats", self.nats.validate()),
            ("redis", self.redis.validate()),
            ("cql", self.cql.validate()),
            ("internal", self.internal.validate()),
            ("gateway", self.gateway.validate()),
            ("device_state", self.device_state.validate()),
            ("workflow", self.workflow.validate()),
            ("wakeup", self.wakeup.validate()),
            ("files", self.files.validate()),
            ("api", self.api.validate()),
        ];
        let of_parts = parts.into_iter().flat_map(|(name, problems)| {
            problems
                .into_iter()
                .map(move |(key, problem)| (format!("{name}.{key}"), problem))
        });
        of_parts.chain(form::problems(self)).collect()
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
