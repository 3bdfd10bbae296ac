//! FileService: files for devices and from devices.

use crate::caller::Caller;
use crate::core::Core;
use crate::error::{Context, invalid, not_found};
use crate::{convert, page};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream, stream::BoxStream};
use hearth_clients::{ByteStream, Error, Kind};
use hearth_proto::files::v1 as fs;
use hearth_proto::northbound::v1::{
    self as nb, file_service_server::FileService, upload_file_request::Part,
};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tonic::{Request, Response, Status, Streaming};

/// The most bytes of a chunk, in both directions.
const MAX_CHUNK: usize = 1024 * 1024;
/// Bytes of a chunk that is sent: small enough for any client's message limit and window.
const SENT_CHUNK: usize = 256 * 1024;

/// Internal fields by their public names.
const UPLOAD: &[(&str, &str)] = &[
    ("metadata", "file"),
    ("content", "chunk"),
    ("name", "file.name"),
    ("file_type", "file.file_type"),
    ("size", "file.size"),
    ("sha256", "file.sha256"),
    ("version", "file.version"),
];
const NAMED: &[(&str, &str)] = &[("tenant", "name")];
const LIST: &[(&str, &str)] = &[("tenant", "parent")];

/// The service.
pub(crate) struct FileStore(pub(crate) Arc<Core>);

#[tonic::async_trait]
impl FileService for FileStore {
    async fn upload_file(
        &self,
        request: Request<Streaming<nb::UploadFileRequest>>,
    ) -> Result<Response<nb::UploadFileResponse>, Status> {
        let caller = Caller::of(&request)?;
        let mut messages = request.into_inner();
        let config = &self.0.config;
        let first =
            tokio::time::timeout(config.transfer_idle_timeout.get(), messages.message()).await;
        let first = first.map_err(|_| invalid("file", "did not come in time; send it at once"))?;
        let Some(Part::File(file)) = first?.and_then(|message| message.part) else {
            return Err(invalid(
                "file",
                "is missing; the first message has the file's metadata, the others its bytes",
            ));
        };
        let metadata = metadata(&caller, &file, config.max_file_size.bytes())?;
        let refused = Arc::new(Mutex::new(None));
        let content = Upload {
            messages,
            is_known: metadata.size != 0 || !metadata.sha256.is_empty(),
            left: config.max_file_size.bytes(),
            limit: config.max_file_size.bytes(),
            idle: config.transfer_idle_timeout.get(),
            refused: refused.clone(),
        };
        let kept = self
            .0
            .clients
            .files
            .put_file(metadata, content.bytes())
            .await;
        let context = Context::of("File", &file.name).fields(UPLOAD);
        let kept = match (kept, refused.lock().take()) {
            (Ok(kept), None) => kept,
            // What was wrong with the content is what the client has to know.
            (_, Some(error)) | (Err(error), None) => return Err(context.status(error)),
        };
        Ok(Response::new(nb::UploadFileResponse {
            file: kept.file.map(convert::file),
        }))
    }

    async fn get_file(
        &self,
        request: Request<nb::GetFileRequest>,
    ) -> Result<Response<nb::GetFileResponse>, Status> {
        let caller = Caller::of(&request)?;
        let name = request.into_inner().name;
        let (tenant, file) = caller.file("name", &name)?;
        let internal = fs::GetFileRequest {
            tenant: tenant.to_string(),
            name: file,
        };
        let context = Context::of("File", &name).fields(NAMED);
        let answer = self.0.clients.files.get_file(internal).await;
        let file = answer.map_err(|error| context.status(error))?.file;
        let file = file.ok_or_else(|| not_found("File", &name, "there is no such file"))?;
        Ok(Response::new(nb::GetFileResponse {
            file: Some(convert::file(file)),
        }))
    }

    async fn list_files(
        &self,
        request: Request<nb::ListFilesRequest>,
    ) -> Result<Response<nb::ListFilesResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let tenant = caller.tenant("parent", &request.parent)?;
        let internal = fs::ListFilesRequest {
            tenant: tenant.to_string(),
            page_size: page::RESOURCES.size(request.page_size)?,
            page_token: page::token(request.page_token)?,
        };
        let context = Context::default().fields(LIST);
        let answer = self.0.clients.files.list_files(internal).await;
        let answer = answer.map_err(|error| context.status(error))?;
        Ok(Response::new(nb::ListFilesResponse {
            files: answer.files.into_iter().map(convert::file).collect(),
            next_page_token: answer.next_page_token,
        }))
    }

    async fn delete_file(
        &self,
        request: Request<nb::DeleteFileRequest>,
    ) -> Result<Response<nb::DeleteFileResponse>, Status> {
        let caller = Caller::of(&request)?;
        let name = request.into_inner().name;
        let (tenant, file) = caller.file("name", &name)?;
        let internal = fs::DeleteFileRequest {
            tenant: tenant.to_string(),
            name: file,
        };
        let context = Context::of("File", &name).fields(NAMED);
        let answer = self.0.clients.files.delete_file(internal).await;
        answer.map_err(|error| context.status(error))?;
        Ok(Response::new(nb::DeleteFileResponse {}))
    }

    type ReadFileStream = BoxStream<'static, Result<nb::ReadFileResponse, Status>>;

    async fn read_file(
        &self,
        request: Request<nb::ReadFileRequest>,
    ) -> Result<Response<Self::ReadFileStream>, Status> {
        let caller = Caller::of(&request)?;
        let name = request.into_inner().name;
        let (tenant, file) = caller.file("name", &name)?;
        let internal = fs::ReadFileRequest {
            tenant: tenant.to_string(),
            name: file,
        };
        let context = Context::of("File", &name).fields(NAMED);
        let content = self.0.clients.files.read_file(internal).await;
        let content = content.map_err(|error| context.status(error))?;
        let chunks = content
            .map_ok(|bytes| stream::iter(pieces(bytes)).map(Ok))
            .try_flatten()
            .map(move |piece| {
                let chunk = piece
                    .map_err(|error| Context::of("File", &name).fields(NAMED).status(error))?;
                Ok(nb::ReadFileResponse {
                    chunk: chunk.into(),
                })
            });
        Ok(Response::new(chunks.boxed()))
    }
}

/// Cuts bytes into chunks of the size that is sent.
fn pieces(mut bytes: Bytes) -> Vec<Bytes> {
    let mut pieces = Vec::with_capacity(bytes.len() / SENT_CHUNK + 1);
    while !bytes.is_empty() {
        pieces.push(bytes.split_to(bytes.len().min(SENT_CHUNK)));
    }
    pieces
}

/// What the first message says of the file.
fn metadata(caller: &Caller, file: &nb::File, limit: u64) -> Result<fs::File, Status> {
    let (tenant, name) = caller.file("file.name", &file.name)?;
    if file.size > limit {
        return Err(invalid("file.size", too_large(limit)));
    }
    let sha256 = file.sha256.to_ascii_lowercase();
    let good = sha256.len() == 64 && sha256.bytes().all(|b| b.is_ascii_hexdigit());
    if !sha256.is_empty() && !good {
        return Err(invalid(
            "file.sha256",
            "expected 64 hexadecimal digits, or none",
        ));
    }
    if file.file_type.chars().count() > 64 {
        return Err(invalid(
            "file.file_type",
            "expected at most 64 characters, as `1 Firmware Upgrade Image`",
        ));
    }
    if file.version.chars().count() > 256 {
        return Err(invalid("file.version", "expected at most 256 characters"));
    }
    Ok(fs::File {
        tenant: tenant.to_string(),
        name,
        file_type: file.file_type.clone(),
        size: file.size,
        sha256,
        version: file.version.clone(),
        ..Default::default()
    })
}

fn too_large(limit: u64) -> String {
    format!("expected a file of at most {limit} bytes; the operator sets api.max_file_size")
}

/// The bytes of an upload, checked as they come.
struct Upload {
    messages: Streaming<nb::UploadFileRequest>,
    /// The metadata tell what all of it is: the file service compares.
    is_known: bool,
    left: u64,
    limit: u64,
    idle: Duration,
    /// Why it was refused, for the answer: the file service may say less.
    refused: Arc<Mutex<Option<Error>>>,
}

impl Upload {
    fn bytes(self) -> ByteStream {
        let chunks = stream::unfold(Some(self), |upload| async move {
            let mut upload = upload?;
            match upload.next().await {
                Ok(chunk) => chunk.map(|bytes| (Ok(bytes), Some(upload))),
                Err(error) => {
                    *upload.refused.lock() = Some(error.clone());
                    Some((Err(error), None))
                }
            }
        });
        chunks.boxed()
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let message = tokio::time::timeout(self.idle, self.messages.message()).await;
        let message = message.map_err(|_| {
            let seconds = self.idle.as_secs();
            Error::unavailable(format!(
                "nothing came for {seconds} s: the upload was given up"
            ))
        })?;
        let message = message.map_err(|status| match status.code() {
            tonic::Code::OutOfRange | tonic::Code::InvalidArgument => {
                Error::invalid("chunk", status.message())
            }
            _ => Error::new(
                Kind::Unavailable,
                "the upload broke off; send the file again",
            ),
        })?;
        // What a client cancels in the middle ends here just like what it ends itself.
        let Some(message) = message else {
            return match self.is_known {
                true => Ok(None),
                false => Err(Error::invalid(
                    "end",
                    "did not come, so that this may be a part of the file only; send `end: true` last, or give \
                     file.size or file.sha256 first",
                )),
            };
        };
        let chunk = match message.part {
            Some(Part::Chunk(chunk)) => chunk,
            Some(Part::End(true)) => return Ok(None),
            _ => {
                return Err(Error::invalid(
                    "chunk",
                    "expected bytes, or `end: true`; only the first message has the file's metadata",
                ));
            }
        };
        if chunk.len() > MAX_CHUNK {
            return Err(Error::invalid(
                "chunk",
                format!("has {} bytes; expected at most {MAX_CHUNK}", chunk.len()),
            ));
        }
        let length = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
        match self.left.checked_sub(length) {
            Some(left) => self.left = left,
            None => return Err(Error::invalid("chunk", too_large(self.limit))),
        }
        Ok(Some(Bytes::from(chunk)))
    }
}
