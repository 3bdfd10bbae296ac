//! Tells device-state what was refused: a few each second, and what can't be told now later.

use std::sync::Arc;
use std::time::Duration;

use hearth_proto::devicestate::v1 as ds;
use hearth_runtime::CancellationToken;
use hearth_telemetry::{IntCounter, MetricDef, MetricError, Registry};

use super::Noted;
use crate::edge::Edge;

/// Between two looks at what there is to tell.
const EVERY: Duration = Duration::from_secs(1);
/// Entries that are told at once: so many a second, whatever comes.
const AT_ONCE: usize = 50;

const TOLD: MetricDef = MetricDef::counter(
    "hearth_gateway_refusals_told_total",
    "Refusals told to device-state, put together by whom they concern, why, and by the minute",
);
const NOT_TOLD: MetricDef = MetricDef::counter(
    "hearth_gateway_refusals_not_told_total",
    "Refusals for which there was no room among those that are remembered",
);

/// The metrics of this module.
pub(crate) const METRICS: [MetricDef; 2] = [TOLD, NOT_TOLD];

/// Handles.
pub(super) struct Metrics {
    told: IntCounter,
    pub(super) left_out: IntCounter,
}

impl Metrics {
    pub(super) fn new(registry: &Registry) -> Result<Self, MetricError> {
        Ok(Self {
            told: registry.counter(&TOLD)?,
            left_out: registry.counter(&NOT_TOLD)?,
        })
    }
}

/// Tells until `stop`.
pub(crate) async fn tell(edge: Arc<Edge>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        edge.noted.tell_some(edge.clock.now_micros()).await;
    }
}

impl Noted {
    async fn tell_some(&self, now: i64) {
        let taken = self.table.lock().take(now, AT_ONCE);
        if taken.is_empty() {
            return;
        }
        let refusals: Vec<ds::Refusal> = taken.iter().map(|(_, refusal)| refusal.clone()).collect();
        let count = u64::try_from(refusals.len()).unwrap_or_default();
        let request = ds::NoteRefusalsRequest { refusals };
        match self.device_state.note_refusals(request).await {
            Ok(_) => self.metrics.told.inc_by(count),
            Err(error) => {
                tracing::debug!(%error, "refusals can't be told to device-state now");
                self.table.lock().give_back(taken);
            }
        }
    }
}
