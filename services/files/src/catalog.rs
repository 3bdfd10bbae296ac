//! Metadata of files, as documents of the store.

use hearth_clients::{Error, Result};
use hearth_proto::files::v1::File;
use hearth_store::{Document, DocumentKind, Store};
use hearth_types::{TaskId, TenantId, Timestamp};
use prost::Message;
use std::{collections::HashSet, sync::Arc};

/// A file as it is kept: what is told of it, and which object has its bytes.
#[derive(Clone, PartialEq, Message)]
pub struct Kept {
    #[prost(message, optional, tag = "1")]
    pub file: Option<File>,
    #[prost(string, tag = "2")]
    pub object: String,
}

/// The documents.
#[derive(Clone)]
pub struct Catalog(pub Arc<dyn Store>);

/// Documents are read in pages of this size.
const PAGE: usize = 500;

impl Catalog {
    /// A file.
    pub async fn get(&self, tenant: &TenantId, name: &str) -> Result<Option<(File, String)>> {
        let document = self.0.document(DocumentKind::File, tenant, name).await?;
        document.map(|document| read(&document)).transpose()
    }

    /// Keeps a file's metadata, whatever is kept under its name.
    pub async fn put(&self, tenant: &TenantId, file: &File, object: &str) -> Result<()> {
        self.0
            .put_document(DocumentKind::File, tenant, kept(file, object))
            .await
            .map_err(Error::from)
    }

    /// Keeps a file's metadata unless there is a file of its name, which is answered. The store decides: another
    /// replica may be about to take the name.
    pub async fn create(
        &self,
        tenant: &TenantId,
        file: &File,
        object: &str,
    ) -> Result<Option<File>> {
        let document = kept(file, object);
        let present = self
            .0
            .create_document(DocumentKind::File, tenant, document)
            .await?;
        let present = present.map(|document| read(&document)).transpose()?;
        Ok(present.map(|(file, _)| file))
    }

    /// Forgets a file; answers whether there was one.
    pub async fn delete(&self, tenant: &TenantId, name: &str) -> Result<bool> {
        self.0
            .delete_document(DocumentKind::File, tenant, name)
            .await
            .map_err(Error::from)
    }

    /// Files after a name, in their order.
    pub async fn list(
        &self,
        tenant: &TenantId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(File, String)>> {
        let documents = self
            .0
            .documents(DocumentKind::File, tenant, "", after, limit)
            .await?;
        documents.iter().map(read).collect()
    }

    /// The objects of all files of a tenant.
    pub async fn objects(&self, tenant: &TenantId) -> Result<HashSet<String>> {
        let mut objects = HashSet::new();
        let mut after = None;
        loop {
            let page = self.list(tenant, after.as_deref(), PAGE).await?;
            let is_last = page.len() < PAGE;
            after = page.last().map(|(file, _)| file.name.clone());
            objects.extend(page.into_iter().map(|(_, object)| object));
            if is_last {
                return Ok(objects);
            }
        }
    }

    /// Remembers what an upload will be, under its file's name.
    pub async fn expect_upload(&self, tenant: &TenantId, file: &File) -> Result<()> {
        let document = document(&expected_key(&file.name), file.create_time_us, file);
        self.0
            .put_document(DocumentKind::Setting, tenant, document)
            .await
            .map_err(Error::from)
    }

    /// Remembers that a task's credential was used.
    pub async fn note_begun(&self, tenant: &TenantId, task: TaskId, now: Timestamp) -> Result<()> {
        if self.has_begun(tenant, task).await? {
            return Ok(());
        }
        let document = document(&begun_key(task), now.as_micros(), &File::default());
        self.0
            .put_document(DocumentKind::Setting, tenant, document)
            .await
            .map_err(Error::from)
    }

    /// Whether a task's credential was used.
    pub async fn has_begun(&self, tenant: &TenantId, task: TaskId) -> Result<bool> {
        let key = begun_key(task);
        let found = self.0.document(DocumentKind::Setting, tenant, &key).await;
        Ok(found?.is_some())
    }

    /// What an upload of this name is to be.
    pub async fn expected_upload(&self, tenant: &TenantId, name: &str) -> Result<Option<File>> {
        let document = self
            .0
            .document(DocumentKind::Setting, tenant, &expected_key(name))
            .await?;
        document
            .map(|document| File::decode(document.payload.as_slice()).map_err(|_| damaged(name)))
            .transpose()
    }
}

fn expected_key(name: &str) -> String {
    format!("expected-upload/{name}")
}

fn begun_key(task: TaskId) -> String {
    format!("begun-transfer/{task}")
}

fn kept(file: &File, object: &str) -> Document {
    let kept = Kept {
        file: Some(file.clone()),
        object: object.to_owned(),
    };
    document(&file.name, file.create_time_us, &kept)
}

fn document(key: &str, time_us: i64, message: &impl Message) -> Document {
    Document {
        key: key.to_owned(),
        time: Timestamp::from_micros(time_us),
        payload: message.encode_to_vec(),
    }
}

fn read(document: &Document) -> Result<(File, String)> {
    let kept = Kept::decode(document.payload.as_slice()).map_err(|_| damaged(&document.key))?;
    let file = kept.file.ok_or_else(|| damaged(&document.key))?;
    Ok((file, kept.object))
}

fn damaged(name: &str) -> Error {
    tracing::error!(file = name, "the metadata of a file can't be read");
    Error::internal("the metadata of a file can't be read")
}
