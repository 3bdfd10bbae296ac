//! One call: its deadline, its tries, and what its failure means.

use super::connect::{NotConnected, is_cause, reason};
use super::endpoint::Endpoint;
use super::peer::{Inner, Peer};
use crate::deadline::deadline;
use crate::methods::{Limit, Method};
use crate::wire::{self, Answer};
use crate::{Error, Result, propagation};
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use hearth_runtime::Backoff;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tonic::{Code, Request, Response, Status};

/// The most tries of one call.
const MAX_TRIES: usize = 3;
/// The pauses before a call is made again to the same replica.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// What a stub's method gives.
pub(crate) type Sent<A> = BoxFuture<'static, std::result::Result<Response<A>, Status>>;

/// Why one try failed.
enum Failure {
    /// The service's own answer.
    Final(Error),
    /// Nothing of it was done.
    NotRun(Error),
    /// Whether it was done isn't known.
    Unknown(Error, &'static str),
}

impl Peer {
    /// Makes a call, and makes it again where that is safe: always when it certainly wasn't begun, else only when it is
    /// `repeatable`.
    pub(crate) async fn call<Q, A>(
        &self,
        method: &'static Method,
        request: Q,
        repeatable: bool,
        send: impl Fn(&Arc<Endpoint>, Request<Q>) -> Sent<A>,
    ) -> Result<A>
    where
        Q: Clone + Send,
    {
        let started = Instant::now();
        let limit = self.inner.limit(method).map(|limit| started + limit);
        let until = limit.into_iter().chain(deadline()).min();
        let called = self.inner.tries(method, request, repeatable, until, send);
        let result = match until {
            // The tries bound themselves; this also bounds what is between them.
            Some(at) => match tokio::time::timeout_at(at, called).await {
                Ok(result) => result,
                Err(_elapsed) => Err(self.inner.late()),
            },
            None => called.await,
        };
        let outcome = match &result {
            Ok(_) => "OK",
            Err(error) => wire::name_of(error.kind),
        };
        let metrics = &self.inner.options.metrics;
        metrics.ended(method, outcome, started.elapsed());
        result
    }
}

impl Peer {
    /// Makes a call to every replica at once, and answers the first answer that is wanted.
    pub(crate) async fn call_all<Q, A>(
        &self,
        method: &'static Method,
        request: Q,
        send: impl Fn(&Arc<Endpoint>, Request<Q>) -> Sent<A>,
        wanted: impl Fn(&A) -> bool,
    ) -> Option<A>
    where
        Q: Clone + Send,
    {
        let started = Instant::now();
        let limit = self.inner.limit(method).map(|limit| started + limit);
        let until = limit.into_iter().chain(deadline()).min();
        let (send, request) = (&send, &request);
        let mut calls: FuturesUnordered<_> = self
            .inner
            .all()
            .into_iter()
            .map(|endpoint| async move {
                let mut message = Request::new(request.clone());
                if let Some(at) = until {
                    message.set_timeout(at.saturating_duration_since(Instant::now()));
                }
                self.inner.attempt(&endpoint, until, message, send).await
            })
            .collect();
        let mut found = None;
        while let Some(answer) = calls.next().await {
            match answer {
                Ok(answer) if wanted(&answer) => {
                    found = Some(answer);
                    break;
                }
                // What was not done by one may be by another.
                Ok(_) | Err(_) => {}
            }
        }
        let outcome = if found.is_some() { "OK" } else { "NOT_FOUND" };
        let metrics = &self.inner.options.metrics;
        metrics.ended(method, outcome, started.elapsed());
        found
    }
}

impl Inner {
    fn limit(&self, method: &Method) -> Option<Duration> {
        match method.limit {
            Limit::Call => Some(self.options.call_timeout),
            Limit::Transfer => Some(self.options.transfer_timeout),
            Limit::Watch => None,
        }
    }

    async fn tries<Q, A>(
        &self,
        method: &'static Method,
        request: Q,
        repeatable: bool,
        until: Option<Instant>,
        send: impl Fn(&Arc<Endpoint>, Request<Q>) -> Sent<A>,
    ) -> Result<A>
    where
        Q: Clone + Send,
    {
        self.budget.earn();
        let mut tried = Vec::new();
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        loop {
            let Some(endpoint) = self.pick(&tried).await else {
                return Err(self.unreachable());
            };
            let again = tried.contains(&endpoint.address());
            tried.push(endpoint.address());
            if again {
                backoff.wait().await;
            }
            let limit = self.try_limit(repeatable, &tried, until);
            // A stream's time is the whole call's: its answer goes on after the try.
            let told = if method.limit == Limit::Call {
                limit
            } else {
                until
            };
            let mut message = Request::new(request.clone());
            if let Some(at) = told {
                message.set_timeout(at.saturating_duration_since(Instant::now()));
            }
            let failure = match self.attempt(&endpoint, limit, message, &send).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            let (error, why) = match failure {
                Failure::Final(error) => return Err(error),
                Failure::NotRun(error) => (error, "not_run"),
                Failure::Unknown(error, why) if repeatable => (error, why),
                Failure::Unknown(error, _) => return Err(error),
            };
            if tried.len() >= MAX_TRIES || until.is_some_and(|at| at <= Instant::now()) {
                return Err(error);
            }
            if !self.budget.take() {
                self.options.metrics.refused(self.service);
                return Err(error);
            }
            tracing::debug!(method = method.name, %error, why, "a call is made again");
            self.options.metrics.retried(self.service, why);
        }
    }

    /// How long one try may take. A shorter time than the call's only where it can be used: there is another replica,
    /// and the budget allows it.
    fn try_limit(
        &self,
        repeatable: bool,
        tried: &[SocketAddr],
        until: Option<Instant>,
    ) -> Option<Instant> {
        let may_repeat = repeatable
            && tried.len() < MAX_TRIES
            && self.budget.has_some()
            && self.has_another(tried);
        let short = may_repeat.then(|| Instant::now() + self.options.try_timeout);
        short.into_iter().chain(until).min()
    }

    async fn attempt<Q, A>(
        &self,
        endpoint: &Arc<Endpoint>,
        limit: Option<Instant>,
        mut request: Request<Q>,
        send: &impl Fn(&Arc<Endpoint>, Request<Q>) -> Sent<A>,
    ) -> std::result::Result<A, Failure> {
        propagation::inject(request.metadata_mut());
        let _in_flight = endpoint.enter();
        let sent = send(endpoint, request);
        let answer = match limit {
            Some(at) => tokio::time::timeout_at(at, sent).await,
            None => Ok(sent.await),
        };
        match answer {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(self.failure(endpoint, &status)),
            Err(_elapsed) => {
                endpoint.suspect();
                Err(Failure::Unknown(self.late(), "timeout"))
            }
        }
    }

    /// What a status means for the call and for the replica.
    fn failure(&self, endpoint: &Endpoint, status: &Status) -> Failure {
        match wire::from_status(status) {
            Answer::Service(error) => return Failure::Final(error),
            Answer::NotRun(error) => {
                endpoint.refused();
                return Failure::NotRun(error);
            }
            Answer::Transport => {}
        }
        let error = wire::transport_error(self.service.role(), status);
        tracing::debug!(
            role = self.service.role(),
            address = %endpoint.address(),
            code = ?status.code(),
            reason = reason(status),
            "a call failed on the way"
        );
        if status.code() == Code::PermissionDenied {
            // For an operator; the caller of the API has no use for it.
            tracing::warn!(
                role = self.service.role(),
                address = %endpoint.address(),
                reason = status.message(),
                "a call was refused; does internal.tls.cert name all roles of this process?"
            );
        }
        if is_cause::<NotConnected>(status) {
            endpoint.suspect();
            return Failure::NotRun(Error::unavailable(format!(
                "the {} role can't be reached",
                self.service.role()
            )));
        }
        if is_cause::<tonic::TimeoutExpired>(status) {
            // Its own timer was first.
            endpoint.suspect();
            return Failure::Unknown(self.late(), "timeout");
        }
        match status.code() {
            // An older replica: another may be newer. It did nothing.
            Code::Unimplemented => Failure::NotRun(error),
            Code::DeadlineExceeded => {
                endpoint.suspect();
                Failure::Unknown(error, "timeout")
            }
            Code::Unavailable | Code::Unknown | Code::Cancelled => {
                endpoint.suspect();
                Failure::Unknown(error, "broken")
            }
            _ if std::error::Error::source(status).is_some() => {
                endpoint.suspect();
                Failure::Unknown(error, "broken")
            }
            // Too large, not readable: elsewhere it would be the same.
            _ => Failure::Final(error),
        }
    }

    fn late(&self) -> Error {
        let role = self.service.role();
        Error::unavailable(format!("the {role} role did not answer in time"))
    }

    fn unreachable(&self) -> Error {
        let role = self.service.role();
        tracing::debug!(role, reason = self.why_none(), "no replica can be asked");
        Error::unavailable(format!("the {role} role can't be reached"))
    }
}
