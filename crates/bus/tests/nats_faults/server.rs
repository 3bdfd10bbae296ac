//! A `nats-server` of a test: on a free port of the loopback, its files in a directory of its own.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use tempfile::TempDir;

pub struct Server {
    program: PathBuf,
    directory: TempDir,
    port: u16,
    child: Option<Child>,
}

/// The program; `None`, and a line that says so, where there is none.
fn program() -> Option<PathBuf> {
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools/bin/nats-server");
    let named = std::env::var_os("HEARTH_TEST_NATS_SERVER").map(PathBuf::from);
    let program = named.unwrap_or(installed);
    if program.exists() {
        return Some(program);
    }
    println!("SKIPPED: no nats-server (scripts/tools servers, or HEARTH_TEST_NATS_SERVER)");
    None
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

impl Server {
    /// A server with JetStream, and `more` in its settings.
    pub fn start(more: &str) -> Option<Self> {
        Self::with(
            free_port(),
            &format!("jetstream {{ store_dir: \"store\" }}\n{more}"),
        )
    }

    pub fn without_jetstream() -> Option<Self> {
        Self::with(free_port(), "")
    }

    fn with(port: u16, more: &str) -> Option<Self> {
        let mut server = Self::stopped(port, more)?;
        server.restart();
        Some(server)
    }

    fn stopped(port: u16, more: &str) -> Option<Self> {
        let program = program()?;
        let directory = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let settings = format!("listen: \"127.0.0.1:{port}\"\n{more}");
        std::fs::write(directory.path().join("nats.conf"), settings).unwrap();
        Some(Self {
            program,
            directory,
            port,
            child: None,
        })
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    fn spawn(&mut self) {
        let child = Command::new(&self.program)
            .args(["-c", "nats.conf", "-l", "nats.log"])
            .current_dir(self.directory.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.child = Some(child.unwrap());
    }

    /// Starts it with what it left, and waits until it answers.
    pub fn restart(&mut self) {
        self.spawn();
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(
                started.elapsed() < Duration::from_secs(30),
                "no nats-server"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_child(self.child.as_ref().unwrap())
    }

    /// Holds it. Not before the last of its threads stands still it does nothing more.
    pub fn pause(&self) {
        kill_process(self.pid(), Signal::STOP).unwrap();
        waitid(WaitId::Pid(self.pid()), WaitIdOptions::STOPPED).unwrap();
    }

    pub fn resume(&self) {
        kill_process(self.pid(), Signal::CONT).unwrap();
    }

    /// Deletes what it stored.
    pub fn wipe(&self) {
        std::fs::remove_dir_all(self.directory.path().join("store")).unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Three servers that know each other.
pub struct Cluster {
    pub nodes: Vec<Server>,
}

impl Cluster {
    pub fn start() -> Option<Self> {
        let ports: Vec<(u16, u16)> = (0..3).map(|_| (free_port(), free_port())).collect();
        let routes: Vec<String> = ports
            .iter()
            .map(|(_, route)| format!("\"nats://127.0.0.1:{route}\""))
            .collect();
        let routes = routes.join(", ");
        let mut nodes = Vec::new();
        for (n, (port, route)) in ports.iter().enumerate() {
            let settings = format!(
                "server_name: n{n}\njetstream {{ store_dir: \"store\" }}\n\
                 cluster {{ name: test, listen: \"127.0.0.1:{route}\", routes: [{routes}] }}\n"
            );
            nodes.push(Server::stopped(*port, &settings)?);
        }
        nodes.iter_mut().for_each(Server::spawn);
        Some(Self { nodes })
    }

    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(Server::url).collect()
    }

    /// The node that leads a stream.
    pub async fn leader(&self, config: &hearth_bus::NatsConfig, stream: &str) -> usize {
        let client = async_nats::connect(config.servers.clone()).await.unwrap();
        let context = async_nats::jetstream::new(client);
        let stream = context.get_stream(stream).await.unwrap();
        let info = stream.cached_info().cluster.as_ref();
        let leader = info.and_then(|info| info.leader.clone()).unwrap();
        leader.trim_start_matches('n').parse().unwrap()
    }
}
