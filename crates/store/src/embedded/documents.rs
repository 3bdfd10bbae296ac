//! Small documents.

use hearth_engine::{Scan, WriteBatch};
use hearth_types::{TenantId, Timestamp};
use prost::Message;

use super::rows::DocumentProto;
use super::{EmbeddedStore, Spaces, keys, rows};
use crate::{Document, DocumentKind, Result};

impl EmbeddedStore {
    pub(super) async fn write_document(
        &self,
        kind: DocumentKind,
        tenant: &TenantId,
        document: Document,
    ) -> Result<()> {
        let lock = std::iter::once((kind, tenant, document.key.as_str()));
        let guards = self.inner.documents.all(lock).await;
        let spaces = &self.inner.spaces;
        let old = get(spaces, kind, tenant, &document.key)?;
        let later = |old: Document| {
            (old.time, old.payload.as_slice()) >= (document.time, document.payload.as_slice())
        };
        if old.is_some_and(later) {
            return Ok(());
        }
        self.commit(batch(spaces, kind, tenant, document), guards)
            .await
    }

    pub(super) async fn enter_document(
        &self,
        kind: DocumentKind,
        tenant: &TenantId,
        document: Document,
    ) -> Result<Option<Document>> {
        let lock = std::iter::once((kind, tenant, document.key.as_str()));
        let guards = self.inner.documents.all(lock).await;
        let spaces = &self.inner.spaces;
        let present = get(spaces, kind, tenant, &document.key)?;
        if present.is_none() {
            self.commit(batch(spaces, kind, tenant, document), guards)
                .await?;
        }
        Ok(present)
    }

    pub(super) async fn remove_document(
        &self,
        kind: DocumentKind,
        tenant: &TenantId,
        key: &str,
    ) -> Result<bool> {
        let lock = std::iter::once((kind, tenant, key));
        let guards = self.inner.documents.all(lock).await;
        let spaces = &self.inner.spaces;
        let key = keys::document(kind, tenant, key);
        if !spaces.document.contains(&key)? {
            return Ok(false);
        }
        let mut batch = WriteBatch::new();
        batch.set_reclaims();
        batch.delete(&spaces.document, key);
        self.commit(batch, guards).await?;
        Ok(true)
    }
}

/// What writes a document.
fn batch(spaces: &Spaces, kind: DocumentKind, tenant: &TenantId, document: Document) -> WriteBatch {
    let row = DocumentProto {
        time: document.time.as_micros(),
        payload: document.payload,
    };
    let mut batch = WriteBatch::new();
    let key = keys::document(kind, tenant, &document.key);
    batch.put(&spaces.document, key, row.encode_to_vec());
    batch
}

/// A document.
pub fn get(
    spaces: &Spaces,
    kind: DocumentKind,
    tenant: &TenantId,
    key: &str,
) -> Result<Option<Document>> {
    let stored = spaces.document.get(keys::document(kind, tenant, key))?;
    stored.map(|bytes| read(key, &bytes)).transpose()
}

fn read(key: &str, bytes: &[u8]) -> Result<Document> {
    let row: DocumentProto = rows::read(bytes, "document")?;
    Ok(Document {
        key: key.to_owned(),
        time: Timestamp::from_micros(row.time),
        payload: row.payload,
    })
}

/// Documents whose keys begin with `prefix`.
pub fn list(
    spaces: &Spaces,
    kind: DocumentKind,
    tenant: &TenantId,
    prefix: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<Document>> {
    let mut scan = Scan::prefix(keys::document(kind, tenant, prefix)).limit(limit);
    if let Some(after) = after.filter(|after| *after >= prefix) {
        scan = scan.after(keys::document(kind, tenant, after));
    }
    let start = keys::document(kind, tenant, "").len();
    let entries = spaces.document.scan(&scan)?;
    entries
        .iter()
        .map(|e| read(keys::text(&e.key[start..], "document")?, &e.value))
        .collect()
}
