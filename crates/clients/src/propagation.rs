//! The one place on each side where a call's context crosses between processes.

use tonic::metadata::MetadataMap;
use tracing::Span;

/// Carries the context of a trace over calls: puts it into a call's metadata, and takes it out again. Called for every
/// call, so it should be quick.
pub trait Propagation: Send + Sync + 'static {
    /// Adds the current context to the metadata of a call that leaves.
    fn inject(&self, metadata: &mut MetadataMap);

    /// The span that a call's work runs in: `rpc` names it (`hearth.workflow.v1.WorkflowService/OpenSession`), and
    /// `metadata` is the caller's.
    fn extract(&self, rpc: &str, metadata: &MetadataMap) -> Span;
}
