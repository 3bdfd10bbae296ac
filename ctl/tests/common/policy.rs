//! The policy service of the canned server.

use super::Fake;
use hearth_proto::northbound::v1 as nb;
use tonic::{Request, Response, Status};

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl nb::policy_service_server::PolicyService for Fake {
    async fn get_edge_policy(
        &self,
        _: Request<nb::GetEdgePolicyRequest>,
    ) -> Answer<nb::GetEdgePolicyResponse> {
        let last = self.state.lock().unwrap().policies.last().cloned();
        Ok(Response::new(nb::GetEdgePolicyResponse {
            policy: last.and_then(|update| update.policy),
        }))
    }

    async fn update_edge_policy(
        &self,
        r: Request<nb::UpdateEdgePolicyRequest>,
    ) -> Answer<nb::UpdateEdgePolicyResponse> {
        let request = r.into_inner();
        let policy = request.policy.clone();
        self.with(|state| state.policies.push(request));
        Ok(Response::new(nb::UpdateEdgePolicyResponse { policy }))
    }

    async fn set_line(&self, r: Request<nb::SetLineRequest>) -> Answer<nb::SetLineResponse> {
        let line = r.into_inner().line;
        self.with(|state| state.lines.extend(line.clone()));
        Ok(Response::new(nb::SetLineResponse { line }))
    }

    async fn list_lines(&self, _: Request<nb::ListLinesRequest>) -> Answer<nb::ListLinesResponse> {
        Ok(Response::new(nb::ListLinesResponse {
            lines: self.state.lock().unwrap().lines.clone(),
            next_page_token: String::new(),
        }))
    }

    async fn delete_line(
        &self,
        r: Request<nb::DeleteLineRequest>,
    ) -> Answer<nb::DeleteLineResponse> {
        self.with(|state| state.deleted.push(r.into_inner().prefix));
        Ok(Response::new(nb::DeleteLineResponse {}))
    }
}
