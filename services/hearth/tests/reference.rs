//! The generated pages of the book say what the program says: settings and metrics.
//!
//! A stale page fails here; `HEARTH_UPDATE_DOCS=1 cargo test -p hearth reference` writes it
//! again.

use crate::apart::{Process, alone, common};
use hearth_config::{Documented, FieldDoc};
use hearth_runtime::Shutdown;
use hearth_server::{config::HearthConfig, roles::Role, server::Server};
use hearth_telemetry::MetricDef;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const COMMAND: &str = "HEARTH_UPDATE_DOCS=1 cargo test -p hearth reference";

fn page(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../docs")
        .join(name)
}

/// Compares a page with what it should be, or writes it when asked to.
fn check(name: &str, wanted: &str) {
    let path = page(name);
    if std::env::var_os("HEARTH_UPDATE_DOCS").is_some() {
        std::fs::write(&path, wanted).unwrap();
        return;
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == wanted,
        "docs/{name} is stale; write it again with\n    {COMMAND}"
    );
}

fn title(text: &str, generated_from: &str) -> String {
    format!(
        "# {text}\n\n<!-- Generated from {generated_from}; do not edit. Again: {COMMAND} -->\n\n"
    )
}

/// Text for a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

fn variable(key: &str) -> String {
    format!("HEARTH_{}", key.replace('.', "__").to_uppercase())
}

fn default_of(defaults: &toml::Table, field: &FieldDoc) -> String {
    let mut names = field.key.split('.');
    let first = names.next().and_then(|name| defaults.get(name));
    let value = names.fold(first, |value, name| value?.get(name));
    match (value, field.example) {
        (Some(value), _) => format!("`{value}`"),
        (None, Some(example)) => format!("unset; such as `{example}`"),
        (None, None) => "unset".to_owned(),
    }
}

/// The head of the page on settings.
const SETTINGS: &str = "\
Where a setting comes from, the later winning over the earlier: its default; a file (`--config FILE` or `HEARTH_CONFIG`, \
else `./hearth.toml`, else `/etc/hearth/hearth.toml`); a variable; a flag of its own or `--set KEY=VALUE`.

```sh
hearth config example > hearth.toml   # every setting with its default, commented out
hearth config check                   # problems with key and source; exit code 2 if there are any
hearth config print                   # what is in force, and where each value comes from
```

The variable of a setting is `HEARTH_` and its key in capitals, with `__` for each dot: `listen.cwmp` is `HEARTH_LISTEN__CWMP`. \
An unknown key is an error that names the nearest known one. All settings are read at the start only.
";

#[test]
fn the_settings_page_is_current() {
    let defaults = toml::Table::try_from(HearthConfig::default()).unwrap();
    let mut out = title("Settings", "the server's configuration");
    out.push_str(SETTINGS);
    let mut section = None;
    for field in HearthConfig::fields() {
        let (of, name) = field.key.rsplit_once('.').unwrap_or(("", &field.key));
        if section.as_deref() != Some(of) {
            let heading = if of.is_empty() {
                "General".to_owned()
            } else {
                format!("`[{of}]`")
            };
            let _ = write!(
                out,
                "\n## {heading}\n\n| setting | value | default | what it does |\n|---|---|---|---|\n"
            );
            section = Some(of.to_owned());
        }
        let unit = field.unit.map(|u| format!(", {u}")).unwrap_or_default();
        let shape = format!("{}{unit}", field.shape);
        let default = cell(&default_of(&defaults, &field));
        let effect = cell(field.effect);
        let _ = writeln!(
            out,
            "| `{name}` | {} | {default} | {effect} |",
            cell(&shape)
        );
    }
    check("configuration.md", &out);
}

#[test]
fn the_variable_of_a_setting_is_as_the_page_says() {
    let loaded = hearth_config::Loader::new()
        .env(
            "HEARTH",
            [(variable("listen.cwmp"), "127.0.0.1:1".to_owned())],
        )
        .load::<HearthConfig>()
        .unwrap();
    assert_eq!(loaded.value.listen.cwmp.port(), 1);
}

/// All metrics by the part that has them.
fn metrics() -> Vec<(&'static str, Vec<MetricDef>)> {
    vec![
        ("Devices' edge (gateway)", hearth_gateway::METRICS.to_vec()),
        (
            "Tasks (workflow)",
            hearth_workflow::metrics::METRICS.to_vec(),
        ),
        ("Device state", hearth_device_state::METRICS.to_vec()),
        (
            "API (northbound)",
            hearth_northbound::metrics::METRICS.to_vec(),
        ),
        (
            "Connection requests (wakeup)",
            hearth_wakeup::METRICS.to_vec(),
        ),
        ("Files", hearth_files::METRICS.to_vec()),
        ("Embedded engine", hearth_server::stats::ENGINE.to_vec()),
        ("Bus (embedded, NATS)", hearth_server::stats::BUS.to_vec()),
        (
            "Calls between processes",
            hearth_clients::metrics::METRICS.to_vec(),
        ),
        ("NATS", hearth_bus::nats::METRICS.to_vec()),
        ("Redis", hearth_queue::METRICS.to_vec()),
        ("CQL", hearth_store::cql::METRICS.to_vec()),
        (
            "Process, HTTP listeners",
            hearth_telemetry::METRICS.concat(),
        ),
    ]
}

#[test]
fn the_metrics_page_is_current() {
    let mut out = title("Metrics", "the crates' metric constants");
    out.push_str(
        "Served at `/metrics` of the admin port, in Prometheus' text format. Labels have few, known values: never a device, \
         a path or an address. A metric with labels appears with its first event.\n",
    );
    for (part, defs) in metrics() {
        let _ = write!(
            out,
            "\n## {part}\n\n| metric | kind | labels | what it tells |\n|---|---|---|---|\n"
        );
        for def in defs {
            let labels: Vec<String> = def.labels.iter().map(|l| format!("`{l}`")).collect();
            let kind = def.kind.as_str();
            let (labels, help) = (labels.join(", "), cell(def.help));
            let _ = writeln!(out, "| `{}` | {kind} | {labels} | {help} |", def.name);
        }
    }
    check("metrics.md", &out);
}

async fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// Devices may connect with TLS, too.
fn with_tls(config: &mut HearthConfig, dir: &Path) {
    let made = rcgen::generate_simple_self_signed(vec!["acs.example".to_owned()]).unwrap();
    let (cert, key) = (dir.join("acs.pem"), dir.join("acs.key"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    config.gateway.tls.listen = Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    config.gateway.tls.certificates = vec![hearth_gateway::CertificateFiles {
        cert,
        key,
        names: Vec::new(),
    }];
}

/// What a running server exposes is documented, and what is documented there is.
#[tokio::test]
async fn every_exposed_metric_is_in_the_page() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = alone(dir.path());
    with_tls(&mut config, dir.path());
    let server = Server::build(&config).await.unwrap();
    let tls = server.addresses.cwmp_tls.unwrap();
    let metrics = server.metrics().clone();
    let (admin, readiness, stop) = (server.addresses.admin, server.readiness(), Shutdown::new());
    let serving = tokio::spawn(server.run(stop.clone()));
    readiness.wait_all_ready().await;
    assert!(get(admin, "/readyz").await.starts_with("HTTP/1.1 200"));
    let text = get(admin, "/metrics").await;
    let mut noise = tokio::net::TcpStream::connect(tls).await.unwrap();
    noise.write_all(b"this is not TLS\r\n\r\n").await.unwrap();
    let _ = noise.read_to_end(&mut Vec::new()).await;
    let later = get(admin, "/metrics").await;
    let failed = "hearth_gateway_tls_handshake_failures_total{reason=\"not_tls\"} 1";
    assert!(later.contains(failed), "{later}");
    stop.request();
    serving.await.unwrap().unwrap();

    let exposed: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .collect();
    assert!(exposed.contains("hearth_build_info"), "{text}");
    let registered = metrics.names();
    assert!(exposed.is_subset(&registered), "{text}");
    // One process calls no other, and has no servers.
    let elsewhere = ["Calls between processes", "NATS", "Redis", "CQL"];
    let here = |part: &str| !elsewhere.contains(&part);
    assert_documented(&registered, here);
}

/// What is registered is in the page, and what the page has in these parts is registered.
fn assert_documented(registered: &BTreeSet<&str>, parts: impl Fn(&str) -> bool) {
    let names = |parts: &dyn Fn(&str) -> bool| -> BTreeSet<&'static str> {
        let wanted = metrics().into_iter().filter(|(part, _)| parts(part));
        wanted
            .flat_map(|(_, defs)| defs)
            .map(|def| def.name)
            .collect()
    };
    let known = names(&|_| true);
    let unknown: Vec<_> = registered.difference(&known).collect();
    assert!(unknown.is_empty(), "in no METRICS: {unknown:?}");
    let documented = names(&parts);
    let dead: Vec<_> = documented.difference(registered).collect();
    assert!(
        dead.is_empty(),
        "in METRICS, and no process has it: {dead:?}"
    );
}

/// The same of roles that are processes of their own, with NATS, Redis and CQL. Skipped without (`apart`).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_has_the_metrics_of_all_roles_apart() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mut common) = common(dir.path()) else {
        return;
    };
    // A part of the edge that is off by default.
    with_tls(&mut common, dir.path());
    let mut processes = Vec::new();
    for role in [
        Role::DeviceState,
        Role::Wakeup,
        Role::Files,
        Role::Workflow,
        Role::Northbound,
        Role::Gateway,
    ] {
        processes.push(Process::join(&mut common, &[role]).await);
    }
    let mut registered = BTreeSet::new();
    for process in &processes {
        let text = get(process.addresses.admin, "/metrics").await;
        let names = process.metrics.names();
        let exposed = text.lines().filter(|line| line.starts_with("# TYPE "));
        for line in exposed {
            let name = line.split(' ').nth(2).unwrap();
            assert!(names.contains(name), "{line}");
        }
        registered.extend(names);
    }
    for process in processes.into_iter().rev() {
        process.end().await;
    }
    assert_documented(&registered, |part| part != "Embedded engine");
}
