//! Watching: messages from now on, out of memory only.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use tokio::sync::watch;

use super::core::Core;
use super::log::Log;
use crate::{Stream, TailEvent};

/// Messages taken at once.
const PAGE: usize = 256;

struct Watcher {
    log: Arc<Log>,
    streams: Vec<Stream>,
    next: u64,
    ready: VecDeque<TailEvent>,
    last: watch::Receiver<u64>,
    closed: watch::Receiver<bool>,
}

/// Messages of `streams` from now on.
pub(crate) fn follow(core: &Core, streams: &[Stream]) -> BoxStream<'static, TailEvent> {
    let watcher = Watcher {
        log: Arc::clone(&core.log),
        streams: streams.to_vec(),
        next: core.log.last() + 1,
        ready: VecDeque::new(),
        last: core.log.watch(),
        closed: core.closed.subscribe(),
    };
    stream::unfold(watcher, |mut watcher| async move {
        let event = watcher.next_event().await?;
        Some((event, watcher))
    })
    .boxed()
}

impl Watcher {
    async fn next_event(&mut self) -> Option<TailEvent> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            self.last.borrow_and_update();
            if self.fill() {
                continue;
            }
            if *self.closed.borrow() {
                return None;
            }
            tokio::select! {
                changed = self.last.changed() => changed.ok()?,
                changed = self.closed.changed() => changed.ok()?,
            }
        }
    }

    /// Takes what is there. False when there was nothing.
    fn fill(&mut self) -> bool {
        let start = self.log.tail_from();
        if self.next < start {
            self.ready.push_back(TailEvent::Lagged(start - self.next));
            self.next = start;
        }
        let Some(groups) = self.log.read_tail(self.next, PAGE) else {
            return true;
        };
        for group in &groups {
            self.next = self.next.max(group.first);
            while let Some(message) = group.get(self.next) {
                if self.streams.contains(&message.stream) {
                    let delivery = message.delivery(self.next, 1);
                    self.ready.push_back(TailEvent::Message(delivery));
                }
                self.next += 1;
            }
        }
        !groups.is_empty() || !self.ready.is_empty()
    }
}
