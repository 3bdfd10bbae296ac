//! What all parts of the role share.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use hearth_auth::Sealer;
use hearth_bus::{Bus, Respite};
use hearth_config::Documented;
use hearth_runtime::Clock;
use hearth_store::{DeviceRow, ParameterRow, Result, Store};
use hearth_telemetry::{MetricError, Registry};
use hearth_types::{DeviceKey, Timestamp};
use parking_lot::Mutex;

use crate::DeviceStateConfig;
use crate::alone::Alone;
use crate::cache::{Cache, Known};
use crate::captures::CaptureCache;
use crate::credentials::CredentialCache;
use crate::lifecycle::StanceCache;
use crate::lifecycle::alerts::AlertCache;
use crate::lines::LineCache;
use crate::memory::{Changes, Memory, REMEMBERED};
use crate::metrics::Metrics;
use crate::models::ModelCache;
use crate::online::Online;
use crate::overlay::Overlay;
use crate::parts::Parts;
use crate::policy::PolicyCache;
use crate::profiles::ProfileCache;
use crate::refusals::RefusalState;
use crate::replicas::{Note, Replicas};
use crate::secrets::Secrets;

/// What the role works with.
#[derive(Clone)]
pub struct Dependencies {
    /// Where devices are kept.
    pub store: Arc<dyn Store>,
    /// Where events come from.
    pub bus: Arc<dyn Bus>,
    /// Seals what rests ([`hearth_auth::labels::AT_REST`]). Secret values are bound to
    /// `tenant/device/path`: who seals them before publishing does the same.
    pub sealer: Sealer,
    /// Wall-clock time.
    pub clock: Arc<dyn Clock>,
    /// Where metrics are registered.
    pub registry: Registry,
}

/// The role can't be made.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting can't be used.
    #[error("{key}: {problem}")]
    Config {
        /// Its key.
        key: String,
        /// What is wrong and what is expected.
        problem: String,
    },
    /// A mistake in the program.
    #[error(transparent)]
    Metrics(#[from] MetricError),
}

/// What all parts share.
pub struct Core {
    pub store: Arc<dyn Store>,
    pub bus: Arc<dyn Bus>,
    pub clock: Arc<dyn Clock>,
    pub secrets: Secrets,
    pub config: DeviceStateConfig,
    pub metrics: Metrics,
    pub cache: Cache,
    pub credentials: CredentialCache,
    pub models: ModelCache,
    pub policies: PolicyCache,
    pub profiles: ProfileCache,
    pub stances: StanceCache,
    /// Devices that are known to be expected.
    pub expected: Memory<DeviceKey, ()>,
    pub changes: Changes,
    pub alerts: AlertCache,
    pub lines: LineCache,
    pub captures: CaptureCache,
    pub refusals: RefusalState,
    /// By part.
    online: Vec<Mutex<Online>>,
    pub parts: Parts,
    /// What is known of other processes; `None` when there are none.
    pub replicas: Option<Mutex<Replicas>>,
    /// The last note that the others were given.
    pub told: tokio::sync::Mutex<Option<Note>>,
    pub overlay: Mutex<Overlay>,
    /// Held by whoever applies events or writes the overlay.
    pub turn: tokio::sync::Mutex<Turn>,
    /// Held by whoever reads, changes and writes tags or credentials.
    pub edit: tokio::sync::Mutex<()>,
    /// The indexed parameters.
    pub indexed: HashSet<String>,
}

/// Events whose end the bus is to be told.
#[derive(Debug, Default)]
pub struct Turn {
    /// Written.
    pub done: Vec<Mark>,
    /// Never to be applied, and why.
    pub dead: BTreeMap<Mark, String>,
    /// While that can't be told.
    pub respite: Respite,
    /// To be delivered again.
    pub back: Vec<Mark>,
    /// Those that are kept apart from others.
    pub alone: Alone,
}

/// An event as the bus knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// The part whose consumer it came from.
    pub part: u16,
    /// Its number.
    pub seq: u64,
}

impl Core {
    pub fn new(
        with: Dependencies,
        config: DeviceStateConfig,
        replica: Option<String>,
    ) -> std::result::Result<Self, StartError> {
        if let Some((key, problem)) = config.validate().into_iter().next() {
            return Err(StartError::Config { key, problem });
        }
        let indexed = config.indexed_parameters.iter();
        let remembered = usize::try_from(config.cached_devices).unwrap_or(usize::MAX);
        let parts = match replica {
            Some(_) => Parts::shared(),
            None => Parts::whole(),
        };
        Ok(Self {
            indexed: indexed.map(|path| path.as_str().to_owned()).collect(),
            metrics: Metrics::new(&with.registry)?,
            cache: Cache::new(config.cached_devices),
            credentials: CredentialCache::new(remembered, config.credential_cache_time.get()),
            models: ModelCache::new(),
            policies: PolicyCache::new(),
            profiles: ProfileCache::new(),
            stances: StanceCache::new(remembered),
            expected: Memory::new(remembered, REMEMBERED),
            changes: Changes::new(replica.as_ref().map(|_| config.lease.get())),
            alerts: AlertCache::new(),
            lines: LineCache::new(),
            captures: CaptureCache::new(),
            refusals: RefusalState::new(),
            store: with.store,
            bus: with.bus,
            clock: with.clock,
            secrets: Secrets::new(with.sealer),
            online: parts.all().map(|_| Mutex::default()).collect(),
            parts,
            replicas: replica.map(|id| Mutex::new(Replicas::new(id, config.lease.get()))),
            told: tokio::sync::Mutex::default(),
            overlay: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            edit: tokio::sync::Mutex::default(),
            config,
        })
    }

    pub fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.clock.now_micros())
    }

    /// Who is online of a part.
    pub fn online(&self, part: u16) -> &Mutex<Online> {
        // There is one for each part.
        &self.online[usize::from(part) % self.online.len()]
    }

    /// Who is online of a device's part.
    pub fn online_of(&self, device: &DeviceKey) -> &Mutex<Online> {
        self.online(self.parts.of(device))
    }

    /// A device's row, with what waits for it.
    pub async fn row(&self, device: &DeviceKey) -> Result<Option<DeviceRow>> {
        // The overlay first: what leaves it meanwhile is in the store by then.
        let mut waiting = DeviceRow::new();
        if let Some(pending) = self.overlay.lock().device(device) {
            pending.over_row(&mut waiting);
        }
        let mut row = self.store.device(device).await?.unwrap_or_default();
        for (column, cell) in waiting {
            cell.merge_into(&mut row, column);
        }
        Ok((!row.is_empty()).then_some(row))
    }

    /// Parameters' rows with what waits for them, in the order of the paths; empty where there is
    /// none. The caller holds the turn.
    pub async fn parameter_rows(
        &self,
        device: &DeviceKey,
        paths: &[String],
    ) -> Result<Vec<ParameterRow>> {
        if paths.is_empty() {
            return Ok(Vec::new());
        }
        let stored = self.store.parameters_by_path(device, paths).await?;
        let mut rows: Vec<_> = stored.into_iter().map(Option::unwrap_or_default).collect();
        if let Some(pending) = self.overlay.lock().device(device) {
            for (path, row) in paths.iter().zip(&mut rows) {
                pending.over_parameter(path, row);
            }
        }
        Ok(rows)
    }

    /// What is known of a device in memory; reads its row when it isn't there.
    pub async fn known(&self, device: &DeviceKey) -> Result<Arc<Mutex<Known>>> {
        let tenure = self.parts.tenure(self.parts.of(device));
        if let Some(known) = self.cache.get(device)
            && known.lock().tenure == tenure
        {
            self.metrics.cache_hits.inc();
            return Ok(known);
        }
        self.metrics.cache_misses.inc();
        let row = self.row(device).await?;
        // With several processes, a row may still be behind what another one has in memory: it
        // says what there is, but not that a value is the same.
        let vouched = !self.parts.is_shared();
        Ok(self.cache.insert(device, row.as_ref(), tenure, vouched))
    }
}
