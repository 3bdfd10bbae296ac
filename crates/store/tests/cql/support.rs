//! A keyspace for each test, and small writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use hearth_config::HumanDuration;
use hearth_store::{Cell, CellValue, CqlConfig, CqlStore, DeviceColumn, Mutation, ParameterCell};
use hearth_telemetry::Registry;
use hearth_types::{DeviceKey, TenantId, Timestamp, ValueType};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::policies::host_filter::AllowListHostFilter;
use scylla::value::CqlValue;

pub const HISTORY: Duration = Duration::from_secs(90 * 24 * 3600);

/// Where a node is; says so when there is none.
pub fn node() -> Option<String> {
    let node = std::env::var("HEARTH_TEST_CQL").ok();
    if node.is_none() {
        eprintln!("SKIPPED: HEARTH_TEST_CQL is not set");
    }
    node
}

/// A keyspace, dropped at the end.
pub struct Keyspace {
    pub node: String,
    name: String,
    session: Session,
}

impl Keyspace {
    pub async fn new(node: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("hearth_test_{}_{number}", std::process::id());
        let session = SessionBuilder::new()
            .known_node(node)
            .build()
            .await
            .unwrap();
        let keyspace = Self {
            node: node.to_owned(),
            name,
            session,
        };
        keyspace.run("DROP KEYSPACE IF EXISTS $").await;
        keyspace
    }

    /// `$` stands for the keyspace.
    pub async fn run(&self, text: &str) {
        let mut statement =
            scylla::statement::unprepared::Statement::new(text.replace('$', &self.name));
        statement.set_request_timeout(Some(Duration::from_secs(60)));
        self.session.query_unpaged(statement, ()).await.unwrap();
    }

    /// The number that a query answers.
    pub async fn number(&self, text: &str) -> i64 {
        let text = text.replace('$', &self.name);
        let rows = self.session.query_unpaged(text, ()).await.unwrap();
        let rows = rows.into_rows_result().unwrap();
        rows.single_row::<(i64,)>().unwrap().0
    }

    pub fn config(&self) -> CqlConfig {
        CqlConfig {
            nodes: vec![self.node.clone()],
            keyspace: self.name.clone(),
            connect_timeout: HumanDuration::secs(30),
            ..CqlConfig::default()
        }
    }

    pub async fn store(&self) -> CqlStore {
        CqlStore::connect(&self.config(), HISTORY, &Registry::new())
            .await
            .unwrap()
    }

    /// The ids that this node, asked alone, knows the keyspace's tables by.
    pub async fn ids_known_by(&self, node: &str) -> Vec<(String, String)> {
        let one: std::net::SocketAddr = node.parse().unwrap();
        let filter = AllowListHostFilter::new([one]).unwrap();
        let session = SessionBuilder::new().known_node_addr(one);
        let session = session.host_filter(Arc::new(filter));
        let session = session.build().await.unwrap();
        let text = "SELECT table_name, id FROM system_schema.tables WHERE keyspace_name = ?";
        let rows = session.query_unpaged(text, (&self.name,)).await.unwrap();
        let rows = rows.into_rows_result().unwrap();
        let rows = rows.rows::<(String, CqlValue)>().unwrap();
        rows.map(Result::unwrap)
            .map(|(name, id)| (name, id.to_string()))
            .collect()
    }

    pub async fn drop(self) {
        self.run("DROP KEYSPACE IF EXISTS $").await;
    }
}

pub fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

pub fn device(n: u32) -> DeviceKey {
    let id = format!("001122-X-{n}").parse().unwrap();
    DeviceKey::new(TenantId::default(), id)
}

pub fn cell(device: &DeviceKey, column: DeviceColumn, value: CellValue, time: i64) -> Mutation {
    let time = at(time);
    Mutation::Device {
        device: device.clone(),
        cells: vec![(column, Cell { value, time })],
    }
}

pub fn value(device: &DeviceKey, path: String, time: i64, text: &str) -> Mutation {
    Mutation::Parameter {
        device: device.clone(),
        path,
        time: at(time),
        cells: vec![ParameterCell::Value {
            text: text.to_owned(),
            value_type: ValueType::String,
            sealed: Vec::new(),
        }],
    }
}
