//! A transfer that the device has cancelled: its task ends with it.

use super::Turn;
use crate::{
    ledger::Work,
    service::{CONFLICTS, TRIES},
    settle::Op,
};
use hearth_clients::{Error, Result};
use hearth_proto::types::v1::TaskState;
use hearth_types::TaskId;

impl Turn<'_> {
    /// Ends the task of a transfer that `by` has cancelled at the device. Durable before `by` ends,
    /// so that what is left of a crash between the two is a cancellation that is made again.
    pub(super) async fn end_cancelled(&self, id: TaskId, by: TaskId) -> Result<()> {
        for _ in 0..TRIES {
            if self.end_once(id, by).await? {
                return Ok(());
            }
        }
        Err(Error::unavailable(CONFLICTS))
    }

    /// `false`: another replica has written the task meanwhile.
    async fn end_once(&self, id: TaskId, by: TaskId) -> Result<bool> {
        let inner = self.inner;
        let found = inner.ledger.sound(&self.device.tenant, id).await?;
        let mine = |work: &Work| work.device == self.device && work.is_open();
        let Some(mut work) = found.filter(mine) else {
            return Ok(true);
        };
        let mut ops: Vec<Op> = Vec::new();
        work.progress.uncertain = false;
        let reason = format!("cancelled at the device, by task {by}");
        inner.end(&mut work, TaskState::Cancelled, reason, self.now, &mut ops);
        let mut works = [work];
        let recorded = inner.record(&self.device, &self.session, self.epoch, &mut works, &ops);
        recorded.await
    }
}
