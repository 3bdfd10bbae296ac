//! Calls that travel together are as good as calls that travel alone. Over real mutual TLS.
#![allow(clippy::unwrap_used)]

mod common;

use async_trait::async_trait;
use common::{Ca, Server, config, peer, serving};
use futures::future::join_all;
use hearth_clients::remote::WorkflowClient;
use hearth_clients::serve::Services;
use hearth_clients::{Error, Kind, Result, ServiceName, Workflow, deadline, with_deadline};
use hearth_proto::workflow::v1 as wf;
use hearth_telemetry::Registry;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Answers OpenSession by its session: `N` takes a few ms, and every fifth fails; `slow` takes long.
#[derive(Default)]
struct Echo {
    begun: AtomicUsize,
    ended: AtomicUsize,
    with_deadline: AtomicUsize,
}

const SLOW: Duration = Duration::from_millis(900);

impl Echo {
    async fn open(&self, session: &str) -> Result<wf::OpenSessionResponse> {
        self.begun.fetch_add(1, Relaxed);
        if deadline().is_some() {
            self.with_deadline.fetch_add(1, Relaxed);
        }
        let number: Option<u64> = session.parse().ok();
        sleep(number.map_or(SLOW, |number| Duration::from_millis(number % 7))).await;
        self.ended.fetch_add(1, Relaxed);
        match number {
            Some(number) if number % 5 == 0 => Err(Error {
                kind: Kind::FailedPrecondition,
                field: format!("field.{number}"),
                message: format!("nö, {number}"),
            }),
            number => Ok(wf::OpenSessionResponse {
                epoch: number.unwrap_or_default(),
                pending: true,
            }),
        }
    }
}

macro_rules! echo {
    ($($method:ident($request:ident) -> $response:ident;)*) => {
        #[async_trait]
        impl Workflow for Echo {
            async fn open_session(&self, request: wf::OpenSessionRequest) -> Result<wf::OpenSessionResponse> {
                self.open(&request.session).await
            }
            $(async fn $method(&self, _: wf::$request) -> Result<wf::$response> {
                Err(Error::internal("not called here"))
            })*
        }
    };
}

echo! {
    next_request(NextRequestRequest) -> NextRequestResponse;
    report_transfer(ReportTransferRequest) -> ReportTransferResponse;
    report_du_state_change(ReportDuStateChangeRequest) -> ReportDuStateChangeResponse;
    create_task(CreateTaskRequest) -> CreateTaskResponse;
    get_task(GetTaskRequest) -> GetTaskResponse;
    list_tasks(ListTasksRequest) -> ListTasksResponse;
    cancel_task(CancelTaskRequest) -> CancelTaskResponse;
    retry_task(RetryTaskRequest) -> RetryTaskResponse;
    forget_device(ForgetDeviceRequest) -> ForgetDeviceResponse;
}

struct World {
    client: WorkflowClient,
    echo: Arc<Echo>,
    registry: Registry,
    _server: Server,
}

impl World {
    /// With a client whose certificate is for these roles.
    async fn new(roles: &[&str]) -> Self {
        let ca = Ca::new();
        let echo = Arc::new(Echo::default());
        let services = Services {
            workflow: Some(echo.clone()),
            ..Services::default()
        };
        let server = Server::start(services, Some(&ca.identity("server")), &config()).await;
        let registry = Registry::new();
        let identity = ca.identity_for("client", roles);
        let to = [server.address];
        let peer = peer(
            ServiceName::Workflow,
            &to,
            Some(identity),
            &config(),
            &registry,
        );
        serving(&peer, 1).await;
        Self {
            client: WorkflowClient(peer),
            echo,
            registry,
            _server: server,
        }
    }

    async fn open(&self, session: impl ToString) -> Result<wf::OpenSessionResponse> {
        let request = wf::OpenSessionRequest {
            session: session.to_string(),
            ..wf::OpenSessionRequest::default()
        };
        self.client.open_session(request).await
    }

    /// The sum of a metric over its labels.
    fn sum(&self, name: &str) -> f64 {
        let text = self.registry.render();
        let lines = text.lines().filter(|line| line.starts_with(name));
        let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        values.sum()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_has_its_own_answer_and_few_messages_carry_all() {
    let world = World::new(&["gateway"]).await;
    let calls = (0..300_u64).map(|number| world.open(number));
    for (number, answer) in (0..).zip(join_all(calls).await) {
        match answer {
            Ok(answer) => assert_eq!(answer.epoch, number),
            Err(error) => {
                assert_eq!(number % 5, 0, "{error}");
                assert_eq!(error.kind, Kind::FailedPrecondition);
                assert_eq!(error.field, format!("field.{number}"));
                assert_eq!(error.message, format!("nö, {number}"));
            }
        }
    }
    assert_eq!(world.echo.ended.load(Relaxed), 300, "each once");
    assert_eq!(world.echo.with_deadline.load(Relaxed), 300);
    assert_eq!(world.sum("hearth_internal_client_calls_total{"), 300.0);
    let together = world.sum("hearth_internal_client_together_calls_total{");
    let messages = world.sum("hearth_internal_client_together_total{");
    assert!(together > 200.0, "{together} together");
    assert!(messages < together / 4.0, "{messages} messages");
}

#[tokio::test]
async fn a_slow_call_holds_up_no_other_and_has_its_own_deadline() {
    let world = World::new(&["gateway"]).await;
    let begun = Instant::now();
    let fast = async {
        sleep(Duration::from_millis(5)).await;
        let calls = (1..5_u64).map(|number| world.open(number));
        for answer in join_all(calls).await {
            answer.unwrap();
        }
        begun.elapsed()
    };
    let soon = Some(begun + Duration::from_millis(300));
    // The first goes by itself, the second with others.
    let (first, late, fast) = tokio::join!(
        world.open("slow"),
        async {
            sleep(Duration::from_millis(5)).await;
            with_deadline(soon, world.open("slow")).await
        },
        fast
    );
    first.unwrap();
    let error = late.unwrap_err();
    assert!(error.message.contains("in time"), "{error}");
    assert!(fast < SLOW / 2, "{fast:?}");
    // It was begun, so that it runs to its end.
    sleep(SLOW).await;
    assert_eq!(world.echo.begun.load(Relaxed), 6);
    assert_eq!(world.echo.ended.load(Relaxed), 6);
}

#[tokio::test]
async fn one_that_may_not_call_may_not_in_company() {
    let world = World::new(&["wakeup"]).await;
    let calls = (1..100_u64).map(|number| world.open(number));
    for answer in join_all(calls).await {
        let error = answer.unwrap_err();
        assert!(error.message.contains("refused this process"), "{error}");
    }
    assert_eq!(world.echo.begun.load(Relaxed), 0);
}

#[tokio::test]
async fn a_replica_that_knows_no_company_gets_each_call_alone() {
    let ca = Ca::new();
    let echo = Arc::new(Echo::default());
    let services = Services {
        workflow: Some(echo.clone()),
        ..Services::default()
    };
    let identity = ca.identity("server");
    let server = Server::start_older(services, Some(&identity), &config()).await;
    let registry = Registry::new();
    let to = [server.address];
    let identity = Some(ca.identity("client"));
    let peer = peer(ServiceName::Workflow, &to, identity, &config(), &registry);
    serving(&peer, 1).await;
    let world = World {
        client: WorkflowClient(peer),
        echo,
        registry,
        _server: server,
    };
    for _ in 0..2 {
        let calls = (1..50_u64).map(|number| world.open(number));
        for (number, answer) in (1..).zip(join_all(calls).await) {
            assert_eq!(answer.is_ok(), number % 5 != 0);
        }
    }
    assert_eq!(world.echo.ended.load(Relaxed), 98, "each once");
    assert!(world.sum("hearth_internal_client_together_total{") <= 2.0);
}
