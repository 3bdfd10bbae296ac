//! Which services are ready, and why not: the registry behind `/readyz`.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

/// What a service says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServiceState {
    /// It can do its work.
    Ready,
    /// It can't, for this reason (shown to operators; no secrets).
    NotReady(String),
}

impl fmt::Display for ServiceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready => f.write_str("ready"),
            Self::NotReady(reason) => write!(f, "not ready: {reason}"),
        }
    }
}

/// One line of the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceReadiness {
    /// The service's name.
    pub name: String,
    /// Its last report.
    pub state: ServiceState,
    /// Whether the process isn't ready without it.
    pub counts: bool,
}

/// The registry of all services' readiness; a handle, cheap to clone.
///
/// The process is ready when it isn't draining and every registered service that counts is. A
/// service that was dropped without a last word stays as it was: the [`crate::Runtime`] ends the
/// process then.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    services: Mutex<Vec<Line>>,
    draining: watch::Sender<bool>,
}

#[derive(Debug)]
struct Line {
    name: String,
    sender: watch::Sender<ServiceState>,
    counts: bool,
}

impl Readiness {
    /// An empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a service, which starts as "starting". A second registration under the same name
    /// replaces the first one's state.
    pub fn register(&self, name: impl Into<String>) -> ReadinessReporter {
        self.add(name.into(), true)
    }

    /// Adds a line that is told and doesn't count: something without which the process does less,
    /// and not nothing.
    pub fn register_noted(&self, name: impl Into<String>) -> ReadinessReporter {
        self.add(name.into(), false)
    }

    fn add(&self, name: String, counts: bool) -> ReadinessReporter {
        let (sender, _) = watch::channel(ServiceState::NotReady("starting".to_owned()));
        let mut services = self.inner.services.lock();
        services.retain(|line| line.name != name);
        services.push(Line {
            name,
            sender: sender.clone(),
            counts,
        });
        ReadinessReporter { sender }
    }

    /// Every service in the order of registration.
    pub fn snapshot(&self) -> Vec<ServiceReadiness> {
        let services = self.inner.services.lock();
        services
            .iter()
            .map(|line| ServiceReadiness {
                name: line.name.clone(),
                state: line.sender.borrow().clone(),
                counts: line.counts,
            })
            .collect()
    }

    /// Whether the process as a whole may be given work.
    pub fn is_ready(&self) -> bool {
        !self.is_draining()
            && self
                .inner
                .services
                .lock()
                .iter()
                .filter(|line| line.counts)
                .all(|line| *line.sender.borrow() == ServiceState::Ready)
    }

    /// Says that the process is going away: it is not ready from now on.
    pub fn set_draining(&self) {
        self.inner.draining.send_replace(true);
    }

    /// Whether [`Readiness::set_draining`] was called.
    pub fn is_draining(&self) -> bool {
        *self.inner.draining.borrow()
    }

    /// Waits until the service `name` is ready; at once when there is no such service.
    pub async fn wait_ready(&self, name: &str) {
        let receiver = {
            let services = self.inner.services.lock();
            services
                .iter()
                .find(|line| line.name == name)
                .map(|line| line.sender.subscribe())
        };
        if let Some(mut receiver) = receiver {
            // The registry holds a sender, so the channel can't close while we wait.
            let _ = receiver
                .wait_for(|state| *state == ServiceState::Ready)
                .await;
        }
    }

    /// Waits until every service registered now is ready, those that don't count too.
    pub async fn wait_all_ready(&self) {
        for service in self.snapshot() {
            self.wait_ready(&service.name).await;
        }
    }
}

/// A service's own line in the registry; cheap to clone.
#[derive(Debug, Clone)]
pub struct ReadinessReporter {
    sender: watch::Sender<ServiceState>,
}

impl ReadinessReporter {
    /// The service can do its work.
    pub fn ready(&self) {
        self.set(ServiceState::Ready);
    }

    /// The service can't do its work now; `reason` is shown to operators.
    pub fn not_ready(&self, reason: impl Into<String>) {
        self.set(ServiceState::NotReady(reason.into()));
    }

    /// What was reported last.
    pub fn state(&self) -> ServiceState {
        self.sender.borrow().clone()
    }

    fn set(&self, state: ServiceState) {
        self.sender.send_if_modified(|current| {
            let changed = *current != state;
            *current = state;
            changed
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_process_is_ready_when_all_services_are() {
        let readiness = Readiness::new();
        assert!(readiness.is_ready(), "nothing to wait for");
        let bus = readiness.register("bus");
        let gateway = readiness.register("gateway");
        assert!(!readiness.is_ready());
        bus.ready();
        gateway.ready();
        readiness.wait_all_ready().await;
        assert!(readiness.is_ready());
        bus.not_ready("disk full");
        assert!(!readiness.is_ready());
        let snapshot = readiness.snapshot();
        assert_eq!(snapshot[0].name, "bus");
        assert_eq!(snapshot[0].state.to_string(), "not ready: disk full");
        assert_eq!(snapshot[1].state, ServiceState::Ready);
        bus.ready();
        readiness.set_draining();
        assert!(!readiness.is_ready(), "a draining process takes no work");
    }

    #[test]
    fn what_is_only_noted_does_not_count() {
        let readiness = Readiness::new();
        readiness.register("reads").ready();
        let bus = readiness.register_noted("bus");
        assert!(readiness.is_ready());
        bus.not_ready("no leader");
        assert!(readiness.is_ready());
        let told = readiness.snapshot();
        assert_eq!(told[1].state.to_string(), "not ready: no leader");
        assert!(told[0].counts && !told[1].counts);
    }

    #[tokio::test]
    async fn waiting_ends_when_the_service_becomes_ready() {
        let readiness = Readiness::new();
        let reporter = readiness.register("store");
        let waiting = tokio::spawn({
            let readiness = readiness.clone();
            async move { readiness.wait_ready("store").await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        reporter.ready();
        assert!(waiting.await.is_ok());
        readiness.wait_ready("unknown").await;
    }
}
