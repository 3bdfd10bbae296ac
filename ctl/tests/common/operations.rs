//! The service of dead letters: those of [`super::State`].
#![allow(missing_docs, clippy::unwrap_used)]

use super::{Fake, invalid};
use hearth_proto::northbound::v1 as nb;
use tonic::{Request, Response, Status};

type Answer<T> = Result<Response<T>, Status>;

impl Fake {
    fn take_letter(&self, name: &str) -> Result<nb::DeadLetter, Status> {
        let letters = &mut self.state.lock().unwrap().dead_letters;
        let place = letters.iter().position(|letter| letter.name == name);
        let place = place.ok_or_else(|| Status::not_found("there is no such dead letter"))?;
        Ok(letters.remove(place))
    }

    fn letters(&self, filter: Option<nb::DeadLetterFilter>) -> Vec<nb::DeadLetter> {
        let filter = filter.unwrap_or_default();
        let state = self.state.lock().unwrap();
        let letters = state.dead_letters.iter();
        let found = letters.filter(|letter| {
            letter.reason.contains(&filter.reason)
                && (filter.stream.is_empty() || letter.stream == filter.stream)
                && (filter.device.is_empty() || letter.device.ends_with(&filter.device))
        });
        found.cloned().collect()
    }
}

#[tonic::async_trait]
impl nb::operations_service_server::OperationsService for Fake {
    async fn list_dead_letters(
        &self,
        request: Request<nb::ListDeadLettersRequest>,
    ) -> Answer<nb::ListDeadLettersResponse> {
        let request = request.into_inner();
        let stream = request.filter.clone().unwrap_or_default().stream;
        if stream == "nonsense" {
            return Err(invalid("filter.stream", "expected one of inform, values"));
        }
        let mut all = self.letters(request.filter);
        for letter in &mut all {
            letter.event_json.clear();
        }
        // A page without any, before the end.
        let next = match request.page_token.as_str() {
            "" => std::mem::take(&mut all).first().map(|_| "2".to_owned()),
            _ => None,
        };
        Ok(Response::new(nb::ListDeadLettersResponse {
            dead_letters: all,
            next_page_token: next.unwrap_or_default(),
        }))
    }

    async fn get_dead_letter(
        &self,
        request: Request<nb::GetDeadLetterRequest>,
    ) -> Answer<nb::GetDeadLetterResponse> {
        let name = request.into_inner().name;
        let letter = self.letters(None).into_iter().find(|l| l.name == name);
        Ok(Response::new(nb::GetDeadLetterResponse {
            dead_letter: Some(letter.ok_or_else(|| Status::not_found("no such"))?),
        }))
    }

    async fn replay_dead_letter(
        &self,
        request: Request<nb::ReplayDeadLetterRequest>,
    ) -> Answer<nb::ReplayDeadLetterResponse> {
        self.take_letter(&request.into_inner().name)?;
        Ok(Response::new(nb::ReplayDeadLetterResponse { sequence: 99 }))
    }

    async fn replay_dead_letters(
        &self,
        request: Request<nb::ReplayDeadLettersRequest>,
    ) -> Answer<nb::ReplayDeadLettersResponse> {
        let found = self.letters(request.into_inner().filter);
        let first = found.into_iter().next();
        let replayed = match first {
            Some(letter) => self.take_letter(&letter.name).map(|_| 1)?,
            None => 0,
        };
        Ok(Response::new(nb::ReplayDeadLettersResponse {
            replayed,
            next_page_token: if replayed == 0 { "" } else { "more" }.to_owned(),
        }))
    }

    async fn delete_dead_letter(
        &self,
        request: Request<nb::DeleteDeadLetterRequest>,
    ) -> Answer<nb::DeleteDeadLetterResponse> {
        self.take_letter(&request.into_inner().name)?;
        Ok(Response::new(nb::DeleteDeadLetterResponse {}))
    }
}
