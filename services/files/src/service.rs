//! The role: keeps files and makes the credentials of transfers.

use crate::catalog::Catalog;
use crate::metrics::Metrics;
use crate::objects::{Objects, Written};
use crate::ticket::{Direction, Ticket};
use crate::{FilesConfig, http};
use async_trait::async_trait;
use axum::Router;
use hearth_auth::{DigestOptions, DigestServer, SecretKeys, labels};
use hearth_clients::{ByteStream, Error, Files, Kind, Result};
use hearth_proto::files::v1 as pb;
use hearth_runtime::Clock;
use hearth_store::Store;
use hearth_telemetry::{MetricError, Registry};
use hearth_types::{TaskId, TenantId};
use std::{path::Path, sync::Arc};
use tokio::sync::Mutex;

/// The longest URL that a Download may have (TR-069 A.3.2.8).
const MAX_URL: usize = 256;

/// Why the role can't be made.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// Its directory can't be used.
    #[error("the directory for files can't be used")]
    Directory(#[from] std::io::Error),
    /// A key can't be derived.
    #[error(transparent)]
    Key(#[from] hearth_auth::KeyError),
    /// Its metrics can't be registered.
    #[error(transparent)]
    Metrics(#[from] MetricError),
    /// `files.public_url` is no URL.
    #[error("files.public_url: expected http://host[:port][/path] or https://…")]
    PublicUrl,
}

/// The files role.
#[derive(Clone)]
pub struct FilesService {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub config: FilesConfig,
    /// Where URLs begin; holds `{host}` where no public URL is configured.
    base_url: String,
    pub catalog: Catalog,
    pub objects: Objects,
    /// What tickets are made with; the current one first.
    pub keys: Vec<zeroize::Zeroizing<[u8; 32]>>,
    pub digest: DigestServer,
    pub clock: Arc<dyn Clock>,
    pub metrics: Metrics,
    /// Reading what is replaced and replacing it is one step.
    naming: Mutex<()>,
}

impl FilesService {
    /// The role over a store and a directory for bytes. `port` is the one that
    /// its router is served on.
    ///
    /// # Errors
    /// See [`FilesError`].
    pub fn new(
        config: FilesConfig,
        port: u16,
        directory: &Path,
        store: Arc<dyn Store>,
        keys: &SecretKeys,
        clock: Arc<dyn Clock>,
        registry: &Registry,
    ) -> std::result::Result<Self, FilesError> {
        let base_url = base_url(&config, port)?;
        let inner = Inner {
            base_url,
            catalog: Catalog(store),
            objects: Objects::local(directory)?,
            keys: keys.derived_ring(labels::FILE_ACCESS)?,
            digest: DigestServer::new(keys.digest_nonces()?, DigestOptions::new("Hearth files")),
            clock,
            metrics: Metrics::new(registry)?,
            config,
            naming: Mutex::new(()),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// What devices ask: `GET /d/{tenant}/{file}`, `PUT /u/{tenant}/{file}`.
    pub fn router(&self) -> Router {
        http::router(self.clone())
    }

    /// Deletes bytes that no file names: what a kill between writing and
    /// cataloguing left behind. Answers how many objects went.
    ///
    /// # Errors
    /// When the storage or the catalog can't be read.
    pub async fn sweep(&self) -> Result<usize> {
        let mut swept = 0;
        for (tenant, objects) in self.inner.objects.old().await? {
            let named = self.inner.catalog.objects(&tenant).await?;
            for object in objects.iter().filter(|object| !named.contains(*object)) {
                self.inner.objects.delete(object).await?;
                swept += 1;
            }
        }
        Ok(swept)
    }

    /// Keeps what was written under the name in `file`.
    pub(crate) async fn keep(
        &self,
        mut file: pb::File,
        written: Written,
        replace: bool,
    ) -> Result<pb::File> {
        let inner = &self.inner;
        let tenant: TenantId = file.tenant.parse()?;
        file.size = written.size;
        file.sha256 = written.sha256;
        file.create_time_us = inner.clock.now().as_micros();
        if replace {
            return self.replace(&tenant, file, &written.object).await;
        }
        let object = &written.object;
        let Some(present) = inner.catalog.create(&tenant, &file, object).await? else {
            return Ok(file);
        };
        inner.objects.delete(object).await?;
        if present.sha256 == file.sha256 && present.file_type == file.file_type {
            return Ok(present);
        }
        Err(Error::new(
            Kind::AlreadyExists,
            format!(
                "there is a file {} with other content; choose another name or delete it",
                file.name
            ),
        ))
    }

    /// The last one counts. Of two replicas that replace at once the bytes of one may stay without a name; the sweep
    /// takes them.
    async fn replace(&self, tenant: &TenantId, file: pb::File, object: &str) -> Result<pb::File> {
        let inner = &self.inner;
        let _naming = inner.naming.lock().await;
        let present = inner.catalog.get(tenant, &file.name).await?;
        inner.catalog.put(tenant, &file, object).await?;
        if let Some((_, replaced)) = present {
            inner.objects.delete(&replaced).await?;
        }
        Ok(file)
    }
}

#[async_trait]
impl Files for FilesService {
    async fn put_file(
        &self,
        metadata: pb::File,
        content: ByteStream,
    ) -> Result<pb::PutFileResponse> {
        check_name(&metadata.name)?;
        let tenant: TenantId = metadata.tenant.parse()?;
        if metadata.file_type.is_empty() || metadata.file_type.chars().count() > 64 {
            return Err(Error::invalid(
                "file_type",
                "expected a CWMP FileType of at most 64 characters, such as `1 Firmware Upgrade Image`",
            ));
        }
        let written = self
            .inner
            .objects
            .write(&tenant, content, self.inner.config.max_file_size.0)
            .await?;
        if let Err(error) = check_content(&metadata, &written) {
            self.inner.objects.delete(&written.object).await?;
            return Err(error);
        }
        let file = self.keep(metadata, written, false).await?;
        Ok(pb::PutFileResponse { file: Some(file) })
    }

    async fn get_file(&self, request: pb::GetFileRequest) -> Result<pb::GetFileResponse> {
        let (file, _) = self.find(&request.tenant, &request.name).await?;
        Ok(pb::GetFileResponse { file: Some(file) })
    }

    async fn read_file(&self, request: pb::ReadFileRequest) -> Result<ByteStream> {
        let (_, object) = self.find(&request.tenant, &request.name).await?;
        self.inner.objects.read(&object, None).await
    }

    async fn list_files(&self, request: pb::ListFilesRequest) -> Result<pb::ListFilesResponse> {
        let tenant = request.tenant.parse()?;
        let limit = match request.page_size {
            0 => 50,
            size => size.min(1000) as usize,
        };
        let after = (!request.page_token.is_empty()).then_some(request.page_token.as_str());
        let found = self.inner.catalog.list(&tenant, after, limit).await?;
        let next_page_token = match found.last() {
            Some((file, _)) if found.len() == limit => file.name.clone(),
            _ => String::new(),
        };
        Ok(pb::ListFilesResponse {
            files: found.into_iter().map(|(file, _)| file).collect(),
            next_page_token,
        })
    }

    async fn delete_file(&self, request: pb::DeleteFileRequest) -> Result<pb::DeleteFileResponse> {
        let (_, object) = self.find(&request.tenant, &request.name).await?;
        let tenant = request.tenant.parse()?;
        self.inner.catalog.delete(&tenant, &request.name).await?;
        self.inner.objects.delete(&object).await?;
        Ok(pb::DeleteFileResponse {})
    }

    async fn prepare_transfer(
        &self,
        request: pb::PrepareTransferRequest,
    ) -> Result<pb::PrepareTransferResponse> {
        let task: TaskId = request.task.parse()?;
        let mut made = if request.file.is_empty() {
            self.prepare_upload(&request, task).await?
        } else {
            let (file, _) = self.find(&request.tenant, &request.file).await?;
            self.prepare(
                &request,
                Direction::Download,
                task,
                &request.file,
                file.size,
            )?
        };
        let tenant = request.tenant.parse()?;
        made.begun = self.inner.catalog.has_begun(&tenant, task).await?;
        if made.begun && !made.file.is_empty() {
            made.kept = self.inner.catalog.get(&tenant, &made.file).await?.is_some();
        }
        Ok(made)
    }
}

impl FilesService {
    async fn find(&self, tenant: &str, name: &str) -> Result<(pb::File, String)> {
        let tenant = tenant.parse()?;
        self.inner
            .catalog
            .get(&tenant, name)
            .await?
            .ok_or_else(|| Error::not_found(format!("there is no file {name}")))
    }

    async fn prepare_upload(
        &self,
        request: &pb::PrepareTransferRequest,
        task: TaskId,
    ) -> Result<pb::PrepareTransferResponse> {
        let name = format!("upload-{task}");
        let expected = pb::File {
            tenant: request.tenant.clone(),
            name: name.clone(),
            file_type: request.upload_file_type.clone(),
            device: request.device.clone(),
            task: request.task.clone(),
            create_time_us: self.inner.clock.now().as_micros(),
            ..pb::File::default()
        };
        let tenant = request.tenant.parse()?;
        self.inner.catalog.expect_upload(&tenant, &expected).await?;
        self.prepare(request, Direction::Upload, task, &name, 0)
    }

    fn prepare(
        &self,
        request: &pb::PrepareTransferRequest,
        direction: Direction,
        task: TaskId,
        file: &str,
        file_size: u64,
    ) -> Result<pb::PrepareTransferResponse> {
        let ticket = Ticket {
            direction,
            tenant: &request.tenant,
            file,
            task,
            expires: request.expire_time_us / 1_000_000,
        };
        let Some(key) = self.inner.keys.first() else {
            return Err(Error::internal("there is no key for transfers"));
        };
        let password = ticket.password(key);
        let letter = match direction {
            Direction::Download => 'd',
            Direction::Upload => 'u',
        };
        let url = format!("{}/{letter}/{}/{file}", self.inner.base_url, request.tenant);
        if url.len() > MAX_URL {
            return Err(Error::invalid(
                "file",
                format!("the URL would be over {MAX_URL} characters; shorten the file's name"),
            ));
        }
        Ok(pb::PrepareTransferResponse {
            url,
            username: ticket.username(),
            password,
            file_size,
            file: match direction {
                Direction::Download => String::new(),
                Direction::Upload => file.to_owned(),
            },
            begun: false,
            kept: false,
        })
    }
}

fn base_url(config: &FilesConfig, port: u16) -> std::result::Result<String, FilesError> {
    if config.public_url.is_empty() {
        let port = match config.public_port {
            0 => port,
            port => port,
        };
        return Ok(format!("http://{{host}}:{port}"));
    }
    if !config.is_public_url_good() {
        return Err(FilesError::PublicUrl);
    }
    Ok(config.public_url.trim_end_matches('/').to_owned())
}

/// Names go into URLs and file listings as they are.
fn check_name(name: &str) -> Result<()> {
    let good = (1..=128).contains(&name.len())
        && !name.starts_with('.')
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    if good {
        Ok(())
    } else {
        Err(Error::invalid(
            "name",
            "expected 1 to 128 of letters, digits, '.', '_', '-', not beginning with '.'",
        ))
    }
}

fn check_content(announced: &pb::File, written: &Written) -> Result<()> {
    if announced.size != 0 && announced.size != written.size {
        return Err(Error::invalid(
            "size",
            format!(
                "{} bytes were announced, {} came",
                announced.size, written.size
            ),
        ));
    }
    if !announced.sha256.is_empty() && !announced.sha256.eq_ignore_ascii_case(&written.sha256) {
        return Err(Error::invalid(
            "sha256",
            "the checksum of what came is another; send the file again",
        ));
    }
    Ok(())
}
