//! Stand-ins for bus, workflow and device-state, by their contracts, with switches to fail.
#![allow(dead_code, clippy::unwrap_used)]

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use hearth_bus::{
    Ack, Bus, BusStats, Consumer, ConsumerSpec, DeadLetterPage, Publish, Stream, TailEvent,
};
use hearth_clients::{DeviceState, Error, EventStream, Result, Workflow};
use hearth_proto::devicestate::v1 as ds;
use hearth_proto::events::v1 as ev;
use hearth_proto::workflow::v1 as wf;
use parking_lot::Mutex;
use prost::Message as _;
use tokio::sync::watch;
use wf::next_request_response::Kind as Next;

/// A bus that keeps what is published, and can be full or slow.
#[derive(Default)]
pub struct RecordingBus {
    pub published: Mutex<Vec<(Stream, Option<String>, ev::Event)>>,
    pub full: AtomicBool,
    /// The longest payload; 0: any.
    pub max: AtomicUsize,
    /// While true, nothing is acknowledged.
    pub held: watch::Sender<bool>,
    /// Messages that were handed in while held.
    pub waiting: watch::Sender<usize>,
}

impl RecordingBus {
    pub fn events(&self) -> Vec<ev::event::Kind> {
        let published = self.published.lock();
        published
            .iter()
            .map(|(_, _, event)| event.kind.clone().unwrap())
            .collect()
    }

    pub fn last(&self) -> (Stream, Option<String>, ev::Event) {
        self.published.lock().last().cloned().expect("an event")
    }
}

#[async_trait]
impl Bus for RecordingBus {
    async fn publish(&self, message: Publish) -> hearth_bus::Result<Ack> {
        let mut held = self.held.subscribe();
        if *held.borrow() {
            self.waiting.send_modify(|waiting| *waiting += 1);
        }
        held.wait_for(|held| !held).await.unwrap();
        if self.full.load(Ordering::SeqCst) {
            return Err(hearth_bus::Error::DiskFull);
        }
        let (len, max) = (message.payload.len(), self.max.load(Ordering::SeqCst));
        if max > 0 && len > max {
            return Err(hearth_bus::Error::TooLarge { len, max });
        }
        let event = ev::Event::decode(message.payload.as_ref()).unwrap();
        assert_eq!(event.device, message.device.device.as_str());
        assert_eq!(event.time_us, message.time.as_micros());
        let mut published = self.published.lock();
        published.push((message.stream, message.message_id, event));
        Ok(Ack {
            seq: published.len() as u64,
            duplicate: false,
        })
    }

    async fn consumer(&self, _: ConsumerSpec) -> hearth_bus::Result<Box<dyn Consumer>> {
        Err(hearth_bus::Error::Closed)
    }
    async fn delete_consumer(&self, _: &str) -> hearth_bus::Result<()> {
        Ok(())
    }
    fn tail(&self, _: &[Stream]) -> BoxStream<'static, TailEvent> {
        futures::stream::empty().boxed()
    }
    async fn dead_letters(&self, _: Option<u64>, _: usize) -> hearth_bus::Result<DeadLetterPage> {
        Ok(DeadLetterPage::default())
    }
    async fn replay_dead_letter(&self, _: u64) -> hearth_bus::Result<Ack> {
        Err(hearth_bus::Error::Closed)
    }
    async fn delete_dead_letter(&self, _: u64) -> hearth_bus::Result<()> {
        Ok(())
    }
    async fn stats(&self) -> BusStats {
        BusStats::default()
    }
    async fn close(&self) -> hearth_bus::Result<()> {
        Ok(())
    }
}

/// A workflow that gives one scripted request after another, the same one until it is answered,
/// and fences older epochs.
#[derive(Default)]
pub struct ScriptedWorkflow {
    pub script: Mutex<VecDeque<wf::Request>>,
    pub opened: Mutex<Vec<wf::OpenSessionRequest>>,
    pub asked: Mutex<Vec<wf::NextRequestRequest>>,
    pub transfers: Mutex<Vec<wf::ReportTransferRequest>>,
    pub du_changes: Mutex<Vec<wf::ReportDuStateChangeRequest>>,
    pub created: Mutex<Vec<wf::CreateTaskRequest>>,
    /// The device's open tasks.
    pub open: Mutex<Vec<wf::Task>>,
    pub down: AtomicBool,
    /// No device has an open task.
    pub idle: AtomicBool,
    epochs: Mutex<HashMap<String, u64>>,
}

/// The ids of scripted requests.
pub const REQUEST: &str = "01hzy3v7k2q4w6e8r0t2y4a6d8.1.0";

impl ScriptedWorkflow {
    pub fn will_send(&self, id: &str, rpc: wf::request::Rpc) {
        self.script.lock().push_back(wf::Request {
            id: id.to_owned(),
            rpc: Some(rpc),
        });
    }

    pub fn outcomes(&self) -> Vec<wf::RequestOutcome> {
        self.asked
            .lock()
            .iter()
            .filter_map(|asked| asked.outcome.clone())
            .collect()
    }

    fn check(&self) -> Result<()> {
        if self.down.load(Ordering::SeqCst) {
            return Err(Error::unavailable("workflow is down"));
        }
        Ok(())
    }
}

fn unused<T>() -> Result<T> {
    Err(Error::internal("not part of this test"))
}

#[async_trait]
impl Workflow for ScriptedWorkflow {
    async fn open_session(&self, r: wf::OpenSessionRequest) -> Result<wf::OpenSessionResponse> {
        self.check()?;
        let mut epochs = self.epochs.lock();
        let epoch = epochs.entry(r.device.clone()).or_insert(1000);
        *epoch += 1;
        self.opened.lock().push(r);
        Ok(wf::OpenSessionResponse {
            epoch: *epoch,
            pending: !self.idle.load(Ordering::SeqCst),
        })
    }

    async fn next_request(&self, r: wf::NextRequestRequest) -> Result<wf::NextRequestResponse> {
        self.check()?;
        let current = self.epochs.lock().get(&r.device).copied().unwrap_or(0);
        let kind = if r.epoch < current {
            Next::Fenced(wf::Empty {})
        } else {
            let mut script = self.script.lock();
            let answered = r
                .outcome
                .as_ref()
                .map(|outcome| outcome.request_id.as_str());
            if answered.is_some() && script.front().map(|front| front.id.as_str()) == answered {
                script.pop_front();
            }
            match script.front() {
                Some(request) => Next::Request(request.clone()),
                None => Next::Done(wf::Empty {}),
            }
        };
        self.asked.lock().push(r);
        Ok(wf::NextRequestResponse { kind: Some(kind) })
    }

    async fn report_transfer(
        &self,
        r: wf::ReportTransferRequest,
    ) -> Result<wf::ReportTransferResponse> {
        self.check()?;
        self.transfers.lock().push(r);
        Ok(wf::ReportTransferResponse { known: true })
    }

    async fn report_du_state_change(
        &self,
        r: wf::ReportDuStateChangeRequest,
    ) -> Result<wf::ReportDuStateChangeResponse> {
        self.check()?;
        self.du_changes.lock().push(r);
        Ok(wf::ReportDuStateChangeResponse { known: true })
    }

    async fn create_task(&self, r: wf::CreateTaskRequest) -> Result<wf::CreateTaskResponse> {
        self.check()?;
        self.created.lock().push(r);
        Ok(wf::CreateTaskResponse::default())
    }
    async fn get_task(&self, _: wf::GetTaskRequest) -> Result<wf::GetTaskResponse> {
        unused()
    }
    async fn list_tasks(&self, _: wf::ListTasksRequest) -> Result<wf::ListTasksResponse> {
        self.check()?;
        Ok(wf::ListTasksResponse {
            tasks: self.open.lock().clone(),
            next_page_token: String::new(),
        })
    }
    async fn cancel_task(&self, _: wf::CancelTaskRequest) -> Result<wf::CancelTaskResponse> {
        unused()
    }
    async fn retry_task(&self, _: wf::RetryTaskRequest) -> Result<wf::RetryTaskResponse> {
        unused()
    }
    async fn forget_device(&self, _: wf::ForgetDeviceRequest) -> Result<wf::ForgetDeviceResponse> {
        unused()
    }
}

/// Users with their passwords, and the one device that each may be.
#[derive(Default)]
pub struct DeviceStateDouble {
    users: Mutex<HashMap<String, (String, Option<String>)>>,
    /// Whether the Informs whose identity was checked had `0 BOOTSTRAP`.
    pub bootstraps: Mutex<Vec<bool>>,
    pub down: AtomicBool,
    /// What gateways told of refusals, and whether it can't be told now.
    pub refusals: Mutex<Vec<ds::Refusal>>,
    pub deaf: AtomicBool,
    /// The tenant's policy.
    pub policy: Mutex<hearth_proto::types::v1::EdgePolicy>,
    /// Captures that are active.
    pub captures: Mutex<Vec<ds::ActiveCapture>>,
    /// Lines by address.
    pub lines: Mutex<HashMap<String, hearth_proto::types::v1::Line>>,
    /// What is said of devices, whoever comes as them.
    pub judged: Mutex<HashMap<String, ds::CheckIdentityResponse>>,
    /// Who was asked about.
    pub checked: Mutex<Vec<ds::CheckIdentityRequest>>,
}

impl DeviceStateDouble {
    /// Allows a user, for one device or for any.
    pub fn allow(&self, user: &str, password: &str, device: Option<&str>) {
        let device = device.map(str::to_owned);
        self.users
            .lock()
            .insert(user.to_owned(), (password.to_owned(), device));
    }

    pub fn shared() -> Arc<Self> {
        Arc::default()
    }
}

#[async_trait]
impl DeviceState for DeviceStateDouble {
    async fn note_refusals(&self, r: ds::NoteRefusalsRequest) -> Result<ds::NoteRefusalsResponse> {
        if self.deaf.load(Ordering::SeqCst) {
            return Err(Error::unavailable("device-state is down"));
        }
        self.refusals.lock().extend(r.refusals);
        Ok(ds::NoteRefusalsResponse::default())
    }

    async fn find_line(&self, r: ds::FindLineRequest) -> Result<ds::FindLineResponse> {
        let line = self.lines.lock().get(&r.address).cloned();
        Ok(ds::FindLineResponse { line })
    }

    async fn get_credential(
        &self,
        r: ds::GetCredentialRequest,
    ) -> Result<ds::GetCredentialResponse> {
        if self.down.load(Ordering::SeqCst) {
            return Err(Error::unavailable("device-state is down"));
        }
        let users = self.users.lock();
        let found = users.get(&r.username);
        Ok(ds::GetCredentialResponse {
            credential: found.map(|_| ds::Credential {
                username: r.username.clone(),
                ..ds::Credential::default()
            }),
            password: found
                .map(|(password, _)| password.clone())
                .unwrap_or_default(),
        })
    }

    async fn check_identity(
        &self,
        r: ds::CheckIdentityRequest,
    ) -> Result<ds::CheckIdentityResponse> {
        self.bootstraps.lock().push(r.bootstrap);
        self.checked.lock().push(r.clone());
        if let Some(answer) = self.judged.lock().get(&r.device) {
            return Ok(answer.clone());
        }
        let users = self.users.lock();
        let allowed = match users.get(&r.username) {
            Some((_, Some(device))) => *device == r.device,
            Some((_, None)) => true,
            None => r.username.is_empty() && r.certificate,
        };
        Ok(ds::CheckIdentityResponse {
            allowed,
            reason: "the credential is another device's".to_owned(),
            ..ds::CheckIdentityResponse::default()
        })
    }

    async fn get_edge_policy(
        &self,
        _: ds::GetEdgePolicyRequest,
    ) -> Result<ds::GetEdgePolicyResponse> {
        Ok(ds::GetEdgePolicyResponse {
            policy: Some(self.policy.lock().clone()),
            captures: self.captures.lock().clone(),
        })
    }

    async fn get_device(&self, _: ds::GetDeviceRequest) -> Result<ds::GetDeviceResponse> {
        unused()
    }
    async fn list_devices(&self, _: ds::ListDevicesRequest) -> Result<ds::ListDevicesResponse> {
        unused()
    }
    async fn count_devices(&self, _: ds::CountDevicesRequest) -> Result<ds::CountDevicesResponse> {
        unused()
    }
    async fn set_tags(&self, _: ds::SetTagsRequest) -> Result<ds::SetTagsResponse> {
        unused()
    }
    async fn delete_device(&self, _: ds::DeleteDeviceRequest) -> Result<ds::DeleteDeviceResponse> {
        unused()
    }
    async fn list_parameters(
        &self,
        _: ds::ListParametersRequest,
    ) -> Result<ds::ListParametersResponse> {
        unused()
    }
    async fn list_history(&self, _: ds::ListHistoryRequest) -> Result<ds::ListHistoryResponse> {
        unused()
    }
    async fn get_connection_request(
        &self,
        _: ds::GetConnectionRequestRequest,
    ) -> Result<ds::GetConnectionRequestResponse> {
        unused()
    }
    async fn note_waking(&self, _: ds::NoteWakingRequest) -> Result<ds::NoteWakingResponse> {
        unused()
    }
    async fn put_credential(
        &self,
        _: ds::PutCredentialRequest,
    ) -> Result<ds::PutCredentialResponse> {
        unused()
    }
    async fn list_credentials(
        &self,
        _: ds::ListCredentialsRequest,
    ) -> Result<ds::ListCredentialsResponse> {
        unused()
    }
    async fn delete_credential(
        &self,
        _: ds::DeleteCredentialRequest,
    ) -> Result<ds::DeleteCredentialResponse> {
        unused()
    }
    async fn get_model(&self, _: ds::GetModelRequest) -> Result<ds::GetModelResponse> {
        unused()
    }
    async fn put_model(&self, _: ds::PutModelRequest) -> Result<ds::PutModelResponse> {
        unused()
    }
    async fn watch_events(&self, _: ds::WatchEventsRequest) -> Result<EventStream> {
        unused()
    }
}
