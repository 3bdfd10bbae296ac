//! Redis servers of a test's own, on free ports of the loopback.

use std::{
    net::TcpListener,
    path::PathBuf,
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

pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // A cluster's bus is 10000 above.
    if port < 55_000 { port } else { port - 20_000 }
}

/// A server, killed in the end.
pub(crate) struct Server {
    pub(crate) port: u16,
    program: PathBuf,
    arguments: Vec<String>,
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
    pub(crate) fn start(program: &std::path::Path, arguments: &[&str]) -> Self {
        let mut server = Self {
            port: free_port(),
            program: program.to_owned(),
            arguments: arguments.iter().map(|&text| text.to_owned()).collect(),
            folder: tempfile::tempdir().unwrap(),
            child: None,
        };
        server.run();
        server
    }

    /// A Sentinel that watches `port` as `group`.
    pub(crate) fn sentinel(program: &std::path::Path, group: &str, port: u16) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let own = free_port();
        let file = folder.path().join("sentinel.conf");
        let text = format!(
            "port {own}\nbind 127.0.0.1\nsentinel monitor {group} 127.0.0.1 {port} 1\n\
             sentinel down-after-milliseconds {group} 1000\n\
             sentinel failover-timeout {group} 5000\n"
        );
        std::fs::write(&file, text).unwrap();
        let file = file.display().to_string();
        let mut server = Self {
            port: own,
            program: program.to_owned(),
            arguments: vec![file, "--sentinel".into()],
            folder,
            child: None,
        };
        server.run();
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Starts it, or starts it again with what it has on disk.
    pub(crate) fn run(&mut self) {
        let mut command = Command::new(&self.program);
        if self.arguments.iter().all(|text| text != "--sentinel") {
            let tls = self.arguments.iter().any(|text| text == "--tls-cert-file");
            let port = if tls { "--tls-port" } else { "--port" };
            command.args([port, &self.port.to_string(), "--bind", "127.0.0.1"]);
            if tls {
                command.args(["--port", "0"]);
            }
            command.args(["--save", ""]);
        }
        command
            .args(&self.arguments)
            .current_dir(self.folder.path());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        self.child = Some(command.spawn().unwrap());
        let deadline = Instant::now() + Duration::from_secs(10);
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < deadline, "the server does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// SIGSTOP or SIGCONT.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.as_ref().unwrap().id().to_string();
        let sent = Command::new("kill").args([name, &id]).status().unwrap();
        assert!(sent.success());
    }

    /// A command, without the library under test.
    pub(crate) async fn ask(&self, words: &[&str]) -> redis::RedisResult<redis::Value> {
        let client = redis::Client::open(self.url())?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        let mut cmd = redis::cmd(words[0]);
        cmd.arg(&words[1..]);
        cmd.query_async(&mut connection).await
    }
}
