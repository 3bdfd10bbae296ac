//! How fast devices with 1,000 parameters go into CQL, by rows in a batch, and what they take there:
//!
//! ```text
//! HEARTH_TEST_CQL=127.0.0.1:9042 cargo run --release -p hearth-store --example cql_writes
//! ```
//!
//! Arguments: devices for each batch size (200), devices written at once (8). The keyspace is its
//! own; it stays, so that its size can be read. With 0 devices it is only dropped.

#![allow(clippy::unwrap_used, clippy::cast_precision_loss)]

use std::time::{Duration, Instant};

use futures::StreamExt;
use hearth_store::{
    Cell, CellValue, CqlConfig, CqlStore, DeviceColumn, Mutation, ParameterCell, Store,
};
use hearth_telemetry::Registry;
use hearth_types::{DeviceKey, TenantId, Timestamp, ValueType};
use scylla::client::session_builder::SessionBuilder;

const KEYSPACE: &str = "hearth_measure";
const PARAMETERS: usize = 1000;

#[tokio::main]
async fn main() {
    let Ok(node) = std::env::var("HEARTH_TEST_CQL") else {
        println!("SKIPPED: HEARTH_TEST_CQL is not set");
        return;
    };
    let mut arguments = std::env::args().skip(1);
    let mut number = |default| {
        arguments
            .next()
            .map_or(default, |text| text.parse().unwrap())
    };
    let (devices, at_once): (usize, usize) = (number(200), number(8));
    let session = SessionBuilder::new()
        .known_node(&node)
        .build()
        .await
        .unwrap();
    let mut drop = scylla::statement::unprepared::Statement::new(format!(
        "DROP KEYSPACE IF EXISTS {KEYSPACE}"
    ));
    drop.set_request_timeout(Some(Duration::from_secs(60)));
    session.query_unpaged(drop, ()).await.unwrap();
    if devices == 0 {
        return;
    }
    for (round, rows) in [1_usize, 10, 50, 100, 200, 500].into_iter().enumerate() {
        let config = CqlConfig {
            nodes: vec![node.clone()],
            keyspace: KEYSPACE.into(),
            batch_rows: rows,
            ..CqlConfig::default()
        };
        let store = open(&config).await;
        // Single rows are slow: fewer of them say as much.
        let devices = if rows == 1 {
            devices.div_ceil(5)
        } else {
            devices
        };
        let seconds = full(&store, round, devices, at_once).await;
        let cells = (devices * PARAMETERS) as f64;
        println!(
            "{rows:4} rows a batch: {:7.1} devices/s, {:9.0} parameters/s",
            devices as f64 / seconds,
            cells / seconds
        );
    }
    let config = CqlConfig {
        nodes: vec![node],
        keyspace: KEYSPACE.into(),
        ..CqlConfig::default()
    };
    let store = open(&config).await;
    idle(&store, at_once).await;
    read(&store, devices).await;
    // Onto the disk, where the sizes can be read.
    for table in ["device", "device_list", "parameter"] {
        let text =
            format!("ALTER TABLE {KEYSPACE}.{table} WITH memtable_flush_period_in_ms = 1000");
        session.query_unpaged(text, ()).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    println!(
        "the keyspace {KEYSPACE} holds {} devices",
        devices * 5 + devices.div_ceil(5)
    );
}

async fn open(config: &CqlConfig) -> CqlStore {
    let day = Duration::from_secs(86_400);
    CqlStore::connect(config, day, &Registry::new())
        .await
        .unwrap()
}

fn device(round: usize, n: usize) -> DeviceKey {
    let id = format!("001122-Router-{round}X{n:06}").parse().unwrap();
    DeviceKey::new(TenantId::default(), id)
}

fn now() -> Timestamp {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Timestamp::ZERO.saturating_add(now.unwrap())
}

fn cells(device: DeviceKey, cells: &[(DeviceColumn, CellValue)]) -> Mutation {
    let time = now();
    let cells = cells.iter().cloned();
    let cells = cells.map(|(column, value)| (column, Cell { value, time }));
    Mutation::Device {
        device,
        cells: cells.collect(),
    }
}

/// All that a new device brings.
fn device_writes(device: &DeviceKey) -> Vec<Mutation> {
    let text = |text: &str| CellValue::Text(text.to_owned());
    let mut writes = vec![cells(
        device.clone(),
        &[
            (DeviceColumn::Manufacturer, text("Example Networks")),
            (DeviceColumn::SerialNumber, text(device.device.as_str())),
            (DeviceColumn::SoftwareVersion, text("1.2.3")),
            (DeviceColumn::LastSeen, CellValue::Int(now().as_micros())),
        ],
    )];
    let time = now();
    writes.extend((0..PARAMETERS).map(|p| Mutation::Parameter {
        device: device.clone(),
        path: format!(
            "Device.WiFi.AccessPoint.{}.AssociatedDevice.{}.SignalStrength",
            p / 50,
            p
        ),
        time,
        cells: vec![
            ParameterCell::Value {
                text: format!("-{p}"),
                value_type: ValueType::Int,
                sealed: Vec::new(),
            },
            ParameterCell::Writable(p % 3 == 0),
        ],
    }));
    writes
}

/// Writes new devices; the seconds it took.
async fn full(store: &CqlStore, round: usize, devices: usize, at_once: usize) -> f64 {
    let started = Instant::now();
    let writes = (0..devices).map(|n| store.write(device_writes(&device(round, n))));
    let mut writes = futures::stream::iter(writes).buffer_unordered(at_once);
    while let Some(done) = writes.next().await {
        done.unwrap();
    }
    started.elapsed().as_secs_f64()
}

/// What idle Informs write: flushes of 200 devices' last-seen cells.
async fn idle(store: &CqlStore, at_once: usize) {
    let started = Instant::now();
    let flushes = 100;
    let writes = (0..flushes).map(|_| {
        let seen = |n| {
            let time = CellValue::Int(now().as_micros());
            let seen = (DeviceColumn::LastSeen, time.clone());
            cells(device(1, n), &[seen, (DeviceColumn::LastInform, time)])
        };
        store.write((0..200).map(seen).collect())
    });
    let mut writes = futures::stream::iter(writes).buffer_unordered(at_once);
    while let Some(done) = writes.next().await {
        done.unwrap();
    }
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "last seen: {:.0} devices/s",
        f64::from(flushes * 200) / seconds
    );
}

async fn read(store: &CqlStore, devices: usize) {
    let started = Instant::now();
    for n in 0..devices {
        let found = store.parameters(&device(3, n), "", None, PARAMETERS).await;
        assert_eq!(found.unwrap().len(), PARAMETERS);
    }
    let each = started.elapsed().as_secs_f64() / devices as f64;
    println!(
        "reading 1,000 parameters of a device: {:.1} ms",
        each * 1000.0
    );
}
