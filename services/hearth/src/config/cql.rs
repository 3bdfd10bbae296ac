//! Settings of the CQL store.

use hearth_config::{Documented, FieldDoc, Shape};
use serde::{Deserialize, Serialize};

/// Where ScyllaDB or Cassandra is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(
    missing_docs,
    reason = "each field is documented for the operator in `fields`"
)]
pub struct CqlConfig {
    pub nodes: Vec<String>,
}

impl Documented for CqlConfig {
    fn fields() -> Vec<FieldDoc> {
        vec![
            FieldDoc::new(
                "nodes",
                Shape::List("hosts with ports"),
                "Nodes of ScyllaDB or Cassandra to begin with. Empty: the embedded store.",
            )
            .example("[\"10.0.0.1:9042\", \"10.0.0.2:9042\"]"),
        ]
    }
}
