//! The keyspace, its tables, and how they come to the version of this program.
//!
//! Versions are rows of `schema_version`. Whoever starts first takes `schema_lock` (a conditional
//! write that expires by itself, renewed while it is needed), waits until the nodes agree on what
//! there is, makes what is missing, and enters the new version; the others wait. A keyspace of a
//! newer version is refused.
//!
//! Only the keyspace and the table of the lock are made without the lock, by all who start at once.
//! `IF NOT EXISTS` asks one node: two of them that make a table at the same time give it two ids
//! (Cassandra before 6), and never agree again. So that table's id is fixed, by the keyspace's name.

use std::pin::pin;
use std::time::Duration;

use hearth_runtime::backoff::spread;
use scylla::client::session::Session;
use scylla::errors::{DbError, ExecutionError, RequestAttemptError};
use scylla::response::query_result::QueryResult;
use scylla::serialize::row::SerializeRow;
use scylla::statement::unprepared::Statement;
use scylla::value::{CqlValue, Row};
use tokio::time::{Instant, sleep};

use super::connect::ConnectError;

mod places;

/// How long a lock is good without being renewed, in seconds.
const LOCK_SECONDS: i32 = 60;
/// Between looks at what another process makes, or holds a lock for; at most.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// How long the start waits for another process that makes tables.
const WAIT: Duration = Duration::from_secs(120);
/// How often the lock is renewed.
const RENEW: Duration = Duration::from_secs(15);
/// How long nodes may take to agree that a table is there.
const AGREEMENT: Duration = Duration::from_secs(30);
/// Making a table takes long where nodes must agree on it.
const DDL_TIMEOUT: Duration = Duration::from_secs(60);

/// What each version adds to the one before; never changed once released. `$.` stands for the
/// keyspace.
const VERSIONS: &[&[&str]] = &[FIRST, SECOND, THIRD];

/// Rows are rewritten in place and read by key or range: levelled compaction keeps a read to few
/// files. `gc_grace_seconds` is how long deletes go on hiding older writes.
const FIRST: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS $.device (
        tenant text, device text,
        manufacturer text, oui text, product_class text, serial_number text,
        software_version text, hardware_version text, root text, connection_request_url text,
        remote_address text, first_seen set<bigint>, last_seen bigint, last_inform bigint,
        last_bootstrap bigint, last_boot bigint, last_events frozen<list<text>>,
        tags frozen<list<text>>, periodic_inform_interval bigint, cwmp_namespace text,
        inform_count bigint,
        PRIMARY KEY ((tenant, device)))
        WITH compaction = {'class': 'LeveledCompactionStrategy'} AND gc_grace_seconds = 864000",
    "CREATE TABLE IF NOT EXISTS $.device_list (
        tenant text, shard tinyint, device text,
        PRIMARY KEY ((tenant, shard), device))
        WITH compaction = {'class': 'LeveledCompactionStrategy'} AND gc_grace_seconds = 864000",
    "CREATE TABLE IF NOT EXISTS $.tenant (
        bucket tinyint, tenant text,
        PRIMARY KEY ((bucket), tenant))
        WITH compaction = {'class': 'LeveledCompactionStrategy'}",
    "CREATE TABLE IF NOT EXISTS $.parameter (
        tenant text, device text, path text,
        value text, writable boolean, notification tinyint, access_list frozen<list<text>>,
        PRIMARY KEY ((tenant, device), path))
        WITH compaction = {'class': 'LeveledCompactionStrategy'} AND gc_grace_seconds = 864000",
    // Written once and expiring together: whole files are dropped.
    "CREATE TABLE IF NOT EXISTS $.device_event (
        tenant text, device text, period int, time bigint, id bigint, path text, payload blob,
        PRIMARY KEY ((tenant, device, period), time, id))
        WITH CLUSTERING ORDER BY (time DESC, id DESC)
        AND compaction = {'class': 'TimeWindowCompactionStrategy',
            'compaction_window_unit': 'DAYS', 'compaction_window_size': '7'}
        AND gc_grace_seconds = 864000",
    "CREATE TABLE IF NOT EXISTS $.device_event_period (
        tenant text, device text, period int,
        PRIMARY KEY ((tenant, device), period))
        WITH CLUSTERING ORDER BY (period DESC)
        AND compaction = {'class': 'LeveledCompactionStrategy'} AND gc_grace_seconds = 864000",
    "CREATE TABLE IF NOT EXISTS $.device_index (
        tenant text, attribute text, shard tinyint, value text, device text,
        PRIMARY KEY ((tenant, attribute, shard), value, device))
        WITH compaction = {'class': 'LeveledCompactionStrategy'} AND gc_grace_seconds = 864000",
    "CREATE TABLE IF NOT EXISTS $.device_index_of (
        tenant text, device text, attribute text, value text,
        PRIMARY KEY ((tenant, device), attribute, value))
        WITH compaction = {'class': 'LeveledCompactionStrategy'} AND gc_grace_seconds = 864000",
    "CREATE TABLE IF NOT EXISTS $.task (
        tenant text, day int, shard tinyint, id blob, device text, state blob, key text,
        PRIMARY KEY ((tenant, day, shard), id))
        WITH CLUSTERING ORDER BY (id DESC)
        AND compaction = {'class': 'LeveledCompactionStrategy'} AND gc_grace_seconds = 864000",
    "CREATE TABLE IF NOT EXISTS $.task_day (
        tenant text, day int,
        PRIMARY KEY ((tenant), day))
        WITH CLUSTERING ORDER BY (day DESC)
        AND compaction = {'class': 'LeveledCompactionStrategy'}",
    "CREATE TABLE IF NOT EXISTS $.task_by_device (
        tenant text, device text, id blob, ended boolean,
        PRIMARY KEY ((tenant, device), id))
        WITH CLUSTERING ORDER BY (id DESC)
        AND compaction = {'class': 'LeveledCompactionStrategy'} AND gc_grace_seconds = 864000",
    // A queue: an entry that comes back is seen to be stale when it is read, so that its deletes
    // need not be kept for long, and would only be in the way.
    "CREATE TABLE IF NOT EXISTS $.open_task (
        bucket tinyint, tenant text, id blob,
        PRIMARY KEY ((bucket), tenant, id))
        WITH compaction = {'class': 'LeveledCompactionStrategy'} AND gc_grace_seconds = 3600",
    "CREATE TABLE IF NOT EXISTS $.task_key (
        tenant text, key text, id blob, device text, state blob, revision bigint,
        PRIMARY KEY ((tenant, key)))
        WITH compaction = {'class': 'LeveledCompactionStrategy'} AND gc_grace_seconds = 864000",
    "CREATE TABLE IF NOT EXISTS $.document (
        tenant text, kind text, shard tinyint, key text, payload blob,
        PRIMARY KEY ((tenant, kind, shard), key))
        WITH compaction = {'class': 'LeveledCompactionStrategy'} AND gc_grace_seconds = 864000",
];

/// Tasks have a partition each, so that what is decided about one (Paxos goes by partition) is in
/// nobody's way. What `task` has of a task's state is of the version before; it is moved when the
/// task is written next.
const SECOND: &[&str] = &["CREATE TABLE IF NOT EXISTS $.ledger (
        tenant text, id blob, device text, state blob, revision bigint, key text,
        PRIMARY KEY ((tenant, id)))
        WITH compaction = {'class': 'LeveledCompactionStrategy'} AND gc_grace_seconds = 864000"];

/// No table: documents that belong together are in one partition ([`places`]).
const THIRD: &[&str] = &[];

/// What versions are kept in.
const VERSION_TABLE: &str = "CREATE TABLE IF NOT EXISTS $.schema_version (
    part text, version int, PRIMARY KEY ((part), version))
    WITH CLUSTERING ORDER BY (version DESC)";

/// What the lock is kept in; with the id of [`lock_id`].
const LOCK_TABLE: &str =
    "CREATE TABLE IF NOT EXISTS $.schema_lock (part text PRIMARY KEY, owner text) WITH id = ";

/// The part of the schema that versions and lock are of; others may come.
const PART: &str = "store";

/// The version that this program makes and knows.
pub(super) fn version() -> i32 {
    i32::try_from(VERSIONS.len()).unwrap_or(i32::MAX)
}

/// The keyspace to bring to this program's version.
pub(super) struct Schema<'a> {
    pub(super) session: &'a Session,
    pub(super) keyspace: &'a str,
    /// Tells this process from others that start at the same time.
    pub(super) owner: String,
}

impl Schema<'_> {
    fn failed(&self, error: ExecutionError) -> ConnectError {
        ConnectError::Schema {
            keyspace: self.keyspace.to_owned(),
            reason: error.to_string(),
        }
    }

    /// Asks; again while a table that another process has just made is not there for all nodes, or
    /// their replicas don't answer. Only for what may be repeated.
    async fn ask(
        &self,
        text: &str,
        values: &impl SerializeRow,
    ) -> Result<QueryResult, ConnectError> {
        let deadline = Instant::now() + AGREEMENT;
        loop {
            let done = Box::pin(self.session.query_unpaged(text, values)).await;
            match done {
                Err(error) if is_passing(&error) && Instant::now() < deadline => {
                    sleep(spread(LOOK_AGAIN)).await;
                }
                done => return done.map_err(|error| self.failed(error)),
            }
        }
    }

    /// Makes the keyspace when it is missing and that is allowed.
    pub(super) async fn keyspace(
        &self,
        create: bool,
        copies: &[(String, u8)],
    ) -> Result<(), ConnectError> {
        let known = "SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name = ?";
        let found = self.ask(known, &(self.keyspace,)).await?;
        let rows = found.into_rows_result().map(|rows| rows.rows_num());
        if rows.is_ok_and(|rows| rows > 0) {
            return Ok(());
        }
        if !create {
            return Err(ConnectError::NoKeyspace {
                keyspace: self.keyspace.to_owned(),
            });
        }
        let copies: Vec<String> = copies
            .iter()
            .map(|(datacenter, copies)| format!(", '{datacenter}': {copies}"))
            .collect();
        let text = format!(
            "CREATE KEYSPACE IF NOT EXISTS {} WITH replication = \
             {{'class': 'NetworkTopologyStrategy'{}}}",
            self.keyspace,
            copies.concat()
        );
        self.define(text).await
    }

    /// A text with the keyspace's name for `$`.
    fn named(&self, text: &str) -> String {
        text.replace("$.", &format!("{}.", self.keyspace))
    }

    /// Makes what the text says; again while a keyspace that another process has just made is not there for all nodes.
    async fn define(&self, text: String) -> Result<(), ConnectError> {
        let mut statement = Statement::new(self.named(&text));
        statement.set_request_timeout(Some(DDL_TIMEOUT));
        let deadline = Instant::now() + AGREEMENT;
        loop {
            // Nodes that make the same table at the same time may disagree for a moment.
            let made = Box::pin(self.session.query_unpaged(statement.clone(), ())).await;
            match made {
                Err(error) if is_unknown(&error) && Instant::now() < deadline => {
                    sleep(spread(LOOK_AGAIN)).await;
                }
                made => return made.map(drop).map_err(|error| self.failed(error)),
            }
        }
    }

    /// Brings the tables to this program's version.
    pub(super) async fn migrate(&self) -> Result<(), ConnectError> {
        if self.stored_version().await? == Some(version()) {
            return Ok(());
        }
        self.define(format!("{LOCK_TABLE}{}", lock_id(self.keyspace)))
            .await?;
        self.lock(WAIT).await?;
        let migrated = self.while_locked(RENEW, self.migrate_locked()).await;
        let unlocked = self.unlock().await;
        migrated.and(unlocked)
    }

    /// The version of the tables; `None` where there are none.
    async fn stored_version(&self) -> Result<Option<i32>, ConnectError> {
        let known = "SELECT table_name FROM system_schema.tables \
                     WHERE keyspace_name = ? AND table_name = 'schema_version'";
        let found = self.ask(known, &(self.keyspace,)).await?;
        if !found
            .into_rows_result()
            .is_ok_and(|rows| rows.rows_num() > 0)
        {
            return Ok(None);
        }
        let text = format!(
            "SELECT version FROM {}.schema_version WHERE part = ? LIMIT 1",
            self.keyspace
        );
        let rows = self.ask(&text, &(PART,)).await?.into_rows_result();
        let stored = rows
            .ok()
            .and_then(|rows| rows.maybe_first_row::<(i32,)>().ok().flatten())
            .map_or(0, |(version,)| version);
        if stored > version() {
            return Err(ConnectError::Newer {
                keyspace: self.keyspace.to_owned(),
                stored,
                known: version(),
            });
        }
        Ok(Some(stored))
    }

    async fn migrate_locked(&self) -> Result<(), ConnectError> {
        // Another process may have made them while this one waited.
        if self.stored_version().await? == Some(version()) {
            return Ok(());
        }
        self.agreement().await?;
        self.define(VERSION_TABLE.to_owned()).await?;
        let stored = self.stored_version().await?.unwrap_or_default();
        let done = usize::try_from(stored).unwrap_or_default();
        for (place, statements) in VERSIONS.iter().enumerate().skip(done) {
            for text in *statements {
                self.define((*text).to_owned()).await?;
            }
            let number = i32::try_from(place + 1).unwrap_or(i32::MAX);
            if number == places::SINCE {
                Box::pin(self.place_documents()).await?;
            }
            let text = format!(
                "INSERT INTO {}.schema_version (part, version) VALUES (?, ?)",
                self.keyspace
            );
            self.ask(&text, &(PART, number)).await?;
            tracing::info!(
                keyspace = self.keyspace,
                version = number,
                "tables are made"
            );
        }
        Ok(())
    }

    /// Waits until the nodes know the same tables: one that lacks a table would make another one.
    async fn agreement(&self) -> Result<(), ConnectError> {
        let agreed = Box::pin(self.session.await_schema_agreement()).await;
        agreed.map(drop).map_err(|error| ConnectError::Schema {
            keyspace: self.keyspace.to_owned(),
            reason: format!("the nodes do not agree on the tables that are there: {error}"),
        })
    }

    /// Renews the lock `every` so often while the work is done; ends the work when it is another's.
    async fn while_locked(
        &self,
        every: Duration,
        work: impl Future<Output = Result<(), ConnectError>>,
    ) -> Result<(), ConnectError> {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                () = sleep(every) => self.renew().await?,
            }
        }
    }

    /// Takes the lock; waits so long for another owner.
    async fn lock(&self, wait: Duration) -> Result<(), ConnectError> {
        let text = format!(
            "INSERT INTO {}.schema_lock (part, owner) VALUES (?, ?) IF NOT EXISTS USING TTL {}",
            self.keyspace, LOCK_SECONDS
        );
        let deadline = Instant::now() + wait;
        while !self.decide(&text, (PART, self.owner.as_str())).await? {
            if Instant::now() > deadline {
                return Err(ConnectError::Locked {
                    keyspace: self.keyspace.to_owned(),
                });
            }
            sleep(spread(LOOK_AGAIN)).await;
        }
        Ok(())
    }

    async fn renew(&self) -> Result<(), ConnectError> {
        let text = format!(
            "UPDATE {}.schema_lock USING TTL {} SET owner = ? WHERE part = ? IF owner = ?",
            self.keyspace, LOCK_SECONDS
        );
        let owner = self.owner.as_str();
        match self.decide(&text, (owner, PART, owner)).await? {
            true => Ok(()),
            false => Err(ConnectError::Locked {
                keyspace: self.keyspace.to_owned(),
            }),
        }
    }

    async fn unlock(&self) -> Result<(), ConnectError> {
        let text = format!(
            "DELETE FROM {}.schema_lock WHERE part = ? IF owner = ?",
            self.keyspace
        );
        let owner = self.owner.as_str();
        self.decide(&text, (PART, owner)).await.map(drop)
    }

    /// A conditional write; whether it was applied, or the row is this process's: one whose answer
    /// was lost is made again.
    async fn decide(&self, text: &str, values: impl SerializeRow) -> Result<bool, ConnectError> {
        let rows = self.ask(text, &values).await?.into_rows_result();
        let Ok(rows) = rows else { return Ok(false) };
        let owner = rows.column_specs().iter().position(|c| c.name() == "owner");
        let Ok(row) = rows.first_row::<Row>() else {
            return Ok(false);
        };
        let column = |place: usize| row.columns.get(place).and_then(Option::as_ref);
        let applied = column(0).and_then(CqlValue::as_boolean) == Some(true);
        let holder = owner.and_then(column).and_then(CqlValue::as_text);
        Ok(applied || holder.is_some_and(|holder| *holder == self.owner))
    }
}

/// The id of the lock's table: one for each keyspace of a cluster, the same for all who start.
fn lock_id(keyspace: &str) -> String {
    // FNV-1a with 128 bits.
    let hash = |hash: u128, byte: u8| {
        (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
    };
    let name = format!("hearth schema_lock {keyspace}");
    let id = name
        .bytes()
        .fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d, hash);
    // The form of a UUID that is made from a name (version 3).
    let id = id & !(0xf << 76) & !(0x3 << 62) | 0x3 << 76 | 0x2 << 62;
    let hex = format!("{id:032x}");
    let (a, b, c, d, e) = (
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    );
    format!("{a}-{b}-{c}-{d}-{e}")
}

/// Whether the same may work a moment later: also replicas that have not heard of a table yet fail,
/// each in its way.
fn is_passing(error: &ExecutionError) -> bool {
    use RequestAttemptError::DbError as Told;
    let ExecutionError::LastAttemptError(attempt) = error else {
        return matches!(error, ExecutionError::RequestTimeout(_));
    };
    match attempt {
        Told(error, _) if is_replicas(error) => true,
        _ => is_unknown(error),
    }
}

const fn is_replicas(error: &DbError) -> bool {
    matches!(
        error,
        DbError::Unavailable { .. }
            | DbError::ReadTimeout { .. }
            | DbError::WriteTimeout { .. }
            | DbError::ReadFailure { .. }
            | DbError::WriteFailure { .. }
            | DbError::Overloaded
    )
}

fn is_unknown(error: &ExecutionError) -> bool {
    let ExecutionError::LastAttemptError(RequestAttemptError::DbError(DbError::Invalid, message)) =
        error
    else {
        return false;
    };
    // Tables and keyspaces of Cassandra, ScyllaDB's tables.
    let told = ["does not exist", "doesn't exist", "unconfigured table"];
    told.iter().any(|words| message.contains(words))
}

#[cfg(test)]
mod tests;
