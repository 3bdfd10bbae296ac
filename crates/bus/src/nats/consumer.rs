//! Fetching and acknowledging.

use std::sync::Arc;
use std::time::Duration;

use async_nats::Subject;
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use super::connect::nanos;
use super::core::{Core, LOOK};
use super::delivered::Held;
use super::layout;
use super::link::Trouble;
use super::pull::{Condemned, MAX_BATCH, Puller, Want};
use super::sole::Sole;
use crate::{Consumer, ConsumerSpec, Delivery, Error, Respite, Result};

/// How often it is looked whether missing messages have come.
const AGAIN: Duration = Duration::from_millis(200);
/// For so long messages are waited for that another process holds, and for so many leases at least,
/// before later ones are given out in their place. One that died has none after its leases.
const LONGEST_GAP: Duration = Duration::from_secs(30);
const LEASES_OF_GAP: u32 = 3;
/// When nobody answers for a consumer, it is looked again after this.
const RETRY_MISSING: Duration = Duration::from_millis(500);

const ACK: Bytes = Bytes::from_static(b"+ACK");
const NAK: Bytes = Bytes::from_static(b"-NAK");
const TERM: Bytes = Bytes::from_static(b"+TERM");
const RENEW: Bytes = Bytes::from_static(b"+WPI");

/// A registered consumer in this process, shared by its handles.
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) spec: Mutex<ConsumerSpec>,
    pub(crate) held: Mutex<Held>,
    /// Held by who fetches, so that handles of one name share one inbox.
    puller: tokio::sync::Mutex<Puller>,
    /// Room was made.
    changed: Notify,
    upkeep: Mutex<Option<JoinHandle<()>>>,
    /// While no dead letter can be written.
    respite: Mutex<Respite>,
    /// Used where the spec says so.
    sole: Sole,
}

impl Member {
    /// Registers a consumer at the server, and takes it up here.
    pub(crate) async fn register(core: &Arc<Core>, spec: ConsumerSpec) -> Result<Arc<Self>> {
        spec.check()?;
        let lease = lease(core, &spec);
        layout::register(&core.link, &core.names, &spec, lease).await?;
        let known = core.members.lock().get(&spec.name).cloned();
        if let Some(member) = known {
            *member.spec.lock() = spec;
            return Ok(member);
        }
        let puller = Puller::new(&core.link, &core.names.events_stream(), &spec.name).await?;
        let member = Arc::new(Self {
            name: spec.name.clone(),
            spec: Mutex::new(spec),
            held: Mutex::default(),
            puller: tokio::sync::Mutex::new(puller),
            changed: Notify::new(),
            upkeep: Mutex::new(None),
            respite: Mutex::default(),
            sole: Sole::default(),
        });
        let mut members = core.members.lock();
        // Another handle may have been faster.
        let member = members
            .entry(member.name.clone())
            .or_insert_with(|| member)
            .clone();
        let mut upkeep = member.upkeep.lock();
        if upkeep.is_none() {
            let (member, core) = (Arc::clone(&member), Arc::clone(core));
            *upkeep = Some(tokio::spawn(async move {
                tokio::join!(member.keep(&core), member.sole.delete(&core));
            }));
        }
        drop(upkeep);
        Ok(member)
    }

    /// Ends its upkeep: its messages go back when their lease is over.
    pub(crate) fn stop(&self) {
        if let Some(upkeep) = self.upkeep.lock().take() {
            upkeep.abort();
        }
    }

    /// Gives back everything it holds, so that another process gets it at once.
    pub(crate) async fn give_back(&self, core: &Core) -> Result<(), Trouble> {
        self.sole.settle().await;
        self.stop();
        let replies = self.held.lock().drain();
        for reply in replies {
            core.link.send(reply, NAK).await?;
        }
        Ok(())
    }

    /// Renews leases, for as long as the bus is open.
    async fn keep(&self, core: &Core) {
        loop {
            let lease = lease(core, &self.spec.lock());
            sleep(lease / 6).await;
            let ack_wait = self.spec.lock().ack_wait;
            let (now, is_connected) = (Instant::now(), core.link.is_connected());
            let chores = self.held.lock().chores(now, lease, ack_wait, is_connected);
            self.changed.notify_one();
            let renew = chores.renew.into_iter().map(|reply| (reply, RENEW));
            let give_back = chores.give_back.into_iter().map(|reply| (reply, NAK));
            for (reply, word) in renew.chain(give_back) {
                // Without a connection the leases run out, and the messages come again.
                if core.link.send(reply, word).await.is_err() {
                    break;
                }
            }
        }
    }

    async fn fetch(&self, core: &Core, max: usize, deadline: Instant) -> Result<Vec<Delivery>> {
        let Ok(mut puller) = timeout_at(deadline, self.puller.lock()).await else {
            return Ok(Vec::new());
        };
        let max = max.clamp(1, MAX_BATCH);
        let filters = {
            let spec = self.spec.lock();
            spec.sole.then(|| core.names.filters(&spec))
        };
        if let Some(filters) = filters {
            self.sole.look_after(core, &self.name, &filters).await;
        }
        loop {
            let (max_in_flight, max_deliver, bytes) = {
                let spec = self.spec.lock();
                (spec.max_in_flight, spec.max_deliver, spec.fetch_bytes)
            };
            let messages = max.min(self.held.lock().room(max_in_flight));
            let want = Want { messages, bytes };
            if messages == 0 {
                tokio::select! {
                    () = self.changed.notified() => continue,
                    () = sleep_until(deadline) => return Ok(Vec::new()),
                }
            }
            let pulled = puller.pull(&self.held, max_deliver, want, deadline).await;
            while let Some(condemned) = puller.condemned.pop() {
                self.bury(core, condemned).await?;
            }
            if !self.is_complete(core).await {
                if Instant::now() >= deadline {
                    return Ok(Vec::new());
                }
                let waited = self.await_missing(&mut puller, max_deliver, want, deadline);
                match waited.await {
                    Ok(()) | Err(Trouble::Lost) => continue,
                    Err(Trouble::NoResponders) => self.missing(core, deadline).await?,
                    Err(trouble) => return Err(trouble.into()),
                }
                continue;
            }
            let deliveries = self.held.lock().take(messages, bytes, Instant::now());
            if !deliveries.is_empty() {
                return Ok(deliveries);
            }
            match pulled {
                Ok(()) | Err(Trouble::Lost) => {}
                Err(Trouble::NoResponders) => self.missing(core, deadline).await?,
                Err(trouble) => return Err(trouble.into()),
            }
            if Instant::now() >= deadline {
                return Ok(Vec::new());
            }
        }
    }

    /// Whether no earlier message is still to come, as far as this consumer waits for it.
    async fn is_complete(&self, core: &Core) -> bool {
        if !self.spec.lock().in_order {
            return true;
        }
        let Some(since) = self.held.lock().awaits(Instant::now()) else {
            return true;
        };
        let place = layout::place(&core.link, &core.names, &self.name).await;
        let longest = LONGEST_GAP.max(lease(core, &self.spec.lock()) * LEASES_OF_GAP);
        let is_over = since.elapsed() >= longest;
        // Counted after the servers did: what is acknowledged or given back meanwhile makes it wait,
        // not go on.
        let mut held = self.held.lock();
        let here = held.here();
        match place.map(|place| place.unacknowledged) {
            Ok(all) if all <= here => {}
            Ok(all) if is_over => {
                let (consumer, missing) = (self.name.as_str(), all - here);
                tracing::warn!(
                    consumer,
                    missing,
                    "messages that another process holds are not waited for any longer"
                );
            }
            Ok(_) => return false,
            Err(trouble) => {
                tracing::debug!(%trouble, "NATS does not tell what is unacknowledged");
                held.cant_tell();
                return false;
            }
        }
        held.close_gap();
        true
    }

    /// Missing messages come when they are given back, or when their lease is over: before all that
    /// were never delivered. Of these no more are taken than there is room for.
    async fn await_missing(
        &self,
        puller: &mut Puller,
        max_deliver: u32,
        mut want: Want,
        deadline: Instant,
    ) -> Result<(), Trouble> {
        let until = deadline.min(Instant::now() + AGAIN);
        if self.held.lock().is_full(want.bytes) {
            sleep_until(until).await;
            want.messages = 1;
        }
        let pulled = puller.pull_more(&self.held, max_deliver, want, until);
        pulled.await?;
        sleep_until(until).await;
        Ok(())
    }

    /// Gives back what came and nobody fetched.
    async fn rest(&self, core: &Core) -> Result<()> {
        let max_deliver = self.spec.lock().max_deliver;
        let mut puller = self.puller.lock().await;
        let heard = puller.hear_ready(&self.held, max_deliver);
        let replies = self.held.lock().rest();
        for reply in replies {
            core.link.send(reply, NAK).await?;
        }
        Ok(heard?)
    }

    /// Nobody answers for the consumer: its server starts, or lost it.
    async fn missing(&self, core: &Core, deadline: Instant) -> Result<()> {
        if !core.members.lock().contains_key(&self.name) {
            return Err(Error::NotFound("consumer"));
        }
        core.repair().await;
        // Without an answer it is looked again soon: mostly a leader is being elected.
        if let Ok(registered) = timeout(LOOK, self.register_again(core)).await {
            registered?;
        }
        sleep_until(deadline.min(Instant::now() + RETRY_MISSING)).await;
        match Instant::now() >= deadline {
            true => Err(Trouble::NoResponders.into()),
            false => Ok(()),
        }
    }

    /// Registers the consumer once more where the servers know none of its name.
    async fn register_again(&self, core: &Core) -> Result<()> {
        let Ok(known) = layout::names_of_consumers(&core.link, &core.names).await else {
            return Ok(());
        };
        if known.contains(&self.name) {
            return Ok(());
        }
        let spec = self.spec.lock().clone();
        let lease = lease(core, &spec);
        Ok(layout::register(&core.link, &core.names, &spec, lease).await?)
    }

    /// Makes a dead letter; if that fails, the message stays and it is tried again.
    async fn bury(&self, core: &Core, condemned: Condemned) -> Result<()> {
        let left = self.respite.lock().left();
        let word = match left {
            Some(left) => nak(left),
            None => self.try_bury(core, &condemned).await,
        };
        let is_over = word == TERM;
        core.link.send(condemned.reply, word).await?;
        if is_over {
            self.ended([condemned.seq]);
        }
        Ok(())
    }

    /// These are worked on, by whoever has told the server so.
    fn ended(&self, seqs: impl IntoIterator<Item = u64>) {
        if self.spec.lock().sole {
            self.sole.ended(seqs);
        }
    }

    /// What the server is to be told of the message.
    async fn try_bury(&self, core: &Core, condemned: &Condemned) -> Bytes {
        let begun = Instant::now();
        match core.bury(&self.name, condemned).await {
            Ok(()) => {
                self.held.lock().died();
                self.respite.lock().end();
                TERM
            }
            Err(error) => {
                let (first, left) = {
                    let mut respite = self.respite.lock();
                    (respite.begin(begun), respite.left())
                };
                if first {
                    let error = &error as &dyn std::error::Error;
                    let consumer = self.name.as_str();
                    tracing::warn!(consumer, error, "dead letters can't be written; they wait");
                }
                nak(left.unwrap_or_default())
            }
        }
    }

    async fn ack(&self, core: &Core, seqs: &[u64]) -> Result<()> {
        let replies: Vec<(u64, Subject)> = {
            let (now, lease) = (Instant::now(), lease(core, &self.spec.lock()));
            let held = self.held.lock();
            let reply = |seq: &u64| Some((*seq, held.reply(*seq, now, lease)?.0));
            seqs.iter().filter_map(reply).collect()
        };
        let mut sent = Vec::with_capacity(replies.len());
        let mut failed = Ok(());
        for (seq, reply) in replies {
            if let Err(trouble) = core.link.send(reply, ACK).await {
                failed = Err(trouble);
                break;
            }
            sent.push(seq);
        }
        self.ended(sent.iter().copied());
        let mut held = self.held.lock();
        sent.into_iter().for_each(|seq| held.done(seq));
        drop(held);
        self.changed.notify_one();
        Ok(failed?)
    }

    async fn nak(&self, core: &Core, seq: u64, delay: Duration) -> Result<()> {
        let Some((reply, _)) = self.reply(core, seq) else {
            return Ok(());
        };
        if delay.is_zero() {
            // Whether or not it can be told: its lease ends by itself.
            self.held.lock().give_back(seq);
        }
        core.link.send(reply, nak(delay)).await?;
        self.done(seq);
        Ok(())
    }

    fn reply(&self, core: &Core, seq: u64) -> Option<(Subject, u32)> {
        let lease = lease(core, &self.spec.lock());
        self.held.lock().reply(seq, Instant::now(), lease)
    }

    async fn term(&self, core: &Core, seq: u64, reason: &str) -> Result<()> {
        let Some((reply, deliveries)) = self.reply(core, seq) else {
            return Ok(());
        };
        // It is still in the stream: this consumer needs it.
        if let Some(raw) = core.raw(&core.names.events_stream(), seq, None).await? {
            let condemned = Condemned {
                seq,
                deliveries,
                reason: reason.to_owned(),
                subject: raw.subject.to_string(),
                headers: raw.headers,
                payload: raw.payload,
                reply: reply.clone(),
            };
            core.bury(&self.name, &condemned).await?;
            self.held.lock().died();
        }
        core.link.send(reply, TERM).await?;
        self.ended([seq]);
        self.done(seq);
        Ok(())
    }

    fn done(&self, seq: u64) {
        self.held.lock().done(seq);
        self.changed.notify_one();
    }
}

/// The server's time to acknowledge.
fn lease(core: &Core, spec: &ConsumerSpec) -> Duration {
    core.config.lease.get().min(spec.ack_wait)
}

fn nak(delay: Duration) -> Bytes {
    if delay.is_zero() {
        return NAK;
    }
    format!("-NAK {}", json!({ "delay": nanos(delay) })).into()
}

/// A handle.
pub(crate) struct NatsConsumer {
    pub(crate) core: Arc<Core>,
    pub(crate) member: Arc<Member>,
}

#[async_trait]
impl Consumer for NatsConsumer {
    fn name(&self) -> &str {
        &self.member.name
    }

    async fn fetch(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>> {
        let deadline = Instant::now() + wait;
        tokio::select! {
            biased;
            () = self.core.closing() => Err(Error::Closed),
            fetched = self.member.fetch(&self.core, max, deadline) => fetched,
        }
    }

    async fn ack(&self, seqs: &[u64]) -> Result<()> {
        self.member.ack(&self.core, seqs).await
    }

    async fn nak(&self, seq: u64, delay: Duration) -> Result<()> {
        self.member.nak(&self.core, seq, delay).await
    }

    async fn term(&self, seq: u64, reason: &str) -> Result<()> {
        self.member.term(&self.core, seq, reason).await
    }

    async fn rest(&self) -> Result<()> {
        self.member.rest(&self.core).await
    }
}
