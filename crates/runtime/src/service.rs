//! The contract between a service and the [`crate::Runtime`].

use std::sync::Arc;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use crate::{Clock, ReadinessReporter};

/// Any error of a service; the runtime reports it with its sources.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What a service gets when it is run.
#[derive(Debug, Clone)]
pub struct ServiceContext {
    /// Cancelled when the service must stop. Services that started later have ended by then.
    pub stop: CancellationToken,
    /// Where the service reports whether it can work.
    pub readiness: ReadinessReporter,
    /// The process's clock.
    pub clock: Arc<dyn Clock>,
}

/// A part of the process with a life of its own.
///
/// An implementation
/// - MUST call `ctx.readiness.ready()` once it can do its work: services that come later are
///   started only then;
/// - MUST end with `Ok` soon after `ctx.stop` is cancelled, having made durable what it
///   acknowledged; at the end of the drain time it is aborted;
/// - MUST NOT end before that, neither with `Ok` nor with an error: both bring the process down;
/// - SHOULD report `not_ready` with a reason while something it needs is away, and go on trying;
/// - SHOULD bind its sockets before it is given to the runtime, so that a taken port is an error
///   at start.
#[async_trait]
pub trait Service: Send + 'static {
    /// The name in readiness, logs and errors: lower case with hyphens, e.g. `device-state`.
    fn name(&self) -> &str;

    /// Runs until `ctx.stop` is cancelled.
    ///
    /// # Errors
    /// Whatever the service can't live with; the process ends with it.
    async fn run(self: Box<Self>, ctx: ServiceContext) -> Result<(), BoxError>;
}

/// A service made of a name and a function, for small ones and for tests.
pub struct FnService<F> {
    name: String,
    run: F,
}

impl<F, Fut> FnService<F>
where
    F: FnOnce(ServiceContext) -> Fut + Send + 'static,
    Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
{
    /// A service that runs `run`.
    pub fn new(name: impl Into<String>, run: F) -> Self {
        Self {
            name: name.into(),
            run,
        }
    }
}

#[async_trait]
impl<F, Fut> Service for FnService<F>
where
    F: FnOnce(ServiceContext) -> Fut + Send + 'static,
    Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
{
    fn name(&self) -> &str {
        &self.name
    }

    async fn run(self: Box<Self>, ctx: ServiceContext) -> Result<(), BoxError> {
        (self.run)(ctx).await
    }
}
