//! A simulated CPE: it informs, answers the ACS's requests, reboots, fetches files, listens for
//! connection requests, and counts what it does.

mod behaviour;
mod clock;
mod connect;
mod device;
mod execute;
mod http;
mod ledger;
mod listener;
mod meter;
mod nat;
mod own;
mod session;
mod software;
mod state;
mod transfer;

pub use behaviour::{
    AuthStyle, Behaviour, CookieStyle, FaultRate, ListenerStyle, Point, PowerLoss,
};
pub use clock::TimeScale;
pub use device::Device;
pub(crate) use ledger::ONCE;
pub use ledger::{Acknowledged, Doubled, Executed, Keep, Ledger, Transferred};
pub use meter::EdgeCounts;
pub use state::StoredFile;

pub(crate) use clock::cwmp_time;
pub(crate) use device::Shared;
pub(crate) use listener::Registry;
pub(crate) use meter::EdgeMeter;
