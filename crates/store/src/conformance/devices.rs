//! Devices, counts, history.

use std::sync::Arc;

use hearth_types::{DeviceKey, Timestamp};

use super::{at, cells, history, id, index, key, parameters, tenant};
use crate::{CellValue, DeviceColumn, HistoryQuery, Mutation, Store};

fn now() -> Timestamp {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Timestamp::ZERO.saturating_add(now.unwrap())
}

async fn version(store: &dyn Store, device: &DeviceKey) -> String {
    let row = store.device(device).await.unwrap().unwrap();
    match &row[&DeviceColumn::SoftwareVersion].value {
        CellValue::Text(text) => text.clone(),
        other => panic!("{other:?}"),
    }
}

pub async fn later_cells_stay_in_any_order(store: Arc<dyn Store>) {
    for (n, order) in [[1, 2, 3], [3, 2, 1], [2, 3, 1]].into_iter().enumerate() {
        let device = key("a", &format!("001122-X-{n}"));
        for time in order {
            let write = vec![cells(&device, time, &format!("v{time}"))];
            store.write(write.clone()).await.unwrap();
            store.write(write).await.unwrap();
        }
        assert_eq!(version(&*store, &device).await, "v3", "{order:?}");
    }
    let device = key("a", "001122-X-batch");
    let batch = [3, 1, 2].map(|t| cells(&device, t, &format!("v{t}")));
    store.write(batch.to_vec()).await.unwrap();
    assert_eq!(version(&*store, &device).await, "v3", "in one batch");
}

pub async fn equal_times_are_decided_the_same_way(store: Arc<dyn Store>) {
    let (one, two) = (key("a", "001122-X-1"), key("a", "001122-X-2"));
    for value in ["a", "b"] {
        store.write(vec![cells(&one, 7, value)]).await.unwrap();
    }
    for value in ["b", "a"] {
        store.write(vec![cells(&two, 7, value)]).await.unwrap();
    }
    assert_eq!(version(&*store, &one).await, "b", "the greater one");
    assert_eq!(version(&*store, &two).await, "b", "the greater one");
}

pub async fn devices_are_listed_in_pages(store: Arc<dyn Store>) {
    let of = tenant("a");
    for n in [4, 2, 0, 1, 3] {
        let device = key("a", &format!("001122-X-{n}"));
        store.write(vec![cells(&device, 1, "v")]).await.unwrap();
    }
    let other = cells(&key("ab", "001122-X-9"), 1, "v");
    store.write(vec![other]).await.unwrap();
    let first = store.devices(&of, None, 3).await.unwrap();
    let ids: Vec<_> = first.iter().map(|(d, _)| d.as_str()).collect();
    assert_eq!(ids, ["001122-X-0", "001122-X-1", "001122-X-2"]);
    let second = store.devices(&of, Some(&first[2].0), 3).await.unwrap();
    let ids: Vec<_> = second.iter().map(|(d, _)| d.as_str()).collect();
    assert_eq!(ids, ["001122-X-3", "001122-X-4"], "and no other tenant's");
    assert!(store.devices(&of, None, 0).await.unwrap().is_empty());
    let tenants = store.tenants().await.unwrap();
    assert_eq!(tenants, [tenant("a"), tenant("ab")]);
}

pub async fn pages_go_on_while_rows_come_and_go(store: Arc<dyn Store>) {
    let of = tenant("a");
    for n in [1, 3, 5, 7] {
        let device = key("a", &format!("001122-X-{n}"));
        store.write(vec![cells(&device, 1, "v")]).await.unwrap();
    }
    let page = store.devices(&of, None, 2).await.unwrap();
    let last = &page[1].0;
    // Before the place, behind it, and the place itself goes.
    for n in [2, 4] {
        let device = key("a", &format!("001122-X-{n}"));
        store.write(vec![cells(&device, 1, "v")]).await.unwrap();
    }
    store.delete_device(&key("a", "001122-X-3")).await.unwrap();
    let page = store.devices(&of, Some(last), 10).await.unwrap();
    let ids: Vec<_> = page.iter().map(|(d, _)| d.as_str()).collect();
    assert_eq!(ids, ["001122-X-4", "001122-X-5", "001122-X-7"]);
}

pub async fn devices_are_counted(store: Arc<dyn Store>) {
    let of = tenant("a");
    assert_eq!(store.device_count(&of).await.unwrap(), 0);
    let mut writes = tokio::task::JoinSet::new();
    for n in 0..50 {
        let (store, device) = (store.clone(), key("a", &format!("001122-X-{n}")));
        writes.spawn(async move {
            let twice = vec![cells(&device, 1, "v"), cells(&device, 2, "v")];
            store.write(twice).await.unwrap();
            store.write(vec![cells(&device, 3, "v")]).await.unwrap();
        });
    }
    while let Some(done) = writes.join_next().await {
        done.unwrap();
    }
    assert_eq!(store.device_count(&of).await.unwrap(), 50);
    // A parameter alone makes no device.
    let ghost = key("a", "001122-X-ghost");
    let write = vec![parameters::value(&ghost, "Device.X", 1, "x")];
    store.write(write).await.unwrap();
    assert_eq!(store.device(&ghost).await.unwrap(), None);
    assert_eq!(store.device_count(&of).await.unwrap(), 50);
    for _ in 0..2 {
        store.delete_device(&key("a", "001122-X-7")).await.unwrap();
    }
    assert_eq!(store.device_count(&of).await.unwrap(), 49);
}

pub async fn a_deleted_device_is_gone(store: Arc<dyn Store>) {
    let (device, kept) = (key("a", "001122-X-1"), key("a", "001122-X-11"));
    for device in [&device, &kept] {
        store
            .write(vec![
                cells(device, 1, "v"),
                parameters::value(device, "Device.X", 1, "x"),
                history(device, 1, 1, ""),
                index::entry(device, "tag", "t", 1, false),
            ])
            .await
            .unwrap();
    }
    store.delete_device(&device).await.unwrap();
    assert_eq!(store.device(&device).await.unwrap(), None);
    let found = store.parameters(&device, "", None, 9).await.unwrap();
    assert!(found.is_empty(), "{found:?}");
    let found = store.history(&all_history(&device)).await.unwrap();
    assert!(found.is_empty(), "{found:?}");
    assert!(store.index_of(&device).await.unwrap().is_empty());
    let found = store
        .search(&index::query("tag", "t", false))
        .await
        .unwrap();
    assert_eq!(found, [("t".to_owned(), id("001122-X-11"))]);
    let found = store.parameters(&kept, "", None, 9).await.unwrap();
    assert_eq!(found.len(), 1, "the neighbour stays");
    // It may come back, by what happens later.
    let later = now().as_micros() + 1_000_000;
    store.write(vec![cells(&device, later, "v")]).await.unwrap();
    assert!(store.device(&device).await.unwrap().is_some());
}

pub fn all_history(device: &DeviceKey) -> HistoryQuery {
    HistoryQuery {
        device: device.clone(),
        path: None,
        since: Timestamp::ZERO,
        until: Timestamp::ZERO,
        before: None,
        limit: 100,
    }
}

async fn entries(store: &dyn Store, query: &HistoryQuery) -> Vec<(i64, u64)> {
    let rows = store.history(query).await.unwrap();
    rows.iter().map(|r| (r.time.as_micros(), r.id)).collect()
}

pub async fn history_is_newest_first(store: Arc<dyn Store>) {
    let device = key("a", "001122-X-1");
    let writes: Vec<Mutation> = [(2, 1), (1, 9), (3, 1), (2, 2)]
        .into_iter()
        .map(|(time, id)| history(&device, time, id, "Device.X"))
        .collect();
    for _ in 0..2 {
        // Again: the same entries.
        store.write(writes.clone()).await.unwrap();
    }
    let other = history(&key("a", "001122-X-12"), 2, 1, "");
    store.write(vec![other]).await.unwrap();
    let mut query = all_history(&device);
    assert_eq!(
        entries(&*store, &query).await,
        [(3, 1), (2, 2), (2, 1), (1, 9)]
    );
    query.limit = 2;
    assert_eq!(entries(&*store, &query).await, [(3, 1), (2, 2)]);
    query.before = Some((at(2), 2));
    assert_eq!(entries(&*store, &query).await, [(2, 1), (1, 9)]);
    query.before = Some((at(1), 9));
    assert_eq!(entries(&*store, &query).await, []);
    let rows = store.history(&all_history(&device)).await.unwrap();
    assert_eq!(
        (rows[3].path.as_str(), &rows[3].payload[..]),
        ("Device.X", &[9][..])
    );
}

pub async fn history_is_filtered(store: Arc<dyn Store>) {
    let device = key("a", "001122-X-1");
    let paths = ["Device.A.X", "Device.A.Y", "Device.AB", ""];
    for (time, path) in (10..).step_by(10).zip(paths) {
        let write = vec![history(&device, time, 1, path)];
        store.write(write).await.unwrap();
    }
    let mut query = all_history(&device);
    query.path = Some("Device.A.".parse().unwrap());
    assert_eq!(entries(&*store, &query).await, [(20, 1), (10, 1)]);
    query.limit = 1;
    assert_eq!(
        entries(&*store, &query).await,
        [(20, 1)],
        "limit after filter"
    );
    query.path = Some("Device.AB".parse().unwrap());
    assert_eq!(entries(&*store, &query).await, [(30, 1)]);
    let mut query = all_history(&device);
    (query.since, query.until) = (at(20), at(40));
    assert_eq!(entries(&*store, &query).await, [(30, 1), (20, 1)]);
}

pub async fn history_is_trimmed(store: Arc<dyn Store>) {
    let devices = [key("a", "001122-X-1"), key("b", "001122-X-1")];
    for time in 1..=5 {
        let write = devices.iter().map(|d| history(d, time, 1, "")).collect();
        store.write(write).await.unwrap();
    }
    assert_eq!(store.trim_history(at(4), 4).await.unwrap(), 4);
    assert_eq!(store.trim_history(at(4), 4).await.unwrap(), 2);
    assert_eq!(store.trim_history(at(4), 4).await.unwrap(), 0);
    for device in &devices {
        let query = all_history(device);
        assert_eq!(entries(&*store, &query).await, [(5, 1), (4, 1)]);
    }
}
