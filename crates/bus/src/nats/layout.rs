//! What there is on the server: two streams, and a consumer that keeps the first messages.
//!
//! All kinds are in one stream: only so do a device's messages keep their order over kinds, and
//! have numbers that grow. Its retention is by interest: a message stays until each consumer that
//! is registered has acknowledged it. Without any consumer it would be dropped at once, so a
//! consumer that never fetches (`_unclaimed`) is there until the first real one comes. Where that is
//! a sole one ([`ConsumerSpec::sole`]) it stays: what ends a message is then its deletion.

use async_nats::jetstream::consumer;
use async_nats::jetstream::stream::Info;
use hearth_runtime::Patience;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::config::NatsConfig;
use super::connect::{self, ConnectError, nanos, nanos_or_ever};
use super::link::{Link, Trouble, number};
use super::wire::Names;
use crate::ConsumerSpec;

/// No consumer's name has an underscore.
pub(crate) const UNCLAIMED: &str = "_unclaimed";
/// In the metadata of a consumer: with it all messages have one.
const CLAIMS: &str = "hearth-claims";
/// In the metadata of a part's consumer: how many parts there are. All messages have a consumer
/// when each part has, whoever came first.
const PARTS: &str = "hearth-parts";
/// A dead letter written twice within this time is one.
const DEAD_DEDUPE: std::time::Duration = std::time::Duration::from_secs(3600);

/// Makes the streams, or changes them to what is configured, and keeps unclaimed messages.
pub(crate) async fn ensure(
    link: &Link,
    names: &Names,
    config: &NatsConfig,
    patience: &mut Patience,
) -> Result<(), ConnectError> {
    for (stream, wanted) in [
        (names.events_stream(), events(names, config)),
        (names.dead_stream(), dead(names, config)),
    ] {
        loop {
            let Err(trouble) = ensure_stream(link, &stream, &wanted).await else {
                break;
            };
            let may_pass = trouble.is_passing() || trouble.number().is_none();
            if !may_pass || !patience.wait(&trouble).await {
                return Err(connect::stream_refused(config, stream, &trouble));
            }
        }
    }
    let kept = keep_unclaimed(link, names).await;
    kept.map_err(|trouble| connect::stream_refused(config, names.events_stream(), &trouble))
}

/// Makes the streams again that a server lost, as far as they can be made now.
pub(crate) async fn repair(link: &Link, names: &Names, config: &NatsConfig) -> Result<(), Trouble> {
    ensure_stream(link, &names.events_stream(), &events(names, config)).await?;
    ensure_stream(link, &names.dead_stream(), &dead(names, config)).await?;
    keep_unclaimed(link, names).await
}

fn events(names: &Names, config: &NatsConfig) -> Value {
    json!({
        "name": names.events_stream(),
        "description": "Hearth: events that a consumer still needs",
        "subjects": [names.all_events()],
        "retention": "interest",
        "storage": "file",
        // A full stream refuses; it never drops.
        "discard": "new",
        "max_bytes": config.max_bytes.bytes(),
        "max_age": 0,
        "num_replicas": config.replicas,
        "duplicate_window": nanos(config.dedupe_window),
        // Watchers see what is on disk, and cost the stream nothing.
        "republish": { "src": names.all_events(), "dest": names.all_tail() },
    })
}

fn dead(names: &Names, config: &NatsConfig) -> Value {
    let age = nanos_or_ever(config.dead_letter_age);
    let window = nanos(DEAD_DEDUPE);
    json!({
        "name": names.dead_stream(),
        "description": "Hearth: events that a consumer could not work on",
        "subjects": [names.all_dead()],
        "retention": "limits",
        "storage": "file",
        "discard": "new",
        "max_bytes": config.dead_letter_bytes.bytes(),
        "max_age": age,
        "num_replicas": config.replicas,
        "duplicate_window": if age == 0 { window } else { window.min(age) },
    })
}

async fn ensure_stream(link: &Link, name: &str, wanted: &Value) -> Result<(), Trouble> {
    #[derive(Deserialize)]
    struct Known {
        config: Map<String, Value>,
    }
    let known = link.api::<Known>(format!("STREAM.INFO.{name}"), &Value::Null);
    let known = match known.await {
        Ok(known) => known.config,
        Err(trouble) if trouble.number() == Some(number::STREAM_NOT_FOUND) => {
            link.api::<Value>(format!("STREAM.CREATE.{name}"), wanted)
                .await?;
            tracing::info!(stream = name, "made a stream on NATS");
            return Ok(());
        }
        Err(trouble) => return Err(trouble),
    };
    let mut changed = known.clone();
    for (key, value) in wanted.as_object().into_iter().flatten() {
        changed.insert(key.clone(), value.clone());
    }
    if changed != known {
        link.api::<Value>(format!("STREAM.UPDATE.{name}"), &changed)
            .await?;
        tracing::info!(stream = name, "changed a stream on NATS to its settings");
    }
    Ok(())
}

pub(crate) async fn stream_info(link: &Link, name: &str) -> Result<Info, Trouble> {
    link.api(format!("STREAM.INFO.{name}"), &Value::Null).await
}

/// What a consumer's server tells about it.
#[derive(Debug, Deserialize)]
pub(crate) struct ConsumerLevels {
    pub(crate) name: String,
    pub(crate) num_ack_pending: u64,
    pub(crate) num_pending: u64,
    config: ConsumerSettings,
}

#[derive(Debug, Deserialize)]
struct ConsumerSettings {
    #[serde(default)]
    metadata: std::collections::HashMap<String, String>,
}

impl ConsumerLevels {
    /// Whether all messages have a consumer: this one, or with it all other parts' among `known`.
    fn claims(&self, known: &[String]) -> bool {
        let metadata = &self.config.metadata;
        let parts = metadata.get(PARTS).and_then(|parts| parts.parse().ok());
        metadata.contains_key(CLAIMS)
            || parts.is_some_and(|parts| all_parts(&self.name, parts, known) == Some(true))
    }
}

/// Whether each of `parts` has a consumer among `known`, named as this one's; `None`: its name
/// doesn't say which part it has.
fn all_parts(name: &str, parts: u16, known: &[String]) -> Option<bool> {
    let (group, index) = name.rsplit_once('-')?;
    index.parse::<u16>().ok()?;
    let has = |part| known.iter().any(|name| *name == format!("{group}-{part}"));
    Some((0..parts).all(has))
}

/// Where a consumer is.
pub(crate) struct Place {
    /// Messages delivered, in any process, and not acknowledged.
    pub(crate) unacknowledged: u64,
    /// Up to this number none is delivered any more.
    pub(crate) passed: u64,
}

pub(crate) async fn place(link: &Link, names: &Names, name: &str) -> Result<Place, Trouble> {
    let what = format!("CONSUMER.INFO.{}.{name}", names.events_stream());
    let info: consumer::Info = link.api(what, &Value::Null).await?;
    let unacknowledged = u64::try_from(info.num_ack_pending).unwrap_or(u64::MAX);
    Ok(Place {
        unacknowledged,
        passed: match unacknowledged {
            0 => info.delivered.stream_sequence,
            _ => info.ack_floor.stream_sequence,
        },
    })
}

/// Every registered consumer whose server answers.
pub(crate) async fn consumers(link: &Link, names: &Names) -> Result<Vec<ConsumerLevels>, Trouble> {
    #[derive(Deserialize)]
    struct Page {
        total: usize,
        #[serde(default)]
        consumers: Option<Vec<ConsumerLevels>>,
    }
    let stream = names.events_stream();
    let mut all = Vec::new();
    let mut offset = 0;
    loop {
        let what = format!("CONSUMER.LIST.{stream}");
        let page: Page = link.api(what, &json!({ "offset": offset })).await?;
        let listed = page.consumers.unwrap_or_default();
        offset += listed.len();
        let empty = listed.is_empty();
        all.extend(listed);
        if empty || offset >= page.total {
            all.retain(|levels| levels.name != UNCLAIMED);
            return Ok(all);
        }
    }
}

/// Every consumer's name, also of those whose server is away; [`UNCLAIMED`] among them.
pub(crate) async fn names_of_consumers(link: &Link, names: &Names) -> Result<Vec<String>, Trouble> {
    #[derive(Deserialize)]
    struct Page {
        total: usize,
        #[serde(default)]
        consumers: Option<Vec<String>>,
    }
    let stream = names.events_stream();
    let mut all = Vec::new();
    loop {
        let what = format!("CONSUMER.NAMES.{stream}");
        let page: Page = link.api(what, &json!({ "offset": all.len() })).await?;
        let listed = page.consumers.unwrap_or_default();
        let empty = listed.is_empty();
        all.extend(listed);
        if empty || all.len() >= page.total {
            return Ok(all);
        }
    }
}

/// Keeps messages that nobody asked for yet, until someone does.
pub(crate) async fn keep_unclaimed(link: &Link, names: &Names) -> Result<(), Trouble> {
    let mut known = names_of_consumers(link, names).await?;
    if known.is_empty() {
        make_unclaimed(link, names, "all").await?;
        // A consumer may have come in between and not have seen the keeper.
        known = names_of_consumers(link, names).await?;
    }
    let kept = known.iter().any(|name| name == UNCLAIMED);
    let real = known.len() - usize::from(kept);
    if kept && real == 0 {
        return Ok(());
    }
    let all = consumers(link, names).await?;
    match all.iter().any(|levels| levels.claims(&known)) {
        // Who was to remove it died before.
        true if kept => claim(link, names).await,
        // Some parts have none yet, and lost their keeper. Where a server doesn't answer, it is
        // not known whether they have.
        false if !kept && all.len() == real => make_unclaimed(link, names, "all").await,
        _ => Ok(()),
    }
}

async fn make_unclaimed(link: &Link, names: &Names, from: &str) -> Result<(), Trouble> {
    let config = json!({
        "durable_name": UNCLAIMED,
        "name": UNCLAIMED,
        "description": "Keeps events until they are deleted, or each has a consumer",
        "ack_policy": "none",
        "deliver_policy": from,
    });
    create_consumer(link, names, UNCLAIMED, config).await
}

/// There is a real consumer: what only the keeper needed may go.
async fn claim(link: &Link, names: &Names) -> Result<(), Trouble> {
    match remove(link, names, UNCLAIMED).await {
        Err(trouble) if trouble.number() == Some(number::CONSUMER_NOT_FOUND) => Ok(()),
        done => done,
    }
}

/// Registers a consumer, or gives a known one new settings. `ack_wait` is the server's.
pub(crate) async fn register(
    link: &Link,
    names: &Names,
    spec: &ConsumerSpec,
    ack_wait: std::time::Duration,
) -> Result<(), Trouble> {
    let metadata = match spec.part {
        _ if spec.sole => json!({}),
        None => json!({ CLAIMS: "all" }),
        Some(part) => json!({ PARTS: part.of.to_string() }),
    };
    let config = json!({
        "durable_name": spec.name,
        "name": spec.name,
        "ack_policy": "explicit",
        "deliver_policy": "all",
        "ack_wait": nanos(ack_wait),
        // It is this side that gives up: after the message is a dead letter on disk.
        "max_deliver": -1,
        "max_ack_pending": spec.max_in_flight,
        "filter_subjects": names.filters(spec),
        "metadata": metadata,
    });
    if spec.sole {
        // A version before sole consumers removed it.
        let known = names_of_consumers(link, names).await?;
        if !known.iter().any(|name| name == UNCLAIMED) {
            make_unclaimed(link, names, "all").await?;
        }
    }
    create_consumer(link, names, &spec.name, config).await?;
    let claimed = match spec.part {
        _ if spec.sole => false,
        None => true,
        Some(part) => {
            let known = names_of_consumers(link, names).await?;
            known.iter().any(|name| name == UNCLAIMED)
                && all_parts(&spec.name, part.of, &known).unwrap_or(part.index + 1 >= part.of)
        }
    };
    match claimed {
        true => claim(link, names).await,
        false => Ok(()),
    }
}

async fn create_consumer(
    link: &Link,
    names: &Names,
    name: &str,
    config: Value,
) -> Result<(), Trouble> {
    let stream = names.events_stream();
    let body = json!({ "stream_name": stream, "config": config, "action": "" });
    let what = format!("CONSUMER.CREATE.{stream}.{name}");
    link.api::<Value>(what, &body).await.map(drop)
}

/// Forgets a consumer. With the last one gone, what comes from now on is kept for the next.
pub(crate) async fn unregister(link: &Link, names: &Names, name: &str) -> Result<(), Trouble> {
    let known = names_of_consumers(link, names).await?;
    if known.iter().all(|known| known == name) && !known.is_empty() {
        make_unclaimed(link, names, "new").await?;
    }
    remove(link, names, name).await
}

async fn remove(link: &Link, names: &Names, name: &str) -> Result<(), Trouble> {
    let what = format!("CONSUMER.DELETE.{}.{name}", names.events_stream());
    link.api::<Value>(what, &Value::Null).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_part_that_comes_claims_whichever_it_is() {
        let known = |parts: &[u16]| -> Vec<String> {
            let names = parts.iter().map(|part| format!("device-state-{part}"));
            names.chain([UNCLAIMED.to_owned()]).collect()
        };
        let claims = |parts: &[u16]| all_parts("device-state-3", 4, &known(parts));
        assert_eq!(claims(&[3]), Some(false));
        assert_eq!(claims(&[3, 0, 1]), Some(false));
        assert_eq!(claims(&[2, 3, 0, 1]), Some(true));
        assert_eq!(all_parts("other-3", 4, &known(&[0, 1, 2, 3])), Some(false));
        assert_eq!(all_parts("alone", 4, &[]), None);
    }
}
