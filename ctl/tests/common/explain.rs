//! The explain service of the canned server.

use super::{Fake, time};
use hearth_proto::northbound::v1 as nb;
use tonic::{Request, Response, Status};

type Answer<T> = Result<Response<T>, Status>;

impl Fake {
    fn explain(&self, name: String) -> Option<nb::Explanation> {
        self.with(|state| state.explained.push(name));
        let mut finding = nb::Finding {
            code: "wrong_password".into(),
            sentence: "The device was refused 3 times.".into(),
            remedy: "Set its password: `hearthctl credential set`.".into(),
            time: time("2026-01-31T11:58:00Z"),
            facts: [("user".to_owned(), "router1".to_owned())].into(),
            ..Default::default()
        };
        finding.set_severity(nb::FindingSeverity::Decisive);
        Some(nb::Explanation {
            sentence: finding.sentence.clone(),
            findings: vec![finding],
        })
    }
}

#[tonic::async_trait]
impl nb::explain_service_server::ExplainService for Fake {
    async fn explain_device(
        &self,
        r: Request<nb::ExplainDeviceRequest>,
    ) -> Answer<nb::ExplainDeviceResponse> {
        let explanation = self.explain(r.into_inner().name);
        Ok(Response::new(nb::ExplainDeviceResponse { explanation }))
    }

    async fn explain_task(
        &self,
        r: Request<nb::ExplainTaskRequest>,
    ) -> Answer<nb::ExplainTaskResponse> {
        let explanation = self.explain(r.into_inner().name);
        Ok(Response::new(nb::ExplainTaskResponse { explanation }))
    }

    async fn list_refusals(
        &self,
        r: Request<nb::ListRefusalsRequest>,
    ) -> Answer<nb::ListRefusalsResponse> {
        let r = r.into_inner();
        let asked = format!("{} {} {}", r.device, r.user, r.address);
        self.with(|state| state.explained.push(asked));
        Ok(Response::new(nb::ListRefusalsResponse {
            refusals: vec![nb::Refusal {
                user: "rou\u{1b}[31mter1".into(),
                address: "192.0.2.7".into(),
                reason: "unknown_user".into(),
                sentence: "Refused: its user name is not known.".into(),
                count: 12,
                last_time: time("2026-01-31T11:58:00Z"),
                ..Default::default()
            }],
            next_page_token: String::new(),
        }))
    }
}
