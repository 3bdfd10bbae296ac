//! Documents come to the partitions where this version looks for them.
//!
//! Up to the second version each was placed by its whole key, so that whoever wanted those of one
//! device asked sixteen partitions for them. Moving can be broken off and made again: each is
//! written in its new place, with its time, before it goes from the old one.

use futures::stream::{self, TryStreamExt as _};
use scylla::serialize::row::SerializeRow;

use super::super::client::OwnedRow;
use super::super::connect::ConnectError;
use super::super::documents::{KINDS, name};
use super::super::encode::document_shard;
use super::Schema;

/// The version in which they are so.
pub(super) const SINCE: i32 = 3;
/// Documents that are read at once.
const PAGE: i32 = 500;
/// And moved at once.
const AT_ONCE: usize = 32;

/// A partition's tenant, kind and number.
type Place = (String, String, i8);

impl Schema<'_> {
    /// Moves those that are elsewhere.
    pub(super) async fn place_documents(&self) -> Result<(), ConnectError> {
        let mut moved = 0;
        for place in self.all_places().await? {
            moved += self.place_those_of(&place).await?;
        }
        if moved > 0 {
            tracing::info!(
                keyspace = self.keyspace,
                moved,
                "documents are where this version looks for them"
            );
        }
        Ok(())
    }

    /// All partitions, in pages: there are up to 16 of each tenant and kind.
    async fn all_places(&self) -> Result<Vec<Place>, ConnectError> {
        let all = self.named("SELECT DISTINCT tenant, kind, shard FROM $.document");
        let pages = self.session.query_iter(all, ()).await;
        let pages = pages.map_err(|error| self.damaged(error))?;
        let rows = pages.rows_stream::<Place>();
        let rows = rows.map_err(|error| self.damaged(error))?;
        rows.map_err(|error| self.damaged(error))
            .try_collect()
            .await
    }

    fn damaged(&self, error: impl std::error::Error) -> ConnectError {
        ConnectError::Schema {
            keyspace: self.keyspace.to_owned(),
            reason: error.to_string(),
        }
    }

    /// The rows that a query answers.
    async fn read<R: OwnedRow>(
        &self,
        text: &str,
        values: &impl SerializeRow,
    ) -> Result<Vec<R>, ConnectError> {
        let found = self.ask(&self.named(text), values).await?;
        let found = found.into_rows_result();
        let found = found.map_err(|error| self.damaged(error))?;
        let rows = found.rows::<R>();
        let rows = rows.map_err(|error| self.damaged(error))?;
        rows.map(|row| row.map_err(|error| self.damaged(error)))
            .collect()
    }

    /// Moves those of a partition that belong elsewhere; answers how many.
    async fn place_those_of(&self, place: &Place) -> Result<usize, ConnectError> {
        let (tenant, kind, shard) = place;
        // A newer version's kind is not known here.
        let Some(known) = KINDS.into_iter().find(|known| name(*known) == kind) else {
            return Ok(0);
        };
        let text = "SELECT key FROM $.document \
                    WHERE tenant = ? AND kind = ? AND shard = ? AND key > ? LIMIT ?";
        let (mut behind, mut moved) = (String::new(), 0);
        loop {
            let rows = self
                .read::<(String,)>(text, &(tenant, kind, shard, &behind, PAGE))
                .await?;
            let Some((last,)) = rows.last() else {
                return Ok(moved);
            };
            behind.clone_from(last);
            let elsewhere: Vec<(i8, String)> = rows
                .into_iter()
                .map(|(key,)| (document_shard(known, &key), key))
                .filter(|(right, _)| right != shard)
                .collect();
            moved += elsewhere.len();
            stream::iter(elsewhere.into_iter().map(Ok))
                .try_for_each_concurrent(AT_ONCE, |(right, key)| self.place(place, right, key))
                .await?;
            tracing::debug!(tenant, kind, shard, moved, "documents are being moved");
        }
    }

    /// Moves one.
    async fn place(&self, place: &Place, right: i8, key: String) -> Result<(), ConnectError> {
        let (tenant, kind, wrong) = place;
        // Its payload and that payload's time.
        let get = "SELECT payload, WRITETIME(payload) FROM $.document \
                   WHERE tenant = ? AND kind = ? AND shard = ? AND key = ?";
        let found = self
            .read::<(Vec<u8>, i64)>(get, &(tenant, kind, wrong, &key))
            .await?;
        let Some((payload, time)) = found.into_iter().next() else {
            return Ok(());
        };
        let put = "INSERT INTO $.document (tenant, kind, shard, key, payload) \
                   VALUES (?, ?, ?, ?, ?) USING TIMESTAMP ?";
        self.ask(
            &self.named(put),
            &(tenant, kind, right, &key, payload, time),
        )
        .await?;
        // Something newer there would be written by an older version that still runs.
        let delete = "DELETE FROM $.document USING TIMESTAMP ? \
                      WHERE tenant = ? AND kind = ? AND shard = ? AND key = ?";
        self.ask(&self.named(delete), &(time, tenant, kind, wrong, &key))
            .await?;
        Ok(())
    }
}
