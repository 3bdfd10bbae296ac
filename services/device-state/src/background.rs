//! What goes on beside the events: counting who is online, indexing again, deleting old history,
//! writing last uses.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use hearth_runtime::CancellationToken;
use hearth_runtime::backoff::around;
use hearth_types::{DeviceKey, Timestamp};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::columns;
use crate::core::Core;
use crate::online::online_until;

/// Devices read at once.
pub const PAGE: usize = 500;
/// History entries deleted at once.
const TRIM: usize = 5_000;
/// Between tries of what failed.
const RETRY: Duration = Duration::from_secs(10);

/// Starts all of it; it ends with `stop`.
pub fn start(core: &Arc<Core>, stop: &CancellationToken) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let of = |core: &Arc<Core>| (Arc::clone(core), stop.clone());
    let (c, s) = of(core);
    tasks.spawn(async move {
        count_online(&c, &s).await;
    });
    let (c, s) = of(core);
    tasks.spawn(async move {
        until_done(&s, "indexing known devices", || c.index_again()).await;
    });
    let (c, s) = of(core);
    tasks.spawn(async move {
        until_done(&s, "indexing devices' lives", || c.index_lives()).await;
    });
    let (c, s) = of(core);
    tasks.spawn(async move {
        every(&s, c.config.history_trim_interval.get(), || trim(&c)).await;
    });
    let (c, s) = of(core);
    tasks.spawn(async move {
        let interval = c.config.history_trim_interval.get();
        every(&s, interval, || async {
            if let Err(error) = c.trim_captures(c.now()).await {
                tracing::warn!(%error, "deleting old captures failed; it is tried again");
            }
            Ok(())
        })
        .await;
    });
    let (c, s) = of(core);
    tasks.spawn(async move {
        every(&s, c.config.last_used_interval.get(), || {
            c.write_last_used()
        })
        .await;
        // What was counted since must not wait for the next start.
        report("writing last uses", c.write_last_used().await);
    });
    tasks
}

/// Waits for the end of what was started.
pub async fn join(mut tasks: JoinSet<()>) {
    while tasks.join_next().await.is_some() {}
}

/// Does something until it succeeds once.
async fn until_done<F, Fut>(stop: &CancellationToken, what: &str, mut work: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = hearth_store::Result<()>>,
{
    loop {
        let done = tokio::select! {
            () = stop.cancelled() => return,
            done = work() => done,
        };
        if done.is_ok() {
            return;
        }
        report(what, done);
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(around(RETRY)) => {}
        }
    }
}

/// Does something now and then.
async fn every<F, Fut>(stop: &CancellationToken, interval: Duration, mut work: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = hearth_store::Result<()>>,
{
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(around(interval)) => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            done = work() => report("background work", done),
        }
    }
}

fn report(what: &str, done: hearth_store::Result<()>) {
    if let Err(error) = done {
        let error = &error as &dyn std::error::Error;
        tracing::warn!(error, "{what} failed; it is tried again");
    }
}

/// Counts the devices of parts that this process begins to work on: at once, and again when what
/// their former process had in memory is in the store, too.
async fn count_online(core: &Core, stop: &CancellationToken) {
    let mut parts = core.parts.watch();
    let mut counted: Vec<u64> = core.parts.all().map(|_| 0).collect();
    let written = core.config.last_seen_interval.get() + 2 * core.config.flush_interval.get();
    let mut again: Option<(Instant, Vec<bool>)> = None;
    loop {
        let tenures: Vec<u64> = core
            .parts
            .all()
            .map(|p| core.parts.tenure(p.index))
            .collect();
        let new: Vec<bool> = tenures.iter().zip(&counted).map(|(a, b)| a != b).collect();
        if new.contains(&true) {
            until_done(stop, "counting online devices", || load_online(core, &new)).await;
            counted = tenures;
            if core.parts.is_shared() {
                let before = again.take().map(|(_, before)| before).unwrap_or_default();
                let both = |(part, new): (usize, &bool)| *new || before.get(part) == Some(&true);
                let both = new.iter().enumerate().map(both).collect();
                again = Some((Instant::now() + written, both));
            }
        }
        let due = async {
            match &again {
                Some((at, _)) => sleep_until(*at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            changed = parts.changed() => if changed.is_err() { return },
            () = due => {
                if let Some((_, new)) = again.take() {
                    until_done(stop, "counting online devices", || load_online(core, &new)).await;
                }
            }
        }
    }
}

/// Every known device of these parts with its last sign of life, read once.
async fn load_online(core: &Core, parts: &[bool]) -> hearth_store::Result<()> {
    for tenant in core.store.tenants().await? {
        let mut after = None;
        loop {
            let page = core.store.devices(&tenant, after.as_ref(), PAGE).await?;
            for (id, row) in &page {
                let device = DeviceKey::new(tenant.clone(), id.clone());
                if parts[usize::from(core.parts.of(&device))] {
                    let until = online_until(columns::last_seen(row), columns::interval(row));
                    core.online_of(&device).lock().load(&device, until);
                }
            }
            if page.len() < PAGE {
                break;
            }
            after = page.into_iter().last().map(|(id, _)| id);
        }
    }
    Ok(())
}

/// Deletes history beyond its time, in pieces so that other writes go on.
async fn trim(core: &Core) -> hearth_store::Result<()> {
    let kept = i64::try_from(core.config.history_retention.get().as_micros()).unwrap_or(i64::MAX);
    let before = Timestamp::from_micros(core.now().as_micros().saturating_sub(kept));
    loop {
        let trimmed = core.store.trim_history(before, TRIM).await?;
        core.metrics
            .trimmed
            .inc_by(u64::try_from(trimmed).unwrap_or_default());
        if trimmed < TRIM {
            return Ok(());
        }
    }
}
