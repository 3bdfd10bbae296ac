//! The bytes of files, as objects: on the local disk now, in any object store
//! by the same interface.

use futures::{StreamExt, TryStreamExt};
use hearth_clients::{ByteStream, Error, Kind};
use hearth_types::TenantId;
use object_store::{
    GetOptions, GetRange, ObjectStore, ObjectStoreExt, WriteMultipart, local::LocalFileSystem,
    path::Path,
};
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, fmt::Write as _, ops::Range, sync::Arc, time::SystemTime};
use ulid::Ulid;

/// Objects younger than this are left alone by a sweep: their file may be on
/// its way into the catalog.
const SWEEP_AGE: std::time::Duration = std::time::Duration::from_secs(24 * 3600);

/// A write that has gathered nothing for so long is one that was cut off: a
/// device's stalls and the API's are shorter.
const STAGED_AGE: std::time::Duration = std::time::Duration::from_secs(600);

/// Where objects are.
#[derive(Clone)]
pub struct Objects(Arc<dyn ObjectStore>);

/// An object that was written.
pub struct Written {
    pub object: String,
    pub size: u64,
    /// 64 hexadecimal digits.
    pub sha256: String,
}

impl Objects {
    /// Objects below a directory; synced to disk before a write returns. What
    /// writes that were cut off have left goes first.
    pub fn local(directory: &std::path::Path) -> std::io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        remove_staged(directory)?;
        let store = LocalFileSystem::new_with_prefix(directory)
            .map_err(std::io::Error::other)?
            .with_fsync(true);
        Ok(Self(Arc::new(store)))
    }

    /// Writes a new object of a tenant, at most `limit` bytes. On an error
    /// nothing stays.
    pub async fn write(
        &self,
        tenant: &TenantId,
        mut content: ByteStream,
        limit: u64,
    ) -> Result<Written, Error> {
        let name = Ulid::generate().to_string().to_ascii_lowercase();
        let object = format!("{tenant}/{name}");
        let path = Path::from(object.as_str());
        let upload = self.0.put_multipart(&path).await.map_err(storage)?;
        let mut writer = WriteMultipart::new(upload);
        let mut hasher = Sha256::new();
        let mut size = 0;
        let copied = loop {
            match content.next().await {
                None => break Ok(()),
                Some(Err(error)) => break Err(error),
                Some(Ok(chunk)) => {
                    size += chunk.len() as u64;
                    if size > limit {
                        let text = format!("the file is larger than {limit} bytes");
                        break Err(Error::invalid("content", text));
                    }
                    hasher.update(&chunk);
                    // Bounds what waits in memory when the disk is slower.
                    if let Err(error) = writer.wait_for_capacity(2).await {
                        break Err(storage(error));
                    }
                    writer.put(chunk);
                }
            }
        };
        if let Err(error) = copied {
            let _ = writer.abort().await;
            return Err(error);
        }
        writer.finish().await.map_err(storage)?;
        Ok(Written {
            object,
            size,
            sha256: hex(&hasher.finalize()),
        })
    }

    /// Reads an object, or a part of it.
    pub async fn read(&self, object: &str, range: Option<Range<u64>>) -> Result<ByteStream, Error> {
        let options = GetOptions {
            range: range.map(GetRange::Bounded),
            ..GetOptions::default()
        };
        let path = Path::from(object);
        let found = self.0.get_opts(&path, options).await.map_err(storage)?;
        Ok(found.into_stream().map_err(storage).boxed())
    }

    /// Deletes an object; one that is gone already is fine.
    pub async fn delete(&self, object: &str) -> Result<(), Error> {
        match self.0.delete(&Path::from(object)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(storage(error)),
        }
    }

    /// Objects that are old enough for a sweep, by the tenant they are of.
    pub async fn old(&self) -> Result<BTreeMap<TenantId, Vec<String>>, Error> {
        let mut old: BTreeMap<TenantId, Vec<String>> = BTreeMap::new();
        let objects: Vec<_> = self.0.list(None).try_collect().await.map_err(storage)?;
        for meta in objects {
            let modified: SystemTime = meta.last_modified.into();
            let is_old = modified.elapsed().is_ok_and(|age| age > SWEEP_AGE);
            let path = meta.location.as_ref();
            let tenant = path
                .split_once('/')
                .and_then(|(tenant, _)| tenant.parse().ok());
            if let (true, Some(tenant)) = (is_old, tenant) {
                old.entry(tenant).or_default().push(path.to_owned());
            }
        }
        Ok(old)
    }
}

/// Removes the files in which a write gathers (`{object}#{number}`) and that
/// nobody writes to any more: another process may share the directory.
fn remove_staged(directory: &std::path::Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_staged(&entry.path())?;
            continue;
        }
        let is_staged = entry.file_name().to_string_lossy().contains('#');
        let age = || {
            entry
                .metadata()
                .and_then(|found| found.modified())
                .map(|at| at.elapsed())
        };
        if is_staged && age().is_ok_and(|age| age.is_ok_and(|age| age > STAGED_AGE)) {
            match std::fs::remove_file(entry.path()) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}

/// Turns an object store's error into one without paths; the cause is logged.
fn storage(error: object_store::Error) -> Error {
    tracing::warn!(error = %error, "object storage");
    let full = std::error::Error::source(&error)
        .and_then(|source| source.downcast_ref::<std::io::Error>())
        .is_some_and(|io| io.kind() == std::io::ErrorKind::StorageFull);
    if full {
        Error::new(Kind::ResourceExhausted, "the disk for files is full")
    } else {
        Error::unavailable("the storage for files can't be used now")
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// One piece of bytes as a stream.
#[cfg(test)]
pub fn once(bytes: &'static [u8]) -> ByteStream {
    futures::stream::once(async move { Ok(bytes::Bytes::from_static(bytes)) }).boxed()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn an_object_reads_back_whole_and_in_part() {
        let dir = tempfile::tempdir().unwrap();
        let objects = Objects::local(dir.path()).unwrap();
        let written = objects
            .write(&TenantId::default(), once(b"0123456789"), 10)
            .await
            .unwrap();
        assert_eq!(written.size, 10);
        let read = |range| {
            let objects = objects.clone();
            let object = written.object.clone();
            async move {
                let stream = objects.read(&object, range).await.unwrap();
                stream
                    .try_collect::<Vec<bytes::Bytes>>()
                    .await
                    .unwrap()
                    .concat()
            }
        };
        assert_eq!(read(None).await, b"0123456789");
        assert_eq!(read(Some(2..5)).await, b"234");
        objects.delete(&written.object).await.unwrap();
        objects.delete(&written.object).await.unwrap();
    }

    #[tokio::test]
    async fn too_much_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let objects = Objects::local(dir.path()).unwrap();
        assert!(
            objects
                .write(&TenantId::default(), once(b"0123456789"), 9)
                .await
                .is_err()
        );
        let left: Vec<_> = objects.0.list(None).try_collect().await.unwrap();
        assert!(left.is_empty());
    }

    #[tokio::test]
    async fn what_a_kill_left_half_written_goes_at_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        let half = dir.path().join("default/01abc#1");
        std::fs::create_dir(dir.path().join("default")).unwrap();
        std::fs::write(&half, b"half").unwrap();
        Objects::local(dir.path()).unwrap();
        assert!(half.exists(), "another process may be writing it");
        let file = std::fs::File::options().append(true).open(&half).unwrap();
        file.set_modified(SystemTime::now() - STAGED_AGE * 2)
            .unwrap();
        let objects = Objects::local(dir.path()).unwrap();
        assert!(!half.exists());
        let tenant = TenantId::default();
        objects.write(&tenant, once(b"whole"), 9).await.unwrap();
        assert!(objects.old().await.unwrap().is_empty(), "young ones stay");
    }
}
