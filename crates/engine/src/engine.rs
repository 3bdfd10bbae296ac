//! The engine's handle: opening, keyspaces, commits, closing.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread::JoinHandle;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::committer::{self, Shared};
use crate::database::Database;
use crate::queue::Queue;
use crate::stats::Counters;
use crate::{EngineOptions, EngineStats, Error, Keyspace, KeyspaceOptions, Result, WriteBatch};

/// One open data directory. Clones are cheap and share it; the last one to go closes it.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    committer: Mutex<Option<JoinHandle<()>>>,
}

impl Engine {
    /// Opens a directory, making it when it is missing, and recovers what was committed.
    ///
    /// # Errors
    /// [`Error::Locked`] when another process has it open; [`Error::Io`]; [`Error::Storage`] when
    /// the files are damaged.
    pub fn open(options: EngineOptions) -> Result<Self> {
        let shared = Arc::new(Shared {
            database: Database::open(options.clone())?,
            queue: Queue::new(options.queue_bytes),
            counters: Counters::default(),
            options,
        });
        let for_thread = Arc::clone(&shared);
        let committer = std::thread::Builder::new()
            .name("engine-commit".into())
            .spawn(move || committer::run(&for_thread))?;
        Ok(Self {
            inner: Arc::new(Inner {
                shared,
                committer: Mutex::new(Some(committer)),
            }),
        })
    }

    /// A keyspace with the engine's default settings, made when it doesn't exist.
    ///
    /// # Errors
    /// [`Error::InvalidKeyspaceName`], or the files can't be written.
    pub fn keyspace(&self, name: &str) -> Result<Keyspace> {
        self.keyspace_with(name, &self.shared().options.keyspace)
    }

    /// A keyspace with its own settings, which count only when it is made.
    ///
    /// # Errors
    /// [`Error::InvalidKeyspaceName`], or the files can't be written.
    pub fn keyspace_with(&self, name: &str, options: &KeyspaceOptions) -> Result<Keyspace> {
        let index = self.shared().database.keyspace(name, options)?;
        Ok(Keyspace::new(self.clone(), index, name))
    }

    /// Enqueues a batch now and returns a ticket that resolves when it is on disk.
    ///
    /// The batch is written even if the ticket is dropped. With no room in the queue the ticket
    /// resolves to [`Error::Overloaded`] and nothing is written.
    pub fn submit(&self, batch: WriteBatch) -> CommitTicket {
        self.enqueue(batch).unwrap_or_else(|_| CommitTicket {
            answer: Err(Error::Overloaded),
        })
    }

    /// Commits a batch; resolves when it is on disk.
    ///
    /// The batch is enqueued by the call itself, not by the first poll, as long as the queue has
    /// room; otherwise the future waits for room first. The batch is written even if the future
    /// is dropped after it was enqueued.
    ///
    /// # Errors
    /// [`Error::DiskFull`], [`Error::Io`], [`Error::Closed`], or a mistake in the batch.
    pub fn commit(&self, batch: WriteBatch) -> impl Future<Output = Result<()>> + Send + use<> {
        let enqueued = self.enqueue(batch);
        let shared = Arc::clone(self.shared());
        async move {
            let batch = match enqueued {
                Ok(ticket) => return ticket.await,
                Err(batch) => batch,
            };
            let room = shared.queue.room(&batch).await?;
            let answer = shared.queue.push(batch, Some(room));
            CommitTicket { answer }.await
        }
    }

    /// Commits a batch, blocking this thread until it is on disk. Not for async code.
    ///
    /// # Errors
    /// As [`Engine::commit`].
    pub fn commit_blocking(&self, batch: WriteBatch) -> Result<()> {
        batch.check(self.id())?;
        if batch.is_empty() {
            return Ok(());
        }
        let answer = self.shared().queue.push(batch, None)?;
        answer.blocking_recv().unwrap_or(Err(Error::Closed))
    }

    /// Counters since opening, and what waits now.
    #[must_use]
    pub fn stats(&self) -> EngineStats {
        let shared = self.shared();
        let (queued, queued_bytes) = shared.queue.len();
        EngineStats {
            queued,
            queued_bytes,
            unflushed_bytes: shared.database.unflushed_bytes(),
            ..shared.counters.snapshot()
        }
    }

    /// Bytes of all files of the engine. Not for every request: it asks the file system.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        self.shared().database.disk_bytes()
    }

    /// Writes what waits, refuses new commits, and closes the files. Blocks for the last syncs;
    /// may be called more than once. Other handles get [`Error::Closed`] from then on.
    pub fn close(&self) {
        self.inner.close();
        self.shared().database.close();
    }

    /// Tells engines apart, so that a batch isn't committed to the wrong one.
    pub(crate) fn id(&self) -> usize {
        Arc::as_ptr(self.shared()).addr()
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.inner.shared
    }

    /// The batch comes back when there is no room.
    fn enqueue(&self, batch: WriteBatch) -> std::result::Result<CommitTicket, WriteBatch> {
        if let Err(error) = batch.check(self.id()) {
            return Ok(CommitTicket { answer: Err(error) });
        }
        if batch.is_empty() {
            return Ok(CommitTicket::done());
        }
        let queue = &self.shared().queue;
        let Some(room) = queue.try_room(&batch) else {
            return Err(batch);
        };
        Ok(CommitTicket {
            answer: queue.push(batch, Some(room)),
        })
    }
}

impl Inner {
    fn close(&self) {
        self.shared.queue.close();
        let committer = self.committer.lock().take();
        if let Some(thread) = committer
            && thread.join().is_err()
        {
            tracing::error!("the commit thread had panicked");
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("path", &self.shared().options.path)
            .finish_non_exhaustive()
    }
}

/// A commit under way. Resolves when the batch is on disk or was refused.
#[must_use = "an unread ticket hides a failed commit"]
#[derive(Debug)]
pub struct CommitTicket {
    answer: Result<oneshot::Receiver<Result<()>>>,
}

impl CommitTicket {
    fn done() -> Self {
        let (done, answer) = oneshot::channel();
        let _ = done.send(Ok(()));
        Self { answer: Ok(answer) }
    }

    /// Blocks this thread until the batch is on disk or was refused. Not for async code.
    ///
    /// # Errors
    /// As [`Engine::commit`].
    pub fn wait(self) -> Result<()> {
        self.answer?.blocking_recv().unwrap_or(Err(Error::Closed))
    }
}

impl Future for CommitTicket {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.answer {
            Ok(answer) => Pin::new(answer)
                .poll(cx)
                .map(|answer| answer.unwrap_or(Err(Error::Closed))),
            Err(error) => Poll::Ready(Err(error.clone())),
        }
    }
}
