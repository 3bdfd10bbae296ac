//! A workflow service on real embedded backends, doubles of its neighbours, and a device that
//! executes what it is sent and counts it.
#![allow(clippy::unwrap_used, dead_code, missing_docs)]

pub mod cpe;
pub mod doubles;
pub mod queue;

use cpe::Cpe;
use doubles::{FakeDeviceState, FakeFiles, FakeWakeup, FlakyStore};
use hearth_auth::{SecretKeys, labels};
use hearth_bus::{Bus, EmbeddedBus, EmbeddedOptions};
use hearth_clients::Workflow;
use hearth_config::HumanDuration;
use hearth_engine::{Engine, EngineOptions};
use hearth_proto::{
    types::v1::{ParameterValue, TaskSpec, TaskState, ValueType, task_spec::Kind},
    workflow::v1 as wf,
};
use hearth_queue::Queue;
use hearth_runtime::{CancellationToken, Clock, ManualClock, Readiness, Service, ServiceContext};
use hearth_store::{EmbeddedStore, Store};
use hearth_telemetry::Registry;
use hearth_workflow::{WorkflowConfig, WorkflowDeps, WorkflowService};
use queue::FlakyQueue;
use std::{sync::Arc, time::Duration};
use tokio::task::JoinHandle;
use wf::next_request_response::Kind as Next;

pub const TENANT: &str = "default";
pub const DEVICE: &str = "001122-Box-1";

/// What happens to a session at one of its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The request never reaches the device.
    Before,
    /// The device executes it; its answer never arrives.
    After,
}

/// How a session goes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Script {
    /// It breaks at the request of this number, from 0.
    pub lose: Option<(usize, Loss)>,
    /// Each turn is sent twice.
    pub duplicate: bool,
}

pub struct World {
    pub clock: ManualClock,
    pub store: Arc<FlakyStore>,
    pub queue: Arc<FlakyQueue>,
    pub bus: Arc<EmbeddedBus>,
    pub device_state: Arc<FakeDeviceState>,
    pub wakeup: Arc<FakeWakeup>,
    pub files: Arc<FakeFiles>,
    pub config: WorkflowConfig,
    pub service: WorkflowService,
    pub registry: Registry,
    running: Running,
    sessions: u64,
    _dir: tempfile::TempDir,
}

/// Another process on the same ledger and bus.
pub struct Replica {
    pub service: WorkflowService,
    running: Running,
}

impl Replica {
    /// It is told to end, and ends.
    pub async fn end(mut self) {
        self.running.stop.cancel();
        (&mut self.running.task).await.unwrap();
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.running.stop.cancel();
    }
}

struct Running {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

pub fn config() -> WorkflowConfig {
    WorkflowConfig {
        tick: HumanDuration::millis(5),
        ..WorkflowConfig::default()
    }
}

impl World {
    pub async fn new() -> Self {
        Self::with(config()).await
    }

    pub async fn with(config: WorkflowConfig) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::open(EngineOptions::new(dir.path())).unwrap();
        let store = Arc::new(FlakyStore::new(EmbeddedStore::open(&engine).unwrap()));
        let bus = EmbeddedBus::open(engine, EmbeddedOptions::default()).await;
        let bus = Arc::new(bus.unwrap());
        let clock = ManualClock::at(1_800_000_000_000_000);
        let device_state = Arc::new(FakeDeviceState::default());
        let wakeup = Arc::new(FakeWakeup::default());
        let files = Arc::new(FakeFiles::default());
        let registry = Registry::new();
        let queue = Arc::new(FlakyQueue::default());
        let shared = Arc::clone(&queue) as _;
        let deps = deps(&store, shared, &bus, &device_state, &wakeup, &files, &clock);
        let (service, running) = start(deps, &config, &registry, &clock).await;
        Self {
            clock,
            store,
            queue,
            bus,
            device_state,
            wakeup,
            files,
            config,
            service,
            registry,
            running,
            sessions: 0,
            _dir: dir,
        }
    }

    /// The process dies and comes back: only the store and the bus remain.
    pub async fn restart(&mut self) {
        self.running.stop.cancel();
        (&mut self.running.task).await.unwrap();
        self.registry = Registry::new();
        self.queue = Arc::new(FlakyQueue::default());
        let queue = Arc::clone(&self.queue) as _;
        let deps = self.deps(queue);
        let (service, running) = start(deps, &self.config, &self.registry, &self.clock).await;
        self.service = service;
        self.running = running;
    }

    fn deps(&self, queue: Arc<dyn Queue>) -> WorkflowDeps {
        deps(
            &self.store,
            queue,
            &self.bus,
            &self.device_state,
            &self.wakeup,
            &self.files,
            &self.clock,
        )
    }

    /// Another process on the same ledger and bus, and on this queue.
    pub async fn replica(&self, queue: Arc<dyn Queue>) -> Replica {
        let deps = self.deps(queue);
        let (service, running) = start(deps, &self.config, &Registry::new(), &self.clock).await;
        Replica { service, running }
    }

    /// Another process on all the same.
    pub async fn twin(&self) -> Replica {
        self.replica(Arc::clone(&self.queue) as _).await
    }

    pub fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// Makes a task that wakes nobody.
    pub async fn create(&self, kind: Kind) -> String {
        let request = create(kind);
        let made = self.service.create_task(request).await.unwrap();
        made.task.unwrap().id
    }

    pub async fn task(&self, id: &str) -> wf::Task {
        let request = wf::GetTaskRequest {
            tenant: TENANT.into(),
            task: id.into(),
        };
        self.service.get_task(request).await.unwrap().task.unwrap()
    }

    pub async fn state(&self, id: &str) -> TaskState {
        self.task(id).await.state()
    }

    /// Waits until the task is in this state: what time does to it happens behind.
    pub async fn wait_for(&self, id: &str, state: TaskState) -> wf::Task {
        for _ in 0..1000 {
            let task = self.task(id).await;
            if task.state() == state {
                return task;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{:?} never became {state:?}", self.task(id).await);
    }

    pub async fn open(&mut self, cpe: &mut Cpe) -> wf::OpenSessionRequest {
        self.sessions += 1;
        wf::OpenSessionRequest {
            tenant: TENANT.into(),
            device: DEVICE.into(),
            session: format!("s{}", self.sessions),
            events: cpe.inform(),
            parameter_key: cpe.parameter_key.clone(),
            idle_timeout_ms: 30_000,
            ..wf::OpenSessionRequest::default()
        }
    }

    /// Opens a session. Its first turn.
    pub async fn opened(&mut self, cpe: &mut Cpe) -> wf::NextRequestRequest {
        self.clock.advance(Duration::from_millis(10));
        let open = self.open(cpe).await;
        let opened = self.service.open_session(open.clone()).await.unwrap();
        turn(open, opened.epoch)
    }

    /// What this turn is given; `None` when the session is done.
    pub async fn next(&self, turn: &wf::NextRequestRequest) -> Option<wf::Request> {
        request(self.service.next_request(turn.clone()).await.unwrap())
    }

    /// A session from Inform to its end, as the script has it. How many requests there were.
    pub async fn session_as(&mut self, cpe: &mut Cpe, script: Script) -> usize {
        let mut turn = self.opened(cpe).await;
        for transfer in cpe.reports() {
            self.report(transfer).await;
        }
        for change in cpe.unit_reports() {
            self.report_units(change).await;
        }
        for count in 0..10_000 {
            let next = self.next(&turn).await;
            if script.duplicate {
                let again = self.next(&turn).await;
                assert_eq!(next, again, "a repeated turn gets the same");
            }
            let Some(request) = next else {
                cpe.session_ended();
                return count;
            };
            if script.lose == Some((count, Loss::Before)) {
                cpe.session_ended();
                return count;
            }
            let outcome = cpe.outcome(request);
            if script.lose == Some((count, Loss::After)) {
                cpe.session_ended();
                return count;
            }
            turn.outcome = Some(outcome);
        }
        panic!("the session never ends");
    }

    pub async fn session(&mut self, cpe: &mut Cpe) -> usize {
        self.session_as(cpe, Script::default()).await
    }

    pub async fn report(&self, transfer: hearth_proto::events::v1::TransferComplete) -> bool {
        let request = wf::ReportTransferRequest {
            tenant: TENANT.into(),
            device: DEVICE.into(),
            transfer: Some(transfer),
        };
        self.service.report_transfer(request).await.unwrap().known
    }
}

impl World {
    pub async fn report_units(&self, change: hearth_proto::events::v1::DuStateChange) -> bool {
        let request = wf::ReportDuStateChangeRequest {
            tenant: TENANT.into(),
            device: DEVICE.into(),
            change: Some(change),
        };
        let reported = self.service.report_du_state_change(request).await;
        reported.unwrap().known
    }

    /// The field that a refused task's error names.
    pub async fn refused(&self, kind: Kind) -> String {
        let refused = self.service.create_task(create(kind)).await;
        refused.unwrap_err().field
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.running.stop.cancel();
    }
}

fn deps(
    store: &Arc<FlakyStore>,
    queue: Arc<dyn Queue>,
    bus: &Arc<EmbeddedBus>,
    device_state: &Arc<FakeDeviceState>,
    wakeup: &Arc<FakeWakeup>,
    files: &Arc<FakeFiles>,
    clock: &ManualClock,
) -> WorkflowDeps {
    let keys = SecretKeys::from_seed([7; 32]);
    WorkflowDeps {
        store: Arc::clone(store) as Arc<dyn Store>,
        bus: Arc::clone(bus) as Arc<dyn Bus>,
        queue,
        device_state: Arc::clone(device_state) as _,
        wakeup: Arc::clone(wakeup) as _,
        files: Arc::clone(files) as _,
        sealer: keys.sealer(labels::AT_REST).unwrap(),
        clock: clock.shared(),
    }
}

async fn start(
    deps: WorkflowDeps,
    config: &WorkflowConfig,
    registry: &Registry,
    clock: &ManualClock,
) -> (WorkflowService, Running) {
    let (service, runner) = WorkflowService::new(deps, config.clone(), registry).unwrap();
    let stop = CancellationToken::new();
    let readiness = Readiness::new();
    let ctx = ServiceContext {
        stop: stop.clone(),
        readiness: readiness.register("workflow"),
        clock: clock.shared(),
    };
    let task = tokio::spawn(async move { Box::new(runner).run(ctx).await.unwrap() });
    readiness.wait_ready("workflow").await;
    (service, Running { stop, task })
}

pub fn create(kind: Kind) -> wf::CreateTaskRequest {
    wf::CreateTaskRequest {
        tenant: TENANT.into(),
        device: DEVICE.into(),
        spec: Some(TaskSpec { kind: Some(kind) }),
        no_wake: true,
        ..wf::CreateTaskRequest::default()
    }
}

/// The first turn of a session that was opened so, and was given this epoch.
pub fn turn(open: wf::OpenSessionRequest, epoch: u64) -> wf::NextRequestRequest {
    wf::NextRequestRequest {
        tenant: open.tenant,
        device: open.device,
        session: open.session,
        epoch,
        ..wf::NextRequestRequest::default()
    }
}

/// What a turn was given; `None` when the session is done.
pub fn request(next: wf::NextRequestResponse) -> Option<wf::Request> {
    match next.kind.unwrap() {
        Next::Request(request) => Some(request),
        Next::Done(_) => None,
        Next::Fenced(_) => panic!("fenced"),
    }
}

pub fn value(path: &str, value: &str) -> ParameterValue {
    ParameterValue {
        path: path.into(),
        value: value.into(),
        r#type: ValueType::Unspecified.into(),
        sealed: Vec::new(),
    }
}

pub fn now(world: &World) -> i64 {
    world.clock.now_micros()
}
