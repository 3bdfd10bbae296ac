//! What device-state asks of the store most: flushes of last-seen cells, and reads of a device.

#![allow(clippy::unwrap_used, missing_docs)]

use divan::Bencher;
use hearth_engine::{Engine, EngineOptions};
use hearth_store::{Cell, CellValue, DeviceColumn, EmbeddedStore, Mutation, ParameterCell, Store};
use hearth_types::{DeviceKey, TenantId, Timestamp, ValueType};
use tokio::runtime::Runtime;

fn main() {
    divan::main();
}

struct Home {
    _dir: tempfile::TempDir,
    runtime: Runtime,
    store: EmbeddedStore,
}

fn home() -> Home {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(EngineOptions::new(dir.path())).unwrap();
    let store = EmbeddedStore::open(&engine).unwrap();
    let runtime = Runtime::new().unwrap();
    Home {
        _dir: dir,
        runtime,
        store,
    }
}

fn device(n: usize) -> DeviceKey {
    let id = format!("001122-X-{n}").parse().unwrap();
    DeviceKey::new(TenantId::default(), id)
}

fn seen(n: usize, time: i64) -> Mutation {
    let time = Timestamp::from_micros(time);
    let cell = |value| Cell { value, time };
    Mutation::Device {
        device: device(n),
        cells: vec![
            (
                DeviceColumn::LastSeen,
                cell(CellValue::Int(time.as_micros())),
            ),
            (
                DeviceColumn::LastInform,
                cell(CellValue::Int(time.as_micros())),
            ),
            (DeviceColumn::InformCount, cell(CellValue::Int(7))),
        ],
    }
}

fn parameters(n: usize, time: i64) -> Vec<Mutation> {
    (0..1000)
        .map(|p| Mutation::Parameter {
            device: device(n),
            path: format!("Device.WiFi.AccessPoint.{p}.AssociatedDeviceNumberOfEntries"),
            time: Timestamp::from_micros(time),
            cells: vec![ParameterCell::Value {
                text: format!("value {p}"),
                value_type: ValueType::UnsignedInt,
                sealed: Vec::new(),
            }],
        })
        .collect()
}

/// A flush of last-seen cells of known devices.
#[divan::bench(args = [100, 1000], sample_count = 30)]
fn flush_last_seen(bencher: Bencher<'_, '_>, devices: usize) {
    let home = home();
    let mut time = 1;
    let batch = |time| (0..devices).map(|n| seen(n, time)).collect::<Vec<_>>();
    home.runtime
        .block_on(home.store.write(batch(time)))
        .unwrap();
    bencher
        .counter(devices)
        .with_inputs(|| {
            time += 1;
            batch(time)
        })
        .bench_local_values(|batch| home.runtime.block_on(home.store.write(batch)).unwrap());
}

/// All 1,000 parameters of a device.
#[divan::bench(sample_count = 100)]
fn read_1000_parameters(bencher: Bencher<'_, '_>) {
    let home = home();
    home.runtime
        .block_on(home.store.write(parameters(1, 1)))
        .unwrap();
    let device = device(1);
    bencher.bench_local(|| {
        let read = home.store.parameters(&device, "", None, 1000);
        assert_eq!(home.runtime.block_on(read).unwrap().len(), 1000);
    });
}

/// A fresh device's 1,000 parameters.
#[divan::bench(sample_count = 30)]
fn write_1000_parameters(bencher: Bencher<'_, '_>) {
    let home = home();
    let mut n = 0;
    bencher
        .with_inputs(|| {
            n += 1;
            parameters(n, 1)
        })
        .bench_local_values(|batch| home.runtime.block_on(home.store.write(batch)).unwrap());
}
