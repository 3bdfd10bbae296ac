//! Generated code of the contracts in `proto/`, and conversions to the house's
//! types. Every message also has its canonical JSON form (serde).

pub mod convert;
pub mod pieces;
pub mod profile;

pub use pbjson_types::Timestamp as ProtoTimestamp;

/// The encoded file descriptor set of all packages, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// Declares the module of one generated package.
macro_rules! package {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        pub mod $name {
            /// Version 1.
            #[allow(missing_docs, clippy::all, clippy::pedantic, rustdoc::all)]
            pub mod v1 {
                include!(concat!(env!("OUT_DIR"), "/hearth.", stringify!($name), ".v1.rs"));
                include!(concat!(env!("OUT_DIR"), "/hearth.", stringify!($name), ".v1.serde.rs"));
            }
        }
    };
}

package!(
    /// Vocabulary that public and internal contracts share.
    types
);
package!(
    /// What travels on the bus.
    events
);
package!(
    /// Tasks and sessions. Internal.
    workflow
);
package!(
    /// Devices, parameters, history, credentials. Internal.
    devicestate
);
package!(
    /// Connection requests. Internal.
    wakeup
);
package!(
    /// Files. Internal.
    files
);
package!(
    /// Internal calls that travel together. Internal.
    internal
);
package!(
    /// The public API.
    northbound
);
