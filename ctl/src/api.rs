//! The connection to the API: clients that carry the token, names, time limits, paging.

use crate::{error::Error, exit::Exit, settings::Settings, transport::Transport};
use hearth_proto::northbound::v1::{
    capture_service_client::CaptureServiceClient,
    credential_service_client::CredentialServiceClient, device_service_client::DeviceServiceClient,
    explain_service_client::ExplainServiceClient, file_service_client::FileServiceClient,
    operations_service_client::OperationsServiceClient, policy_service_client::PolicyServiceClient,
    profile_service_client::ProfileServiceClient, session_service_client::SessionServiceClient,
    spread_service_client::SpreadServiceClient, task_service_client::TaskServiceClient,
};
use hearth_types::{Invalid, TaskId, TenantId};
use secrecy::ExposeSecret;
use std::{fmt::Write, future::Future, time::Duration};
use tonic::{
    Code, Request, Response, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Certificate, ClientTlsConfig, Endpoint},
};

/// The largest answer that is read: a page of parameters with long values.
const MAX_ANSWER: usize = 64 * 1024 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

type Authorized = InterceptedService<Transport, Bearer>;

/// Puts the token on each request.
#[derive(Clone)]
pub(crate) struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request
                .metadata_mut()
                .insert("authorization", value.clone());
        }
        Ok(request)
    }
}

/// A connection. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Api {
    transport: Authorized,
    /// Whose devices.
    pub(crate) tenant: TenantId,
    timeout: Duration,
    server: String,
    /// Where the token was found, if one was.
    token_from: Option<String>,
}

impl Api {
    /// Connects.
    ///
    /// # Errors
    /// A URL or certificate that is none, or nobody who answers.
    pub(crate) async fn connect(settings: Settings) -> Result<Self, Error> {
        let server = settings.server;
        let bad_url = |error: tonic::transport::Error| {
            Error::usage(format!(
                "`{server}` is not a server's URL: {}",
                with_causes(&error)
            ))
        };
        let mut endpoint = Endpoint::from_shared(server.clone())
            .map_err(bad_url)?
            .connect_timeout(CONNECT_TIMEOUT.min(settings.timeout))
            .tcp_nodelay(true)
            .http2_keep_alive_interval(Duration::from_secs(30))
            .keep_alive_while_idle(true)
            .user_agent(concat!("hearthctl/", env!("CARGO_PKG_VERSION")))
            .map_err(bad_url)?;
        if server.starts_with("https://") {
            let tls = match settings.ca {
                Some(pem) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)),
                None => ClientTlsConfig::new().with_native_roots(),
            };
            endpoint = endpoint.tls_config(tls).map_err(bad_url)?;
        }
        let channel = endpoint
            .connect()
            .await
            .map_err(|error| Error::Unreachable {
                server: server.clone(),
                reason: with_causes(&error),
            })?;
        let bearer = match &settings.token {
            None => Bearer(None),
            Some(token) => {
                let value = format!("Bearer {}", token.expose_secret());
                let mut value = MetadataValue::<Ascii>::try_from(value)
                    .map_err(|_| Error::usage("the token holds characters that no token has"))?;
                value.set_sensitive(true);
                Bearer(Some(value))
            }
        };
        Ok(Self {
            transport: InterceptedService::new(Transport(channel), bearer),
            tenant: settings.tenant,
            timeout: settings.timeout,
            server,
            token_from: settings.token_from,
        })
    }

    /// Devices.
    pub(crate) fn devices(&self) -> DeviceServiceClient<Authorized> {
        DeviceServiceClient::new(self.transport.clone()).max_decoding_message_size(MAX_ANSWER)
    }

    /// Tasks.
    pub(crate) fn tasks(&self) -> TaskServiceClient<Authorized> {
        TaskServiceClient::new(self.transport.clone()).max_decoding_message_size(MAX_ANSWER)
    }

    /// Why devices don't connect and tasks don't run.
    pub(crate) fn explanations(&self) -> ExplainServiceClient<Authorized> {
        ExplainServiceClient::new(self.transport.clone()).max_decoding_message_size(MAX_ANSWER)
    }

    /// Files.
    pub(crate) fn files(&self) -> FileServiceClient<Authorized> {
        FileServiceClient::new(self.transport.clone()).max_decoding_message_size(MAX_ANSWER)
    }

    /// Credentials.
    pub(crate) fn credentials(&self) -> CredentialServiceClient<Authorized> {
        CredentialServiceClient::new(self.transport.clone())
    }

    /// What those who run the server look after.
    pub(crate) fn operations(&self) -> OperationsServiceClient<Authorized> {
        OperationsServiceClient::new(self.transport.clone()).max_decoding_message_size(MAX_ANSWER)
    }

    /// Periodic Informs of a fleet.
    pub(crate) fn spreads(&self) -> SpreadServiceClient<Authorized> {
        SpreadServiceClient::new(self.transport.clone())
    }

    /// The policy of the edge.
    pub(crate) fn policies(&self) -> PolicyServiceClient<Authorized> {
        PolicyServiceClient::new(self.transport.clone())
    }

    /// Captures of sessions.
    pub(crate) fn captures(&self) -> CaptureServiceClient<Authorized> {
        CaptureServiceClient::new(self.transport.clone()).max_decoding_message_size(MAX_ANSWER)
    }

    /// Sessions of devices.
    pub(crate) fn sessions(&self) -> SessionServiceClient<Authorized> {
        SessionServiceClient::new(self.transport.clone()).max_decoding_message_size(MAX_ANSWER)
    }

    /// Quirk profiles.
    pub(crate) fn profiles(&self) -> ProfileServiceClient<Authorized> {
        ProfileServiceClient::new(self.transport.clone()).max_decoding_message_size(MAX_ANSWER)
    }

    /// Waits for an answer, at most `--timeout`.
    pub(crate) async fn answer<T>(
        &self,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Error> {
        match tokio::time::timeout(self.timeout, call).await {
            Ok(answer) => Ok(answer?.into_inner()),
            Err(_) => Err(Error::NoAnswer(self.timeout)),
        }
    }

    /// Says of a token that the server doesn't take where it came from, and where another one can be set.
    pub(crate) fn explain(&self, error: Error) -> Error {
        let server = &self.server;
        let refused =
            matches!(&error, Error::Api(status) if status.code() == Code::Unauthenticated);
        if !refused {
            return error;
        }
        let message = match &self.token_from {
            None => format!("{server} needs a token, and none was found"),
            Some(from) => format!("{server} does not know the token in {from}"),
        };
        Error::Said {
            exit: Exit::Denied,
            message,
            advice: "the administrator's token is in admin.token in the server's data directory; give it by \
                     --token-file FILE, HEARTH_TOKEN_FILE or HEARTH_TOKEN, or keep it for always: \
                     hearthctl context set NAME --server URL --token-file FILE"
                .into(),
        }
    }

    /// `tenants/{tenant}`
    pub(crate) fn tenant_name(&self) -> String {
        format!("tenants/{}", self.tenant)
    }

    /// The full name of an id, or the name itself if that was given.
    ///
    /// # Errors
    /// A full name of another tenant or kind than asked for.
    pub(crate) fn name(&self, collection: &str, given: &str) -> Result<String, Error> {
        let prefix = format!("tenants/{}/{collection}/", self.tenant);
        if given.is_empty() {
            return Err(Error::usage(format!(
                "a name in {collection} must not be empty"
            )));
        }
        if given.starts_with(&prefix) || !given.contains('/') {
            let id = given.strip_prefix(&prefix).unwrap_or(given);
            if collection == "tasks" {
                let wrong = |error: Invalid| {
                    Error::usage(format!("`{id}` is not a task's id: {}", error.reason))
                };
                id.parse::<TaskId>().map_err(wrong)?;
            }
            return Ok(format!("{prefix}{id}"));
        }
        Err(Error::usage(format!(
            "`{given}` is not one of {prefix}…; another tenant: --tenant"
        )))
    }
}

/// All pages of a list, or the first `limit` of them (0: no limit). The flag says whether there is
/// more.
pub(crate) async fn all_pages<T, F, Fut>(
    limit: usize,
    page_limit: usize,
    mut page: F,
) -> Result<(Vec<T>, bool), Error>
where
    F: FnMut(i32, String) -> Fut,
    Fut: Future<Output = Result<(Vec<T>, String), Error>>,
{
    let mut all = Vec::new();
    let mut token = String::new();
    loop {
        let wanted = match limit {
            0 => page_limit,
            limit => page_limit.min(limit - all.len()),
        };
        let size = i32::try_from(wanted).unwrap_or(i32::MAX);
        let (items, next) = page(size, token).await?;
        all.extend(items);
        let full = limit != 0 && all.len() >= limit;
        let more = !next.is_empty() || (limit != 0 && all.len() > limit);
        if full {
            all.truncate(limit);
        }
        if full || next.is_empty() {
            return Ok((all, more));
        }
        token = next;
    }
}

/// An error with its causes in one line; Display alone says just "transport error".
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = String::new();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            // Writing to a String does not fail.
            let _ = write!(
                text,
                "{}{cause_text}",
                if text.is_empty() { "" } else { ": " }
            );
        }
        next = cause.source();
    }
    match text.is_empty() {
        true => error.to_string(),
        false => text,
    }
}
