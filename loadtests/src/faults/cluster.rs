//! A local cluster as the subject, by the command that drives it: `scripts/cluster`.

use std::collections::HashMap;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use futures::future::join_all;
use serde::Deserialize;
use tokio::process::Command;

use super::disk;
use super::proxy::{Mode, control};
use super::subject::{Action, Front, Subject, answers, group};
use super::valkey;

/// How long a primary may refuse to be emptied.
const FAILOVER: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// One line of `status --json`.
#[derive(Clone, Debug, Deserialize)]
struct Told {
    name: String,
    kind: String,
    #[serde(default)]
    role: Option<String>,
    state: String,
    address: String,
    ports: HashMap<String, u16>,
    folder: PathBuf,
    log: PathBuf,
}

impl Told {
    fn at(&self, port: &str) -> Option<SocketAddr> {
        let port = self.ports.get(port)?;
        format!("{}:{port}", self.address).parse().ok()
    }

    /// How the harness calls it: the group is what it speaks.
    fn member(&self) -> String {
        self.name.replacen("valkey-", "redis-", 1)
    }

    /// How the command calls a member.
    fn name_of(member: &str) -> String {
        member.replacen("redis-", "valkey-", 1)
    }
}

/// A cluster that runs.
pub struct Cluster {
    command: PathBuf,
    token: PathBuf,
    /// Where the proxy before the servers takes commands, and its links.
    proxy: Option<(String, Vec<String>)>,
    members: Vec<Told>,
    /// How far each log has been read.
    read: HashMap<String, u64>,
    /// How much memory the Redis servers had that are full now.
    memory: HashMap<String, String>,
}

impl Cluster {
    /// A cluster that was started with this command. `proxy` is the control's address of a proxy
    /// that stands before its parts.
    ///
    /// # Errors
    /// When it doesn't run, or not whole.
    pub async fn open(
        command: &Path,
        token: Option<PathBuf>,
        proxy: Option<String>,
    ) -> Result<Self> {
        let proxy = match proxy {
            Some(control) => {
                let links = control::links(&control)
                    .await
                    .with_context(|| format!("the proxy's control at {control}"))?;
                Some((control, links))
            }
            None => None,
        };
        let mut cluster = Self {
            command: std::path::absolute(command)?,
            token: token.unwrap_or_default(),
            proxy,
            members: Vec::new(),
            read: HashMap::new(),
            memory: HashMap::new(),
        };
        cluster.members = cluster.status().await?;
        let unwell = cluster.members.iter().find(|told| told.state != "healthy");
        if let Some(told) = unwell {
            bail!("{} of the cluster is {}", told.name, told.state);
        }
        if cluster.token.as_os_str().is_empty() {
            let folder = cluster
                .members
                .first()
                .and_then(|told| told.folder.parent());
            let folder = folder.context("the cluster has no members")?;
            cluster.token = folder.join("secrets").join("admin.token");
        }
        for told in &cluster.members {
            let length = std::fs::metadata(&told.log).map_or(0, |data| data.len());
            cluster.read.insert(told.name.clone(), length);
        }
        Ok(cluster)
    }

    async fn status(&self) -> Result<Vec<Told>> {
        let (out, error) = self.call(&["status", "--json"]).await?;
        serde_json::from_str(&out)
            .with_context(|| format!("`status --json` told no JSON: {out}{error}"))
    }

    /// What it prints; its exit code is not looked at.
    async fn call(&self, arguments: &[&str]) -> Result<(String, String)> {
        let (_, out, error) = self.done(arguments).await?;
        Ok((out, error))
    }

    async fn done(&self, arguments: &[&str]) -> Result<(bool, String, String)> {
        let mut command = Command::new(&self.command);
        command.args(arguments).stdin(Stdio::null());
        let done = command
            .output()
            .await
            .with_context(|| format!("{} can't be run", self.command.display()))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok((
            done.status.success(),
            text(&done.stdout),
            text(&done.stderr),
        ))
    }

    /// Empties the primary. After a failover it may be another one in a moment, or lack replicas yet.
    async fn flush(&mut self, mut member: String) -> Result<()> {
        let members: Vec<String> = self.members();
        let alike = |name: &&String| group(name) == group(&member);
        let members: Vec<String> = members.iter().filter(alike).cloned().collect();
        let until = Instant::now() + FAILOVER;
        loop {
            let at = self.told(&member)?.at("client");
            let at = at.with_context(|| format!("{member} has no port"))?;
            match valkey::flush(at).await {
                Err(_) if Instant::now() < until => tokio::time::sleep(LOOK_AGAIN).await,
                done => return done.with_context(|| format!("FLUSHALL at {member}")),
            }
            if let Some(primary) = self.primary(&members).await {
                member = primary;
            }
        }
    }

    /// Leaves it no space: memory for Redis, the disk for others.
    async fn fill(&mut self, member: &str) -> Result<()> {
        let told = self.told(member)?;
        let Some(at) = told.at("client").filter(|_| told.kind == "valkey") else {
            return disk::fill(&told.folder.join("data"));
        };
        let before = valkey::fill(at).await.with_context(|| member.to_owned())?;
        self.memory.insert(member.to_owned(), before);
        Ok(())
    }

    /// Gives the space back. A NATS server that met a full disk goes on without JetStream until an
    /// operator starts it again; and none is well before most of them are.
    async fn drain(&mut self, members: &[String]) -> Result<()> {
        for member in members {
            let told = self.told(member)?;
            match (self.memory.get(member), told.at("client")) {
                (Some(bytes), Some(at)) => valkey::allow(at, bytes).await?,
                _ => disk::drain(&told.folder.join("data"))?,
            }
            self.memory.remove(member);
        }
        let mut ill = Vec::new();
        for member in members {
            if !is_well(self.told(member)?).await {
                self.run("stop", member).await?;
                ill.push(member);
            }
        }
        let starts = ill.into_iter().map(|member| self.run("start", member));
        join_all(starts).await.into_iter().collect()
    }

    async fn run(&self, action: &str, member: &str) -> Result<()> {
        let (well, _, error) = self.done(&[action, &Told::name_of(member)]).await?;
        match well {
            true => Ok(()),
            false => bail!("{action} {member}: {}", error.trim()),
        }
    }

    fn told(&self, member: &str) -> Result<&Told> {
        let mut members = self.members.iter();
        members
            .find(|told| told.member() == member)
            .with_context(|| format!("the cluster has no {member}"))
    }

    /// Where devices or the API are: at the front, else at the first replica.
    fn address(&self, port: &str, role: &str) -> String {
        let front = self.members.iter().find(|told| told.kind == "haproxy");
        let replica = || {
            let mut members = self.members.iter();
            members.find(|told| told.role.as_deref() == Some(role))
        };
        let at = front.or_else(replica).and_then(|told| told.at(port));
        at.map(|at| at.to_string()).unwrap_or_default()
    }

    /// Lines that tell of a panic, of what was written to a log since the last look.
    fn panics(&mut self, told: &Told) -> Vec<String> {
        let from = self.read.get(&told.name).copied().unwrap_or(0);
        let tail = || -> std::io::Result<Vec<u8>> {
            let mut file = std::fs::File::open(&told.log)?;
            file.seek(SeekFrom::Start(from))?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let bytes = tail().unwrap_or_default();
        self.read
            .insert(told.name.clone(), from + bytes.len() as u64);
        let text = String::from_utf8_lossy(&bytes);
        let lines = text.lines().filter(|line| line.contains("panicked at"));
        lines
            .take(20)
            .map(|line| format!("{}: {line}", told.name))
            .collect()
    }
}

async fn is_well(told: &Told) -> bool {
    let (port, path) = match told.kind.as_str() {
        "hearth" => ("admin", "/readyz"),
        "haproxy" => ("monitor", "/healthz"),
        "nats" => ("monitor", "/healthz"),
        _ => {
            let Some(at) = told.at("client") else {
                return true;
            };
            let connect = tokio::net::TcpStream::connect(at);
            let limit = Duration::from_secs(1);
            return matches!(tokio::time::timeout(limit, connect).await, Ok(Ok(_)));
        }
    };
    match told.at(port) {
        Some(at) => answers(at, path).await,
        None => true,
    }
}

impl Subject for Cluster {
    fn front(&self) -> Front {
        Front {
            acs: format!("http://{}/", self.address("cwmp", "gateway")),
            api: format!("http://{}", self.address("api", "northbound")),
            token: self.token.clone(),
        }
    }

    fn members(&self) -> Vec<String> {
        let members = self.members.iter();
        // Sentinels and the front are there to help; they are nobody's data.
        let members = members.filter(|told| !matches!(told.kind.as_str(), "sentinel" | "haproxy"));
        members.map(Told::member).collect()
    }

    fn links(&self) -> Vec<String> {
        let links = self.proxy.as_ref().map(|(_, links)| links.clone());
        links.unwrap_or_default()
    }

    async fn primary(&mut self, members: &[String]) -> Option<String> {
        for member in members {
            let Ok(told) = self.told(member) else {
                continue;
            };
            if told.kind != "valkey" {
                return None;
            }
            if let Some(at) = told.at("client")
                && valkey::is_primary(at).await
            {
                return Some(member.clone());
            }
        }
        None
    }

    async fn act(&mut self, action: &Action) -> Result<()> {
        match action {
            Action::Kill(member) => self.run("kill", member).await,
            Action::Stop(member) => self.run("stop", member).await,
            Action::Start(member) => self.run("start", member).await,
            Action::Pause(member) => self.run("pause", member).await,
            Action::Resume(member) => self.run("resume", member).await,
            Action::Link(link, mode) => {
                let Some((control, _)) = &self.proxy else {
                    bail!("no proxy stands before {link}");
                };
                let command = match mode {
                    Mode::Delay(time) => format!("delay {link} {}", time.as_millis()),
                    mode => format!("{mode} {link}"),
                };
                Ok(control::command(control, &command).await?)
            }
            Action::Flush(member) => self.flush(member.clone()).await,
            Action::Fill(member) => self.fill(member).await,
            Action::Drain(members) => self.drain(members).await,
        }
    }

    async fn ready(&mut self) -> bool {
        let all = join_all(self.members.iter().map(is_well)).await;
        all.into_iter().all(|well| well)
    }

    async fn accidents(&mut self) -> Vec<String> {
        let mut out = Vec::new();
        let members = self.members.clone();
        for told in members.iter().filter(|told| told.kind == "hearth") {
            out.extend(self.panics(told));
        }
        match self.status().await {
            Ok(now) => {
                let stopped = now.iter().filter(|told| told.state == "stopped");
                out.extend(stopped.map(|told| format!("{} had ended by itself", told.name)));
            }
            Err(error) => out.push(format!("the cluster's status: {error:#}")),
        }
        out
    }
}

#[cfg(test)]
mod tests;
