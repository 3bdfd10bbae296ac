//! Redis servers of a test's own, on free ports of the loopback: one, with Sentinels, or a cluster.

use redis::{ClientTlsConfig, RedisResult, TlsCertificates, Value};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use std::{
    collections::HashMap,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// The server program: what `HEARTH_TEST_REDIS_SERVER` names, or the one of `scripts/tools servers`.
pub(crate) fn program() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("HEARTH_TEST_REDIS_SERVER") {
        return Some(named.into());
    }
    let tool = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../.tools/bin/valkey-server"
    );
    let found = Some(PathBuf::from(tool)).filter(|path| path.exists());
    if found.is_none() {
        println!("SKIPPED: there is no valkey-server: scripts/tools servers");
    }
    found
}

/// The Redis that the system has, if it is of version 7.
pub(crate) fn redis_7() -> Option<PathBuf> {
    let said = Command::new("redis-server").arg("--version").output();
    let found = said.is_ok_and(|out| String::from_utf8_lossy(&out.stdout).contains(" v=7."));
    if !found {
        println!("SKIPPED: there is no redis-server of version 7");
    }
    found.then(|| "redis-server".into())
}

/// Nobody has it now, nor the one of a cluster's bus, 10000 above.
pub(crate) fn free_port() -> u16 {
    let free = |port| TcpListener::bind(("127.0.0.1", port)).and_then(|it| it.local_addr());
    loop {
        let port = free(0).unwrap().port();
        let port = if port < 55_000 { port } else { port - 20_000 };
        if free(port).is_ok() && free(port + 10_000).is_ok() {
            return port;
        }
    }
}

/// An authority, and a certificate by it, which servers have and ask of those who connect.
#[derive(Clone)]
pub(crate) struct Tls {
    pub(crate) ca: PathBuf,
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

impl Tls {
    fn settings(&self) -> [(&'static str, &str); 4] {
        [
            ("tls-cert-file", self.cert.to_str().unwrap()),
            ("tls-key-file", self.key.to_str().unwrap()),
            ("tls-ca-cert-file", self.ca.to_str().unwrap()),
            // A replica follows its primary, and a Sentinel asks, by TLS.
            ("tls-replication", "yes"),
        ]
    }

    fn certificates(&self) -> TlsCertificates {
        // The driver takes the process's provider.
        rustls::crypto::aws_lc_rs::default_provider()
            .install_default()
            .ok();
        let read = |path: &Path| std::fs::read(path).unwrap();
        TlsCertificates {
            client_tls: Some(ClientTlsConfig {
                client_cert: read(&self.cert),
                client_key: read(&self.key),
            }),
            root_cert: Some(read(&self.ca)),
        }
    }
}

/// A server, killed in the end.
pub(crate) struct Server {
    pub(crate) port: u16,
    program: PathBuf,
    arguments: Vec<String>,
    tls: Option<Tls>,
    folder: TempDir,
    child: Option<Child>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Server {
    /// Starts one with these arguments besides the usual ones.
    pub(crate) fn start(program: &Path, arguments: &[&str]) -> Self {
        Self::start_with(program, arguments, None)
    }

    /// The same of one that speaks TLS only, if there are certificates.
    pub(crate) fn start_with(program: &Path, arguments: &[&str], tls: Option<&Tls>) -> Self {
        let own = |port: u16| {
            let own = port.to_string();
            let mut all = vec!["--bind", "127.0.0.1", "--save", ""];
            match tls {
                None => all.extend(["--port", &own]),
                Some(_) => all.extend(["--tls-port", &own, "--port", "0", "--tls-cluster", "yes"]),
            }
            let mut all: Vec<String> = all.into_iter().map(str::to_owned).collect();
            for (name, value) in tls.iter().flat_map(|tls| tls.settings()) {
                all.extend([format!("--{name}"), value.to_owned()]);
            }
            all.extend(arguments.iter().map(|&text| text.to_owned()));
            all
        };
        Self::made(program, tls, |port, _| own(port))
    }

    /// A Sentinel that watches `port` as `group`; `quorum` of them must agree that it is gone.
    pub(crate) fn sentinel(
        program: &Path,
        group: &str,
        port: u16,
        quorum: usize,
        tls: Option<&Tls>,
    ) -> Self {
        Self::made(program, tls, |own, folder| {
            let file = folder.join("sentinel.conf");
            let mut text = match tls {
                None => format!("port {own}\n"),
                Some(_) => format!("port 0\ntls-port {own}\n"),
            };
            for (name, value) in tls.iter().flat_map(|tls| tls.settings()) {
                text += &format!("{name} {value}\n");
            }
            text += &format!(
                "bind 127.0.0.1\nsentinel monitor {group} 127.0.0.1 {port} {quorum}\n\
                 sentinel down-after-milliseconds {group} 1000\n\
                 sentinel failover-timeout {group} 5000\n"
            );
            std::fs::write(&file, text).unwrap();
            vec![file.display().to_string(), "--sentinel".into()]
        })
    }

    /// Starts one; on another port if someone else was faster to take it.
    fn made(
        program: &Path,
        tls: Option<&Tls>,
        arguments: impl Fn(u16, &Path) -> Vec<String>,
    ) -> Self {
        for _ in 0..5 {
            let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
            let mut server = Self {
                port,
                program: program.to_owned(),
                arguments: arguments(port, folder.path()),
                tls: tls.cloned(),
                folder,
                child: None,
            };
            if server.try_run() {
                return server;
            }
        }
        panic!("{} does not start", program.display());
    }

    pub(crate) fn url(&self) -> String {
        let scheme = self.tls.as_ref().map_or("redis", |_| "rediss");
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// Starts it again with what it has on disk.
    pub(crate) fn run(&mut self) {
        assert!(self.try_run(), "the server does not listen");
    }

    /// Whether it listens then, and has not ended.
    fn try_run(&mut self) -> bool {
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .current_dir(self.folder.path());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let child = self.child.insert(command.spawn().unwrap());
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline && matches!(child.try_wait(), Ok(None)) {
            if std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Takes its folder away: it can't write files any more.
    pub(crate) fn lose_folder(&self) {
        std::fs::remove_dir_all(self.folder.path()).unwrap();
    }

    fn pid(&self) -> Pid {
        Pid::from_child(self.child.as_ref().unwrap())
    }

    /// Holds it. Not before the last of its threads stands still it does nothing more.
    pub(crate) fn pause(&self) {
        kill_process(self.pid(), Signal::STOP).unwrap();
        waitid(WaitId::Pid(self.pid()), WaitIdOptions::STOPPED).unwrap();
    }

    pub(crate) fn resume(&self) {
        kill_process(self.pid(), Signal::CONT).unwrap();
    }

    /// A command, without the library under test.
    pub(crate) async fn ask(&self, words: &[&str]) -> RedisResult<Value> {
        let client = match &self.tls {
            None => redis::Client::open(self.url())?,
            Some(tls) => redis::Client::build_with_tls(self.url(), tls.certificates())?,
        };
        let mut connection = client.get_multiplexed_async_connection().await?;
        let mut cmd = redis::cmd(words[0]);
        cmd.arg(&words[1..]);
        cmd.query_async(&mut connection).await
    }

    /// The same of one that answers with a text.
    pub(crate) async fn text(&self, words: &[&str]) -> String {
        redis::from_redis_value(self.ask(words).await.unwrap()).unwrap()
    }

    /// A line of what it says of itself.
    pub(crate) async fn info(&self, name: &str) -> String {
        let all = self.text(&["INFO"]).await;
        let named = format!("{name}:");
        let line = all.lines().find_map(|line| line.strip_prefix(&named));
        line.unwrap_or_default().to_owned()
    }

    /// Waits until a line of what it says of itself is this.
    pub(crate) async fn says(&self, name: &str, value: &str) {
        until(&format!("{name} is {value}"), async || {
            self.info(name).await == value
        })
        .await;
    }

    /// Waits until this Sentinel knows of so many replicas, and of so many other Sentinels.
    pub(crate) async fn watches(&self, group: &str, replicas: usize, others: usize) {
        until("the Sentinel knows all", async || {
            let known = self.ask(&["SENTINEL", "MASTER", group]).await.unwrap();
            let known: HashMap<String, String> = redis::from_redis_value(known).unwrap();
            known["num-slaves"] == replicas.to_string()
                && known["num-other-sentinels"] == others.to_string()
        })
        .await;
    }
}

/// Waits for something to be so.
pub(crate) async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !done().await {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The slots of three primaries.
pub(crate) const SLOTS: [(u16, u16); 3] = [(0, 5461), (5462, 10922), (10923, 16383)];

/// Three primaries, and behind them so many replicas of the last one, without the program that usually makes a cluster.
pub(crate) async fn cluster(program: &Path, replicas: usize, tls: Option<&Tls>) -> Vec<Server> {
    let arguments = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"];
    let nodes: Vec<_> = (0..SLOTS.len() + replicas)
        .map(|_| Server::start_with(program, &arguments, tls))
        .collect();
    for (node, (from, to)) in nodes.iter().zip(SLOTS) {
        let (from, to) = (from.to_string(), to.to_string());
        let range = ["CLUSTER", "ADDSLOTSRANGE", &from, &to];
        node.ask(&range).await.unwrap();
    }
    let first = nodes[0].port.to_string();
    for node in &nodes[1..] {
        let meet = ["CLUSTER", "MEET", "127.0.0.1", &first];
        node.ask(&meet).await.unwrap();
    }
    let known = format!("cluster_known_nodes:{}", nodes.len());
    for node in &nodes {
        until("the cluster is made", async || {
            let text = node.text(&["CLUSTER", "INFO"]).await;
            text.contains("cluster_state:ok") && text.contains(&known)
        })
        .await;
    }
    let primary = nodes[2].text(&["CLUSTER", "MYID"]).await;
    for replica in &nodes[SLOTS.len()..] {
        let follow = ["CLUSTER", "REPLICATE", &primary];
        replica.ask(&follow).await.unwrap();
        replica.says("master_link_status", "up").await;
    }
    nodes
}
