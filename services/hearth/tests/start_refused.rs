//! Starts of the real program in the distributed form that can't succeed: it ends with 1, and the last line on stderr says
//! which setting is wrong and what to do.

use crate::apart::common;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

/// What no output may hold.
const SECRET: &str = "hunter2-hunter2";
/// Where nobody listens.
const NOBODY: &str = "127.0.0.1:9";

/// A configuration that would do, but for what a test sets besides.
struct Start {
    dir: TempDir,
}

impl Start {
    fn new() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let config = common(dir.path())?;
        let text = toml::to_string(&config).unwrap();
        std::fs::write(dir.path().join("hearth.toml"), text).unwrap();
        Some(Self { dir })
    }

    /// The last line of a start with these settings. `secrets` are variables that are set to [`SECRET`].
    async fn refused(&self, settings: &[String], secrets: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hearth"));
        command.env_clear().arg("run").arg("--config");
        command.arg(self.dir.path().join("hearth.toml"));
        for setting in settings {
            command.args(["--set", setting]);
        }
        command.envs(secrets.iter().map(|&name| (name, SECRET)));
        let ended = timeout(Duration::from_secs(60), command.kill_on_drop(true).output());
        let ended = ended.await.expect("it goes on").unwrap();
        let told = [&ended.stdout, &ended.stderr].map(|text| String::from_utf8_lossy(text));
        println!("{settings:?}\n{}", told[1]);
        assert_eq!(ended.status.code(), Some(1));
        assert!(told.iter().all(|text| !text.contains(SECRET)));
        let last = told[1].lines().last().unwrap_or_default().to_owned();
        assert!(last.starts_with("error: "), "{last}");
        last
    }
}

fn set(key: &str, value: &str) -> String {
    format!("{key}={value}")
}

fn list(key: &str, value: &str) -> String {
    format!("{key}=[\"{value}\"]")
}

fn says(line: &str, words: &[&str]) {
    for word in words {
        assert!(line.contains(word), "{word} is not said: {line}");
    }
}

/// A NATS server of a test's own, without JetStream; killed in the end.
struct Nats {
    url: String,
    _process: Child,
}

impl Nats {
    async fn start(arguments: &[&str]) -> Option<Self> {
        let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools/bin/nats-server");
        let named = std::env::var_os("HEARTH_TEST_NATS_SERVER").map(PathBuf::from);
        let program = named.unwrap_or(installed);
        if !program.exists() {
            println!("SKIPPED: no nats-server (scripts/tools servers, or HEARTH_TEST_NATS_SERVER)");
            return None;
        }
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port().to_string();
        drop(free);
        let mut command = Command::new(program);
        command.args(["--addr", "127.0.0.1", "--port", &port]);
        command.args(arguments).kill_on_drop(true);
        let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
        let process = quiet.spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        let address = format!("127.0.0.1:{port}");
        while TcpStream::connect(&address).await.is_err() {
            assert!(Instant::now() < deadline, "nats-server does not listen");
            sleep(Duration::from_millis(20)).await;
        }
        let url = format!("nats://{address}");
        let _process = process;
        Some(Self { url, _process })
    }
}

#[tokio::test]
async fn nats() {
    let Some(start) = Start::new() else { return };
    let soon = set("nats.connect_timeout", "2s");
    let nobody = list("nats.servers", &format!("nats://{NOBODY}"));
    let line = start.refused(&[nobody, soon.clone()], &[]).await;
    says(&line, &[NOBODY, "check nats.servers", "NATS runs"]);

    let Some(plain) = Nats::start(&[]).await else {
        return;
    };
    let without = list("nats.servers", &plain.url);
    let line = start.refused(&[without], &[]).await;
    says(&line, &[&plain.url, "no JetStream", "with -js"]);

    let login = ["--user", "hearth", "--pass", "right"];
    let locked = Nats::start(&login).await.unwrap();
    let wrong = [
        list("nats.servers", &locked.url),
        set("nats.user", "hearth"),
    ];
    let line = start.refused(&wrong, &["HEARTH_NATS__PASSWORD"]).await;
    says(&line, &[&locked.url, "check nats.user and nats.password"]);
}

#[tokio::test]
async fn redis() {
    let Some(start) = Start::new() else { return };
    let soon = set("redis.connect_timeout", "2s");
    let nobody = list("redis.nodes", &format!("redis://{NOBODY}"));
    let line = start.refused(&[nobody, soon], &[]).await;
    says(&line, &[NOBODY, "check redis.nodes", "Redis runs"]);

    // A server without users knows nobody of this name.
    let wrong = set("redis.user", "nobody");
    let line = start.refused(&[wrong], &["HEARTH_REDIS__PASSWORD"]).await;
    says(&line, &["check redis.user and redis.password"]);
}

#[tokio::test]
async fn cql() {
    let Some(start) = Start::new() else { return };
    let soon = set("cql.connect_timeout", "2s");
    let nobody = list("cql.nodes", NOBODY);
    let line = start.refused(&[nobody, soon.clone()], &[]).await;
    says(&line, &[NOBODY, "check cql.nodes", "Cassandra runs"]);

    let node = std::env::var("HEARTH_TEST_CQL").unwrap();
    let keyspace = format!("newer_{}", std::process::id());
    let drop = format!("DROP KEYSPACE IF EXISTS {keyspace}");
    let newer = [
        drop.clone(),
        format!(
            "CREATE KEYSPACE {keyspace} WITH replication = \
             {{'class': 'SimpleStrategy', 'replication_factor': 1}}"
        ),
        format!(
            "CREATE TABLE {keyspace}.schema_version (part text, version int, \
             PRIMARY KEY ((part), version)) WITH CLUSTERING ORDER BY (version DESC)"
        ),
        format!("INSERT INTO {keyspace}.schema_version (part, version) VALUES ('store', 999)"),
    ];
    define(&node, &newer).await;
    let line = start.refused(&[set("cql.keyspace", &keyspace)], &[]).await;
    define(&node, &[drop]).await;
    says(&line, &[&keyspace, "newer Hearth", "another cql.keyspace"]);

    let secured = ["HEARTH_TEST_CQL_TLS", "HEARTH_TEST_CQL_TLS_DIR"].map(std::env::var);
    let [Ok(node), Ok(dir)] = secured else {
        println!("SKIPPED: HEARTH_TEST_CQL_TLS is not set (scripts/servers start --env cql-tls)");
        return;
    };
    let wrong = [
        list("cql.nodes", &node),
        set("cql.user", "cassandra"),
        set("cql.tls_ca", &format!("{dir}/ca.crt")),
        set("cql.tls_cert", &format!("{dir}/client.crt")),
        set("cql.tls_key", &format!("{dir}/client.key")),
        soon,
    ];
    let line = start.refused(&wrong, &["HEARTH_CQL__PASSWORD"]).await;
    says(&line, &["check cql.user and cql.password"]);
}

/// Carries out statements by CQL's own protocol (version 4): the driver is the store's alone.
async fn define(node: &str, statements: &[String]) {
    const STARTUP: u8 = 1;
    const QUERY: u8 = 7;
    let mut stream = TcpStream::connect(node).await.unwrap();
    // One option; each text has its length before it.
    let options = b"\x00\x01\x00\x0bCQL_VERSION\x00\x053.0.0";
    ask(&mut stream, STARTUP, options).await;
    for text in statements {
        let length = u32::try_from(text.len()).unwrap();
        // At one replica, without any flag.
        let body = [&length.to_be_bytes(), text.as_bytes(), &[0, 1, 0]].concat();
        ask(&mut stream, QUERY, &body).await;
    }
}

async fn ask(stream: &mut TcpStream, kind: u8, body: &[u8]) {
    const ERROR: u8 = 0;
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    let frame = [&[4, 0, 0, 0, kind], &length[..], body].concat();
    stream.write_all(&frame).await.unwrap();
    let mut header = [0; 9];
    stream.read_exact(&mut header).await.unwrap();
    let [.., answer, a, b, c, d] = header;
    let length = u32::from_be_bytes([a, b, c, d]);
    let mut body = vec![0; usize::try_from(length).unwrap()];
    stream.read_exact(&mut body).await.unwrap();
    assert_ne!(answer, ERROR, "{}", String::from_utf8_lossy(&body));
}
