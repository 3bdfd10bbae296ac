//! How the roles of this process reach the others: the service itself where it is here, a client where it is not.

use crate::config::HearthConfig;
use anyhow::Result;
use hearth_clients::remote::{
    DeviceStateClient, FilesClient, Options, Peer, Reach, WakeupClient, WorkflowClient,
};
use hearth_clients::serve::Services;
use hearth_clients::{DeviceState, Files, Identity, ServiceName, Wakeup, Workflow};
use hearth_runtime::{Readiness, ReadinessReporter};
use hearth_telemetry::Registry;
use hearth_wakeup::Siblings;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// A role that can't be reached for so long makes those that need it not ready. Shorter breaks are what retries are for,
/// and a gateway that is asked still says when to come again.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is here, and what was made for the rest.
pub(crate) struct Links<'a> {
    config: &'a HearthConfig,
    options: Options,
    readiness: Readiness,
    /// The services of this process.
    pub here: Services,
    elsewhere: Services,
}

impl<'a> Links<'a> {
    /// Nothing is here yet: each role adds its own when it is built.
    pub fn new(
        config: &'a HearthConfig,
        identity: Option<Identity>,
        registry: &Registry,
        readiness: Readiness,
    ) -> Result<Self> {
        Ok(Self {
            options: Options::new(&config.internal, identity, registry)?,
            config,
            readiness,
            here: Services::default(),
            elsewhere: Services::default(),
        })
    }

    pub fn device_state(&mut self) -> Result<Arc<dyn DeviceState>> {
        if let Some(there) = self
            .here
            .device_state
            .as_ref()
            .or(self.elsewhere.device_state.as_ref())
        {
            return Ok(there.clone());
        }
        let made: Arc<dyn DeviceState> =
            Arc::new(DeviceStateClient(self.peer(ServiceName::DeviceState)?));
        self.elsewhere.device_state = Some(made.clone());
        Ok(made)
    }

    pub fn workflow(&mut self) -> Result<Arc<dyn Workflow>> {
        if let Some(there) = self
            .here
            .workflow
            .as_ref()
            .or(self.elsewhere.workflow.as_ref())
        {
            return Ok(there.clone());
        }
        let made: Arc<dyn Workflow> = Arc::new(WorkflowClient(self.peer(ServiceName::Workflow)?));
        self.elsewhere.workflow = Some(made.clone());
        Ok(made)
    }

    pub fn wakeup(&mut self) -> Result<Arc<dyn Wakeup>> {
        if let Some(there) = self.here.wakeup.as_ref().or(self.elsewhere.wakeup.as_ref()) {
            return Ok(there.clone());
        }
        let made: Arc<dyn Wakeup> = Arc::new(WakeupClient(self.peer(ServiceName::Wakeup)?));
        self.elsewhere.wakeup = Some(made.clone());
        Ok(made)
    }

    /// The wakeup role's replicas, where it has some and one socket is not as good as another.
    pub fn wakeup_siblings(&self) -> Result<Option<Arc<dyn Siblings>>> {
        let addresses = self.config.peers_of(ServiceName::Wakeup);
        if addresses.is_empty() || self.config.wakeup.stun.listen.is_none() {
            return Ok(None);
        }
        let peer = Peer::new(ServiceName::Wakeup, addresses, &self.options)?;
        Ok(Some(Arc::new(WakeupClient(peer))))
    }

    pub fn files(&mut self) -> Result<Arc<dyn Files>> {
        if let Some(there) = self.here.files.as_ref().or(self.elsewhere.files.as_ref()) {
            return Ok(there.clone());
        }
        let made: Arc<dyn Files> = Arc::new(FilesClient(self.peer(ServiceName::Files)?));
        self.elsewhere.files = Some(made.clone());
        Ok(made)
    }

    /// A role elsewhere, with its line in the readiness. It counts where a role here can do nothing without it.
    fn peer(&self, service: ServiceName) -> Result<Peer> {
        let addresses = self.config.peers_of(service);
        let mut roles = self.config.roles.iter();
        let line = match roles.any(|role| role.needs().contains(&service)) {
            true => self.readiness.register(line_of(service)),
            // Not everyone has each role.
            false if addresses.is_empty() => {
                return Ok(Peer::new(service, addresses, &self.options)?);
            }
            false => self.readiness.register_noted(line_of(service)),
        };
        let peer = Peer::new(service, addresses, &self.options)?;
        tokio::spawn(report(service, line, peer.reach()));
        Ok(peer)
    }
}

/// The line of a role elsewhere in the readiness.
fn line_of(service: ServiceName) -> String {
    format!("{} elsewhere", service.role())
}

/// Keeps a line true until the peer's last client is gone.
async fn report(service: ServiceName, line: ReadinessReporter, mut reach: watch::Receiver<Reach>) {
    let mut patience = Duration::ZERO;
    loop {
        let found = reach.wait_for(|reach| reach.serving > 0);
        let found = tokio::time::timeout(patience, found)
            .await
            .map(|found| found.is_ok());
        match found {
            Ok(true) => {
                line.ready();
                if reach.wait_for(|reach| reach.serving == 0).await.is_err() {
                    return;
                }
                patience = PATIENCE;
            }
            Ok(false) => return,
            Err(_elapsed) => {
                let why = reach.borrow().reason.clone();
                if patience == PATIENCE {
                    tracing::warn!(
                        role = service.role(),
                        why,
                        "a role that is needed can't be reached"
                    );
                }
                line.not_ready(why);
                // Again for the reason, which may change.
                patience = Duration::from_secs(1);
            }
        }
    }
}
