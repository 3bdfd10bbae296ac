//! Dead letters of the bus: listed, read, replayed, deleted.

use hearth_bus::DeadLetter;
use hearth_clients::{Error, Result};
use hearth_proto::convert::timestamp;
use hearth_proto::devicestate::v1 as ds;
use hearth_proto::events::v1::Event;
use hearth_types::{DeviceId, TenantId};
use prost::Message;

use crate::core::Core;
use crate::errors::from_bus;
use crate::page;

const DEFAULT_PAGE: usize = 50;
const MAX_PAGE: usize = 1000;
/// Letters taken from the bus in one go: each may be as large as a message.
const CHUNK: usize = 32;
/// Letters looked at for one page. NATS is asked for each.
const MAX_SCAN: usize = 512;

/// Which letters are wanted.
struct Wanted {
    /// `None`: of all tenants.
    tenant: Option<TenantId>,
    stream: String,
    device: Option<DeviceId>,
    /// In lower case.
    reason: String,
}

impl Wanted {
    fn read(tenant: &str, filter: ds::DeadLetterFilter) -> Result<Self> {
        let tenant = match tenant {
            "" => None,
            tenant => Some(tenant.parse()?),
        };
        let stream = filter.stream.parse::<hearth_bus::Stream>();
        if !filter.stream.is_empty() && stream.is_err() {
            let names = hearth_bus::Stream::ALL.map(hearth_bus::Stream::as_str);
            let message = format!("expected one of {}", names.join(", "));
            return Err(Error::invalid("filter.stream", message));
        }
        let device = match filter.device.as_str() {
            "" => None,
            device => Some(device.parse().map_err(|error: hearth_types::Invalid| {
                Error::invalid("filter.device", error.reason)
            })?),
        };
        Ok(Self {
            tenant,
            stream: filter.stream,
            device,
            reason: filter.reason.to_lowercase(),
        })
    }

    fn has(&self, letter: &DeadLetter) -> bool {
        let message = &letter.message;
        let of_tenant = |tenant: &TenantId| *tenant == message.device.tenant;
        let of_device = |device: &DeviceId| *device == message.device.device;
        self.tenant.as_ref().is_none_or(of_tenant)
            && (self.stream.is_empty() || self.stream == message.stream.as_str())
            && self.device.as_ref().is_none_or(of_device)
            && (self.reason.is_empty() || letter.reason.to_lowercase().contains(&self.reason))
    }
}

/// A letter without its event.
fn shown(letter: &DeadLetter) -> ds::DeadLetter {
    let message = &letter.message;
    ds::DeadLetter {
        id: letter.id,
        consumer: letter.consumer.clone(),
        reason: letter.reason.clone(),
        death_time: timestamp(letter.died.as_micros()),
        stream: message.stream.as_str().to_owned(),
        tenant: message.device.tenant.to_string(),
        device: message.device.device.to_string(),
        event_time: timestamp(message.time.as_micros()),
        deliveries: message.deliveries,
        sequence: message.seq,
        size: message.payload.len() as u64,
        ..Default::default()
    }
}

/// The event of a letter, or why it can't be read.
fn event(letter: &DeadLetter) -> std::result::Result<Event, String> {
    let message = &letter.message;
    let event = Event::decode(message.payload.clone())
        .map_err(|error| format!("not a hearth.events.v1.Event: {error}"))?;
    if event.tenant != message.device.tenant.as_str() {
        // Whoever may see the letter may not see another tenant's event.
        return Err("the event is of another tenant than its message".to_owned());
    }
    Ok(event)
}

impl Core {
    pub async fn list_dead_letters(
        &self,
        request: ds::ListDeadLettersRequest,
    ) -> Result<ds::ListDeadLettersResponse> {
        let filter = request.filter.unwrap_or_default();
        let of = page::query((
            "dead letters",
            &request.tenant,
            (&filter.stream, &filter.device, &filter.reason),
        ));
        let size = page::size(request.page_size, DEFAULT_PAGE, MAX_PAGE);
        let mut after = match page::read(&request.page_token, of)? {
            Some(token) => {
                let id = token.after.parse();
                Some(id.map_err(|_| page::invalid("not a page token of this list"))?)
            }
            None => None,
        };
        let wanted = Wanted::read(&request.tenant, filter)?;
        let mut letters = Vec::new();
        let mut seen = 0;
        loop {
            // No more than are still wanted: what is left of a chunk would be fetched again.
            let limit = CHUNK.min(size - letters.len());
            let page = self
                .bus
                .dead_letters(after, limit)
                .await
                .map_err(from_bus)?;
            seen += page.letters.len();
            let found = page.letters.iter().filter(|letter| wanted.has(letter));
            letters.extend(found.map(shown));
            after = page.next;
            if after.is_none() || letters.len() >= size || seen >= MAX_SCAN {
                break;
            }
        }
        Ok(ds::ListDeadLettersResponse {
            letters,
            next_page_token: after.map_or_else(String::new, |id| page::after(of, &id.to_string())),
        })
    }

    pub async fn get_dead_letter(
        &self,
        request: ds::GetDeadLetterRequest,
    ) -> Result<ds::GetDeadLetterResponse> {
        let found = self.dead_letter(&request.tenant, request.id).await?;
        let mut letter = shown(&found);
        match event(&found) {
            Ok(event) => letter.event = Some(event),
            Err(why) => letter.unreadable = why,
        }
        Ok(ds::GetDeadLetterResponse {
            letter: Some(letter),
        })
    }

    pub async fn replay_dead_letter(
        &self,
        request: ds::ReplayDeadLetterRequest,
    ) -> Result<ds::ReplayDeadLetterResponse> {
        let letter = self.dead_letter(&request.tenant, request.id).await?;
        let ack = self.bus.replay_dead_letter(letter.id).await;
        let sequence = ack.map_err(from_bus)?.seq;
        self.metrics.dead_replayed.inc();
        let device = &letter.message.device;
        tracing::info!(id = letter.id, sequence, %device, "a dead letter was replayed");
        Ok(ds::ReplayDeadLetterResponse { sequence })
    }

    pub async fn delete_dead_letter(
        &self,
        request: ds::DeleteDeadLetterRequest,
    ) -> Result<ds::DeleteDeadLetterResponse> {
        let letter = self.dead_letter(&request.tenant, request.id).await?;
        let deleted = self.bus.delete_dead_letter(letter.id).await;
        deleted.map_err(from_bus)?;
        self.metrics.dead_deleted.inc();
        let device = &letter.message.device;
        tracing::info!(id = letter.id, %device, reason = letter.reason, "a dead letter was deleted");
        Ok(ds::DeleteDeadLetterResponse {})
    }

    /// One letter, if it is the tenant's.
    async fn dead_letter(&self, tenant: &str, id: u64) -> Result<DeadLetter> {
        let tenant: TenantId = tenant.parse()?;
        let page = self.bus.dead_letters(id.checked_sub(1), 1).await;
        let found = page.map_err(from_bus)?.letters.into_iter().next();
        found
            .filter(|letter| letter.id == id && letter.message.device.tenant == tenant)
            .ok_or_else(|| Error::not_found("there is no such dead letter"))
    }
}
