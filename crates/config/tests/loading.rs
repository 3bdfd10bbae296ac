//! The loader on a configuration like the product's.
#![allow(clippy::unwrap_used, missing_docs)]

use std::net::SocketAddr;
use std::path::PathBuf;

use hearth_config::{
    ByteSize, CidrList, ConfigError, Documented, FieldDoc, HumanDuration, Loaded, Loader,
    SecretString, Shape, Source, check_documentation, example, section,
};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    data_dir: PathBuf,
    gateway: Gateway,
    api: Api,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Gateway {
    listen: SocketAddr,
    max_connections: u32,
    max_body: ByteSize,
    idle_timeout: HumanDuration,
    #[serde(skip_serializing_if = "Option::is_none")]
    per_peer: Option<u32>,
    allowed: CidrList,
    title_case: bool,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Api {
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<SecretString>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            data_dir: "hearth-data".into(),
            gateway: Gateway::default(),
            api: Api::default(),
        }
    }
}

impl Default for Gateway {
    fn default() -> Self {
        Self {
            listen: "0.0.0.0:7547".parse().unwrap(),
            max_connections: 1000,
            max_body: ByteSize::mib(16),
            idle_timeout: HumanDuration::secs(30),
            per_peer: None,
            allowed: CidrList::default(),
            title_case: true,
        }
    }
}

impl Documented for Settings {
    fn fields() -> Vec<FieldDoc> {
        let mut fields = vec![FieldDoc::new(
            "data_dir",
            Shape::Path,
            "Where data is kept.",
        )];
        let gateway = vec![
            FieldDoc::new("listen", Shape::SocketAddr, "Where CPEs connect."),
            FieldDoc::new("max_connections", Shape::Integer, "Open at one time."),
            FieldDoc::new("max_body", Shape::Size, "The largest body."),
            FieldDoc::new("idle_timeout", Shape::Duration, "Closed after that."),
            FieldDoc::new("per_peer", Shape::Integer, "From one peer.").example("64"),
            FieldDoc::new("allowed", Shape::List("CIDR ranges"), "Who may connect."),
            FieldDoc::new("title_case", Shape::Bool, "Old header style."),
        ];
        fields.extend(section("gateway", gateway));
        let api = vec![FieldDoc::new("token", Shape::Text, "The token.").secret()];
        fields.extend(section("api", api));
        fields
    }

    fn validate(&self) -> Vec<(String, String)> {
        if self.gateway.max_connections == 0 {
            return vec![(
                "gateway.max_connections".into(),
                "must be at least 1".into(),
            )];
        }
        Vec::new()
    }
}

fn var(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hearth.toml");
    std::fs::write(&path, text).unwrap();
    (dir, path)
}

fn error(loader: Loader) -> String {
    match loader.load::<Settings>() {
        Ok(loaded) => panic!("accepted: {:?}", loaded.value),
        Err(error) => error.to_string(),
    }
}

#[test]
fn later_layers_win_and_sources_are_known() {
    let (_dir, path) = file(
        "data_dir = \"/srv\"\n[gateway]\nmax_connections = 5\nidle_timeout = \"1m\"\n\
         allowed = [\"10.0.0.0/8\"]\n[api]\ntoken = \"hunter2\"\n",
    );
    let loaded: Loaded<Settings> = Loader::new()
        .flag("gateway.listen", "127.0.0.1:1", "--cwmp-listen")
        .overrides(["gateway.max_body=1KiB".to_owned()])
        .env(
            "HEARTH",
            [
                var("HEARTH_GATEWAY__MAX_CONNECTIONS", "6"),
                var("HEARTH_GATEWAY__MAX_BODY", "2KiB"),
                var("HEARTH_GATEWAY__ALLOWED", "192.0.2.0/24, 192.0.3.1"),
                var("HEARTH_GATEWAY__TITLE_CASE", "no"),
                var("HEARTH_DATA_DIR", ""),
                var("HEARTH_PORT", "tcp://10.0.0.1:7547"),
                var("HEARTH_PORT_7547_TCP_ADDR", "10.0.0.1"),
                var("HEARTH_GATEWAY_SERVICE_PORT_CWMP", "7547"),
                var("HEARTH_TOKEN", "for another program"),
                var("PATH", "/bin"),
                var("HEARTH_SIM_PASSWORD", "of another program"),
            ],
        )
        .ignore_env(&["HEARTH_TOKEN", "HEARTH_SIM_"])
        .file(&path)
        .load()
        .unwrap();
    let gateway = &loaded.value.gateway;
    assert_eq!(loaded.value.data_dir, PathBuf::from("/srv"));
    assert_eq!(gateway.listen.to_string(), "127.0.0.1:1");
    assert_eq!(
        (gateway.max_connections, gateway.max_body),
        (6, ByteSize::kib(1))
    );
    assert_eq!(gateway.idle_timeout, HumanDuration::secs(60));
    assert_eq!(gateway.allowed.0.len(), 2);
    assert!(!gateway.title_case);
    assert_eq!(
        loaded.source("gateway.listen"),
        Source::Flag("--cwmp-listen".into())
    );
    assert_eq!(loaded.source("data_dir"), Source::File(path.clone()));
    assert_eq!(loaded.source("gateway.per_peer"), Source::Default);

    let printed = loaded.print().unwrap();
    assert!(printed.contains("gateway.max_connections = 6"), "{printed}");
    assert!(
        printed.contains("# environment HEARTH_GATEWAY__MAX_CONNECTIONS"),
        "{printed}"
    );
    assert!(printed.contains("api.token = \"********\""), "{printed}");
    assert!(!printed.contains("hunter2"), "{printed}");
    assert!(printed.parse::<toml::Table>().is_ok(), "{printed}");
}

#[test]
fn errors_name_key_place_shape_and_remedy() {
    let (_dir, path) = file("[gatway]\nlisten = \"x\"\n[gateway]\nmax_conections = 5\n");
    let text = error(Loader::new().file(&path));
    assert!(text.contains("unknown key gatway"), "{text}");
    assert!(
        text.contains("did you mean gateway.max_connections?"),
        "{text}"
    );
    assert!(text.contains(&path.display().to_string()), "{text}");

    let text = error(Loader::new().env("HEARTH", [var("HEARTH_GATEWAY__MAX_CONNECTIONS", "many")]));
    assert!(
        text.contains("environment HEARTH_GATEWAY__MAX_CONNECTIONS"),
        "{text}"
    );
    assert!(text.contains("expected a whole number"), "{text}");

    let text = error(Loader::new().flag("gateway.listen", "7547", "--cwmp-listen"));
    assert!(
        text.contains("gateway.listen (flag --cwmp-listen)"),
        "{text}"
    );
    assert!(text.contains("127.0.0.1:7547"), "{text}");

    let text = error(Loader::new().overrides(["gateway=1".to_owned(), "nonsense".to_owned()]));
    assert!(
        text.contains("gateway (flag --set gateway): this is a section"),
        "{text}"
    );
    assert!(text.contains("key=value"), "{text}");

    let text = error(Loader::new().overrides(["gateway.allowed=10.0.0.0/8,here".to_owned()]));
    assert!(
        text.contains("gateway.allowed[1]") && text.contains("here"),
        "{text}"
    );

    let text = error(Loader::new().overrides(["gateway.max_connections=0".to_owned()]));
    assert!(text.contains("must be at least 1"), "{text}");
}

#[test]
fn secrets_are_not_repeated_in_errors() {
    let (_dir, path) = file("[api]\ntoken = \"hunter2\" oops\n");
    let text = error(Loader::new().file(&path));
    assert!(text.contains(":2:") && !text.contains("hunter2"), "{text}");
    let (_dir, path) = file("[api]\ntoken = 12345678\n");
    let text = error(Loader::new().file(&path));
    assert!(
        text.contains("api.token") && !text.contains("12345678"),
        "{text}"
    );
}

#[test]
fn files_are_found_or_missed() {
    let missing = PathBuf::from("/nonexistent/hearth.toml");
    let error = Loader::new().file(&missing).load::<Settings>().unwrap_err();
    assert!(matches!(error, ConfigError::Read { .. }));
    let (_dir, path) = file("data_dir = \"/found\"\n");
    let loaded = Loader::new()
        .first_file_of([missing, path.clone()])
        .load::<Settings>()
        .unwrap();
    assert_eq!(loaded.value.data_dir, PathBuf::from("/found"));
    assert_eq!(loaded.file, Some(path));
}

#[test]
fn the_example_is_complete_and_changes_nothing() {
    assert_eq!(check_documentation::<Settings>(), Vec::<String>::new());
    let text = example::<Settings>().unwrap();
    let (_dir, path) = file(&text);
    let loaded = Loader::new().file(&path).load::<Settings>().unwrap();
    assert!(loaded.sources.is_empty());
    // With its values taken out of their comments it is still valid.
    let active: Vec<&str> = text
        .lines()
        .filter(|line| !line.starts_with("# ") && !line.ends_with('='))
        .map(|line| line.trim_start_matches('#'))
        .collect();
    let (_dir, path) = file(&active.join("\n"));
    let loaded = Loader::new().file(&path).load::<Settings>().unwrap();
    assert_eq!(loaded.value.gateway.max_body, ByteSize::mib(16));
    assert_eq!(loaded.value.gateway.per_peer, Some(64));
}
