//! The wish to stop: a first one drains, a second one ends at once.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

/// Signals so soon after the first one are its echo: `timeout` and terminals signal a process and
/// its group.
const SAME: Duration = Duration::from_millis(500);

/// A handle on the process's end; clones share it.
///
/// [`Shutdown::request`] is called by the signal handler, by tests, or by a service that is told
/// to stop the process. The first call starts the drain, the second ends it.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    drain: CancellationToken,
    force: CancellationToken,
}

impl Shutdown {
    /// A handle on which nothing was requested.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks for an orderly end; asked again, for an immediate one.
    pub fn request(&self) {
        if self.drain.is_cancelled() {
            self.force.cancel();
        } else {
            self.drain.cancel();
        }
    }

    /// Whether an end was requested.
    pub fn is_requested(&self) -> bool {
        self.drain.is_cancelled()
    }

    /// Waits for the first request.
    pub async fn requested(&self) {
        self.drain.cancelled().await;
    }

    /// Waits for the second request.
    pub async fn forced(&self) {
        self.force.cancelled().await;
    }

    /// From now on SIGTERM and SIGINT are requests. Must be called in a Tokio runtime, which runs
    /// the listening task until it ends.
    ///
    /// # Errors
    /// When the operating system refuses a signal handler.
    pub fn listen_to_signals(&self) -> std::io::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let shutdown = self.clone();
        tokio::spawn(async move {
            let mut first: Option<Instant> = None;
            loop {
                let name = tokio::select! {
                    _ = terminate.recv() => "SIGTERM",
                    _ = interrupt.recv() => "SIGINT",
                };
                if first.get_or_insert_with(Instant::now).elapsed() < SAME
                    && shutdown.is_requested()
                {
                    continue;
                }
                if shutdown.is_requested() {
                    tracing::warn!(signal = name, "second signal: ending at once");
                } else {
                    tracing::info!(signal = name, "stopping; a second signal ends at once");
                }
                shutdown.request();
            }
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_second_request_forces() {
        let shutdown = Shutdown::new();
        assert!(!shutdown.is_requested());
        shutdown.clone().request();
        shutdown.requested().await;
        assert!(!shutdown.force.is_cancelled());
        shutdown.request();
        shutdown.forced().await;
    }
}
