//! The roles of a process, and how each is built.

mod api;
mod devices;
mod files;
mod tasks;

pub(crate) use api::northbound;
pub(crate) use devices::{device_state, gateway};
pub(crate) use files::files;
pub(crate) use tasks::{wakeup, workflow};

use hearth_clients::ServiceName;
use serde::{Deserialize, Serialize};

/// One of the parts that a process may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// The devices' edge.
    Gateway,
    /// Tasks and sessions.
    Workflow,
    /// Devices, parameters, history, credentials.
    DeviceState,
    /// The public API.
    Northbound,
    /// Connection requests.
    Wakeup,
    /// Files for devices and from them.
    Files,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Gateway,
        Self::Workflow,
        Self::DeviceState,
        Self::Northbound,
        Self::Wakeup,
        Self::Files,
    ];

    /// As `--roles` names it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Workflow => "workflow",
            Self::DeviceState => "device-state",
            Self::Northbound => "northbound",
            Self::Wakeup => "wakeup",
            Self::Files => "files",
        }
    }

    /// What other roles call it by; `None`: none does.
    pub const fn service(self) -> Option<ServiceName> {
        match self {
            Self::Gateway | Self::Northbound => None,
            Self::Workflow => Some(ServiceName::Workflow),
            Self::DeviceState => Some(ServiceName::DeviceState),
            Self::Wakeup => Some(ServiceName::Wakeup),
            Self::Files => Some(ServiceName::Files),
        }
    }

    /// The roles that it calls.
    pub const fn calls(self) -> &'static [ServiceName] {
        use ServiceName::{DeviceState, Files, Wakeup, Workflow};
        match self {
            Self::Gateway => &[Workflow, DeviceState],
            Self::Workflow => &[DeviceState, Wakeup, Files],
            Self::Northbound => &[DeviceState, Workflow, Wakeup, Files],
            Self::Wakeup => &[DeviceState],
            Self::DeviceState | Self::Files => &[],
        }
    }

    /// The roles that it can do nothing without: it isn't ready while none of their replicas can be reached. Without
    /// the others it does less, and each call says so: tasks wait for the device's own Inform, transfers wait, the API
    /// answers what it can. Only the edge has such needs: a role that others call and that were unready for lack of a
    /// third one would take them down with it.
    pub const fn needs(self) -> &'static [ServiceName] {
        use ServiceName::{DeviceState, Workflow};
        match self {
            Self::Gateway => &[Workflow, DeviceState],
            _ => &[],
        }
    }

    /// The servers that it can do nothing without: bus, queue, store. Without the bus, device-state and workflow can
    /// still be asked: what they are told by events comes later.
    pub(crate) const fn needs_servers(self) -> (bool, bool, bool) {
        let (bus, queue, store) = self.backends();
        (bus && matches!(self, Self::Gateway), queue, store)
    }

    /// Whether it uses the bus, the queue, the store.
    pub(crate) const fn backends(self) -> (bool, bool, bool) {
        match self {
            Self::Gateway => (true, false, false),
            Self::Workflow => (true, true, true),
            Self::DeviceState => (true, false, true),
            Self::Files => (false, false, true),
            Self::Wakeup => (true, false, false),
            Self::Northbound => (false, false, false),
        }
    }

    /// Whether it needs the key ring.
    pub(crate) const fn needs_keys(self) -> bool {
        !matches!(self, Self::Northbound | Self::Wakeup)
    }
}
