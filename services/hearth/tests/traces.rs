//! One trace for a CWMP session through roles that are processes of their own, as a collector gets it: OTLP over gRPC,
//! over a socket. Skipped without real servers (`apart`).

use crate::apart::{Process, common};
use hearth_server::demo;
use hearth_server::roles::Role;
use hearth_sim::FleetOptions;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// Keeps what it is sent.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Span>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let resources = request.into_inner().resource_spans.into_iter();
        let scopes = resources.flat_map(|resource| resource.scope_spans);
        let spans = scopes.flat_map(|scope| scope.spans);
        self.0.lock().unwrap().extend(spans);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    /// Begins to listen; its address.
    async fn listen(&self) -> SocketAddr {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = tokio::net::TcpListener::bind(any).await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = TraceServiceServer::new(self.clone());
        let server = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
        address
    }

    /// The spans of each trace.
    fn traces(&self) -> Vec<Trace> {
        let mut traces: BTreeMap<Vec<u8>, Trace> = BTreeMap::new();
        for span in self.0.lock().unwrap().drain(..) {
            let trace = traces.entry(span.trace_id.clone()).or_default();
            trace.0.insert(span.span_id.clone(), span);
        }
        traces.into_values().collect()
    }
}

/// One trace's spans by their ids.
#[derive(Default)]
struct Trace(BTreeMap<Vec<u8>, Span>);

impl Trace {
    /// The names from a span up to the root; one that names a parent which is not there ends with `?`.
    fn chain(&self, span: &Span) -> Vec<&str> {
        let mut names = Vec::new();
        let mut at = self.0.get(&span.span_id);
        while let Some(span) = at {
            names.push(span.name.as_str());
            if span.parent_span_id.is_empty() {
                return names;
            }
            at = self.0.get(&span.parent_span_id);
        }
        names.push("?");
        names
    }

    /// The chains of all spans to this system (`db.system.name`).
    fn to(&self, system: &str) -> Vec<Vec<&str>> {
        let is_to = |span: &&Span| attribute(span, "db.system.name") == Some(system);
        let found = self.0.values().filter(is_to);
        found.map(|span| self.chain(span)).collect()
    }

    fn chains(&self) -> BTreeSet<Vec<&str>> {
        self.0.values().map(|span| self.chain(span)).collect()
    }
}

fn attribute<'a>(span: &'a Span, key: &str) -> Option<&'a str> {
    let found = span.attributes.iter().find(|pair| pair.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_is_one_trace_through_all_roles() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mut common) = common(dir.path()) else {
        return;
    };
    let collector = Collector::default();
    common.log.filter = std::env::var("HEARTH_LOG__FILTER").unwrap_or_else(|_| "warn".into());
    common.trace.endpoint = Some(format!("http://{}", collector.listen().await));
    common.trace.sample = 1.0;
    let traces = hearth_telemetry::init_logs_and_traces(&common.log, &common.trace).unwrap();

    let devices = Process::start(&common, &[Role::DeviceState]).await;
    common.internal.peers.device_state = vec![devices.internal()];
    let wakeup = Process::start(&common, &[Role::Wakeup]).await;
    common.internal.peers.wakeup = vec![wakeup.internal()];
    let files = Process::start(&common, &[Role::Files]).await;
    common.internal.peers.files = vec![files.internal()];
    let workflow = Process::start(&common, &[Role::Workflow]).await;
    common.internal.peers.workflow = vec![workflow.internal()];
    let api = Process::start(&common, &[Role::Northbound]).await;
    let gateway = Process::start(&common, &[Role::Gateway]).await;

    let (username, password) = devices.onboarding.clone().unwrap();
    let fleet = FleetOptions {
        username,
        password,
        count: 2,
        ..FleetOptions::new(format!("http://{}/", gateway.addresses.cwmp.unwrap()))
    };
    let (address, token) = (api.addresses.api.unwrap(), api.token.clone().unwrap());
    demo::tour_of(address, &token, fleet).await.unwrap();
    for process in [gateway, api, workflow, files, wakeup, devices] {
        process.end().await;
    }
    tokio::task::spawn_blocking(|| traces.close())
        .await
        .unwrap();
    check(&collector.traces());
}

/// What a turn is in.
const TURN: [&str; 2] = ["CWMP turn", "CWMP session"];

fn check(traces: &[Trace]) {
    let in_turn = |chain: &Vec<&str>, first: &str| chain[0] == first && chain.ends_with(&TURN);
    let whole = |trace: &&Trace| {
        let applied = trace.chains().iter().any(|chain| chain[0] == "apply event");
        let redis = trace.to("redis");
        let claims = redis.iter().any(|chain| chain[0] == "claim");
        applied && claims && !trace.to("cassandra").is_empty()
    };
    let Some(trace) = traces.iter().find(whole) else {
        let all: Vec<_> = traces.iter().map(Trace::chains).collect();
        panic!("no session has all of it: {all:#?}");
    };
    let chains = trace.chains();
    println!("{chains:#?}");
    for chain in &chains {
        assert_eq!(chain.last(), Some(&"CWMP session"), "{chain:?}");
    }
    // Gateway, bus, device-state: the event knows the turn by its header.
    let mut applied = vec!["apply event", "publish"];
    applied.extend(TURN);
    assert!(chains.contains(&applied), "{chains:#?}");
    // Gateway, workflow by gRPC, queue: beside the turn and the request there is the call alone.
    let redis = trace.to("redis");
    assert!(
        redis.iter().any(|chain| in_turn(chain, "open")),
        "{redis:#?}"
    );
    assert!(redis.iter().all(|chain| chain.len() == 4), "{redis:#?}");
    // ... and the ledger.
    let cassandra = trace.to("cassandra");
    let ledger = |chain: &Vec<&str>| chain[0].starts_with("task") && chain.len() == 4;
    assert!(cassandra.iter().any(ledger), "{cassandra:#?}");
    let mut callers: BTreeSet<&str> = redis.iter().map(|chain| chain[1]).collect();
    callers.extend(cassandra.iter().map(|chain| chain[1]));
    assert!(callers.contains("OpenSession"), "{callers:?}");
}
