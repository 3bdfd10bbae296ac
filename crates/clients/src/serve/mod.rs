//! The services of this process for others: gRPC over what is given as `Arc<dyn Workflow>` and the like.

mod guard;
mod stream;
mod together;

pub use guard::Guard;

use crate::methods::{
    Effect, Limit, Method, PUT_FILE, READ_FILE, ServiceName, WATCH_EVENTS, device_state_methods,
    files_methods, wakeup_methods, workflow_methods,
};
use crate::{DeviceState, Files, Wakeup, Workflow};
use hearth_proto::internal::v1::calls_service_server::CallsServiceServer;
use hearth_proto::{devicestate::v1 as ds, files::v1 as fs, wakeup::v1 as wk, workflow::v1 as wf};
use std::sync::Arc;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};
use tonic_health::server::{HealthReporter, HealthService};

/// The services that a process has for others.
#[derive(Clone, Default)]
pub struct Services {
    /// `hearth.devicestate.v1`
    pub device_state: Option<Arc<dyn DeviceState>>,
    /// `hearth.workflow.v1`
    pub workflow: Option<Arc<dyn Workflow>>,
    /// `hearth.wakeup.v1`
    pub wakeup: Option<Arc<dyn Wakeup>>,
    /// `hearth.files.v1`
    pub files: Option<Arc<dyn Files>>,
}

impl Services {
    /// Which there are.
    pub fn names(&self) -> Vec<ServiceName> {
        let there = [
            (ServiceName::DeviceState, self.device_state.is_some()),
            (ServiceName::Workflow, self.workflow.is_some()),
            (ServiceName::Wakeup, self.wakeup.is_some()),
            (ServiceName::Files, self.files.is_some()),
        ];
        there
            .into_iter()
            .filter_map(|(name, there)| there.then_some(name))
            .collect()
    }
}

impl std::fmt::Debug for Services {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Services").field(&self.names()).finish()
    }
}

/// The routes of the services, and of gRPC's health service, which `health` tells what to say.
pub fn routes(services: Services, guard: &Guard, health: &HealthReporter) -> Routes {
    let limit = guard.max_message();
    let health = HealthService::from_health_reporter(health.clone());
    let mut routes = Routes::builder();
    let together = together::Calls {
        services: services.clone(),
        guard: guard.clone(),
    };
    let together = CallsServiceServer::new(together);
    routes.add_service(together.max_decoding_message_size(together::limit(guard)));
    routes.add_service(tonic_health::pb::health_server::HealthServer::new(health));
    macro_rules! add {
        ($($field:ident: $module:path => $server:ident;)*) => {$(
            if let Some(service) = services.$field {
                use $module as server;
                let service = Served(service, guard.clone());
                // What is too large is refused where it is read, with the reason.
                let service = server::$server::new(service).max_decoding_message_size(limit);
                routes.add_service(service);
            }
        )*};
    }
    add! {
        device_state: ds::device_state_service_server => DeviceStateServiceServer;
        workflow: wf::workflow_service_server => WorkflowServiceServer;
        wakeup: wk::wakeup_service_server => WakeupServiceServer;
        files: fs::files_service_server => FilesServiceServer;
    }
    routes.routes()
}

/// A service behind the guard.
struct Served<S: ?Sized>(Arc<S>, Guard);

/// The gRPC side of a service: its unary calls, and what is written out.
macro_rules! serve {
    ({ $($extra:tt)* }
     $service:ident, $package:ident, $client:ident::$stub:ident, $module:ident::$trait:ident {
        $($method:ident $name:literal ($request:ident) -> $response:ident: $effect:ident, $repeatable:expr;)*
    }) => {
        #[tonic::async_trait]
        impl $package::$module::$trait for Served<dyn $service> {
            $(async fn $method(
                &self,
                request: Request<$package::$request>,
            ) -> Result<Response<$package::$response>, Status> {
                static METHOD: Method = Method {
                    service: ServiceName::$service,
                    name: $name,
                    effect: Effect::$effect,
                    limit: Limit::Call,
                };
                let service = Arc::clone(&self.0);
                self.1
                    .unary(&METHOD, request, async move |message| service.$method(message).await)
                    .await
            })*
            $($extra)*
        }
    };
}

workflow_methods! { serve {} }

wakeup_methods! { serve {} }

device_state_methods! { serve {
    type WatchEventsStream = stream::Answers<ds::WatchEventsResponse>;

    async fn watch_events(
        &self,
        request: Request<ds::WatchEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, Status> {
        stream::watch_events(&self.0, &self.1, &WATCH_EVENTS, request).await
    }
} }

files_methods! { serve {
    type ReadFileStream = stream::Answers<fs::ReadFileResponse>;

    async fn put_file(
        &self,
        request: Request<Streaming<fs::PutFileRequest>>,
    ) -> Result<Response<fs::PutFileResponse>, Status> {
        stream::put_file(&self.0, &self.1, &PUT_FILE, request).await
    }

    async fn read_file(
        &self,
        request: Request<fs::ReadFileRequest>,
    ) -> Result<Response<Self::ReadFileStream>, Status> {
        stream::read_file(&self.0, &self.1, &READ_FILE, request).await
    }
} }
