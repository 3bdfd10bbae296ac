//! Small documents.

use hearth_types::{TenantId, Timestamp};

use super::client::Client;
use super::encode::{check_size, document_shard, document_shards_of, event_time, key as checked};
use super::shards::merged;
use super::statements::Statement;
use crate::{Document, DocumentKind, Error, Result};

/// The key of the document by which it is asked whether writes are taken. No lookup begins so.
const PROBE: &str = "probe";

/// All kinds.
pub(super) const KINDS: [DocumentKind; 5] = [
    DocumentKind::Credential,
    DocumentKind::File,
    DocumentKind::Model,
    DocumentKind::Setting,
    DocumentKind::Replica,
];

pub(super) const fn name(kind: DocumentKind) -> &'static str {
    match kind {
        DocumentKind::Credential => "credential",
        DocumentKind::File => "file",
        DocumentKind::Model => "model",
        DocumentKind::Setting => "setting",
        DocumentKind::Replica => "replica",
    }
}

impl Client {
    /// Writes a document.
    pub(super) async fn put_document(
        &self,
        kind: DocumentKind,
        tenant: &TenantId,
        document: &Document,
    ) -> Result<()> {
        check_size(document.payload.len(), "a document")?;
        let key = checked(&document.key, "a document's key")?;
        let values = (
            tenant.as_str(),
            name(kind),
            document_shard(kind, key),
            key,
            document.payload.as_slice(),
            event_time(document.time)?,
        );
        self.run(Statement::DocumentPut, values).await
    }

    /// Writes a document unless there is one of its key, which is answered. Decided among the replicas, which
    /// give it the time of the decision.
    pub(super) async fn create_document(
        &self,
        kind: DocumentKind,
        tenant: &TenantId,
        document: &Document,
    ) -> Result<Option<Document>> {
        check_size(document.payload.len(), "a document")?;
        let key = checked(&document.key, "a document's key")?;
        let shard = document_shard(kind, key);
        let payload = document.payload.as_slice();
        let values = (tenant.as_str(), name(kind), shard, key, payload);
        // What a try did whose answer was lost reads as somebody else's: the payload tells.
        let entered = self.decide(Statement::DocumentEnter, values).await?;
        let values = (tenant.as_str(), name(kind), shard, key);
        let row: Option<(Vec<u8>, i64)> = self.row_decided(Statement::DocumentRead, values).await?;
        match row {
            Some((found, _)) if found == payload => Ok(None),
            Some((payload, time)) if !entered => Ok(Some(Document {
                key: key.to_owned(),
                time: Timestamp::from_micros(time),
                payload,
            })),
            // Written over by a plain write, or taken away, or behind a delete by a clock that is ahead.
            _ => Err(Error::Unavailable(
                "a document was changed while it was entered".into(),
            )),
        }
    }

    /// Writes a document that says nothing, with the time of none: it can be made by all processes, again and
    /// again, and stays one small row.
    pub(super) async fn probe(&self) -> Result<()> {
        let document = Document {
            key: PROBE.to_owned(),
            time: Timestamp::ZERO,
            payload: Vec::new(),
        };
        let tenant = TenantId::default();
        self.put_document(DocumentKind::Setting, &tenant, &document)
            .await
    }

    /// A document.
    pub(super) async fn document(
        &self,
        kind: DocumentKind,
        tenant: &TenantId,
        key: &str,
    ) -> Result<Option<Document>> {
        let values = (tenant.as_str(), name(kind), document_shard(kind, key), key);
        let row: Option<(Vec<u8>, i64)> = self.row(Statement::DocumentRead, values).await?;
        Ok(row.map(|(payload, time)| Document {
            key: key.to_owned(),
            time: Timestamp::from_micros(time),
            payload,
        }))
    }

    /// Documents whose keys begin with `prefix`, in the order of their keys.
    pub(super) async fn documents(
        &self,
        kind: DocumentKind,
        tenant: &TenantId,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Document>> {
        let behind = |key: &str| format!("{key}\0");
        let start = match after.filter(|after| *after >= prefix) {
            Some(after) => behind(after),
            None => prefix.to_owned(),
        };
        let (start, end) = (&start, &format!("{prefix}{}", char::MAX));
        let fetch = move |shard: i8, last: Option<Found>, size: usize| async move {
            let from = last.map_or_else(|| start.clone(), |last| behind(&last.0.key));
            let most = i32::try_from(size).unwrap_or(i32::MAX);
            let values = (tenant.as_str(), name(kind), shard, from, end, most);
            let rows: Vec<(String, Vec<u8>, i64)> =
                self.rows(Statement::DocumentList, values).await?;
            let found = rows.into_iter().map(|(key, payload, time)| {
                let time = Timestamp::from_micros(time);
                Found(Document { key, time, payload })
            });
            Ok(found
                .take_while(|found| found.0.key.starts_with(prefix))
                .collect())
        };
        let found = merged(document_shards_of(kind, prefix), limit, fetch).await?;
        Ok(found.into_iter().map(|found| found.0).collect())
    }

    /// Deletes a document as it is now; answers whether there was one.
    pub(super) async fn delete_document(
        &self,
        kind: DocumentKind,
        tenant: &TenantId,
        key: &str,
    ) -> Result<bool> {
        let Some(known) = self.document(kind, tenant, key).await? else {
            return Ok(false);
        };
        let shard = document_shard(kind, key);
        let values = (
            known.time.as_micros(),
            tenant.as_str(),
            name(kind),
            shard,
            key,
        );
        self.run(Statement::DocumentDelete, values).await?;
        Ok(true)
    }
}

/// A document in the order of keys.
#[derive(Clone, PartialEq, Eq)]
struct Found(Document);

impl PartialOrd for Found {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Found {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.key.cmp(&other.0.key)
    }
}
