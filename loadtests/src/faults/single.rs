//! One server that is everything, as the subject: what of the faults can happen to it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::subject::{Action, Front, Subject, answers};
use crate::Dice;
use crate::kill::process::{Ports, Server};

const NAME: &str = "server-1";
const START: Duration = Duration::from_secs(120);

/// A server in the embedded form.
pub struct Single {
    server: Server,
    accidents: Vec<String>,
    running: bool,
}

impl Single {
    /// Starts it, with its data and its log below `dir`, which is its own, and waits until it is
    /// ready.
    ///
    /// # Errors
    /// When it doesn't start.
    pub async fn start(
        binary: &Path,
        dir: &Path,
        settings: Vec<String>,
        dice: &mut Dice,
    ) -> Result<Self> {
        std::fs::create_dir_all(dir).with_context(|| format!("{}", dir.display()))?;
        let (data, log) = (dir.join("data"), dir.join("server.log"));
        let ports = Ports::free(dice)?;
        let mut server = Server::new(binary, &data, &log, settings, ports)?;
        let started = server.start()?;
        server.ready(started, START).await?;
        Ok(Self {
            server,
            accidents: Vec::new(),
            running: true,
        })
    }
}

impl Subject for Single {
    fn front(&self) -> Front {
        let ports = self.server.ports;
        Front {
            acs: format!("http://127.0.0.1:{}/", ports.cwmp),
            api: format!("http://127.0.0.1:{}", ports.api),
            token: self.server.data_dir().join("admin.token"),
        }
    }

    fn members(&self) -> Vec<String> {
        vec![NAME.to_owned()]
    }

    fn links(&self) -> Vec<String> {
        Vec::new()
    }

    async fn primary(&mut self, _members: &[String]) -> Option<String> {
        None
    }

    async fn act(&mut self, action: &Action) -> Result<()> {
        match action {
            Action::Kill(_) => {
                if !self.server.kill().await? {
                    let end = self.server.log_end();
                    self.accidents
                        .push(format!("the server had ended by itself:\n{end}"));
                }
                self.running = false;
            }
            Action::Stop(_) => {
                self.server.stop(START).await?;
                self.running = false;
            }
            Action::Start(_) => {
                self.server.start()?;
                self.running = true;
            }
            Action::Pause(_) => self.server.pause()?,
            Action::Resume(_) => self.server.resume()?,
            other => bail!("{other:?} can't be done to one server"),
        }
        Ok(())
    }

    async fn ready(&mut self) -> bool {
        let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, self.server.ports.admin));
        answers(admin, "/readyz").await
    }

    async fn accidents(&mut self) -> Vec<String> {
        let mut out = std::mem::take(&mut self.accidents);
        if self.running
            && let Some(status) = self.server.ended()
        {
            out.push(format!("the server ended by itself ({status})"));
        }
        out.extend(self.server.panics());
        out
    }
}
