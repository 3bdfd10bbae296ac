//! Servers are asked again and again whether they take what is written; what they say is their line in the readiness.

use hearth_runtime::ReadinessReporter;
use std::time::{Duration, Instant};
use tokio_util::task::AbortOnDropHandle;

/// How often a server is asked, and how long it may take.
const PROBE: Duration = Duration::from_secs(2);
/// For how long a server may fail before its line says so: twice in a row.
pub(crate) const PATIENCE: Duration = PROBE;
/// The same of the bus: NATS takes up to nine seconds to elect a leader, and publishing waits for it. A full one may
/// have room again and again while consumers work: it is out of service when that doesn't happen for so long.
pub(crate) const BUS_PATIENCE: Duration = Duration::from_secs(12);

/// Ends the asking of servers when it is dropped.
pub(crate) type Watch = Vec<AbortOnDropHandle<()>>;

/// Asks again and again, and reports on the line of this name.
pub(crate) fn follow<F, E>(
    (name, line): (&'static str, ReadinessReporter),
    patience: Duration,
    ask: impl Fn() -> F + Send + 'static,
) -> AbortOnDropHandle<()>
where
    F: Future<Output = Result<(), E>> + Send,
    E: std::error::Error + Send + Sync + 'static,
{
    let asking = tokio::spawn(async move {
        let mut trouble = Trouble::new(patience);
        loop {
            let began = Instant::now();
            let problem = match tokio::time::timeout(PROBE, ask()).await {
                Ok(Ok(())) => None,
                // With what caused it: that is where the server's own words are.
                Ok(Err(error)) => Some(format!("{:#}", anyhow::Error::new(error))),
                Err(_elapsed) => Some(format!("no answer within {PROBE:?}")),
            };
            match problem {
                None => {
                    if trouble.ends() {
                        tracing::info!(server = name, "a server is in use again");
                    }
                    line.ready();
                }
                Some(problem) => match trouble.goes_on(began) {
                    Told::NotYet => {}
                    Told::Now => {
                        tracing::warn!(server = name, problem, "a server can't be used");
                        line.not_ready(problem);
                    }
                    Told::Before => line.not_ready(problem),
                },
            }
            tokio::time::sleep(PROBE).await;
        }
    });
    AbortOnDropHandle::new(asking)
}

/// Since when a server fails, if it does.
struct Trouble {
    /// How long nothing is said. Nothing at all until it has worked once: nobody relies on it yet.
    patience: Duration,
    worked: bool,
    since: Option<Instant>,
    told: bool,
}

/// Whether trouble was told, and when.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    NotYet,
    Now,
    Before,
}

impl Trouble {
    const fn new(patience: Duration) -> Self {
        Self {
            patience,
            worked: false,
            since: None,
            told: false,
        }
    }

    /// The server works; whether it was told that it didn't.
    fn ends(&mut self) -> bool {
        self.worked = true;
        self.since = None;
        std::mem::take(&mut self.told)
    }

    /// What was asked at `began` failed.
    fn goes_on(&mut self, began: Instant) -> Told {
        let since = *self.since.get_or_insert(began);
        if self.worked && began.saturating_duration_since(since) < self.patience {
            return Told::NotYet;
        }
        match std::mem::replace(&mut self.told, true) {
            false => Told::Now,
            true => Told::Before,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_told_when_it_lasts_and_at_a_start_at_once() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut trouble = Trouble::new(BUS_PATIENCE);
        assert_eq!(trouble.goes_on(at(0)), Told::Now, "at a start");
        assert_eq!(trouble.goes_on(at(2)), Told::Before);
        assert!(trouble.ends() && !trouble.ends());
        // An election, whether asking fails at once or takes its time.
        for second in [10, 12, 14, 16, 18, 20] {
            assert_eq!(trouble.goes_on(at(second)), Told::NotYet);
        }
        assert!(!trouble.ends());
        assert_eq!(trouble.goes_on(at(21)), Told::NotYet, "it begins anew");
        assert_eq!(trouble.goes_on(at(33)), Told::Now);
        let mut trouble = Trouble::new(PATIENCE);
        trouble.ends();
        assert_eq!(trouble.goes_on(at(40)), Told::NotYet);
        assert_eq!(trouble.goes_on(at(42)), Told::Now, "twice in a row");
    }
}
