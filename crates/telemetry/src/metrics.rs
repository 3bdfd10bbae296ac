//! Metrics as constants, and the registry that they are registered in.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::core::Collector;
use prometheus::{
    Encoder, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, TextEncoder,
};

use crate::polled::Polled;

/// The kind of a metric, as Prometheus names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts of observations by size.
    Histogram,
}

impl MetricKind {
    /// The Prometheus type: `counter`, `gauge`, `histogram`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One metric: a constant in the `metrics` module of the crate that writes it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MetricDef {
    /// `hearth_<service>_<what>_<unit>`, counters ending in `_total`.
    pub name: &'static str,
    /// What it tells, with its unit.
    pub help: &'static str,
    /// Its kind.
    pub kind: MetricKind,
    /// Its labels. Their values must be few and known: never a device or what a device sends.
    pub labels: &'static [&'static str],
    /// A histogram's upper bounds.
    pub buckets: &'static [f64],
}

impl MetricDef {
    /// A counter without labels.
    pub const fn counter(name: &'static str, help: &'static str) -> Self {
        Self {
            name,
            help,
            kind: MetricKind::Counter,
            labels: &[],
            buckets: &[],
        }
    }

    /// A gauge without labels.
    pub const fn gauge(name: &'static str, help: &'static str) -> Self {
        Self {
            name,
            help,
            kind: MetricKind::Gauge,
            labels: &[],
            buckets: &[],
        }
    }

    /// A histogram without labels; see [`buckets`].
    pub const fn histogram(
        name: &'static str,
        help: &'static str,
        buckets: &'static [f64],
    ) -> Self {
        Self {
            name,
            help,
            kind: MetricKind::Histogram,
            labels: &[],
            buckets,
        }
    }

    /// The same with labels.
    pub const fn labels(self, labels: &'static [&'static str]) -> Self {
        Self { labels, ..self }
    }
}

/// Bounds for the usual histograms.
pub mod buckets {
    /// Seconds, from 100 µs (a session turn) to 10 s.
    pub const FAST_SECONDS: &[f64] = &[
        0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
        10.0,
    ];
    /// Seconds, from 100 ms (a whole session) to an hour (a task).
    pub const SLOW_SECONDS: &[f64] = &[
        0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0,
    ];
    /// Bytes, from 256 B to 16 MiB.
    pub const BYTES: &[f64] = &[
        256.0,
        1024.0,
        4096.0,
        16384.0,
        65536.0,
        262_144.0,
        1_048_576.0,
        4_194_304.0,
        16_777_216.0,
    ];
    /// Counts, from 1 to 10,000.
    pub const COUNTS: &[f64] = &[
        1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 10_000.0,
    ];
}

/// A metric could not be registered: a mistake in the program.
#[derive(Debug, thiserror::Error)]
pub enum MetricError {
    /// Prometheus refused it: a bad or taken name, bad labels.
    #[error("metric {name} can't be registered")]
    Refused {
        /// The metric's name.
        name: &'static str,
        /// Prometheus' reason.
        #[source]
        source: prometheus::Error,
    },
    /// The definition is of another kind or has other labels than the call needs.
    #[error("metric {name} is defined as a {kind} with {labels} labels and used as {used}")]
    Mismatch {
        /// The metric's name.
        name: &'static str,
        /// Its kind.
        kind: &'static str,
        /// How many labels it has.
        labels: usize,
        /// What the program asked for.
        used: &'static str,
    },
}

/// The metrics of one process; passed in, cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    inner: prometheus::Registry,
    names: Arc<Mutex<BTreeSet<&'static str>>>,
}

impl Registry {
    /// An empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers a counter without labels.
    ///
    /// # Errors
    /// Like all registrations: [`MetricError`], when `def` doesn't fit or its name is taken.
    pub fn counter(&self, def: &MetricDef) -> Result<IntCounter, MetricError> {
        expect(def, MetricKind::Counter, false, "a counter")?;
        self.add(def, IntCounter::with_opts(opts(def)))
    }

    /// Registers a counter with labels.
    ///
    /// # Errors
    /// See [`Registry::counter`].
    pub fn counter_vec(&self, def: &MetricDef) -> Result<IntCounterVec, MetricError> {
        expect(def, MetricKind::Counter, true, "a counter with labels")?;
        self.add(def, IntCounterVec::new(opts(def), def.labels))
    }

    /// Registers a gauge of whole numbers.
    ///
    /// # Errors
    /// See [`Registry::counter`].
    pub fn gauge(&self, def: &MetricDef) -> Result<IntGauge, MetricError> {
        expect(def, MetricKind::Gauge, false, "a gauge")?;
        self.add(def, IntGauge::with_opts(opts(def)))
    }

    /// Registers a gauge of whole numbers with labels.
    ///
    /// # Errors
    /// See [`Registry::counter`].
    pub fn gauge_vec(&self, def: &MetricDef) -> Result<IntGaugeVec, MetricError> {
        expect(def, MetricKind::Gauge, true, "a gauge with labels")?;
        self.add(def, IntGaugeVec::new(opts(def), def.labels))
    }

    /// Registers a gauge of real numbers with labels.
    ///
    /// # Errors
    /// See [`Registry::counter`].
    pub fn gauge_f64_vec(&self, def: &MetricDef) -> Result<GaugeVec, MetricError> {
        expect(def, MetricKind::Gauge, true, "a gauge with labels")?;
        self.add(def, GaugeVec::new(opts(def), def.labels))
    }

    /// Registers a histogram.
    ///
    /// # Errors
    /// See [`Registry::counter`].
    pub fn histogram(&self, def: &MetricDef) -> Result<Histogram, MetricError> {
        expect(def, MetricKind::Histogram, false, "a histogram")?;
        self.add(def, Histogram::with_opts(histogram_opts(def)))
    }

    /// Registers a histogram with labels.
    ///
    /// # Errors
    /// See [`Registry::counter`].
    pub fn histogram_vec(&self, def: &MetricDef) -> Result<HistogramVec, MetricError> {
        expect(def, MetricKind::Histogram, true, "a histogram with labels")?;
        self.add(def, HistogramVec::new(histogram_opts(def), def.labels))
    }

    /// Registers counters and gauges whose values someone else keeps: `read` is called at each
    /// rendering and returns one value for each of `defs`, which have no labels.
    ///
    /// # Errors
    /// See [`Registry::counter`].
    pub fn polled(
        &self,
        defs: &[MetricDef],
        read: impl Fn() -> Vec<f64> + Send + Sync + 'static,
    ) -> Result<(), MetricError> {
        self.polled_for(defs, &[], read)
    }

    /// [`Registry::polled`] for one of several sources of the same metrics: `values` are those of
    /// the labels that all of `defs` have, e.g. `["cwmp"]` for the label `listener`.
    ///
    /// # Errors
    /// See [`Registry::counter`].
    pub fn polled_for(
        &self,
        defs: &[MetricDef],
        values: &[&str],
        read: impl Fn() -> Vec<f64> + Send + Sync + 'static,
    ) -> Result<(), MetricError> {
        let name = defs.first().map_or("(none)", |def| def.name);
        let polled = Polled::new(defs, values, Box::new(read))?;
        let refused = |source| MetricError::Refused { name, source };
        self.inner.register(Box::new(polled)).map_err(refused)?;
        self.note(defs);
        Ok(())
    }

    /// The names of all that is registered, whether it has been used yet or not.
    #[must_use]
    pub fn names(&self) -> BTreeSet<&'static str> {
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.clone()
    }

    fn note(&self, defs: &[MetricDef]) {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.extend(defs.iter().map(|def| def.name));
    }

    /// All metrics in Prometheus' text format ([`Registry::CONTENT_TYPE`]).
    pub fn render(&self) -> String {
        let mut out = Vec::new();
        // Fails only for a metric family without metrics, which gather() leaves out, or when the
        // writer fails, which a Vec doesn't.
        let _ = TextEncoder::new().encode(&self.inner.gather(), &mut out);
        String::from_utf8(out).unwrap_or_default()
    }

    /// The Content-Type of [`Registry::render`].
    pub const CONTENT_TYPE: &'static str = prometheus::TEXT_FORMAT;

    fn add<C>(&self, def: &MetricDef, made: prometheus::Result<C>) -> Result<C, MetricError>
    where
        C: Collector + Clone + 'static,
    {
        let refused = |source| MetricError::Refused {
            name: def.name,
            source,
        };
        let metric = made.map_err(refused)?;
        self.inner
            .register(Box::new(metric.clone()))
            .map_err(refused)?;
        self.note(std::slice::from_ref(def));
        Ok(metric)
    }
}

fn opts(def: &MetricDef) -> Opts {
    Opts::new(def.name, def.help)
}

fn histogram_opts(def: &MetricDef) -> HistogramOpts {
    HistogramOpts::new(def.name, def.help).buckets(def.buckets.to_vec())
}

fn expect(
    def: &MetricDef,
    kind: MetricKind,
    labels: bool,
    used: &'static str,
) -> Result<(), MetricError> {
    if def.kind == kind && def.labels.is_empty() != labels {
        return Ok(());
    }
    Err(MetricError::Mismatch {
        name: def.name,
        kind: def.kind.as_str(),
        labels: def.labels.len(),
        used,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const TURNS: MetricDef = MetricDef::histogram(
        "hearth_test_turn_seconds",
        "Time of a turn",
        buckets::FAST_SECONDS,
    )
    .labels(&["rpc"]);

    #[test]
    fn registered_metrics_are_rendered() {
        let registry = Registry::new();
        let turns = registry.histogram_vec(&TURNS).unwrap();
        turns.with_label_values(&["Inform"]).observe(0.002);
        let open = registry
            .gauge(&MetricDef::gauge("hearth_test_open", "Open things"))
            .unwrap();
        open.set(-3);
        let text = registry.render();
        assert!(
            text.contains("# TYPE hearth_test_turn_seconds histogram"),
            "{text}"
        );
        assert!(text.contains("hearth_test_turn_seconds_bucket{rpc=\"Inform\",le=\"0.0025\"} 1"));
        assert!(text.contains("hearth_test_open -3"));
        let unused = MetricDef::counter("hearth_test_total", "Things").labels(&["what"]);
        registry.counter_vec(&unused).unwrap();
        assert!(!registry.render().contains(unused.name));
        let names = registry.names();
        assert!(names.iter().eq(&[
            "hearth_test_open",
            "hearth_test_total",
            "hearth_test_turn_seconds"
        ]));
    }

    #[test]
    fn mistakes_are_errors() {
        let registry = Registry::new();
        assert!(matches!(
            registry.histogram(&TURNS),
            Err(MetricError::Mismatch { .. })
        ));
        assert!(matches!(
            registry.counter(&TURNS),
            Err(MetricError::Mismatch { .. })
        ));
        registry.histogram_vec(&TURNS).unwrap();
        assert!(matches!(
            registry.histogram_vec(&TURNS),
            Err(MetricError::Refused { .. })
        ));
        let bad = MetricDef::counter("not a name", "x");
        assert!(matches!(
            registry.counter(&bad),
            Err(MetricError::Refused { .. })
        ));
    }
}
