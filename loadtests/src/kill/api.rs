//! The public API as the kill test uses it: calls that are repeated until the server, which may be
//! dead just now, has answered them.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use futures::stream;
use hearth_proto::northbound::v1::{
    self as nb, credential_service_client::CredentialServiceClient,
    device_service_client::DeviceServiceClient, file_service_client::FileServiceClient,
    task_service_client::TaskServiceClient, upload_file_request::Part,
};
use sha2::{Digest as _, Sha256};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use crate::Bearer;

/// The tenant that the test works in.
pub const TENANT: &str = "tenants/default";
/// How long one try of a call may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// The pause between two tries.
const PAUSE: Duration = Duration::from_millis(40);
const MAX_MESSAGE: usize = 64 << 20;

type Link = InterceptedService<Channel, Bearer>;

/// A client of the API. Cheap to clone; connects again by itself after the server's death.
#[derive(Clone)]
pub struct Api {
    /// Tasks.
    pub tasks: TaskServiceClient<Link>,
    /// Devices.
    pub devices: DeviceServiceClient<Link>,
    files: FileServiceClient<Link>,
    credentials: CredentialServiceClient<Link>,
}

impl Api {
    /// A client of the API at this URL, with the token in a file.
    ///
    /// # Errors
    /// When the token can't be read, or the URL is none.
    pub fn new(url: &str, token_file: &Path) -> Result<Self> {
        let token = std::fs::read_to_string(token_file)
            .with_context(|| format!("{} can't be read", token_file.display()))?;
        let bearer = Bearer::new(&token)?;
        let channel = Endpoint::from_shared(url.to_owned())?
            .timeout(PATIENCE)
            .connect_timeout(Duration::from_secs(2))
            .connect_lazy();
        let link = || InterceptedService::new(channel.clone(), bearer.clone());
        Ok(Self {
            tasks: TaskServiceClient::new(link()).max_decoding_message_size(MAX_MESSAGE),
            devices: DeviceServiceClient::new(link()).max_decoding_message_size(MAX_MESSAGE),
            files: FileServiceClient::new(link()).max_decoding_message_size(MAX_MESSAGE),
            credentials: CredentialServiceClient::new(link()),
        })
    }

    /// User and password that devices log in with.
    ///
    /// # Errors
    /// The API's refusal.
    pub async fn onboarding(&self) -> Result<(String, String)> {
        let answer = repeat(Duration::from_secs(30), || async {
            let parent = TENANT.to_owned();
            let request = nb::GetOnboardingCredentialRequest { parent };
            let mut client = self.credentials.clone();
            client.get_onboarding_credential(request).await
        })
        .await?;
        Ok((answer.username, answer.password))
    }

    /// What the server asks devices to connect with.
    ///
    /// # Errors
    /// The API's refusal.
    pub async fn set_connection_request(&self, username: &str, password: &str) -> Result<()> {
        repeat(Duration::from_secs(30), || async {
            let credential = nb::Credential {
                username: username.to_owned(),
                kind: nb::CredentialKind::ConnectionRequest.into(),
                ..nb::Credential::default()
            };
            let request = nb::SetCredentialRequest {
                parent: TENANT.to_owned(),
                credential: Some(credential),
                password: password.to_owned(),
            };
            self.credentials.clone().set_credential(request).await
        })
        .await?;
        Ok(())
    }

    /// One try to keep a file.
    ///
    /// # Errors
    /// The API's refusal, or no answer.
    pub async fn upload_file(
        &self,
        name: &str,
        file_type: &str,
        content: &[u8],
    ) -> Result<nb::File, Status> {
        let file = nb::File {
            name: format!("{TENANT}/files/{name}"),
            file_type: file_type.to_owned(),
            size: content.len() as u64,
            ..nb::File::default()
        };
        let chunks = content.chunks(64 << 10).map(|c| Part::Chunk(c.to_vec()));
        let parts: Vec<_> = std::iter::once(Part::File(file))
            .chain(chunks)
            .map(|part| nb::UploadFileRequest { part: Some(part) })
            .collect();
        let answer = self.files.clone().upload_file(stream::iter(parts)).await?;
        Ok(answer.into_inner().file.unwrap_or_default())
    }

    /// A file as it is kept: metadata, and the SHA-256 and size of its bytes.
    ///
    /// # Errors
    /// The API's refusal, or no answer.
    pub async fn read_file(&self, name: &str) -> Result<KeptFile, Status> {
        let mut client = self.files.clone();
        let name = name.to_owned();
        let request = nb::GetFileRequest { name: name.clone() };
        let file = client.get_file(request).await?.into_inner().file;
        let mut chunks = client
            .read_file(nb::ReadFileRequest { name })
            .await?
            .into_inner();
        let (mut hash, mut size) = (Sha256::new(), 0);
        while let Some(message) = chunks.message().await? {
            hash.update(&message.chunk);
            size += message.chunk.len() as u64;
        }
        Ok(KeptFile {
            file: file.unwrap_or_default(),
            sha256: hex(&hash.finalize()),
            size,
        })
    }
}

/// A file that the server keeps.
#[derive(Clone, Debug, Default)]
pub struct KeptFile {
    /// What the server says of it.
    pub file: nb::File,
    /// SHA-256 of the bytes that it gives.
    pub sha256: String,
    /// How many bytes it gives.
    pub size: u64,
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Whether a call may be answered otherwise when it is sent again: the server is dead, starting,
/// or too busy.
pub fn is_passing(status: &Status) -> bool {
    match status.code() {
        Code::Unavailable | Code::Cancelled | Code::DeadlineExceeded | Code::ResourceExhausted => {
            true
        }
        // A connection that broke in the middle of an answer; an answer of the server has no
        // source.
        Code::Unknown | Code::Internal | Code::Aborted => {
            std::error::Error::source(status).is_some() || is_transport(status.message())
        }
        _ => false,
    }
}

fn is_transport(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    [
        "h2 protocol",
        "transport",
        "connection",
        "broken pipe",
        "stream",
        // A load balancer that has no replica just now.
        "502 bad gateway",
        "503 service unavailable",
        "504 gateway time-out",
    ]
    .iter()
    .any(|word| message.contains(word))
}

/// Repeats a call until it is answered, for at most so long.
///
/// # Errors
/// A refusal that would stay, or no answer in time.
pub async fn repeat<T, F>(limit: Duration, mut call: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<tonic::Response<T>, Status>>,
{
    let until = Instant::now() + limit;
    loop {
        match call().await {
            Ok(answer) => return Ok(answer.into_inner()),
            Err(status) if is_passing(&status) && Instant::now() < until => {
                tokio::time::sleep(PAUSE).await;
            }
            Err(status) => bail!("{:?}: {}", status.code(), status.message()),
        }
    }
}
