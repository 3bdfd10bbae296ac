//! Parameters.

use std::sync::Arc;

use hearth_types::{DeviceKey, ValueType};

use super::{at, cells, key};
use crate::{Mutation, ParameterCell, ParameterRow, Store};

pub fn value(device: &DeviceKey, path: &str, time: i64, text: &str) -> Mutation {
    Mutation::Parameter {
        device: device.clone(),
        path: path.to_owned(),
        time: at(time),
        cells: vec![ParameterCell::Value {
            text: text.to_owned(),
            value_type: ValueType::String,
            sealed: Vec::new(),
        }],
    }
}

fn delete(device: &DeviceKey, path: &str, time: i64) -> Mutation {
    Mutation::DeleteParameters {
        device: device.clone(),
        path: path.to_owned(),
        time: at(time),
    }
}

fn part(device: &DeviceKey, time: i64, cell: ParameterCell) -> Mutation {
    Mutation::Parameter {
        device: device.clone(),
        path: "Device.X".to_owned(),
        time: at(time),
        cells: vec![cell],
    }
}

async fn row(store: &dyn Store, device: &DeviceKey, path: &str) -> Option<ParameterRow> {
    let paths = [path.to_owned()];
    let mut rows = store.parameters_by_path(device, &paths).await.unwrap();
    assert_eq!(rows.len(), 1);
    rows.remove(0)
}

async fn text(store: &dyn Store, device: &DeviceKey, path: &str) -> Option<String> {
    let row = row(store, device, path).await?;
    row.value.map(|(text, ..)| text)
}

async fn paths(store: &dyn Store, device: &DeviceKey, below: &str) -> Vec<String> {
    let rows = store.parameters(device, below, None, 1000).await.unwrap();
    rows.into_iter().map(|(path, _)| path).collect()
}

/// Whatever devices write is text, and no part of a query or of a key.
pub async fn any_text_is_only_text(store: Arc<dyn Store>) {
    let device = key("a", "001122-X-1");
    let odd = [
        "'; DROP TABLE device; --",
        "\"quoted\" \\ $$body$$ $.device ? :name {} %",
        "line\r\nend\ttab",
        "\u{fe}\u{ff}\u{10ffff} \u{202e}",
    ];
    for (n, odd) in odd.into_iter().enumerate() {
        let path = format!("Device.{odd}.X");
        let entry = super::index::entry(&device, "serial", odd, 1, false);
        let write = vec![value(&device, &path, 1, odd), entry];
        store.write(write).await.unwrap();
        let kept = text(&*store, &device, &path).await;
        assert_eq!(kept.as_deref(), Some(odd));
        let found = store
            .search(&super::index::query("serial", odd, false))
            .await;
        assert_eq!(found.unwrap().len(), 1, "{odd}");
        assert_eq!(paths(&*store, &device, "Device.").await.len(), n + 1);
    }
}

pub async fn later_parts_stay_in_any_order(store: Arc<dyn Store>) {
    let secret = ParameterCell::Value {
        text: String::new(),
        value_type: ValueType::String,
        sealed: vec![1, 2],
    };
    let list = |name: &str| ParameterCell::AccessList(vec![name.to_owned()]);
    for (n, turned) in [false, true].into_iter().enumerate() {
        let device = key("a", &format!("001122-X-{n}"));
        let mut writes = vec![
            part(&device, 1, ParameterCell::Writable(true)),
            part(&device, 2, ParameterCell::Writable(false)),
            part(&device, 3, ParameterCell::Notification(2)),
            part(&device, 3, ParameterCell::Notification(1)),
            part(&device, 1, list("b")),
            part(&device, 4, list("a")),
            value(&device, "Device.X", 5, "x"),
            part(&device, 6, secret.clone()),
        ];
        if turned {
            writes.reverse();
        }
        for write in writes {
            store.write(vec![write]).await.unwrap();
        }
        let expected = ParameterRow {
            value: Some((String::new(), ValueType::String, vec![1, 2], at(6))),
            writable: Some((false, at(2))),
            notification: Some((2, at(3))),
            access_list: Some((vec!["a".to_owned()], at(4))),
        };
        let found = row(&*store, &device, "Device.X").await.unwrap();
        assert_eq!(found, expected, "turned: {turned}");
    }
}

pub async fn deletes_take_what_is_not_newer(store: Arc<dyn Store>) {
    let device = key("a", "001122-X-1");
    let other = key("a", "001122-X-12");
    for (path, time) in [("Device.A.1.", 1), ("Device.A.1.X", 5), ("Device.A.1.Y", 6)] {
        let write = vec![
            value(&device, path, time, "v"),
            value(&other, path, time, "v"),
        ];
        store.write(write).await.unwrap();
    }
    let more = vec![
        value(&device, "Device.A.10.X", 1, "v"),
        part(&device, 1, ParameterCell::Writable(true)),
        part(&device, 9, ParameterCell::Notification(1)),
    ];
    store.write(more).await.unwrap();
    store
        .write(vec![delete(&device, "Device.A.1.", 5)])
        .await
        .unwrap();
    let left = paths(&*store, &device, "").await;
    assert_eq!(left, ["Device.A.1.Y", "Device.A.10.X", "Device.X"]);
    store.write(vec![delete(&device, "", 6)]).await.unwrap();
    let left = row(&*store, &device, "Device.X").await.unwrap();
    assert_eq!(left.writable, None, "the older part went");
    assert_eq!(left.notification, Some((1, at(9))), "the newer stayed");
    assert_eq!(paths(&*store, &device, "").await, ["Device.X"]);
    assert_eq!(paths(&*store, &other, "").await.len(), 3, "another device");
}

pub async fn deletes_outlive_late_writes(store: Arc<dyn Store>) {
    let device = key("a", "001122-X-1");
    store
        .write(vec![delete(&device, "Device.A.", 5)])
        .await
        .unwrap();
    let late = vec![
        value(&device, "Device.A.X", 4, "late"),
        value(&device, "Device.A.Y", 5, "same time"),
        value(&device, "Device.A.Z", 6, "newer"),
        value(&device, "Device.B", 1, "elsewhere"),
    ];
    store.write(late).await.unwrap();
    let left = paths(&*store, &device, "").await;
    assert_eq!(left, ["Device.A.Z", "Device.B"]);
    // An older delete that comes late takes nothing newer, and doesn't undo the first.
    store.write(vec![delete(&device, "", 2)]).await.unwrap();
    let late = vec![
        value(&device, "Device.A.X", 4, "late"),
        value(&device, "Device.B", 3, "newer than that"),
    ];
    store.write(late).await.unwrap();
    assert_eq!(text(&*store, &device, "Device.A.X").await, None);
    assert!(text(&*store, &device, "Device.B").await.is_some());
    // In one batch, in whatever order.
    let batch = vec![
        value(&device, "Device.C", 7, "old"),
        delete(&device, "", 8),
        value(&device, "Device.D", 9, "new"),
        value(&device, "Device.C", 8, "old"),
    ];
    store.write(batch).await.unwrap();
    assert_eq!(paths(&*store, &device, "").await, ["Device.D"]);
}

pub async fn a_leaf_is_deleted_alone(store: Arc<dyn Store>) {
    let device = key("a", "001122-X-1");
    let names = ["Device.A", "Device.A.B", "Device.AB"];
    let writes = names.map(|path| value(&device, path, 1, "v"));
    store.write(writes.to_vec()).await.unwrap();
    store
        .write(vec![delete(&device, "Device.A", 1)])
        .await
        .unwrap();
    assert_eq!(paths(&*store, &device, "").await, names[1..]);
    let late = vec![value(&device, "Device.A", 1, "v")];
    store.write(late).await.unwrap();
    assert_eq!(text(&*store, &device, "Device.A").await, None);
}

pub async fn pages_and_subtrees(store: Arc<dyn Store>) {
    let device = key("a", "001122-X-1");
    let names = [
        "Device.",
        "Device.A.",
        "Device.A.1.X",
        "Device.A.10.X",
        "Device.A.2.X",
        "Device.AB",
        "Device.Ä",
        "X_Odd name#1",
    ];
    let writes = names.map(|path| value(&device, path, 1, "v"));
    store.write(writes.to_vec()).await.unwrap();
    let near = key("a", "001122-X-12");
    store
        .write(vec![value(&near, "Device.A.3", 1, "v")])
        .await
        .unwrap();
    assert_eq!(paths(&*store, &device, "").await, names, "byte order");
    assert_eq!(paths(&*store, &device, "Device.A.").await, names[1..5]);
    assert_eq!(paths(&*store, &device, "Device.AB").await, ["Device.AB"]);
    assert!(paths(&*store, &device, "Device.B").await.is_empty());
    for size in 1..=names.len() {
        let mut seen: Vec<String> = Vec::new();
        loop {
            let after = seen.last().map(String::as_str);
            let page = store.parameters(&device, "", after, size).await.unwrap();
            let end = page.len() < size;
            seen.extend(page.into_iter().map(|(path, _)| path));
            if end {
                break;
            }
        }
        assert_eq!(seen, names, "pages of {size}");
    }
    let page = store.parameters(&device, "Device.A.", Some("A"), 1).await;
    assert_eq!(
        page.unwrap()[0].0,
        "Device.A.",
        "a place before the subtree"
    );
    let page = store
        .parameters(&device, "Device.AB", Some("Device.AB"), 1)
        .await;
    assert!(page.unwrap().is_empty(), "behind the only one");
}

pub async fn by_path_keeps_the_order(store: Arc<dyn Store>) {
    let device = key("a", "001122-X-1");
    let write = (0..200).map(|n| value(&device, &format!("Device.P{n}"), 1, &n.to_string()));
    store.write(write.collect()).await.unwrap();
    for count in [0, 3, 150] {
        let mut wanted: Vec<String> = (0..count).rev().map(|n| format!("Device.P{n}")).collect();
        wanted.push("Device.None".to_owned());
        let rows = store.parameters_by_path(&device, &wanted).await.unwrap();
        let texts: Vec<_> = rows
            .into_iter()
            .map(|row| row.and_then(|row| row.value).map(|(text, ..)| text))
            .collect();
        let mut expected: Vec<_> = (0..count).rev().map(|n| Some(n.to_string())).collect();
        expected.push(None);
        assert_eq!(texts, expected);
    }
}

pub async fn replays_change_nothing(store: Arc<dyn Store>) {
    let device = key("a", "001122-X-1");
    let rounds = [
        vec![cells(&device, 1, "1"), value(&device, "Device.A.X", 1, "1")],
        vec![delete(&device, "", 2), value(&device, "Device.A.Y", 3, "2")],
        vec![cells(&device, 3, "2"), value(&device, "Device.A.X", 4, "3")],
        vec![delete(&device, "Device.A.Y", 5)],
    ];
    for round in rounds.clone() {
        store.write(round).await.unwrap();
    }
    let before = store.parameters(&device, "", None, 10).await.unwrap();
    assert_eq!(before.len(), 1);
    let row_before = store.device(&device).await.unwrap();
    for round in rounds.iter().rev().chain(&rounds) {
        store.write(round.clone()).await.unwrap();
    }
    let after = store.parameters(&device, "", None, 10).await.unwrap();
    assert_eq!(after, before);
    assert_eq!(store.device(&device).await.unwrap(), row_before);
}

pub async fn concurrent_writes_merge(store: Arc<dyn Store>) {
    let device = key("a", "001122-X-1");
    let mut writes = tokio::task::JoinSet::new();
    for time in 1..=60 {
        let (store, device) = (store.clone(), device.clone());
        writes.spawn(async move {
            let mut batch = vec![
                cells(&device, time, &format!("{time:03}")),
                value(&device, "Device.Same", time, &time.to_string()),
                value(&device, &format!("Device.P{time}"), time, "v"),
            ];
            if time % 2 == 0 {
                batch.extend((0..100).map(|n| value(&device, &format!("Device.Q{n}"), time, "v")));
            }
            store.write(batch).await.unwrap();
        });
    }
    while let Some(done) = writes.join_next().await {
        done.unwrap();
    }
    let same = text(&*store, &device, "Device.Same").await;
    assert_eq!(same.as_deref(), Some("60"));
    assert_eq!(paths(&*store, &device, "").await.len(), 1 + 60 + 100);
}
