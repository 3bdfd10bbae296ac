//! Tasks and the sessions that run them.
//!
//! - `create`, `validate`, `list`: the calls of the API's side.
//! - `session`, `turn`: the calls of a CWMP session. A turn settles the answer to the request in
//!   flight, chooses the next one and writes both to the ledger in one commit before it leaves.
//! - `plan`: what each kind of task sends, as step machines without I/O.
//! - `knowledge`: what a plan is made with, and what its outcomes bring besides their meaning.
//! - `settle`: what an outcome, an event, a lost session or a passed deadline means for a task.
//! - `explain`: how a device's tasks stand, for people.
//! - `rebuild`, `mind`, `wake`, `publish`, `retention`: what goes on behind.
//!
//! The ledger in the store is the record; the queue and the lanes in memory may be lost.

mod config;
mod create;
mod explain;
mod faults;
mod knowledge;
mod lanes;
mod ledger;
mod list;
pub mod metrics;
mod mind;
mod plan;
mod publish;
mod rebuild;
mod request;
mod retention;
mod rotate;
mod secrets;
mod service;
mod session;
mod settle;
mod turn;
mod units;
mod validate;
mod wake;

pub use config::WorkflowConfig;
pub use faults::remedy;
pub use service::{WorkflowDeps, WorkflowRunner, WorkflowService};
