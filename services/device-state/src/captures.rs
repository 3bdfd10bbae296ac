//! Captures of sessions: started by operators, filled by gateways, read as text.
//!
//! Documents of the kind `Setting`: `capture/{id}` is a capture, `capture-session/{id}/{session}`
//! says how much it holds of a session, `capture-turn/{id}/{session}/{turn}-{time}` is a turn's
//! text. The parts of a device are applied by one process, so that what is counted of a session is
//! right; a capture's own numbers are added up when it is read. Gateways are told of active captures
//! with the tenant's policy.

mod parts;

use std::sync::Arc;

use hearth_clients::{Error, Kind as ErrorKind, Result};
use hearth_proto::convert::{micros, timestamp};
use hearth_proto::devicestate::v1 as ds;
use hearth_proto::types::v1::{Capture, CaptureRule, CaptureState};
use hearth_store::{Document, DocumentKind};
use hearth_types::{DeviceId, TenantId};
use prost::Message;
use ulid::Ulid;

use crate::core::Core;
use crate::memory::{About, Memory, REMEMBERED};
use crate::page;

const KIND: DocumentKind = DocumentKind::Setting;
const CAPTURES: &str = "capture/";
const SESSIONS: &str = "capture-session/";
const TURNS: &str = "capture-turn/";
/// Captures of a tenant.
const MAX_CAPTURES: usize = 100;
const MAX_SESSIONS: u32 = 100;
const SECONDS: std::ops::RangeInclusive<u32> = 10..=24 * 3600;
const DEFAULT_SECONDS: u32 = 3600;
/// How long what is captured is kept after the end, in µs.
const KEPT: i64 = 7 * 24 * 3600 * 1_000_000;
/// Text that a capture holds at most, in bytes.
const MAX_BYTES: u64 = 32 << 20;
/// The longest text in a rule, in characters.
const MAX_TEXT: usize = 128;
/// A piece of text that is read at once, in bytes, and turns looked at for it.
const PIECE: usize = 1 << 20;
const PAGE: usize = 32;
/// Tenants whose active captures are in memory.
const CACHED: usize = 10_000;

/// What gateways are told.
pub struct CaptureCache(Memory<TenantId, Arc<Vec<ds::ActiveCapture>>>);

impl CaptureCache {
    pub fn new() -> Self {
        Self(Memory::new(CACHED, REMEMBERED))
    }
}

/// What a capture holds of a session.
#[derive(Clone, PartialEq, Message)]
struct Held {
    #[prost(string, tag = "1")]
    device: String,
    #[prost(uint64, tag = "2")]
    bytes: u64,
    #[prost(uint64, tag = "3")]
    left_out: u64,
    /// µs since 1970 of the last part.
    #[prost(int64, tag = "4")]
    last: i64,
}

fn key(id: &str) -> String {
    format!("{CAPTURES}{id}")
}

fn check(rule: &CaptureRule) -> Result<()> {
    let others = [&rule.oui, &rule.product_class, &rule.software_version];
    for (field, text) in ["oui", "product_class", "software_version"]
        .into_iter()
        .zip(others)
    {
        if text.chars().count() > MAX_TEXT || text.chars().any(char::is_control) {
            let message = "expected at most 128 characters, none of them a control character";
            return Err(Error::invalid(format!("capture.rule.{field}"), message));
        }
    }
    let by_model = others.iter().any(|text| !text.is_empty());
    let said = [!rule.device.is_empty(), by_model, rule.any];
    if said.iter().filter(|said| **said).count() != 1 {
        let message = "expected a device; or some of oui, product_class, software_version; or any";
        return Err(Error::invalid("capture.rule", message));
    }
    if !rule.oui.is_empty()
        && (rule.oui.len() != 6 || !rule.oui.bytes().all(|b| b.is_ascii_hexdigit()))
    {
        let message = "expected 6 hexadecimal digits";
        return Err(Error::invalid("capture.rule.oui", message));
    }
    Ok(())
}

fn no_capture(id: &str) -> Error {
    Error::not_found(format!(
        "there is no capture {id} any more; ListCaptures shows those that are"
    ))
}

impl Core {
    pub async fn start_capture(
        &self,
        request: ds::StartCaptureRequest,
    ) -> Result<ds::StartCaptureResponse> {
        let tenant: TenantId = request.tenant.parse()?;
        let asked = request
            .capture
            .ok_or_else(|| Error::invalid("capture", "must be set"))?;
        let mut rule = asked.rule.unwrap_or_default();
        check(&rule)?;
        if !rule.device.is_empty() {
            let device: DeviceId =
                rule.device
                    .parse()
                    .map_err(|error: hearth_types::Invalid| {
                        Error::invalid("capture.rule.device", error.reason)
                    })?;
            rule.device = device.into();
        }
        let max_sessions = match asked.max_sessions {
            0 if rule.device.is_empty() => 10,
            0 => 1,
            some @ 1..=MAX_SESSIONS => some,
            _ => return Err(Error::invalid("capture.max_sessions", "expected 1 to 100")),
        };
        let duration_seconds = match asked.duration_seconds {
            0 => DEFAULT_SECONDS,
            some if SECONDS.contains(&some) => some,
            _ => {
                let message = "expected 10 to 86400 (a day)";
                return Err(Error::invalid("capture.duration_seconds", message));
            }
        };
        let _edit = self.edit.lock().await;
        if self.stored_captures(&tenant).await?.len() >= MAX_CAPTURES {
            return Err(Error::new(
                ErrorKind::ResourceExhausted,
                "the tenant has 100 captures; delete some of them (DeleteCapture)",
            ));
        }
        let now = self.now().as_micros();
        let end = now + i64::from(duration_seconds) * 1_000_000;
        let capture = Capture {
            id: Ulid::generate().to_string().to_ascii_lowercase(),
            rule: Some(rule),
            max_sessions,
            duration_seconds,
            state: CaptureState::Active.into(),
            start_time: timestamp(now),
            end_time: timestamp(end),
            delete_time: timestamp(end + KEPT),
            ..Capture::default()
        };
        self.put_capture(&tenant, &capture).await?;
        Ok(ds::StartCaptureResponse {
            capture: Some(capture),
        })
    }

    async fn put_capture(&self, tenant: &TenantId, capture: &Capture) -> Result<()> {
        let document = Document {
            key: key(&capture.id),
            time: self.now(),
            payload: capture.encode_to_vec(),
        };
        let _changing = self.changing(&[About::tenant(tenant)]).await?;
        self.store.put_document(KIND, tenant, document).await?;
        Ok(())
    }

    /// Captures as they are kept, the newest first.
    async fn stored_captures(&self, tenant: &TenantId) -> Result<Vec<Capture>> {
        let found = self.store.documents(KIND, tenant, CAPTURES, None, 1000);
        let read = |document: Document| Capture::decode(document.payload.as_slice()).ok();
        let mut captures: Vec<_> = found.await?.into_iter().filter_map(read).collect();
        captures.reverse();
        Ok(captures)
    }

    async fn stored_capture(&self, tenant: &TenantId, id: &str) -> Result<Option<Capture>> {
        let found = self.store.document(KIND, tenant, &key(id)).await?;
        Ok(found.and_then(|document| Capture::decode(document.payload.as_slice()).ok()))
    }

    /// What a capture holds, by session.
    async fn held(&self, tenant: &TenantId, id: &str) -> Result<Vec<(String, Held)>> {
        let prefix = format!("{SESSIONS}{id}/");
        let found = self.store.documents(KIND, tenant, &prefix, None, 1000);
        let read = |document: Document| {
            let session = document.key.strip_prefix(&prefix)?.to_owned();
            let held = Held::decode(document.payload.as_slice()).ok()?;
            Some((session, held))
        };
        Ok(found.await?.into_iter().filter_map(read).collect())
    }

    /// A capture with what it holds and where it stands.
    async fn with_numbers(&self, tenant: &TenantId, mut capture: Capture) -> Result<Capture> {
        let held = self.held(tenant, &capture.id).await?;
        capture.sessions = u32::try_from(held.len()).unwrap_or(u32::MAX);
        capture.bytes = held.iter().map(|(_, held)| held.bytes).sum();
        capture.left_out = held.iter().map(|(_, held)| held.left_out).sum();
        if capture.state() == CaptureState::Active {
            let over = micros(capture.end_time.as_ref()) <= self.now().as_micros();
            let full = capture.sessions >= capture.max_sessions || capture.bytes >= MAX_BYTES;
            capture.set_state(match (full, over) {
                (true, _) => CaptureState::Full,
                (false, true) => CaptureState::Over,
                (false, false) => CaptureState::Active,
            });
        }
        Ok(capture)
    }

    pub async fn list_captures(
        &self,
        request: ds::ListCapturesRequest,
    ) -> Result<ds::ListCapturesResponse> {
        let tenant: TenantId = request.tenant.parse()?;
        let mut captures = Vec::new();
        for capture in self.stored_captures(&tenant).await? {
            captures.push(self.with_numbers(&tenant, capture).await?);
        }
        Ok(ds::ListCapturesResponse { captures })
    }

    pub async fn get_capture(
        &self,
        request: ds::GetCaptureRequest,
    ) -> Result<ds::GetCaptureResponse> {
        let tenant: TenantId = request.tenant.parse()?;
        let found = self.stored_capture(&tenant, &request.id).await?;
        let capture = found.ok_or_else(|| no_capture(&request.id))?;
        let capture = self.with_numbers(&tenant, capture).await?;
        Ok(ds::GetCaptureResponse {
            capture: Some(capture),
        })
    }

    pub async fn stop_capture(
        &self,
        request: ds::StopCaptureRequest,
    ) -> Result<ds::StopCaptureResponse> {
        let tenant: TenantId = request.tenant.parse()?;
        let _edit = self.edit.lock().await;
        let found = self.stored_capture(&tenant, &request.id).await?;
        let mut capture = found.ok_or_else(|| no_capture(&request.id))?;
        let now = self.now().as_micros();
        if capture.state() == CaptureState::Active && micros(capture.end_time.as_ref()) > now {
            capture.set_state(CaptureState::Stopped);
            capture.end_time = timestamp(now);
            capture.delete_time = timestamp(now + KEPT);
            self.put_capture(&tenant, &capture).await?;
        }
        let capture = self.with_numbers(&tenant, capture).await?;
        Ok(ds::StopCaptureResponse {
            capture: Some(capture),
        })
    }

    pub async fn delete_capture(
        &self,
        request: ds::DeleteCaptureRequest,
    ) -> Result<ds::DeleteCaptureResponse> {
        let tenant: TenantId = request.tenant.parse()?;
        let _edit = self.edit.lock().await;
        if self.stored_capture(&tenant, &request.id).await?.is_none() {
            return Err(no_capture(&request.id));
        }
        self.remove_capture(&tenant, &request.id).await?;
        Ok(ds::DeleteCaptureResponse {})
    }

    pub async fn read_capture(
        &self,
        request: ds::ReadCaptureRequest,
    ) -> Result<ds::ReadCaptureResponse> {
        let tenant: TenantId = request.tenant.parse()?;
        let id = request.id.as_str();
        let found = self.stored_capture(&tenant, id).await?;
        let capture = found.ok_or_else(|| no_capture(id))?;
        let query = page::query(("capture", tenant.as_str(), id));
        let token = page::read(&request.page_token, query)?;
        let mut text = String::new();
        if token.is_none() {
            let capture = self.with_numbers(&tenant, capture).await?;
            text = parts::head(&tenant, &capture);
        }
        let prefix = format!("{TURNS}{id}/");
        let mut after = token.map(|token| token.after);
        loop {
            let found = self
                .store
                .documents(KIND, &tenant, &prefix, after.as_deref(), PAGE)
                .await?;
            let end = found.len() < PAGE;
            for document in found {
                text.push_str(&String::from_utf8_lossy(&document.payload));
                after = Some(document.key);
                if text.len() >= PIECE {
                    let next_page_token = page::after(query, after.as_deref().unwrap_or_default());
                    return Ok(ds::ReadCaptureResponse {
                        text,
                        next_page_token,
                    });
                }
            }
            if end {
                return Ok(ds::ReadCaptureResponse {
                    text,
                    next_page_token: String::new(),
                });
            }
        }
    }

    /// Captures that take sessions now, at most some seconds old.
    pub async fn active_captures(&self, tenant: &TenantId) -> Result<Vec<ds::ActiveCapture>> {
        let glance = self.glance(About::tenant(tenant));
        if let Some(known) = self.captures.0.get(tenant, glance) {
            return Ok(known.to_vec());
        }
        let (mut active, mut running) = (Vec::new(), false);
        for capture in self.stored_captures(tenant).await? {
            // What is over is not read further.
            if capture.state() != CaptureState::Active
                || micros(capture.end_time.as_ref()) <= self.now().as_micros()
            {
                continue;
            }
            running = true;
            let capture = self.with_numbers(tenant, capture).await?;
            if capture.state() == CaptureState::Active {
                active.push(ds::ActiveCapture {
                    start_us: micros(capture.start_time.as_ref()),
                    end_us: micros(capture.end_time.as_ref()),
                    sessions_left: capture.max_sessions.saturating_sub(capture.sessions),
                    id: capture.id,
                    rule: capture.rule,
                });
            }
        }
        let known = Arc::new(active.clone());
        match running {
            // What they have room for changes with what they hold.
            true => self.captures.0.keep_short(tenant.clone(), glance, known),
            false => self.captures.0.keep(tenant.clone(), glance, known),
        }
        Ok(active)
    }
}
