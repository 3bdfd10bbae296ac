//! Layered configuration: the defaults of a typed struct, then a TOML file, then environment
//! variables, then flags; the later wins.
//!
//! A configuration is a serde struct whose levels carry `#[serde(default, deny_unknown_fields)]`
//! and that implements [`Documented`]. [`Loader`] reads the layers and remembers where each value
//! came from, so that an error can say it and [`Loaded::print`] can show it; [`example`] writes a
//! commented file from the same documentation.
//!
//! ```
//! use hearth_config::{Documented, FieldDoc, Loader, Shape, Source};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Default, Serialize, Deserialize)]
//! #[serde(default, deny_unknown_fields)]
//! struct Settings {
//!     max_connections: u32,
//! }
//!
//! impl Documented for Settings {
//!     fn fields() -> Vec<FieldDoc> {
//!         vec![FieldDoc::new("max_connections", Shape::Integer, "Connections at one time.")]
//!     }
//! }
//!
//! let vars = [("HEARTH_MAX_CONNECTIONS".to_owned(), "7".to_owned())];
//! let loaded = Loader::new().env("HEARTH", vars).load::<Settings>()?;
//! assert_eq!(loaded.value.max_connections, 7);
//! assert_eq!(
//!     loaded.source("max_connections"),
//!     Source::Env("HEARTH_MAX_CONNECTIONS".to_owned())
//! );
//! # Ok::<(), hearth_config::ConfigError>(())
//! ```

mod docs;
mod error;
mod layers;
mod loader;
mod render;
pub mod types;

pub use docs::{Documented, FieldDoc, Shape, section};
pub use error::{ConfigError, Problem};
pub use layers::Source;
pub use loader::{Loaded, Loader};
pub use render::{check_documentation, example};
pub use types::{ByteSize, CidrList, HumanDuration, SecretString};
