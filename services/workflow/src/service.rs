//! The service: what it is made of, its calls, its life.

use crate::{
    config::WorkflowConfig,
    lanes::Stripes,
    ledger::{Ledger, Work},
    metrics::Metrics,
    plan::Limits,
    publish::{self, Changes},
    retention,
    secrets::Secrets,
    wake::{self, Asking, Waker},
};
use async_trait::async_trait;
use hearth_auth::Sealer;
use hearth_bus::{Bus, Publish};
use hearth_clients::{DeviceState, Error, Files, Result, Wakeup, Workflow};
use hearth_proto::workflow::v1 as wf;
use hearth_queue::Queue;
use hearth_runtime::{Backoff, BoxError, CancellationToken, Clock, Service, ServiceContext};
use hearth_store::Store;
use hearth_telemetry::{MetricError, Registry};
use hearth_types::{DeviceKey, TaskId, TaskIds, TenantId, Timestamp};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use tokio::sync::mpsc;

/// What the service works with.
pub struct WorkflowDeps {
    /// The ledger's store.
    pub store: Arc<dyn Store>,
    /// Where facts and changes are published.
    pub bus: Arc<dyn Bus>,
    /// The index of open tasks; filled from the ledger at start.
    pub queue: Arc<dyn Queue>,
    /// Types of parameters, models.
    pub device_state: Arc<dyn DeviceState>,
    /// Connection requests.
    pub wakeup: Arc<dyn Wakeup>,
    /// URLs and credentials of transfers.
    pub files: Arc<dyn Files>,
    /// The sealer at rest ([`hearth_auth::labels::AT_REST`]), that of the store.
    pub sealer: Sealer,
    /// The clock.
    pub clock: Arc<dyn Clock>,
}

/// Why a change was given up that met others' changes each time.
pub(crate) const CONFLICTS: &str =
    "the task was changed by another process at the same time; try again";

/// How often a change is decided anew when another replica's came first.
pub(crate) const TRIES: usize = 5;

pub(crate) struct Inner {
    pub(crate) ledger: Ledger,
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) queue: Arc<dyn Queue>,
    pub(crate) device_state: Arc<dyn DeviceState>,
    pub(crate) wakeup: Arc<dyn Wakeup>,
    pub(crate) files: Arc<dyn Files>,
    pub(crate) secrets: Secrets,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) options: WorkflowConfig,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) lanes: Stripes,
    pub(crate) changes: Changes,
    pub(crate) waker: Waker,
    pub(crate) ids: TaskIds,
    pub(crate) ready: AtomicBool,
}

impl Inner {
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.clock.now_micros())
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits {
            max_result_bytes: self.options.max_result.as_usize(),
        }
    }

    /// Refuses calls until the queue has been rebuilt.
    pub(crate) fn check_ready(&self) -> Result<()> {
        if self.ready.load(Ordering::Acquire) {
            Ok(())
        } else {
            Err(Error::unavailable(
                "the server is starting: its task queues are being rebuilt; try again in a moment",
            ))
        }
    }

    /// Writes tasks' next revisions, in their order, and tells their changes; how many. From the
    /// first that another replica has written since it was read none is. On an error, and from that
    /// one on, the works are of no more use: what the ledger has is to be read again.
    pub(crate) async fn write(
        &self,
        device: &DeviceKey,
        session: &str,
        works: &mut [Work],
    ) -> Result<usize> {
        let now = self.now();
        let rows = works.iter_mut().map(|work| work.next_row(now)).collect();
        let written = self.ledger.put(rows).await?;
        if written < works.len() {
            self.metrics.conflicts.inc();
        }
        for work in &mut works[..written] {
            debug_assert_eq!(&work.device, device, "a commit is of one device");
            if work.told != work.state() {
                if work.state().is_final() {
                    self.metrics.ended(work.label(), work.state());
                }
                work.told = work.state();
                self.changes.tell(work, session, now, &self.metrics);
            }
        }
        Ok(written)
    }

    /// A task of a tenant.
    ///
    /// # Errors
    /// [`hearth_clients::Kind::NotFound`].
    pub(crate) async fn task(&self, tenant: &str, task: &str) -> Result<Work> {
        let tenant: TenantId = tenant.parse()?;
        let id: TaskId = task
            .parse()
            .map_err(|error: hearth_types::Invalid| Error::invalid("task", error.reason))?;
        let found = self.ledger.get(&tenant, id).await?;
        found.ok_or_else(|| Error::not_found(format!("there is no task {id} of tenant {tenant}")))
    }
}

/// Tasks and the sessions that run them. A handle, cheap to clone.
#[derive(Clone)]
pub struct WorkflowService {
    pub(crate) inner: Arc<Inner>,
}

impl WorkflowService {
    /// The service, and the part of it that has to be run: until that has rebuilt the queue, calls
    /// are refused.
    ///
    /// # Errors
    /// A metric's name is taken.
    pub fn new(
        deps: WorkflowDeps,
        options: WorkflowConfig,
        registry: &Registry,
    ) -> std::result::Result<(Self, WorkflowRunner), MetricError> {
        let (changes, receiver) = Changes::new();
        let metrics = Arc::new(Metrics::new(registry)?);
        let inner = Arc::new(Inner {
            ledger: Ledger::new(deps.store, metrics.damaged.clone()),
            bus: deps.bus,
            queue: deps.queue,
            device_state: deps.device_state,
            wakeup: deps.wakeup,
            files: deps.files,
            secrets: Secrets::new(deps.sealer),
            clock: deps.clock,
            options,
            metrics,
            lanes: Stripes::new(),
            changes,
            waker: Waker::default(),
            ids: TaskIds::default(),
            ready: AtomicBool::new(false),
        });
        let runner = WorkflowRunner {
            inner: Arc::clone(&inner),
            changes: receiver,
        };
        Ok((Self { inner }, runner))
    }
}

/// The running part: rebuilds the queue, then minds deadlines, wake-ups and publications.
pub struct WorkflowRunner {
    inner: Arc<Inner>,
    changes: mpsc::Receiver<Publish>,
}

#[async_trait]
impl Service for WorkflowRunner {
    fn name(&self) -> &str {
        "workflow"
    }

    async fn run(self: Box<Self>, ctx: ServiceContext) -> std::result::Result<(), BoxError> {
        let inner = self.inner;
        let owner = inner.ids.next_id().to_string();
        let longest = std::time::Duration::from_secs(1);
        let mut backoff = Backoff::new(longest / 4, longest);
        let rebuild = async {
            loop {
                match inner.rebuild(&owner).await {
                    Ok(count) => return count,
                    Err(error) => ctx.readiness.not_ready(error.to_string()),
                }
                backoff.wait().await;
            }
        };
        tokio::select! {
            () = ctx.stop.cancelled() => {
                inner.hand_over(Asking::default()).await;
                return Ok(());
            }
            count = rebuild => tracing::info!(open_tasks = count, "task queues are rebuilt"),
        }
        inner.ready.store(true, Ordering::Release);
        ctx.readiness.ready();
        // These end in this order: what is planned is handed over when nothing plans any more, and
        // what that changes is published.
        let (planned, told) = (CancellationToken::new(), CancellationToken::new());
        let _ended = [&planned, &told].map(|token| token.clone().drop_guard());
        let publisher = tokio::spawn(publish::run(
            Arc::clone(&inner.bus),
            self.changes,
            Arc::clone(&inner.metrics),
            told.clone(),
        ));
        let waker = tokio::spawn(wake::run(Arc::clone(&inner), planned.clone()));
        let trimmer = tokio::spawn(retention::run(Arc::clone(&inner), ctx.stop.clone()));
        let keeper = {
            let (inner, stop) = (Arc::clone(&inner), ctx.stop.clone());
            tokio::spawn(async move { inner.keep_whole(&owner, &stop).await })
        };
        inner.mind(&ctx.stop).await;
        keeper.await?;
        trimmer.await?;
        planned.cancel();
        waker.await?;
        told.cancel();
        publisher.await?;
        Ok(())
    }
}

/// Finishes a change even if its caller goes away: what the ledger has must reach the queue, or
/// nothing would work on it before the next start.
async fn to_the_end<T: Send + 'static>(
    change: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    let done = tokio::spawn(change).await;
    done.unwrap_or_else(|lost| Err(Error::internal(format!("a change was cut off: {lost}"))))
}

#[async_trait]
impl Workflow for WorkflowService {
    async fn open_session(
        &self,
        request: wf::OpenSessionRequest,
    ) -> Result<wf::OpenSessionResponse> {
        self.inner.check_ready()?;
        self.inner.open_session(request).await
    }

    async fn next_request(
        &self,
        request: wf::NextRequestRequest,
    ) -> Result<wf::NextRequestResponse> {
        self.inner.check_ready()?;
        self.inner.next_request(request).await
    }

    async fn report_transfer(
        &self,
        request: wf::ReportTransferRequest,
    ) -> Result<wf::ReportTransferResponse> {
        self.inner.check_ready()?;
        let inner = Arc::clone(&self.inner);
        to_the_end(async move { inner.report_transfer(request).await }).await
    }

    async fn report_du_state_change(
        &self,
        request: wf::ReportDuStateChangeRequest,
    ) -> Result<wf::ReportDuStateChangeResponse> {
        self.inner.check_ready()?;
        let inner = Arc::clone(&self.inner);
        to_the_end(async move { inner.report_du_state_change(request).await }).await
    }

    async fn create_task(&self, request: wf::CreateTaskRequest) -> Result<wf::CreateTaskResponse> {
        self.inner.check_ready()?;
        let inner = Arc::clone(&self.inner);
        to_the_end(async move { inner.create_task(request).await }).await
    }

    async fn get_task(&self, request: wf::GetTaskRequest) -> Result<wf::GetTaskResponse> {
        let work = self.inner.task(&request.tenant, &request.task).await?;
        Ok(wf::GetTaskResponse {
            task: Some(work.task),
        })
    }

    async fn list_tasks(&self, request: wf::ListTasksRequest) -> Result<wf::ListTasksResponse> {
        self.inner.list_tasks(request).await
    }

    async fn cancel_task(&self, request: wf::CancelTaskRequest) -> Result<wf::CancelTaskResponse> {
        self.inner.check_ready()?;
        let inner = Arc::clone(&self.inner);
        to_the_end(async move { inner.cancel_task(request).await }).await
    }

    async fn retry_task(&self, request: wf::RetryTaskRequest) -> Result<wf::RetryTaskResponse> {
        self.inner.check_ready()?;
        let inner = Arc::clone(&self.inner);
        to_the_end(async move { inner.retry_task(request).await }).await
    }

    async fn get_device_work(
        &self,
        request: wf::GetDeviceWorkRequest,
    ) -> Result<wf::GetDeviceWorkResponse> {
        self.inner.device_work(request).await
    }

    async fn forget_device(
        &self,
        request: wf::ForgetDeviceRequest,
    ) -> Result<wf::ForgetDeviceResponse> {
        self.inner.check_ready()?;
        let inner = Arc::clone(&self.inner);
        to_the_end(async move { inner.forget_device(request).await }).await
    }
}
