//! What every call from another process passes: is there room, by when must it end, and may it be dropped.

use crate::access::CertifiedRoles;
use crate::config::InternalConfig;
use crate::deadline::{GRPC_TIMEOUT, parse, with_deadline};
use crate::methods::{Effect, Method};
use crate::metrics::ServerMetrics;
use crate::{Error, propagation, wire};
use futures::FutureExt;
use hearth_runtime::http::{PeerAddr, TlsInfo};
use hearth_telemetry::{MetricError, Registry};
use http::Extensions;
use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};
use tracing::{Instrument, Span};

/// Bounds the calls from other processes; cheap to clone.
#[derive(Clone)]
pub struct Guard {
    inner: Arc<Inner>,
}

struct Inner {
    room: Arc<Semaphore>,
    max_message: usize,
    /// Certificates are not asked for their roles.
    any_role: bool,
    /// Writes that go on though nobody waits for them.
    writes: TaskTracker,
    leaving: CancellationToken,
    metrics: ServerMetrics,
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guard")
            .field("room", &self.inner.room.available_permits())
            .finish_non_exhaustive()
    }
}

/// Among a request's extensions: it came with others, all of which one task works on that runs to its end.
#[derive(Clone)]
pub(super) struct Together;

/// A call that was let in.
pub(super) struct Admitted {
    method: &'static Method,
    guard: Guard,
    pub permit: OwnedSemaphorePermit,
    pub until: Option<Instant>,
    pub span: Span,
    started: Instant,
    together: bool,
}

impl Guard {
    /// Of a configuration.
    ///
    /// # Errors
    /// When the metrics' names are taken.
    pub fn new(config: &InternalConfig, registry: &Registry) -> Result<Self, MetricError> {
        let inner = Inner {
            room: Arc::new(Semaphore::new(
                config.max_requests.min(Semaphore::MAX_PERMITS),
            )),
            max_message: config.max_message.as_usize(),
            any_role: config.tls.any_role,
            writes: TaskTracker::new(),
            leaving: CancellationToken::new(),
            metrics: ServerMetrics::register(registry)?,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Ends the watches: the process is going away. Other calls go on.
    pub fn leave(&self) {
        self.inner.leaving.cancel();
    }

    /// Waits until every write that was begun has ended.
    pub async fn writes_ended(&self) {
        self.inner.writes.close();
        self.inner.writes.wait().await;
    }

    pub(super) fn max_message(&self) -> usize {
        self.inner.max_message
    }

    /// Where work goes on though nobody waits for it.
    pub(super) fn writes(&self) -> &TaskTracker {
        &self.inner.writes
    }

    pub(super) fn leaving(&self) -> CancellationToken {
        self.inner.leaving.clone()
    }

    /// A place among the calls worked on.
    pub(super) fn place(&self) -> Result<OwnedSemaphorePermit, Status> {
        let place = self.inner.room.clone().try_acquire_owned();
        place.map_err(|_| {
            wire::not_run("too many calls are being worked on (internal.max_requests)")
        })
    }

    /// Lets a call in, or says why not: then nothing of it was done.
    pub(super) fn admit(
        &self,
        method: &'static Method,
        metadata: &MetadataMap,
        connection: &Extensions,
    ) -> Result<Admitted, Status> {
        let started = Instant::now();
        let refuse = |status: Status, outcome| {
            self.inner.metrics.ended(method, outcome, started.elapsed());
            Err(status)
        };
        if let Err(status) = self.authorize(method, connection) {
            return refuse(status, "PERMISSION_DENIED");
        }
        let waits = metadata
            .get(GRPC_TIMEOUT)
            .and_then(|text| text.to_str().ok());
        let waits = waits.and_then(parse);
        if waits.is_some_and(|waits| waits.is_zero()) {
            return refuse(late(), "DEADLINE_EXCEEDED");
        }
        let permit = match self.place() {
            Ok(permit) => permit,
            Err(status) => return refuse(status, "REFUSED"),
        };
        Ok(Admitted {
            method,
            guard: self.clone(),
            permit,
            until: waits.and_then(|waits: Duration| started.checked_add(waits)),
            span: propagation::extract(method, metadata),
            started,
            together: connection.get::<Together>().is_some(),
        })
    }

    /// Whether the certificate at the other end is for a role that may make this call. A connection without TLS has
    /// none: it is from this machine, by a setting.
    fn authorize(&self, method: &Method, connection: &Extensions) -> Result<(), Status> {
        let Some(TlsInfo(tls)) = connection.get::<TlsInfo>() else {
            return Ok(());
        };
        if self.inner.any_role {
            return Ok(());
        }
        let read = || -> Arc<dyn Any + Send + Sync> {
            let leaf = tls.peer_certificates.first();
            Arc::new(leaf.map(CertifiedRoles::of).unwrap_or_default())
        };
        let roles = tls.memo.get_or_init(read).clone();
        let roles = roles.downcast::<CertifiedRoles>().unwrap_or_default();
        if roles.may_call(method) {
            return Ok(());
        }
        let (name, service) = (method.name, method.service.grpc_name());
        let peer = connection.get::<PeerAddr>().map(|peer| peer.0);
        tracing::warn!(method = name, service, %roles, peer = peer.map(tracing::field::display),
            "a call was refused: the caller's certificate is for other roles");
        Err(Status::permission_denied(format!(
            "a certificate for {roles} may not call {name} of {service}"
        )))
    }

    /// A call with one message each way.
    pub(super) async fn unary<Q, A, Fut>(
        &self,
        method: &'static Method,
        request: Request<Q>,
        run: impl FnOnce(Q) -> Fut,
    ) -> Result<Response<A>, Status>
    where
        A: Send + 'static,
        Fut: Future<Output = Result<A, Error>> + Send + 'static,
    {
        let admitted = self.admit(method, request.metadata(), request.extensions())?;
        admitted.finish(run(request.into_inner())).await
    }
}

impl Admitted {
    /// Works on the call. What only reads is dropped when nobody waits any more, be it that the deadline passed or that
    /// the caller went away; what writes runs to its end in any case.
    pub async fn finish<A, W>(self, work: W) -> Result<Response<A>, Status>
    where
        A: Send + 'static,
        W: Future<Output = Result<A, Error>> + Send + 'static,
    {
        let Self {
            method,
            guard,
            permit,
            until,
            span,
            started,
            together,
        } = self;
        let work = with_deadline(until, work).instrument(span);
        let done = match method.effect {
            // What must run to its end does: the task that it came with does. Whoever waits has a limit of its own.
            Effect::Writes if together => {
                let done = AssertUnwindSafe(work).catch_unwind().await;
                drop(permit);
                Some(done.map_err(drop))
            }
            Effect::Reads => {
                let work = AssertUnwindSafe(work).catch_unwind();
                let done = bounded(until, work).await;
                drop(permit);
                done.map(|done| done.map_err(drop))
            }
            Effect::Writes => {
                let spawned = guard.inner.writes.spawn(async move {
                    let _permit = permit;
                    work.await
                });
                let done = bounded(until, spawned).await;
                done.map(|done| done.map_err(drop))
            }
        };
        let (answer, outcome) = match done {
            Some(Ok(Ok(answer))) => (Ok(Response::new(answer)), "OK"),
            Some(Ok(Err(error))) => {
                let name = wire::name_of(error.kind);
                (Err(wire::to_status(error)), name)
            }
            Some(Err(())) => {
                tracing::error!(
                    method = method.name,
                    "a handler of an internal call panicked"
                );
                let error = Error::internal("the server has a defect here; its log says more");
                (Err(wire::to_status(error)), "INTERNAL")
            }
            None => (Err(late()), "DEADLINE_EXCEEDED"),
        };
        guard
            .inner
            .metrics
            .ended(method, outcome, started.elapsed());
        answer
    }
}

/// `None` when the time was over first.
async fn bounded<F: Future>(until: Option<Instant>, work: F) -> Option<F::Output> {
    match until {
        Some(at) => tokio::time::timeout_at(at, work).await.ok(),
        None => Some(work.await),
    }
}

pub(super) fn late() -> Status {
    Status::deadline_exceeded("the caller's deadline has passed")
}
