//! Calls that came together: each is worked on as if it had come alone, and answered when it is done.

use super::Served;
use super::guard::{Guard, Together};
use super::stream::Answers;
use crate::remote::FRAMES;
use crate::{DeviceState, Files, Wakeup, Workflow};
use bytes::Bytes;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use hearth_proto::internal::v1::{
    Call, CallFailure, CallResult, MakeCallsRequest, MakeCallsResponse, call_result,
    calls_service_server::CallsService,
};
use hearth_proto::{devicestate::v1 as ds, files::v1 as fs, wakeup::v1 as wk, workflow::v1 as wf};
use hearth_telemetry::trace::TRACEPARENT;
use http::Extensions;
use prost::Message;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Response, Status};

use crate::methods::{device_state_methods, files_methods, wakeup_methods, workflow_methods};

/// Calls of one message at most.
const MOST: usize = 1024;
/// Answers that are done at the same time go together, up to so many bytes.
const ENOUGH: usize = 256 << 10;

/// The services whose calls may come together.
#[derive(Clone)]
pub(super) struct Calls {
    pub services: super::Services,
    pub guard: Guard,
}

#[tonic::async_trait]
impl CallsService for Calls {
    type MakeCallsStream = Answers<MakeCallsResponse>;

    async fn make_calls(
        &self,
        request: Request<MakeCallsRequest>,
    ) -> Result<Response<Self::MakeCallsStream>, Status> {
        let (_, connection, MakeCallsRequest { calls }) = request.into_parts();
        if calls.len() > MOST {
            let why = format!("expected at most {MOST} calls in a message");
            return Err(Status::invalid_argument(why));
        }
        let (answers, stream) = mpsc::channel(4);
        let this = self.clone();
        // What writes runs to its end, whoever waits.
        self.guard.writes().spawn(async move {
            let working: FuturesUnordered<_> = (0..)
                .zip(calls)
                .map(|(number, call)| {
                    let done = this.work(call, connection.clone());
                    done.map(move |done| result(number, done))
                })
                .collect();
            // All in one task, so that what is done at the same time is told at once.
            let mut done = working.ready_chunks(MOST);
            while let Some(results) = done.next().await {
                for answer in messages(results) {
                    // Nobody may be there any more; the others are to be done all the same.
                    let _ = answers.send(Ok(answer)).await;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream).boxed()))
    }
}

impl Calls {
    async fn work(&self, call: Call, connection: Extensions) -> Result<Bytes, Status> {
        let path = call.method.strip_prefix('/').unwrap_or_default();
        let (service, name) = path.split_once('/').unwrap_or_default();
        let come = Come {
            call: &call,
            connection,
        };
        let found = match service {
            "hearth.workflow.v1.WorkflowService" => match &self.services.workflow {
                Some(it) => workflow(&Served(Arc::clone(it), self.guard.clone()), name, come).await,
                None => None,
            },
            "hearth.devicestate.v1.DeviceStateService" => match &self.services.device_state {
                Some(it) => {
                    device_state(&Served(Arc::clone(it), self.guard.clone()), name, come).await
                }
                None => None,
            },
            "hearth.wakeup.v1.WakeupService" => match &self.services.wakeup {
                Some(it) => wakeup(&Served(Arc::clone(it), self.guard.clone()), name, come).await,
                None => None,
            },
            "hearth.files.v1.FilesService" => match &self.services.files {
                Some(it) => files(&Served(Arc::clone(it), self.guard.clone()), name, come).await,
                None => None,
            },
            _ => None,
        };
        // As gRPC says of what isn't there.
        found.unwrap_or_else(|| Err(Status::unimplemented("")))
    }
}

/// A call as it came.
struct Come<'a> {
    call: &'a Call,
    connection: Extensions,
}

impl Come<'_> {
    /// The same as a request of its own.
    fn request<Q: Message + Default>(self) -> Result<Request<Q>, Status> {
        let message = Q::decode(self.call.message.clone());
        let message = message.map_err(|_| Status::internal("the message can't be read"))?;
        let mut metadata = MetadataMap::new();
        if let Ok(traceparent) = self.call.traceparent.parse() {
            metadata.insert(TRACEPARENT, traceparent);
        }
        let mut extensions = self.connection;
        extensions.insert(Together);
        let mut request = Request::from_parts(metadata, extensions, message);
        if self.call.timeout_us > 0 {
            request.set_timeout(Duration::from_micros(self.call.timeout_us));
        }
        Ok(request)
    }
}

/// The calls of one service by their names; `None`: there is none of the name.
macro_rules! calls {
    ({ $served:ident, $name:ident, $come:ident }
     $service:ident, $package:ident, $client:ident::$stub:ident, $module:ident::$trait:ident {
        $($method:ident $literal:literal ($request:ident) -> $response:ident: $effect:ident, $repeatable:expr;)*
    }) => {
        match $name {
            $($literal => {
                let request = match $come.request::<$package::$request>() {
                    Ok(request) => request,
                    Err(status) => return Some(Err(status)),
                };
                let done = $package::$module::$trait::$method($served, request).await;
                Some(done.map(|answer| answer.into_inner().encode_to_vec().into()))
            })*
            _ => None,
        }
    };
}

type Found = Option<Result<Bytes, Status>>;

async fn workflow(served: &Served<dyn Workflow>, name: &str, come: Come<'_>) -> Found {
    workflow_methods! { calls { served, name, come } }
}

async fn device_state(served: &Served<dyn DeviceState>, name: &str, come: Come<'_>) -> Found {
    device_state_methods! { calls { served, name, come } }
}

async fn wakeup(served: &Served<dyn Wakeup>, name: &str, come: Come<'_>) -> Found {
    wakeup_methods! { calls { served, name, come } }
}

async fn files(served: &Served<dyn Files>, name: &str, come: Come<'_>) -> Found {
    files_methods! { calls { served, name, come } }
}

fn result(call: u32, done: Result<Bytes, Status>) -> CallResult {
    let result = match done {
        Ok(message) => call_result::Result::Message(message),
        Err(status) => call_result::Result::Failure(CallFailure {
            code: Code::into(status.code()),
            message: status.message().to_owned(),
            details: Bytes::copy_from_slice(status.details()),
        }),
    };
    CallResult {
        call,
        result: Some(result),
    }
}

/// Results in as few messages as may be.
fn messages(results: Vec<CallResult>) -> Vec<MakeCallsResponse> {
    let mut messages: Vec<MakeCallsResponse> = Vec::with_capacity(1);
    let mut bytes = 0;
    for result in results {
        let len = result.encoded_len();
        if messages.is_empty() || bytes + len > ENOUGH {
            messages.push(MakeCallsResponse::default());
            bytes = 0;
        }
        bytes += len;
        if let Some(last) = messages.last_mut() {
            last.results.push(result);
        }
    }
    messages
}

/// The largest message that brings calls.
pub(super) fn limit(guard: &Guard) -> usize {
    guard.max_message().saturating_add(FRAMES)
}
