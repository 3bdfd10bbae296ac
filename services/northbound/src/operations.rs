//! OperationsService: what those who run the server look after.

use crate::caller::Caller;
use crate::convert::{device_name, masked_url};
use crate::core::Core;
use crate::error::{Context, invalid, plain};
use crate::page;
use hearth_clients::Kind;
use hearth_proto::convert::{micros, timestamp};
use hearth_proto::events::v1::{self as ev, event::Kind as Event};
use hearth_proto::northbound::v1::{self as nb, operations_service_server::OperationsService};
use hearth_proto::{devicestate::v1 as ds, types::v1 as ty};
use hearth_types::{MASK, ResourceName, TenantId, is_secret_name};
use std::sync::Arc;
use tonic::{Code, Request, Response, Status};

/// Internal fields by their public names.
const LIST: &[(&str, &str)] = &[("tenant", "parent")];
const ONE: &[(&str, &str)] = &[("tenant", "name"), ("id", "name")];

/// The service.
pub(crate) struct Operations(pub(crate) Arc<Core>);

#[tonic::async_trait]
impl OperationsService for Operations {
    async fn list_dead_letters(
        &self,
        request: Request<nb::ListDeadLettersRequest>,
    ) -> Result<Response<nb::ListDeadLettersResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let internal = ds::ListDeadLettersRequest {
            tenant: whose(&caller, &request.parent)?,
            filter: request.filter.map(filter),
            page_size: page::RESOURCES.size(request.page_size)?,
            page_token: page::token(request.page_token)?,
        };
        let found = self.page(internal).await?;
        let letters: Result<_, _> = found.letters.into_iter().map(dead_letter).collect();
        Ok(Response::new(nb::ListDeadLettersResponse {
            dead_letters: letters?,
            next_page_token: found.next_page_token,
        }))
    }

    async fn get_dead_letter(
        &self,
        request: Request<nb::GetDeadLetterRequest>,
    ) -> Result<Response<nb::GetDeadLetterResponse>, Status> {
        let caller = Caller::of(&request)?;
        let name = request.into_inner().name;
        let (tenant, id) = caller.dead_letter("name", &name)?;
        let internal = ds::GetDeadLetterRequest {
            tenant: tenant.to_string(),
            id,
        };
        let answer = self.0.clients.device_state.get_dead_letter(internal).await;
        let answer = answer.map_err(|error| about(&name).status(error))?;
        let letter = answer.letter.unwrap_or_default();
        Ok(Response::new(nb::GetDeadLetterResponse {
            dead_letter: Some(dead_letter(letter)?),
        }))
    }

    async fn replay_dead_letter(
        &self,
        request: Request<nb::ReplayDeadLetterRequest>,
    ) -> Result<Response<nb::ReplayDeadLetterResponse>, Status> {
        let caller = Caller::of(&request)?;
        let name = request.into_inner().name;
        let (tenant, id) = caller.dead_letter("name", &name)?;
        let internal = ds::ReplayDeadLetterRequest {
            tenant: tenant.to_string(),
            id,
        };
        let device_state = &self.0.clients.device_state;
        let answer = device_state.replay_dead_letter(internal).await;
        let answer = answer.map_err(|error| about(&name).status(error))?;
        Ok(Response::new(nb::ReplayDeadLetterResponse {
            sequence: answer.sequence,
        }))
    }

    async fn replay_dead_letters(
        &self,
        request: Request<nb::ReplayDeadLettersRequest>,
    ) -> Result<Response<nb::ReplayDeadLettersResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let place = match page::token(request.page_token)? {
            token if token.is_empty() => Place {
                until: self.0.clock.now_micros(),
                token,
            },
            token => Place::read(&token)?,
        };
        let internal = ds::ListDeadLettersRequest {
            tenant: whose(&caller, &request.parent)?,
            filter: request.filter.map(filter),
            page_size: page::REPLAYS.size(request.page_size)?,
            page_token: place.token,
        };
        let found = self.page(internal).await?;
        let mut answer = nb::ReplayDeadLettersResponse {
            replayed: 0,
            next_page_token: match found.next_page_token {
                token if token.is_empty() => token,
                token => Place { token, ..place }.written(),
            },
        };
        // One after the other: events of a device keep their order.
        for letter in found.letters {
            if micros(letter.death_time.as_ref()) > place.until {
                // Replayed by this very call, and dead again.
                answer.next_page_token.clear();
                break;
            }
            let internal = ds::ReplayDeadLetterRequest {
                tenant: letter.tenant,
                id: letter.id,
            };
            let device_state = &self.0.clients.device_state;
            match device_state.replay_dead_letter(internal).await {
                Ok(_) => answer.replayed += 1,
                // Someone else was first.
                Err(error) if error.kind == Kind::NotFound => {}
                Err(error) => return Err(Context::default().status(error)),
            }
        }
        Ok(Response::new(answer))
    }

    async fn delete_dead_letter(
        &self,
        request: Request<nb::DeleteDeadLetterRequest>,
    ) -> Result<Response<nb::DeleteDeadLetterResponse>, Status> {
        let caller = Caller::of(&request)?;
        let name = request.into_inner().name;
        let (tenant, id) = caller.dead_letter("name", &name)?;
        let internal = ds::DeleteDeadLetterRequest {
            tenant: tenant.to_string(),
            id,
        };
        let device_state = &self.0.clients.device_state;
        let answer = device_state.delete_dead_letter(internal).await;
        answer.map_err(|error| about(&name).status(error))?;
        Ok(Response::new(nb::DeleteDeadLetterResponse {}))
    }
}

impl Operations {
    async fn page(
        &self,
        request: ds::ListDeadLettersRequest,
    ) -> Result<ds::ListDeadLettersResponse, Status> {
        let context = Context::default().fields(LIST);
        let found = self.0.clients.device_state.list_dead_letters(request).await;
        found.map_err(|error| context.status(error))
    }
}

/// How far a replay of many is.
struct Place {
    /// Letters that died later are not meant.
    until: i64,
    /// Of the list.
    token: String,
}

impl Place {
    fn written(&self) -> String {
        format!("{}.{}", self.until, self.token)
    }

    fn read(text: &str) -> Result<Self, Status> {
        let parts = text.split_once('.');
        let read = parts.and_then(|(until, token)| Some((until.parse().ok()?, token.to_owned())));
        let message = "expected next_page_token of the call before, as it was";
        let (until, token) = read.ok_or_else(|| invalid("page_token", message))?;
        Ok(Self { until, token })
    }
}

fn about(name: &str) -> Context<'_> {
    Context::of("DeadLetter", name).fields(ONE)
}

/// The tenant as the internal list takes it: empty for all.
fn whose(caller: &Caller, parent: &str) -> Result<String, Status> {
    let tenant = caller.tenant_or_all("parent", parent)?;
    Ok(tenant.map_or_else(String::new, |tenant| tenant.to_string()))
}

fn filter(filter: nb::DeadLetterFilter) -> ds::DeadLetterFilter {
    ds::DeadLetterFilter {
        stream: filter.stream,
        device: filter.device,
        reason: filter.reason,
    }
}

/// A letter as callers see it.
fn dead_letter(letter: ds::DeadLetter) -> Result<nb::DeadLetter, Status> {
    let broken = |what: &str| plain(Code::Internal, "INTERNAL", what);
    let tenant: TenantId = letter
        .tenant
        .parse()
        .map_err(|_| broken("a dead letter without a tenant"))?;
    let json = match letter.event.map(masked) {
        Some(event) => serde_json::to_string(&event)
            .map_err(|_| broken("the event of a dead letter can't be written as JSON"))?,
        None => String::new(),
    };
    Ok(nb::DeadLetter {
        device: device_name(&letter.tenant, &letter.device),
        name: ResourceName::DeadLetter(tenant, letter.id).to_string(),
        consumer: letter.consumer,
        reason: letter.reason,
        death_time: timestamp(micros(letter.death_time.as_ref())),
        stream: letter.stream,
        event_time: timestamp(micros(letter.event_time.as_ref())),
        deliveries: letter.deliveries,
        sequence: letter.sequence,
        size: letter.size,
        event_json: json,
        unreadable: letter.unreadable,
    })
}

/// An event without secrets.
fn masked(mut event: ev::Event) -> ev::Event {
    let hide = |values: &mut Vec<ty::ParameterValue>| {
        *values = std::mem::take(values)
            .into_iter()
            .map(ty::ParameterValue::masked)
            .collect();
    };
    match &mut event.kind {
        Some(Event::Inform(inform)) => hide(&mut inform.parameters),
        Some(Event::ValuesReported(reported)) => hide(&mut reported.values),
        Some(Event::TransferComplete(transfer)) => {
            for url in [&mut transfer.announce_url, &mut transfer.transfer_url] {
                *url = masked_url(url);
            }
        }
        Some(Event::DeviceRequest(request)) => {
            for (name, value) in &mut request.arguments {
                *value = match is_secret_name(name) && !value.is_empty() {
                    true => MASK.to_owned(),
                    false => masked_url(value),
                };
            }
        }
        _ => {}
    }
    event
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn value(path: &str, sealed: &[u8]) -> ty::ParameterValue {
        ty::ParameterValue {
            path: path.to_owned(),
            value: "geheim".to_owned(),
            sealed: sealed.to_vec(),
            ..Default::default()
        }
    }

    #[test]
    fn an_event_shows_no_secret() {
        let inform = ev::Inform {
            parameters: vec![
                value("Device.X.Password", b""),
                value("Device.X.Odd", b"sealed"),
            ],
            ..Default::default()
        };
        let request = ev::DeviceRequest {
            method: "RequestDownload".to_owned(),
            arguments: [
                ("Password".to_owned(), "geheim".to_owned()),
                ("Url".to_owned(), "http://u:geheim@h/".to_owned()),
            ]
            .into(),
        };
        let transfer = ev::TransferComplete {
            transfer_url: "ftp://u:geheim@h/f".to_owned(),
            ..Default::default()
        };
        let values = ev::ValuesReported {
            values: vec![value("Device.X.Password", b"sealed")],
            ..Default::default()
        };
        for kind in [
            Event::Inform(inform),
            Event::DeviceRequest(request),
            Event::TransferComplete(transfer),
            Event::ValuesReported(values),
        ] {
            let event = ev::Event {
                kind: Some(kind),
                ..Default::default()
            };
            let letter = ds::DeadLetter {
                tenant: "default".to_owned(),
                event: Some(event),
                ..Default::default()
            };
            let json = dead_letter(letter).unwrap().event_json;
            assert!(json.contains(MASK) && !json.contains("geheim"), "{json}");
            assert!(!json.contains("sealed"), "{json}");
        }
    }

    #[test]
    fn the_place_of_a_replay_is_read_as_it_was_written() {
        let place = Place {
            until: 5,
            token: "a.b".to_owned(),
        };
        let read = Place::read(&place.written()).unwrap();
        assert_eq!((read.until, read.token.as_str()), (5, "a.b"));
        assert!(Place::read("x").is_err());
    }
}
