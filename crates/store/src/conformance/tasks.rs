//! The task ledger, and documents.

use std::collections::HashSet;
use std::sync::Arc;

use hearth_types::{DeviceKey, TaskId};

use super::{at, id, key, tenant};
use crate::{Created, Document, DocumentKind, Error, Store, TaskQuery, TaskRow};

/// The `n`th task in the order of creation.
fn nth(n: u8) -> TaskId {
    let mut bytes = [1; 16];
    bytes[5] = n;
    TaskId::from_bytes(bytes)
}

fn row(device: &DeviceKey, n: u8, revision: u64, open: bool) -> TaskRow {
    TaskRow {
        id: nth(n),
        device: device.clone(),
        open,
        revision,
        payload: vec![n, u8::try_from(revision).unwrap()],
    }
}

pub async fn enter_one(store: &dyn Store, device: &DeviceKey) {
    let created = store.create_task(row(device, 1, 1, true), None).await;
    assert_eq!(created.unwrap(), Created::New);
}

/// Whether a put of these rows is refused because of this task.
async fn refused(store: &dyn Store, rows: Vec<TaskRow>) -> Option<TaskId> {
    match store.put_tasks(rows).await {
        Ok(()) => None,
        Err(Error::Conflict(task)) => Some(task),
        Err(error) => panic!("{error}"),
    }
}

pub async fn revisions(store: Arc<dyn Store>) {
    let device = key("a", "001122-X-1");
    enter_one(&*store, &device).await;
    let third = row(&device, 1, 3, false);
    let stays = async |expected: &TaskRow| {
        for found in [
            store.task(&device.tenant, nth(1)).await,
            store.decided_task(&device.tenant, nth(1)).await,
        ] {
            assert_eq!(found.unwrap().as_ref(), Some(expected));
        }
    };
    // Not from what it has.
    let ahead = refused(&*store, vec![third.clone()]).await;
    assert_eq!(ahead, Some(nth(1)));
    stays(&row(&device, 1, 1, true)).await;
    for next in [row(&device, 1, 2, true), third.clone()] {
        assert_eq!(refused(&*store, vec![next.clone()]).await, None);
        stays(&next).await;
        assert_eq!(refused(&*store, vec![next]).await, None, "again");
    }
    for older in [row(&device, 1, 2, true), row(&device, 1, 1, true)] {
        assert_eq!(refused(&*store, vec![older]).await, Some(nth(1)));
    }
    stays(&third).await;
    assert!(all_open(&*store).await.is_empty());
    assert_eq!(store.task(&tenant("b"), nth(1)).await.unwrap(), None);
    store.delete_device(&device).await.unwrap();
    stays(&third).await;
}

pub async fn another_row_of_the_same_revision_is_refused(store: Arc<dyn Store>) {
    let device = key("a", "001122-X-1");
    enter_one(&*store, &device).await;
    let second = row(&device, 1, 2, true);
    assert_eq!(refused(&*store, vec![second.clone()]).await, None);
    let other = TaskRow {
        payload: vec![9],
        ..second.clone()
    };
    let ended = TaskRow {
        open: false,
        ..second.clone()
    };
    for other in [other, ended] {
        assert_eq!(refused(&*store, vec![other]).await, Some(nth(1)));
    }
    let found = store.task(&device.tenant, nth(1)).await.unwrap();
    assert_eq!(found, Some(second));
    assert_eq!(all_open(&*store).await.len(), 1, "its names stay, too");
    // Nor is a task entered that isn't there, or entered again.
    let absent = row(&device, 2, 1, true);
    for revision in [0, 1, 2] {
        let absent = TaskRow {
            revision,
            ..absent.clone()
        };
        assert_eq!(refused(&*store, vec![absent]).await, Some(nth(2)));
    }
    assert_eq!(store.task(&device.tenant, nth(2)).await.unwrap(), None);
    enter_one(&*store, &device).await;
    let found = store.task(&device.tenant, nth(1)).await.unwrap();
    assert_eq!(
        found.unwrap().revision,
        2,
        "creating it again changes nothing"
    );
}

pub async fn at_a_conflict_those_before_it_are_written(store: Arc<dyn Store>) {
    let device = key("a", "001122-X-1");
    for n in 1..=3 {
        store
            .create_task(row(&device, n, 1, true), None)
            .await
            .unwrap();
    }
    let rows = vec![
        row(&device, 3, 2, false),
        row(&device, 1, 3, false),
        row(&device, 2, 2, false),
    ];
    assert_eq!(refused(&*store, rows).await, Some(nth(1)));
    for (n, revision) in [(1, 1), (2, 1), (3, 2)] {
        let found = store.task(&device.tenant, nth(n)).await.unwrap();
        assert_eq!(found.unwrap().revision, revision, "task {n}");
    }
    assert_eq!(all_open(&*store).await.len(), 2);
    let rest = vec![row(&device, 3, 2, false), row(&device, 1, 2, false)];
    assert_eq!(refused(&*store, rest).await, None);
}

pub async fn one_of_many_writes_a_revision(store: Arc<dyn Store>) {
    let device = key("a", "001122-X-1");
    enter_one(&*store, &device).await;
    for revision in 2..=6 {
        let mut calls = tokio::task::JoinSet::new();
        for writer in 0..8 {
            let (store, device) = (store.clone(), device.clone());
            calls.spawn(async move {
                let row = TaskRow {
                    payload: vec![writer],
                    ..row(&device, 1, revision, revision < 6)
                };
                let written = refused(&*store, vec![row.clone()]).await.is_none();
                written.then_some(row)
            });
        }
        let mut won = Vec::new();
        while let Some(row) = calls.join_next().await {
            won.extend(row.unwrap());
        }
        assert_eq!(won.len(), 1, "revision {revision}: {won:?}");
        let found = store.task(&device.tenant, nth(1)).await.unwrap();
        assert_eq!(found, won.pop());
    }
    assert!(all_open(&*store).await.is_empty());
}

/// The open tasks of all buckets, each read in pages of two.
pub async fn all_open(store: &dyn Store) -> Vec<TaskRow> {
    let mut found = Vec::new();
    for bucket in 0..DeviceKey::BUCKETS {
        let mut after: Option<TaskRow> = None;
        loop {
            let place = after.as_ref().map(|row| (&row.device.tenant, row.id));
            let page = store.open_tasks(bucket, place, 2).await.unwrap();
            after = page.last().cloned();
            let end = page.len() < 2;
            assert!(page.iter().all(|row| row.device.bucket() == bucket));
            found.extend(page);
            if end {
                break;
            }
        }
    }
    found
}

fn query(device: Option<&str>, open_only: bool) -> TaskQuery {
    TaskQuery {
        tenant: tenant("a"),
        device: device.map(id),
        open_only,
        before: None,
        limit: 100,
    }
}

async fn listed(store: &dyn Store, query: &TaskQuery) -> Vec<u8> {
    let rows = store.tasks(query).await.unwrap();
    rows.iter().map(|row| row.payload[0]).collect()
}

pub async fn lists_and_pages(store: Arc<dyn Store>) {
    let (one, two) = (key("a", "001122-X-1"), key("a", "001122-X-12"));
    let other = key("b", "001122-X-1");
    for n in 1..=6 {
        let device = if n % 2 == 0 { &two } else { &one };
        store
            .create_task(row(device, n, 1, n > 2), None)
            .await
            .unwrap();
    }
    store
        .create_task(row(&other, 7, 1, true), None)
        .await
        .unwrap();
    assert_eq!(
        listed(&*store, &query(None, false)).await,
        [6, 5, 4, 3, 2, 1]
    );
    assert_eq!(listed(&*store, &query(None, true)).await, [6, 5, 4, 3]);
    let mut of_one = query(Some("001122-X-1"), false);
    assert_eq!(listed(&*store, &of_one).await, [5, 3, 1]);
    of_one.open_only = true;
    assert_eq!(listed(&*store, &of_one).await, [5, 3]);
    of_one.before = Some(nth(5));
    assert_eq!(listed(&*store, &of_one).await, [3]);
    for (of, expected) in [(None, [4, 3]), (Some("001122-X-12"), [4, 2])] {
        let mut page = query(of, false);
        (page.before, page.limit) = (Some(nth(5)), 2);
        assert_eq!(listed(&*store, &page).await, expected);
    }
}

pub async fn open_tasks_by_bucket(store: Arc<dyn Store>) {
    for (n, of) in (1..=40).zip(["a", "b", "ab", "c"].into_iter().cycle()) {
        let device = key(of, &format!("001122-X-{}", n % 7));
        let task = row(&device, n, 1, n % 10 != 0);
        store.create_task(task, None).await.unwrap();
    }
    let mut seen: Vec<u8> = all_open(&*store)
        .await
        .iter()
        .map(|r| r.payload[0])
        .collect();
    seen.sort_unstable();
    let expected: Vec<u8> = (1..=40).filter(|n| n % 10 != 0).collect();
    assert_eq!(seen, expected);
}

pub async fn pages_of_open_tasks_go_on(store: Arc<dyn Store>) {
    let device = key("a", "001122-X-1");
    let bucket = device.bucket();
    for n in 1..=6 {
        let task = row(&device, n, 1, n != 6);
        store.create_task(task, None).await.unwrap();
    }
    let mut seen = Vec::new();
    let mut after: Option<TaskRow> = None;
    loop {
        let place = after.as_ref().map(|row| (&row.device.tenant, row.id));
        let page = store.open_tasks(bucket, place, 2).await.unwrap();
        let end = page.len() < 2;
        after = page.last().cloned().or(after);
        seen.extend(page.iter().map(|row| row.payload[0]));
        // The place itself may end.
        if seen.len() == 2 {
            let gone = row(&device, seen[1], 2, false);
            store.put_tasks(vec![gone]).await.unwrap();
        }
        if end {
            break;
        }
    }
    assert_eq!(seen, [1, 2, 3, 4, 5]);
}

pub async fn one_task_for_an_idempotency_key(store: Arc<dyn Store>) {
    let device = key("a", "001122-X-1");
    let mut calls = tokio::task::JoinSet::new();
    for n in 1..=20 {
        let (store, device) = (store.clone(), device.clone());
        calls.spawn(async move {
            let task = row(&device, n, 1, true);
            let created = store.create_task(task, Some("key")).await.unwrap();
            match created {
                Created::New => nth(n),
                Created::Existed(id) => id,
            }
        });
    }
    let mut ids = HashSet::new();
    while let Some(id) = calls.join_next().await {
        ids.insert(id.unwrap());
    }
    assert_eq!(ids.len(), 1, "all learn of the same task");
    assert_eq!(listed(&*store, &query(None, false)).await.len(), 1);
    let found = store.task_by_key(&tenant("a"), "key").await.unwrap();
    assert!(found.is_some_and(|id| ids.contains(&id)));
    for (of, key) in [("a", "key2"), ("a", "ke"), ("b", "key")] {
        let found = store.task_by_key(&tenant(of), key).await.unwrap();
        assert_eq!(found, None, "{of} {key}");
    }
    // Another key, another tenant, no key.
    let task = |of: &str, n| row(&key(of, "001122-X-1"), n, 1, true);
    for (of, n, key) in [
        ("a", 21, Some("key2")),
        ("b", 22, Some("key")),
        ("a", 23, None),
    ] {
        let created = store.create_task(task(of, n), key).await.unwrap();
        assert_eq!(created, Created::New);
    }
}

pub async fn open_tasks_of_a_device(store: Arc<dyn Store>) {
    let device = key("a", "001122-X-1");
    let open = |n| row(&device, n, 1, true);
    for n in 1..=4 {
        store.create_task(open(n), None).await.unwrap();
    }
    let other = row(&key("a", "001122-X-11"), 5, 1, true);
    store.create_task(other, None).await.unwrap();
    // Ended, changed, and entered as ended.
    for task in [row(&device, 2, 2, false), row(&device, 3, 2, true)] {
        store.put_tasks(vec![task]).await.unwrap();
    }
    let ended = row(&device, 6, 1, false);
    store.create_task(ended, None).await.unwrap();
    let found = listed(&*store, &query(Some("001122-X-1"), true)).await;
    assert_eq!(found, [4, 3, 1]);
    let found = listed(&*store, &query(Some("001122-X-1"), false)).await;
    assert_eq!(found, [6, 4, 3, 2, 1]);
}

pub async fn ended_tasks_are_trimmed(store: Arc<dyn Store>) {
    let made = |seconds: i64, n: u8| {
        let mut id = TaskId::first_at(at(seconds * 1_000_000)).to_bytes();
        id[15] = n;
        TaskId::from_bytes(id)
    };
    let task = |of: &str, id, open| TaskRow {
        id,
        ..row(&key(of, "001122-X-1"), 1, 1, open)
    };
    let all = [
        task("a", made(1, 1), false),
        task("a", made(1, 2), true),
        task("a", made(2, 3), false),
        task("a", made(3, 4), false),
        task("b", made(1, 5), false),
    ];
    for row in &all {
        let key = format!("key {}", row.id);
        let open = TaskRow {
            open: true,
            ..row.clone()
        };
        store.create_task(open, Some(&key)).await.unwrap();
        if !row.open {
            let ended = TaskRow {
                revision: 2,
                ..row.clone()
            };
            store.put_tasks(vec![ended]).await.unwrap();
        }
    }
    let before = at(3_000_000);
    let mut trimmed = 0;
    loop {
        let step = store.trim_tasks(before, 2).await.unwrap();
        assert!(step <= 2);
        trimmed += step;
        if step == 0 {
            break;
        }
    }
    // A backend may let them expire by itself instead.
    if trimmed == 0 {
        return;
    }
    assert_eq!(trimmed, 3, "what is open or younger stays");
    for (row, stays) in all.iter().zip([false, true, false, true, false]) {
        let tenant = &row.device.tenant;
        let found = store.task(tenant, row.id).await.unwrap();
        assert_eq!(found.is_some(), stays, "{}", row.id);
        let key = format!("key {}", row.id);
        let found = store.task_by_key(tenant, &key).await.unwrap();
        assert_eq!(found.is_some(), stays, "the key of {}", row.id);
    }
    let query = query(Some("001122-X-1"), false);
    assert_eq!(store.tasks(&query).await.unwrap().len(), 2);
}

fn document(key: &str, time: i64, payload: u8) -> Document {
    Document {
        key: key.to_owned(),
        time: at(time),
        payload: vec![payload],
    }
}

pub async fn documents(store: Arc<dyn Store>) {
    let (of, kind) = (tenant("a"), DocumentKind::File);
    for key in ["b/2", "a", "b/1", "b/3", "c", "b"] {
        store
            .put_document(kind, &of, document(key, 5, 1))
            .await
            .unwrap();
    }
    for (time, payload) in [(4, 9), (6, 2), (6, 1), (5, 3)] {
        let late = document("a", time, payload);
        store.put_document(kind, &of, late).await.unwrap();
    }
    let found = store.document(kind, &of, "a").await.unwrap();
    assert_eq!(
        found,
        Some(document("a", 6, 2)),
        "the later, then the greater"
    );
    let elsewhere = [(DocumentKind::Model, "a"), (kind, "ab")];
    for (kind, of) in elsewhere {
        let found = store.document(kind, &tenant(of), "a").await.unwrap();
        assert_eq!(found, None, "kinds and tenants are apart");
    }
    let keys = |docs: Vec<Document>| docs.into_iter().map(|d| d.key).collect::<Vec<_>>();
    let page = store.documents(kind, &of, "b/", None, 2).await.unwrap();
    assert_eq!(keys(page), ["b/1", "b/2"]);
    let page = store
        .documents(kind, &of, "b/", Some("b/2"), 2)
        .await
        .unwrap();
    assert_eq!(keys(page), ["b/3"]);
    let page = store
        .documents(kind, &of, "b/", Some("a"), 9)
        .await
        .unwrap();
    assert_eq!(keys(page), ["b/1", "b/2", "b/3"]);
    let all = store.documents(kind, &of, "", None, 9).await.unwrap();
    assert_eq!(all.len(), 6);
    assert!(store.delete_document(kind, &of, "b").await.unwrap());
    assert!(!store.delete_document(kind, &of, "b").await.unwrap());
    assert_eq!(store.document(kind, &of, "b").await.unwrap(), None);
    assert!(store.document(kind, &of, "b/1").await.unwrap().is_some());
}
