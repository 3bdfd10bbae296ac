//! Calls that travel together.
//!
//! A message between processes costs about the same whatever is in it: frames, encryption, wake-ups on both sides. So
//! while one is under way to a replica, the small calls of devices' sessions that come meanwhile wait for its end, but
//! no longer than [`LINGER`], and go as one. With nothing under way a call goes at once and by itself. Each stays a call
//! of its own: deadline, trace, permission, answer, and what is made again.

use crate::deadline::{GRPC_TIMEOUT, parse};
use crate::methods::{Method, ServiceName, travels};
use crate::metrics::ClientMetrics;
use bytes::Bytes;
use hearth_proto::internal::v1::{
    Call, CallFailure, CallResult, MakeCallsRequest, call_result,
    calls_service_client::CallsServiceClient,
};
use hearth_telemetry::trace::TRACEPARENT;
use parking_lot::Mutex;
use prost::Message;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};

/// The longest that a call waits for others. Less is nothing that the timer knows.
const LINGER: Duration = Duration::from_millis(1);
/// What goes at once, in calls and in bytes.
const MOST: usize = 128;
const MOST_BYTES: usize = 256 << 10;
/// Larger calls go by themselves.
const SMALL: usize = 16 << 10;
/// A replica of a version that takes calls only by themselves is asked again after this time.
const ASK_AGAIN: Duration = Duration::from_secs(60);
/// What answers may have around them.
pub(crate) const FRAMES: usize = 64 << 10;

/// The calls to one replica.
pub(crate) struct Together {
    shared: Arc<Shared>,
}

struct Shared {
    service: ServiceName,
    channel: Channel,
    max_message: usize,
    metrics: ClientMetrics,
    state: Mutex<State>,
    /// Told when those that wait shall go.
    go: Notify,
}

#[derive(Default)]
struct State {
    under_way: usize,
    waiting: Vec<Waiting>,
    bytes: usize,
    /// Whether somebody sees to it that those that wait go.
    gathering: bool,
    alone_until: Option<Instant>,
}

/// A call that waits for others.
struct Waiting {
    call: Call,
    timeout: Option<Duration>,
    ended: oneshot::Sender<Ended>,
}

/// How it ended.
enum Ended {
    Answered(Bytes),
    Failed(Status),
    /// The replica takes it only by itself.
    Alone,
}

enum Entered {
    /// By itself, without a word to the others.
    Apart,
    /// By itself: nothing else is under way.
    First(Place),
    /// With others.
    Waits(oneshot::Receiver<Ended>),
}

/// A message under way.
struct Place(Arc<Shared>);

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.under_way -= 1;
        if state.gathering && state.under_way == 0 {
            self.0.go.notify_one();
        }
    }
}

impl Together {
    pub fn new(
        service: ServiceName,
        channel: Channel,
        max_message: usize,
        metrics: ClientMetrics,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                service,
                channel,
                max_message,
                metrics,
                state: Mutex::default(),
                go: Notify::new(),
            }),
        }
    }

    /// Makes a call, with others if there are any; `alone` makes it by itself.
    pub async fn make<Q, A, F>(
        &self,
        method: &Method,
        request: Request<Q>,
        alone: impl FnOnce(Request<Q>) -> F,
    ) -> Result<Response<A>, Status>
    where
        Q: Message,
        A: Message + Default,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let ended = match self.enter(method, &request) {
            Entered::Apart => return alone(request).await,
            Entered::First(_place) => return alone(request).await,
            Entered::Waits(ended) => ended,
        };
        match ended.await {
            Ok(Ended::Answered(message)) => match A::decode(message) {
                Ok(answer) => Ok(Response::new(answer)),
                Err(_) => Err(Status::internal("the answer can't be read")),
            },
            Ok(Ended::Failed(status)) => Err(status),
            Ok(Ended::Alone) => alone(request).await,
            Err(_gone) => Err(Status::unavailable("the process is stopping")),
        }
    }

    fn enter<Q: Message>(&self, method: &Method, request: &Request<Q>) -> Entered {
        if !travels(method) || request.get_ref().encoded_len() > SMALL {
            return Entered::Apart;
        }
        let shared = &self.shared;
        let mut state = shared.state.lock();
        if state.under_way == 0 && !state.gathering {
            state.under_way += 1;
            return Entered::First(Place(Arc::clone(shared)));
        }
        if state.alone_until.is_some_and(|at| Instant::now() < at) {
            return Entered::Apart;
        }
        let header = |name| request.metadata().get(name)?.to_str().ok();
        let call = Call {
            method: format!("/{}/{}", method.service.grpc_name(), method.name),
            message: request.get_ref().encode_to_vec().into(),
            timeout_us: 0,
            traceparent: header(TRACEPARENT).unwrap_or_default().to_owned(),
        };
        let (ended, receiver) = oneshot::channel();
        state.bytes += call.message.len();
        state.waiting.push(Waiting {
            call,
            timeout: header(GRPC_TIMEOUT).and_then(parse),
            ended,
        });
        if state.waiting.len() == MOST || state.bytes >= MOST_BYTES {
            shared.go.notify_one();
        }
        if !std::mem::replace(&mut state.gathering, true) {
            tokio::spawn(gather(Arc::clone(shared)));
        }
        Entered::Waits(receiver)
    }
}

/// Sends those that wait when it is time.
async fn gather(shared: Arc<Shared>) {
    let begun = Instant::now();
    tokio::select! {
        () = shared.go.notified() => {}
        () = tokio::time::sleep(LINGER) => {}
    }
    let mut waiting = {
        let mut state = shared.state.lock();
        state.gathering = false;
        state.under_way += 1;
        state.bytes = 0;
        std::mem::take(&mut state.waiting)
    };
    let _place = Place(Arc::clone(&shared));
    // Who has gone needs no answer.
    waiting.retain(|one| !one.ended.is_closed());
    let waited = begun.elapsed();
    for one in &mut waiting {
        let left = one.timeout.map(|limit| limit.saturating_sub(waited));
        let left = left.map(|left| u64::try_from(left.as_micros()).unwrap_or(u64::MAX));
        // 0 would be no limit.
        one.call.timeout_us = left.map_or(0, |left| left.max(1));
    }
    if !waiting.is_empty() {
        shared.send(waiting).await;
    }
}

impl Shared {
    async fn send(&self, waiting: Vec<Waiting>) {
        self.metrics.together(self.service, waiting.len());
        // As long as one of them waits.
        let limits: Option<Vec<_>> = waiting.iter().map(|one| one.timeout).collect();
        let limit = limits.and_then(|limits| limits.into_iter().max());
        let (calls, mut open): (Vec<_>, Vec<_>) = waiting
            .into_iter()
            .map(|one| (one.call, Some(one.ended)))
            .unzip();
        let mut request = Request::new(MakeCallsRequest { calls });
        if let Some(limit) = limit {
            request.set_timeout(limit);
        }
        let Err(status) = self.exchange(request, &mut open).await else {
            return;
        };
        let unknown = status.code() == Code::Unimplemented && status.details().is_empty();
        if unknown {
            self.state.lock().alone_until = Some(Instant::now() + ASK_AGAIN);
        }
        for ended in open.into_iter().flatten() {
            let _ = ended.send(match unknown {
                true => Ended::Alone,
                false => Ended::Failed(status.clone()),
            });
        }
    }

    /// Sends calls, and gives each its answer; an error for those that are left without one.
    async fn exchange(
        &self,
        request: Request<MakeCallsRequest>,
        open: &mut [Option<oneshot::Sender<Ended>>],
    ) -> Result<(), Status> {
        let limit = self.max_message.saturating_add(FRAMES);
        let mut client =
            CallsServiceClient::new(self.channel.clone()).max_decoding_message_size(limit);
        let mut answers = client.make_calls(request).await?.into_inner();
        while let Some(answer) = answers.message().await? {
            for CallResult { call, result } in answer.results {
                let place = usize::try_from(call).ok();
                let ended = place.and_then(|place| open.get_mut(place)?.take());
                let (Some(ended), Some(result)) = (ended, result) else {
                    continue;
                };
                let _ = ended.send(match result {
                    call_result::Result::Message(message) => Ended::Answered(message),
                    call_result::Result::Failure(failure) => Ended::Failed(status_of(failure)),
                });
            }
        }
        Err(Status::unavailable("the replica left a call unanswered"))
    }
}

fn status_of(failure: CallFailure) -> Status {
    Status::with_details(Code::from(failure.code), failure.message, failure.details)
}
