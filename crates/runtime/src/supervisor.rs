//! Runs the services: in order up, in reverse order down, and down as a whole when one fails.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::service::{BoxError, Service, ServiceContext};
use crate::{Clock, Readiness, ReadinessReporter, Shutdown};

/// Time limits of a [`Runtime`].
#[derive(Debug, Clone)]
pub struct RuntimeOptions {
    /// How long one service may take to become ready at start.
    pub start_timeout: Duration,
    /// How long all services together may take to stop; one of them at most half of what is
    /// left.
    pub drain_timeout: Duration,
}

impl Default for RuntimeOptions {
    fn default() -> Self {
        Self {
            start_timeout: Duration::from_secs(120),
            drain_timeout: Duration::from_secs(25),
        }
    }
}

/// Why a [`Runtime`] ended otherwise than asked.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// A service returned an error.
    #[error("service {service} failed")]
    Failed {
        /// The service's name.
        service: String,
        /// Its error.
        #[source]
        source: BoxError,
    },
    /// A service panicked.
    #[error("service {service} panicked: {message}")]
    Panicked {
        /// The service's name.
        service: String,
        /// The panic's message.
        message: String,
    },
    /// A service returned although nobody asked it to stop.
    #[error("service {service} ended although it was not asked to")]
    EndedEarly {
        /// The service's name.
        service: String,
    },
    /// A service was not ready in time.
    #[error("service {service} was not ready after {after:?}: {reason}")]
    StartTimeout {
        /// The service's name.
        service: String,
        /// The limit ([`RuntimeOptions::start_timeout`]).
        after: Duration,
        /// What it reported last.
        reason: String,
    },
    /// A second signal ended the drain.
    #[error("ended at once by a second signal; services were not drained")]
    Forced,
}

/// Owns the services and runs them.
pub struct Runtime {
    services: Vec<(Box<dyn Service>, ReadinessReporter)>,
    readiness: Readiness,
    clock: Arc<dyn Clock>,
    options: RuntimeOptions,
}

struct Running {
    name: String,
    stop: CancellationToken,
    task: AbortOnDropHandle<Result<(), BoxError>>,
}

impl Runtime {
    /// A runtime without services.
    pub fn new(clock: Arc<dyn Clock>, options: RuntimeOptions) -> Self {
        Self {
            services: Vec::new(),
            readiness: Readiness::new(),
            clock,
            options,
        }
    }

    /// The registry that this runtime's services report to.
    pub fn readiness(&self) -> Readiness {
        self.readiness.clone()
    }

    /// Adds a service. Services start in the order in which they are added, each when the one
    /// before is ready, and stop in reverse order.
    pub fn add(&mut self, service: impl Service) -> &mut Self {
        // Registered now, so that an early look at readiness shows what is missing.
        let reporter = self.readiness.register(service.name());
        self.services.push((Box::new(service), reporter));
        self
    }

    /// Runs until `shutdown` is requested or a service fails.
    ///
    /// # Errors
    /// The first failure, after the other services were drained; the process should end with a
    /// non-zero exit code. [`RuntimeError::Forced`] when the drain was cut short.
    pub async fn run(self, shutdown: Shutdown) -> Result<(), RuntimeError> {
        let Self {
            services,
            readiness,
            clock,
            options,
        } = self;
        let mut running = Vec::with_capacity(services.len());
        let mut outcome = Ok(());
        for (service, reporter) in services {
            let name = service.name().to_owned();
            let stop = CancellationToken::new();
            let context = ServiceContext {
                stop: stop.clone(),
                readiness: reporter,
                clock: clock.clone(),
            };
            tracing::debug!(service = name, "starting");
            let task = AbortOnDropHandle::new(tokio::spawn(service.run(context)));
            running.push(Running { name, stop, task });
            match wait_started(&mut running, &readiness, &shutdown, options.start_timeout).await {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        }
        if outcome.is_ok() && !shutdown.is_requested() {
            tracing::info!(services = running.len(), "ready");
            outcome = tokio::select! {
                () = shutdown.requested() => Ok(()),
                error = first_failure(&mut running) => Err(error),
            };
        }
        readiness.set_draining();
        if let Err(error) = &outcome {
            tracing::error!(error = %Chain(error), "a service failed; stopping the process");
        }
        tokio::select! {
            drained = drain(running, options.drain_timeout) => outcome.and(drained),
            () = shutdown.forced() => outcome.and(Err(RuntimeError::Forced)),
        }
    }
}

/// Waits for the last service of `running`; `Ok(false)` when the process is asked to stop first.
async fn wait_started(
    running: &mut Vec<Running>,
    readiness: &Readiness,
    shutdown: &Shutdown,
    limit: Duration,
) -> Result<bool, RuntimeError> {
    let name = running
        .last()
        .map(|last| last.name.clone())
        .unwrap_or_default();
    tokio::select! {
        () = readiness.wait_ready(&name) => {
            tracing::debug!(service = name, "ready");
            Ok(true)
        }
        () = shutdown.requested() => Ok(false),
        error = first_failure(running) => Err(error),
        () = tokio::time::sleep(limit) => {
            let state = readiness.snapshot().into_iter().find(|service| service.name == name);
            let reason = state.map(|service| service.state.to_string()).unwrap_or_default();
            Err(RuntimeError::StartTimeout { service: name, after: limit, reason })
        }
    }
}

/// Waits until any service ends and says why that is a failure; the service leaves `running`.
async fn first_failure(running: &mut Vec<Running>) -> RuntimeError {
    let (index, result) = std::future::poll_fn(|cx| {
        for (index, service) in running.iter_mut().enumerate() {
            if let std::task::Poll::Ready(result) = std::pin::Pin::new(&mut service.task).poll(cx) {
                return std::task::Poll::Ready((index, result));
            }
        }
        std::task::Poll::Pending
    })
    .await;
    let service = running.remove(index).name;
    match failure_of(&service, result) {
        Some(error) => error,
        None => RuntimeError::EndedEarly { service },
    }
}

fn failure_of(
    service: &str,
    result: Result<Result<(), BoxError>, tokio::task::JoinError>,
) -> Option<RuntimeError> {
    let service = service.to_owned();
    match result {
        Ok(Ok(())) => None,
        Ok(Err(source)) => Some(RuntimeError::Failed { service, source }),
        Err(join) if join.is_panic() => {
            let payload = join.into_panic();
            let message = payload
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned())
                .or_else(|| payload.downcast_ref::<String>().cloned())
                .unwrap_or_else(|| "no message".to_owned());
            Some(RuntimeError::Panicked { service, message })
        }
        Err(_cancelled) => None,
    }
}

/// Stops the services in reverse order within `limit` for all; returns the first error met.
///
/// One service may use half of the time that is left, so that a stuck one at the edge leaves the
/// others time to write what they hold; the last one may use all of it.
async fn drain(mut running: Vec<Running>, limit: Duration) -> Result<(), RuntimeError> {
    let deadline = Instant::now() + limit;
    let mut outcome = Ok(());
    while let Some(mut service) = running.pop() {
        tracing::debug!(service = service.name, "stopping");
        service.stop.cancel();
        let left = deadline.saturating_duration_since(Instant::now());
        let slice = if running.is_empty() { left } else { left / 2 };
        match tokio::time::timeout(slice, &mut service.task).await {
            Ok(result) => {
                if let Some(error) = failure_of(&service.name, result) {
                    tracing::error!(error = %Chain(&error), "a service failed while stopping");
                    outcome = outcome.and(Err(error));
                }
            }
            Err(_elapsed) => {
                tracing::warn!(
                    service = service.name,
                    after_ms = u64::try_from(slice.as_millis()).unwrap_or(u64::MAX),
                    "did not stop within its drain time: aborted"
                );
                service.task.abort();
                // Wait for the abort itself, so that the next service sees its peer gone.
                let _ = tokio::time::timeout(Duration::from_millis(100), service.task).await;
            }
        }
    }
    outcome
}

/// An error with its sources on one line.
struct Chain<'a>(&'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}
