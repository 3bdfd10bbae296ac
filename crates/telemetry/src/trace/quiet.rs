//! A collector that can't be reached is told of once, not with every batch.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};

/// An exporter whose failures are one warning until it works again. What fails is lost: spans are
/// never kept for a collector that is away.
#[derive(Debug)]
pub(super) struct Quiet<E> {
    exporter: E,
    /// Spans lost since it last worked; 0 while it works.
    lost: AtomicU64,
}

impl<E> Quiet<E> {
    pub(super) const fn new(exporter: E) -> Self {
        Self {
            exporter,
            lost: AtomicU64::new(0),
        }
    }
}

impl<E: SpanExporter> SpanExporter for Quiet<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        match self.exporter.export(batch).await {
            Ok(()) => {
                let lost = self.lost.swap(0, Ordering::Relaxed);
                if lost > 0 {
                    tracing::info!(lost, "the collector takes spans again");
                }
            }
            Err(error) => {
                if self.lost.fetch_add(spans, Ordering::Relaxed) == 0 {
                    tracing::warn!(
                        %error,
                        "spans can't be sent and are lost, sessions go on without traces: check \
                         trace.endpoint and the collector"
                    );
                }
            }
        }
        // Told already: an error would be one line for each batch, by the library.
        Ok(())
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use opentelemetry_sdk::error::OTelSdkError;
    use std::sync::atomic::AtomicBool;
    use std::sync::{Arc, Mutex};

    #[derive(Debug, Default)]
    struct Away(Arc<AtomicBool>);

    impl SpanExporter for Away {
        async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
            match self.0.load(Ordering::Relaxed) {
                true => Ok(()),
                false => Err(OTelSdkError::InternalFailure("no one there".into())),
            }
        }
    }

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn one_warning_until_it_works_again() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        let _here = tracing::subscriber::set_default(subscriber);
        let away = Away::default();
        let there = Arc::clone(&away.0);
        let quiet = Quiet::new(away);
        let send = || quiet.export(vec![span(), span()]);
        for now in [false, false, true, true, false] {
            there.store(now, Ordering::Relaxed);
            send().await.unwrap();
        }
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.matches("trace.endpoint").count(), 2, "{text}");
        assert_eq!(text.matches("again lost=4").count(), 1, "{text}");
    }

    fn span() -> SpanData {
        use opentelemetry::InstrumentationScope;
        use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status};
        use opentelemetry_sdk::trace::{SpanEvents, SpanLinks};
        let now = std::time::SystemTime::now();
        SpanData {
            span_context: SpanContext::empty_context(),
            parent_span_id: SpanId::INVALID,
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name: "x".into(),
            start_time: now,
            end_time: now,
            attributes: Vec::new(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: InstrumentationScope::default(),
        }
    }
}
