//! A store that fails again and again: events wait, none is lost, none is applied in part. One that
//! holds damaged data: events are dead letters until it is mended.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::common::{START, World, config, inform, values};
use async_trait::async_trait;
use hearth_bus::Bus;
use hearth_clients::DeviceState;
use hearth_engine::EngineOptions;
use hearth_proto::devicestate::v1 as ds;
use hearth_proto::events::v1 as ev;
use hearth_store::{
    Created, DeviceRow, Document, DocumentKind, Error, HistoryQuery, HistoryRow, IndexQuery,
    Mutation, ParameterRow, Result, Store, TaskQuery, TaskRow,
};
use hearth_types::{DeviceId, DeviceKey, TaskId, TenantId, Timestamp};
use tokio::sync::Notify;

/// Fails about a sixth of the calls that events make, in an order that the seed decides.
pub struct Flaky {
    store: Arc<dyn Store>,
    /// 0: it doesn't fail so.
    state: AtomicU32,
    /// What is read is damaged.
    damaged: Arc<AtomicBool>,
    trap: Trap,
}

/// What one event meets, and no other.
#[derive(Clone, Default)]
pub enum Trap {
    #[default]
    None,
    /// Reading parameters of this device panics while it is set.
    Panics(DeviceKey, Arc<AtomicBool>),
    /// Reading this device ends the process: it tells so and never returns.
    Ends(DeviceKey, Arc<Notify>),
    /// This parameter is larger than the store keeps.
    TooLarge(&'static str),
    /// Writing this parameter panics.
    PanicsToWrite(&'static str),
    /// While it is set nothing but history can be written: half of a batch, as when a cluster dies
    /// in the middle of it.
    Outage(Arc<AtomicBool>),
    /// Once: what is to be deleted behind a device's row stays.
    CutOff(Arc<AtomicU32>),
}

impl Flaky {
    pub fn with(store: Arc<dyn Store>, trap: Trap) -> Arc<dyn Store> {
        Arc::new(Self {
            store,
            state: AtomicU32::new(0),
            damaged: Arc::default(),
            trap,
        })
    }

    fn look(&self, mutations: &[Mutation]) -> Result<()> {
        let writes = |of: &str| {
            let is = |m: &Mutation| matches!(m, Mutation::Parameter { path, .. } if path == of);
            mutations.iter().any(is)
        };
        match self.trap {
            Trap::TooLarge(path) if writes(path) => Err(Error::TooLarge("a value".into())),
            Trap::PanicsToWrite(path) if writes(path) => panic!("no room in the double"),
            _ => self.look_for_outage(mutations),
        }
    }

    fn look_for_outage(&self, mutations: &[Mutation]) -> Result<()> {
        let is_history = |m: &Mutation| matches!(m, Mutation::History { .. });
        match &self.trap {
            Trap::Outage(now)
                if now.load(Ordering::Relaxed)
                    && (mutations.is_empty() || !mutations.iter().all(is_history)) =>
            {
                Err(Error::Unavailable("an outage".into()))
            }
            _ => Ok(()),
        }
    }

    fn fail(&self) -> Result<()> {
        // A linear congruential generator: its high bits are random enough.
        let next = |n: u32| Some(n.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
        let order = Ordering::Relaxed;
        if self.state.load(order) == 0 {
            return Ok(());
        }
        let drawn = self.state.fetch_update(order, order, next);
        match drawn.unwrap_or_default() >> 24 {
            0..40 => Err(Error::Unavailable("pulled out".into())),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Store for Flaky {
    async fn write(&self, mutations: Vec<Mutation>) -> Result<()> {
        self.fail()?;
        self.look(&mutations)?;
        self.store.write(mutations).await
    }

    async fn device(&self, device: &DeviceKey) -> Result<Option<DeviceRow>> {
        self.fail()?;
        if let Trap::Ends(of, told) = &self.trap
            && of == device
        {
            told.notify_one();
            std::future::pending::<()>().await;
        }
        if self.damaged.load(Ordering::Relaxed) {
            return Err(Error::Damaged("half a row".into()));
        }
        self.store.device(device).await
    }

    async fn parameters_by_path(
        &self,
        device: &DeviceKey,
        paths: &[String],
    ) -> Result<Vec<Option<ParameterRow>>> {
        self.fail()?;
        if let Trap::Panics(of, armed) = &self.trap
            && of == device
            && armed.load(Ordering::Relaxed)
        {
            panic!("{paths:?} of {device} are too much for the double");
        }
        self.store.parameters_by_path(device, paths).await
    }

    async fn devices(
        &self,
        tenant: &TenantId,
        after: Option<&DeviceId>,
        limit: usize,
    ) -> Result<Vec<(DeviceId, DeviceRow)>> {
        self.store.devices(tenant, after, limit).await
    }

    async fn device_count(&self, tenant: &TenantId) -> Result<u64> {
        self.store.device_count(tenant).await
    }

    async fn tenants(&self) -> Result<Vec<TenantId>> {
        self.store.tenants().await
    }

    async fn delete_device(&self, device: &DeviceKey) -> Result<()> {
        if let Trap::CutOff(now) = &self.trap {
            let _ = now.compare_exchange(0, 1, Ordering::Relaxed, Ordering::Relaxed);
        }
        self.store.delete_device(device).await
    }

    async fn search(&self, query: &IndexQuery) -> Result<Vec<(String, DeviceId)>> {
        self.store.search(query).await
    }

    async fn index_of(&self, device: &DeviceKey) -> Result<Vec<(String, String)>> {
        self.store.index_of(device).await
    }

    async fn parameters(
        &self,
        device: &DeviceKey,
        path: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, ParameterRow)>> {
        self.store.parameters(device, path, after, limit).await
    }

    async fn history(&self, query: &HistoryQuery) -> Result<Vec<HistoryRow>> {
        self.store.history(query).await
    }

    async fn trim_history(&self, before: Timestamp, limit: usize) -> Result<usize> {
        self.store.trim_history(before, limit).await
    }

    async fn create_task(&self, task: TaskRow, key: Option<&str>) -> Result<Created> {
        self.store.create_task(task, key).await
    }

    async fn put_tasks(&self, tasks: Vec<TaskRow>) -> Result<()> {
        self.store.put_tasks(tasks).await
    }

    async fn task(&self, tenant: &TenantId, id: TaskId) -> Result<Option<TaskRow>> {
        self.store.task(tenant, id).await
    }

    async fn tasks(&self, query: &TaskQuery) -> Result<Vec<TaskRow>> {
        self.store.tasks(query).await
    }

    async fn open_tasks(
        &self,
        bucket: u8,
        after: Option<(&TenantId, TaskId)>,
        limit: usize,
    ) -> Result<Vec<TaskRow>> {
        self.store.open_tasks(bucket, after, limit).await
    }

    async fn put_document(
        &self,
        kind: DocumentKind,
        tenant: &TenantId,
        document: Document,
    ) -> Result<()> {
        self.look_for_outage(&[])?;
        self.store.put_document(kind, tenant, document).await
    }

    async fn document(
        &self,
        kind: DocumentKind,
        tenant: &TenantId,
        key: &str,
    ) -> Result<Option<Document>> {
        self.store.document(kind, tenant, key).await
    }

    async fn documents(
        &self,
        kind: DocumentKind,
        tenant: &TenantId,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Document>> {
        self.store
            .documents(kind, tenant, prefix, after, limit)
            .await
    }

    async fn delete_document(
        &self,
        kind: DocumentKind,
        tenant: &TenantId,
        key: &str,
    ) -> Result<bool> {
        if let Trap::CutOff(now) = &self.trap
            && now.compare_exchange(1, 2, Ordering::Relaxed, Ordering::Relaxed) == Ok(1)
        {
            return Err(Error::Unavailable("cut off".into()));
        }
        self.store.delete_document(kind, tenant, key).await
    }
}

const VERSION: &str = "Device.DeviceInfo.SoftwareVersion";
const ROUNDS: i64 = 6;

#[tokio::test]
async fn events_outlive_a_store_that_fails() {
    for seed in 1..=3 {
        fail_with(seed * 0x1234_5679).await;
    }
}

async fn fail_with(seed: u32) {
    let dir = tempfile::tempdir().unwrap();
    let mut indexed = config();
    indexed.indexed_parameters = vec!["Device.Line".parse().unwrap()];
    let wrap = |store| -> Arc<dyn Store> {
        let state = AtomicU32::new(seed);
        let damaged = Arc::default();
        Arc::new(Flaky {
            store,
            state,
            damaged,
            trap: Trap::None,
        })
    };
    let mut world = World::over(EngineOptions::new(dir.path()), indexed, wrap).await;
    world.run().await;
    let ids = ["001122-X-1", "001122-X-2"];
    for round in 0..ROUNDS {
        for id in ids {
            let text = round.to_string();
            let reported = [(VERSION, text.as_str()), ("Device.Line", text.as_str())];
            let time = START + round * 10;
            world.publish(&inform(id, time, "1 BOOT", &reported)).await;
            let set = [("Device.A", text.as_str())];
            world
                .publish(&values(id, time + 1, ev::ValueSource::Set, &set))
                .await;
        }
        tokio::time::sleep(std::time::Duration::from_millis(30)).await;
    }
    world.settled().await;
    world.stop().await;
    let world = World::open(dir.path(), config()).await;
    for id in ids {
        let device = world.device(id).await;
        assert_eq!(
            (device.software_version.as_str(), device.inform_count),
            ("5", 6)
        );
        assert_eq!(world.value(id, "Device.Line").await.as_deref(), Some("5"));
        assert_eq!(world.value(id, "Device.A").await.as_deref(), Some("5"));
        let story = world.story(id).await;
        let sets: Vec<_> = story
            .iter()
            .filter(|(_, path, ..)| path == "Device.A")
            .collect();
        assert_eq!(sets.len(), 6, "each set once: {sets:?}");
        let informs = story.iter().filter(|(kind, ..)| kind == "inform").count();
        assert_eq!(informs, 6);
    }
    let query = IndexQuery {
        tenant: TenantId::default(),
        attribute: "Device.Line".into(),
        value: String::new(),
        prefix: true,
        after: None,
        limit: 100,
    };
    let found = world.store.search(&query).await.unwrap();
    let lines: Vec<_> = found.iter().map(|(value, _)| value.as_str()).collect();
    assert_eq!(lines, ["5", "5"], "old values left the index");
    let letters = world.bus.dead_letters(None, 10).await.unwrap().letters;
    assert!(letters.is_empty(), "{letters:?}");
    world.stop().await;
}

#[tokio::test]
async fn an_event_that_died_is_applied_once_the_cause_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let damaged = Arc::new(AtomicBool::new(true));
    let switch = Arc::clone(&damaged);
    let wrap = |store| -> Arc<dyn Store> {
        Arc::new(Flaky {
            store,
            state: AtomicU32::new(0),
            damaged,
            trap: Trap::None,
        })
    };
    let mut world = World::over(EngineOptions::new(dir.path()), config(), wrap).await;
    world.run().await;
    let id = "001122-X-1";
    world.publish(&inform(id, START, "1 BOOT", &[])).await;
    world.settled().await;
    let list = ds::ListDeadLettersRequest::default;
    let letters = world.state.list_dead_letters(list()).await.unwrap().letters;
    assert_eq!(letters.len(), 1);
    assert!(letters[0].reason.contains("half a row"), "{letters:?}");
    switch.store(false, Ordering::Relaxed);
    let replay = ds::ReplayDeadLetterRequest {
        tenant: letters[0].tenant.clone(),
        id: letters[0].id,
    };
    world.state.replay_dead_letter(replay).await.unwrap();
    world.settled().await;
    assert_eq!(world.device(id).await.inform_count, 1);
    let letters = world.state.list_dead_letters(list()).await.unwrap().letters;
    assert!(letters.is_empty(), "{letters:?}");
    world.stop().await;
}
