//! Metrics whose values someone else keeps: they are read when the metrics are rendered.

use prometheus::Opts;
use prometheus::core::{Collector, Desc, Describer};
use prometheus::proto::{self, LabelPair, MetricFamily, MetricType};

use crate::metrics::{MetricDef, MetricError, MetricKind};

/// Reads the values, one for each definition.
pub(crate) type Read = Box<dyn Fn() -> Vec<f64> + Send + Sync>;

/// Counters and gauges with the same labels and one reader.
pub(crate) struct Polled {
    descs: Vec<Desc>,
    defs: Vec<MetricDef>,
    labels: Vec<LabelPair>,
    read: Read,
}

impl Polled {
    pub(crate) fn new(
        defs: &[MetricDef],
        values: &[&str],
        read: Read,
    ) -> Result<Self, MetricError> {
        let mut descs = Vec::with_capacity(defs.len());
        let mut labels = Vec::new();
        for def in defs {
            if def.kind == MetricKind::Histogram || def.labels.len() != values.len() {
                return Err(MetricError::Mismatch {
                    name: def.name,
                    kind: def.kind.as_str(),
                    labels: def.labels.len(),
                    used: "a polled counter or gauge",
                });
            }
            let mut opts = Opts::new(def.name, def.help);
            labels.clear();
            for (name, value) in def.labels.iter().zip(values) {
                opts = opts.const_label(*name, *value);
                let mut pair = LabelPair::default();
                pair.set_name((*name).to_owned());
                pair.set_value((*value).to_owned());
                labels.push(pair);
            }
            let refused = |source| MetricError::Refused {
                name: def.name,
                source,
            };
            descs.push(opts.describe().map_err(refused)?);
        }
        Ok(Self {
            descs,
            defs: defs.to_vec(),
            labels,
            read,
        })
    }
}

impl Collector for Polled {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let family = |(def, value): (&MetricDef, f64)| {
            let mut metric = proto::Metric::default();
            metric.set_label(self.labels.clone());
            let kind = if def.kind == MetricKind::Counter {
                let mut counter = proto::Counter::default();
                counter.set_value(value);
                metric.set_counter(counter);
                MetricType::COUNTER
            } else {
                let mut gauge = proto::Gauge::default();
                gauge.set_value(value);
                metric.set_gauge(gauge);
                MetricType::GAUGE
            };
            let mut family = MetricFamily::default();
            family.set_name(def.name.to_owned());
            family.set_help(def.help.to_owned());
            family.set_field_type(kind);
            family.set_metric(vec![metric]);
            family
        };
        self.defs.iter().zip((self.read)()).map(family).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::Registry;

    #[test]
    fn values_are_read_at_rendering() {
        let registry = Registry::new();
        let defs = [
            MetricDef::counter("hearth_test_accepted_total", "Accepted"),
            MetricDef::gauge("hearth_test_connections", "Open"),
        ];
        registry.polled(&defs, || vec![7.0, 2.0]).unwrap();
        let text = registry.render();
        assert!(
            text.contains("# TYPE hearth_test_accepted_total counter"),
            "{text}"
        );
        assert!(text.contains("hearth_test_accepted_total 7\n"));
        assert!(text.contains("hearth_test_connections 2\n"));
    }

    #[test]
    fn sources_are_told_apart_by_label() {
        let registry = Registry::new();
        let defs = [MetricDef::gauge("hearth_test_open", "Open").labels(&["listener"])];
        registry.polled_for(&defs, &["cwmp"], || vec![1.0]).unwrap();
        registry.polled_for(&defs, &["api"], || vec![2.0]).unwrap();
        assert!(
            registry.polled_for(&defs, &["api"], Vec::new).is_err(),
            "twice"
        );
        assert!(
            registry.polled(&defs, Vec::new).is_err(),
            "without its label"
        );
        let text = registry.render();
        assert!(
            text.contains("hearth_test_open{listener=\"cwmp\"} 1"),
            "{text}"
        );
        assert!(
            text.contains("hearth_test_open{listener=\"api\"} 2"),
            "{text}"
        );
        assert_eq!(text.matches("# TYPE hearth_test_open").count(), 1, "{text}");
    }
}
