//! The suite that every backend passes: one case for each MUST of [`crate::Store`].
//!
//! A backend's tests call [`run_all`] with a way to make stores that are empty, and one of the
//! [`Persistent`] kind to close and open again. A failed expectation panics with the case's name
//! in its message.

#![allow(
    clippy::unwrap_used,
    reason = "a suite: a panic is how a failure is reported"
)]

mod devices;
mod documents;
mod index;
mod parameters;
mod tasks;

use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;
use hearth_types::{DeviceId, DeviceKey, TenantId, Timestamp};

use crate::{Cell, CellValue, DeviceColumn, HistoryRow, Mutation, Store};

/// A store that can be closed and opened again, as after the end of its process.
#[async_trait]
pub trait Persistent: Send + Sync {
    /// The store. The suite lets go of it before it calls this again, and expects to find what
    /// was written before.
    async fn open(&self) -> Arc<dyn Store>;

    /// Whether [`Store::trim_history`] deletes; `false` where history expires by itself.
    fn trims_history(&self) -> bool {
        true
    }
}

/// Runs every case, each on a store from `make` (empty, and not shared with another case).
///
/// # Panics
/// When a case fails.
pub async fn run_all<P, F, Fut>(make: F)
where
    P: Persistent,
    F: Fn() -> Fut,
    Fut: Future<Output = P>,
{
    macro_rules! cases {
        ($($module:ident::$case:ident)*) => {$(
            eprintln!("conformance: {}::{}", stringify!($module), stringify!($case));
            let home = make().await;
            $module::$case(home.open().await).await;
        )*};
    }
    cases! {
        devices::later_cells_stay_in_any_order
        devices::equal_times_are_decided_the_same_way
        devices::devices_are_listed_in_pages
        devices::pages_go_on_while_rows_come_and_go
        devices::devices_are_counted
        devices::a_deleted_device_is_gone
        devices::history_is_newest_first
        devices::history_is_filtered
        parameters::any_text_is_only_text
        parameters::later_parts_stay_in_any_order
        parameters::deletes_take_what_is_not_newer
        parameters::deletes_outlive_late_writes
        parameters::a_leaf_is_deleted_alone
        parameters::pages_and_subtrees
        parameters::by_path_keeps_the_order
        parameters::replays_change_nothing
        parameters::concurrent_writes_merge
        index::equality_prefix_and_pages
        index::removal_and_its_order
        index::values_of_any_text
        index::tenants_are_apart
        tasks::revisions
        tasks::another_row_of_the_same_revision_is_refused
        tasks::at_a_conflict_those_before_it_are_written
        tasks::one_of_many_writes_a_revision
        tasks::lists_and_pages
        tasks::open_tasks_by_bucket
        tasks::pages_of_open_tasks_go_on
        tasks::one_task_for_an_idempotency_key
        tasks::open_tasks_of_a_device
        tasks::ended_tasks_are_trimmed
        tasks::documents
        documents::one_document_of_a_key
    }
    let home = make().await;
    if home.trims_history() {
        eprintln!("conformance: devices::history_is_trimmed");
        devices::history_is_trimmed(home.open().await).await;
    }
    eprintln!("conformance: everything_survives_reopening");
    everything_survives_reopening(&make().await).await;
}

async fn everything_survives_reopening(home: &impl Persistent) {
    let device = key("a", "001122-X-1");
    let store = home.open().await;
    tasks::enter_one(&*store, &device).await;
    store
        .write(vec![
            cells(&device, 5, "v"),
            parameters::value(&device, "Device.X", 5, "x"),
            history(&device, 5, 1, "Device.X"),
            index::entry(&device, "tag", "t", 5, false),
        ])
        .await
        .unwrap();
    drop(store);
    let store = home.open().await;
    assert_eq!(store.device_count(&device.tenant).await.unwrap(), 1);
    let tenants = store.tenants().await.unwrap();
    assert_eq!(tenants, std::slice::from_ref(&device.tenant), "tenants");
    assert!(store.device(&device).await.unwrap().is_some());
    let found = store.parameters(&device, "", None, 10).await.unwrap();
    assert_eq!(found.len(), 1, "parameters after reopening");
    let found = store.index_of(&device).await.unwrap();
    assert_eq!(found, [("tag".to_owned(), "t".to_owned())]);
    let found = store.history(&devices::all_history(&device)).await.unwrap();
    assert_eq!(found.len(), 1, "history after reopening");
    assert_eq!(tasks::all_open(&*store).await.len(), 1);
}

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

fn tenant(name: &str) -> TenantId {
    name.parse().unwrap()
}

fn id(text: &str) -> DeviceId {
    text.parse().unwrap()
}

fn key(of: &str, device: &str) -> DeviceKey {
    DeviceKey::new(tenant(of), id(device))
}

/// The software version at a time.
fn cells(device: &DeviceKey, time: i64, version: &str) -> Mutation {
    let cell = Cell {
        value: CellValue::Text(version.to_owned()),
        time: at(time),
    };
    Mutation::Device {
        device: device.clone(),
        cells: vec![(DeviceColumn::SoftwareVersion, cell)],
    }
}

fn history(device: &DeviceKey, time: i64, id: u64, path: &str) -> Mutation {
    Mutation::History {
        device: device.clone(),
        row: HistoryRow {
            time: at(time),
            id,
            path: path.to_owned(),
            payload: vec![u8::try_from(id).unwrap()],
        },
    }
}
