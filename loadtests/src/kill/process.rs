//! The server under test, as a child process that is killed and started again on the same ports
//! and the same data directory.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::Dice;

/// Where the server listens, always on 127.0.0.1.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// Devices.
    pub cwmp: u16,
    /// The API.
    pub api: u16,
    /// Files.
    pub files: u16,
    /// Readiness.
    pub admin: u16,
}

impl Ports {
    /// Four ports that nobody listens on now.
    ///
    /// # Errors
    /// When none can be found.
    pub fn free(dice: &mut Dice) -> Result<Self> {
        let mut taken = Vec::new();
        let mut next = || free_port(dice, &mut taken);
        Ok(Self {
            cwmp: next()?,
            api: next()?,
            files: next()?,
            admin: next()?,
        })
    }
}

/// A port below the range that the kernel gives to outgoing connections: while the server is
/// dead, a device that connects to a port of that range may be given the same port as its own,
/// connect to itself, and keep the server from coming back.
fn free_port(dice: &mut Dice, taken: &mut Vec<u16>) -> Result<u16> {
    for _ in 0..1000 {
        let port = 20_000 + u16::try_from(dice.number() % 12_000)?;
        if taken.contains(&port) {
            continue;
        }
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            taken.push(port);
            return Ok(port);
        }
    }
    bail!("no free port between 20000 and 32000 on 127.0.0.1")
}

/// The server process.
#[derive(Debug)]
pub struct Server {
    binary: PathBuf,
    data_dir: PathBuf,
    log: PathBuf,
    settings: Vec<String>,
    /// Where it listens.
    pub ports: Ports,
    child: Option<Child>,
}

impl Server {
    /// A server that is not started yet. `data_dir` is its own; its log goes to `log`, appended.
    ///
    /// # Errors
    /// When there is no current directory to resolve the paths by.
    pub fn new(
        binary: &Path,
        data_dir: &Path,
        log: &Path,
        settings: Vec<String>,
        ports: Ports,
    ) -> Result<Self> {
        Ok(Self {
            binary: std::path::absolute(binary)?,
            data_dir: std::path::absolute(data_dir)?,
            log: std::path::absolute(log)?,
            settings,
            ports,
            child: None,
        })
    }

    /// Where the server's data are.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Starts it, without waiting; answers the moment.
    ///
    /// # Errors
    /// When it can't be executed or its log not be written.
    pub fn start(&mut self) -> Result<Instant> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .with_context(|| format!("{} can't be written", self.log.display()))?;
        let address = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port)).to_string();
        let mut command = Command::new(&self.binary);
        command.arg("run").arg("--data-dir").arg(&self.data_dir);
        for (flag, port) in [
            ("--cwmp-listen", self.ports.cwmp),
            ("--api-listen", self.ports.api),
            ("--files-listen", self.ports.files),
            ("--admin-listen", self.ports.admin),
        ] {
            command.arg(flag).arg(address(port));
        }
        for setting in &self.settings {
            command.arg("--set").arg(setting);
        }
        // Nobody's settings but the test's: neither variables nor a `hearth.toml` in the current
        // folder.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("HEARTH_") {
                command.env_remove(name);
            }
        }
        if let Some(dir) = self.log.parent() {
            command.current_dir(dir);
        }
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true);
        let started = Instant::now();
        let child = command
            .spawn()
            .with_context(|| format!("{} can't be started", self.binary.display()))?;
        self.child = Some(child);
        Ok(started)
    }

    /// Waits until it is ready; answers the time since `started`.
    ///
    /// # Errors
    /// When it ends, or is not ready within `limit`; with the end of its log.
    pub async fn ready(&mut self, started: Instant, limit: Duration) -> Result<Duration> {
        loop {
            let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, self.ports.admin));
            if answers(admin, "/readyz").await {
                return Ok(started.elapsed());
            }
            if let Some(status) = self.ended() {
                bail!(
                    "the server ended while starting ({status}):\n{}",
                    self.log_end()
                );
            }
            if started.elapsed() > limit {
                bail!(
                    "the server was not ready after {} s:\n{}",
                    limit.as_secs(),
                    self.log_end()
                );
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// How it ended, if it did by itself.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.as_mut()?.try_wait().ok().flatten()
    }

    /// SIGKILL, and waits until it is gone. False if it was gone already.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn kill(&mut self) -> Result<bool> {
        let Some(mut child) = self.child.take() else {
            return Ok(false);
        };
        let lived = child.try_wait()?.is_none();
        if lived {
            child.kill().await?;
        }
        Ok(lived)
    }

    /// SIGTERM, and waits for its end; SIGKILL if that takes longer than `limit`.
    ///
    /// # Errors
    /// When the kernel refuses, or it had to be killed.
    pub async fn stop(&mut self, limit: Duration) -> Result<()> {
        self.signal(Signal::TERM)?;
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        if tokio::time::timeout(limit, child.wait()).await.is_err() {
            child.kill().await?;
            bail!("it did not end within {} s of SIGTERM", limit.as_secs());
        }
        Ok(())
    }

    /// SIGSTOP: it is there and does nothing.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// SIGCONT.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.child.as_ref().and_then(Child::id);
        let pid = pid.and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        match pid {
            Some(pid) => Ok(kill_process(pid, signal)?),
            None => Ok(()),
        }
    }

    /// The last lines of its log.
    pub fn log_end(&self) -> String {
        let tail = || -> std::io::Result<String> {
            let mut file = File::open(&self.log)?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(4096)))?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        tail().unwrap_or_default()
    }

    /// Lines of its log that tell of a panic.
    pub fn panics(&self) -> Vec<String> {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines = log.lines().filter(|line| line.contains("panicked at"));
        lines.take(20).map(str::to_owned).collect()
    }
}

/// Whether a GET of this path is answered with 200 within a second.
pub async fn answers(address: SocketAddr, path: &str) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(address).await?;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = [0u8; 12];
        stream.read_exact(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = tokio::time::timeout(Duration::from_secs(1), ask).await;
    matches!(answer, Ok(Ok(start)) if start.ends_with(b" 200"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn script(dir: &Path, text: &str) -> PathBuf {
        let path = dir.join("server");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
        path
    }

    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("hearth-kill-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        dir
    }

    fn server(dir: &Path, binary: &Path) -> Server {
        let ports = Ports::free(&mut Dice::new(7)).unwrap();
        Server::new(
            binary,
            &dir.join("data"),
            &dir.join("log"),
            Vec::new(),
            ports,
        )
        .unwrap()
    }

    #[tokio::test]
    async fn a_server_that_ends_by_itself_is_no_ready_server() {
        let dir = scratch("ends");
        let binary = script(&dir, "#!/bin/sh\necho the disk is gone\nexit 3\n");
        let mut server = server(&dir, &binary);
        let started = server.start().unwrap();
        let error = server.ready(started, Duration::from_secs(20)).await;
        let error = error.unwrap_err().to_string();
        assert!(error.contains("the disk is gone"), "{error}");
        assert!(!server.kill().await.unwrap());
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[tokio::test]
    async fn a_killed_server_is_gone() {
        let dir = scratch("kill");
        let binary = script(&dir, "#!/bin/sh\nexec sleep 600\n");
        let mut server = server(&dir, &binary);
        let started = server.start().unwrap();
        let late = server.ready(started, Duration::from_millis(50)).await;
        assert!(late.is_err());
        assert!(server.ended().is_none());
        assert!(server.kill().await.unwrap());
        assert!(!server.kill().await.unwrap());
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
