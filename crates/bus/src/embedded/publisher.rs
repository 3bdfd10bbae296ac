//! Publishing: whatever waits becomes one commit, and the next one gathers while it syncs.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use hearth_engine::WriteBatch;
use hearth_types::Timestamp;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::core::Core;
use super::dedupe::Id;
use super::frame::{Group, Message};
use crate::{Ack, Error, Result};

/// Commits under way at once. With a second one, publishers would wait for two syncs in groups of
/// half the size.
const IN_FLIGHT: usize = 1;
/// A commit of so many messages tells that publishers come faster than the disk syncs.
const BUSY: usize = 8;
/// Then commits begin at least so far apart: half as many syncs, for a wait that is less than the
/// one for a processor which syncs all the time.
const BUSY_PACE: Duration = Duration::from_millis(2);
/// Bytes of messages in one record: what a consumer that is behind reads at once.
const RECORD_BYTES: usize = 1 << 20;

type Answer = oneshot::Sender<Result<Ack>>;

/// A message and who waits for it.
pub(crate) struct Waiting {
    pub(crate) message: Message,
    pub(crate) id: Option<Id>,
    pub(crate) done: Answer,
}

/// Where publishers leave their messages.
#[derive(Default)]
pub(crate) struct Inbox {
    state: Mutex<State>,
    arrived: Notify,
}

#[derive(Default)]
struct State {
    waiting: Vec<Waiting>,
    closed: bool,
}

impl Inbox {
    pub(crate) fn push(&self, waiting: Waiting) -> Result<()> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(Error::Closed);
        }
        state.waiting.push(waiting);
        let first = state.waiting.len() == 1;
        drop(state);
        if first {
            self.arrived.notify_one();
        }
        Ok(())
    }

    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.arrived.notify_one();
    }

    fn take(&self) -> (Vec<Waiting>, bool) {
        let mut state = self.state.lock();
        let room = state.waiting.len();
        let next = Vec::with_capacity(room);
        (std::mem::replace(&mut state.waiting, next), state.closed)
    }
}

/// A commit under way.
struct InFlight {
    first: u64,
    end: u64,
    at: Timestamp,
    groups: Vec<Arc<Group>>,
    answers: Vec<(Answer, Ack)>,
    ids: Vec<(Id, u64)>,
    commit: Pin<Box<dyn Future<Output = hearth_engine::Result<()>> + Send>>,
}

/// The one task that numbers messages.
pub(crate) struct Publisher {
    core: Arc<Core>,
    next: u64,
    in_flight: VecDeque<InFlight>,
    /// Not before then does the next commit begin.
    next_submit: Instant,
}

impl Publisher {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        let next = core.log.last() + 1;
        Self {
            core,
            next,
            in_flight: VecDeque::new(),
            next_submit: Instant::now(),
        }
    }

    /// Runs until the inbox is closed and everything is answered.
    pub(crate) async fn run(mut self) {
        let core = Arc::clone(&self.core);
        let mut closed = false;
        while !(closed && self.in_flight.is_empty()) {
            let room = self.in_flight.len() < IN_FLIGHT && !closed;
            tokio::select! {
                biased;
                result = oldest(&mut self.in_flight) => self.finish(&result),
                () = arrived(&core.inbox, self.next_submit), if room => {
                    let (waiting, now_closed) = core.inbox.take();
                    closed = now_closed;
                    self.submit(waiting);
                }
            }
        }
    }

    /// Numbers messages, frames them, and starts their commit.
    fn submit(&mut self, waiting: Vec<Waiting>) {
        let first = self.next;
        let mut building = Building::new(first, waiting.len());
        for Waiting { message, id, done } in waiting {
            let Some(id) = id else {
                building.push(message, done);
                continue;
            };
            let mut dedupe = self.core.dedupe.lock();
            match dedupe.get(&id) {
                Some(seq) => {
                    drop(dedupe);
                    self.answer_duplicate(&mut building, seq, done);
                }
                None => {
                    dedupe.reserve(&id, building.next);
                    building.ids.push((id, building.next));
                    building.push(message, done);
                }
            }
        }
        if building.next == first {
            return;
        }
        if building.answers.len() >= BUSY {
            self.next_submit = Instant::now() + BUSY_PACE;
        }
        self.next = building.next;
        let groups = building.close();
        let at = (self.core.options.clock)();
        let mut batch = WriteBatch::with_capacity(groups.len() + 1);
        for group in &groups {
            self.core.log.write(&mut batch, group);
        }
        self.core
            .dedupe
            .lock()
            .write(&mut batch, first, at, &building.ids);
        self.in_flight.push_back(InFlight {
            first,
            end: self.next,
            at,
            groups,
            answers: building.answers,
            ids: building.ids,
            commit: Box::pin(self.core.engine.commit(batch)),
        });
    }

    /// A duplicate is answered no sooner than the first one is on disk.
    fn answer_duplicate(&mut self, building: &mut Building, seq: u64, done: Answer) {
        let duplicate = true;
        let ack = Ack { seq, duplicate };
        if seq >= building.first {
            building.answers.push((done, ack));
        } else if let Some(under_way) = self
            .in_flight
            .iter_mut()
            .find(|f| f.first <= seq && seq < f.end)
        {
            under_way.answers.push((done, ack));
        } else {
            self.core.counters.duplicates.fetch_add(1, Relaxed);
            let _ = done.send(Ok(ack));
        }
    }

    /// The oldest commit has ended: shows its messages to consumers and answers its publishers.
    fn finish(&mut self, result: &hearth_engine::Result<()>) {
        let Some(ended) = self.in_flight.pop_front() else {
            return;
        };
        let counters = &self.core.counters;
        match result {
            Ok(()) => {
                if !ended.ids.is_empty() {
                    let mut dedupe = self.core.dedupe.lock();
                    dedupe.remember(ended.first, ended.at, &ended.ids);
                }
                self.core.log.append(ended.groups);
                let duplicates = ended.answers.iter().filter(|(_, ack)| ack.duplicate);
                counters
                    .duplicates
                    .fetch_add(duplicates.count() as u64, Relaxed);
                counters
                    .published
                    .fetch_add(ended.end - ended.first, Relaxed);
                counters.groups.fetch_add(1, Relaxed);
                for (done, ack) in ended.answers {
                    // A publisher that no longer waits is no error.
                    let _ = done.send(Ok(ack));
                }
            }
            Err(error) => {
                self.core.dedupe.lock().release(&ended.ids);
                let refused = ended.answers.len() as u64;
                counters.refused.fetch_add(refused, Relaxed);
                for (done, _) in ended.answers {
                    let _ = done.send(Err(error.clone().into()));
                }
            }
        }
    }
}

/// The next commit may begin, and messages wait for it.
async fn arrived(inbox: &Inbox, not_before: Instant) {
    if Instant::now() < not_before {
        tokio::time::sleep_until(not_before).await;
    }
    // Last, so that a notification isn't lost with this future.
    inbox.arrived.notified().await;
}

/// The result of the oldest commit; never ends when there is none.
async fn oldest(in_flight: &mut VecDeque<InFlight>) -> hearth_engine::Result<()> {
    match in_flight.front_mut() {
        Some(oldest) => oldest.commit.as_mut().await,
        None => std::future::pending().await,
    }
}

/// A commit that is being put together.
struct Building {
    first: u64,
    next: u64,
    groups: Vec<Arc<Group>>,
    current: Group,
    answers: Vec<(Answer, Ack)>,
    ids: Vec<(Id, u64)>,
}

impl Building {
    fn new(first: u64, room: usize) -> Self {
        Self {
            first,
            next: first,
            groups: Vec::new(),
            current: empty(first, room),
            answers: Vec::with_capacity(room),
            ids: Vec::new(),
        }
    }

    fn push(&mut self, message: Message, done: Answer) {
        let (seq, duplicate) = (self.next, false);
        self.answers.push((done, Ack { seq, duplicate }));
        self.next += 1;
        self.current.bytes += message.stored_len();
        self.current.messages.push(message);
        if self.current.bytes >= RECORD_BYTES {
            let full = std::mem::replace(&mut self.current, empty(self.next, 0));
            self.groups.push(Arc::new(full));
        }
    }

    fn close(&mut self) -> Vec<Arc<Group>> {
        let last = std::mem::replace(&mut self.current, empty(self.next, 0));
        let mut groups = std::mem::take(&mut self.groups);
        if !last.messages.is_empty() {
            groups.push(Arc::new(last));
        }
        groups
    }
}

fn empty(first: u64, room: usize) -> Group {
    Group {
        first,
        messages: Vec::with_capacity(room),
        bytes: 0,
    }
}
