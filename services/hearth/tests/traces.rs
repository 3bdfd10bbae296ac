//! One trace for a CWMP session through roles that are processes of their own and over turns that go to this gateway and
//! that one, as a collector gets it: OTLP over gRPC, over a socket. Skipped without real servers (`apart`).

use crate::apart::{Process, common};
use hearth_server::config::HearthConfig;
use hearth_server::demo;
use hearth_server::roles::Role;
use hearth_sim::kill::process::{Ports, Server};
use hearth_sim::{Behaviour, Dice, FleetOptions};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// Keeps what it is sent, with the process that each span is from.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<(String, Span)>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for sent in request.into_inner().resource_spans {
            let resource = sent.resource.unwrap_or_default().attributes;
            let instance = attribute(&resource, "service.instance.id").unwrap();
            let spans = sent.scope_spans.into_iter().flat_map(|scope| scope.spans);
            let spans = spans.map(|span| (instance.to_owned(), span));
            self.0.lock().unwrap().extend(spans);
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    /// Begins to listen; its address.
    async fn listen(&self) -> SocketAddr {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = TcpListener::bind(any).await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = TraceServiceServer::new(self.clone());
        let server = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
        address
    }

    /// The spans of each trace.
    fn traces(&self) -> Vec<Trace> {
        let mut traces: BTreeMap<Vec<u8>, Trace> = BTreeMap::new();
        for (instance, span) in self.0.lock().unwrap().drain(..) {
            let trace = traces.entry(span.trace_id.clone()).or_default();
            if span.name == TURN[0] {
                trace.turns.push(instance);
            }
            trace.spans.insert(span.span_id.clone(), span);
        }
        traces.into_values().collect()
    }
}

/// One trace.
#[derive(Default)]
struct Trace {
    /// By their ids.
    spans: BTreeMap<Vec<u8>, Span>,
    /// Which process each turn was in.
    turns: Vec<String>,
}

impl Trace {
    /// The names from a span up to the root; one that names a parent which is not there ends with `?`.
    fn chain(&self, span: &Span) -> Vec<&str> {
        let mut names = Vec::new();
        let mut at = self.spans.get(&span.span_id);
        while let Some(span) = at {
            names.push(span.name.as_str());
            if span.parent_span_id.is_empty() {
                return names;
            }
            at = self.spans.get(&span.parent_span_id);
        }
        names.push("?");
        names
    }

    /// The chains of all spans to this system (`db.system.name`).
    fn to(&self, system: &str) -> Vec<Vec<&str>> {
        let is_to = |span: &&Span| attribute(&span.attributes, "db.system.name") == Some(system);
        let found = self.spans.values().filter(is_to);
        found.map(|span| self.chain(span)).collect()
    }

    fn chains(&self) -> BTreeSet<Vec<&str>> {
        self.spans.values().map(|span| self.chain(span)).collect()
    }
}

fn attribute<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a str> {
    let found = attributes.iter().find(|pair| pair.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

/// A gateway that is a process of the system: only such a one has spans of its own.
async fn gateway(common: &HearthConfig, dir: &Path, number: u64) -> Server {
    let config = HearthConfig {
        roles: vec![Role::Gateway],
        ..common.clone()
    };
    // A server reads this file where it starts, which is where its log is.
    std::fs::create_dir_all(dir).unwrap();
    let config = toml::Table::try_from(config).unwrap().to_string();
    std::fs::write(dir.join("hearth.toml"), config).unwrap();
    let seed = u64::from(std::process::id()) << 8;
    let ports = Ports::free(&mut Dice::new(seed + number)).unwrap();
    let binary = Path::new(env!("CARGO_BIN_EXE_hearth"));
    let (data, log) = (dir.join("data"), dir.join("log"));
    let mut server = Server::new(binary, &data, &log, Vec::new(), ports).unwrap();
    let started = server.start().unwrap();
    let ready = server.ready(started, Duration::from_secs(60));
    ready.await.unwrap();
    server
}

/// What stands before gateways: gives them connections in turn. Its address.
async fn in_turn(gateways: [SocketAddr; 2]) -> SocketAddr {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listener = TcpListener::bind(any).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for to in gateways.into_iter().cycle() {
            let (mut from, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut to = TcpStream::connect(to).await.unwrap();
                // A device that hangs up is no failure.
                let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
            });
        }
    });
    address
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

    let devices = Process::join(&mut common, &[Role::DeviceState]).await;
    let wakeup = Process::join(&mut common, &[Role::Wakeup]).await;
    let files = Process::join(&mut common, &[Role::Files]).await;
    let workflow = Process::join(&mut common, &[Role::Workflow]).await;
    let api = Process::start(&common, &[Role::Northbound]).await;
    let mut gateways = [
        gateway(&common, &dir.path().join("gateway-1"), 1).await,
        gateway(&common, &dir.path().join("gateway-2"), 2).await,
    ];
    let addresses = gateways
        .each_ref()
        .map(|gateway| SocketAddr::from((Ipv4Addr::LOCALHOST, gateway.ports.cwmp)));
    let edge = in_turn(addresses).await;

    let (username, password) = devices.onboarding.clone().unwrap();
    let fleet = FleetOptions {
        username,
        password,
        count: 2,
        behaviour: Behaviour {
            connection_per_turn: true,
            ..Behaviour::default()
        },
        ..FleetOptions::new(format!("http://{edge}/"))
    };
    let (address, token) = (api.addresses.api.unwrap(), api.token.clone().unwrap());
    demo::tour_of(address, &token, fleet).await.unwrap();
    for gateway in &mut gateways {
        gateway.stop(Duration::from_secs(40)).await.unwrap();
    }
    for process in [api, workflow, files, wakeup, devices] {
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
        let gateways: BTreeSet<&String> = trace.turns.iter().collect();
        let apart = trace.turns.len() >= 3 && gateways.len() == 2;
        apart && applied && claims && !trace.to("cassandra").is_empty()
    };
    let Some(trace) = traces.iter().find(whole) else {
        let all = traces.iter().map(|trace| (&trace.turns, trace.chains()));
        let all: Vec<_> = all.collect();
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
