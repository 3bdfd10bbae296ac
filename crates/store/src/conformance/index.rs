//! The index.

use std::sync::Arc;

use hearth_types::DeviceKey;

use super::{at, id, key, tenant};
use crate::{Error, IndexEntry, IndexQuery, Mutation, Store};

pub fn entry(
    device: &DeviceKey,
    attribute: &str,
    value: &str,
    time: i64,
    remove: bool,
) -> Mutation {
    Mutation::Index {
        entry: IndexEntry {
            device: device.clone(),
            attribute: attribute.to_owned(),
            value: value.to_owned(),
        },
        time: at(time),
        remove,
    }
}

pub fn query(attribute: &str, value: &str, prefix: bool) -> IndexQuery {
    IndexQuery {
        tenant: tenant("a"),
        attribute: attribute.to_owned(),
        value: value.to_owned(),
        prefix,
        after: None,
        limit: 100,
    }
}

async fn found(store: &dyn Store, query: &IndexQuery) -> Vec<(String, String)> {
    let found = store.search(query).await.unwrap();
    found
        .into_iter()
        .map(|(value, device)| (value, device.as_str().to_owned()))
        .collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected
        .iter()
        .map(|(value, device)| ((*value).to_owned(), (*device).to_owned()))
        .collect()
}

pub async fn equality_prefix_and_pages(store: Arc<dyn Store>) {
    let entries = [
        ("001122-X-1", "ab"),
        ("001122-X-2", "a"),
        ("001122-X-3", "ab"),
        ("001122-X-4", "b"),
        ("001122-X-5", ""),
    ];
    for (device, value) in entries {
        let device = key("a", device);
        let write = vec![
            entry(&device, "serial", value, 1, false),
            entry(&device, "serial2", "a", 1, false),
        ];
        store.write(write).await.unwrap();
    }
    let all = pairs(&[
        ("", "001122-X-5"),
        ("a", "001122-X-2"),
        ("ab", "001122-X-1"),
        ("ab", "001122-X-3"),
        ("b", "001122-X-4"),
    ]);
    assert_eq!(found(&*store, &query("serial", "", true)).await, all);
    assert_eq!(found(&*store, &query("serial", "a", true)).await, all[1..4]);
    assert_eq!(
        found(&*store, &query("serial", "a", false)).await,
        all[1..2]
    );
    assert_eq!(
        found(&*store, &query("serial", "ab", false)).await,
        all[2..4]
    );
    assert_eq!(found(&*store, &query("serial", "", false)).await, all[..1]);
    assert!(found(&*store, &query("seria", "", true)).await.is_empty());
    for limit in 1..=5 {
        let mut seen = Vec::new();
        let mut page = query("serial", "", true);
        page.limit = limit;
        loop {
            let rows = store.search(&page).await.unwrap();
            let end = rows.len() < limit;
            page.after = rows.last().cloned().or(page.after);
            seen.extend(rows);
            if end {
                break;
            }
        }
        assert_eq!(seen.len(), 5, "pages of {limit}");
    }
    let mut page = query("serial", "ab", false);
    page.after = Some(("a".to_owned(), id("001122-X-9")));
    assert_eq!(found(&*store, &page).await, all[2..4], "a place before");
}

pub async fn removal_and_its_order(store: Arc<dyn Store>) {
    let device = key("a", "001122-X-1");
    let add = |time| vec![entry(&device, "tag", "t", time, false)];
    let remove = |time| vec![entry(&device, "tag", "t", time, true)];
    store.write(remove(5)).await.unwrap();
    store.write(add(4)).await.unwrap();
    store.write(add(5)).await.unwrap();
    let tagged = query("tag", "t", false);
    assert!(found(&*store, &tagged).await.is_empty(), "a late write");
    assert!(store.index_of(&device).await.unwrap().is_empty());
    store.write(add(6)).await.unwrap();
    store.write(remove(5)).await.unwrap();
    assert_eq!(found(&*store, &tagged).await.len(), 1, "a late removal");
    store
        .write(vec![entry(&device, "oui", "001122", 1, false)])
        .await
        .unwrap();
    let own = store.index_of(&device).await.unwrap();
    assert_eq!(own, pairs(&[("oui", "001122"), ("tag", "t")]));
    store.write(remove(7)).await.unwrap();
    assert!(found(&*store, &tagged).await.is_empty());
    assert_eq!(store.index_of(&device).await.unwrap(), own[..1]);
}

pub async fn values_of_any_text(store: Arc<dyn Store>) {
    let device = key("a", "001122-X-1");
    let values = ["", " ", "a b", "ä", "x\0y", "x\0", "x"];
    let writes = values.map(|value| entry(&device, "any", value, 1, false));
    store.write(writes.to_vec()).await.unwrap();
    let mut sorted = values;
    sorted.sort_unstable();
    let got: Vec<String> = found(&*store, &query("any", "", true))
        .await
        .into_iter()
        .map(|(value, _)| value)
        .collect();
    assert_eq!(got, sorted);
    assert_eq!(found(&*store, &query("any", "x\0", true)).await.len(), 2);
    assert_eq!(found(&*store, &query("any", "x", false)).await.len(), 1);
    let long = "x".repeat(IndexEntry::MAX_VALUE + 1);
    let refused = store
        .write(vec![entry(&device, "any", &long, 1, false)])
        .await;
    assert!(matches!(refused, Err(Error::TooLarge(_))), "{refused:?}");
    let write = vec![entry(&device, "any", &long[1..], 1, false)];
    store.write(write).await.unwrap();
}

pub async fn tenants_are_apart(store: Arc<dyn Store>) {
    for of in ["a", "ab", "b"] {
        let write = vec![entry(&key(of, "001122-X-1"), "tag", "t", 1, false)];
        store.write(write).await.unwrap();
    }
    assert_eq!(found(&*store, &query("tag", "", true)).await.len(), 1);
}
