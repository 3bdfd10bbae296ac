//! What the parts of the embedded bus share, and the upkeep: progress and removal.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use hearth_engine::{Engine, Keyspace, KeyspaceOptions, Scan, WriteBatch};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::EmbeddedOptions;
use super::consumer::Member;
use super::cursor::Cursor;
use super::dead::DeadLetters;
use super::dedupe::Dedupe;
use super::frame;
use super::log::Log;
use super::publisher::Inbox;
use crate::{ConsumerSpec, Result};

/// Below this number every message is removed.
const FLOOR: &str = "floor";
/// Prefix of consumers' progress.
const CONSUMER: &str = "consumer/";

pub(crate) struct Core {
    pub(crate) engine: Engine,
    pub(crate) options: EmbeddedOptions,
    pub(crate) log: Arc<Log>,
    pub(crate) inbox: Inbox,
    pub(crate) dedupe: Mutex<Dedupe>,
    pub(crate) dead: DeadLetters,
    pub(crate) members: Mutex<BTreeMap<String, Arc<Member>>>,
    pub(crate) closed: watch::Sender<bool>,
    pub(crate) counters: Counters,
    meta: Keyspace,
    /// Held while progress is written, so that an older state never follows a newer one.
    saving: tokio::sync::Mutex<()>,
}

#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) published: AtomicU64,
    pub(crate) duplicates: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) groups: AtomicU64,
}

impl Core {
    /// Reads what a former process left.
    pub(crate) fn open(engine: Engine, options: EmbeddedOptions) -> Result<Self> {
        // Most messages are worked on and deleted before their memtable is full: with a large
        // one they never reach a table.
        let log_options = KeyspaceOptions {
            memtable_bytes: 64 << 20,
            compress: false,
            reads_mostly_hit: false,
        };
        let records = engine.keyspace_with("bus.log", &log_options)?;
        let meta = engine.keyspace("bus.meta")?;
        let ids = engine.keyspace("bus.ids")?;
        let dead = engine.keyspace("bus.dead")?;

        let floor = match meta.get(FLOOR)? {
            Some(bytes) => frame::seq_of(&bytes)?,
            None => 1,
        };
        let members = read_members(&meta)?;
        // Numbers never repeat, even when everything was removed.
        let reached = members.values().map(|m| m.cursor.lock().next()).max();
        let lowest = floor.max(reached.unwrap_or(0));
        let log = Log::open(records, lowest, options.tail_messages, options.tail_bytes)?;
        Ok(Self {
            log: Arc::new(log),
            inbox: Inbox::default(),
            dedupe: Mutex::new(Dedupe::open(
                ids,
                options.dedupe_window,
                options.dedupe_ids,
            )?),
            dead: DeadLetters::open(engine.clone(), dead)?,
            members: Mutex::new(members),
            closed: watch::Sender::new(false),
            counters: Counters::default(),
            meta,
            saving: tokio::sync::Mutex::new(()),
            engine,
            options,
        })
    }

    /// Registers a consumer, on disk, or gives a known one new settings.
    pub(crate) async fn register(&self, spec: ConsumerSpec) -> Result<Arc<Member>> {
        spec.check()?;
        let _saving = self.saving.lock().await;
        let known = self.members.lock().get(&spec.name).cloned();
        if let Some(member) = known {
            member.cursor.lock().spec = spec;
            return Ok(member);
        }
        let first = match self.meta.get(FLOOR)? {
            Some(bytes) => frame::seq_of(&bytes)?,
            None => 1,
        };
        let cursor = Cursor::new(spec, first);
        let mut batch = WriteBatch::new();
        batch.put(&self.meta, member_key(&cursor.spec.name), cursor.encode());
        self.engine.commit(batch).await?;
        let member = Member::new(cursor);
        let name = member.name.clone();
        self.members.lock().insert(name, Arc::clone(&member));
        Ok(member)
    }

    /// Forgets a consumer. False when there is none.
    pub(crate) async fn unregister(&self, name: &str) -> Result<bool> {
        let _saving = self.saving.lock().await;
        if !self.members.lock().contains_key(name) {
            return Ok(false);
        }
        let mut batch = WriteBatch::new();
        batch.set_reclaims();
        batch.delete(&self.meta, member_key(name));
        self.engine.commit(batch).await?;
        self.members.lock().remove(name);
        Ok(true)
    }

    /// Persists progress, and removes what everyone has worked on, in one batch: a message never
    /// goes before the progress that allows it.
    pub(crate) async fn save(&self) -> Result<()> {
        let _saving = self.saving.lock().await;
        let mut batch = WriteBatch::new();
        batch.set_reclaims();
        let mut dirty = Vec::new();
        let mut floor = None;
        for member in self.members.lock().values() {
            let mut cursor = member.cursor.lock();
            floor = Some(floor.unwrap_or(u64::MAX).min(cursor.floor()));
            if cursor.take_dirty() {
                batch.put(&self.meta, member_key(&member.name), cursor.encode());
                dirty.push(Arc::clone(member));
            }
        }
        let (trim, lowest) = self.log.trim(floor, self.options.unclaimed);
        if !trim.is_empty() {
            batch.put(&self.meta, FLOOR, frame::key(lowest));
            self.log.delete(&mut batch, &trim);
        }
        let now = (self.options.clock)();
        self.dedupe.lock().expire(now, &mut batch);
        if let Err(error) = self.engine.commit(batch).await {
            for member in dirty {
                member.cursor.lock().set_dirty();
            }
            self.log.untrim(trim);
            return Err(error.into());
        }
        Ok(())
    }

    /// Saves every interval until the bus closes.
    pub(crate) async fn keep_saving(self: Arc<Self>) {
        let mut closed = self.closed.subscribe();
        let mut failing = false;
        loop {
            tokio::select! {
                () = tokio::time::sleep(self.options.progress_interval) => {}
                _ = closed.wait_for(|closed| *closed) => return,
            }
            match self.save().await {
                Ok(_) if failing => {
                    failing = false;
                    tracing::info!("consumers' progress is saved again");
                }
                Ok(_) => {}
                // Once, not at every interval: a full disk may stay full for hours.
                Err(error) if !failing => {
                    failing = true;
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "consumers' progress can't be saved now");
                }
                Err(_) => {}
            }
        }
    }
}

fn read_members(meta: &Keyspace) -> Result<BTreeMap<String, Arc<Member>>> {
    let mut members = BTreeMap::new();
    for entry in meta.scan(&Scan::prefix(CONSUMER))? {
        let name = String::from_utf8_lossy(&entry.key[CONSUMER.len()..]).into_owned();
        // Its real settings come when it is taken up; until then only its place counts.
        let spec = ConsumerSpec::new(name.clone(), []);
        let cursor = Cursor::decode(spec, entry.value, Instant::now())?;
        members.insert(name, Member::new(cursor));
    }
    Ok(members)
}

fn member_key(name: &str) -> String {
    format!("{CONSUMER}{name}")
}
