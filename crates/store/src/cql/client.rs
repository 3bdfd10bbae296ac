//! Requests: prepared statements, a bound on those under way, errors as the contract names them.

use std::future::Future;
use std::ops::ControlFlow;
use std::pin::pin;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use hearth_runtime::Backoff;
use hearth_telemetry::trace;
use scylla::client::session::Session;
use scylla::deserialize::row::DeserializeRow;
use scylla::errors::{
    DbError, ExecutionError, NextPageError, NextRowError, PagerExecutionError, PrepareError,
    RequestAttemptError, RequestError,
};
use scylla::response::query_result::QueryResult;
use scylla::serialize::row::SerializeRow;
use scylla::statement::Consistency;
use scylla::statement::batch::{Batch, BatchStatement, BatchType};
use scylla::statement::prepared::PreparedStatement;
use tokio::sync::{Semaphore, SemaphorePermit};
use tracing::{Instrument as _, Span};

use super::config::{CqlConfig, CqlConsistency};
use super::metrics::Metrics;
use super::statements::Statement;
use crate::{Error, Result};

/// Requests of one call of the store under way at once.
const CALL_CONCURRENCY: usize = 32;
/// Rows in a page of a long read.
const PAGE: i32 = 1000;
/// Bytes in a batch; nodes refuse what is larger than half a segment of their commit log (16 MiB as
/// they come).
const BATCH_BYTES: usize = 1 << 20;
/// How often a conditional write whose outcome is unknown is asked for again.
const CONDITIONAL_TRIES: usize = 4;
/// The pauses before: those who want the same row would meet again without.
const FIRST_PAUSE: Duration = Duration::from_millis(40);
const LONGEST_PAUSE: Duration = Duration::from_millis(160);

/// A connected session with its statements.
pub(super) struct Client {
    pub(super) session: Session,
    /// By [`Statement`].
    prepared: Vec<PreparedStatement>,
    permits: Semaphore,
    /// How long a request waits for its turn.
    patience: Duration,
    batch_rows: usize,
    /// Reads what conditional writes decided.
    serial: Consistency,
    metrics: Metrics,
    /// Rows that lists left out.
    pub(super) damaged: AtomicU64,
}

/// A row that is read as a value of its own.
pub(super) trait OwnedRow: for<'f, 'm> DeserializeRow<'f, 'm> + Send + 'static {}

impl<R: for<'f, 'm> DeserializeRow<'f, 'm> + Send + 'static> OwnedRow for R {}

impl Client {
    /// Prepares all statements in `keyspace`.
    pub(super) async fn prepare(
        session: Session,
        keyspace: &str,
        config: &CqlConfig,
        metrics: Metrics,
    ) -> std::result::Result<Self, PrepareError> {
        let mut prepared = Vec::with_capacity(Statement::ALL.len());
        for statement in Statement::ALL {
            let mut made = session.prepare(statement.in_keyspace(keyspace)).await?;
            made.set_is_idempotent(!statement.is_conditional());
            made.set_page_size(PAGE);
            prepared.push(made);
        }
        Ok(Self {
            session,
            prepared,
            permits: Semaphore::new(config.concurrency),
            patience: config.request_timeout.get(),
            batch_rows: config.batch_rows,
            serial: match config.consistency {
                CqlConsistency::LocalQuorum => Consistency::LocalSerial,
                CqlConsistency::Quorum => Consistency::Serial,
            },
            metrics,
            damaged: AtomicU64::new(0),
        })
    }

    pub(super) fn prepared(&self, statement: Statement) -> &PreparedStatement {
        &self.prepared[statement as usize]
    }

    /// Waits for a place among the requests under way; not longer than a request may take.
    async fn permit(&self) -> Result<Permit<'_>> {
        let started = Instant::now();
        let waited = tokio::time::timeout(self.patience, self.permits.acquire()).await;
        let seconds = &self.metrics.wait_seconds;
        seconds.observe(started.elapsed().as_secs_f64());
        match waited {
            Ok(Ok(permit)) => {
                self.metrics.in_flight.inc();
                let metrics = &self.metrics;
                Ok(Permit {
                    _permit: permit,
                    metrics,
                })
            }
            Ok(Err(closed)) => Err(Error::Unavailable(Box::new(closed))),
            Err(elapsed) => {
                self.count_error("overloaded");
                Err(Error::Unavailable(Box::new(elapsed)))
            }
        }
    }

    fn count_error(&self, kind: &str) {
        trace::failed();
        self.metrics.errors.with_label_values(&[kind]).inc();
    }

    fn failed(&self, error: ExecutionError) -> Error {
        let (kind, error) = from_execution(error);
        self.count_error(kind);
        error
    }

    fn failed_page(&self, error: NextRowError) -> Error {
        let (kind, error) = from_page(error);
        self.count_error(kind);
        error
    }

    async fn execute(
        &self,
        statement: Statement,
        values: impl SerializeRow + Send,
    ) -> Result<QueryResult> {
        let work = async {
            let permit = self.permit().await?;
            let started = Instant::now();
            let prepared = self.prepared(statement);
            // The driver's futures are large; the store's callers hold many.
            let done = Box::pin(self.session.execute_unpaged(prepared, values)).await;
            self.took(statement, started);
            drop(permit);
            done.map_err(|error| self.failed(error))
        };
        work.instrument(span(statement)).await
    }

    fn took(&self, statement: Statement, started: Instant) {
        let seconds = self.metrics.seconds(statement);
        seconds.observe(started.elapsed().as_secs_f64());
    }

    /// Writes.
    pub(super) async fn run(
        &self,
        statement: Statement,
        values: impl SerializeRow + Send,
    ) -> Result<()> {
        self.execute(statement, values).await.map(drop)
    }

    /// Writes rows of one partition: in one request, applied as a whole, where there are at most
    /// `cql.batch_rows` and they are not large. `weight` is about the bytes of a row.
    pub(super) async fn run_all<V: SerializeRow + Sync>(
        &self,
        statement: Statement,
        rows: &[V],
        weight: fn(&V) -> usize,
    ) -> Result<()> {
        let chunks = chunks(rows, self.batch_rows, weight);
        all(chunks.into_iter().map(|chunk| self.batch(statement, chunk))).await
    }

    async fn batch<V: SerializeRow + Sync>(&self, statement: Statement, rows: &[V]) -> Result<()> {
        if let [row] = rows {
            return self.run(statement, row).await;
        }
        let work = async {
            let permit = self.permit().await?;
            let started = Instant::now();
            let prepared = self.prepared(statement);
            let one = BatchStatement::PreparedStatement(prepared.clone());
            // Unlogged: it touches one partition, and is repeated when it fails.
            let mut batch = Batch::new_with_statements(BatchType::Unlogged, vec![one; rows.len()]);
            batch.set_is_idempotent(true);
            let done = Box::pin(self.session.batch(&batch, rows)).await;
            self.took(statement, started);
            drop(permit);
            let rows = u32::try_from(rows.len()).unwrap_or(u32::MAX);
            self.metrics.batch_rows.observe(rows.into());
            done.map(drop).map_err(|error| self.failed(error))
        };
        work.instrument(span(statement)).await
    }

    /// The rows of a read that is short by itself (a key, or a `LIMIT`).
    pub(super) async fn rows<R: OwnedRow>(
        &self,
        statement: Statement,
        values: impl SerializeRow + Send,
    ) -> Result<Vec<R>> {
        let result = self.execute(statement, values).await?;
        let rows = result.into_rows_result().map_err(damaged)?;
        let rows = rows.rows::<R>().map_err(damaged)?;
        rows.map(|row| row.map_err(damaged)).collect()
    }

    /// The row of a key.
    pub(super) async fn row<R: OwnedRow>(
        &self,
        statement: Statement,
        values: impl SerializeRow + Send,
    ) -> Result<Option<R>> {
        Ok(self.rows(statement, values).await?.into_iter().next())
    }

    /// The row of a key, as what decides conditional writes knows it.
    pub(super) async fn row_decided<R: OwnedRow>(
        &self,
        statement: Statement,
        values: impl SerializeRow + Send,
    ) -> Result<Option<R>> {
        let work = async {
            let permit = self.permit().await?;
            let started = Instant::now();
            let mut prepared = self.prepared(statement).clone();
            prepared.set_consistency(self.serial);
            let done = Box::pin(self.session.execute_unpaged(&prepared, values)).await;
            self.took(statement, started);
            drop(permit);
            done.map_err(|error| self.failed(error))
        };
        let result = work.instrument(span(statement)).await?;
        let rows = result.into_rows_result().map_err(damaged)?;
        rows.maybe_first_row::<R>().map_err(damaged)
    }

    /// Reads a long partition in pages until `visit` has enough.
    pub(super) async fn visit<R: OwnedRow>(
        &self,
        statement: Statement,
        values: impl SerializeRow + Send,
        mut visit: impl FnMut(R) -> ControlFlow<()> + Send,
    ) -> Result<()> {
        let work = async {
            let _permit = self.permit().await?;
            let started = Instant::now();
            let prepared = self.prepared(statement).clone();
            let pager = Box::pin(self.session.execute_iter(prepared, values)).await;
            let rows = pager
                .map_err(|error| self.failed_pager(error))?
                .rows_stream::<R>()
                .map_err(damaged)?;
            let mut rows = pin!(rows);
            while let Some(row) = rows.next().await {
                let row = row.map_err(|error| self.failed_page(error))?;
                if visit(row).is_break() {
                    break;
                }
            }
            self.took(statement, started);
            Ok(())
        };
        work.instrument(span(statement)).await
    }

    fn failed_pager(&self, error: PagerExecutionError) -> Error {
        match error {
            PagerExecutionError::NextPageError(page) => {
                self.failed_page(NextRowError::NextPageError(page))
            }
            other => {
                self.count_error("other");
                Error::Unavailable(Box::new(other))
            }
        }
    }

    /// Makes a conditional write; whether it was applied. Where the outcome is unknown it is asked
    /// for again: `false` then may mean that it was applied before.
    pub(super) async fn decide(
        &self,
        statement: Statement,
        values: impl SerializeRow + Send + Copy,
    ) -> Result<bool> {
        let mut tries = 1;
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let started = Instant::now();
        loop {
            match self.execute(statement, values).await {
                Ok(result) => {
                    let rows = result.into_rows_result().map_err(damaged)?;
                    let row: scylla::value::Row = rows.first_row().map_err(damaged)?;
                    // What follows `[applied]` differs between ScyllaDB and Cassandra.
                    let applied = row.columns.first().cloned().flatten();
                    return applied
                        .and_then(|applied| applied.as_boolean())
                        .ok_or_else(|| Error::Damaged("an answer of a conditional write".into()));
                }
                Err(error @ Error::Unavailable(_))
                    if tries < CONDITIONAL_TRIES && started.elapsed() < self.patience =>
                {
                    tracing::debug!(%error, tries, "a conditional write is asked for again");
                    backoff.wait().await;
                    tries += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// The request's span in the trace that it is part of, if it is; its wait for a place included.
fn span(statement: Statement) -> Span {
    trace::request("cassandra", statement.label())
}

/// A place among the requests under way.
struct Permit<'a> {
    _permit: SemaphorePermit<'a>,
    metrics: &'a Metrics,
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.metrics.in_flight.dec();
    }
}

/// Rows in parts of at most `rows` and about [`BATCH_BYTES`].
fn chunks<V>(mut rest: &[V], rows: usize, weight: fn(&V) -> usize) -> Vec<&[V]> {
    let mut chunks = Vec::with_capacity(rest.len() / rows + 1);
    while !rest.is_empty() {
        let mut bytes = 0;
        let fits = rest.iter().take(rows).take_while(|row| {
            bytes += weight(row);
            bytes <= BATCH_BYTES
        });
        let (chunk, behind) = rest.split_at(fits.count().max(1));
        chunks.push(chunk);
        rest = behind;
    }
    chunks
}

/// Makes all of a call's requests, some at a time; on an error the rest is left.
pub(super) fn all<'a, F>(requests: impl IntoIterator<Item = F>) -> BoxFuture<'a, Result<()>>
where
    F: Future<Output = Result<()>> + Send + 'a,
{
    // Boxed one by one: what they borrow is then of no concern to the whole.
    let requests: Vec<_> = requests.into_iter().map(FutureExt::boxed).collect();
    let running = stream::iter(requests).buffer_unordered(CALL_CONCURRENCY);
    running
        .try_for_each(|()| std::future::ready(Ok(())))
        .boxed()
}

/// The answers to all of a call's requests, in their order.
pub(super) fn each<'a, T, F>(requests: impl IntoIterator<Item = F>) -> BoxFuture<'a, Result<Vec<T>>>
where
    T: Send + 'a,
    F: Future<Output = Result<T>> + Send + 'a,
{
    let requests: Vec<_> = requests.into_iter().map(FutureExt::boxed).collect();
    let running = stream::iter(requests).buffered(CALL_CONCURRENCY);
    running.try_collect().boxed()
}

fn damaged(error: impl std::error::Error) -> Error {
    Error::Damaged(error.to_string())
}

/// The kind in metrics, and the error of the contract.
fn from_execution(error: ExecutionError) -> (&'static str, Error) {
    let kind = match &error {
        ExecutionError::LastAttemptError(attempt) => attempt_kind(attempt),
        ExecutionError::RequestTimeout(_) => "timeout",
        ExecutionError::ConnectionPoolError(_) | ExecutionError::EmptyPlan => "not_connected",
        ExecutionError::BadQuery(_) => "bad_query",
        _ => "other",
    };
    (kind, refine(kind, error))
}

fn from_page(error: NextRowError) -> (&'static str, Error) {
    use NextPageError as Page;
    let kind = match &error {
        NextRowError::RowDeserializationError(_)
        | NextRowError::NextPageError(
            Page::TypeCheckError(_) | Page::ResultMetadataParseError(_),
        ) => "damaged",
        NextRowError::NextPageError(Page::RequestFailure(request)) => match request {
            RequestError::LastAttemptError(attempt) => attempt_kind(attempt),
            RequestError::RequestTimeout(_) => "timeout",
            RequestError::ConnectionPoolError(_) | RequestError::EmptyPlan => "not_connected",
            _ => "other",
        },
        _ => "other",
    };
    (kind, refine(kind, error))
}

fn refine(kind: &str, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    match kind {
        "too_large" | "bad_query" => Error::TooLarge(error.to_string()),
        "damaged" => Error::Damaged(error.to_string()),
        _ => Error::Unavailable(Box::new(error)),
    }
}

fn attempt_kind(error: &RequestAttemptError) -> &'static str {
    match error {
        RequestAttemptError::DbError(error, message) => match error {
            DbError::Unavailable { .. } => "no_quorum",
            DbError::ReadTimeout { .. } | DbError::WriteTimeout { .. } => "replica_timeout",
            DbError::ReadFailure { .. } | DbError::WriteFailure { .. } => "replica_failure",
            DbError::Overloaded | DbError::RateLimitReached { .. } => "overloaded",
            DbError::Unauthorized | DbError::AuthenticationError => "unauthorized",
            // Only what says so is held for the data's fault: a table that is missing for a while
            // must not make anybody throw data away.
            DbError::Invalid if is_size(message) => "too_large",
            _ => "other",
        },
        RequestAttemptError::SerializationError(_)
        | RequestAttemptError::CqlRequestSerialization(_) => "bad_query",
        RequestAttemptError::CqlResultParseError(_) => "damaged",
        RequestAttemptError::BrokenConnectionError(_) => "not_connected",
        RequestAttemptError::UnableToAllocStreamId => "overloaded",
        _ => "other",
    }
}

fn is_size(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    ["too large", "too long", "too big", "maximum size", "exceed"]
        .iter()
        .any(|sign| message.contains(sign))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_bounded_by_rows_and_bytes() {
        let lengths = |rows: &[usize]| -> Vec<usize> {
            let chunks = chunks(rows, 3, |row| *row);
            chunks.into_iter().map(<[usize]>::len).collect()
        };
        assert_eq!(lengths(&[]), [0; 0]);
        assert_eq!(lengths(&[1; 7]), [3, 3, 1]);
        let half = BATCH_BYTES / 2;
        assert_eq!(lengths(&[half, half, 1, half, 1]), [2, 3]);
        assert_eq!(lengths(&[1, 9 * half, 9 * half, 1]), [1, 1, 1, 1]);
    }

    #[test]
    fn errors_are_told_apart() {
        let of = |error, message: &str| {
            let attempt = RequestAttemptError::DbError(error, message.into());
            from_execution(ExecutionError::LastAttemptError(attempt)).1
        };
        let too_large = of(
            DbError::Invalid,
            "Key length of 70000 is longer than maximum size",
        );
        assert!(matches!(too_large, Error::TooLarge(_)));
        let missing = of(DbError::Invalid, "unconfigured table device");
        assert!(missing.is_retryable());
        assert!(of(DbError::Overloaded, "").is_retryable());
        let timeout = ExecutionError::RequestTimeout(Duration::from_secs(1));
        assert!(from_execution(timeout).1.is_retryable());
    }
}
