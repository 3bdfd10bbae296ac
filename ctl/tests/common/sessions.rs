//! The session and capture services of the canned server.

use super::{Fake, TASK};
use hearth_proto::{
    northbound::v1 as nb,
    types::v1::{Capture, CaptureState},
};
use tonic::{Request, Response, Status};

type Answer<T> = Result<Response<T>, Status>;

pub const SESSION: &str = "01hzy3v7k2q4w6e8r0t2y4a6d9";
pub const CAPTURE: &str = "01hzy3v7k2q4w6e8r0t2y4a6da";

fn session() -> nb::Session {
    let turn = |offset_ms, received: &str, sent: &str, task: &str| nb::SessionTurn {
        offset_ms,
        received: received.into(),
        sent: sent.into(),
        task: task.into(),
        status: 200,
        ..nb::SessionTurn::default()
    };
    let task = format!("tenants/default/tasks/{TASK}");
    nb::Session {
        id: SESSION.into(),
        events: vec!["2 PERIODIC".into()],
        end: "refused".into(),
        end_detail: "too_large".into(),
        turn_count: 2,
        tasks: vec![task.clone()],
        turns: vec![
            turn(0, "Inform", "InformResponse", ""),
            nb::SessionTurn {
                fault_code: 9002,
                ..turn(17, "Fault", "Reboot", &task)
            },
        ],
        ..nb::Session::default()
    }
}

#[tonic::async_trait]
impl nb::session_service_server::SessionService for Fake {
    async fn list_sessions(
        &self,
        r: Request<nb::ListSessionsRequest>,
    ) -> Answer<nb::ListSessionsResponse> {
        assert_eq!(r.into_inner().page_size, 20);
        let turns = Vec::new();
        Ok(Response::new(nb::ListSessionsResponse {
            sessions: vec![nb::Session { turns, ..session() }],
        }))
    }

    async fn get_session(
        &self,
        r: Request<nb::GetSessionRequest>,
    ) -> Answer<nb::GetSessionResponse> {
        match r.into_inner().session == SESSION {
            true => Ok(Response::new(nb::GetSessionResponse {
                session: Some(session()),
            })),
            false => Err(Status::not_found("no such session is known any more")),
        }
    }
}

#[tonic::async_trait]
impl nb::capture_service_server::CaptureService for Fake {
    async fn start_capture(
        &self,
        r: Request<nb::StartCaptureRequest>,
    ) -> Answer<nb::StartCaptureResponse> {
        let mut capture = r.into_inner().capture.unwrap();
        capture.id = CAPTURE.into();
        capture.set_state(CaptureState::Active);
        self.with(|state| state.captures.push(capture.clone()));
        Ok(Response::new(nb::StartCaptureResponse {
            capture: Some(capture),
        }))
    }

    async fn list_captures(
        &self,
        _: Request<nb::ListCapturesRequest>,
    ) -> Answer<nb::ListCapturesResponse> {
        Ok(Response::new(nb::ListCapturesResponse {
            captures: self.state.lock().unwrap().captures.clone(),
        }))
    }

    async fn get_capture(
        &self,
        _: Request<nb::GetCaptureRequest>,
    ) -> Answer<nb::GetCaptureResponse> {
        Err(Status::not_found("there is no capture"))
    }

    async fn stop_capture(
        &self,
        r: Request<nb::StopCaptureRequest>,
    ) -> Answer<nb::StopCaptureResponse> {
        let mut capture = Capture {
            id: r.into_inner().capture,
            ..Capture::default()
        };
        capture.set_state(CaptureState::Stopped);
        Ok(Response::new(nb::StopCaptureResponse {
            capture: Some(capture),
        }))
    }

    async fn delete_capture(
        &self,
        r: Request<nb::DeleteCaptureRequest>,
    ) -> Answer<nb::DeleteCaptureResponse> {
        self.with(|state| state.deleted.push(r.into_inner().capture));
        Ok(Response::new(nb::DeleteCaptureResponse {}))
    }

    async fn download_capture(
        &self,
        r: Request<nb::DownloadCaptureRequest>,
    ) -> Answer<nb::DownloadCaptureResponse> {
        let piece = |text: &str, next: &str| nb::DownloadCaptureResponse {
            text: text.into(),
            next_page_token: next.into(),
        };
        Ok(Response::new(match r.into_inner().page_token.as_str() {
            "" => piece("# hearth capture 1\n", "more"),
            _ => piece("--- session x turn 1\n", ""),
        }))
    }
}
