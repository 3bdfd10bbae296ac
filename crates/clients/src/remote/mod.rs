//! Clients of services in other processes.
//!
//! Each call has a deadline: the configured one, or that of whoever asked ([`crate::with_deadline`]), and takes it along
//! as `grpc-timeout`. It goes to the replica that serves and has less to do. When the replica can't be reached, or
//! refuses before it began, the call goes to another; when it breaks or hangs later, only a call that the contract says
//! may be repeated does. A budget bounds how many do.
//!
//! Replicas are found by name, looked up again and again, and asked for their health every second, so that one that
//! died, hangs or leaves gets no calls. When none is left a call fails at once. Many at a time travel together
//! (`together`), without the calls noticing.

mod budget;
mod call;
mod connect;
mod endpoint;
mod names;
mod options;
mod peer;
mod stream;
mod together;

pub use names::Resolver;
pub use options::Options;
pub use peer::{Peer, PeerError, Reach};
pub(crate) use stream::split;
pub(crate) use together::FRAMES;

use crate::methods::{
    Effect, Limit, Method, PUT_FILE, READ_FILE, ServiceName, WATCH_EVENTS, device_state_methods,
    files_methods, once, repeatable, wakeup_methods, workflow_methods,
};
use crate::{ByteStream, DeviceState, EventStream, Files, Result, Wakeup, Workflow};
use async_trait::async_trait;
use endpoint::Endpoint;
use hearth_proto::{devicestate::v1 as ds, files::v1 as fs, wakeup::v1 as wk, workflow::v1 as wf};
use std::sync::Arc;

/// One method of a remote client.
macro_rules! unary {
    ($self:ident, $service:ident, $package:ident, $module:ident::$stub:ident, $method:ident, $name:literal,
     $message:ident, $request:ident, $effect:ident, $repeatable:expr) => {{
        static METHOD: Method = Method {
            service: ServiceName::$service,
            name: $name,
            effect: Effect::$effect,
            limit: Limit::Call,
        };
        let may_repeat: fn(&$package::$request) -> bool = $repeatable;
        let may_repeat = may_repeat(&$message);
        let limit = $self.0.inner.options.max_message;
        $self
            .0
            .call(&METHOD, $message, may_repeat, move |endpoint, request| {
                let endpoint = Arc::clone(endpoint);
                Box::pin(async move {
                    let channel = endpoint.channel();
                    let alone = |request| async move {
                        $package::$module::$stub::new(channel)
                            .max_decoding_message_size(limit)
                            .$method(request)
                            .await
                    };
                    endpoint.together().make(&METHOD, request, alone).await
                })
            })
            .await
    }};
}

/// A remote client: the service's unary calls, and what is written out.
macro_rules! client {
    ({ $(#[$doc:meta])* $client:ident; $($extra:tt)* }
     $service:ident, $package:ident, $module:ident::$stub:ident, $server:ident::$trait:ident {
        $($method:ident $name:literal ($request:ident) -> $response:ident: $effect:ident, $repeatable:expr;)*
    }) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $client(pub Peer);

        #[async_trait]
        impl $service for $client {
            $(async fn $method(&self, message: $package::$request) -> Result<$package::$response> {
                unary!(self, $service, $package, $module::$stub, $method, $name, message, $request,
                    $effect, $repeatable)
            })*
            $($extra)*
        }
    };
}

workflow_methods! { client {
    /// `hearth.workflow.v1` in another process.
    WorkflowClient;
} }

device_state_methods! { client {
    /// `hearth.devicestate.v1` in another process.
    DeviceStateClient;

    async fn watch_events(&self, request: ds::WatchEventsRequest) -> Result<EventStream> {
        stream::watch_events(&self.0, &WATCH_EVENTS, request).await
    }
} }

wakeup_methods! { client {
    /// `hearth.wakeup.v1` in another process.
    WakeupClient;
} }

impl WakeupClient {
    /// Has the replica send a datagram that the request means, whichever that is; whether one did.
    pub async fn send_datagram_by_any(&self, request: wk::SendDatagramRequest) -> bool {
        static METHOD: Method = Method {
            service: ServiceName::Wakeup,
            name: "SendDatagram",
            effect: Effect::Writes,
            limit: Limit::Call,
        };
        let send = |endpoint: &Arc<Endpoint>, request| -> call::Sent<wk::SendDatagramResponse> {
            let channel = endpoint.channel();
            Box::pin(async move {
                wk::wakeup_service_client::WakeupServiceClient::new(channel)
                    .send_datagram(request)
                    .await
            })
        };
        let sent = self
            .0
            .call_all(&METHOD, request, send, |answer| answer.sent);
        sent.await.is_some()
    }
}

files_methods! { client {
    /// `hearth.files.v1` in another process.
    FilesClient;

    async fn put_file(&self, metadata: fs::File, content: ByteStream) -> Result<fs::PutFileResponse> {
        stream::put_file(&self.0, &PUT_FILE, metadata, content).await
    }

    async fn read_file(&self, request: fs::ReadFileRequest) -> Result<ByteStream> {
        stream::read_file(&self.0, &READ_FILE, request).await
    }
} }
