//! SessionService: the last sessions of devices.

use crate::caller::Caller;
use crate::convert;
use crate::core::Core;
use crate::error::{Context, invalid};
use hearth_proto::convert::timestamp;
use hearth_proto::northbound::v1::{self as nb, session_service_server::SessionService};
use hearth_proto::{devicestate::v1 as ds, events::v1 as ev};
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// Internal fields by their public names.
const FIELDS: &[(&str, &str)] = &[("tenant", "parent"), ("device", "parent")];

/// The service.
pub(crate) struct Sessions(pub(crate) Arc<Core>);

#[tonic::async_trait]
impl SessionService for Sessions {
    async fn list_sessions(
        &self,
        request: Request<nb::ListSessionsRequest>,
    ) -> Result<Response<nb::ListSessionsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let key = caller.device("parent", &request.parent)?;
        let page_size = u32::try_from(request.page_size)
            .map_err(|_| invalid("page_size", "expected 1 to 100, or 0 for 20"))?;
        let internal = ds::ListSessionsRequest {
            tenant: key.tenant.to_string(),
            device: key.device.to_string(),
            page_size,
        };
        let context = Context::of("Device", &request.parent).fields(FIELDS);
        let answer = self.0.clients.device_state.list_sessions(internal).await;
        let sessions = answer.map_err(|error| context.status(error))?.sessions;
        let tenant = key.tenant.as_str();
        let shown = sessions.into_iter().map(|one| session(tenant, one));
        Ok(Response::new(nb::ListSessionsResponse {
            sessions: shown.collect(),
        }))
    }

    async fn get_session(
        &self,
        request: Request<nb::GetSessionRequest>,
    ) -> Result<Response<nb::GetSessionResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let key = caller.device("parent", &request.parent)?;
        let internal = ds::GetSessionRequest {
            tenant: key.tenant.to_string(),
            device: key.device.to_string(),
            session: request.session.clone(),
        };
        let context = Context::of("Session", &request.session).fields(FIELDS);
        let answer = self.0.clients.device_state.get_session(internal).await;
        let found = answer.map_err(|error| context.status(error))?.session;
        Ok(Response::new(nb::GetSessionResponse {
            session: found.map(|one| session(key.tenant.as_str(), one)),
        }))
    }
}

fn session(tenant: &str, one: ds::Session) -> nb::Session {
    let start = one.start_us;
    let turns = one.turns.into_iter();
    let tasks = one.tasks.iter();
    nb::Session {
        id: one.id,
        start_time: timestamp(start),
        last_turn_time: timestamp(one.last_turn_us),
        address: one.address,
        events: one.events,
        proof: one.proof,
        end: one.end,
        end_detail: one.end_detail,
        turn_count: one.turn_count,
        turns_left_out: one.turns_left_out,
        tasks: tasks.map(|id| convert::task_name(tenant, id)).collect(),
        turns: turns.map(|one| turn(tenant, start, one)).collect(),
    }
}

fn turn(tenant: &str, start: i64, turn: ev::SessionTurn) -> nb::SessionTurn {
    let offset = turn.time_us.saturating_sub(start) / 1000;
    nb::SessionTurn {
        offset_ms: u32::try_from(offset.max(0)).unwrap_or(u32::MAX),
        received: turn.received,
        sent: turn.sent,
        request_id: turn.request_id,
        task: convert::task_name(tenant, &turn.task),
        bytes_in: turn.bytes_in,
        bytes_out: turn.bytes_out,
        status: turn.status,
        fault_code: turn.fault_code,
        spent_ms: turn.spent_ms,
    }
}
